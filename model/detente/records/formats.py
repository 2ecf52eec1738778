"""Tables in: JSONL, CSV, TSV and Parquet -> numbered raw rows; those that do not parse have the reason."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from detente.documents import is_blank
from detente.errors import DataError

LINE_CHARACTERS = 2**24  # of one line of JSONL or one cell of CSV; a longer line is not read whole
KEPT_CHARACTERS = 1000  # what is kept of a line that is not read whole
_PARQUET_ROWS = 512
_UNDECODED = re.compile("[\udc80-\udcff]")  # what errors="surrogateescape" makes of bytes that are not UTF-8


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as its file has it.

    Attributes:
        line: line of the file at which the row begins, from 1; in Parquet, number of the row, from 1.
        values: column -> value; None where the row could not be parsed.
        raw: the row as read, for the file of rejected rows.
        reason: why the row could not be parsed; None where it could.
    """

    line: int
    values: Mapping[str, Any] | None
    raw: Any
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file, and its columns where the format names them ahead (None for JSONL)."""

    columns: tuple[str, ...] | None
    rows: Iterator[RawRow]


def _lines(stream: BinaryIO, newline: str) -> Iterator[tuple[int, str, bool]]:
    """(number from 1, text, whether it is whole) of each line; undecodable bytes are kept as surrogates."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    wide = buffered.peek(2)[:2] in (
        codecs.BOM_UTF16_LE,
        codecs.BOM_UTF16_BE,
    )  # "Unicode text" of spreadsheets
    encoding, errors = ("utf-16", "surrogatepass") if wide else ("utf-8-sig", "surrogateescape")
    text = io.TextIOWrapper(buffered, encoding=encoding, errors=errors, newline=newline)
    number = 0
    while line := text.readline(LINE_CHARACTERS):
        number += 1
        whole = len(line) < LINE_CHARACTERS or line.endswith("\n")
        yield number, line, whole
        while not whole and (rest := text.readline(LINE_CHARACTERS)):
            whole = len(rest) < LINE_CHARACTERS or rest.endswith("\n")


def _overlong(number: int, line: str) -> RawRow:
    reason = f"too long: a line of over {LINE_CHARACTERS:,} characters; here are its first {KEPT_CHARACTERS:,}"
    return RawRow(number, None, line[:KEPT_CHARACTERS], reason)


def jsonl_table(stream: BinaryIO, name: str) -> Table:
    """JSON Lines: one object per line. NaN and infinities, which JSON does not have, are read as null.

    Raises:
        DataError: on the first row, if the file is one JSON array or one object over several lines.
    """
    return Table(None, _jsonl_rows(stream, name))


def _jsonl_rows(stream: BinaryIO, name: str) -> Iterator[RawRow]:
    first = True
    for number, line, whole in _lines(stream, newline="\n"):
        line = line.rstrip("\r\n")
        if is_blank(line):
            continue
        if first and (line.lstrip().startswith("[") or line.strip() == "{"):
            raise DataError(
                f"{name}: this is one JSON value, not one object per line; "
                "turn an array into lines first, e.g. `jq -c '.[]' IN > OUT.jsonl`"
            )
        first = False
        if not whole:
            yield _overlong(number, line)
            continue
        if _UNDECODED.search(line):
            yield RawRow(number, None, line, "not UTF-8")
            continue
        try:
            value = json.loads(line, parse_constant=lambda _: None)
        except json.JSONDecodeError as error:
            yield RawRow(number, None, line, f"broken JSON: {error.msg} at character {error.pos + 1}")
        except RecursionError:
            yield RawRow(number, None, line, "broken JSON: nested too deeply")
        except ValueError as error:  # a number of thousands of digits
            yield RawRow(number, None, line, f"broken JSON: {error}")
        else:
            if isinstance(value, dict):
                yield RawRow(number, value, value)
            else:
                yield RawRow(number, None, line, f"not a JSON object but {type_name(value)}")


