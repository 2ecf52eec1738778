"""One row of a labelled file turned into a `LabelledParagraph`, with every mistake in it."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detente.codebook import Codebook
from detente_training.annotation import ABOUT, SPLITS, LabelledParagraph, LabelledVoice
from detente_training.mentions import Mentions
from detente_training.rows import Row

COLUMNS = ("id", "document", "text", "topics", "narrator", "voices", "narrator_labelled", "split", *ABOUT)


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of one row; with any error, the paragraph is only as good as its remaining fields."""

    paragraph: LabelledParagraph
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def read_row(row: Row, codebook: Codebook) -> Reading:
    """Reads one row that has values; see `labelled.check_labelled` for what it must hold."""
    reader = _Reader(row, codebook)
    paragraph = reader.paragraph()
    return Reading(paragraph, tuple(reader.errors), tuple(reader.warnings))


class _Reader:
    """Reads field by field; a wrong value goes to `errors` and is read as if it were not there."""

    def __init__(self, row: Row, codebook: Codebook) -> None:
        self.values: Mapping[str, Any] = row.values or {}
        self.cells = row.cells
        self.codebook = codebook
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def paragraph(self) -> LabelledParagraph:
        text = self._text()
        narrator_labelled = "narrator" in self.values and self._flag("narrator_labelled")
        return LabelledParagraph(
            id=self._word("id", required=True) or "",
            document=self._word("document", required=True) or "",
            text=text,
            topics=self._topics(),
            voices=self._voices(text),
            narrator=self._narrator() if narrator_labelled else None,
            narrator_labelled=narrator_labelled,
            split=self._split(),
            **{key: self._word(key) for key in ABOUT},
        )

    def _text(self) -> str:
        text = self.values.get("text")
        if text is None:
            standoff = "sha1" in self.values and "length" in self.values
            remedy = "; put the text back first: detente corpus join STANDOFF TEXTS --output FILE"
            self.errors.append(f"`text` is missing{remedy if standoff else ''}")
            return ""
        if not isinstance(text, str):
            self.errors.append(f"`text` must be text, not {_kind(text)}")
            return ""
        if not text.strip():
            self.errors.append("`text` is empty")
            return ""
        sound = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
        if sound != text:
            self.warnings.append("`text` has lone surrogates; they are read as U+FFFD")
        return sound

    def _word(self, key: str, required: bool = False) -> str | None:
        value = self.values.get(key)
        if isinstance(value, float):  # pandas makes floats of whole numbers where a column has gaps
            value = None if math.isnan(value) else int(value) if value.is_integer() else value
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is None or (isinstance(value, str) and not value.strip()):
            if required:
                self.errors.append(f"`{key}` is {'missing' if value is None else 'empty'}")
            return None
        if not isinstance(value, str):
            self.errors.append(f"`{key}` must be text, not {_kind(value)}")
            return None
        if any("\ud800" <= character <= "\udfff" for character in value):
            self.errors.append(f"`{key}` has lone surrogates, which no file can hold")
            return None
        return value

    def _flag(self, key: str) -> bool:
        value = self.values.get(key)
        if value is None or (self.cells and value == ""):
            return True
        if isinstance(value, bool):
            return value
        if self.cells and isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        self.errors.append(f"`{key}` must be true or false, not {_short(value)}")
        return True

    def _list(self, key: str) -> list[Any] | None:
        """The list under `key`, from JSON text too where the format has only text; None is not labelled."""
        value = self.values.get(key)
        if self.cells and isinstance(value, str):
            cell = value.strip()
            if not cell:
                return []
            if key == "topics" and cell != "null" and not cell.startswith("["):
                return [name.strip() for name in cell.split(";") if name.strip()]
            try:
                value = json.loads(cell)
            except (ValueError, RecursionError):
                self.errors.append(f"`{key}` must be a JSON list, not {_short(cell)}")
                return None
        if value is None or isinstance(value, list):
            return value
        self.errors.append(f"`{key}` must be a list, not {_kind(value)}")
        return None

    def _topics(self) -> tuple[str, ...] | None:
        names = self._list("topics")
        if names is None:
            return None
        known = self.codebook.topic_names
        for place, name in enumerate(names):
            if not isinstance(name, str):
                self.errors.append(f"`topics` must list names, not {_kind(name)}")
            elif name not in known:
                self.errors.append(_unknown("topic", name, known))
            elif name in names[:place]:
                self.errors.append(f"the topic `{name}` is listed twice")
        return tuple(name for name in known if name in names)  # in the codebook's order

    def _narrator(self) -> str | None:
        value = self.values.get("narrator")
        if value is None or (self.cells and (value == "" or (isinstance(value, float) and math.isnan(value)))):
            return None
        if not isinstance(value, str):
            self.errors.append(f"`narrator` must be a stance or null, not {_kind(value)}")
            return None
        if value not in self.codebook.stance_names:
            self.errors.append(_unknown("stance of the narrator", value, self.codebook.stance_names))
        return value

    def _split(self) -> str | None:
        split = self._word("split")
        if split is not None and split not in SPLITS:
            self.errors.append(_unknown("split", split, SPLITS))
        return split

    def _voices(self, text: str) -> tuple[LabelledVoice, ...] | None:
        items = self._list("voices")
        if not items or not text:  # without a text its offsets mean nothing, and the text is the mistake
            return None if items is None else ()
        mentions = Mentions(text)
        made: list[LabelledVoice] = []
        for number, item in enumerate(items, start=1):
            name = f"voice {number}"
            voice = self._voice(name, item, len(text))
            if voice is None:
                continue
            self._edges(name, voice, mentions, item.get("mention"))
            if made and voice.start < made[-1].start:
                self.errors.append(f"{name} begins before the voice ahead of it; list voices in text order")
            elif made and voice.start < made[-1].end:
                before = mentions.quote(made[-1].start, made[-1].end)
                self.errors.append(f"{name} overlaps the voice ahead of it, {before}")
            made.append(voice)
        return tuple(made)

    def _voice(self, name: str, item: object, length: int) -> LabelledVoice | None:
        """A voice whose types are right and whose offsets lie in the text; else None."""
        if not isinstance(item, Mapping):
            self.errors.append(f"{name} must be an object with start, end and stance, not {_kind(item)}")
            return None
        start, end, stance = (item.get(key) for key in ("start", "end", "stance"))
        if not isinstance(stance, str):
            self.errors.append(f"{name}: `stance` must be text, not {_kind(stance)}")
        elif stance not in self.codebook.stance_names:
            self.errors.append(f"{name}: {_unknown('stance', stance, self.codebook.stance_names)}")
        for key, value in (("start", start), ("end", end)):
            if type(value) is not int:  # a bool is an int
                self.errors.append(f"{name}: `{key}` must be a whole number, not {_kind(value)}")
        if type(start) is not int or type(end) is not int:
            return None
        if not 0 <= start < end <= length:
            where = f"the text, which has {length} characters"
            self.errors.append(f"{name}: the offsets {start} to {end} are no stretch of {where}")
            return None
        return LabelledVoice(start, end, str(stance))

    def _edges(self, name: str, voice: LabelledVoice, mentions: Mentions, given: object) -> None:
        held = mentions.text[voice.start : voice.end]
        quoted = mentions.quote(voice.start, voice.end)
        if given is not None and given != held:
            self.errors.append(f"{name}: `mention` is {_short(given)}, but its offsets hold {_short(held)}")
        if held != held.strip():
            self.errors.append(f"{name}: {quoted} has a blank at its edge")
        for verb, glued in mentions.cuts(voice.start, voice.end):
            if glued:
                self.warnings.append(f"{name}: {quoted} {verb} inside words that the source has glued")
            else:
                self.errors.append(f"{name}: {quoted} {verb} inside a word")


def _kind(value: object) -> str:
    names = {
        str: "text",
        bool: "true/false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def _short(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _unknown(what: str, name: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"allowed: {', '.join(allowed) or 'none'}"
    return f"unknown {what} `{name}`; {hint}"
