"""Rows out: the writer that fits the name of the output."""

from __future__ import annotations

from pathlib import Path

from detente.codebook import Codebook
from detente.errors import DataError
from detente.records.lines import CsvWriter, JsonlWriter
from detente.records.output import Writer

OUTPUT_SUFFIXES = (".jsonl", ".csv", ".parquet")


def open_writer(
    path: str | Path, codebook: Codebook | None = None, *, long: bool = False, overwrite: bool = False
) -> Writer:
    """A writer for .jsonl, .csv (with NAME.voices.csv beside it) or .parquet; columns as in docs/columns.md.

    Args:
        codebook: the label set of the tags; default: the built-in one.
        long: one row per voice instead of one per paragraph.
        overwrite: whether an output that exists is replaced (at the end, when the new one is whole).

    Raises:
        DataError: another suffix, or an output that cannot be made (see `Writer`).
    """
    path = Path(path)
    codebook = Codebook.default() if codebook is None else codebook
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return JsonlWriter(path, codebook, long, overwrite)
    if suffix == ".csv":
        return CsvWriter(path, codebook, long, overwrite)
    if suffix == ".parquet":
        from detente.records.parquet import ParquetWriter

        return ParquetWriter(path, codebook, long, overwrite)
    raise DataError(f"{path}: cannot tell the format; an output ends in {', '.join(OUTPUT_SUFFIXES)}")
