"""Rows in: what is read from each format, and that nothing is lost."""

import csv
import datetime
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.documents import Paragraph
from detente.errors import DataError, DetenteError
from detente.records import Counts, Rejected, SeenIds, open_source
from detente.tags import ParagraphTags

EXAMPLES = Path(__file__).parents[2] / "examples"


def read(path: Path | str, data: bytes | str | None = None, **options: Any) -> list[Paragraph | Rejected]:
    if data is not None:
        Path(path).write_bytes(data.encode() if isinstance(data, str) else data)
    return list(open_source(path, **options))


def texts(items: list[Paragraph | Rejected]) -> list[str]:
    return [item.text for item in items if isinstance(item, Paragraph)]


def reasons(items: list[Paragraph | Rejected]) -> list[tuple[int | None, str]]:
    return [(item.line, item.reason) for item in items if isinstance(item, Rejected)]


# --- JSONL


def test_jsonl_rows_keep_their_other_columns(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.jsonl", '{"id": "x", "document": "d", "text": "They spoke.", "n": 1, "tags": ["a"]}')
    assert row == Paragraph("They spoke.", "x", "d", 0, extra={"n": 1, "tags": ["a"]})


def test_every_bad_row_is_set_aside_with_its_line_and_reason(tmp_path: Path) -> None:
    data = b"""{"id": 1, "text": "They spoke."}
{"id": 1, "text": "They left."}
{"id": 2, "text": "broken
{"id": 3, "text": 7}
{"id": 4}
{"id": 5, "text": null}
{"id": 6, "text": " \\u200b\\n"}
["a list"]
{"id": 7, "text": "caf\xe9"}

{"id": 8, "text": "a text that is too long for the bound"}
{"id": [9], "text": "They sat."}
{"id": true, "text": "They sat."}
{"id": 10, "text": "They came back."}
"""
    items = read(tmp_path / "a.jsonl", data, max_characters=20)
    assert texts(items) == ["They spoke.", "They came back."]
    assert reasons(items) == [
        (2, "duplicate id: `1` was given before"),
        (3, "broken JSON: Invalid control character at at character 27")
        if sys.version_info < (3, 11)
        else (3, "broken JSON: Unterminated string starting at at character 19"),
        (4, "wrong type: `text` is a number, must be a string"),
        (5, "no text: column `text` is missing"),
        (6, "no text: column `text` is null"),
        (7, "empty text: column `text` has nothing to see in it"),
        (8, "not a JSON object but a list"),
        (9, "not UTF-8"),
        (11, "too long: 37 characters, allowed are 20"),
        (12, "wrong type: `id` is a list, must be a string or a whole number"),
        (13, "wrong type: `id` is a truth value, must be a string or a whole number"),
    ]
    latin = next(item for item in items if isinstance(item, Rejected) and item.line == 9)
    assert latin.raw.encode("utf-8", "surrogateescape") == b'{"id": 7, "text": "caf\xe9"}'
    assert len(items) == 13


def test_rows_without_id_or_document(tmp_path: Path) -> None:
    items = read(tmp_path / "speeches.jsonl", '{"text": "One spoke."}\n{"text": "Two spoke.", "id": null}\n')
    assert items == [
        Paragraph("One spoke.", "speeches:1", "speeches:1", 0),
        Paragraph("Two spoke.", "speeches:2", "speeches:2", 0),
    ]


def test_places_are_counted_within_a_document(tmp_path: Path) -> None:
    rows = [{"text": f"{n} spoke.", "document": d} for n, d in enumerate(["a", "a", "b", "b", "b", None, None])]
    items = read(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert [item.index for item in items if isinstance(item, Paragraph)] == [0, 1, 0, 1, 2, 0, 0]


def test_lone_surrogates_are_replaced_everywhere(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.jsonl", '{"text": "a\\ud800b", "id": "\\udc00", "n\\ud800": {"k": ["\\udfff"]}}')
    assert row == Paragraph("a\ufffdb", "\ufffd", "\ufffd", 0, "paragraph", True, {"n\ufffd": {"k": ["\ufffd"]}})


def test_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    data = '{"text": "They spoke.", "a": NaN, "b": -Infinity, "c": 1e400}\n{"text": "x", "d": ' + "9" * 5000 + "}"
    first, second = read(tmp_path / "a.jsonl", data)
    assert isinstance(first, Paragraph)
    assert first.extra == {"a": None, "b": None, "c": None}
    assert isinstance(second, Rejected)
    assert second.reason.startswith("broken JSON: Exceeds the limit")


def test_deep_nesting_is_one_rejected_row(tmp_path: Path) -> None:
    data = '{"text": "They spoke."}\n' + '{"text": ' + "[" * 200_000 + "\n" + '{"text": "They left."}'
    items = read(tmp_path / "a.jsonl", data)
    assert texts(items) == ["They spoke.", "They left."]
    assert reasons(items)[0][1].startswith("broken JSON: ")


@pytest.mark.parametrize("data", ['[\n{"text": "a"}\n]', '[{"text": "a"}]', '{\n  "text": "a"\n}'])
def test_one_json_value_is_no_jsonl(tmp_path: Path, data: str) -> None:
    with pytest.raises(DataError, match="one JSON value, not one object per line; turn an array into lines"):
        read(tmp_path / "a.jsonl", data)


def test_the_text_column_is_looked_for_in_the_first_rows(tmp_path: Path) -> None:
    items = read(tmp_path / "a.jsonl", '{"x": 1}\n{"text": "They spoke."}\n')
    assert len(items) == 2
    with pytest.raises(DataError, match=r"no column `text`; there are: headline, body\. Did you mean `body`\?"):
        read(tmp_path / "b.jsonl", '{"headline": "x", "body": "They spoke."}')


# --- CSV and TSV


def test_csv_rows(tmp_path: Path) -> None:
    data = '\ufefftext,id,date\n"They said ""no"",\nand left.",7,2031-02-03\r\nThey stayed.,8,\n\n'
    assert read(tmp_path / "a.csv", data) == [
        Paragraph('They said "no",\nand left.', "7", "7", 0, extra={"date": "2031-02-03"}),
        Paragraph("They stayed.", "8", "8", 0, extra={"date": ""}),
    ]


def test_csv_bad_rows_cost_only_themselves(tmp_path: Path) -> None:
    data = (
        b'text,date\nThey spoke.,1\nragged\nx,y,z\n"never closed,4\nThey sat.,5\nnul\x00here,6\n'
        b'"closed" badly,7\ncaf\xe9,8\n,9\nThey left.,10'
    )
    items = read(tmp_path / "a.csv", data)
    assert texts(items) == ["They spoke.", "They sat.", "nul\0here", "They left."]
    assert reasons(items) == [
        (3, "ragged row: 1 cells, the header has 2"),
        (4, "ragged row: 3 cells, the header has 2"),
        (5, "broken CSV: ',' expected after '\"'"),
        (8, "broken CSV: ',' expected after '\"'"),
        (9, "not UTF-8"),
        (10, "empty text: column `text` has nothing to see in it"),
    ]
    assert [item.raw for item in items if isinstance(item, Rejected)][2] == '"never closed,4'


def test_a_quote_that_never_closes_costs_its_line_alone(tmp_path: Path) -> None:
    items = read(tmp_path / "a.csv", 'text,n\nOne spoke.,1\n"Two spoke.,2\nThree spoke.,3\nFour spoke.,4\n')
    assert texts(items) == ["One spoke.", "Three spoke.", "Four spoke."]
    assert reasons(items) == [(3, "broken CSV: unexpected end of data")]


def test_other_delimiters(tmp_path: Path) -> None:
    assert texts(read(tmp_path / "a.tsv", "text\tn\nThey spoke, and left.\t1\n")) == ["They spoke, and left."]
    assert texts(read(tmp_path / "b.csv", "n;text\n1;They spoke, and left.\n")) == ["They spoke, and left."]
    assert texts(read(tmp_path / "c.csv", "n\ttext\r\n1\tThey spoke.\r\n".encode("utf-16"))) == ["They spoke."]


def test_columns_without_a_name(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.csv", ",text\n0,They spoke.\n")
    assert row.extra == {"column_1": "0"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "no header row"),
        ("\n\n", "no header row"),
        ("text,date\n", "no rows in it"),
        ("text,text\na,b\n", "the header names `text` twice"),
        ("headline,txt\na,b\n", r"there are: headline, txt\. Did you mean `txt`\? Name it with --text-column"),
    ],
)  # fmt: skip
def test_csv_without_what_is_needed(tmp_path: Path, data: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.csv", data)


def test_columns_that_were_named_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    (row,) = read(path, "uid,src,body\n1,d,They spoke.\n", text_column="body", id_column="uid", document_column="src")
    assert row == Paragraph("They spoke.", "1", "d", 0)
    with pytest.raises(DataError, match=r"no column `uuid`; there are: uid, src, body\. Did you mean `uid`\?"):
        read(path, text_column="body", id_column="uuid")
    with pytest.raises(DataError, match=r"no column `docs`.*--document-column \(document_column="):
        read(path, text_column="body", document_column="docs")


def test_columns_that_collide_get_a_prefix(tmp_path: Path) -> None:
    data = "body,text,stance,topic_war,input_text,date,lean\nThey spoke.,t,s,1,i,d,l\n"
    (row,) = read(tmp_path / "a.csv", data, text_column="body")
    assert row.extra == {  # type: ignore[union-attr]
        "input_input_text": "t",
        "input_stance": "s",
        "input_topic_war": "1",
        "input_text": "i",
        "date": "d",
        "input_lean": "l",
    }


def test_a_cell_of_two_megabytes_is_one_rejected_row(tmp_path: Path) -> None:
    long = "They spoke and left, and came again.\n" * 60_000
    items = read(tmp_path / "a.csv", f'text\n"{long}"\nThey left.\n')
    assert texts(items) == ["They left."]
    assert reasons(items) == [(2, "too long: 2,220,000 characters, allowed are 500,000")]
    assert [item.raw for item in items if isinstance(item, Rejected)] == [{"text": long}]


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["=1+1", "a\rb", "a\r\nb", '"', '""', ",", "\0", "\u2028", "\x85", "👩‍👩‍👧", "e\u0301", "\u202e\u2066", "\ufeffa"]
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
def test_csv_that_python_wrote_is_read_back(rows: list[tuple[str, str]]) -> None:
    from detente.records.formats import csv_table

    made = io.StringIO(newline="")
    csv.writer(made, quoting=csv.QUOTE_ALL).writerows([("text", "note"), *rows])
    table = csv_table(io.BytesIO(made.getvalue().encode()), "x.csv", None)
    assert [tuple((row.values or {}).values()) for row in table.rows] == rows


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.binary(max_size=80))
def test_any_bytes_after_a_header_lose_no_line(data: bytes) -> None:
    from detente.records.formats import csv_table, jsonl_table

    rows = list(csv_table(io.BytesIO(b"text,note\n" + data), "x.csv", None).rows)
    assert all((row.values is None) == (row.reason is not None) for row in rows)
    if data.strip(b"\r\n"):
        assert rows
    lines = [line for line in data.split(b"\n") if line.strip(b"\r \t")]
    if not data.startswith((b"[", b"{", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        try:
            found = list(jsonl_table(io.BytesIO(data), "x.jsonl").rows)
        except DataError:
            return
        assert len(found) <= len(lines)


# --- Parquet


def test_parquet_rows(tmp_path: Path) -> None:
    day = datetime.date(2031, 2, 3)
    table = pa.table(
        {
            "text": ["They spoke.", None, "They left."],
            "id": [1.0, 2.0, float("nan")],
            "day": [day, day, None],
            "tags": [["a"], [], None],
            "raw": [b"\xff", None, None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    items = read(tmp_path / "a.parquet")
    assert items[0] == Paragraph("They spoke.", "1", "1", 0, extra={"day": day, "tags": ["a"], "raw": "/w=="})
    assert reasons(items) == [(2, "no text: column `text` is null")]
    assert items[2] == Paragraph("They left.", "a:3", "a:3", 0, extra={"day": None, "tags": None, "raw": None})


def test_parquet_with_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    column = pa.array([b"They spoke.", b"caf\xe9", b"They left."], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    items = read(tmp_path / "a.parquet")
    assert texts(items) == ["They spoke.", "They left."]
    assert reasons(items) == [(2, "not UTF-8")]


def test_parquet_of_another_type(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    assert reasons(read(tmp_path / "a.parquet"))[0] == (1, "wrong type: `text` is a number, must be a string")
    with pytest.raises(DataError, match="no column `body`; there are: text"):
        read(tmp_path / "a.parquet", text_column="body")


def test_broken_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a Parquet file, or an incomplete one"):
        read(tmp_path / "a.parquet", b"PAR1 and no more")
    with pytest.raises(DataError, match="not a Parquet file"):
        read(tmp_path / "b.parquet", b"")


# --- articles, folders, standard input


def test_a_text_file_is_a_document(tmp_path: Path) -> None:
    items = read(tmp_path / "note.txt", "Title\n\nThey spoke.\n\nThey spoke.\n")
    assert [(item.id, item.document, item.kind) for item in items if isinstance(item, Paragraph)] == [
        ("note#0", "note", "heading"),
        ("note#1", "note", "paragraph"),
        ("note#2", "note", "repeat"),
    ]


def test_a_paragraph_of_two_megabytes_is_one_rejected_row(tmp_path: Path) -> None:
    items = read(tmp_path / "note.txt", "word " * 420_000 + ".\n\nThey left.\n")
    assert texts(items) == ["They left."]
    assert reasons(items) == [(0, "too long: 2,100,001 characters, allowed are 500,000")]


def test_a_folder_is_read_in_order_and_a_bad_file_is_one_rejected_row(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b" / "x.txt").write_text("Two spoke.")
    (tmp_path / "a.csv").write_text("text\nOne spoke.\n")
    (tmp_path / "z.txt").write_bytes(b"\0" * 100)
    (tmp_path / "z.html").write_text("<html><body><p>They agreed to meet again on Friday, he said.</p></body></html>")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden" / "y.txt").write_text("Nobody spoke.")
    items = read(tmp_path)
    assert [(i.id, i.document) for i in items if isinstance(i, Paragraph)] == [
        ("a:2", "a:2"),
        ("z#0", "z"),
        ("b/x#0", "b/x"),
    ]
    assert reasons(items)[0][0] is None
    assert "binary data, not text" in reasons(items)[0][1]


def test_files_of_one_stem_do_not_clash(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("One spoke.")
    (tmp_path / "x.md").write_text("Two spoke.")
    assert [item.id for item in read(tmp_path) if isinstance(item, Paragraph)] == ["x#0", "x.txt#0"]
    seen = SeenIds()
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "x.txt").write_text("Three spoke.")
    ids = [p.id for f in ("x.txt", "y/x.txt") for p in read(tmp_path / f, seen=seen) if isinstance(p, Paragraph)]
    assert ids == ["x#0", "x.txt#0"]


def test_identifiers_are_unique_over_the_inputs_of_a_run(tmp_path: Path) -> None:
    seen = SeenIds()
    first = read(tmp_path / "a.jsonl", '{"id": "x", "text": "One."}', seen=seen)
    second = read(tmp_path / "b.jsonl", '{"id": "x", "text": "Two."}\n{"id": "y", "text": "Three."}', seen=seen)
    assert (texts(first), texts(second)) == (["One."], ["Three."])


def test_a_folder_with_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"no file in this folder that detente reads; it reads \.jsonl"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.html", "a"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"empty|no rows|no header"):
        read(tmp_path / name, b"")


def test_an_input_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; give a file, a folder, or - for standard input"):
        read(tmp_path / "none.txt")


def test_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"text": "They spoke."}\n' * 1 + b'{"text": "They left."}\n')
    assert [i.id for i in read(tmp_path / "a.jsonl.gz", whole) if isinstance(i, Paragraph)] == ["a:1", "a:2"]
    assert texts(read(tmp_path / "a.csv.gz", gzip.compress(b"text\nThey spoke.\n"))) == ["They spoke."]
    with pytest.raises(DataError, match=r"b\.jsonl\.gz cannot be read \(to its end\)"):
        read(tmp_path / "b.jsonl.gz", whole[:-12])
    with pytest.raises(DataError, match=r"c\.jsonl\.gz cannot be read"):
        read(tmp_path / "c.jsonl.gz", b"no gzip")


def piped(data: bytes) -> list[str]:
    code = "from detente.records import open_source\nfor x in open_source('-'): print(ascii((x.id, x.text)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, env=environment, check=False)
    return done.stdout.decode().splitlines() or done.stderr.decode().splitlines()[-1:]


def test_standard_input() -> None:
    assert piped(b'\n \xef\xbb\xbf{"text": "x"}')[0].startswith("('stdin#0'")  # a mark inside is no mark
    assert piped(b'\xef\xbb\xbf\n {"text": "One spoke."}\n{"text": "Two spoke."}') == [
        "('stdin:2', 'One spoke.')",
        "('stdin:3', 'Two spoke.')",
    ]
    assert piped(b"Title\n\nThey spoke.") == ["('stdin#0', 'Title')", "('stdin#1', 'They spoke.')"]
    assert "the input is empty" in piped(b"")[0]


def test_the_statements_of_the_examples() -> None:
    items = read(EXAMPLES / "statements.csv")
    assert len(items) == 8
    assert items[0].id == "s1"  # type: ignore[union-attr]
    assert items[0].extra == {"date": "2031-02-03", "outlet": "Bay Gazette"}  # type: ignore[union-attr]


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"id": {n}, "text": "They spoke."}}\n' for n in range(5000)))
    items = open_source(path)
    next(items)
    path.write_text("")  # what was not read yet is gone
    assert sum(1 for _ in items) < 4999


# --- counts


def test_seen_ids_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detente.records.rows._RECENT", 100)
    seen = SeenIds()
    assert all(seen.add(str(n)) for n in range(350))
    assert not any(seen.add(str(n)) for n in range(350))
    assert seen.add("other")


def test_counts_add_up() -> None:
    counts = Counts()
    for kind in ("paragraph", "paragraph", "heading", "repeat"):
        paragraph = Paragraph("x", kind, "d", 0, kind)
        counts.read(paragraph)
        counts.written(ParagraphTags("x", "d", 0, kind, "x", tagged=kind == "paragraph"))
    counts.read(Rejected("a.jsonl", 3, "broken JSON: x at 7", "{"))
    counts.check()
    assert counts.summary() == "5 rows in = 2 tagged + 2 untagged (1 heading, 1 repeat) + 1 rejected"
    assert (counts.untagged, counts.reasons) == (2, {"broken JSON": 1})
    counts.read(Paragraph("x", "y", "d", 0))
    with pytest.raises(DetenteError, match="rows were lost or doubled"):
        counts.check()


def test_counts_of_a_plain_run() -> None:
    counts = Counts(rows_in=1, tagged=1)
    assert counts.summary() == "1 row in = 1 tagged + 0 rejected"
