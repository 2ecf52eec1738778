"""Weights by which a stance is chosen: what they gain, and where there is nothing to gain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detente.codebook import Codebook
from detente_training.annotation import LabelledParagraph
from detente_training.predictions import PredictedVoice, Prediction
from detente_training.stance_weights import _macro_f1, _Rule, fit_stance_weights

Mark = Callable[..., LabelledParagraph]
BOOK = Codebook.default()
NAMES = ("engagement", "pressure", "mixed", "neutral")


def read(paragraph: LabelledParagraph, *rows: tuple[float, ...]) -> Prediction:
    """A prediction that finds every labelled voice, with these probabilities in their order."""
    stances = [dict(zip(NAMES, row, strict=True)) for row in rows]
    voices = tuple(
        PredictedVoice(v.start, v.end, False, 1.0, max(s, key=s.__getitem__), s)
        for v, s in zip(paragraph.voices or (), stances, strict=True)
    )
    chosen = BOOK.union(v.stance for v in voices)
    return Prediction((), {}, voices, voices, chosen, {}, tuple(stances))


def test_a_rare_stance_that_is_never_the_most_probable_gains_a_weight(mark: Mark) -> None:
    mixed = [mark("{{m|Ada}} said so.", f"m{i}") for i in range(4)]
    pressure = [mark("{{p|Ben}} said so.", f"p{i}") for i in range(8)]
    predictions = [read(p, (0.05, 0.5, 0.4, 0.05)) for p in mixed] + [read(p, (0.1, 0.8, 0.05, 0.05)) for p in pressure]
    weights = fit_stance_weights([*mixed, *pressure], predictions, BOOK)
    assert weights["engagement"] == 1
    assert 0.5 * weights["pressure"] < 0.4 * weights["mixed"]
    assert 0.8 * weights["pressure"] > 0.05 * weights["mixed"]


def test_where_all_is_right_the_weights_stay(mark: Mark) -> None:
    gold = [mark("{{e|Ada}} said so, {{n|Ben}} too.", "a"), mark("{{p|Ben}} said so.", "b")]
    predictions = [read(gold[0], (0.7, 0.1, 0.1, 0.1), (0.1, 0.1, 0.1, 0.7)), read(gold[1], (0.1, 0.7, 0.1, 0.1))]
    assert fit_stance_weights(gold, predictions, BOOK) == dict.fromkeys(NAMES, 1.0)


def test_nothing_to_fit_on(mark: Mark) -> None:
    gold = [mark("Rain fell.", "a")]
    assert fit_stance_weights(gold, [Prediction((), {}, (), (), "neutral", {}, ())], BOOK) == {}


def test_the_rule_is_the_codebooks() -> None:
    chosen = np.array([0, 1, 3, 2, 3])
    paragraph = np.array([0, 0, 1, 3, 3])
    assert _Rule(BOOK).apply(chosen, paragraph, 4).tolist() == [2, 3, 3, 2]
    for pair in ((0, 1), (0, 3), (1, 3), (2, 0), (3, 3)):
        by_hand = BOOK.union(NAMES[i] for i in pair)
        assert NAMES[int(_Rule(BOOK).apply(np.array(pair), np.array([0, 0]), 1)[0])] == by_hand


def test_macro_f1_by_hand() -> None:
    # label 0: 2 * 1 / (2 + 1); label 1: 2 * 1 / (1 + 2); label 2 does not occur
    assert _macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1]), 3) == pytest.approx(2 / 3)
    assert _macro_f1(np.array([], dtype=int), np.array([], dtype=int), 3) == 0
