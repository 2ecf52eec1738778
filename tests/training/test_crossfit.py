"""Predictions under a calibration that was fitted on the other half of the documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from detente.bundle import load_bundle
from detente.calibration import Calibration
from detente.errors import DataError
from detente.network import DetenteModel
from detente.reader import Reader
from detente_training.annotation import LabelledParagraph
from detente_training.crossfit import cross_fitted_predictions, halves
from detente_training.finish import make_reader
from detente_training.fitting import fit_calibration
from detente_training.predict import predict

Mark = Callable[..., LabelledParagraph]


@pytest.fixture(scope="module")
def reader(trained: Path) -> Reader:
    bundle = load_bundle(trained / "bundle")
    return make_reader(bundle.model, bundle.tokenizer, bundle.codebook, Calibration(voice_threshold=0.99))


@pytest.fixture(scope="module")
def model(trained: Path) -> DetenteModel:
    return load_bundle(trained / "bundle").model


def test_halves_are_of_whole_documents(mark: Mark) -> None:
    paragraphs = [mark("Rice.", f"{name}-{row}") for row in (0, 1) for name in ("a", "b", "c", "d", "e")]
    first, second = halves(paragraphs)
    documents = [{paragraphs[row].document for row in rows} for rows in (first, second)]
    assert documents == [{"d", "b", "a"}, {"c", "e"}]  # by SHA-256: d, c, b, e, a
    assert sorted(first + second) == list(range(10))
    assert (len(first), len(second)) == (6, 4)


def test_the_order_of_the_paragraphs_makes_no_difference(corpus: list[LabelledParagraph]) -> None:
    first = {corpus[row].id for row in halves(corpus)[0]}
    turned = corpus[::-1]
    assert {turned[row].id for row in halves(turned)[0]} == first


def test_one_document_has_no_halves(mark: Mark) -> None:
    with pytest.raises(DataError, match="there are 1; give paragraphs of two documents at least"):
        halves([mark("Rice.", "a-0"), mark("Rice.", "a-1")])


def test_each_half_is_read_under_what_was_fitted_to_the_other(
    model: DetenteModel, reader: Reader, corpus: list[LabelledParagraph]
) -> None:
    paragraphs = corpus[:24]  # four documents
    done: list[int] = []
    found = cross_fitted_predictions(model, reader, paragraphs, progress=done.append)
    assert done == [12, 24]
    for judged, fitted_on in (halves(paragraphs), halves(paragraphs)[::-1]):
        calibration = fit_calibration(model, reader, [paragraphs[row] for row in fitted_on])
        expected = predict(replace(reader, calibration=calibration), [paragraphs[row] for row in judged])
        assert [found[row] for row in judged] == expected


def test_nothing_is_judged_by_its_own_labels(
    model: DetenteModel, reader: Reader, corpus: list[LabelledParagraph]
) -> None:
    seen: list[set[str]] = []

    def fit(_: DetenteModel, __: Reader, paragraphs: Sequence[LabelledParagraph]) -> Calibration:
        seen.append({p.document for p in paragraphs})
        return Calibration(voice_threshold=1.0 if len(seen) == 1 else 0.0)

    found = cross_fitted_predictions(model, reader, corpus[:12], fit)
    assert seen == [{"d0"}, {"d1"}] or seen == [{"d1"}, {"d0"}]
    mentions = [[v for v in prediction.voices if not v.narrator] for prediction in found]
    read_first = {p.document for p in corpus[:12]} - seen[0]
    for paragraph, voices, prediction in zip(corpus[:12], mentions, found, strict=True):
        candidates = [v for v in prediction.candidates if not v.narrator]
        if paragraph.document in read_first:
            candidates = [v for v in candidates if v.presence >= 1]
        assert voices == candidates
