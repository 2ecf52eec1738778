"""Soft labels: what a teacher believes of a paragraph, as probabilities; their files.

One row of a Parquet file for each paragraph, all probabilities float16, lists flattened in row-major order:

    id, document, text   the paragraph
    topics               of each topic, (K,)
    narrator             that the narrator is a voice
    voices               that a word begins a mention, and that it goes on with one, (W, 2)
    mentions             candidate voices [start, end) in characters, (M, 2); the narrator is (-1, -1)
    stances              of each stance, times the probability that the voice is there, (M, S)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from detente.codebook import Codebook
from detente.errors import DataError
from detente.reader import Span

Halves = npt.NDArray[np.float16]
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("document", pa.string()),
        ("text", pa.string()),
        ("topics", pa.list_(pa.float16())),
        ("narrator", pa.float16()),
        ("voices", pa.list_(pa.float16())),
        ("mentions", pa.list_(pa.int32())),
        ("stances", pa.list_(pa.float16())),
    ]
)
_CODEBOOK = b"detente.codebook"  # key of the file's metadata: the hash


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """A teacher's probabilities for one paragraph; the arrays are those of the file, in their shapes.

    `stances` has a row for each mention, whose sum is the probability that the voice is there.
    """

    id: str
    document: str
    text: str
    topics: Halves
    narrator: float
    voices: Halves
    mentions: tuple[Span, ...]
    stances: Halves


def write_soft_labels(path: Path, rows: Sequence[SoftLabels], codebook: Codebook) -> None:
    """Writes one Parquet file."""
    columns = {
        "id": [row.id for row in rows],
        "document": [row.document for row in rows],
        "text": [row.text for row in rows],
        "topics": [row.topics for row in rows],
        "narrator": np.array([row.narrator for row in rows], dtype=np.float16),
        "voices": [row.voices.ravel() for row in rows],
        "mentions": [np.array(row.mentions, dtype=np.int32).ravel() for row in rows],
        "stances": [row.stances.ravel() for row in rows],
    }
    table = pa.table(columns, schema=_SCHEMA).replace_schema_metadata({_CODEBOOK: codebook.hash})
    pq.write_table(table, path, compression="zstd")


def read_soft_labels(paths: Iterable[str | Path], codebook: Codebook) -> dict[str, SoftLabels]:
    """Reads soft labels by paragraph id; those that several teachers gave a paragraph are averaged.

    Args:
        paths: for each teacher the folder that `detente distil` wrote, or one Parquet file of it.

    Raises:
        DataError: no such files, files of something else, or made under another codebook; two teachers that read
            different texts under one id.
    """
    by_id: dict[str, list[SoftLabels]] = {}
    for path in paths:
        for row in _rows(Path(path), codebook):
            by_id.setdefault(row.id, []).append(row)
    return {identifier: average(rows) for identifier, rows in by_id.items()}


def _rows(path: Path, codebook: Codebook) -> Iterable[SoftLabels]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no *.parquet file; `detente distil` writes them")
    for file in files:
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read the soft labels {file}: {error}") from error
        if not table.schema.equals(_SCHEMA):
            raise DataError(f"{file} holds no soft labels: its columns are not those that `detente distil` writes")
        if (table.schema.metadata or {}).get(_CODEBOOK, b"").decode() != codebook.hash:
            raise DataError(f"{file} was made under another codebook; run `detente distil` with a model of this one")
        for row in table.to_pylist():
            yield _from_row(row, len(codebook.stances))


def _from_row(row: Mapping[str, Any], stances: int) -> SoftLabels:
    marks = row["mentions"]
    return SoftLabels(
        row["id"],
        row["document"],
        row["text"],
        np.array(row["topics"], dtype=np.float16),
        float(row["narrator"]),
        np.array(row["voices"], dtype=np.float16).reshape(-1, 2),
        tuple(zip(marks[::2], marks[1::2], strict=True)),
        np.array(row["stances"], dtype=np.float16).reshape(len(marks) // 2, stances),
    )


def average(rows: Sequence[SoftLabels]) -> SoftLabels:
    """The mean of several teachers; one that does not see a mention counts as giving it no probability.

    Raises:
        DataError: they read different texts.
    """
    first = rows[0]
    if len(rows) == 1:
        return first
    if any(row.text != first.text for row in rows):
        raise DataError(f"the teachers read different texts under the id {first.id}; run `detente distil` again")
    masses: dict[Span, npt.NDArray[np.float32]] = {}
    for row in rows:
        for span, mass in zip(row.mentions, row.stances, strict=True):
            masses[span] = masses.get(span, np.zeros(len(mass), dtype=np.float32)) + mass / len(rows)
    spans = tuple(sorted(masses))
    return SoftLabels(
        first.id,
        first.document,
        first.text,
        _mean([row.topics for row in rows]),
        float(np.mean([row.narrator for row in rows])),
        _mean([row.voices for row in rows]),
        spans,
        np.array([masses[span] for span in spans], dtype=np.float16).reshape(len(spans), first.stances.shape[1]),
    )


def _mean(arrays: Sequence[Halves]) -> Halves:
    return np.array(np.mean(arrays, axis=0, dtype=np.float32), dtype=np.float16)
