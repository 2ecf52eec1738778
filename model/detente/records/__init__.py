"""Rows in and out: JSONL, CSV, Parquet, text and HTML files, folders; bad rows are set aside."""

from detente.records.columns import unquote_formula
from detente.records.lines import RejectedWriter
from detente.records.output import Writer, check_output
from detente.records.reading import SUFFIXES, open_source
from detente.records.rows import Counts, Rejected, SeenIds
from detente.records.writing import OUTPUT_SUFFIXES, open_writer

__all__ = [
    "OUTPUT_SUFFIXES",
    "SUFFIXES",
    "Counts",
    "Rejected",
    "RejectedWriter",
    "SeenIds",
    "Writer",
    "check_output",
    "open_source",
    "open_writer",
    "unquote_formula",
]
