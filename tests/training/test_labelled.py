import csv
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.codebook import Codebook
from detente.encoding import words
from detente.errors import DataError
from detente_training.labelled import (
    Count,
    LabelledParagraph,
    LabelledVoice,
    assign_splits,
    check_labelled,
    read_labelled,
)

BOOK = Codebook.default()
TEXT = "The ministry said drills would go on, a line hawks dismissed."
GOOD = {
    "id": "a-0",
    "document": "a",
    "title": "Drills go on",
    "style": "wire",
    "region": "dprk",
    "year": "2018",
    "split": "train",
    "text": TEXT,
    "topics": ["military_tension"],
    "narrator": None,
    "voices": [{"start": 0, "end": 12, "stance": "mixed"}, {"start": 45, "end": 50, "stance": "pressure"}],
}


def jsonl(path: Path, *records: object) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def table(path: Path, *records: dict[str, object]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for record in records for key in record)))
        writer.writeheader()
        writer.writerows(records)
    return path


def errors(path: Path) -> list[str]:
    return [problem.message for problem in check_labelled([path], BOOK).errors]


def test_a_record_is_read_field_by_field(tmp_path: Path) -> None:
    (paragraph,) = read_labelled([jsonl(tmp_path / "a.jsonl", GOOD)], BOOK)
    assert paragraph == LabelledParagraph(
        id="a-0",
        document="a",
        text=TEXT,
        topics=("military_tension",),
        voices=(LabelledVoice(0, 12, "mixed"), LabelledVoice(45, 50, "pressure")),
        narrator=None,
        narrator_labelled=True,
        split="train",
        title="Drills go on",
        style="wire",
        region="dprk",
        year="2018",
    )
    assert paragraph.to_dict() == GOOD


def test_absent_keys_are_not_labels(tmp_path: Path) -> None:
    bare = {"id": "a", "document": "a", "text": TEXT}
    (paragraph,) = read_labelled([jsonl(tmp_path / "a.jsonl", bare)], BOOK)
    assert (paragraph.topics, paragraph.voices, paragraph.narrator_labelled) == (None, None, False)
    assert paragraph.to_dict() == bare


def test_empty_labels_are_labels(tmp_path: Path) -> None:
    none = {"id": "a", "document": "a", "text": TEXT, "topics": [], "narrator": None, "voices": []}
    (paragraph,) = read_labelled([jsonl(tmp_path / "a.jsonl", none)], BOOK)
    assert (paragraph.topics, paragraph.voices, paragraph.narrator_labelled) == ((), (), True)
    assert paragraph.to_dict() == none


def test_null_topics_and_voices_are_not_labelled(tmp_path: Path) -> None:
    (paragraph,) = read_labelled([jsonl(tmp_path / "a.jsonl", GOOD | {"topics": None, "voices": None})], BOOK)
    assert (paragraph.topics, paragraph.voices) == (None, None)


def test_topics_come_in_the_order_of_the_codebook(tmp_path: Path) -> None:
    record = GOOD | {"topics": ["diplomacy", "human_rights"]}
    (paragraph,) = read_labelled([jsonl(tmp_path / "a.jsonl", record)], BOOK)
    assert paragraph.topics == ("human_rights", "diplomacy")


