"""Rows out: the same columns in every format, and outputs that are whole or not there."""

import contextlib
import csv
import dataclasses
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.codebook import Codebook
from detente.errors import DataError, DetenteError
from detente.records import Rejected, RejectedWriter, open_source, open_writer, unquote_formula
from detente.records.columns import (
    long_columns,
    paragraph_columns,
    passed_name,
    passed_names,
    plain,
    quote_formula,
)
from detente.tags import ParagraphTags, Voice

STANCES = {"engagement": 0.1, "pressure": 0.8, "mixed": 0.05, "neutral": 0.05}
VARGA = Voice("Varga", 4, 9, False, "Ines Varga", 0.98, "pressure", STANCES, 0.7)
WRITER = Voice("narrator", None, None, True, None, 0.6, "neutral", STANCES, 0.0)


def tagged(number: int = 0, text: str = "But Varga said no.", **extra: Any) -> ParagraphTags:
    return ParagraphTags(
        id=f"d#{number}",
        document="d",
        paragraph=number,
        kind="paragraph",
        text=text,
        tagged=True,
        topics=("human_rights", "diplomacy"),
        topic_probabilities={"human_rights": 0.9, "military_tension": 0.1, "diplomacy": 0.75},
        voices=(WRITER, VARGA),
        stance="pressure",
        stance_probabilities=STANCES,
        lean=0.9,
        flags=("windowed", "low_confidence"),
        extra=extra,
    )


HEADING = ParagraphTags("d#1", "d", 1, "heading", "World", tagged=False)


def write(path: Path, *rows: ParagraphTags, **options: Any) -> Path:
    with open_writer(path, **options) as writer:
        for row in rows:
            writer.write(row)
    return path


