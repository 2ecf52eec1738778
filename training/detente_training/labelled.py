"""Labelled files: read them, check them, and give splits to data that has none."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from detente.codebook import Codebook
from detente.errors import DataError
from detente_training.annotation import SPLITS, LabelledParagraph, LabelledVoice
from detente_training.reading import COLUMNS, read_row
from detente_training.rows import files_at, rows

__all__ = [
    "SPLITS",
    "Check",
    "Count",
    "LabelledParagraph",
    "LabelledVoice",
    "Problem",
    "assign_splits",
    "check_labelled",
    "read_labelled",
    "read_sources",
]

VALIDATION_SHARE = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake, or a warning: the file, its line (None for the file as a whole) and what is wrong."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.message}"


@dataclass(frozen=True, slots=True)
class Count:
    """How often one label, split, file or style occurs.

    Attributes:
        group: "file", "split", "style", "topic", "narrator" or "stance" (of marked voices).
        value: which one; "none" for a paragraph without any, "not labelled" where the record does not say.
        documents, paragraphs: how many have it.
        voices: marked voices in those paragraphs; for a stance, only the voices that have it.
    """

    group: str
    value: str
    documents: int
    paragraphs: int
    voices: int


@dataclass(frozen=True, slots=True)
class Check:
    """What a check of labelled files found; all but errors and warnings cover the records without a mistake.

    `files` has the file of each paragraph.
    """

    paragraphs: tuple[LabelledParagraph, ...]
    files: tuple[str, ...]
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    counts: tuple[Count, ...]


def read_labelled(paths: Iterable[str | Path], codebook: Codebook) -> list[LabelledParagraph]:
    """Reads labelled paragraphs from JSONL, CSV, TSV and Parquet; a folder stands for every *.jsonl in it.

    The order is that of the paths and of their rows. Warnings go to the log.

    Raises:
        DataError: anything that `check_labelled` calls a mistake; all of them are listed.
    """
    return [p for paragraphs in read_sources(paths, codebook).values() for p in paragraphs]


def read_sources(paths: Iterable[str | Path], codebook: Codebook) -> dict[str, list[LabelledParagraph]]:
    """Reads like `read_labelled`, and keeps apart what came from which path."""
    paths = list(paths)
    check = check_labelled(paths, codebook)
    if check.errors:
        number = len(check.errors)
        listed = "\n".join(f"  - {problem}" for problem in check.errors)
        raise DataError(
            f"the labelled data has {number} mistake{'s' if number > 1 else ''}:\n{listed}\n"
            "Mend what is listed, then run this again; `detente corpus check FILES` checks and does no more."
        )
    if check.warnings:
        log.warning(
            "the labelled data has %d warning(s); `detente corpus check` lists them. The first: %s",
            len(check.warnings),
            check.warnings[0],
        )
    owner = {str(file): str(path) for path in paths for file in files_at(Path(path))}
    sources: dict[str, list[LabelledParagraph]] = {str(path): [] for path in paths}
    for paragraph, file in zip(check.paragraphs, check.files, strict=True):
        sources[owner[file]].append(paragraph)
    return sources


def check_labelled(paths: Iterable[str | Path], codebook: Codebook) -> Check:
    """Checks labelled files and finds every mistake in them.

    Required are `id`, `document` and `text`. Labels are `topics` (names), `narrator` (a stance, or null where
    the writer is no voice) and `voices` (`start`, `end`, `stance`, in text order; where `mention` is given it
    must be the words at those offsets). A key that is absent means not labelled; so does null for topics and
    voices.

    A table cannot leave a key out of a single row: there, `narrator_labelled: false` says so of the narrator.
    In CSV, topics are joined by ";" or are a JSON list, and voices are a JSON list; an empty cell is none at
    all, the word `null` is not labelled. Other columns are ignored, with a warning where a name looks
    misspelt.

    Offsets inside a word are mistakes unless the source has glued two words: that is a warning
    (`mentions.Mentions` has the rule). Lone surrogates in a text, which no encoder reads, become U+FFFD one
    for one, so that offsets hold: a warning too.
    """
    found = _Findings(codebook)
    given = False
    for path in paths:
        given = True
        files = files_at(Path(path))
        for file in files:
            _check_file(file, found)
        if not files:
            message = "the folder holds no *.jsonl file; name CSV and Parquet files one by one"
            found.errors.append(Problem(str(path), None, message))
    if not given:
        found.errors.append(Problem("labelled data", None, "no file was named"))
    return Check(
        tuple(found.paragraphs),
        tuple(found.files),
        tuple(found.errors),
        tuple(found.warnings),
        tuple(_counts(found)),
    )


def assign_splits(paragraphs: Sequence[LabelledParagraph]) -> list[LabelledParagraph]:
    """Gives a split to records without one: a tenth of the documents to validation, the rest to train.

    A document that names a split in any record has that split in all. Otherwise the SHA-1 of the document's
    id, read as a fraction of its range, decides: a document goes to the same side whatever else is there.
    """
    named = {p.document: p.split for p in paragraphs if p.split is not None}

    def split_of(document: str) -> str:
        digest = hashlib.sha1(document.encode(), usedforsecurity=False).digest()
        fraction = int.from_bytes(digest[:8], "big") / 2**64
        return named.get(document) or ("validation" if fraction < VALIDATION_SHARE else "train")

    return [p if p.split is not None else replace(p, split=split_of(p.document)) for p in paragraphs]


@dataclass
class _Findings:
    """What has been seen so far, over all files."""

    codebook: Codebook
    paragraphs: list[LabelledParagraph] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # of each paragraph
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # id -> where it was first seen
    splits: dict[str, tuple[str, str]] = field(default_factory=dict)  # document -> split, where first seen


def _check_file(path: Path, found: _Findings) -> None:
    empty = True
    odd: set[str] = set()  # columns that were looked at already
    for row in rows(path):
        empty = False
        if row.values is None:
            found.errors.append(Problem(str(path), row.line, row.problem or "cannot be read"))
            continue
        for key in sorted(row.values.keys() - odd - set(COLUMNS)):
            odd.add(key)
            near = difflib.get_close_matches(key, COLUMNS, n=1, cutoff=0.8)
            if near:
                message = f"`{key}` is no column of a labelled record and is ignored; did you mean `{near[0]}`?"
                found.warnings.append(Problem(str(path), row.line, message))
        reading = read_row(row, found.codebook)
        errors = [*reading.errors, *_clashes(reading.paragraph, f"{path}:{row.line}", found)]
        found.errors += [Problem(str(path), row.line, message) for message in errors]
        found.warnings += [Problem(str(path), row.line, message) for message in reading.warnings]
        if not errors:
            found.paragraphs.append(reading.paragraph)
            found.files.append(str(path))
    if empty:
        found.errors.append(Problem(str(path), None, "holds no records"))


def _clashes(paragraph: LabelledParagraph, here: str, found: _Findings) -> list[str]:
    """Mistakes that show only beside other records: an id given twice, a document in two splits."""
    errors = []
    if paragraph.id:
        first = found.ids.setdefault(paragraph.id, here)
        if first != here:
            errors.append(f"the id `{paragraph.id}` was used before, at {first}")
    if paragraph.document and paragraph.split in SPLITS:
        split, first = found.splits.setdefault(paragraph.document, (paragraph.split, here))
        if split != paragraph.split:
            where = f"`{paragraph.split}` here, `{split}` at {first}"
            errors.append(f"the document `{paragraph.document}` is in two splits: {where}")
    return errors


def _counts(found: _Findings) -> list[Count]:
    """The table of a clean check, in the order file, split, style, topic, narrator, stance."""
    members: dict[tuple[str, str], list[tuple[str, int]]] = {}  # (group, value) -> document, voices
    for file, p in zip(found.files, found.paragraphs, strict=True):
        stances = [voice.stance for voice in p.voices or ()]
        values = {
            "file": [file],
            "split": [p.split or "none"],
            "style": [p.style or "none"],
            "topic": ["not labelled"] if p.topics is None else p.topics or ["none"],
            "narrator": [(p.narrator or "none") if p.narrator_labelled else "not labelled"],
            "stance": ["not labelled"] if p.voices is None else set(stances) or ["none"],
        }
        for group, ones in values.items():
            for value in ones:
                number = stances.count(value) if group == "stance" else len(stances)
                members.setdefault((group, value), []).append((p.document, number))
    rest = ("none", "not labelled")
    order = {
        "file": list(dict.fromkeys(found.files)),
        "split": [*SPLITS, *rest],
        "style": [*sorted({p.style for p in found.paragraphs if p.style} - set(rest)), *rest],
        "topic": [*found.codebook.topic_names, *rest],
        "narrator": [*found.codebook.stance_names, *rest],
        "stance": [*found.codebook.stance_names, *rest],
    }
    return [
        Count(group, value, len({document for document, _ in pairs}), len(pairs), sum(n for _, n in pairs))
        for group, values in order.items()
        for value in values
        if (pairs := members.get((group, value)))
    ]
