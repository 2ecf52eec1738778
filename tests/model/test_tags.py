import dataclasses
import json

import pytest

from detente.tags import NARRATOR, ParagraphTags, Voice

VOICE = Voice(
    mention="Varga",
    start=4,
    end=9,
    narrator=False,
    speaker="Ines Varga",
    presence=0.98765432,
    stance="pressure",
    stances={"engagement": 0.1, "pressure": 0.8, "mixed": 0.05, "neutral": 0.05},
    lean=0.70000004,
)
TAGS = ParagraphTags(
    id="a#1",
    document="a",
    paragraph=1,
    kind="paragraph",
    text="But Varga said no.",
    tagged=True,
    topics=("diplomacy",),
    topic_probabilities={"human_rights": 0.25, "diplomacy": 0.75},
    voices=(VOICE,),
    stance="pressure",
    stance_probabilities={"pressure": 0.9, "neutral": 0.1},
    lean=0.9,
    flags=("windowed",),
    extra={"date": "2031-02-03"},
)


def test_a_voice_as_a_row() -> None:
    assert VOICE.to_dict() == {
        "mention": "Varga",
        "start": 4,
        "end": 9,
        "narrator": False,
        "speaker": "Ines Varga",
        "presence": 0.987654,
        "stance": "pressure",
        "stance_engagement": 0.1,
        "stance_pressure": 0.8,
        "stance_mixed": 0.05,
        "stance_neutral": 0.05,
        "lean": 0.7,
    }


def test_a_paragraph_as_a_row() -> None:
    assert TAGS.to_dict() == {
        "id": "a#1",
        "document": "a",
        "paragraph": 1,
        "kind": "paragraph",
        "text": "But Varga said no.",
        "tagged": True,
        "topics": ["diplomacy"],
        "topic_human_rights": 0.25,
        "topic_diplomacy": 0.75,
        "stance": "pressure",
        "stance_pressure": 0.9,
        "stance_neutral": 0.1,
        "lean": 0.9,
        "voices": [VOICE.to_dict()],
        "flags": ["windowed"],
        "date": "2031-02-03",
    }
    assert list(TAGS.to_dict())[-1] == "date"
    json.dumps(TAGS.to_dict())


def test_a_paragraph_that_was_not_tagged() -> None:
    row = ParagraphTags("a#0", "a", 0, "heading", "World", tagged=False).to_dict()
    assert row == {
        "id": "a#0",
        "document": "a",
        "paragraph": 0,
        "kind": "heading",
        "text": "World",
        "tagged": False,
        "topics": [],
        "stance": None,
        "lean": None,
        "voices": [],
        "flags": [],
    }


def test_the_narrator_has_no_offsets() -> None:
    row = dataclasses.replace(VOICE, mention=NARRATOR, start=None, end=None, narrator=True, speaker=None).to_dict()
    assert (row["mention"], row["start"], row["end"]) == ("narrator", None, None)


def test_tags_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TAGS.stance = "neutral"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        VOICE.stance = "neutral"  # type: ignore[misc]


def test_offsets_mark_the_mention() -> None:
    (voice,) = TAGS.voices
    assert TAGS.text[voice.start : voice.end] == voice.mention
