"""Raw row -> `Paragraph`: which column is the text, and which rows cannot be used."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detente.documents import Paragraph, clean, is_blank
from detente.errors import DataError
from detente.records.columns import passed_names, plain
from detente.records.formats import RawRow, type_name
from detente.records.rows import SeenIds

_TEXT_NAMES = (
    "body",
    "content",
    "paragraph",
    "paragraph_text",
    "sentence",
    "statement",
    "article",
    "full_text",
)


class Unusable(Exception):  # noqa: N818 - never leaves this package
    """Why a row cannot be tagged."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns that hold text, identifier and document; the latter two may be missing from a row."""

    text: str
    id: str
    document: str


def roles(
    columns: Sequence[str],
    name: str,
    text_column: str | None,
    id_column: str | None,
    document_column: str | None,
) -> Roles:
    """Settles which columns are which.

    Args:
        columns: those the input has; empty where no row could be read.
        name: what the error calls the input.

    Raises:
        DataError: the text column, or another that was named, is not there.
    """
    chosen = Roles(text_column or "text", id_column or "id", document_column or "document")
    asked = (
        (chosen.text, "--text-column", True),
        (chosen.id, "--id-column", id_column is not None),
        (chosen.document, "--document-column", document_column is not None),
    )
    for wanted, option, needed in asked:
        if not needed or wanted in columns or not columns:
            continue
        near = difflib.get_close_matches(wanted, columns, n=1, cutoff=0.5)
        if wanted == chosen.text:
            near = near or [column for column in columns if column.lower() in ("text", *_TEXT_NAMES)]
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise DataError(
            f"{name}: no column `{wanted}`; there are: {', '.join(columns)}. {hint[:1].upper()}{hint[1:]}"
            f"Name it with {option} ({option[2:].replace('-', '_')}=... in Python)"
        )
    return chosen


def paragraph_of(row: RawRow, columns: Roles, number: str, max_characters: int, seen: SeenIds) -> Paragraph:
    """One raw row as a paragraph, its place in the document still 0.

    Args:
        number: identifier of a row that has none.
        max_characters: longest text allowed.
        seen: identifiers so far; the row's is added.

    Raises:
        Unusable: with the reason.
    """
    values = row.values or {}
    text = values.get(columns.text)
    if text is None:
        why = "is null" if columns.text in values else "is missing"
        raise Unusable(f"no text: column `{columns.text}` {why}")
    if not isinstance(text, str):
        raise Unusable(f"wrong type: `{columns.text}` is {type_name(text)}, must be a string")
    if is_blank(text):
        raise Unusable(f"empty text: column `{columns.text}` has nothing to see in it")
    if len(text) > max_characters:
        raise Unusable(f"too long: {len(text):,} characters, allowed are {max_characters:,}")
    text, replaced = clean(text)
    id = _identifier(values.get(columns.id), columns.id) or number
    document = _identifier(values.get(columns.document), columns.document) or id
    if not seen.add(id):
        raise Unusable(f"duplicate id: `{id}` was given before")
    used = (columns.text, columns.id, columns.document)
    names = passed_names([name for name in values if name not in used])
    extra = {clean(passed)[0]: _passed(values[name]) for name, passed in names.items()}
    return Paragraph(text, id, document, 0, "paragraph", replaced, extra)


def _identifier(value: Any, column: str) -> str | None:
    """An identifier as a string; None where there is none. Whole numbers are taken as their digits."""
    if value is None or isinstance(value, str):
        return None if value is None or is_blank(value) else clean(value)[0]
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise Unusable(f"wrong type: `{column}` is {type_name(value)}, must be a string or a whole number")
    return str(int(value))


def _passed(value: Any) -> Any:
    """A value of another column; dates keep their type, which Parquet has too."""
    return value if hasattr(value, "isoformat") else plain(value)
