"""The model that came with the package, on paragraphs written for this test: what any sound version of it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from detente import ParagraphTags, Tagger
from detente.bundle import WEIGHTS, check_bundle, shipped_models

pytestmark = pytest.mark.slow

PRESSURE = (
    "“The sanctions must stay in place and be tightened until the regime gives up its missiles,” said Orla Venn, "
    "the foreign minister."
)
ENGAGEMENT = (
    "Tomas Aldane said the government should reopen talks with Pyongyang without preconditions and send food aid."
)
ABUSE = "The report said guards at the prison camp had tortured inmates and executed those who tried to flee."
MISSILES = "North Korea fired two ballistic missiles into the sea on Tuesday, days after the start of naval drills."
SPORT = "Sporting won 3-0 on Saturday after a goal in the first minute, and the crowd sang until the lights went out."
NEUTRAL = "The talks lasted for three hours, the spokesman said."
RESTRAINT = (
    "“We urge both sides to show restraint and return to the negotiating table,” said Ines Varga, the U.N. envoy."
)
TRANSCRIPT = (
    "MR. KOWALSKI: We will not negotiate with a government that fires missiles at its neighbours. The sanctions stay."
)
DENIAL = "The ministry denied the allegations."
EDITORIAL = (
    "We should stop pretending that isolation works. It is time to open an embassy, lift the embargo and start talking."
)


@pytest.fixture(scope="module")
def shipped() -> Path:
    return shipped_models()["small"]


@pytest.fixture(scope="module")
def read() -> dict[str, ParagraphTags]:
    texts = [PRESSURE, ENGAGEMENT, ABUSE, MISSILES, SPORT, NEUTRAL, RESTRAINT, TRANSCRIPT, DENIAL, EDITORIAL]
    tagger = Tagger.from_pretrained("small", device="cpu")
    return dict(zip(texts, tagger.tag_paragraphs(texts), strict=True))


def test_the_bundle_is_whole_small_and_half_precision(shipped: Path) -> None:
    from safetensors import safe_open

    check_bundle(shipped)
    assert [p.name for p in shipped.glob("*.safetensors")] == [WEIGHTS]
    assert (shipped / WEIGHTS).stat().st_size < 50_000_000
    with safe_open(shipped / WEIGHTS, framework="numpy") as weights:
        assert {str(weights.get_slice(name).get_dtype()) for name in weights.keys()} == {"F16"}  # noqa: SIM118


def test_topics(read: dict[str, ParagraphTags]) -> None:
    assert "human_rights" in read[ABUSE].topics
    assert "military_tension" in read[MISSILES].topics
    assert "diplomacy" in read[ENGAGEMENT].topics
    assert "diplomacy" in read[RESTRAINT].topics
    assert read[SPORT].topics == ()


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        (PRESSURE, "Orla Venn"),
        (ENGAGEMENT, "Tomas Aldane"),
        (NEUTRAL, "the spokesman"),
        (RESTRAINT, "Ines Varga"),
        (TRANSCRIPT, "KOWALSKI"),
        (DENIAL, "The ministry"),
    ],
)
def test_named_voices_are_found(read: dict[str, ParagraphTags], text: str, mention: str) -> None:
    assert mention in [voice.mention for voice in read[text].voices]


def test_stances(read: dict[str, ParagraphTags]) -> None:
    assert read[PRESSURE].stance == "pressure"
    assert read[ENGAGEMENT].stance == "engagement"
    assert read[TRANSCRIPT].stance == "pressure"
    assert read[RESTRAINT].stance == "engagement"
    assert read[NEUTRAL].stance == read[DENIAL].stance == "neutral"
    assert read[PRESSURE].lean > 0.3 > -0.3 > read[ENGAGEMENT].lean  # type: ignore[operator]


def test_the_writer_of_an_editorial_is_the_narrator(read: dict[str, ParagraphTags]) -> None:
    narrators = [voice for voice in read[EDITORIAL].voices if voice.narrator]
    assert [voice.stance for voice in narrators] == ["engagement"]


def test_no_voices_where_nobody_speaks(read: dict[str, ParagraphTags]) -> None:
    assert read[MISSILES].voices == ()
    assert read[SPORT].voices == ()
    assert read[SPORT].stance == "neutral"
