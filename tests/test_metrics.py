"""Scores against hand arithmetic, against `scoringrules`, and against an independent pooling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scoringrules
from factories import random_walk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from stockrnn.errors import StockRNNError
from stockrnn.evaluation import metrics
from stockrnn.types import CLOSE, QUANTILES

ACTUAL, FORECAST, LAST = [10.0, 12.0, 8.0], [11.0, 12.0, 6.0], [9.0, 13.0, 8.0]
values = arrays(float, (17, 20), elements=st.floats(0.01, 1e4))
modest = settings(max_examples=30)


def test_point_scores_equal_hand_arithmetic():
    assert metrics.mae(ACTUAL, FORECAST) == pytest.approx(1.0)
    assert metrics.rmse(ACTUAL, FORECAST) == pytest.approx(math.sqrt(5 / 3))
    assert metrics.mape(ACTUAL, FORECAST) == pytest.approx(100 * (1 / 10 + 0 + 2 / 8) / 3)
    assert metrics.smape(ACTUAL, FORECAST) == pytest.approx(200 * (1 / 21 + 0 + 2 / 14) / 3)


def test_mase_divides_each_error_by_the_scale_of_its_ticker():
    assert metrics.mase(ACTUAL, FORECAST, [0.5, 1.0, 4.0]) == pytest.approx((2 + 0 + 0.5) / 3)


def test_the_mase_scale_is_the_mean_change_of_observed_sessions_in_training():
    prices = random_walk(10)
    prices[CLOSE] = [10.0, 11.0, 99.0, 13.0, 12.0, 12.0, 50.0, 1.0, 90.0, 5.0]
    prices["filled"] = [False, False, True, *[False] * 7]
    scale = metrics.mase_scales(prices, prices["date"][5], CLOSE)
    assert scale == {"WALK": pytest.approx((1 + 2 + 1 + 0) / 4)}


def test_r2_is_of_returns_and_a_copy_of_the_last_price_earns_none():
    moved = [1 / 9, -1 / 13, 0.0]
    expected = [2 / 9, -1 / 13, -0.25]
    by_hand = 1 - sum((m - e) ** 2 for m, e in zip(moved, expected, strict=True)) / sum((m - sum(moved) / 3) ** 2 for m in moved)
    assert metrics.r2(ACTUAL, FORECAST, LAST) == pytest.approx(by_hand)
    assert metrics.r2(ACTUAL, LAST, LAST) <= 0


def test_directions_without_a_change_are_left_out():
    assert metrics.directional_accuracy([11, 9, 10, 12], [12, 12, 12, 10], [10, 10, 10, 10]) == 0.5


@modest
@given(values)
def test_crps_pinball_and_winkler_equal_scoringrules(drawn):
    actual, quantiles = drawn[:, 0], np.sort(drawn[:, 1:], axis=1)
    levels = np.array(QUANTILES)
    assert metrics.crps(actual, quantiles) == pytest.approx(float(np.mean(scoringrules.crps_quantile(actual, quantiles, levels))), abs=1e-9)
    for k, level in enumerate(QUANTILES):
        theirs = float(np.mean(scoringrules.quantile_score(actual, quantiles[:, k], level)))
        assert metrics.pinball(actual, quantiles[:, k], level) == pytest.approx(theirs, abs=1e-9)
    theirs = float(np.mean(scoringrules.interval_score(actual, quantiles[:, 0], quantiles[:, -1], 0.1)))
    assert metrics.winkler(actual, quantiles[:, 0], quantiles[:, -1], 0.9) == pytest.approx(theirs, rel=1e-9)


@modest
@given(arrays(float, 9, elements=st.floats(0, 1)), arrays(bool, 9))
def test_brier_equals_scoringrules(probability, happened):
    theirs = float(np.mean(scoringrules.brier_score(happened.astype(float), probability)))
    assert metrics.brier(happened, probability) == pytest.approx(theirs, abs=1e-9)


def test_crps_of_a_normal_forecast_is_near_its_closed_form():
    actual = np.random.default_rng(0).standard_normal(4000)
    quantiles = np.broadcast_to(norm.ppf(QUANTILES), (4000, 19))
    assert metrics.crps(actual, quantiles) == pytest.approx(float(np.mean(scoringrules.crps_normal(actual, 0, 1))), rel=0.06)


def test_coverage_counts_the_ends_and_width_is_their_distance():
    assert metrics.coverage([1, 2, 3, 9], [1, 0, 0, 0], [5, 2, 2, 8]) == 0.5
    assert metrics.width([1, 0], [5, 2]) == 3


def test_probability_above_is_linear_between_quantiles_and_stops_at_the_outer_levels():
    quantiles = np.linspace(5, 95, 19)
    made = metrics.probability_above(np.stack([quantiles] * 4), [50.0, 52.5, 0.0, 1000.0])
    np.testing.assert_allclose(made, [0.5, 0.475, 0.95, 0.05])


def test_probability_above_an_atom_is_that_of_its_middle():
    quantiles = np.array([1.0] * 4 + [2.0] * 11 + [3.0] * 4)
    assert metrics.probability_above(quantiles[None], [2.0]) == pytest.approx(0.5)


GROWTH = 100 * 1.01 ** np.arange(60)
"""Of one return, but for the rounding."""


@pytest.mark.parametrize(
    ("score", "arguments"),
    [
        (metrics.mape, ([0.0, 1.0], [1.0, 1.0])),
        (metrics.smape, ([0.0, 1.0], [0.0, 1.0])),
        (metrics.mase, ([1.0, 1.0], [2.0, 2.0], [0.0, 1.0])),
        (metrics.mase, ([1.0], [2.0], [math.nan])),
        (metrics.r2, ([2.0, 2.0], [2.0, 1.0], [1.0, 1.0])),
        (metrics.r2, (GROWTH[1:], GROWTH[:-1], GROWTH[:-1])),
        (metrics.directional_accuracy, ([2.0, 3.0], [1.0, 1.0], [1.0, 1.0])),
        (metrics.skill, (1.0, 0.0)),
        (metrics.skill, (None, 1.0)),
    ],
)
def test_an_undefined_score_is_none(score, arguments):
    assert score(*arguments) is None


@pytest.mark.parametrize(
    ("score", "arguments"),
    [
        (metrics.mae, ([1.0, 2.0], [1.0])),
        (metrics.rmse, ([], [])),
        (metrics.mae, ([1.0], [math.nan])),
        (metrics.mase, ([1.0], [1.0], [1.0, 1.0])),
        (metrics.crps, ([1.0, 1.0], np.ones((2, 18)))),
        (metrics.crps, ([1.0], np.full((1, 19), math.inf))),
        (metrics.probability_above, (np.ones((2, 19)), [1.0])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(score, arguments):
    with pytest.raises(StockRNNError, match="Received"):
        score(*arguments)
