"""The figures of `detente evaluate`: topics, voices, stance, paragraph stance and their calibration.

Every figure is a function of counts summed over paragraphs, so that its interval comes from the same counts
summed over resampled documents. Definitions with formulas: docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from detente.codebook import Codebook
from detente.errors import DataError
from detente_training.estimates import (
    Figure,
    Floats,
    Ints,
    Resampling,
    Statements,
    figure,
    mean_of_defined,
    ratio,
)
from detente_training.labelled import LabelledParagraph
from detente_training.matching import match_mentions
from detente_training.predictions import (
    PredictedVoice,
    Prediction,
    decided_stances,
    gold_stances_to_compare,
    mention_spans,
    most_probable,
    paragraph_stance,
    prediction_from_tags,
    unknown_label,
)
from detente_training.report import (
    NOTHING,
    Confusion,
    Report,
    Scores,
    StanceReport,
    TopicReport,
    VoiceReport,
    headline,
)

__all__ = [
    "Figure",
    "PredictedVoice",
    "Prediction",
    "Report",
    "evaluate",
    "headline",
    "prediction_from_tags",
]


def evaluate(
    gold: Sequence[LabelledParagraph],
    predictions: Sequence[Prediction],
    codebook: Codebook,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Report:
    """Measures predictions against labels; the i-th prediction is about the i-th paragraph.

    - **Topics**: precision, recall, F1 of each label over the paragraphs with labelled topics, and their
      means over the labels of the codebook that occur in gold or predictions.
    - **Voices**: a found voice matches a gold voice if they share a word, one to one, in text order
      (`matching.match_mentions`); the narrator matches only the narrator. Micro precision, recall, F1 by
      overlap, by exact span, and counting only matches with the right stance.
    - **Stance** on gold mentions: macro-F1 over the stances of the codebook that occur in gold or
      predictions, and accuracy.
    - **Paragraph stance**: gold by the rule against `Prediction.stance`; macro-F1 and accuracy likewise.
    - **Calibration**: expected calibration error in ten equal-mass bins. Topics: every probability of every
      label is one item, right if the label is gold. Presence: every candidate is one item, the narrator's
      too; it is right if it is matched to a gold voice (to the gold narrator), where the most probable
      candidates choose first; a gold voice without any candidate is no item. Both stances: an item's
      confidence is the probability of the most probable label, and it is right if that label is gold.

    A precision without predictions, or a recall without gold items, is 0 if the label occurs on the other
    side.

    Args:
        bootstrap: how often documents are resampled for the 95% intervals; 0 for no intervals.
        seed: of the resampling.

    Raises:
        DataError: nothing to evaluate, lengths that differ, or labels that the codebook does not have.
    """
    if not gold:
        raise DataError("there is nothing to evaluate: no labelled paragraph was given")
    if len(gold) != len(predictions):
        raise DataError(f"{len(gold)} labelled paragraphs but {len(predictions)} predictions; give one for each")
    names, document = np.unique(np.array([p.document for p in gold], dtype=np.str_), return_inverse=True)
    resampling = Resampling(document.astype(np.int64), bootstrap if len(names) > 1 else 0, seed)
    pairs = list(zip(gold, predictions, strict=True))
    return Report(
        paragraphs=len(gold),
        documents=len(names),
        resamples=resampling.resamples,
        seed=seed,
        topics=_topics(pairs, codebook, resampling) if codebook.topics else None,
        voices=_voices(pairs, resampling) if codebook.stances else None,
        stance=_mention_stances(pairs, codebook, resampling) if codebook.stances else None,
        paragraph_stance=_paragraph_stances(pairs, codebook, resampling) if codebook.stances else None,
    )


_Pairs = Sequence[tuple[LabelledParagraph, Prediction]]


def _index(name: str, names: Sequence[str], kind: str, paragraph: LabelledParagraph) -> int:
    if name not in names:
        raise unknown_label(name, names, kind, paragraph)
    return list(names).index(name)


def _scores(gold: Floats, found: Floats, hits: Floats, support: int | None = None) -> Scores:
    """Scores from totals over sample and resamples, (1 + R,); a macro average from (1 + R, labels)."""
    occurs = gold + found > 0
    precision = np.where(occurs & (found == 0), 0.0, ratio(hits, found))
    recall = np.where(occurs & (gold == 0), 0.0, ratio(hits, gold))
    values = [precision, recall, ratio(2 * hits, gold + found)]
    if gold.ndim > 1:
        # a label that a resample lacks is left out of that resample's mean, as in the sample itself
        values = [mean_of_defined(np.where(occurs, value, np.nan)) for value in values]
    support = int(gold[0].sum()) if support is None else support
    return Scores(*(figure(value, support) for value in values))


def _topics(pairs: _Pairs, codebook: Codebook, resampling: Resampling) -> TopicReport | None:
    names = codebook.topic_names
    counts = np.zeros((len(pairs), 3, len(names)), dtype=np.int64)  # gold, found, hits
    items, labelled = Statements(), 0
    for row, (paragraph, prediction) in enumerate(pairs):
        if paragraph.topics is None:
            continue
        labelled += 1
        for kind, topics in enumerate((paragraph.topics, prediction.topics)):
            for topic in topics:
                counts[row, kind, _index(topic, names, "topic", paragraph)] = 1
        for topic, probability in prediction.topic_probabilities.items():
            items.add(probability, bool(counts[row, 0, _index(topic, names, "topic", paragraph)]), row)
    if not labelled:
        return None
    counts[:, 2] = counts[:, 0] & counts[:, 1]
    totals = resampling.totals(counts)
    gold, found, hits = totals[:, 0], totals[:, 1], totals[:, 2]  # each (1 + R, K)
    return TopicReport(
        labels={name: _scores(gold[:, k], found[:, k], hits[:, k]) for k, name in enumerate(names)},
        macro=_scores(gold, found, hits, labelled),
        ece=items.error(resampling),
    )


def _voices(pairs: _Pairs, resampling: Resampling) -> VoiceReport | None:
    counts = np.zeros((len(pairs), 2, 5), dtype=np.int64)  # (mention, narrator) x (gold, found, overlap, exact, right)
    items, labelled = Statements(), False
    for row, (paragraph, prediction) in enumerate(pairs):
        if paragraph.voices is not None:
            labelled = True
            counts[row, 0] = _count_mentions(paragraph, prediction, items, row)
        if paragraph.narrator_labelled:
            labelled = True
            counts[row, 1] = _count_narrator(paragraph, prediction, items, row)
    if not labelled:
        return None
    totals = resampling.totals(counts)  # (1 + R, 2, 5)
    both = totals.sum(axis=1)
    mention, narrator = totals[:, 0], totals[:, 1]
    return VoiceReport(
        overlap=_scores(both[:, 0], both[:, 1], both[:, 2]),
        exact=_scores(both[:, 0], both[:, 1], both[:, 3]),
        with_stance=_scores(both[:, 0], both[:, 1], both[:, 4]),
        mentions=_scores(mention[:, 0], mention[:, 1], mention[:, 2]),
        narrator=_scores(narrator[:, 0], narrator[:, 1], narrator[:, 2]),
        found=int(both[0, 1]),
        ece=items.error(resampling),
    )


def _count_mentions(
    paragraph: LabelledParagraph, prediction: Prediction, items: Statements, row: int
) -> tuple[int, int, int, int, int]:
    gold = paragraph.voices or ()
    gold_spans = [(voice.start, voice.end) for voice in gold]
    found = mention_spans(prediction.voices)
    matches = match_mentions(paragraph.text, gold_spans, [span for _, span in found])
    right = sum(gold[m.gold].stance == found[m.found][0].stance for m in matches)

    candidates = mention_spans(prediction.candidates)
    by_presence = sorted(range(len(candidates)), key=lambda i: (-candidates[i][0].presence, candidates[i][1]))
    spans = [span for _, span in candidates]
    present = {m.found for m in match_mentions(paragraph.text, gold_spans, spans, order=by_presence)}
    for number, (voice, _) in enumerate(candidates):
        items.add(voice.presence, number in present, row)
    return len(gold), len(found), len(matches), sum(m.exact for m in matches), right


def _count_narrator(
    paragraph: LabelledParagraph, prediction: Prediction, items: Statements, row: int
) -> tuple[int, int, int, int, int]:
    found = [voice for voice in prediction.voices if voice.narrator]
    gold = int(paragraph.narrator is not None)
    match = min(gold, len(found))
    right = int(match and found[0].stance == paragraph.narrator)
    candidates = sorted((voice.presence for voice in prediction.candidates if voice.narrator), reverse=True)
    for number, presence in enumerate(candidates):
        items.add(presence, number < gold, row)
    return gold, len(found), match, match, right


def _mention_stances(pairs: _Pairs, codebook: Codebook, resampling: Resampling) -> StanceReport | None:
    if not any(prediction.gold_stances for _, prediction in pairs):
        return None
    names = codebook.stance_names
    counts = np.zeros((len(pairs), len(names), len(names) + 1), dtype=np.int64)
    items = Statements()
    for row, (paragraph, prediction) in enumerate(pairs):
        gold = gold_stances_to_compare(paragraph, prediction)
        decided = decided_stances(prediction, codebook)
        for stance, chosen, probabilities in zip(gold, decided, prediction.gold_stances, strict=True):
            target = _index(stance, names, "stance", paragraph)
            counts[row, target, _index(chosen, names, "stance", paragraph)] += 1
            best = most_probable(probabilities, names)
            items.add(probabilities[best], best == stance, row)
    return _stance_report(counts, names, items, resampling)


def _paragraph_stances(pairs: _Pairs, codebook: Codebook, resampling: Resampling) -> StanceReport | None:
    names = codebook.stance_names
    counts = np.zeros((len(pairs), len(names), len(names) + 1), dtype=np.int64)
    items = Statements()
    for row, (paragraph, prediction) in enumerate(pairs):
        stance = paragraph_stance(paragraph, codebook)
        if stance is None:
            continue
        target = _index(stance, names, "stance", paragraph)
        found = prediction.stance
        counts[row, target, len(names) if found is None else _index(found, names, "stance", paragraph)] = 1
        if prediction.stance_probabilities:
            best = most_probable(prediction.stance_probabilities, names)
            items.add(prediction.stance_probabilities[best], best == stance, row)
    return _stance_report(counts, names, items, resampling)


def _stance_report(
    counts: npt.NDArray[np.int64], names: tuple[str, ...], items: Statements, resampling: Resampling
) -> StanceReport | None:
    """Figures of one exclusive choice from its confusion counts (N, S, S + 1); last column: none given."""
    totals = resampling.totals(counts)  # (1 + R, S, S + 1)
    support = int(totals[0].sum())
    if not support:
        return None
    gold, found = totals.sum(axis=2), totals[:, :, : len(names)].sum(axis=1)
    hits: Floats = np.ascontiguousarray(np.diagonal(totals, axis1=1, axis2=2))
    table: Ints = totals[0].astype(np.int64)
    columns = names if not table[:, -1].any() else (*names, NOTHING)
    return StanceReport(
        labels={name: _scores(gold[:, k], found[:, k], hits[:, k]) for k, name in enumerate(names)},
        macro_f1=_scores(gold, found, hits, support).f1,
        accuracy=figure(ratio(hits.sum(axis=1), totals.sum(axis=(1, 2))), support),
        ece=items.error(resampling),
        confusion=Confusion(names, columns, tuple(tuple(map(int, row[: len(columns)])) for row in table)),
    )
