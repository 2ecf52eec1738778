"""Fitting the weights by which a stance is chosen from its probabilities.

The most probable stance is the best choice for accuracy, not for macro-F1: a rare stance is hardly ever the most
probable one. Weights on the probabilities move the decision and leave the probabilities, which are calibrated, alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detente.codebook import Codebook
from detente_training.labelled import LabelledParagraph
from detente_training.matching import match_mentions
from detente_training.predictions import Prediction, gold_mention_stances, mention_spans, paragraph_stance

GRID = np.geomspace(1 / 3, 3, 23)  # 10% steps
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Cases:
    """Stances to be decided: their probabilities (N, S), the right one (-1: none is), the paragraph of each."""

    probabilities: Floats
    gold: Ints
    paragraph: Ints


def fit_stance_weights(
    gold: Sequence[LabelledParagraph], predictions: Sequence[Prediction], codebook: Codebook
) -> dict[str, float]:
    """Weights that maximise the mean of three figures: voice with stance F1, and the macro-F1 of the stance on gold
    mentions and of the paragraph's stance.

    One weight after the other is moved over a grid until none brings more; the first stays 1, since only ratios count.

    Args:
        predictions: made with the fitted thresholds, so that the voices found are the final ones.

    Returns:
        A weight for each stance; empty where there is nothing to fit on.
    """
    names = codebook.stance_names
    marked, found = _gold_cases(gold, predictions, names), _found_cases(gold, predictions, names)
    if len(names) < 2 or not len(marked.gold) or not len(found.gold):
        return {}
    stances = [paragraph_stance(paragraph, codebook) for paragraph in gold]
    labels = np.array([-1 if stance is None else names.index(stance) for stance in stances])
    total = sum((p.narrator is not None) + len(p.voices or ()) for p in gold)
    rule = _Rule(codebook)

    def value(weights: Floats) -> float:
        chosen = (found.probabilities * weights).argmax(axis=1)
        hits = int((chosen == found.gold).sum())
        united = rule.apply(chosen, found.paragraph, len(gold))
        known = labels >= 0
        return (
            2 * hits / (total + len(chosen))
            + _macro_f1(marked.gold, (marked.probabilities * weights).argmax(axis=1), len(names))
            + _macro_f1(labels[known], united[known], len(names))
        )

    weights = np.ones(len(names))
    best = value(weights)
    improved = True
    while improved:
        improved = False
        for place in range(1, len(names)):
            for candidate in GRID:
                trial = weights.copy()
                trial[place] = candidate
                if (reached := value(trial)) > best + 1e-9:
                    weights, best, improved = trial, reached, True
    return {name: round(float(weight), 4) for name, weight in zip(names, weights, strict=True)}


class _Rule:
    """The codebook's rule for paragraphs: the union of the poles of its voices."""

    def __init__(self, codebook: Codebook) -> None:
        self.poles = np.array([[pole.name in s.poles for pole in codebook.poles] for s in codebook.stances], dtype=bool)
        self.codes = {tuple(row): number for number, row in enumerate(self.poles.tolist())}

    def apply(self, chosen: Ints, paragraph: Ints, count: int) -> Ints:
        """The stance (-1: none has that set) of each of `count` paragraphs from those of its voices."""
        united = np.zeros((count, self.poles.shape[1]), dtype=bool)
        np.logical_or.at(united, paragraph, self.poles[chosen])
        return np.array([self.codes.get(tuple(row), -1) for row in united.tolist()], dtype=np.int64)


def _macro_f1(gold: Ints, found: Ints, labels: int) -> float:
    """Mean F1 over the labels that occur."""
    right = np.bincount(gold[gold == found], minlength=labels)
    both = np.bincount(gold, minlength=labels) + np.bincount(found[found >= 0], minlength=labels)
    return float(np.mean(2 * right[both > 0] / both[both > 0])) if both.any() else 0.0


def _cases(rows: Sequence[tuple[Sequence[float], int, int]], stances: int) -> _Cases:
    return _Cases(
        np.array([row for row, _, _ in rows], dtype=np.float64).reshape(len(rows), stances),
        np.array([gold for _, gold, _ in rows], dtype=np.int64),
        np.array([number for _, _, number in rows], dtype=np.int64),
    )


def _gold_cases(gold: Sequence[LabelledParagraph], predictions: Sequence[Prediction], names: tuple[str, ...]) -> _Cases:
    rows = [
        ([probabilities[name] for name in names], names.index(stance), number)
        for number, (paragraph, prediction) in enumerate(zip(gold, predictions, strict=True))
        for stance, probabilities in zip(gold_mention_stances(paragraph), prediction.gold_stances, strict=True)
    ]
    return _cases(rows, len(names))


def _found_cases(
    gold: Sequence[LabelledParagraph], predictions: Sequence[Prediction], names: tuple[str, ...]
) -> _Cases:
    rows: list[tuple[Sequence[float], int, int]] = []
    for number, (paragraph, prediction) in enumerate(zip(gold, predictions, strict=True)):
        voices = mention_spans(prediction.voices)
        marks = paragraph.voices or ()
        matches = match_mentions(paragraph.text, [(v.start, v.end) for v in marks], [span for _, span in voices])
        right = {m.found: names.index(marks[m.gold].stance) for m in matches}
        rows += [([v.stances[n] for n in names], right.get(i, -1), number) for i, (v, _) in enumerate(voices)]
        narrator = -1 if paragraph.narrator is None else names.index(paragraph.narrator)
        rows += [([v.stances[n] for n in names], narrator, number) for v in prediction.voices if v.narrator]
    return _cases(rows, len(names))
