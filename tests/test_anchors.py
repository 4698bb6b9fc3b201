"""Anchors: the minimum they claim, nothing of the future, and sense where a file lacks columns."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from factories import gappy, garch_path, near_constant, random_walk
from scipy.optimize import minimize

from stockrnn.features.anchors import (
    LEAST,
    MEMORY,
    PRIOR,
    REVERSAL,
    REVERSAL_TRUST,
    SCALES,
    TRUST,
    WARM_UP,
    Anchor,
    _design,
    _least_laplace,
    _terms,
    fit_anchor,
)
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
    age = 0.5 ** (np.arange(len(x))[::-1] / MEMORY)
    prior, spread = np.array([0.0, *PRIOR.values()]), np.array([0.0, *np.cov(x[:, 1:].T, aweights=age, ddof=0).diagonal()])

    def loss(w):
        fit = np.average(size[rows] * np.exp(-x @ w) + x @ w, weights=age)
        return fit + 0.5 * TRUST / age.sum() * np.sum(spread * (w - prior) ** 2)

    best = minimize(loss, np.array([-5.0, *PRIOR.values()]), method="BFGS", options={"gtol": 1e-7})
    assert loss(anchor.weights[0]) <= best.fun + 1e-9
    np.testing.assert_allclose(anchor.scale(prices)[rows, 0], np.exp(x @ best.x), rtol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_weights_of_a_wild_series_are_an_optimum_too(seed):
    """Steps that are not bounded lead away from it."""
    dice = np.random.default_rng(seed)
    x = np.concatenate([np.ones((400, 1)), dice.standard_t(2, (400, len(PRIOR))).clip(-6, 6)], axis=1)
    change = np.exp(dice.normal(0, 5, 400))
    age, shared, trust = dice.uniform(0.1, 1, 400), np.array([*PRIOR.values()]), dice.uniform(100, 9000, len(PRIOR))
    w, prior = _least_laplace(x, change, age, shared, trust), np.array([0.0, *shared])
    penalty = np.array([0.0, *(np.cov(x[:, 1:].T, aweights=age, ddof=0).diagonal() * trust / age.sum() + LEAST)])
    slope = x.T @ (age * (1 - change * np.exp(-x @ w))) / age.sum() + penalty * (w - prior)
    np.testing.assert_allclose(slope, 0.0, atol=1e-10)


@pytest.mark.parametrize("kind", sorted(SCALES))
def test_nothing_after_a_session_changes_its_start(kind):
    prices = garch_path(500)
    anchor, other = fitted(prices, kind, 3), prices.copy()
    other.loc[300:, [OPEN, HIGH, LOW, CLOSE, VOLUME]] *= np.random.default_rng(0).lognormal(size=(200, 1))
    other.loc[300:, HIGH] *= 1.1
    for part, (before, after) in zip(("location", "scale"), zip(anchor.start(prices), anchor.start(other), strict=True), strict=True):
        np.testing.assert_array_equal(before[:300], after[:300])
        assert (before[300:] != after[300:]).any() == (part == "scale" or kind == "har")


@pytest.mark.parametrize("kind", sorted(SCALES))
def test_a_session_without_a_future_has_the_same_start_to_the_last_bit(kind):
    prices = garch_path(500)
    for horizon in (1, 3):
        anchor = fitted(prices, kind, horizon)
        whole = anchor.start(prices)
        for rows in range(100, 500, 7):
            assert [part.tobytes() for part in anchor.start(prices.iloc[:rows])] == [part[:rows].tobytes() for part in whole]


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
    again = Anchor.from_dict(json.loads(json.dumps(anchor.to_dict())), {})
    for first, second in zip(again.start(prices), anchor.start(prices), strict=True):
        assert first.tobytes() == second.tobytes()
        assert first.shape == (400, 2)


def test_a_state_of_before_there_was_a_location_has_none():
    prices = garch_path(300)
    state = {name: value for name, value in fitted(prices, horizon=2).to_dict().items() if name not in ("middle", "reversal")}
    location, scale = Anchor.from_dict(state, {}).start(prices)
    assert not location.any()
    np.testing.assert_array_equal(scale, fitted(prices, horizon=2).scale(prices))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "arch"},
        {"centre": [0.0]},
        {"weights": [0.0]},
        {"floor": float("nan")},
        {"weights": [["x"]]},
        {"reversal": [0.0, 0.0]},
        {"reversal": [float("inf")]},
        {"reversal": 0.0},
        {"middle": float("nan")},
    ],
)
def test_a_state_that_is_none_is_refused(change):
    with pytest.raises(ValueError, match=r"an anchor that does not fit|could not convert"):
        Anchor.from_dict(fitted(garch_path(300)).to_dict() | change, {})


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


# --- location -----------------------------------------------------------------------------------------------------------------


def reversing(rows, weight, seed=0):
    """A table whose change is `weight` % lower after a close at the high than after one in the middle of the range."""
    dice = np.random.default_rng(seed)
    place = dice.uniform(-1, 1, rows)
    change = 0.01 * dice.standard_normal(rows)
    change[1:] += 0.01 * weight * place[:-1]
    close = 100 * np.exp(np.cumsum(change))
    low = close * (1 - 0.01 * (place + 1) / 2)
    return garch_path(rows).assign(**{CLOSE: close, OPEN: close, LOW: low, HIGH: low + 0.01 * close})


def test_the_reversal_is_that_of_weighted_least_squares_drawn_to_the_shared_one():
    prices = garch_path(700)
    anchor, changes = fitted(prices, horizon=2), changes_of(prices, 2)
    rows = slice(WARM_UP, len(prices) - 2)
    place = (2 * (prices[CLOSE] - prices[LOW]) / (prices[HIGH] - prices[LOW]) - 1).to_numpy()[rows]
    change = np.clip(changes / anchor.scale(prices), -4, 4)[rows]
    weight = 0.5 ** (np.arange(len(place))[::-1] / MEMORY)
    root = np.sqrt(weight)[:, None]
    own = np.linalg.lstsq(root * np.stack([np.ones(len(place)), place], axis=1), root * change)[0][1]
    share = weight.sum() / (weight.sum() + REVERSAL_TRUST)
    np.testing.assert_allclose(anchor.reversal, share * own + (1 - share) * REVERSAL, rtol=1e-9)
    assert anchor.middle == pytest.approx(np.average(place, weights=weight))
    location, scale = anchor.start(prices)
    np.testing.assert_allclose(location[rows], anchor.reversal * (place[:, None] - anchor.middle) * scale[rows], rtol=1e-9)


@pytest.mark.parametrize("weight", [-1.0, 1.0])
def test_a_reversal_or_its_opposite_is_found_and_makes_the_change_smaller(weight):
    prices = reversing(6000, weight)
    anchor, changes = fitted(prices), changes_of(prices)[:-1, 0]
    location = anchor.start(prices)[0][:-1, 0]
    assert np.mean((changes - location) ** 2) < 0.97 * np.mean(changes**2)
    assert np.sign(anchor.reversal[0]) == np.sign(weight)


def test_a_short_history_starts_from_the_shared_reversal():
    assert fitted(reversing(130, 0.0)).reversal[0] == pytest.approx(REVERSAL, abs=0.05)


@pytest.mark.parametrize("lost", [[HIGH, LOW], [HIGH], [LOW]])
def test_where_the_place_is_not_told_the_start_is_the_last_price(lost):
    prices = garch_path(400)
    learned = fitted(prices)
    prices.loc[200:210, lost] = np.nan
    location = learned.start(prices)[0]
    assert not location[200:211].any()
    assert location[[199, 211]].all()
    prices[lost] = np.nan
    assert not fitted(prices).start(prices)[0].any()


@pytest.mark.parametrize(("kind", "column"), [("ewma", CLOSE), ("har", OPEN)])
def test_other_anchors_and_other_prices_start_from_no_change(kind, column):
    prices = reversing(600, -0.5)
    changes = changes_of(prices)
    anchor = fit_anchor(kind, prices, changes, np.isfinite(changes).all(axis=1), column)
    assert not anchor.start(prices)[0].any()


# --- by hand ------------------------------------------------------------------------------------------------------------------


def terms_by_hand(prices, ranged, floor, t):
    """The terms of session t, from lists and loops."""
    high, low, opened, close, volume = (prices[name].tolist()[: t + 1] for name in (HIGH, LOW, OPEN, CLOSE, VOLUME))
    returns = [0.0] + [math.log(b / a) for a, b in itertools.pairwise(close)]
    logs, last = [], None
    for k in range(t + 1):
        size = math.log(high[k] / low[k]) if ranged else abs(returns[k])
        last = last if math.isnan(size) else size
        logs.append(floor if last is None else math.log(max(last, math.exp(floor))))
    volumes, last = [], 0.0
    for each in volume:
        last = last if math.isnan(each) or each == 0 else each
        volumes.append(math.log(1 + last))
    gap = 0.0 if t == 0 or math.isnan(opened[t]) else math.log(opened[t] / close[t - 1])

    def mean(values, sessions):
        return sum(values[-sessions:]) / len(values[-sessions:])

    def size(life):
        ages = [0.5 ** (age / life) for age in range(t, -1, -1)]
        square = sum(age * r**2 for age, r in zip(ages, returns, strict=True)) / sum(ages)
        return 0.5 * math.log(square + 0.1 * math.exp(2 * floor))

    unit, falls = math.exp(mean(logs, 22)), [min(r, 0.0) for r in returns]
    moves = [abs(returns[t]), abs(gap), falls[t], mean(falls, 5), mean(returns, 22)]
    long = mean(volumes, 60)
    ranges = [logs[t], mean(logs, 5), mean(logs, 22), size(3), size(12), size(40)]
    return [*ranges, *(move / unit for move in moves), volumes[t] - long, mean(volumes, 5) - long]


@pytest.mark.parametrize("ranged", [True, False])
def test_the_terms_are_those_of_plain_loops(ranged):
    prices = garch_path(150)
    prices.loc[[0, 1, 70, 71], [HIGH, LOW]] = np.nan
    prices.loc[[10, 80], OPEN] = np.nan
    prices.loc[[0, 1, 90, 149], VOLUME] = [np.nan, 0.0, 0.0, np.nan]
    prices.loc[60, HIGH] = prices.loc[60, LOW]
    floor = -5.0
    terms = _terms(prices, ranged, floor)
    for t in (0, 1, 2, 4, 10, 21, 22, 60, 61, 71, 80, 90, 149):
        np.testing.assert_allclose(terms[t], terms_by_hand(prices, ranged, floor, t), rtol=1e-9, atol=1e-12, err_msg=str(t))


FLOOR = -6.85142418
CENTRE = [
    -4.638867463,
    -4.629715016,
    -4.618761088,
    -4.970962438,
    -4.89250198,
    -4.794360001,
    0.5762395146,
    0.1220281081,
    -0.2901469343,
    -0.295447165,
    -0.000964500499,
    0.007092588744,
    0.006714399531,
]
WEIGHTS = [
    [
        -5.159793269,
        0.03162901481,
        0.1654314538,
        0.2553545578,
        -0.0354735138,
        0.1883559983,
        0.08426271739,
        0.0165211295,
        0.3904587919,
        0.008628708462,
        -0.1470669824,
        -0.09985747404,
        0.01705177798,
        0.1103985437,
    ],
    [
        -4.833287219,
        0.07052140889,
        0.2542101484,
        0.3066779424,
        -0.02157979547,
        0.1455550179,
        -0.05719488228,
        -0.03735669189,
        -0.01200871099,
        0.03355353085,
        -0.1771371753,
        -0.09389968276,
        0.02468215647,
        0.141665567,
    ],
]
SCALE = [[0.002440435382, 0.006292517621], [0.007247614663, 0.01095599872], [0.005186740627, 0.007294701821]]


def test_the_fit_is_what_it_was_when_it_was_measured():
    """Numbers of a released scale: another prior, trust or warm-up would be another model."""
    prices = garch_path(300)
    anchor = fitted(prices, horizon=2)
    np.testing.assert_allclose(anchor.floor, FLOOR, rtol=1e-9)
    np.testing.assert_allclose(anchor.centre, CENTRE, rtol=1e-7)
    np.testing.assert_allclose(anchor.weights, WEIGHTS, rtol=1e-6)
    np.testing.assert_allclose(anchor.scale(prices)[[0, 50, 299]], SCALE, rtol=1e-6)
    assert json.loads(json.dumps(anchor.to_dict()))["ranged"] is True


def test_a_short_history_leaves_a_quarter_of_it_to_warm_up():
    prices = garch_path(81)
    anchor = fitted(prices)
    np.testing.assert_allclose(anchor.centre, _terms(prices[:80], anchor.ranged, anchor.floor)[20:].mean(axis=0), rtol=1e-12)


def test_ranges_are_used_where_nine_in_ten_sessions_have_both_ends():
    prices = garch_path(202)
    for absent, ranged in ((20, True), (21, False)):
        for name in (HIGH, LOW):
            other = prices.copy()
            other.loc[101 : 100 + absent, name] = np.nan
            learn = np.arange(202) < 200
            assert fit_anchor("har", other, changes_of(prices), learn).ranged is ranged


def repeating(prices, rows):
    """The close in the place of high and low, as some files have it: no range, though the price moved."""
    other = prices.copy()
    for name in (HIGH, LOW):
        other.loc[rows, name] = other.loc[rows, CLOSE]
    return other


def test_highs_and_lows_that_repeat_the_close_are_none():
    prices = garch_path(600)
    other = repeating(prices, prices.index)
    without = prices.assign(**{HIGH: np.nan, LOW: np.nan})
    assert fitted(other).scale(other).tobytes() == fitted(without).scale(without).tobytes()


@pytest.mark.parametrize(("rows", "ranged"), [(slice(0, 299), True), (slice(1700, 1999), False)], ids=["long ago", "lately"])
def test_ranges_are_used_where_the_last_sessions_have_them(rows, ranged):
    prices = garch_path(2000)
    assert fitted(repeating(prices, rows)).ranged is ranged
    still = prices.copy()
    still.loc[rows, [OPEN, HIGH, LOW, CLOSE]] = prices[CLOSE].iloc[rows.start]
    assert fitted(still).ranged is True  # where nothing moved, no range is one


def test_terms_and_logs_are_held_within_their_limits():
    prices = garch_path(200)
    anchor = dataclasses.replace(fitted(prices), weights=np.array([[0.0, 1000.0, *[0.0] * (len(PRIOR) - 1)]]))
    assert anchor.scale(prices).max() == pytest.approx(np.exp(5.0))
    assert anchor.scale(prices).min() == LEAST == 1e-6
    assert np.abs(_design(_terms(prices, True, -5.0) * 100, anchor.centre)[:, 1:]).max() == 6.0


def test_ewma_begins_with_the_least_range():
    prices = garch_path(300)
    anchor = fitted(prices, "ewma")
    scale, returns = anchor.scale(prices)[:, 0], np.diff(np.log(prices[CLOSE]))
    assert scale[0] == pytest.approx(np.exp(anchor.floor))
    assert scale[1] ** 2 == pytest.approx(0.94 * np.exp(2 * anchor.floor) + 0.06 * returns[0] ** 2)


@pytest.mark.parametrize("ranged", [True, False])
@pytest.mark.parametrize("last", [899, 450], ids=["a split", "a slip"])
def test_a_jump_that_is_none_does_not_set_the_scale_of_months(last, ranged):
    """A split by 50 that the file does not adjust for, or one price without its point."""
    prices = garch_path(900)
    prices.loc[:, [HIGH, LOW]] = prices[[HIGH, LOW]] if ranged else np.nan
    jumped = prices.copy()
    jumped.loc[450:last, [OPEN, HIGH, LOW, CLOSE]] /= 50
    plain, other = (fitted(each).scale(each)[:, 0] for each in (prices, jumped))
    for rows, most in ((slice(100, 450), 1.1), (slice(520, 650), 1.2), (slice(650, 900), 1.1)):
        assert 1 / most < np.median(other[rows] / plain[rows]) < most