def csv_table(stream: BinaryIO, name: str, delimiter: str | None) -> Table:
    """CSV or TSV with a header row (RFC 4180). All values are strings; a column without a name is `column_N`.

    Args:
        delimiter: None takes the comma, or the semicolon or tab of a header that has no comma.

    Raises:
        DataError: a header that is missing, broken or names a column twice.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LINE_CHARACTERS))
    lines = _lines(stream, newline="")
    first = next(lines, None)
    if first is None or not first[2]:
        raise DataError(f"{name}: no header row; the first line must name the columns")
    if delimiter is None:
        delimiter = next((sign for sign in ",;\t" if sign in first[1]), ",")
    rows = _csv_records(lines, first, delimiter)
    _, cells, _, reason = next(rows, (0, None, "", None))
    if cells is None or not any(cells):
        raise DataError(f"{name}: no header row; the first line must name the columns ({reason or 'it is blank'})")
    columns = tuple(cell.strip() or f"column_{place}" for place, cell in enumerate(cells, start=1))
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise DataError(f"{name}: the header names {', '.join(f'`{c}`' for c in twice)} twice; rename one of each")
    return Table(columns, _csv_rows(rows, columns))


def _csv_rows(
    records: Iterator[tuple[int, list[str] | None, str, str | None]], columns: tuple[str, ...]
) -> Iterator[RawRow]:
    for number, cells, raw, reason in records:
        if cells is None:
            yield RawRow(number, None, raw, reason)
        elif _UNDECODED.search(raw):
            yield RawRow(number, None, raw, "not UTF-8")
        elif len(cells) != len(columns):
            yield RawRow(number, None, raw, f"ragged row: {len(cells)} cells, the header has {len(columns)}")
        else:
            values = dict(zip(columns, cells, strict=True))
            yield RawRow(number, values, values)


def _csv_records(
    lines: Iterator[tuple[int, str, bool]], first: tuple[int, str, bool], delimiter: str
) -> Iterator[tuple[int, list[str] | None, str, str | None]]:
    """(line, cells or None, raw text, why there are no cells) of each record; blank lines are left out.

    A record that cannot be parsed (a quote that never closes swallows what follows) costs its first line
    alone: the lines after it are parsed afresh.
    """
    waiting: deque[tuple[int, str, bool]] = deque([first])
    taken: list[tuple[int, str, bool]] = []

    def feed() -> Iterator[str]:
        while True:
            item = waiting.popleft() if waiting else next(lines, None)
            if item is None:
                return
            taken.append(item)
            yield item[1]

    while True:
        reader = csv.reader(feed(), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                number, line, _ = taken[0]
                if not all(whole for _, _, whole in taken):
                    overlong = _overlong(number, line)
                    yield number, None, overlong.raw, overlong.reason
                elif cells:
                    yield number, cells, "".join(text for _, text, _ in taken).rstrip("\r\n"), None
                taken.clear()
            return
        except csv.Error as error:
            number, line, _ = taken[0]
            waiting.extendleft(reversed(taken[1:]))
            taken.clear()
            yield number, None, line.rstrip("\r\n")[:LINE_CHARACTERS], f"broken CSV: {error}"


def parquet_table(path: Path) -> Table:
    """Parquet, read in batches.

    Raises:
        DataError: not a Parquet file, or a broken one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file, or an incomplete one ({error})") from error

    def rows() -> Iterator[RawRow]:
        number = 0
        with file:
            try:
                for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                    for values in _batch_rows(batch):
                        number += 1
                        if isinstance(values, dict):
                            yield RawRow(number, values, values)
                        else:
                            yield RawRow(number, None, None, values)
            except pa.ArrowException as error:
                raise DataError(f"{path}: broken after row {number:,} ({error})") from error

    return Table(tuple(file.schema_arrow.names), rows())


def _batch_rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of an Arrow batch; for one that holds bytes that are not UTF-8, the reason."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield "not UTF-8"


def type_name(value: Any) -> str:
    """What a value of a row is, in plain words."""
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a string", list: "a list"}
    names |= {dict: "an object", type(None): "null", bytes: "bytes"}
    return names.get(type(value), type(value).__name__)
