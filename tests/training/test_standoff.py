import csv
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.codebook import Codebook
from detente.errors import DataError
from detente_training.labelled import LabelledVoice, read_labelled
from detente_training.standoff import Joined, join, sha1

FIRST = "The envoy said talks would go on."
SECOND = "Élan and \U0001d54f: « no », she said\u200d."


def record(identifier: str, text: str, **more: object) -> dict[str, object]:
    return {
        "id": identifier,
        "document": "a",
        "source": "A gazette",
        "region": "none",
        "style": "wire",
        "licence": "text (c) the gazette",
        "sha1": hashlib.sha1(text.encode()).hexdigest(),
        "length": len(text),
        "split": "test",
        "topics": ["diplomacy"],
        "narrator": None,
        "voices": [{"start": 0, "end": 9, "stance": "engagement"}],
    } | more


def jsonl(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in records), encoding="utf-8")
    return path


@pytest.fixture
def standoff(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "standoff.jsonl", record("a-0", FIRST), record("a-1", SECOND, voices=[]))


def test_the_hash_is_that_of_the_utf8_bytes() -> None:
    assert sha1("Élan") == "3a2ba81092df08591006c4518b68cf3da2ba9ec6"


def test_text_and_title_come_back_and_the_rest_stays(tmp_path: Path, standoff: Path) -> None:
    texts = jsonl(tmp_path / "texts.jsonl", {"body": FIRST, "title": "Talks"}, {"body": "Something else."})
    joined = join(standoff, [texts])
    assert joined == Joined(
        records=(
            {
                "id": "a-0",
                "document": "a",
                "source": "A gazette",
                "region": "none",
                "style": "wire",
                "licence": "text (c) the gazette",
                "split": "test",
                "title": "Talks",
                "text": FIRST,
                "topics": ["diplomacy"],
                "narrator": None,
                "voices": [{"start": 0, "end": 9, "stance": "engagement"}],
            },
        ),
        missing=("a-1",),
        unreadable=(),
    )


def test_what_is_joined_can_be_read(tmp_path: Path, standoff: Path) -> None:
    joined = join(standoff, [jsonl(tmp_path / "texts.jsonl", {"a": SECOND}, {"a": FIRST})])
    paragraphs = read_labelled([jsonl(tmp_path / "joined.jsonl", *joined.records)], Codebook.default())
    assert [paragraph.text for paragraph in paragraphs] == [FIRST, SECOND]  # in the order of the labels
    assert paragraphs[0].voices == (LabelledVoice(0, 9, "engagement"),)


def test_labels_that_are_absent_stay_absent(tmp_path: Path) -> None:
    bare = {key: value for key, value in record("a-0", FIRST).items() if key not in ("narrator", "voices")}
    texts = jsonl(tmp_path / "texts.jsonl", {"text": FIRST})
    (joined,) = join(jsonl(tmp_path / "bare.jsonl", bare), [texts]).records
    assert "narrator" not in joined
    assert "voices" not in joined


def test_blanks_around_the_text_do_not_matter(tmp_path: Path, standoff: Path) -> None:
    joined = join(standoff, [jsonl(tmp_path / "texts.jsonl", {"body": f"\n {FIRST}  "})])
    assert [item["text"] for item in joined.records] == [FIRST]


def test_one_text_may_serve_several_records(tmp_path: Path) -> None:
    twice = jsonl(tmp_path / "twice.jsonl", record("a-0", FIRST), record("a-1", FIRST))
    joined = join(twice, [jsonl(tmp_path / "texts.jsonl", {"body": FIRST}, {"body": FIRST})])
    assert [item["id"] for item in joined.records] == ["a-0", "a-1"]


def test_texts_come_from_csv_parquet_and_folders(tmp_path: Path, standoff: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (tmp_path / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["n", "body"], ["1", FIRST]])
    pq.write_table(pa.Table.from_pylist([{"n": 1, "body": SECOND}]), tmp_path / "texts.parquet")
    folder = tmp_path / "folder"
    folder.mkdir()
    jsonl(folder / "texts.jsonl", {"n": 1, "body": FIRST})
    both = join(standoff, [tmp_path / "texts.csv", tmp_path / "texts.parquet"])
    assert (len(both.records), both.missing) == (2, ())
    assert join(standoff, [folder]).missing == ("a-1",)


def test_the_text_column_can_be_named(tmp_path: Path, standoff: Path) -> None:
    texts = jsonl(tmp_path / "texts.jsonl", {"summary": FIRST, "body": SECOND})
    assert join(standoff, [texts], text_column="body").missing == ("a-0",)
    with pytest.raises(DataError, match="no row of the texts has the column `text`; columns there: body, summary"):
        join(standoff, [texts], text_column="text")


def test_rows_that_cannot_be_read_are_told_and_the_rest_is_used(tmp_path: Path, standoff: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"body": \n' + json.dumps({"body": FIRST}) + "\n", encoding="utf-8")
    joined = join(standoff, [texts])
    assert len(joined.records) == 1
    assert joined.unreadable == (f"{texts}:1: is not JSON: Expecting value at column 10",)


def test_a_length_that_differs_means_an_altered_file(tmp_path: Path) -> None:
    altered = jsonl(tmp_path / "altered.jsonl", record("a-0", FIRST, length=34))
    texts = jsonl(tmp_path / "texts.jsonl", {"body": FIRST})
    with pytest.raises(DataError, match=r"(?s)was altered.*a-0: `length` is 34, but the text has 33 characters"):
        join(altered, [texts])


def test_a_standoff_file_must_hold_its_keys(tmp_path: Path) -> None:
    wrong = record("a-0", FIRST, sha1="abc", length="33") | {"id": None}
    path = jsonl(tmp_path / "wrong.jsonl", wrong)
    with pytest.raises(DataError) as raised:
        join(path, [path])
    assert str(raised.value).splitlines() == [
        "the stand-off file cannot be used:",
        f"  - {path}:1: `id` must be text",
        f"  - {path}:1: `sha1` must be 40 hexadecimal digits",
        f"  - {path}:1: `length` must be a whole number of characters",
    ]
    empty = jsonl(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match=r"empty\.jsonl: holds no records"):
        join(empty, [path])


def test_files_that_are_not_there_are_errors(tmp_path: Path, standoff: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        join(tmp_path / "nowhere.jsonl", [standoff])
    with pytest.raises(DataError, match=r"the texts cannot be read: .*nowhere\.csv: no such file"):
        join(standoff, [tmp_path / "nowhere.csv"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"bare holds no \*.jsonl file"):
        join(standoff, [tmp_path / "bare"])


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.text(min_size=1, max_size=40).filter(lambda t: t.strip() == t), min_size=1, unique=True))
def test_any_text_is_found_again(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("join")
    labels = jsonl(folder / "labels.jsonl", *(record(str(n), text) for n, text in enumerate(texts)))
    joined = join(labels, [jsonl(folder / "texts.jsonl", *({"x": text} for text in reversed(texts)))])
    assert [item["text"] for item in joined.records] == texts
    assert joined.missing == ()