def records(path: Path) -> list[dict[str, Any]]:
    """The rows of an output in any format, CSV cells as strings."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, strict=True))
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- the two shapes


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_paragraphs_nest_their_voices(tmp_path: Path, suffix: str) -> None:
    row, heading = records(write(tmp_path / f"t{suffix}", tagged(date="2031-02-03"), HEADING))
    assert list(row)[: len(paragraph_columns(Codebook.default()))] == list(paragraph_columns(Codebook.default()))
    assert row == {**tagged().to_dict(), "date": "2031-02-03"}
    assert (heading["tagged"], heading["stance"], heading["topic_diplomacy"], heading["voices"]) == (
        False,
        None,
        None,
        [],
    )


def test_csv_carries_scalars_and_a_second_file_of_voices(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", tagged(date="2031-02-03"), HEADING)
    row, heading = records(path)
    assert row == {
        "id": "d#0",
        "document": "d",
        "paragraph": "0",
        "kind": "paragraph",
        "text": "But Varga said no.",
        "tagged": "true",
        "topics": "human_rights;diplomacy",
        "topic_human_rights": "0.9",
        "topic_military_tension": "0.1",
        "topic_diplomacy": "0.75",
        "stance": "pressure",
        "stance_engagement": "0.1",
        "stance_pressure": "0.8",
        "stance_mixed": "0.05",
        "stance_neutral": "0.05",
        "lean": "0.9",
        "flags": "windowed;low_confidence",
        "date": "2031-02-03",
    }
    assert (heading["tagged"], heading["stance"], heading["date"]) == ("false", "", "")
    narrator, varga = records(tmp_path / "t.voices.csv")
    assert (narrator["voice"], narrator["mention"], narrator["start"], narrator["narrator"]) == (
        "0",
        "narrator",
        "",
        "true",
    )
    assert varga == {
        "id": "d#0",
        "document": "d",
        "paragraph": "0",
        "voice": "1",
        "mention": "Varga",
        "start": "4",
        "end": "9",
        "narrator": "false",
        "speaker": "Ines Varga",
        "presence": "0.98",
        "stance": "pressure",
        "stance_engagement": "0.1",
        "stance_pressure": "0.8",
        "stance_mixed": "0.05",
        "stance_neutral": "0.05",
        "lean": "0.7",
        "date": "2031-02-03",
    }


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_long_has_one_row_per_voice(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}", tagged(date="x"), HEADING, tagged(2, date="y"), long=True)
    rows = records(path)
    assert list(rows[0]) == [*long_columns(Codebook.default()), "date"]
    assert [(row["id"], int(row["voice"]), row["mention"], row["date"]) for row in rows] == [
        ("d#0", 0, "narrator", "x"),
        ("d#0", 1, "Varga", "x"),
        ("d#2", 0, "narrator", "y"),
        ("d#2", 1, "Varga", "y"),
    ]
    assert left_over(tmp_path) == [path.name]


def test_parquet_types(tmp_path: Path) -> None:
    schema = pq.read_schema(write(tmp_path / "t.parquet", tagged()))
    assert schema.field("paragraph").type == pa.int64()
    assert schema.field("tagged").type == pa.bool_()
    assert schema.field("topics").type == pa.list_(pa.string())
    assert schema.field("topic_diplomacy").type == pa.float64()
    voice = schema.field("voices").type.value_type
    assert [field.name for field in voice][:6] == ["mention", "start", "end", "narrator", "speaker", "presence"]
    assert voice.field("start").type == pa.int64()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_an_output_without_rows_still_has_its_columns(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}")
    assert records(path) == []
    if suffix == ".csv":
        assert path.read_text().startswith("id,document,paragraph,kind,text,tagged,topics,topic_human_rights,")
    if suffix == ".parquet":
        assert pq.read_schema(path).names == list(paragraph_columns(Codebook.default()))


def test_pandas_reads_every_format_alike(tmp_path: Path) -> None:
    rows = [tagged(n, date="2031-02-03", count=str(n)) for n in range(3)]
    frames = [
        pd.read_json(write(tmp_path / "a.jsonl", *rows), lines=True, dtype=False),
        pd.read_csv(write(tmp_path / "a.csv", *rows)),
        pd.read_parquet(write(tmp_path / "a.parquet", *rows)),
    ]
    for frame in frames:
        assert frame["topic_diplomacy"].tolist() == [0.75, 0.75, 0.75]
        assert frame["tagged"].tolist() == [True, True, True]
        assert frame["date"].tolist() == ["2031-02-03"] * 3


def test_another_codebook(tmp_path: Path) -> None:
    codebook = Codebook.from_dict({"version": "1", "stances": [{"name": "pro"}]})
    row = ParagraphTags("a", "a", 0, "paragraph", "x", True, stance="pro", stance_probabilities={"pro": 1.0})
    for suffix in (".jsonl", ".csv", ".parquet"):
        (made,) = records(write(tmp_path / f"t{suffix}", row, codebook=codebook))
        assert float(made["stance_pro"]) == 1.0
        assert "topic_diplomacy" not in made


# --- the caller's columns


def test_names_that_collide() -> None:
    assert passed_name("outlet") == "outlet"
    assert passed_name("stance") == "input_stance"
    assert passed_name("stance_of_party") == "input_stance_of_party"
    assert passed_names(["text", "input_text", "voice"]) == {
        "text": "input_input_text",
        "input_text": "input_text",
        "voice": "input_voice",
    }


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_column_of_the_caller_never_overwrites_ours(tmp_path: Path, suffix: str) -> None:
    (row,) = records(write(tmp_path / f"t{suffix}", tagged(lean="left", id="mine")))
    assert (row["id"], float(row["lean"]), row["input_lean"], row["input_id"]) == ("d#0", 0.9, "left", "mine")


def test_columns_that_come_late(tmp_path: Path) -> None:
    rows = [tagged(0), tagged(1, text='a "quoted"\nline', a="x\n,y"), tagged(2, b=[1, None], a=None), tagged(3, a="")]
    made = records(write(tmp_path / "t.csv", *rows))
    assert [(row["text"], row["a"], row["b"]) for row in made] == [
        ("But Varga said no.", "", ""),
        ('a "quoted"\nline', "x\n,y", ""),
        ("But Varga said no.", "", "[1, null]"),
        ("But Varga said no.", "", ""),
    ]
    assert [row["a"] for row in records(tmp_path / "t.voices.csv")] == ["", "", "x\n,y", "x\n,y", "", "", "", ""]
    made = records(write(tmp_path / "t.parquet", *rows))
    assert [(row["a"], row["b"]) for row in made] == [(None, None), ("x\n,y", None), (None, "[1, null]"), ("", None)]
    assert left_over(tmp_path) == ["t.csv", "t.parquet", "t.voices.csv"]


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, None, 2], pa.int64(), [1, None, 2]),
        ([True, None], pa.bool_(), [True, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([None, 1, "x"], pa.string(), [None, "1", "x"]),
        ([True, 2], pa.string(), ["true", "2"]),
        ([2**70, 1], pa.string(), [str(2**70), "1"]),
        ([2**53 + 1, 0.5], pa.string(), [str(2**53 + 1), "0.5"]),
        ([{"k": "é"}, [1]], pa.string(), ['{"k": "é"}', "[1]"]),
        ([None, None], pa.null(), [None, None]),
        ([float("nan"), 1.5], pa.float64(), [None, 1.5]),
    ],
)
@pytest.mark.parametrize("rows_in_group", [4096, 1])
def test_a_column_in_parquet_has_the_narrowest_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any], kind: Any, read: list[Any], rows_in_group: int
) -> None:
    monkeypatch.setattr("detente.records.parquet._GROUP_ROWS", rows_in_group)
    path = write(tmp_path / "t.parquet", *(tagged(n, x=value) for n, value in enumerate(values)))
    assert pq.read_schema(path).field("x").type == kind
    assert [row["x"] for row in records(path)] == read
    assert left_over(tmp_path) == ["t.parquet"]


def test_dates_stay_dates_in_parquet_and_become_text_elsewhere(tmp_path: Path) -> None:
    day = pd.Timestamp("2031-02-03").date()
    assert records(write(tmp_path / "t.parquet", tagged(day=day)))[0]["day"] == day
    assert records(write(tmp_path / "t.jsonl", tagged(day=day)))[0]["day"] == "2031-02-03"
    assert records(write(tmp_path / "t.csv", tagged(day=day)))[0]["day"] == "2031-02-03"


def test_plain_values() -> None:
    import decimal

    import numpy as np

    assert plain(np.float64("nan")) is None
    assert plain(np.int64(3)) == 3
    assert plain(np.array([1.5, np.inf])) == [1.5, None]
    assert plain(pd.NA) is None
    assert plain(pd.NaT) is None
    assert plain(pd.Timestamp("2031-02-03 04:05")) == "2031-02-03T04:05:00"
    assert plain(decimal.Decimal("1.50")) == "1.50"
    assert plain({1: (b"\xff",)}) == {"1": ["/w=="]}


# --- CSV cells


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-x", "@x", "\tx", "\rx", "'=1", "''-x"])
def test_cells_that_a_spreadsheet_would_run_are_quoted(cell: str) -> None:
    assert quote_formula(cell) == "'" + cell
    assert unquote_formula(quote_formula(cell)) == cell


@pytest.mark.parametrize("cell", ["", "x=1", "-5", "+0.5", "-1e3", "'tis", "' =1", "“=1”"])
def test_other_cells_are_not(cell: str) -> None:
    assert quote_formula(cell) == cell
    assert unquote_formula(cell) == cell


PIECES = [
    "=",
    "'",
    "-",
    "5",
    "\t",
    '"',
    "\r",
    "\n",
    "\r\n",
    ",",
    ";",
    " ",
    "\0",
    "\x85",
    "\u2028",
    "\u202e",
    "👩‍👩‍👧",
    "e\u0301",
]
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.lists(st.sampled_from(PIECES)).map(
    "".join
)


@settings(deadline=None, derandomize=True)
@given(st.text() | STRINGS)
def test_quoting_is_reversible(cell: str) -> None:
    assert unquote_formula(quote_formula(cell)) == cell


@settings(deadline=None, derandomize=True, max_examples=40)
@given(text=STRINGS, note=STRINGS)
def test_any_text_comes_back_from_every_format(tmp_path_factory: pytest.TempPathFactory, text: str, note: str) -> None:
    folder = tmp_path_factory.mktemp("out")
    row = dataclasses.replace(tagged(note=note), text=text)
    for suffix in (".jsonl", ".csv", ".parquet"):
        (made,) = records(write(folder / f"t{suffix}", row))
        undo = unquote_formula if suffix == ".csv" else str
        assert (undo(made["text"]), undo(made["note"])) == (text, note)
    assert len((folder / "t.jsonl").read_text(encoding="utf-8").splitlines()) <= 1 + sum(
        text.count(c) + note.count(c) for c in "\x0b\x0c\x1c\x1d\x1e"
    )


def test_lone_surrogates_never_reach_a_file(tmp_path: Path) -> None:
    for suffix in (".jsonl", ".csv"):
        (row,) = records(write(tmp_path / f"t{suffix}", tagged(text="a\ud800b", note="\udfff")))
        assert (row["text"], row["note"]) == ("a\ufffdb", "\ufffd")


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    for suffix in (".jsonl", ".csv", ".parquet"):
        (row,) = open_source(write(tmp_path / f"t{suffix}", tagged(date="x")))
        assert (row.id, row.text, row.extra["date"]) == ("d#0", "But Varga said no.", "x")  # type: ignore[union-attr]
        assert str(row.extra["input_lean"]) == "0.9"  # type: ignore[union-attr]


# --- outputs that are refused


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_an_output_that_exists_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_text("old")
    with pytest.raises(DataError, match="exists; name another output, or replace it with --overwrite"):
        open_writer(path)
    assert path.read_text() == "old"
    assert left_over(tmp_path) == [path.name]
    assert len(records(write(path, tagged(), overwrite=True))) == 1


def test_the_file_of_voices_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "t.voices.csv").write_text("old")
    with pytest.raises(DataError, match=r"t\.voices\.csv exists"):
        open_writer(tmp_path / "t.csv")
    assert left_over(tmp_path) == ["t.voices.csv"]


def test_outputs_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"an output ends in \.jsonl, \.csv, \.parquet"):
        open_writer(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=r"the folder .*none does not exist; make it first"):
        open_writer(tmp_path / "none" / "t.jsonl")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match="is no regular file"):
        open_writer(tmp_path / "d.csv", overwrite=True)
    (tmp_path / "full.csv").symlink_to("/dev/full")
    with pytest.raises(DataError, match="/dev/full is no regular file"):
        open_writer(tmp_path / "full.csv", overwrite=True)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "t.jsonl").symlink_to(tmp_path / "real" / "t.jsonl")
    write(tmp_path / "t.jsonl", tagged())
    assert (tmp_path / "t.jsonl").is_symlink()
    assert len(records(tmp_path / "real" / "t.jsonl")) == 1


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    path = write(tmp_path / "t.jsonl", tagged())
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


# --- runs that break off


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_a_run_that_breaks_off_keeps_its_rows(tmp_path: Path, suffix: str, stop: type[BaseException]) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_text("old")
    with pytest.raises(stop), open_writer(path, overwrite=True) as writer:  # noqa: PT012
        for number in range(300):
            writer.write(tagged(number))
        raise stop
    assert path.read_text() == "old"
    partial = tmp_path / f"t.partial{suffix}"
    assert writer.partial[0] == partial
    assert [row["id"] for row in records(partial)] == [f"d#{n}" for n in range(300)]
    voices = ["t.voices.partial.csv"] if suffix == ".csv" else []
    assert left_over(tmp_path) == sorted([path.name, partial.name, *voices])
    if voices:
        assert len(records(tmp_path / voices[0])) == 600


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_run_that_breaks_off_before_its_first_row_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / f"t{suffix}") as writer:
        raise KeyboardInterrupt
    assert writer.partial == ()
    assert left_over(tmp_path) == []


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize("size", [200_000, 131_072, 70_001])
def test_a_full_disk_leaves_whole_rows(tmp_path: Path, suffix: str, size: int) -> None:
    path = tmp_path / f"t{suffix}"
    with pytest.raises(DetenteError, match=r"cannot write .*t\..*: .*kept in .*partial.*Free some space"):  # noqa: PT012, SIM117
        with open_writer(path) as writer, disk_of(size):
            for number in range(2000):
                writer.write(tagged(number))
    assert not path.exists()
    rows = records(writer.partial[0])
    assert [row["id"] for row in rows] == [f"d#{n}" for n in range(len(rows))]
    assert 10 < len(rows) < 2000
    if suffix == ".csv":
        voices = records(writer.partial[1])
        assert [row["id"] for row in voices] == [f"d#{n}" for n in range(len(rows)) for _ in range(2)]
    assert left_over(tmp_path) == sorted(p.name for p in writer.partial)


def test_a_full_disk_while_parquet_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detente.records.parquet._GROUP_ROWS", 50)
    path = tmp_path / "t.parquet"
    path.write_text("old")
    with pytest.raises(DetenteError, match=r"cannot write .*nothing could be kept"):  # noqa: PT012, SIM117
        with open_writer(path, overwrite=True) as writer, disk_of(40_000):
            for number in range(5000):
                writer.write(tagged(number, text=os.urandom(50).hex()))
    assert path.read_text() == "old"
    assert left_over(tmp_path) == ["t.parquet"]


def test_a_full_disk_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(DetenteError, match="nothing could be kept"):  # noqa: SIM117
        with disk_of(10), open_writer(tmp_path / "t.jsonl") as writer:
            writer.write(tagged())
    assert left_over(tmp_path) == []


def test_an_interrupt_at_any_line_leaves_whole_rows_that_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may arrive before any line of the writer; it is raised before every seventh, one after the other."""
    monkeypatch.setattr("detente.records.lines._FLUSH_BYTES", 1000)
    before = sys.gettrace()
    interrupted = True
    moment = 0
    while interrupted:
        moment += 7
        left, interrupted = moment, False

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left, interrupted
            if not frame.f_code.co_filename.endswith(("lines.py", "output.py")):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    interrupted = True
                    sys.settrace(before)
                    raise KeyboardInterrupt
            return trace

        path = tmp_path / f"{moment}.csv"
        writer = open_writer(path)
        with contextlib.suppress(KeyboardInterrupt), writer:
            sys.settrace(trace)
            try:
                for number in range(9):
                    writer.write(tagged(number, text="x" * 400, **({"late": "y"} if number > 4 else {})))
            finally:
                sys.settrace(before)
            raise KeyboardInterrupt
        assert not path.exists()
        if writer.partial:
            rows, voices = (records(p) for p in writer.partial)
            assert [row["id"] for row in rows] == [f"d#{n}" for n in range(len(rows))]
            assert [row["id"] for row in voices] == [f"d#{n}" for n in range(len(rows)) for _ in range(2)]
    assert moment > 200
    assert not [name for name in left_over(tmp_path) if name.endswith(".tmp")]


