"""Figures with an interval: counts summed by document, resampled by document; expected calibration error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 10
INTERVAL = (2.5, 97.5)  # percentiles
_Z = 1.959963984540054  # 97.5th percentile of the standard normal distribution
_CHUNK = 4_000_000  # resampling weights held at a time


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report.

    Attributes:
        value: the figure, in [0, 1]; None where it is undefined (nothing of the kind in gold or predictions).
        low, high: 95% interval: percentile bootstrap by document (`figure`), None without resamples or with
            fewer than two documents; of a share of single cases, Wilson's (`share`).
        support: how many gold items the figure is about; each report says which.
    """

    value: float | None
    low: float | None
    high: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often, and with which seed, whole documents are drawn with replacement.

    Attributes:
        document: number of the document of each paragraph, (N,), from 0 without gaps.
        resamples: how many; 0 for no intervals.
        seed: of the generator; the same seed draws the same documents for every figure.
    """

    document: Ints
    resamples: int
    seed: int

    @property
    def documents(self) -> int:
        return int(self.document.max()) + 1

    def weights(self) -> Iterator[Floats]:
        """How often each document stands in each resample, (some resamples, D) at a time; always the same."""
        if self.documents < 2:
            return  # an interval by document needs two of them
        generator = np.random.default_rng(self.seed)
        step = max(1, _CHUNK // self.documents)
        for start in range(0, self.resamples, step):
            rows = min(step, self.resamples - start)
            drawn = generator.integers(self.documents, size=(rows, self.documents))
            drawn += np.arange(rows)[:, None] * self.documents
            counted = np.bincount(drawn.ravel(), minlength=rows * self.documents)
            yield counted.reshape(rows, self.documents).astype(np.float64)

    def totals(self, counts: npt.NDArray[np.integer]) -> Floats:
        """Sums of per-paragraph counts (N, ...) over the sample and over each resample, (1 + R, ...).

        Row 0 is the sample itself. A figure computed row by row from these has its value in row 0.
        """
        flat = counts.reshape(len(counts), -1)
        by_document = np.zeros((self.documents, flat.shape[1]))
        np.add.at(by_document, self.document, flat)
        rows = [
            by_document.sum(axis=0, keepdims=True),
            *(weights @ by_document for weights in self.weights()),
        ]
        return np.concatenate(rows).reshape(-1, *counts.shape[1:])

    def calibration_errors(self, confidence: Floats, correct: npt.NDArray[np.bool_], paragraph: Ints) -> Floats:
        """Expected calibration error of items (M,) over the sample and over each resample, (1 + R,).

        Args:
            confidence: probability given to the statement, (M,).
            correct: whether the statement holds, (M,).
            paragraph: the paragraph that each item stands in, (M,).
        """
        if not len(confidence):
            return np.full(1, np.nan)
        order = np.argsort(confidence, kind="stable")
        sorted_confidence = confidence[order]
        gaps = sorted_confidence - correct[order]
        # items of equal confidence are one step of the cumulative curve, so that their order does not matter
        last_of_step = np.flatnonzero(np.append(np.diff(sorted_confidence) > 0, True))
        document = self.document[paragraph[order]]
        values = [_binned_gap(np.ones(len(gaps)), gaps, last_of_step)]
        for weights in self.weights():
            values += [_binned_gap(row[document], gaps, last_of_step) for row in weights]
        return np.array(values)


def _binned_gap(weights: Floats, gaps: Floats, last_of_step: Ints) -> float:
    """Mean over equal-mass bins of |mean gap|; an item that straddles a boundary is shared in proportion."""
    mass = np.concatenate(([0.0], np.cumsum(weights)[last_of_step]))
    gap = np.concatenate(([0.0], np.cumsum(weights * gaps)[last_of_step]))
    if mass[-1] == 0:
        return float("nan")
    at_edges = np.interp(np.linspace(0, mass[-1], BINS + 1), mass, gap)
    return float(np.abs(np.diff(at_edges)).sum() / mass[-1])


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Expected calibration error with ten equal-mass bins, in [0, 1].

    Items are sorted by confidence and cut into ten bins of exactly one tenth of the mass each; an item across
    a boundary, or several of equal confidence, are shared among the bins in proportion. The error is the mean
    over bins of |mean confidence - share correct|. NaN without items.

    Args:
        confidence: probabilities, (M,).
        correct: whether each statement holds, (M,).
    """
    items = np.asarray(confidence, dtype=np.float64)
    zeros = np.zeros(len(items), dtype=np.int64)
    sample = Resampling(np.zeros(1, dtype=np.int64), resamples=0, seed=0)
    return float(sample.calibration_errors(items, np.asarray(correct, dtype=np.bool_), zeros)[0])


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Element-wise quotient; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis of the values that are not NaN; NaN where all are."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def figure(values: Floats, support: int) -> Figure:
    """A figure from its value in the sample (row 0) and in the resamples (the other rows), (1 + R,)."""
    value = None if np.isnan(values[0]) else float(values[0])
    resampled = values[1:][~np.isnan(values[1:])]
    if value is None or not len(resampled):
        return Figure(value, None, None, support)
    low, high = np.percentile(resampled, INTERVAL)
    return Figure(value, float(low), float(high), support)


def share(hits: int, number: int) -> Figure:
    """The share of `number` (at least 1) cases that are hits, with its 95% Wilson score interval.

    Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212; without continuity correction.
    """
    value, spread = hits / number, _Z**2 / number
    centre = (value + spread / 2) / (1 + spread)
    half = math.sqrt(spread * value * (1 - value) + spread**2 / 4) / (1 + spread)
    return Figure(value, max(0.0, centre - half), min(1.0, centre + half), number)


@dataclass(slots=True)
class Statements:
    """Statements with a probability: confidence, whether each holds, and the paragraph it is about."""

    confidence: list[float] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    paragraph: list[int] = field(default_factory=list)

    def add(self, confidence: float, correct: bool, paragraph: int) -> None:
        self.confidence.append(confidence)
        self.correct.append(correct)
        self.paragraph.append(paragraph)

    def error(self, resampling: Resampling) -> Figure:
        values = resampling.calibration_errors(
            np.array(self.confidence, dtype=np.float64),
            np.array(self.correct, dtype=np.bool_),
            np.array(self.paragraph, dtype=np.int64),
        )
        return figure(values, len(self.confidence))
