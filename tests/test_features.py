"""Indicators look backward only, targets and scalers have inverses, and scalers equal scikit-learn's."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import preprocessing

from stockrnn.errors import DataError
from stockrnn.features.indicators import INDICATORS, late_columns, make_features, split_available
from stockrnn.features.scaling import SCALERS, Scaler, fit_scaler
from stockrnn.features.targets import TRANSFORMS, make_targets
from stockrnn.types import own
from tests.factories import panel, random_walk

NAMES = [*INDICATORS, "open", "high", "low", "close", "volume"]


@settings(max_examples=40)
@given(st.sampled_from(NAMES), st.integers(0, 149), st.integers(0, 1000))
def test_no_future_row_changes_a_past_feature(name, cutoff, seed):
    prices = random_walk(150, seed=seed)
    garbage = np.random.default_rng(seed).uniform(1e-3, 1e9, size=(149 - cutoff, 5))
    other = prices.copy()
    other.loc[cutoff + 1 :, ["open", "high", "low", "close", "volume"]] = garbage
    before, after = make_features(prices, [name]), make_features(other, [name])
    assert before[: cutoff + 1].tobytes() == after[: cutoff + 1].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_no_ticker_changes_the_features_of_another(name):
    both = panel(100)
    mine = both["ticker"] == "BBB"
    np.testing.assert_array_equal(make_features(both, [name])[mine], make_features(both[mine].reset_index(drop=True), [name]))


def test_indicators_by_hand():
    prices = random_walk(80)
    close, volume = prices["close"].to_numpy(), np.log1p(prices["volume"].to_numpy())
    got = make_features(prices, list(INDICATORS))[70]
    hand = [
        np.log(close[70] / close[69]),
        abs(np.log(close[70] / close[69])),
        np.log(prices["high"][70] / prices["low"][70]),
        np.log(prices["open"][70] / close[69]),
        volume[70] - volume[10:70].mean(),
        2 * (close[70] - prices["low"][70]) / (prices["high"][70] - prices["low"][70]) - 1,
    ]
    np.testing.assert_allclose(got, hand, rtol=1e-12)


def test_the_place_of_a_close_is_within_its_range_and_nowhere_without_one():
    prices = random_walk(6)
    prices.loc[0, ["low", "high", "close"]] = 5.0, 9.0, 9.0
    prices.loc[1, ["low", "high", "close"]] = 5.0, 9.0, 5.0
    prices.loc[2, ["low", "high", "close"]] = 5.0, 9.0, 10.0
    prices.loc[3, ["low", "high", "close"]] = 5.0, 5.0, 5.0
    prices.loc[4, ["low", "high", "close"]] = 9.0, 5.0, 6.0
    prices.loc[5, ["low", "high", "close"]] = np.nan, 9.0, 6.0
    np.testing.assert_array_equal(INDICATORS["close_location"][0](prices), [1.0, -1.0, 1.0, 0.0, np.nan, np.nan])


def test_features_without_their_columns_are_named():
    prices = random_walk(50).assign(volume=np.nan)
    assert split_available(prices, ("close", "volume"), ("range", "relative_volume")) == (["close", "range"], ["volume", "relative_volume"])
    with pytest.raises(DataError, match="relative_volume"):
        split_available(prices, (), ("relative_volume",))
    with pytest.raises(DataError, match="Received: close; empty: close"):  # a table without rows has no column
        split_available(prices[:0], ("close",), ())


def test_a_column_is_there_from_half_of_the_sessions_on():
    prices = random_walk(50)
    for begin, there in ((25, True), (26, False)):
        late = prices.assign(high=prices["high"].where((prices.index >= begin) & (prices.index % 3 != 0) | (prices.index == begin)))
        assert split_available(late, ("high", "close"), ("range",))[1] == ([] if there else ["high", "range"])
    several = pd.concat([prices.assign(high=np.nan), late.assign(ticker="LATE")], ignore_index=True)
    assert split_available(several, ("close",), ("range",))[1] == ["range"]
    for told, there in ((50, False), (52, True)):  # 24 and these of 100 and these
        more = pd.concat([several, random_walk(told).assign(ticker="TOLD")], ignore_index=True)
        assert split_available(more, ("close",), ("range",))[1] == ([] if there else ["range"])
    prices.loc[1:, "volume"] = 0.0
    assert split_available(prices, ("high", "volume"), ("range",)) == (["high", "volume", "range"], [])
    prices["volume"] = 0.0
    assert split_available(prices, ("high", "volume"), ("range", "relative_volume"))[1] == ["volume", "relative_volume"]
    prices["close"] = 0.0  # a price of zero is another's business
    assert split_available(prices, ("close", "volume"), ()) == (["close"], ["volume"])


def test_rows_before_a_column_begins_are_counted_and_the_column_named():
    prices = random_walk(50).assign(**{own("mood"): np.nan})
    assert late_columns(prices, ("log_return", "range")) == (0, ["close", "high", "low"])
    prices.loc[:9, ["open", "high"]] = np.nan
    prices.loc[:4, "low"] = np.nan
    prices.loc[30:, "high"] = np.nan
    assert late_columns(prices, ("log_return", "range", "overnight")) == (10, ["high", "open"])
    assert late_columns(prices, ("range", "mood")) == (50, ["mood"])


def test_a_column_of_the_users_own_is_absent_where_it_is_empty():
    prices = random_walk(50).assign(**{own("mood"): np.nan, own("event"): np.nan})
    prices.loc[25:, own("event")] = 0.0
    assert split_available(prices, ("mood", "event"), ()) == (["event"], ["mood"])


def test_volume_is_compared_with_five_sessions_at_least_and_sixty_at_most():
    prices = random_walk(80)
    logged = np.log1p(prices["volume"].to_numpy())
    got = make_features(prices, ["relative_volume"])[:, 0]
    assert np.isnan(got[:5]).all()
    for row in (5, 30, 60, 61, 79):
        assert got[row] == pytest.approx(logged[row] - logged[max(0, row - 60) : row].mean())


def test_an_unknown_session_repeats_the_last_known_one_of_its_ticker():
    both = panel(40)
    start = int(np.flatnonzero(both["ticker"] == "BBB")[0])
    both.loc[[5, 6, start], "volume"] = np.nan
    got = make_features(both, ["volume", "close"])
    assert got[5, 0] == got[6, 0] == got[4, 0] == both["volume"][4]
    assert np.isnan(got[start, 0])
    np.testing.assert_array_equal(got[:, 1], both["close"])


def test_tickers_in_any_order_keep_their_rows():
    both = panel(100)
    turned = both.iloc[np.r_[100:175, 0:100]].reset_index(drop=True)
    np.testing.assert_array_equal(make_features(turned, NAMES), make_features(both, NAMES)[np.r_[100:175, 0:100]])


prices_and_bases = st.tuples(st.floats(1e-4, 1e7), st.floats(1e-4, 1e7))


@settings(max_examples=100)
@given(st.sampled_from(sorted(TRANSFORMS)), st.lists(prices_and_bases, min_size=1, max_size=5))
def test_a_target_inverts_to_its_price(name, pairs):
    price, base = np.array(pairs).T
    transform = TRANSFORMS[name]
    np.testing.assert_allclose(transform.inverse(transform.forward(price, base), base), price, rtol=1e-9, atol=1e-9)


def test_targets_stop_at_the_end_of_a_ticker_and_at_unobserved_prices():
    price = np.array([1.0, 2.0, 4.0, 8.0, 3.0, 6.0])
    usable = np.array([True, True, True, False, True, True])
    got = make_targets(price, usable, np.array([0, 0, 0, 0, 1, 1]), 2, "difference")
    np.testing.assert_array_equal(got, [[1, 3], [2, np.nan], [np.nan, np.nan], [np.nan, np.nan], [3, np.nan], [np.nan, np.nan]])


@pytest.mark.parametrize("kind", sorted(SCALERS))
def test_a_scaler_equals_scikit_learns_and_survives_json(kind):
    rng = np.random.default_rng(3)
    values, new = rng.lognormal(3, 2, (200, 4)), rng.lognormal(3, 2, (50, 4))
    scaler = Scaler.from_dict(json.loads(json.dumps(fit_scaler(values, kind).to_dict())))
    oracle = getattr(preprocessing, SCALERS[kind])().fit(values)
    np.testing.assert_allclose(scaler.transform(new), oracle.transform(new), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scaler.inverse(scaler.transform(new)), new, rtol=1e-12)


@pytest.mark.parametrize("kind", sorted(SCALERS))
def test_a_constant_column_scales_to_finite_values(kind):
    assert np.isfinite(fit_scaler(np.full((10, 1), 5.0), kind).transform(np.array([[5.0], [7.0]]))).all()


def test_a_constant_column_is_only_shifted():
    for kind in SCALERS:
        scaler = fit_scaler(np.full((10, 2), 5.0), kind)
        assert (scaler.offset, scaler.scale) == ((5.0, 5.0), (1.0, 1.0))


@pytest.mark.parametrize("kind", sorted(SCALERS))
def test_no_scale_but_the_robust_one_of_a_price_at_rest_differs_from_scikit_learns(kind):
    values = np.random.default_rng(5).normal(size=(100, 4)) * [1.0, 1e-6, 50.0, 1.0]
    values[20:, 2] = values[28:, 3] = 7.0  # the quartiles of the one are equal, those of the other are not
    oracle = getattr(preprocessing, SCALERS[kind])().fit(values)
    wanted = np.array(oracle.data_range_ if kind == "minmax" else oracle.scale_)
    wanted[2] = values[:, 2].std() if kind == "robust" else wanted[2]
    np.testing.assert_allclose(fit_scaler(values, kind).scale, wanted, rtol=1e-12)


def test_each_step_of_a_target_is_a_change_from_the_cutoff():
    price, usable = np.array([1.0, 2.0, 8.0]), np.ones(3, bool)
    got = {name: make_targets(price, usable, np.zeros(3), 1, name)[:, 0].tolist() for name in TRANSFORMS}
    assert got["level"][:2] == [2.0, 8.0]
    assert got["difference"][:2] == [1.0, 6.0]
    np.testing.assert_allclose(got["log_return"][:2], np.log([2.0, 4.0]))
    assert all(np.isnan(values[2]) for values in got.values())


def test_a_price_that_seldom_moves_is_scaled_by_its_own_size():
    values = np.zeros((100, 1))
    values[::10] = [[3.0], [1.0]] * 5
    scaler = fit_scaler(values, "robust")
    assert (scaler.offset[0], scaler.scale[0]) == (0.0, pytest.approx(values.std()))


def test_a_price_that_seldom_moves_is_scaled_to_a_usual_size():
    values = np.zeros((100, 1))
    values[::10] = 1e-6
    assert 0.1 < fit_scaler(values, "robust").transform(values).std() < 10
