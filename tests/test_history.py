"""Filtered historical simulation: the quantiles of the last known changes, nothing of the future, and the share that is said."""

import numpy as np
import pytest

from stockrnn.config import ModelConfig
from stockrnn.configfile import build_config
from stockrnn.errors import ConfigError
from stockrnn.features import history
from stockrnn.features.history import recent_quantiles as quantiles_of_last
from stockrnn.features.pipeline import fit_pipeline
from stockrnn.features.splits import split_time
from stockrnn.models.windowed import MEDIAN, Readout, forecast_windows, with_history
from stockrnn.types import CLOSE, DATE, FILLED, HIGH, LOW, OPEN, QUANTILES, VOLUME
from tests.factories import gappy, garch_path, panel

SESSIONS = 250


def recent_quantiles(pipeline, prices, rows):
    """Of one number of changes."""
    return tuple(part[:, 0] for part in quantiles_of_last(pipeline, prices, rows, [SESSIONS]))


def learned(prices, horizon=2, **features):
    config = build_config({"model": {"anchor": "har"}, "window": {"lookback": 5, "horizon": horizon}, "features": features}, "test")
    return fit_pipeline(prices, split_time(prices[DATE], 0.15, 0.1, 0.15), config)


def by_hand(pipeline, prices, row, first=0):
    """The known scaled changes of the sessions before a row of one ticker, from loops: a list a step."""
    anchor, target = next(iter(pipeline.anchors.values())), next(iter(pipeline.target.values()))
    location, scale = anchor.start(prices)
    changes = []
    for step in range(1, pipeline.horizon + 1):
        known = []
        for t in range(first, row - step + 1):
            if not prices[FILLED][t] and not prices[FILLED][t + step]:
                change = np.log(prices[CLOSE][t + step] / prices[CLOSE][t])
                known.append(((change - location[t, step - 1]) / scale[t, step - 1] - target.offset[step - 1]) / target.scale[step - 1])
        changes.append(known[-SESSIONS:])
    return changes


@pytest.mark.parametrize("make", [garch_path, gappy])
def test_the_quantiles_are_those_of_the_last_known_changes(make):
    prices = make(420)
    pipeline, rows = learned(prices), np.array([419, 60, 300, 251, 9, 252])
    quantiles, share = recent_quantiles(pipeline, prices, rows)
    assert quantiles.shape == (6, 2, 19)
    for n, row in enumerate(rows):
        for step, known in enumerate(by_hand(pipeline, prices, row)):
            np.testing.assert_allclose(quantiles[n, step], np.quantile(known, QUANTILES), rtol=1e-6, atol=1e-9)
            assert share[n, step] == len(known) / SESSIONS


def test_at_the_first_sessions_nothing_is_known():
    prices = garch_path(400)
    quantiles, share = recent_quantiles(learned(prices), prices, np.array([0, 1]))
    assert not quantiles[0].any()
    assert share.tolist() == [[0.0, 0.0], [1 / SESSIONS, 0.0]]


def test_each_ticker_has_a_history_of_its_own():
    both = panel(400)
    pipeline = learned(both)
    last = np.flatnonzero(both["ticker"] == "BBB")[[5, -1]]
    mine = both[both["ticker"] == "BBB"].reset_index(drop=True)
    for ours, alone in zip(
        recent_quantiles(pipeline, both, last), recent_quantiles(pipeline, mine, np.array([5, len(mine) - 1])), strict=True
    ):
        np.testing.assert_array_equal(ours, alone)


def test_nothing_after_a_cutoff_changes_its_history():
    prices, rows = garch_path(500), np.arange(100, 400)
    pipeline, other = learned(prices), prices.copy()
    other.loc[400:, [OPEN, HIGH, LOW, CLOSE, VOLUME]] *= np.random.default_rng(0).lognormal(size=(100, 1))
    for table in (other, prices[:400]):
        for before, after in zip(recent_quantiles(pipeline, prices, rows), recent_quantiles(pipeline, table, rows), strict=True):
            assert before.tobytes() == after.tobytes()
    assert (recent_quantiles(pipeline, other, np.array([402]))[0] != recent_quantiles(pipeline, prices, np.array([402]))[0]).any()


def test_many_cutoffs_have_the_bytes_of_one(monkeypatch):
    prices, rows = garch_path(450), np.arange(450)
    pipeline = learned(prices)
    whole = recent_quantiles(pipeline, prices, rows)
    monkeypatch.setattr(history, "AT_ONCE", 1)
    assert [part.tobytes() for part in recent_quantiles(pipeline, prices, rows)] == [part.tobytes() for part in whole]


@pytest.mark.parametrize("sessions", [[SESSIONS], [30, 400]])
def test_the_forecast_is_the_average_that_is_asked_for_and_its_point_the_median(sessions):
    prices, rows = garch_path(500), np.array([60, 200, 499])
    pipeline = learned(prices)
    raw = np.sort(np.random.default_rng(0).normal(size=(3, 2, 2, 19)), axis=-1)
    said, (recent, share) = Readout("quantile").quantiles(raw), quantiles_of_last(pipeline, prices, rows, sessions)
    known = by_hand(pipeline, prices, 200)[0]
    expected = said
    for number, most in enumerate(sessions):
        np.testing.assert_allclose(recent[1, number, 0], np.quantile(known[-most:], QUANTILES), rtol=1e-6, atol=1e-9)
        assert share[1, number, 0] == min(len(known), most) / most
        weight = 0.4 / len(sessions) * share[:, number, :, None]
        expected = expected + weight * (recent[:, number] - said)
    model = ModelConfig(anchor="har", filtered_history=0.4, filtered_sessions=sessions)
    assert with_history(said, pipeline, prices, rows, ModelConfig()) is said
    np.testing.assert_allclose(with_history(said, pipeline, prices, rows, model), expected, rtol=1e-12)
    forecast = forecast_windows(pipeline, Readout("quantile"), lambda windows: raw[: len(windows)], prices, rows, model)
    np.testing.assert_allclose(forecast.quantiles, pipeline.to_prices(expected, prices, rows), rtol=1e-12)
    np.testing.assert_array_equal(forecast.point, forecast.quantiles[..., MEDIAN])


def test_it_needs_an_anchor():
    with pytest.raises(ConfigError, match=r"`model.anchor` must be ewma or har for `model.filtered_history`"):
        build_config({"model": {"filtered_history": 0.2}}, "test")