def test_numbers_serve_as_identifiers(tmp_path: Path) -> None:
    record = {"id": 7, "document": 3, "year": 2018, "text": TEXT}
    (paragraph,) = read_labelled([jsonl(tmp_path / "a.jsonl", record)], BOOK)
    assert (paragraph.id, paragraph.document, paragraph.year) == ("7", "3", "2018")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "`id` is missing"),
        ({"document": ""}, "`document` is empty"),
        ({"text": None}, "`text` is missing"),
        ({"text": 3}, "`text` must be text, not a number"),
        ({"text": " \n"}, "`text` is empty"),
        ({"id": True}, "`id` must be text, not true/false"),
        ({"title": ["x"]}, "`title` must be text, not a list"),
        ({"topics": "diplomacy"}, "`topics` must be a list, not text"),
        ({"topics": [1]}, "`topics` must list names, not a number"),
        ({"topics": ["diplomcy"]}, "unknown topic `diplomcy`; did you mean `diplomacy`?"),
        (
            {"topics": ["sport"]},
            "unknown topic `sport`; allowed: human_rights, military_tension, diplomacy",
        ),
        ({"topics": ["diplomacy", "diplomacy"]}, "the topic `diplomacy` is listed twice"),
        ({"narrator": 1}, "`narrator` must be a stance or null, not a number"),
        (
            {"narrator": "presure"},
            "unknown stance of the narrator `presure`; did you mean `pressure`?",
        ),
        ({"split": "dev"}, "unknown split `dev`; allowed: train, validation, test"),
        ({"narrator_labelled": "no"}, "`narrator_labelled` must be true or false, not 'no'"),
        ({"voices": {"start": 0}}, "`voices` must be a list, not an object"),
        ({"voices": ["he"]}, "voice 1 must be an object with start, end and stance, not text"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    assert errors(jsonl(tmp_path / "a.jsonl", GOOD | change)) == [message]


@pytest.mark.parametrize(
    ("voices", "message"),
    [
        (
            [(0, 99, "neutral")],
            "voice 1: the offsets 0 to 99 are no stretch of the text, which has 61 characters",
        ),
        (
            [(-1, 3, "neutral")],
            "voice 1: the offsets -1 to 3 are no stretch of the text, which has 61 characters",
        ),
        (
            [(4, 4, "neutral")],
            "voice 1: the offsets 4 to 4 are no stretch of the text, which has 61 characters",
        ),
        ([(0, 13, "neutral")], "voice 1: '[The ministry ]said drills ' has a blank at its edge"),
        ([(0, 9, "neutral")], "voice 1: '[The minis]try said dri' ends inside a word"),
        ([(1, 12, "neutral")], "voice 1: 'T[he ministry] said drills' begins inside a word"),
        (
            [(0, 12, "hostile")],
            "voice 1: unknown stance `hostile`; allowed: engagement, pressure, mixed, neutral",
        ),
        ([(0, 12, None)], "voice 1: `stance` must be text, not nothing"),
        ([("0", 12, "mixed")], "voice 1: `start` must be a whole number, not text"),
        ([(0, 12.0, "mixed")], "voice 1: `end` must be a whole number, not a number"),
        ([(False, 12, "mixed")], "voice 1: `start` must be a whole number, not true/false"),
        (
            [(0, 12, "mixed"), (4, 17, "neutral")],
            "voice 2 overlaps the voice ahead of it, '[The ministry] said drills'",
        ),
        (
            [(45, 50, "mixed"), (0, 12, "neutral")],
            "voice 2 begins before the voice ahead of it; list voices in text order",
        ),
    ],
)
def test_a_wrong_voice_is_named(tmp_path: Path, voices: list[tuple[object, ...]], message: str) -> None:
    marked = [dict(zip(("start", "end", "stance"), voice, strict=True)) for voice in voices]
    assert errors(jsonl(tmp_path / "a.jsonl", GOOD | {"voices": marked})) == [message]


def test_a_mention_must_be_what_the_offsets_hold(tmp_path: Path) -> None:
    voice = {"start": 0, "end": 12, "stance": "mixed", "mention": "the ministry"}
    message = "voice 1: `mention` is 'the ministry', but its offsets hold 'The ministry'"
    assert errors(jsonl(tmp_path / "a.jsonl", GOOD | {"voices": [voice]})) == [message]


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("The respected ComradeRo Min Asaid on the spot.", "Ro Min A"),
        ("In the words of theMinister, nobody slept.", "Minister"),
        ("She asked him and3 others have agreed.", "3 others"),
        ("On Thursday, Treasury Secretarysaid no.", "Treasury Secretary"),
    ],
)
def test_words_glued_in_the_source_are_a_warning(tmp_path: Path, text: str, mention: str) -> None:
    start = text.index(mention)
    voice = {"start": start, "end": start + len(mention), "stance": "neutral", "mention": mention}
    check = check_labelled([jsonl(tmp_path / "a.jsonl", GOOD | {"text": text, "voices": [voice]})], BOOK)
    assert not check.errors
    assert all("inside words that the source has glued" in warning.message for warning in check.warnings)
    assert check.warnings


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("We do not need them now.", "he"),
        ("It is something else.", "some"),
        ("The South Koreans agreed.", "South Korea"),  # an ending, not a word of its own
        ("The Americanized town waited.", "American"),  # one word may well be cut by a slip
        ("THE MINISTERS SPOKE.", "MINISTER"),
    ],
)
def test_a_mark_inside_an_ordinary_word_is_a_mistake(tmp_path: Path, text: str, mention: str) -> None:
    start = text.index(mention)
    voice = {"start": start, "end": start + len(mention), "stance": "neutral"}
    path = jsonl(tmp_path / "a.jsonl", GOOD | {"text": text, "voices": [voice]})
    assert any("inside a word" in message for message in errors(path))


