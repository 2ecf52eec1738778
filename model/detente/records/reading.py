"""Rows in: files, folders and standard input become a stream of `Paragraph` and `Rejected`; none is lost.

Memory does not grow with the input, but for eight bytes per row that find repeated identifiers (`SeenIds`)
and for one text or HTML file at a time, which is read whole.
"""

from __future__ import annotations

import gzip
import io
import itertools
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from detente.documents import (
    HTML_SUFFIXES,
    MAX_CHARACTERS,
    MAX_FILE_BYTES,
    TEXT_SUFFIXES,
    Article,
    Paragraph,
    article_from_bytes,
    clean,
    is_blank,
    read_article,
)
from detente.errors import DataError
from detente.records.formats import Table, csv_table, jsonl_table, parquet_table
from detente.records.interpret import Unusable, paragraph_of, roles
from detente.records.rows import Rejected, SeenIds

JSONL_SUFFIXES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (*JSONL_SUFFIXES, ".csv", ".tsv")
SUFFIXES = (*TABLE_SUFFIXES, *(f"{s}.gz" for s in TABLE_SUFFIXES), ".parquet", *TEXT_SUFFIXES, *HTML_SUFFIXES)

_PEEKED_ROWS = 100  # of a JSONL file, in which its columns are looked for


@dataclass(frozen=True, slots=True)
class _Options:
    text_column: str | None
    id_column: str | None
    document_column: str | None
    max_characters: int
    seen: SeenIds

    def name(self, path: str, *candidates: str) -> str:
        """The first candidate that names no earlier file of this run, so that ids made of it are unique."""
        names = (clean(candidate)[0] for candidate in (*candidates, path))
        return next((name for name in names if self.seen.add(f"file\0{name}")), clean(path)[0])


def open_source(
    source: str | Path,
    *,
    text_column: str | None = None,
    id_column: str | None = None,
    document_column: str | None = None,
    max_characters: int = MAX_CHARACTERS,
    seen: SeenIds | None = None,
) -> Iterator[Paragraph | Rejected]:
    """The rows of one input, read as they are asked for; the first is read at once, so that errors come early.

    JSONL (.jsonl, .ndjson), CSV and TSV (each also .gz) and Parquet have one paragraph per row; a text or
    HTML file is a document that is split into paragraphs; a folder is read with all its files, in order of
    their names. "-" is standard input: JSONL if its first visible character is "{", else a text.

    Args:
        text_column: column of the text; default "text".
        id_column: column of the identifier; default "id". A row without one is FILE:LINE.
        document_column: column of the document's identifier; default "document". A row without one is a
            document of its own. Places in a document are counted over rows that follow each other.
        max_characters: longest text that is tagged.
        seen: identifiers of the run, to be shared by all its inputs.

    Raises:
        DataError: an input that does not exist, cannot be read or decoded, has no rows, or lacks a column that was
            named. Inside a folder, such a file is one rejected row instead.
    """
    seen = SeenIds() if seen is None else seen
    options = _Options(text_column, id_column, document_column, max_characters, seen)
    if str(source) == "-":
        items = _sniffed(sys.stdin.buffer, "-", "stdin", options)
    else:
        path = Path(source)
        if not path.exists():
            raise DataError(f"{path} does not exist; give a file, a folder, or - for standard input")
        items = _folder(path, options) if path.is_dir() else _file(path, path, options)
    first = next(items, None)
    if first is None:
        raise DataError(f"{source}: no rows in it")
    return itertools.chain((first,), items)


def _folder(folder: Path, options: _Options) -> Iterator[Paragraph | Rejected]:
    found = False
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            found = True
            path = Path(place, name)
            try:
                yield from _file(path, path.relative_to(folder), options)
            except DataError as error:
                yield Rejected(str(path), None, str(error), None)
    if not found:
        raise DataError(f"{folder}: no file in this folder that detente reads; it reads {', '.join(SUFFIXES)}")


