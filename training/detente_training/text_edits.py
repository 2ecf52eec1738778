"""Names exchanged in a labelled text: the mentions move along, articles and possessives agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from detente_training.annotation import LabelledParagraph


class Edit(NamedTuple):
    """A replacement of the characters [start, end)."""

    start: int
    end: int
    new: str


def edited(paragraph: LabelledParagraph, edits: Iterable[Edit]) -> LabelledParagraph:
    """Makes the edits that no mention cuts, and with them those of articles and possessives that must agree."""
    voices = paragraph.voices
    edges = {edge for voice in voices or () for edge in (voice.start, voice.end)}
    uncut = [edit for edit in edits if edges.isdisjoint(range(edit.start + 1, edit.end))]
    if not uncut:
        return paragraph
    made = sorted([*uncut, *(beside for edit in uncut for beside in _agreeing(paragraph.text, edit))])

    def moved(offset: int) -> int:
        return offset + sum(len(edit.new) - (edit.end - edit.start) for edit in made if edit.end <= offset)

    text, last = "", 0
    for edit in made:
        text += paragraph.text[last : edit.start] + edit.new
        last = edit.end
    swapped = replace(paragraph, text=text + paragraph.text[last:])
    if voices is None:
        return swapped
    return replace(swapped, voices=tuple(replace(v, start=moved(v.start), end=moved(v.end)) for v in voices))


def _agreeing(text: str, edit: Edit) -> Iterator[Edit]:
    """Edits beside a name: "an Iranian" -> "a Russian", "the Philippines' fleet" -> "the Gambia's fleet"."""
    old = text[edit.start : edit.end]
    article = re.search(r"(?<![\w.'\u2019-])(?:[Aa]|[Aa]n|AN)(?= $)", text[: edit.start][-5:])
    vowel = _takes_an(edit.new)
    if article and (len(article[0]) == 2) == _takes_an(old) != vowel:
        n = "N" if old.isupper() and article[0].isupper() else "n"
        yield Edit(edit.start - 1 - len(article[0]), edit.start - 1, article[0][0] + n * vowel)
    possessive = re.match(r"['\u2019](?= \w)", text[edit.end : edit.end + 3])
    quoted = re.search(r"(?:^|\W)['\u2018]\w", text[: edit.start])  # then it may be the end of a quote
    if possessive and not quoted and old[-1] in "sS" and edit.new[-1] not in "sS":
        yield Edit(edit.end, edit.end + 1, possessive[0] + ("S" if old.isupper() else "s"))


def _takes_an(word: str) -> bool:
    return word[0] in "AEIOUÁÉÍÓÖaeiou" and not re.match(r"U[.SKA]|Uni|UNI|Ukr|UKR|Uga|UGA", word)
