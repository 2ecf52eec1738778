"""Rows of JSONL, CSV, TSV and Parquet files with their lines; broken lines are reported, not raised."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_LONGEST_CELL = 2**31 - 1  # characters; the csv module's own bound of 131072 is shorter than some paragraphs


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or the reason why there is none.

    Attributes:
        line: line on which the row begins (Parquet: number of the row), from 1; None for the file itself.
        values: the row; None where it could not be read.
        problem: why it could not be read; None where it could.
        cells: whether lists may come as text, as in CSV, where every value is text.
    """

    line: int | None
    values: Mapping[str, Any] | None
    problem: str | None = None
    cells: bool = False


def files_at(path: Path) -> list[Path]:
    """The files that a path named by the user stands for: itself, or every *.jsonl right inside a folder."""
    return sorted(path.glob("*.jsonl")) if path.is_dir() else [path]


def rows(path: Path) -> Iterator[Row]:
    """Yields every row of one file, in order; the format is told from the suffix.

    A line that cannot be read, or a file that cannot be opened, is one row with a `problem`.
    """
    suffix = path.suffix.lower()
    try:
        if not path.exists():
            yield Row(None, None, "no such file")
        elif suffix in (".jsonl", ".ndjson"):
            yield from _json_lines(path)
        elif suffix in (".csv", ".tsv"):
            yield from _cells(path, "\t" if suffix == ".tsv" else ",")
        elif suffix == ".parquet":
            yield from _parquet(path)
        else:
            yield Row(None, None, f"unknown kind of file; allowed: {', '.join(SUFFIXES)}")
    except OSError as error:
        yield Row(None, None, f"cannot be read: {error.strerror or error}")


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:  # bytes, so that only \n ends a line and one bad line stays one bad line
        for line, raw in enumerate(file, start=1):
            try:
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8").rstrip("\r\n")
                if not text.strip():
                    continue
                values = json.loads(text)
            except UnicodeDecodeError as error:
                yield Row(line, None, f"is not UTF-8 (byte {error.start + 1} of the line)")
            except json.JSONDecodeError as error:
                yield Row(line, None, f"is not JSON: {error.msg} at column {error.colno}")
            except (ValueError, RecursionError) as error:
                yield Row(line, None, f"is not JSON that can be read: {error}")
            else:
                if isinstance(values, dict):
                    yield Row(line, values)
                else:
                    yield Row(line, None, f"must be one JSON object per line, not {type(values).__name__}")


def _cells(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    # Bytes that are not UTF-8 become lone surrogates here, and are then reported with their line.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        line = 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line, None, f"is not CSV: {error}")
                return
            begin, line = line, reader.line_num + 1
            if not cells:
                continue
            if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell):
                yield Row(begin, None, "is not UTF-8")
                if header is None:
                    return
            elif header is None:
                header = cells
                twice = sorted({name for name in header if header.count(name) > 1})
                if twice:
                    yield Row(begin, None, f"the header names {', '.join(map(repr, twice))} twice")
                    return
            elif len(cells) != len(header):
                yield Row(begin, None, f"has {len(cells)} fields; the header has {len(header)}")
            else:
                yield Row(begin, dict(zip(header, cells, strict=True)), cells=True)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values, cells=True)
    except pa.ArrowException as error:
        yield Row(None, None, f"is not a Parquet file that can be read: {error}")