def _file(path: Path, shown: Path, options: _Options) -> Iterator[Paragraph | Rejected]:
    """The rows of one file; `shown` is the path that identifiers are made of."""
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), path.suffix.lower())
    full = shown.as_posix() if shown != path else path.name
    name = options.name(str(path), full[: len(full) - len(suffix)] or full, full)
    kind = suffix.removesuffix(".gz")
    try:
        if kind == ".parquet":
            yield from _table(parquet_table(path), str(path), name, options)
        elif kind in (*TEXT_SUFFIXES, *HTML_SUFFIXES):
            yield from _article(read_article(path, name, max_characters=None), str(path), options)
        else:
            opener: Callable[..., Any] = gzip.open if suffix.endswith(".gz") else open
            with opener(path, "rb") as stream:
                if kind in (*JSONL_SUFFIXES, ".json"):
                    yield from _table(jsonl_table(stream, str(path)), str(path), name, options)
                elif kind in (".csv", ".tsv"):
                    delimiter = "\t" if kind == ".tsv" else None
                    yield from _table(csv_table(stream, str(path), delimiter), str(path), name, options)
                else:
                    yield from _sniffed(stream, str(path), name, options)
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{path} cannot be read (to its end): {reason}") from error


def _sniffed(stream: BinaryIO, source: str, name: str, options: _Options) -> Iterator[Paragraph | Rejected]:
    """The rows of a stream whose name does not say what it is."""
    start = b""
    while is_blank(start.removeprefix(b"\xef\xbb\xbf").decode("latin-1")):
        piece = stream.readline(4096)
        if not piece:
            raise DataError(f"{source}: the input is empty")
        start += piece
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        whole = io.BufferedReader(_Chained(start, stream))
        yield from _table(jsonl_table(whole, source), source, name, options)
        return
    data = start + stream.read(MAX_FILE_BYTES + 1 - len(start))
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{source}: more than {MAX_FILE_BYTES:,} bytes for one document; give JSONL instead")
    yield from _article(article_from_bytes(data, source, name), source, options)


class _Chained(io.RawIOBase):
    """Bytes already read, then the rest of a stream."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        self._start = start
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = getattr(self._stream, "read1", self._stream.read)  # a pipe's rows as they come
        piece = self._start[: len(buffer)] or read(len(buffer))
        self._start = self._start[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _article(article: Article, source: str, options: _Options) -> Iterator[Paragraph | Rejected]:
    for paragraph in article.paragraphs:
        if len(paragraph.text) > options.max_characters:
            reason = f"too long: {len(paragraph.text):,} characters, allowed are {options.max_characters:,}"
            yield Rejected(source, paragraph.index, reason, paragraph.text)
        elif not options.seen.add(paragraph.id):
            yield Rejected(source, paragraph.index, f"duplicate id: `{paragraph.id}` was given before", paragraph.text)
        else:
            yield paragraph


def _table(table: Table, source: str, name: str, options: _Options) -> Iterator[Paragraph | Rejected]:
    peeked = list(itertools.islice(table.rows, _PEEKED_ROWS if table.columns is None else 0))
    columns = table.columns or tuple(dict.fromkeys(key for row in peeked for key in row.values or ()))
    columns_of = roles(columns, source, options.text_column, options.id_column, options.document_column)
    previous, index = None, 0
    for row in itertools.chain(peeked, table.rows):
        if row.values is None:
            yield Rejected(source, row.line, row.reason or "", row.raw)
            continue
        try:
            paragraph = paragraph_of(row, columns_of, f"{name}:{row.line}", options.max_characters, options.seen)
        except Unusable as unusable:
            yield Rejected(source, row.line, str(unusable), row.raw)
            continue
        index = index + 1 if paragraph.document == previous else 0
        previous = paragraph.document
        yield replace(paragraph, index=index) if index else paragraph
