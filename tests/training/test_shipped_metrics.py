"""The figures stored in the shipped model, computed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detente.bundle import METRICS, shipped_models
from detente.tagger import Tagger
from detente_training.labelled import read_labelled
from detente_training.metrics import evaluate
from detente_training.predict import predict
from detente_training.report import Report
from detente_training.tables import headline_figures

CORPUS = Path(__file__).parents[2] / "training" / "corpus"
TOLERANCE = 0.002  # they were measured before the weights were saved in half precision


@pytest.mark.slow
def test_the_shipped_model_has_the_figures_of_its_card() -> None:
    folder = shipped_models()["small"]
    stored = headline_figures(Report.from_dict(json.loads((folder / METRICS).read_text(encoding="utf-8"))["corpus"]))
    reader = Tagger.from_pretrained("small", device="cpu").reader
    gold = [p for p in read_labelled([CORPUS], reader.codebook) if p.split == "test"]
    assert len(gold) > 500
    measured = headline_figures(evaluate(gold, predict(reader, gold), reader.codebook, bootstrap=0))
    for name, figure in stored.items():
        found = measured[name]
        assert figure is not None, name
        assert found is not None, name
        if name != "ECE voice presence":  # its support is what was found, to which half precision may add a candidate
            assert found.support == figure.support, name
        assert found.value == pytest.approx(figure.value, abs=TOLERANCE), name
