"""What a labelled paragraph is: the record that corpora, training and evaluation share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SPLITS = ("train", "validation", "test")
ABOUT = ("title", "source", "style", "region", "year")  # what is known of the text, beside its labels


@dataclass(frozen=True, slots=True)
class LabelledVoice:
    """A marked mention: character offsets [start, end) in the text, and the stance of the voice."""

    start: int
    end: int
    stance: str


@dataclass(frozen=True, slots=True)
class LabelledParagraph:
    """One labelled paragraph.

    A task without a label (None) is masked in training and left out of evaluation; it is never a negative.

    Attributes:
        topics: the topics that hold; () is none, None is not labelled.
        voices: marked voices in text order; () is none, None is not labelled.
        narrator: the narrator's stance; None where the writer is no voice.
        narrator_labelled: False where the record says nothing of a narrator.
        split: "train", "validation", "test", or None where the record names none.
    """

    id: str
    document: str
    text: str
    topics: tuple[str, ...] | None
    voices: tuple[LabelledVoice, ...] | None
    narrator: str | None
    narrator_labelled: bool
    split: str | None = None
    title: str | None = None
    source: str | None = None
    style: str | None = None
    region: str | None = None
    year: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in a JSONL file; what is not labelled, or not known, has no key."""
        record: dict[str, Any] = {"id": self.id, "document": self.document}
        record |= {key: getattr(self, key) for key in (*ABOUT, "split") if getattr(self, key) is not None}
        record["text"] = self.text
        if self.topics is not None:
            record["topics"] = list(self.topics)
        if self.narrator_labelled:
            record["narrator"] = self.narrator
        if self.voices is not None:
            record["voices"] = [{"start": v.start, "end": v.end, "stance": v.stance} for v in self.voices]
        return record
