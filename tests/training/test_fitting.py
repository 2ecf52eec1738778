"""Temperatures and thresholds fitted on labelled paragraphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detente.bundle import load_bundle
from detente.calibration import Calibration
from detente.tagger import Tagger
from detente_training.annotation import LabelledParagraph
from detente_training.dataset import IGNORED
from detente_training.fitting import best_temperature, best_threshold, fit_calibration, fit_temperatures
from detente_training.objective import class_loss, topic_loss
from detente_training.predict import predict
from detente_training.predictions import gold_mention_stances

if TYPE_CHECKING:
    from detente.bundle import Bundle
    from detente.reader import Reader

Mark = Callable[..., LabelledParagraph]


@pytest.mark.parametrize(
    ("scored", "gold", "threshold"),
    [
        ([(0.9, True), (0.6, True), (0.3, False)], 2, 0.45),  # between the last let in and the first left out
        ([(0.3, False), (0.9, True), (0.6, True)], 2, 0.45),  # the order given does not matter
        ([(0.9, True), (0.6, True), (0.3, False)], 4, 0.45),  # two more that have no score: 2/5, 4/6, 4/7
        ([(0.9, True), (0.5, False), (0.4, False), (0.3, True)], 2, 0.7),  # F1 2/3 twice: the higher threshold
        ([(0.9, True), (0.5, False), (0.4, True), (0.3, True)], 3, 0.15),  # all in: half of the lowest
        ([(0.4, True)], 1, 0.2),
        ([(0.9, False), (0.4, True)], 1, 0.2),
        # equal scores stand or fall together: 2/4 for both of .8, 4/5 for all three
        ([(0.8, True), (0.8, False), (0.2, True)], 2, 0.1),
        ([(0.8, True), (0.8, False), (0.2, False)], 1, 0.5),
        ([(0.5, True), (0.5, True)], 2, 0.25),
        ([(1.0, True), (0.0, False)], 1, 0.5),
    ],
)
def test_the_threshold_with_the_best_f1(scored: list[tuple[float, bool]], gold: int, threshold: float) -> None:
    assert best_threshold(scored, gold) == threshold


@pytest.mark.parametrize(
    ("scored", "gold"),
    [([], 0), ([], 3), ([(0.9, False), (0.2, False)], 0), ([(0.9, False)], 2)],
)
def test_nothing_to_fit_a_threshold_on(scored: list[tuple[float, bool]], gold: int) -> None:
    assert best_threshold(scored, gold) == 0.5


def test_rounding_lets_nobody_in_or_out() -> None:
    assert best_threshold([(0.99998, True), (0.99996, False)], 1) == pytest.approx(0.99997, abs=1e-9)
    assert best_threshold([(0.00002, True), (0.00001, False)], 1) == pytest.approx(0.000015, abs=1e-9)


def f1_at(threshold: float, scored: list[tuple[float, bool]], gold: int) -> float:
    given = [right for score, right in scored if score >= threshold]
    return 2 * sum(given) / (len(given) + gold) if given or gold else 0.0


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=16), st.booleans()), max_size=12),
    st.integers(0, 3),
)
def test_no_other_threshold_is_better(scored: list[tuple[float, bool]], missed: int) -> None:
    gold = sum(right for _, right in scored) + missed
    threshold = best_threshold(scored, gold)
    assert 0 <= threshold <= 1
    if any(right for _, right in scored):
        reached = f1_at(threshold, scored, gold)
        assert reached == pytest.approx(max(f1_at(score, scored, gold) for score, _ in scored))


def test_the_temperature_of_sharpened_logits_is_found() -> None:
    generator = torch.Generator().manual_seed(3)
    true = torch.randn(20_000, 3, generator=generator) * 1.5
    classes = torch.multinomial(true.softmax(-1), 1, generator=generator).squeeze(1)
    assert best_temperature([(true[:500], classes[:500]), (true[500:], classes[500:])], class_loss) == pytest.approx(
        1.0, rel=0.04
    )
    assert best_temperature([(true * 2, classes)], class_loss) == pytest.approx(2.0, rel=0.04)
    assert best_temperature([(true / 2, classes)], class_loss) == pytest.approx(0.5, rel=0.04)
    topics = torch.bernoulli(true.sigmoid(), generator=generator).long()
    assert best_temperature([(true * 3, topics)], topic_loss) == pytest.approx(3.0, rel=0.04)
    topics[:, 0] = IGNORED  # what is not labelled has no say, however wrong it looks
    true[:, 0] = 1e4
    assert best_temperature([(true * 3, topics)], topic_loss) == pytest.approx(3.0, rel=0.04)


def test_nothing_to_fit_a_temperature_on() -> None:
    assert best_temperature([(torch.randn(4, 3), torch.full((4,), IGNORED))], class_loss) == 1.0


@pytest.fixture(scope="module")
def bundle(trained: Path) -> Bundle:
    return load_bundle(trained)


@pytest.fixture(scope="module")
def reader(bundle: Bundle) -> Reader:
    return replace(Tagger.from_bundle(bundle, device="cpu").reader, calibration=Calibration())


@pytest.fixture(scope="module")
def validation(corpus: list[LabelledParagraph]) -> list[LabelledParagraph]:
    return [p for p in corpus if p.split == "validation"]


def test_a_calibration_is_fitted(bundle: Bundle, reader: Reader, validation: list[LabelledParagraph]) -> None:
    read: list[int] = []
    fitted = fit_calibration(bundle.model, reader, validation, read.append)
    assert set(fitted.topic_thresholds) == {"human_rights", "military_tension", "diplomacy"}
    assert fitted.topic_thresholds["human_rights"] == 0.5  # no paragraph has it
    assert all(0 < value < 1 for value in fitted.topic_thresholds.values())
    assert 0 < fitted.voice_threshold < 1
    assert 0 < fitted.narrator_threshold < 1
    for name in ("topic", "voice", "narrator", "stance"):
        assert 0.2 <= getattr(fitted, f"{name}_temperature") <= 5
    assert fitted.topic_temperature != 1
    assert fitted.stance_temperature != 1
    assert read[-1] == len(validation)
    assert reader.calibration == Calibration()  # the reader given stays as it was
    assert fit_calibration(bundle.model, reader, validation) == fitted


def test_the_bundle_has_that_calibration(bundle: Bundle, reader: Reader, validation: list[LabelledParagraph]) -> None:
    refitted = fit_calibration(bundle.model, reader, validation).to_dict()
    saved = bundle.calibration.to_dict()
    assert refitted.pop("topic_thresholds") == pytest.approx(saved.pop("topic_thresholds"), abs=0.02)
    assert refitted.pop("stance_weights") == pytest.approx(saved.pop("stance_weights"), rel=0.25)  # two of its steps
    assert refitted == pytest.approx(saved, rel=0.05)  # saved in half precision


def test_temperatures_raise_the_likelihood_and_change_no_choice(
    bundle: Bundle, reader: Reader, validation: list[LabelledParagraph]
) -> None:
    fitted = replace(reader, calibration=fit_temperatures(bundle.model, reader, validation))
    gold = [stance for p in validation for stance in gold_mention_stances(p)]
    before, after = ([row for p in predict(r, validation) for row in p.gold_stances] for r in (reader, fitted))
    assert likelihood(after, gold) > likelihood(before, gold)
    assert [max(row, key=row.get) for row in after] == [max(row, key=row.get) for row in before]


def likelihood(rows: list[Mapping[str, float]], gold: list[str]) -> float:
    return sum(log(row[stance]) for row, stance in zip(rows, gold, strict=True))


def test_what_is_not_labelled_keeps_its_defaults(
    bundle: Bundle, reader: Reader, validation: list[LabelledParagraph]
) -> None:
    topics = [replace(p, voices=None, narrator=None, narrator_labelled=False) for p in validation]
    fitted = fit_calibration(bundle.model, reader, topics)
    assert fitted.topic_temperature != 1
    assert replace(fitted, topic_temperature=1.0, topic_thresholds={}) == Calibration()

    voices = [replace(p, topics=None, narrator=None, narrator_labelled=False) for p in validation]
    fitted = fit_calibration(bundle.model, reader, voices)
    assert set(fitted.topic_thresholds.values()) == {0.5}
    assert (fitted.topic_temperature, fitted.narrator_temperature, fitted.narrator_threshold) == (1.0, 1.0, 0.5)
    assert fitted.voice_temperature != 1
    assert fitted.stance_temperature != 1


def test_long_paragraphs_are_fitted_on_whole(bundle: Bundle, reader: Reader, mark: Mark) -> None:
    long = mark("Talks must go on. " * 20 + "{{e|Varga}} said.", topics=("diplomacy",), narrator="engagement")
    fitted = fit_calibration(bundle.model, reader, [long])
    assert fitted.topic_temperature == 1  # no window says whether it holds the topic
    assert fitted.topic_thresholds["diplomacy"] != 0.5  # the paragraph does
