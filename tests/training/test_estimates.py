import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detente_training.estimates import (
    Figure,
    Resampling,
    expected_calibration_error,
    figure,
    mean_of_defined,
    ratio,
)

PROBABILITIES = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.6, 0.7, 0.8, 0.9]
HOLDS = [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1]


def test_ten_items_are_ten_bins():
    confidence = [0.9, 0.8, 0.7, 0.6, 0.55, 0.3, 0.2, 0.1, 0.05, 0.15]
    correct = [1, 1, 1, 1, 0, 1, 0, 0, 0, 0]
    # .1 + .2 + .3 + .4 + .55 + .7 + .2 + .1 + .05 + .15 = 2.75
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.275)


def test_twenty_items_are_ten_bins_of_two():
    confidence = [i / 20 for i in range(20)]
    correct = [0] * 10 + [1] * 10
    # bin k holds 2k/20 and (2k+1)/20: mean (4k+1)/40; errors (1+5+9+13+17)/40 below, (19+15+11+7+3)/40 above
    assert expected_calibration_error(confidence, correct) == pytest.approx((45 + 55) / 40 / 10)


def test_an_item_across_a_boundary_is_shared_in_proportion():
    # 1.2 items to a bin; |gap| of the bins: .07 .14 .21 .28 .65 .43 .56 .18 .52 .06
    assert expected_calibration_error(PROBABILITIES, HOLDS) == pytest.approx(3.10 / 12)


def test_items_of_equal_confidence_share_their_outcomes():
    assert expected_calibration_error([0.75] * 40, [1, 1, 1, 0] * 10) == pytest.approx(0.0)
    assert expected_calibration_error([0.75] * 40, [1] * 30 + [0] * 10) == pytest.approx(0.0)


def test_without_items_there_is_no_error():
    assert math.isnan(expected_calibration_error([], []))


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.randoms())
def test_calibration_error_is_bounded_and_ignores_the_order(items, random):
    value = expected_calibration_error([p for p, _ in items], [y for _, y in items])
    gap = abs(sum(p - y for p, y in items)) / len(items)
    assert gap - 1e-9 <= value <= 1 + 1e-9  # never less than the gap of the means
    random.shuffle(items)
    again = expected_calibration_error([p for p, _ in items], [y for _, y in items])
    assert again == pytest.approx(value, abs=1e-9)


def test_totals_are_those_of_the_sample_and_of_whole_documents():
    resampling = Resampling(np.array([0, 1, 0]), resamples=500, seed=1)
    totals = resampling.totals(np.array([[1, 10], [2, 20], [4, 40]]))
    assert totals[0].tolist() == [7, 70]
    assert totals.shape == (501, 2)
    assert sorted({tuple(row) for row in totals[1:].tolist()}) == [(4, 40), (7, 70), (10, 100)]  # BB, AB, AA


def test_the_same_seed_draws_the_same_documents():
    document = np.arange(50)
    first, again, other = (Resampling(document, 20, seed).totals(np.arange(50)[:, None]).ravel() for seed in (3, 3, 4))
    assert first.tolist() == again.tolist() != other.tolist()


def test_calibration_resamples_the_same_documents():
    resampling = Resampling(np.array([0, 1]), resamples=200, seed=0)
    errors = resampling.calibration_errors(np.array([0.9, 0.4]), np.array([True, True]), np.array([0, 1]))
    assert errors[0] == pytest.approx(0.35)
    assert {round(float(error), 9) for error in errors[1:]} == {0.1, 0.35, 0.6}
    totals = resampling.totals(np.array([[0.1], [0.6]]) * 10).ravel() / 20
    assert errors == pytest.approx(totals)


def test_a_resample_without_items_is_undefined():
    resampling = Resampling(np.array([0, 1]), resamples=200, seed=0)
    errors = resampling.calibration_errors(np.array([0.9]), np.array([True]), np.array([0]))
    assert errors[0] == pytest.approx(0.1)
    assert np.isnan(errors).sum() in range(30, 70)  # a quarter of the resamples is document 1 twice
    assert figure(errors, 1) == Figure(pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1), 1)


def test_resampled_weights_do_not_depend_on_the_chunks(monkeypatch):
    whole = np.concatenate(list(Resampling(np.arange(7), 30, 5).weights()))
    monkeypatch.setattr("detente_training.estimates._CHUNK", 7 * 4)
    parts = list(Resampling(np.arange(7), 30, 5).weights())
    assert len(parts) == 8
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert whole.sum(axis=1).tolist() == [7] * 30


def test_one_document_has_no_interval():
    assert list(Resampling(np.array([0, 0]), 100, 0).weights()) == []


def test_figure_has_the_percentiles_of_its_resamples():
    values = np.array([0.5, *np.linspace(0, 1, 41)])
    assert figure(values, 9) == Figure(0.5, pytest.approx(0.025), pytest.approx(0.975), 9)
    assert figure(np.array([0.5, np.nan, 0.25]), 9) == Figure(0.5, 0.25, 0.25, 9)
    assert figure(np.array([0.5]), 9) == Figure(0.5, None, None, 9)
    assert figure(np.array([np.nan, 1.0]), 0) == Figure(None, None, None, 0)


def test_ratio_and_mean_leave_out_what_is_undefined():
    assert ratio(np.array([1.0, 1.0]), np.array([4.0, 0.0]))[0] == 0.25
    assert math.isnan(ratio(np.array([1.0]), np.array([0.0]))[0])
    assert mean_of_defined(np.array([[1.0, np.nan, 0.0]])).tolist() == [0.5]
    assert math.isnan(mean_of_defined(np.array([[np.nan, np.nan]]))[0])
