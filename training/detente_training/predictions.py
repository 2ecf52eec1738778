"""What a model says of a labelled paragraph, and what of the labels it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from detente.codebook import Codebook
from detente.errors import DataError
from detente.tags import ParagraphTags
from detente_training.labelled import LabelledParagraph


@dataclass(frozen=True, slots=True)
class PredictedVoice:
    """A voice that was found, or a candidate for one.

    Attributes:
        start, end: character offsets of the mention; None for the narrator.
        narrator: whether this is the writer's own voice.
        presence: probability that the voice is there, in [0, 1].
        stance: the stance chosen.
        stances: probability of each stance; may be empty where the method has none.
    """

    start: int | None
    end: int | None
    narrator: bool
    presence: float
    stance: str
    stances: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one labelled paragraph.

    Attributes:
        topics: the topics chosen.
        topic_probabilities: of each topic; empty where the method has none (no calibration then).
        voices: the voices found, those over their threshold.
        candidates: every candidate of the decoder, also under the threshold; for the calibration of presence.
        stance: the paragraph's stance as printed; None where none was given.
        stance_probabilities: of each paragraph stance; empty where the method has none.
        gold_stances: stance probabilities on the gold mentions: the narrator first if gold has one, then the
            gold voices in text order. Empty in every prediction if this was not predicted.
        gold_decisions: the stance chosen for each of them; empty where it is the most probable one.
    """

    topics: tuple[str, ...]
    topic_probabilities: Mapping[str, float]
    voices: tuple[PredictedVoice, ...]
    candidates: tuple[PredictedVoice, ...]
    stance: str | None
    stance_probabilities: Mapping[str, float]
    gold_stances: tuple[Mapping[str, float], ...]
    gold_decisions: tuple[str, ...] = ()


def prediction_from_tags(tags: ParagraphTags, gold_stances: Iterable[Mapping[str, float]] = ()) -> Prediction:
    """A prediction from what a user gets; its only candidates are the voices found."""
    voices = tuple(
        PredictedVoice(voice.start, voice.end, voice.narrator, voice.presence, voice.stance, voice.stances)
        for voice in tags.voices
    )
    return Prediction(
        topics=tags.topics,
        topic_probabilities=tags.topic_probabilities,
        voices=voices,
        candidates=voices,
        stance=tags.stance,
        stance_probabilities=tags.stance_probabilities,
        gold_stances=tuple(gold_stances),
    )


def mention_spans(voices: Iterable[PredictedVoice]) -> list[tuple[PredictedVoice, tuple[int, int]]]:
    """The voices with a mention in the text, in text order, each with its character offsets."""
    spans = [(voice, (voice.start, voice.end)) for voice in voices if not voice.narrator]
    return sorted(((v, (s, e)) for v, (s, e) in spans if s is not None and e is not None), key=lambda item: item[1])


def unknown_label(name: str, names: Sequence[str], kind: str, paragraph: LabelledParagraph) -> DataError:
    """The error for a label, gold or predicted, that the codebook does not have."""
    return DataError(
        f"paragraph {paragraph.id}: unknown {kind} {name!r}; the codebook has: {', '.join(names) or 'none'}. "
        "Evaluate with the codebook that labels and model were made with"
    )


def paragraph_stance(paragraph: LabelledParagraph, codebook: Codebook) -> str | None:
    """The gold stance by the rule; None unless voices and narrator are labelled and the rule has one.

    Raises:
        DataError: a stance that the codebook does not have.
    """
    if paragraph.voices is None or not paragraph.narrator_labelled:
        return None
    stances = gold_mention_stances(paragraph)
    for stance in stances:
        if stance not in codebook.stance_names:
            raise unknown_label(stance, codebook.stance_names, "stance", paragraph)
    return codebook.union(stances)


def gold_mention_stances(paragraph: LabelledParagraph) -> list[str]:
    """The gold stances that `Prediction.gold_stances` speaks of: narrator first, then text order."""
    narrator = [] if paragraph.narrator is None else [paragraph.narrator]
    voices = sorted(paragraph.voices or (), key=lambda voice: (voice.start, voice.end))
    return narrator + [voice.stance for voice in voices]


def gold_stances_to_compare(paragraph: LabelledParagraph, prediction: Prediction) -> list[str]:
    """`gold_mention_stances`, for a prediction that has one for each.

    Raises:
        DataError: it has more or fewer.
    """
    gold = gold_mention_stances(paragraph)
    if len(gold) != len(prediction.gold_stances):
        raise DataError(
            f"paragraph {paragraph.id}: {len(gold)} gold mentions (narrator included), but stances "
            f"predicted for {len(prediction.gold_stances)}; predict one for each, the narrator first"
        )
    return gold


def most_probable(probabilities: Mapping[str, float], names: Sequence[str]) -> str:
    """The label with the highest probability; of equal ones, the first in the codebook's order."""
    order = {name: place for place, name in enumerate(names)}
    return min(probabilities, key=lambda name: (-probabilities[name], order.get(name, len(names))))


def decided_stances(prediction: Prediction, codebook: Codebook) -> list[str]:
    """The stances chosen for the gold mentions: as `Prediction.gold_decisions` has them, else the most probable."""
    likeliest = (most_probable(probabilities, codebook.stance_names) for probabilities in prediction.gold_stances)
    return list(prediction.gold_decisions or likeliest)
