"""Stand-off labels: labels without their text, joined to it again by the SHA-1 of each paragraph."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detente.errors import DataError
from detente_training.rows import files_at, rows

_SHA1 = re.compile(r"[0-9a-f]{40}")
_OWN = ("sha1", "length")  # of the stand-off form alone
_LABELS = ("topics", "narrator", "voices")


@dataclass(frozen=True, slots=True)
class Joined:
    """Labels with their text again.

    Attributes:
        records: labelled records in the order of the stand-off file, those whose text was found.
        missing: ids of the records whose text was not found.
        unreadable: "file:line: reason" of each row of the text files that could not be read.
    """

    records: tuple[Mapping[str, Any], ...]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]


def sha1(text: str) -> str:
    """SHA-1 of the text in UTF-8, in hexadecimal: what names a paragraph whose text is not there."""
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def join(standoff_path: str | Path, text_paths: Iterable[str | Path], text_column: str | None = None) -> Joined:
    """Puts the text back into stand-off labels.

    The text may stand in any JSONL, CSV, TSV or Parquet file (a folder stands for every *.jsonl in it), one
    paragraph to a row, in any column, also with blanks around it: a value whose SHA-1 is that of a record is
    its text. A `title` beside the text goes over too. The text files are streamed; one text may serve several
    records.

    Args:
        text_column: look in this column alone.

    Raises:
        DataError: a file that cannot be opened, a stand-off record without `id`, `sha1` or `length`, a text
            column that no row has, or a text whose length is not the one recorded; all of a kind are listed.
    """
    standoff = _standoff(Path(standoff_path))
    wanted = {record["sha1"] for record in standoff}
    texts: dict[str, tuple[str, str | None]] = {}  # sha1 -> text, title
    unreadable: list[str] = []
    seen_columns: set[str] = set()
    for path, line, values, problem in _text_rows(text_paths):
        if values is None:
            unreadable.append(f"{path}:{line}: {problem}")
            continue
        seen_columns.update(values)
        title = values.get("title")
        for value in values.values() if text_column is None else (values.get(text_column),):
            for text in _variants(value):
                key = sha1(text)
                if key in wanted and key not in texts:
                    texts[key] = (text, title if isinstance(title, str) and title else None)
    if text_column is not None and text_column not in seen_columns:
        columns = ", ".join(sorted(seen_columns)) or "none"
        raise DataError(f"no row of the texts has the column `{text_column}`; columns there: {columns}")
    wrong = [
        f"{record['id']}: `length` is {record['length']}, but the text has {len(found[0])} characters"
        for record in standoff
        if (found := texts.get(record["sha1"])) and len(found[0]) != record["length"]
    ]
    if wrong:
        raise DataError(_listed(f"{standoff_path} was altered, its offsets cannot be trusted", wrong))
    return Joined(
        records=tuple(_filled(r, *texts[r["sha1"]]) for r in standoff if r["sha1"] in texts),
        missing=tuple(r["id"] for r in standoff if r["sha1"] not in texts),
        unreadable=tuple(unreadable),
    )


def _standoff(path: Path) -> list[Mapping[str, Any]]:
    records: list[Mapping[str, Any]] = []
    problems: list[str] = []
    for row in rows(path):
        place = f"{path}{'' if row.line is None else f':{row.line}'}"
        values = row.values
        if values is None:
            problems.append(f"{place}: {row.problem}")
            continue
        if not isinstance(values.get("id"), str):
            problems.append(f"{place}: `id` must be text")
        if not isinstance(values.get("sha1"), str) or not _SHA1.fullmatch(values["sha1"]):
            problems.append(f"{place}: `sha1` must be 40 hexadecimal digits")
        if type(values.get("length")) is not int:
            problems.append(f"{place}: `length` must be a whole number of characters")
        records.append(values)
    if not records and not problems:
        problems.append(f"{path}: holds no records")
    if problems:
        raise DataError(_listed("the stand-off file cannot be used", problems))
    return records


def _text_rows(
    paths: Iterable[str | Path],
) -> Iterator[tuple[Path, int, Mapping[str, Any] | None, str | None]]:
    """Rows of all text files, opened one after another; a file that cannot be opened is an error at once."""
    for given in paths:
        files = files_at(Path(given))
        if not files:
            raise DataError(f"the folder {given} holds no *.jsonl file; name CSV and Parquet files one by one")
        for path in files:
            for row in rows(path):
                if row.line is None:
                    raise DataError(f"the texts cannot be read: {path}: {row.problem}")
                yield path, row.line, row.values, row.problem


def _variants(value: object) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value
        bare = value.strip()
        if bare and bare != value:
            yield bare


def _filled(record: Mapping[str, Any], text: str, title: str | None) -> dict[str, Any]:
    about = {key: value for key, value in record.items() if key not in (*_OWN, *_LABELS) and value is not None}
    labels = {key: record[key] for key in _LABELS if key in record}  # absent is not labelled: stays absent
    return about | ({"title": title} if title else {}) | {"text": text} | labels


def _listed(what: str, problems: Iterable[str]) -> str:
    return f"{what}:\n" + "\n".join(f"  - {problem}" for problem in problems)
