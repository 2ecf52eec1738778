"""What a run knows of its rows: those set aside, the identifiers seen, the counts that must add up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from detente.documents import Paragraph
from detente.errors import DetenteError
from detente.tags import ParagraphTags

_RECENT = 2**18


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be tagged.

    Attributes:
        source: path of its file, or "-" for standard input.
        line: line (JSONL, CSV) or row (Parquet), from 1, or paragraph (text, HTML), from 0; None for a whole file.
        reason: what is wrong with it.
        raw: the row as read; None for a whole file. Bytes that are not UTF-8 stand in it as the surrogates U+DC80
            to U+DCFF, from which `raw.encode("utf-8", "surrogateescape")` makes them again.
    """

    source: str
    line: int | None
    reason: str
    raw: Any

    def to_dict(self) -> dict[str, Any]:
        return {"source": self.source, "line": self.line, "reason": self.reason, "raw": self.raw}


class SeenIds:
    """The identifiers of a run, kept as 64-bit hashes: eight bytes each, so ten million take 80 MB.

    Two different identifiers among ten million are taken for the same with a probability under 1e-5; the
    row is then rejected, with its reason, and not lost.
    """

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def add(self, id: str) -> bool:
        """Notes an identifier; False if it had been noted before."""
        hashed = int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")
        if hashed in self._recent:
            return False
        if len(self._sorted):
            place = int(np.searchsorted(self._sorted, np.uint64(hashed)))
            if place < len(self._sorted) and int(self._sorted[place]) == hashed:
                return False
        self._recent.add(hashed)
        if len(self._recent) >= _RECENT:
            fresh = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
            self._sorted = np.sort(np.concatenate((self._sorted, fresh)), kind="stable")
            self._recent.clear()
        return True


@dataclass(slots=True)
class Counts:
    """Rows of a run: those read, and what became of them."""

    rows_in: int = 0
    tagged: int = 0
    headings: int = 0
    repeats: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def untagged(self) -> int:
        """Headings and repeats that were kept as rows but not tagged."""
        return self.headings + self.repeats

    def read(self, item: Paragraph | Rejected) -> None:
        """Counts a row that came in; a rejected one is finished with that."""
        self.rows_in += 1
        if isinstance(item, Rejected):
            self.rejected += 1
            kind = item.reason.split(":")[0]
            self.reasons[kind] = self.reasons.get(kind, 0) + 1

    def written(self, tags: ParagraphTags) -> None:
        """Counts a row that went out."""
        if tags.tagged:
            self.tagged += 1
        elif tags.kind == "repeat":
            self.repeats += 1
        else:
            self.headings += 1

    def check(self) -> None:
        """Holds the rows that came in against those that went out.

        Raises:
            DetenteError: a row was lost or written twice; a fault of detente, not of the input.
        """
        if self.rows_in != self.tagged + self.untagged + self.rejected:
            raise DetenteError(f"rows were lost or doubled ({self.summary()}); please report this with the input")

    def summary(self) -> str:
        """The counts as one line: "12 rows in = 9 tagged + 2 untagged (1 heading, 1 repeat) + 1 rejected"."""
        kinds = [
            f"{number:,} {name}{'s' * (number != 1)}"
            for number, name in ((self.headings, "heading"), (self.repeats, "repeat"))
            if number
        ]
        untagged = f" + {self.untagged:,} untagged ({', '.join(kinds)})" if kinds else ""
        rows = f"{self.rows_in:,} row{'s' * (self.rows_in != 1)} in"
        return f"{rows} = {self.tagged:,} tagged{untagged} + {self.rejected:,} rejected"