# --- rejected rows


def test_rejected_rows_have_a_file_only_if_there_are_any(tmp_path: Path) -> None:
    with RejectedWriter(tmp_path / "tags.parquet") as writer:
        pass
    assert left_over(tmp_path) == []
    with RejectedWriter(tmp_path / "tags.parquet") as writer:
        writer.write(Rejected("a.jsonl", 3, "not UTF-8", "caf\udce9"))
        writer.write(Rejected("a.parquet", 4, "no text", {"n": float("nan"), "raw": b"\xff", "s": "\ud800"}))
    assert left_over(tmp_path) == ["tags.rejected.jsonl"]
    first, second = records(tmp_path / "tags.rejected.jsonl")
    assert first == {"source": "a.jsonl", "line": 3, "reason": "not UTF-8", "raw": "caf\udce9"}
    assert first["raw"].encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert second["raw"] == {"n": None, "raw": "/w==", "s": "\ufffd"}


def test_a_stale_file_of_rejected_rows(tmp_path: Path) -> None:
    stale = tmp_path / "tags.rejected.jsonl"
    stale.write_text("{}\n")
    with pytest.raises(DataError, match=r"tags\.rejected\.jsonl exists"):
        RejectedWriter(tmp_path / "tags.csv")
    with RejectedWriter(tmp_path / "tags.csv", overwrite=True):
        assert stale.exists()
    assert left_over(tmp_path) == []


def test_rejected_rows_of_a_run_that_breaks_off(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RejectedWriter(tmp_path / "tags.csv") as writer:  # noqa: PT012
        writer.write(Rejected("a", 1, "no text", None))
        raise KeyboardInterrupt
    assert left_over(tmp_path) == ["tags.rejected.partial.jsonl"]
