"""What a user gets for each paragraph: frozen, plain, with one row form that every file format shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NARRATOR = "narrator"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice of a paragraph.

    Attributes:
        mention: the words by which the paragraph attributes the view; "narrator" for the writer.
        start, end: character offsets of the mention in the paragraph's text; None for the narrator.
        narrator: whether this is the writer's own voice.
        speaker: the full name, where the document gives it for this surname; else None.
        presence: probability that this voice is there, in [0, 1].
        stance: the stance chosen (the most probable one).
        stances: probability of each stance; sums to 1.
        lean: P(pressure) - P(engagement) of this voice (last pole minus first), in [-1, 1]; None unless there are
            two poles.
    """

    mention: str
    start: int | None
    end: int | None
    narrator: bool
    speaker: str | None
    presence: float
    stance: str
    stances: Mapping[str, float]
    lean: float | None

    def to_dict(self) -> dict[str, Any]:
        """The voice as one flat row; columns as in docs/columns.md."""
        return {
            "mention": self.mention,
            "start": self.start,
            "end": self.end,
            "narrator": self.narrator,
            "speaker": self.speaker,
            "presence": _rounded(self.presence),
            "stance": self.stance,
            **{f"stance_{name}": _rounded(p) for name, p in self.stances.items()},
            "lean": _rounded(self.lean),
        }


@dataclass(frozen=True, slots=True)
class ParagraphTags:
    """Everything detente says of one paragraph.

    Attributes:
        id: identifier of the row, unique within a run.
        document: identifier of the document that the paragraph stands in.
        paragraph: place in its document, from 0.
        kind: "paragraph", "heading" or "repeat"; the latter two are tagged only on request.
        text: the paragraph, as the offsets count it.
        tagged: whether the model read it.
        topics: the topics chosen; `topic_probabilities` has all of them.
        voices: the voices found, narrator first, then in text order.
        stance: by the rule from the voices found (union of their poles); None if not tagged.
        stance_probabilities: P(stance of the paragraph), over all candidate voices; sums to 1.
        lean: P(pressure present) - P(engagement present), in [-1, 1]; None unless there are two poles.
        flags: any of "windowed", "low_confidence", "rule_and_probability_differ", "characters_replaced".
        extra: the caller's other columns, passed through.
    """

    id: str
    document: str
    paragraph: int
    kind: str
    text: str
    tagged: bool
    topics: tuple[str, ...] = ()
    topic_probabilities: Mapping[str, float] = field(default_factory=dict)
    voices: tuple[Voice, ...] = ()
    stance: str | None = None
    stance_probabilities: Mapping[str, float] = field(default_factory=dict)
    lean: float | None = None
    flags: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The paragraph as one row with nested voices; columns as in docs/columns.md."""
        return {
            "id": self.id,
            "document": self.document,
            "paragraph": self.paragraph,
            "kind": self.kind,
            "text": self.text,
            "tagged": self.tagged,
            "topics": list(self.topics),
            **{f"topic_{name}": _rounded(p) for name, p in self.topic_probabilities.items()},
            "stance": self.stance,
            **{f"stance_{name}": _rounded(p) for name, p in self.stance_probabilities.items()},
            "lean": _rounded(self.lean),
            "voices": [voice.to_dict() for voice in self.voices],
            "flags": list(self.flags),
            **self.extra,
        }
