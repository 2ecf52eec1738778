"""The Parquet writer: nested voices, and the caller's columns with the narrowest type that holds them."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detente.codebook import Codebook
from detente.records.columns import (
    as_text,
    long_columns,
    paragraph_columns,
    paragraph_row,
    plain,
    voice_columns,
    voice_rows,
)
from detente.records.output import Output, partial_path, put_in_place, temporary
from detente.tags import ParagraphTags

_GROUP_ROWS = 4096
_TYPES = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}


def arrow_schema(codebook: Codebook, long: bool = False) -> Any:
    """The Arrow schema of an output without columns of the caller."""
    voice = pa.struct([(name, _TYPES[kind]) for name, kind in voice_columns(codebook).items()])
    types = _TYPES | {"list<string>": pa.list_(pa.string()), "list<voice>": pa.list_(voice)}
    columns = long_columns(codebook) if long else paragraph_columns(codebook)
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])


class ParquetWriter(Output[ParagraphTags]):
    """Parquet of paragraphs with nested voices, or of voices (`long`).

    A column of the caller is bool, int64, float64, date, timestamp or string: the narrowest of them that
    holds all its values (whole and other numbers are float64; any other mixture, lists and objects are JSON
    text). Where a later row needs a wider type or a new column, the rows so far are copied once.
    """

    def __init__(self, path: Path, codebook: Codebook, long: bool, overwrite: bool) -> None:
        super().__init__((path,), overwrite)
        self._codebook = codebook
        self._long = long
        self._own = arrow_schema(codebook, long)
        self._types: dict[str, Any] = {}
        self._inexact: set[str] = set()  # columns with whole numbers that float64 cannot hold
        self._waiting: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._rows = 0
        self._made = temporary(self.paths[0])
        with self._reporting():
            self._file = self._opened(self._made)

    def _schema(self) -> Any:
        return pa.schema([*self._own, *(pa.field(name, kind) for name, kind in self._types.items())])

    def _opened(self, made: Path) -> Any:
        return pq.ParquetWriter(made, self._schema())

    def _add(self, item: ParagraphTags) -> None:
        if self._long:
            self._waiting.extend(voice_rows(item, self._codebook))
        else:
            self._waiting.append(paragraph_row(item, self._codebook))
        if len(self._waiting) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        names = dict.fromkeys([*self._types, *(name for _, extra in self._waiting for name in extra)])
        values = {name: [_scalar(extra.get(name)) for _, extra in self._waiting] for name in names}
        self._inexact |= {name for name in names if any(map(_beyond_float, values[name]))}
        types = {name: _wider(self._types.get(name, pa.null()), values[name], name in self._inexact) for name in names}
        if types != self._types:
            self._widen(types)
        own = pa.Table.from_pylist([row for row, _ in self._waiting], schema=self._own)
        passed = [_array(values[name], kind) for name, kind in types.items()]
        self._file.write_table(pa.Table.from_arrays([*own.columns, *passed], schema=self._schema()))
        self._rows += len(self._waiting)
        self._waiting = []

    def _widen(self, types: Mapping[str, Any]) -> None:
        """Copies the rows so far into a file with other types of the caller's columns."""
        self._file.close()
        old, old_types, self._types = self._made, self._types, dict(types)
        self._made = temporary(self.paths[0])
        self._file = self._opened(self._made)
        with pq.ParquetFile(old) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                own = [table.column(name) for name in self._own.names]
                passed = [
                    _array(table.column(name).to_pylist() if name in old_types else [None] * len(table), kind)
                    for name, kind in self._types.items()
                ]
                self._file.write_table(pa.Table.from_arrays([*own, *passed], schema=self._schema()))
        old.unlink()

    def _commit(self) -> None:
        self._flush()
        self._file.close()
        descriptor = os.open(self._made, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        put_in_place(self._made, self.paths[0])

    def _salvage(self) -> tuple[Path, ...]:
        with contextlib.suppress(OSError, pa.ArrowException):
            self._flush()
        with contextlib.suppress(OSError, pa.ArrowException):
            self._file.close()
        with contextlib.suppress(OSError):
            if self._rows and self._readable():
                os.replace(self._made, partial_path(self.paths[0]))
                return (partial_path(self.paths[0]),)
            self._made.unlink()
        return ()

    def _readable(self) -> bool:
        """Whether the file got its footer, without which no reader opens it."""
        try:
            return bool(pq.ParquetFile(self._made).metadata.num_rows)
        except (pa.ArrowException, OSError):
            return False


def _scalar(value: Any) -> Any:
    """A value of the caller as one cell; dates stay dates, what is nested becomes JSON text."""
    if isinstance(value, datetime.date) and value.isoformat() != "NaT":
        return value
    value = plain(value)
    return as_text(value) if isinstance(value, list | dict) else value


def _beyond_float(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > 2**53


def _wider(known: Any, values: list[Any], inexact: bool) -> Any:
    """The narrowest type that holds what a column had so far and these values."""
    try:
        found = pa.array(values).type
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.string()
    if pa.types.is_null(found) or found == known:
        return known
    if not (found in _TYPES.values() or pa.types.is_date(found) or pa.types.is_timestamp(found)):
        return pa.string()
    if pa.types.is_null(known):
        return found
    return pa.float64() if {known, found} == {pa.int64(), pa.float64()} and not inexact else pa.string()


def _array(values: list[Any], kind: Any) -> Any:
    if pa.types.is_string(kind):
        return pa.array([as_text(value) for value in values], kind)
    return pa.array(values, kind)
