"""Anchors: the minimum they claim, nothing of the future, and sense where a file lacks columns."""

import json

import numpy as np
import pytest
from factories import gappy, garch_path, near_constant, random_walk
from scipy.optimize import minimize

from stockrnn.features.anchors import LEAST, PRIOR, SCALES, TRUST, WARM_UP, Anchor, _design, _terms, fit_anchor
from stockrnn.types import CLOSE, HIGH, LOW, OPEN, VOLUME


def changes_of(prices, horizon=1):
    logged = np.log(prices[CLOSE])
    return np.stack([(logged.shift(-step) - logged).to_numpy() for step in range(1, horizon + 1)], axis=1)


def fitted(prices, kind="har", horizon=1):
    changes = changes_of(prices, horizon)
    return fit_anchor(kind, prices, changes, np.isfinite(changes).all(axis=1))


def test_the_weights_are_those_of_an_independent_optimiser():
    prices = garch_path(900)
    anchor, size = fitted(prices), np.maximum(np.abs(changes_of(prices)[:, 0]), LEAST)
    rows = slice(WARM_UP, len(prices) - 1)
    x = _design(_terms(prices, anchor.ranged, anchor.floor), anchor.centre)[rows]
    prior, spread = np.array([0.0, *PRIOR.values()]), np.array([0.0, *x[:, 1:].var(axis=0)])

    def loss(w):
        return np.mean(size[rows] * np.exp(-x @ w) + x @ w) + 0.5 * TRUST / len(x) * np.sum(spread * (w - prior) ** 2)

    best = minimize(loss, np.array([-5.0, *PRIOR.values()]), method="BFGS", options={"gtol": 1e-7})
    assert loss(anchor.weights[0]) <= best.fun + 1e-9
    np.testing.assert_allclose(anchor.scale(prices)[rows, 0], np.exp(x @ best.x), rtol=1e-3)


@pytest.mark.parametrize("kind", sorted(SCALES))
def test_nothing_after_a_session_changes_its_scale(kind):
    prices = garch_path(500)
    anchor, other = fitted(prices, kind, 3), prices.copy()
    other.loc[300:, [OPEN, HIGH, LOW, CLOSE, VOLUME]] *= np.random.default_rng(0).lognormal(size=(200, 1))
    np.testing.assert_array_equal(anchor.scale(prices)[:300], anchor.scale(other)[:300])
    assert (anchor.scale(prices)[300:] != anchor.scale(other)[300:]).any()


@pytest.mark.parametrize("kind", sorted(SCALES))
def test_a_session_without_a_future_has_the_same_scale_to_the_last_bit(kind):
    prices = garch_path(500)
    for horizon in (1, 3):
        anchor = fitted(prices, kind, horizon)
        whole = anchor.scale(prices)
        for rows in range(100, 500, 7):
            assert anchor.scale(prices.iloc[:rows]).tobytes() == whole[:rows].tobytes()


@pytest.mark.parametrize("kind", sorted(SCALES))
def test_nothing_is_learned_from_rows_after_the_last_one_to_learn_from(kind):
    prices = garch_path(500)
    other = prices.copy()
    other.loc[301:, [OPEN, HIGH, LOW, CLOSE, VOLUME]] *= 3.0
    learn = np.arange(500) < 300
    first, second = (fit_anchor(kind, table, changes_of(table), learn) for table in (prices, other))
    assert json.dumps(first.to_dict()) == json.dumps(second.to_dict())


def test_the_state_brings_back_the_same_anchor_to_the_last_bit():
    prices = garch_path(400)
    anchor = fitted(prices, horizon=2)
    again = Anchor.from_dict(json.loads(json.dumps(anchor.to_dict())))
    assert again.scale(prices).tobytes() == anchor.scale(prices).tobytes()
    assert anchor.scale(prices).shape == (400, 2)


@pytest.mark.parametrize("change", [{"kind": "arch"}, {"centre": [0.0]}, {"weights": [0.0]}, {"floor": float("nan")}, {"weights": [["x"]]}])
def test_a_state_that_is_none_is_refused(change):
    with pytest.raises(ValueError, match=r"an anchor that does not fit|could not convert"):
        Anchor.from_dict(fitted(garch_path(300)).to_dict() | change)


def test_a_short_history_is_drawn_to_the_weights_of_many_series(monkeypatch):
    def away():
        return np.abs(fitted(garch_path(200)).weights[0, 1:] - list(PRIOR.values())).sum()

    drawn = away()
    monkeypatch.setattr("stockrnn.features.anchors.TRUST", 1.0)
    assert drawn < 0.5 * away()


def test_it_follows_volatility():
    prices = garch_path(2000)
    anchor, size = fitted(prices), np.abs(changes_of(prices)[:-1, 0])
    scale = anchor.scale(prices)[:-1, 0]
    assert np.mean(size / scale + np.log(scale)) < 1.0 + np.log(size.mean()) - 0.01


def test_the_unit_of_price_and_volume_does_not_matter():
    prices = random_walk(400)
    other = prices.assign(**{name: prices[name] * 1000.0 for name in (OPEN, HIGH, LOW, CLOSE)}, volume=prices[VOLUME] * 8.0)
    np.testing.assert_allclose(fitted(other).scale(other), fitted(prices).scale(prices), rtol=1e-3)


@pytest.mark.parametrize("missing", [[VOLUME], [HIGH, LOW], [OPEN], [OPEN, HIGH, LOW, VOLUME]])
@pytest.mark.filterwarnings("error")
def test_a_file_without_some_columns_has_a_scale_too(missing):
    prices = garch_path(600)
    prices[missing] = np.nan
    anchor, size = fitted(prices), np.abs(changes_of(prices)[:-1, 0])
    scale = anchor.scale(prices)[:-1, 0]
    assert np.isfinite(scale).all()
    assert 0.7 < np.mean(size / scale) < 1.3


@pytest.mark.parametrize("prices", [gappy(), near_constant(), random_walk(30)], ids=["gappy", "near constant", "short"])
def test_odd_series_have_a_finite_scale(prices):
    scale = fitted(prices).scale(prices)
    assert np.isfinite(scale).all()
    assert (scale >= LEAST).all()


def test_ewma_is_the_recursion():
    prices = garch_path(300)
    scale, returns = fitted(prices, "ewma").scale(prices)[:, 0], np.diff(np.log(prices[CLOSE]))
    for t in (5, 100, 299):
        assert scale[t] ** 2 == pytest.approx(0.94 * scale[t - 1] ** 2 + 0.06 * returns[t - 1] ** 2)
