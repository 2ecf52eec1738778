"""Predictions for the very documents that a calibration is fitted on, without any being judged by its own labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from detente.calibration import Calibration
from detente.errors import DataError
from detente.network import DetenteModel
from detente.reader import Reader
from detente_training.fitting import fit_calibration
from detente_training.labelled import LabelledParagraph
from detente_training.predict import predict
from detente_training.predictions import Prediction

Fit = Callable[[DetenteModel, Reader, Sequence[LabelledParagraph]], Calibration]


def halves(paragraphs: Sequence[LabelledParagraph]) -> tuple[list[int], list[int]]:
    """The rows of either half: documents in the order of their names' SHA-256 go to the first and second in turn.

    Raises:
        DataError: fewer than two documents.
    """
    documents = sorted({p.document for p in paragraphs}, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if len(documents) < 2:
        raise DataError(
            f"a calibration is fitted on one half of the documents and judged on the other, but there are "
            f"{len(documents)}; give paragraphs of two documents at least"
        )
    first = set(documents[::2])
    rows: tuple[list[int], list[int]] = ([], [])
    for row, paragraph in enumerate(paragraphs):
        rows[paragraph.document not in first].append(row)
    return rows


def cross_fitted_predictions(
    model: DetenteModel,
    reader: Reader,
    paragraphs: Sequence[LabelledParagraph],
    fit: Fit = fit_calibration,
    progress: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """Predictions under temperatures and thresholds that were fitted on the other half of the documents.

    Args:
        model: the trained network.
        reader: a reader over the same network; its calibration is ignored.
        paragraphs: labelled paragraphs, none of them trained on.
        fit: what fits a calibration on one half.
        progress: called with the number of paragraphs predicted, after each half.

    Returns:
        One prediction for each paragraph, in order.

    Raises:
        DataError: fewer than two documents.
    """
    rows = halves(paragraphs)
    predictions: dict[int, Prediction] = {}
    for judged, fitted_on in (rows, rows[::-1]):
        calibration = fit(model, reader, [paragraphs[row] for row in fitted_on])
        found = predict(replace(reader, calibration=calibration), [paragraphs[row] for row in judged])
        predictions |= dict(zip(judged, found, strict=True))
        if progress is not None:
            progress(len(predictions))
    return [predictions[row] for row in range(len(paragraphs))]
