"""Writers of formats that are made of lines: JSONL, CSV, and the file of rejected rows."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from detente.codebook import Codebook
from detente.documents import clean
from detente.records.columns import (
    as_text,
    long_columns,
    paragraph_columns,
    paragraph_row,
    plain,
    quote_formula,
    voice_rows,
)
from detente.records.output import Item, Output, partial_path, put_in_place, temporary
from detente.records.rows import Rejected
from detente.tags import ParagraphTags

_FLUSH_BYTES = 2**16
_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


@dataclass(frozen=True, slots=True)
class _State:
    """Where several files that grow together stand.

    Attributes:
        made: the hidden files; `files` are they, open.
        sizes: bytes of each that are whole.
        waiting: rows after those, each with its bytes for every file.
    """

    made: tuple[Path, ...]
    files: tuple[BinaryIO, ...]
    sizes: tuple[int, ...]
    waiting: list[tuple[bytes, ...]] = field(default_factory=list)


class LineWriter(Output[Item]):
    """Files of lines that grow together: a row's lines in all of them are written, or none.

    Bytes are written at the place that the state names, and the state changes in one assignment, so that a
    write may break off anywhere and be done again.
    """

    def __init__(self, paths: Sequence[Path], overwrite: bool, heads: Sequence[bytes]) -> None:
        """`heads`: what each file opens with, its header line or nothing."""
        super().__init__(paths, overwrite)
        self._bytes = 0
        self._heads = tuple(map(len, heads))
        self._hidden: list[Path] = []  # every file ever begun, noted before it is there
        self._state = _State((), (), ())
        with self._reporting():
            self._state = self._opened()
            self._put(tuple(heads))
            self._flush()

    def _opened(self) -> _State:
        made = tuple(temporary(path) for path in self.paths)
        self._hidden += made
        return _State(made, tuple(path.open("xb", buffering=0) for path in made), (0,) * len(made))

    def _put(self, pieces: tuple[bytes, ...]) -> None:
        self._state.waiting.append(pieces)
        self._bytes += sum(map(len, pieces))
        if self._bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        state = self._state
        sizes = [
            _write_at(file, size, b"".join(pieces[place] for pieces in state.waiting))
            for place, (file, size) in enumerate(zip(state.files, state.sizes, strict=True))
        ]
        self._state = _State(state.made, state.files, tuple(sizes))
        self._bytes = 0

    def _commit(self) -> None:
        self._flush()
        for file in self._state.files:
            os.fsync(file.fileno())
            file.close()
        # The main file comes last: once it is there, the others are.
        for made, path in reversed(list(zip(self._state.made, self.paths, strict=True))):
            put_in_place(made, path)

    def _salvage(self) -> tuple[Path, ...]:
        with contextlib.suppress(OSError, ValueError):
            self._flush()
        state, kept = self._state, []
        any_rows = any(size > head for size, head in zip(state.sizes, self._heads, strict=False))
        for made, path, file, size in zip(state.made, self.paths, state.files, state.sizes, strict=True):
            with contextlib.suppress(OSError, ValueError):  # ValueError: closed already
                file.truncate(size)
            file.close()
            with contextlib.suppress(OSError):
                if any_rows:
                    os.replace(made, partial_path(path))
                    kept.append(partial_path(path))
                else:
                    made.unlink()
        for made in set(self._hidden) - set(state.made):  # begun or given up just when the run broke off
            made.unlink(missing_ok=True)
        return tuple(kept)


def _write_at(file: BinaryIO, place: int, data: bytes) -> int:
    """Writes all of the data at a place of an unbuffered file; returns the place after it."""
    file.seek(place)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    return place + len(data)


def json_lines(item: ParagraphTags, codebook: Codebook, long: bool) -> Iterator[bytes]:
    """A paragraph as one line of JSON, or (`long`) as one for each of its voices; UTF-8, line ends included."""
    for row, extra in voice_rows(item, codebook) if long else [paragraph_row(item, codebook)]:
        line = json.dumps(row | plain(extra), ensure_ascii=False, allow_nan=False)
        if not line.isascii():  # some readers end a line at these three characters, which JSON allows
            line = line.translate(_LINE_ENDS)
        yield _utf8(line + "\n")


class JsonlWriter(LineWriter[ParagraphTags]):
    """One JSON object per line, UTF-8; voices are nested, or each is a row of its own (`long`)."""

    def __init__(self, path: Path, codebook: Codebook, long: bool, overwrite: bool) -> None:
        super().__init__((path,), overwrite, (b"",))
        self._codebook = codebook
        self._long = long

    def _add(self, item: ParagraphTags) -> None:
        for line in json_lines(item, self._codebook, self._long):
            self._put((line,))


class CsvWriter(LineWriter[ParagraphTags]):
    """CSV (RFC 4180, UTF-8) of paragraphs with NAME.voices.csv of voices, or of voices alone (`long`)."""

    def __init__(self, path: Path, codebook: Codebook, long: bool, overwrite: bool) -> None:
        self._codebook = codebook
        voices = tuple(long_columns(codebook))
        paragraphs = tuple(name for name in paragraph_columns(codebook) if name != "voices")
        self._columns = (voices,) if long else (paragraphs, voices)
        self._extra: tuple[str, ...] = ()
        paths = (path,) if long else (path, path.with_name(f"{path.stem}.voices{path.suffix}"))
        super().__init__(paths, overwrite, [_csv_line(columns) for columns in self._columns])

    def _add(self, item: ParagraphTags) -> None:
        row, extra = paragraph_row(item, self._codebook)
        new = tuple(name for name in extra if name not in self._extra)
        if new:
            self._widen(new)
        passed = [as_text(extra.get(name)) for name in self._extra]
        voices = b"".join(
            _csv_line([*(voice[name] for name in self._columns[-1]), *passed])
            for voice, _ in voice_rows(item, self._codebook)
        )
        main = [_csv_line([*(row[name] for name in columns), *passed]) for columns in self._columns[:-1]]
        self._put((*main, voices))

    def _widen(self, new: tuple[str, ...]) -> None:
        """Adds columns that no earlier row had: copies the rows so far, with empty cells at their ends."""
        self._flush()
        old, wide = self._state, self._opened()
        sizes = []
        extra = (*self._extra, *new)
        heads = [_csv_line((*columns, *extra)) for columns in self._columns]
        try:
            for place, (file, head) in enumerate(zip(wide.files, heads, strict=True)):
                end = _write_at(file, 0, head)
                for line in _padded(old.made[place], old.sizes[place], self._heads[place], len(new)):
                    end = _write_at(file, end, line)
                sizes.append(end)
        except BaseException:
            for file, made in zip(wide.files, wide.made, strict=True):
                file.close()
                made.unlink(missing_ok=True)
            raise
        self._state = _State(wide.made, wide.files, tuple(sizes))
        self._extra, self._heads = extra, tuple(map(len, heads))
        for file, made in zip(old.files, old.made, strict=True):
            file.close()
            made.unlink(missing_ok=True)


def _padded(path: Path, size: int, start: int, count: int) -> Iterator[bytes]:
    """Pieces of a CSV file from `start` to `size`, every record with `count` empty cells added."""
    with path.open("rb") as file:
        file.seek(start)
        quotes, piece = 0, bytearray()
        while file.tell() < size:
            line = file.readline()
            quotes += line.count(b'"')
            whole = quotes % 2 == 0  # else the line end stands inside a quoted cell
            piece += line[:-1] + b"," * count + b"\n" if whole else line
            if whole and len(piece) >= _FLUSH_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)


def _csv_line(values: Sequence[Any]) -> bytes:
    return _utf8(",".join(map(_cell, values)) + "\n")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate from tags that were made without `documents.clean`
        return clean(text)[0].encode()


def _cell(value: Any) -> str:
    """One cell: None is empty, the empty string `""`; lists of our own columns are joined by a semicolon."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = quote_formula(";".join(value) if isinstance(value, list) else value)
    if not text or text != text.strip() or any(sign in text for sign in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


class RejectedWriter(LineWriter[Rejected]):
    """Rejected rows, one JSON object per line, at NAME.rejected.jsonl beside an output NAME.SUFFIX.

    If no row is rejected, no file is made (with `overwrite`, one that an earlier run left is removed). The
    file is ASCII: bytes that are not UTF-8 and lone surrogates are escaped and so are kept as they were.
    """

    def __init__(self, output: str | Path, *, overwrite: bool = False) -> None:
        output = Path(output)
        super().__init__((output.with_name(f"{output.stem}.rejected.jsonl"),), overwrite, (b"",))
        self._any = False

    def _add(self, item: Rejected) -> None:
        row = item.to_dict()
        try:
            line = json.dumps(row, allow_nan=False, default=plain)
        except (ValueError, TypeError):  # NaN, or keys that are no strings
            line = json.dumps(plain(row))
        self._put((line.encode() + b"\n",))
        self._any = True

    def _commit(self) -> None:
        if self._any:
            super()._commit()
        else:
            self._salvage()  # of nothing: removes the hidden file
            self.paths[0].unlink(missing_ok=True)
