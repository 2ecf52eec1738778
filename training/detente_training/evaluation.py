"""What an evaluation shows beside its figures: the same figures by group, and the mistakes, worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from detente.codebook import Codebook
from detente.errors import DataError
from detente.tags import NARRATOR
from detente_training.labelled import LabelledParagraph
from detente_training.matching import match_mentions
from detente_training.metrics import evaluate
from detente_training.predictions import PredictedVoice, Prediction, mention_spans, paragraph_stance
from detente_training.report import Report
from detente_training.tables import render_groups, render_report

__all__ = [
    "GROUP_FIELDS",
    "Mistake",
    "by_group",
    "group_fields",
    "mistakes",
    "render_groups",
    "render_report",
]

GROUP_FIELDS = ("style", "region", "source", "year", "split")
NO_VALUE = "(none)"  # group of the paragraphs whose record does not name one


def group_fields(text: str) -> tuple[str, ...]:
    """Reads the fields of `--by`: names joined by commas, as in "style,region".

    Raises:
        DataError: a field that records do not have; all are listed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    problems = []
    for name in names:
        if name not in GROUP_FIELDS:
            near = get_close_matches(name, GROUP_FIELDS, n=1)
            problems.append(f"cannot group by `{name}`" + (f", did you mean `{near[0]}`?" if near else ""))
    if problems or not names:
        problems = problems or ["no field to group by was named"]
        raise DataError("; ".join(problems) + f". Fields: {', '.join(GROUP_FIELDS)}")
    return names


def by_group(
    gold: Sequence[LabelledParagraph],
    predictions: Sequence[Prediction],
    codebook: Codebook,
    fields: Sequence[str],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Report]]:
    """One report for each value of each field: field -> value -> report, largest group first."""
    grouped: dict[str, dict[str, Report]] = {}
    for name in fields:
        rows: dict[str, list[int]] = {}
        for row, paragraph in enumerate(gold):
            rows.setdefault(getattr(paragraph, name) or NO_VALUE, []).append(row)
        grouped[name] = {
            value: evaluate(
                [gold[i] for i in members],
                [predictions[i] for i in members],
                codebook,
                bootstrap=bootstrap,
                seed=seed,
            )
            for value, members in sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
        }
    return grouped


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong decision.

    Attributes:
        confidence: probability that the model gave to its wrong answer, in [0, 1]: of a topic or voice that
            is not there, its own; of one that was missed, 1 minus its own; of a wrong stance, that stance's.
            1 where the method gives no probability.
        task: "topic", "voice", "stance" (of a voice that was found) or "paragraph_stance".
        gold: the right answer (a topic, or a stance); None where there is nothing to find.
        found: the answer given; None where something was missed.
        mention, start, end: the voice it is about, the gold one if there is one; "narrator" has no offsets.
        text: the paragraph.
    """

    confidence: float
    task: str
    gold: str | None
    found: str | None
    mention: str | None
    start: int | None
    end: int | None
    id: str
    document: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The mistake as one JSON row."""
        return {**asdict(self), "confidence": round(self.confidence, 6)}


def mistakes(gold: Sequence[LabelledParagraph], predictions: Sequence[Prediction], codebook: Codebook) -> list[Mistake]:
    """Every wrong decision, worst first: by confidence in the wrong answer, then in the order of the data."""
    found = [
        mistake
        for paragraph, prediction in zip(gold, predictions, strict=True)
        for mistake in _mistakes_of(paragraph, prediction, codebook)
    ]
    return sorted(found, key=lambda mistake: -mistake.confidence)


def _mistakes_of(paragraph: LabelledParagraph, prediction: Prediction, codebook: Codebook) -> Iterator[Mistake]:
    if paragraph.topics is not None:
        yield from _topic_mistakes(paragraph, prediction, codebook)
    if paragraph.narrator_labelled:
        yield from _narrator_mistakes(paragraph, prediction)
    if paragraph.voices is not None:
        yield from _mention_mistakes(paragraph, prediction)
    right = paragraph_stance(paragraph, codebook)
    if right is not None and prediction.stance != right:
        confidence = prediction.stance_probabilities.get(prediction.stance or "", 1.0)
        yield _mistake(paragraph, "paragraph_stance", right, prediction.stance, confidence)


def _mistake(
    paragraph: LabelledParagraph,
    task: str,
    gold: str | None,
    found: str | None,
    confidence: float,
    span: tuple[int, int] | None = None,
    narrator: bool = False,
) -> Mistake:
    start, end = span or (None, None)
    mention = paragraph.text[slice(*span)] if span else NARRATOR if narrator else None
    return Mistake(confidence, task, gold, found, mention, start, end, paragraph.id, paragraph.document, paragraph.text)


def _topic_mistakes(paragraph: LabelledParagraph, prediction: Prediction, codebook: Codebook) -> Iterator[Mistake]:
    for topic in codebook.topic_names:
        right, given = topic in (paragraph.topics or ()), topic in prediction.topics
        if right != given:
            probability = prediction.topic_probabilities.get(topic, float(given))
            confidence = probability if given else 1 - probability
            yield _mistake(paragraph, "topic", topic if right else None, topic if given else None, confidence)


def _wrong_stance(voice: PredictedVoice) -> float:
    return voice.stances.get(voice.stance, 1.0)


def _narrator_mistakes(paragraph: LabelledParagraph, prediction: Prediction) -> Iterator[Mistake]:
    right = paragraph.narrator
    found = next((voice for voice in prediction.voices if voice.narrator), None)
    if found is None and right is not None:
        presence = max((voice.presence for voice in prediction.candidates if voice.narrator), default=0.0)
        yield _mistake(paragraph, "voice", right, None, 1 - presence, narrator=True)
    elif found is not None and right is None:
        yield _mistake(paragraph, "voice", None, found.stance, found.presence, narrator=True)
    elif found is not None and found.stance != right:
        yield _mistake(paragraph, "stance", right, found.stance, _wrong_stance(found), narrator=True)


def _mention_mistakes(paragraph: LabelledParagraph, prediction: Prediction) -> Iterator[Mistake]:
    gold = paragraph.voices or ()
    spans = [(voice.start, voice.end) for voice in gold]
    found = mention_spans(prediction.voices)
    matches = match_mentions(paragraph.text, spans, [span for _, span in found])
    candidates = mention_spans(prediction.candidates)
    by_presence = sorted(range(len(candidates)), key=lambda i: (-candidates[i][0].presence, candidates[i][1]))
    presence = {
        m.gold: candidates[m.found][0].presence
        for m in match_mentions(paragraph.text, spans, [span for _, span in candidates], order=by_presence)
    }
    matched_gold = {m.gold: found[m.found][0] for m in matches}
    for number, voice in enumerate(gold):
        given = matched_gold.get(number)
        if given is None:
            yield _mistake(paragraph, "voice", voice.stance, None, 1 - presence.get(number, 0.0), spans[number])
        elif given.stance != voice.stance:
            yield _mistake(paragraph, "stance", voice.stance, given.stance, _wrong_stance(given), spans[number])
    matched_found = {m.found for m in matches}
    for number, (spurious, span) in enumerate(found):
        if number not in matched_found:
            yield _mistake(paragraph, "voice", None, spurious.stance, spurious.presence, span)
