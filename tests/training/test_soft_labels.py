"""Soft labels: their files, and the mean of several teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.codebook import Codebook, Label
from detente.errors import DataError
from detente.reader import NARRATOR_SPAN, Span
from detente_training.soft_labels import SoftLabels, average, read_soft_labels, write_soft_labels

BOOK = Codebook.default()
TOPICS_ALONE = Codebook("t", (Label("sport"), Label("weather")), (), ())


def labels(
    identifier: str = "a-0",
    text: str = "Varga said",
    topics: Sequence[float] = (0.25, 0.0, 1.0),
    narrator: float = 0.5,
    voices: Sequence[tuple[float, float]] = ((0.75, 0.125), (0.0, 0.25)),
    stances: dict[Span, Sequence[float]] | None = None,
    document: str = "a",
) -> SoftLabels:
    """Soft labels; numbers that float16 holds exactly."""
    masses = {(0, 5): (0.5, 0.125, 0.0, 0.25)} if stances is None else stances
    return SoftLabels(
        identifier,
        document,
        text,
        np.array(topics, dtype=np.float16),
        narrator,
        np.array(voices, dtype=np.float16).reshape(-1, 2),
        tuple(masses),
        np.array(list(masses.values()), dtype=np.float16).reshape(len(masses), 4),
    )


def assert_same(found: SoftLabels, expected: SoftLabels) -> None:
    """Every field alike, arrays also in shape and type."""
    for field in fields(SoftLabels):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            assert one.dtype == np.float16, field.name
            assert one.shape == other.shape, field.name
            np.testing.assert_array_equal(one, other, field.name)
        else:
            assert one == other, field.name


# --- files


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [
        labels(stances={NARRATOR_SPAN: (0.0, 0.5, 0.0, 0.0), (0, 5): (0.5, 0.125, 0.0, 0.25)}),
        labels("b-0", "", topics=(0, 0, 0), voices=(), stances={}),
        labels("c-0", "…", voices=((0.0, 0.0),), stances={}),
    ]
    write_soft_labels(tmp_path / "part-00000.parquet", rows, BOOK)
    for path in (tmp_path, str(tmp_path), tmp_path / "part-00000.parquet"):
        read = read_soft_labels([path], BOOK)
        assert list(read) == ["a-0", "b-0", "c-0"]
        for row in rows:
            assert_same(read[row.id], row)
    assert read["a-0"].mentions == ((-1, -1), (0, 5))
    assert read["b-0"].voices.shape == (0, 2)
    assert read["b-0"].stances.shape == (0, 4)


def test_the_file_is_plain_parquet(tmp_path: Path) -> None:
    write_soft_labels(tmp_path / "part-00000.parquet", [labels()], BOOK)
    (row,) = pq.read_table(tmp_path / "part-00000.parquet").to_pylist()
    assert row == {
        "id": "a-0",
        "document": "a",
        "text": "Varga said",
        "topics": [0.25, 0.0, 1.0],
        "narrator": 0.5,
        "voices": [0.75, 0.125, 0.0, 0.25],
        "mentions": [0, 5],
        "stances": [0.5, 0.125, 0.0, 0.25],
    }


def test_several_files_and_folders(tmp_path: Path) -> None:
    for folder, number in (("one", 0), ("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_soft_labels(tmp_path / folder / f"part-{number:05d}.parquet", [labels(f"p{number}")], BOOK)
    assert list(read_soft_labels([tmp_path / "one", tmp_path / "two"], BOOK)) == ["p0", "p1", "p2"]
    assert read_soft_labels([], BOOK) == {}


def test_a_codebook_without_stances(tmp_path: Path) -> None:
    row = SoftLabels(
        "a-0", "a", "Rice", np.ones(2, np.float16), 0.5, np.ones((1, 2), np.float16), (), np.ones((0, 0), np.float16)
    )
    write_soft_labels(tmp_path / "part-00000.parquet", [row], TOPICS_ALONE)
    assert_same(read_soft_labels([tmp_path], TOPICS_ALONE)["a-0"], row)


halves = st.floats(0, 1, width=16)
spans = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)) | st.just(NARRATOR_SPAN)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)  # no lone surrogates: they are no text


@st.composite
def soft(draw: st.DrawFn, identifier: str = "a-0", text: str | None = None, words: int | None = None) -> SoftLabels:
    count = draw(st.integers(0, 5)) if words is None else words
    return labels(
        identifier,
        draw(texts) if text is None else text,
        draw(st.tuples(halves, halves, halves)),
        draw(halves),
        draw(st.lists(st.tuples(halves, halves), min_size=count, max_size=count)),
        draw(st.dictionaries(spans, st.tuples(halves, halves, halves, halves), max_size=4)),
        draw(texts),
    )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(0, 4).flatmap(lambda count: st.tuples(*(soft(f"p{n}") for n in range(count)))))
def test_any_shape_is_read_as_it_was_written(rows: tuple[SoftLabels, ...]) -> None:
    with TemporaryDirectory() as folder:
        write_soft_labels(Path(folder) / "part-00000.parquet", rows, BOOK)
        read = read_soft_labels([folder], BOOK)
    assert list(read) == [row.id for row in rows]
    for row in rows:
        assert_same(read[row.id], row)


# --- files that are refused


def test_another_codebook_is_refused(tmp_path: Path) -> None:
    write_soft_labels(tmp_path / "part-00000.parquet", [labels()], BOOK)
    other = Codebook.from_dict(BOOK.to_dict() | {"version": "of another model"})
    with pytest.raises(
        DataError, match=r"part-00000\.parquet was made under another codebook; run `detente distil` with a model of"
    ):
        read_soft_labels([tmp_path], other)


def test_what_holds_no_soft_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the soft labels .*none\.parquet: "):
        read_soft_labels([tmp_path / "none.parquet"], BOOK)
    with pytest.raises(DataError, match=r"holds no \*\.parquet file; `detente distil` writes them"):
        read_soft_labels([tmp_path], BOOK)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cannot read the soft labels .*broken\.parquet: "):
        read_soft_labels([broken], BOOK)
    pq.write_table(pa.table({"id": ["a-0"], "text": ["Varga said"]}), broken)
    with pytest.raises(DataError, match=r"broken\.parquet holds no soft labels: its columns are not those that `deten"):
        read_soft_labels([broken], BOOK)
    whole = tmp_path / "whole.parquet"
    write_soft_labels(whole, [labels()], BOOK)
    pq.write_table(pq.read_table(whole).replace_schema_metadata(None), broken)
    with pytest.raises(DataError, match=r"broken\.parquet was made under another codebook"):
        read_soft_labels([broken], BOOK)


# --- several teachers


def test_the_mean_of_two_teachers(tmp_path: Path) -> None:
    one = labels(
        topics=(0.25, 0.0, 1.0),
        narrator=0.5,
        voices=((0.75, 0.125), (0.0, 0.25)),
        stances={NARRATOR_SPAN: (0.5, 0.0, 0.0, 0.0), (0, 5): (0.5, 0.25, 0.0, 0.25)},
    )
    two = labels(
        topics=(0.75, 0.5, 0.0),
        narrator=0.0,
        voices=((0.25, 0.125), (0.5, 0.25)),
        stances={(0, 5): (0.25, 0.25, 0.5, 0.0), (6, 10): (0.0, 0.0, 0.0, 0.125)},
    )
    for name, row in (("one", one), ("two", two)):
        (tmp_path / name).mkdir()
        write_soft_labels(tmp_path / name / "part-00000.parquet", [row], BOOK)
    mean = read_soft_labels([tmp_path / "one", tmp_path / "two"], BOOK)["a-0"]
    assert_same(
        mean,
        labels(
            topics=(0.5, 0.25, 0.5),
            narrator=0.25,
            voices=((0.5, 0.125), (0.25, 0.25)),
            stances={  # a teacher that does not see a mention gives it nothing
                NARRATOR_SPAN: (0.25, 0.0, 0.0, 0.0),
                (0, 5): (0.375, 0.25, 0.25, 0.125),
                (6, 10): (0.0, 0.0, 0.0, 0.0625),
            },
        ),
    )
    assert_same(average([two, one]), mean)


def test_a_paragraph_that_one_teacher_alone_has_read(tmp_path: Path) -> None:
    write_soft_labels(tmp_path / "one.parquet", [labels("a-0"), labels("a-1")], BOOK)
    write_soft_labels(tmp_path / "two.parquet", [labels("a-1", narrator=0.0)], BOOK)
    read = read_soft_labels([tmp_path / "one.parquet", tmp_path / "two.parquet"], BOOK)
    assert (read["a-0"].narrator, read["a-1"].narrator) == (0.5, 0.25)


def test_different_texts_under_one_id(tmp_path: Path) -> None:
    write_soft_labels(tmp_path / "one.parquet", [labels()], BOOK)
    write_soft_labels(tmp_path / "two.parquet", [labels(text="Varga says")], BOOK)
    with pytest.raises(DataError, match="the teachers read different texts under the id a-0; run `detente distil` aga"):
        read_soft_labels([tmp_path / "one.parquet", tmp_path / "two.parquet"], BOOK)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(0, 4).flatmap(lambda words: st.tuples(*[soft(text="Varga said", words=words)] * 3)))
def test_a_mean_lies_between_its_teachers(rows: tuple[SoftLabels, ...]) -> None:
    mean = average(rows)
    assert mean.mentions == tuple(sorted({span for row in rows for span in row.mentions}))
    assert mean.stances.shape == (len(mean.mentions), 4)
    for name in ("topics", "voices"):
        given_ = np.array([getattr(row, name) for row in rows], dtype=np.float32)
        found = getattr(mean, name)
        assert found.shape == given_.shape[1:]
        assert (found >= given_.min(axis=0) - 1e-3).all()
        assert (found <= given_.max(axis=0) + 1e-3).all()
    for span, mass in zip(mean.mentions, mean.stances, strict=True):
        masses = [row.stances[row.mentions.index(span)] for row in rows if span in row.mentions]
        np.testing.assert_allclose(mass, np.sum(masses, axis=0, dtype=np.float32) / 3, atol=1e-3)
