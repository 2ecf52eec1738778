"""Column names and types of the two output shapes, and what a value looks like in a row."""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from detente.codebook import Codebook
from detente.documents import clean
from detente.tags import ParagraphTags

_PARAGRAPH_NAMES = (
    "id",
    "document",
    "paragraph",
    "kind",
    "text",
    "tagged",
    "topics",
    "stance",
    "lean",
    "flags",
)
_VOICE_NAMES = ("voices", "voice", "mention", "start", "end", "narrator", "speaker", "presence")
_RESERVED = frozenset(_PARAGRAPH_NAMES + _VOICE_NAMES)
_RESERVED_PREFIXES = ("topic_", "stance_")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_QUOTED_FORMULA = re.compile(r"'+[=+\-@\t\r]")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def paragraph_columns(codebook: Codebook) -> dict[str, str]:
    """Columns of the paragraph shape in order -> type; `voices` is a list of records of `voice_columns`."""
    return {
        "id": "string",
        "document": "string",
        "paragraph": "int64",
        "kind": "string",
        "text": "string",
        "tagged": "bool",
        "topics": "list<string>",
        **{f"topic_{name}": "float64" for name in codebook.topic_names},
        "stance": "string",
        **{f"stance_{name}": "float64" for name in codebook.stance_names},
        "lean": "float64",
        "voices": "list<voice>",
        "flags": "list<string>",
    }


def voice_columns(codebook: Codebook) -> dict[str, str]:
    """Columns of one voice, in order -> type."""
    return {
        "mention": "string",
        "start": "int64",
        "end": "int64",
        "narrator": "bool",
        "speaker": "string",
        "presence": "float64",
        "stance": "string",
        **{f"stance_{name}": "float64" for name in codebook.stance_names},
        "lean": "float64",
    }


def long_columns(codebook: Codebook) -> dict[str, str]:
    """Columns of the voice shape in order -> type."""
    keys = {"id": "string", "document": "string", "paragraph": "int64", "voice": "int64"}
    return keys | voice_columns(codebook)


def passed_name(name: str, taken: Container[str] = ()) -> str:
    """The name under which a column of the caller is passed on: itself, or with `input_` where it collides.

    Collides: a name of either output shape, any name that opens with `topic_` or `stance_`, and those in
        `taken`.
    """
    while name in _RESERVED or name.startswith(_RESERVED_PREFIXES) or name in taken:
        name = f"input_{name}"
    return name


def passed_names(columns: list[str]) -> dict[str, str]:
    """Names of the caller's columns -> the names under which they are passed on, all different."""
    passed: dict[str, str] = {}
    kept = {name for name in columns if passed_name(name) == name}
    for name in columns:
        passed[name] = name if name in kept else passed_name(name, kept | set(passed.values()))
    return passed


def paragraph_row(tags: ParagraphTags, codebook: Codebook) -> tuple[dict[str, Any], dict[str, Any]]:
    """A paragraph -> (all columns of the paragraph shape, None where empty; the caller's columns)."""
    row = replace(tags, extra={}).to_dict()
    return {name: row.get(name) for name in paragraph_columns(codebook)}, _extra(tags)


def voice_rows(tags: ParagraphTags, codebook: Codebook) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """A paragraph -> for each of its voices (all columns of the voice shape; the caller's columns)."""
    columns, extra = long_columns(codebook), _extra(tags)
    keys = {"id": tags.id, "document": tags.document, "paragraph": tags.paragraph}
    found = (keys | {"voice": number} | voice.to_dict() for number, voice in enumerate(tags.voices))
    return [({name: row.get(name) for name in columns}, extra) for row in found]


def _extra(tags: ParagraphTags) -> dict[str, Any]:
    names = passed_names(list(tags.extra))
    return {names[name]: value for name, value in tags.extra.items()}


def plain(value: Any) -> Any:
    """A value of the caller as JSON can hold it.

    Dates and times become ISO 8601 text, decimals their digits, bytes Base64; NaN, infinities and the missing
    values of NumPy and pandas become None; lone surrogates U+FFFD.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return clean(value)[0]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean(str(key))[0]: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        text = value.isoformat()
        return None if text == "NaT" else text
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain(value.tolist())
    return None if type(value).__name__ in ("NAType", "NaTType") else clean(str(value))[0]


def as_text(value: Any) -> str | None:
    """A value of the caller as one string: strings as they are, all else as its JSON; None stays None."""
    value = plain(value)
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def quote_formula(cell: str) -> str:
    """A text cell that no spreadsheet runs: one that opens with = + - @, tab or return gets an apostrophe.

    Numbers such as "-5" stay as they are. `unquote_formula` gives the text back exactly.
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def unquote_formula(cell: str) -> str:
    """The text of a cell that `quote_formula` made."""
    return cell[1:] if _QUOTED_FORMULA.match(cell) else cell