def test_all_mistakes_come_at_once_with_file_and_line(tmp_path: Path) -> None:
    one = jsonl(tmp_path / "one.jsonl", GOOD, "", '{"id": ', "[1]", GOOD | {"topics": ["sport"]})
    two = jsonl(tmp_path / "two.jsonl", GOOD | {"id": "b", "split": "test"})
    with pytest.raises(DataError) as raised:
        read_labelled([one, two, tmp_path / "three.jsonl"], BOOK)
    assert str(raised.value).splitlines() == [
        "the labelled data has 6 mistakes:",
        f"  - {one}:3: is not JSON: Expecting value at column 8",
        f"  - {one}:4: must be one JSON object per line, not list",
        f"  - {one}:5: unknown topic `sport`; allowed: human_rights, military_tension, diplomacy",
        f"  - {one}:5: the id `a-0` was used before, at {one}:1",
        f"  - {two}:1: the document `a` is in two splits: `test` here, `train` at {one}:1",
        f"  - {tmp_path / 'three.jsonl'}: no such file",
        "Mend what is listed, then run this again; `detente corpus check FILES` checks and does no more.",
    ]


def test_files_that_hold_nothing_are_mistakes(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    header = tmp_path / "header.csv"
    header.write_text("id,document,text\n", encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()
    odd = tmp_path / "notes.docx"
    odd.touch()
    check = check_labelled([empty, header, folder, odd], BOOK)
    assert [str(problem) for problem in check.errors] == [
        f"{empty}: holds no records",
        f"{header}: holds no records",
        f"{folder}: the folder holds no *.jsonl file; name CSV and Parquet files one by one",
        f"{odd}: unknown kind of file; allowed: .jsonl, .ndjson, .csv, .tsv, .parquet",
    ]
    assert errors_of_nothing() == ["no file was named"]


def errors_of_nothing() -> list[str]:
    return [problem.message for problem in check_labelled([], BOOK).errors]


def test_a_folder_is_its_jsonl_files_and_not_what_lies_deeper(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    jsonl(tmp_path / "b.jsonl", GOOD | {"id": "b"})
    jsonl(tmp_path / "a.jsonl", GOOD)
    jsonl(tmp_path / "deeper" / "c.jsonl", GOOD | {"id": "c"})
    (tmp_path / "readme.txt").write_text("not data", encoding="utf-8")
    assert [paragraph.id for paragraph in read_labelled([tmp_path], BOOK)] == ["a-0", "b"]


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b'\n{"id": "\xff"}\n')
    assert [str(problem) for problem in check_labelled([path], BOOK).errors] == [
        f"{path}:2: is not UTF-8 (byte 9 of the line)"
    ]
    cells = tmp_path / "a.csv"
    cells.write_bytes(b"id,document,text\na,a,fine\nb,b,caf\xe9\n")
    assert [str(problem) for problem in check_labelled([cells], BOOK).errors] == [f"{cells}:3: is not UTF-8"]


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    line = json.dumps(GOOD | {"text": "\ud800 " + TEXT, "voices": [{"start": 2, "end": 14, "stance": "mixed"}]})
    check = check_labelled([jsonl(tmp_path / "a.jsonl", line)], BOOK)
    assert [warning.message for warning in check.warnings] == ["`text` has lone surrogates; they are read as U+FFFD"]
    assert check.paragraphs[0].text == "\ufffd " + TEXT


def test_a_misspelt_column_is_a_warning_given_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [{"id": str(n), "document": "a", "text": TEXT, "topic": [], "mood": 1} for n in range(3)]
    path = jsonl(tmp_path / "a.jsonl", *records)
    check = check_labelled([path], BOOK)
    message = "`topic` is no column of a labelled record and is ignored; did you mean `topics`?"
    assert [str(warning) for warning in check.warnings] == [f"{path}:1: {message}"]
    with caplog.at_level(logging.WARNING, logger="detente_training"):
        read_labelled([path], BOOK)
    assert "1 warning(s)" in caplog.text


def test_a_standoff_file_is_told_apart(tmp_path: Path) -> None:
    record = {"id": "a", "document": "a", "sha1": "0" * 40, "length": 3}
    remedy = "put the text back first: detente corpus join STANDOFF TEXTS --output FILE"
    assert errors(jsonl(tmp_path / "a.jsonl", record)) == [f"`text` is missing; {remedy}"]


def test_csv_holds_the_same_records(tmp_path: Path) -> None:
    row = GOOD | {
        "topics": "military_tension; diplomacy",
        "narrator": "",
        "voices": json.dumps(GOOD["voices"]),
    }
    (paragraph,) = read_labelled([table(tmp_path / "a.csv", row)], BOOK)
    (expected,) = read_labelled(
        [jsonl(tmp_path / "a.jsonl", GOOD | {"topics": ["military_tension", "diplomacy"]})], BOOK
    )
    assert paragraph == expected


@pytest.mark.parametrize(
    ("topics", "expected"),
    [("", ()), ("[]", ()), ("null", None), ("diplomacy", ("diplomacy",)), ('["diplomacy"]', ("diplomacy",))],
)
def test_cells_of_topics(tmp_path: Path, topics: str, expected: tuple[str, ...] | None) -> None:
    row = {"id": "a", "document": "a", "text": TEXT, "topics": topics}
    (paragraph,) = read_labelled([table(tmp_path / "a.csv", row)], BOOK)
    assert paragraph.topics == expected


def test_csv_can_say_that_a_row_is_not_labelled(tmp_path: Path) -> None:
    row = {
        "id": "a",
        "document": "a",
        "text": TEXT,
        "narrator": "",
        "narrator_labelled": "false",
        "voices": "null",
    }
    (paragraph,) = read_labelled([table(tmp_path / "a.csv", row)], BOOK)
    assert (paragraph.narrator_labelled, paragraph.voices) == (False, None)


def test_csv_mistakes_carry_the_line_on_which_the_row_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        'id,document,text,voices\na,a,"two\nlines",[]\nb,b\nc,c,text,he said\n', encoding="utf-8", newline=""
    )
    assert [str(problem) for problem in check_labelled([path], BOOK).errors] == [
        f"{path}:4: has 2 fields; the header has 4",
        f"{path}:5: `voices` must be a JSON list, not 'he said'",
    ]


def test_csv_with_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,text,text\n1,a,b\n", encoding="utf-8")
    assert errors(path) == ["the header names 'text' twice"]


def test_csv_that_is_not_csv_is_a_mistake_and_blank_lines_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,document,text\n\na,a,fine\nb,b,"open\n', encoding="utf-8")
    assert [str(problem) for problem in check_labelled([path], BOOK).errors] == [
        f"{path}:4: is not CSV: unexpected end of data"
    ]
    path.write_bytes(b"id,document,caf\xe9\na,a,b\n")
    assert [str(problem) for problem in check_labelled([path], BOOK).errors] == [f"{path}:1: is not UTF-8"]


def test_json_nested_too_deep_is_a_mistake(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", '{"id": ' + "[" * 200_000)
    assert errors(path)[0].startswith("is not JSON that can be read")


def test_numbers_that_pandas_made_of_identifiers_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "id": 1.0,
            "document": "a",
            "text": TEXT,
            "year": 2018.0,
            "narrator_labelled": False,
            "narrator": None,
        },
        {"id": 2.0, "document": "a", "text": TEXT, "year": float("nan"), "narrator_labelled": True},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    first, second = read_labelled([tmp_path / "a.parquet"], BOOK)
    assert (first.id, first.year, first.narrator_labelled) == ("1", "2018", False)
    assert (second.id, second.year, second.narrator_labelled) == ("2", None, True)


def test_a_lone_surrogate_in_an_identifier_is_a_mistake(tmp_path: Path) -> None:
    message = "`id` has lone surrogates, which no file can hold"
    assert errors(jsonl(tmp_path / "a.jsonl", GOOD | {"id": "a\ud800"})) == [message]


def test_long_cells_and_tabs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(f"id\tdocument\ttext\na\ta\t{'x ' * 200_000}\n", encoding="utf-8")
    assert len(read_labelled([path], BOOK)[0].text) == 400_000


def test_parquet_holds_the_same_records(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    second = GOOD | {"id": "a-1", "topics": [], "narrator": "neutral", "voices": None, "title": None}
    pq.write_table(pa.Table.from_pylist([GOOD, second]), tmp_path / "a.parquet")
    from_parquet = read_labelled([tmp_path / "a.parquet"], BOOK)
    assert from_parquet == read_labelled([jsonl(tmp_path / "a.jsonl", GOOD, second)], BOOK)
    assert from_parquet[1].voices is None


def test_a_broken_parquet_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really")
    assert errors(tmp_path / "a.parquet")[0].startswith("is not a Parquet file that can be read")


def test_counts_cover_every_group(tmp_path: Path) -> None:
    other = {"id": "b-0", "document": "b", "text": TEXT, "topics": [], "voices": []}
    path = jsonl(tmp_path / "a.jsonl", GOOD, GOOD | {"id": "a-1", "narrator": "pressure"}, other)
    assert check_labelled([path], BOOK).counts == (
        Count("file", str(path), 2, 3, 4),
        Count("split", "train", 1, 2, 4),
        Count("split", "none", 1, 1, 0),
        Count("style", "wire", 1, 2, 4),
        Count("style", "none", 1, 1, 0),
        Count("topic", "military_tension", 1, 2, 4),
        Count("topic", "none", 1, 1, 0),
        Count("narrator", "pressure", 1, 1, 2),
        Count("narrator", "none", 1, 1, 2),
        Count("narrator", "not labelled", 1, 1, 0),
        Count("stance", "pressure", 1, 2, 2),
        Count("stance", "mixed", 1, 2, 2),
        Count("stance", "none", 1, 1, 0),
    )


def test_splits_are_given_by_document_and_stay(tmp_path: Path) -> None:
    (base,) = read_labelled([jsonl(tmp_path / "a.jsonl", GOOD | {"split": None})], BOOK)
    group = [replace(base, id=f"{d}-{n}", document=f"d{d}") for d in range(1000) for n in range(2)]
    given = assign_splits(group)
    splits = {paragraph.document: paragraph.split for paragraph in given}
    assert [paragraph.split for paragraph in given] == [splits[paragraph.document] for paragraph in group]
    assert sum(split == "validation" for split in splits.values()) == 106
    assert [document for document, split in splits.items() if split == "validation"][:3] == [
        "d5",
        "d6",
        "d25",
    ]
    assert assign_splits(group[:7]) == given[:7]  # whatever else is in the data


def test_a_split_that_is_named_holds_for_its_document(tmp_path: Path) -> None:
    (base,) = read_labelled([jsonl(tmp_path / "a.jsonl", GOOD)], BOOK)
    group = [replace(base, id="1", split=None), replace(base, id="2", split="test")]
    assert [paragraph.split for paragraph in assign_splits(group)] == ["test", "test"]


STANCES = st.sampled_from(BOOK.stance_names)
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from(list("ab ,.\"'\n\t;\u200d\u0301\u202e\U0001f1ec\U0001f468\ufeff\x00")),
    min_size=1,
    max_size=60,
).filter(lambda text: text.strip() != "")


@st.composite
def labelled(draw: st.DrawFn, number: int) -> LabelledParagraph:
    text = draw(TEXTS)
    spans = words(text)
    edges = sorted(draw(st.sets(st.integers(0, max(0, len(spans) - 1)), max_size=6))) if spans else []
    voices = tuple(
        LabelledVoice(spans[first][0], spans[last][1], draw(STANCES))
        for first, last in zip(edges[::2], edges[1::2], strict=False)
    )
    narrator_labelled = draw(st.booleans())
    return LabelledParagraph(
        id=f"p{number}",
        document=f"d{number // 2}",
        text=text,
        topics=draw(st.none() | st.sets(st.sampled_from(BOOK.topic_names)).map(ordered)),
        voices=draw(st.sampled_from([None, voices, voices])),
        narrator=draw(st.none() | STANCES) if narrator_labelled else None,
        narrator_labelled=narrator_labelled,
        title=draw(st.none() | TEXTS),
    )


def ordered(topics: set[str]) -> tuple[str, ...]:
    return tuple(topic for topic in BOOK.topic_names if topic in topics)


GROUPS = st.integers(1, 3).flatmap(lambda n: st.tuples(*(labelled(number) for number in range(n))))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(GROUPS)
def test_jsonl_and_csv_bring_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, group: tuple[LabelledParagraph, ...]
) -> None:
    folder = tmp_path_factory.mktemp("roundtrip")
    lines = jsonl(folder / "a.jsonl", *(json.dumps(p.to_dict(), ensure_ascii=False) for p in group))
    rows = [
        {
            "id": p.id,
            "document": p.document,
            "text": p.text,
            "title": p.title or "",
            "topics": "null" if p.topics is None else ";".join(p.topics),
            "narrator": p.narrator or "",
            "narrator_labelled": str(p.narrator_labelled).lower(),
            "voices": json.dumps(p.to_dict().get("voices")),
        }
        for p in group
    ]
    assert read_labelled([lines], BOOK) == list(group)
    assert read_labelled([table(folder / "a.csv", *rows)], BOOK) == list(group)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(TEXTS, st.integers(-2, 62), st.integers(-2, 62))
def test_any_offsets_are_accepted_or_named(
    tmp_path_factory: pytest.TempPathFactory, text: str, start: int, end: int
) -> None:
    record = {"id": "a", "document": "a", "text": text}
    voice = {"start": start, "end": end, "stance": "neutral"}
    path = jsonl(tmp_path_factory.mktemp("offsets") / "a.jsonl", record | {"voices": [voice]})
    check = check_labelled([path], BOOK)
    if not 0 <= start < end <= len(text):
        assert "are no stretch of the text" in check.errors[0].message
        return
    mention = text[start:end]
    at_words = start not in inside(text) and end not in inside(text)
    if mention == mention.strip() and at_words:
        assert not check.errors
        assert not check.warnings
    else:
        assert check.errors or check.warnings


def inside(text: str) -> set[int]:
    return {place for start, end in words(text) for place in range(start + 1, end)}
