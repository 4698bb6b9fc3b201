"""Each baseline against its own definition, computed another way."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from arch import arch_model
from factories import (
    HAS_STATSFORECAST,
    INSTALLED,
    cutoffs,
    garch_path,
    garch_returns,
    history,
    near_constant,
    panel,
    price_table,
    random_walk,
    spans_of,
)
from sklearn.linear_model import LinearRegression

from stockrnn.errors import DataError, MissingExtraError
from stockrnn.features.splits import Spans
from stockrnn.models.baselines import BASELINES, BaselineWarning, default_baselines
from stockrnn.models.forecaster import Forecast
from stockrnn.models.rules import observed_series
from stockrnn.models.volatility import Gjr, fit_gjr
from stockrnn.types import CLOSE, DATE, HIGH, LOW, OPEN, QUANTILES

HORIZON = 3
statistical = pytest.mark.skipif(not HAS_STATSFORECAST, reason="statsforecast is not installed")


def forecast(name: str, prices: pd.DataFrame, horizon: int = HORIZON) -> tuple[Forecast, Spans, np.ndarray]:
    """The forecast, the spans, and the cutoffs' prices."""
    spans = spans_of(prices)
    rows = cutoffs(prices, spans, horizon)
    made = BASELINES[name](horizon).fit(history(prices, spans), spans).forecast(prices, rows)
    return made, spans, prices[CLOSE].to_numpy()[rows]


def log_changes(prices: pd.DataFrame, until: pd.Timestamp, step: int) -> np.ndarray:
    close = np.log(prices.loc[prices[DATE] <= until, CLOSE].to_numpy())
    return close[step:] - close[:-step]


def test_naive_repeats_the_last_price_exactly():
    made, _, last = forecast("naive", garch_path())
    assert (made.point == last[:, None]).all()


@pytest.mark.parametrize("name", ["naive", "drift"])
def test_naive_and_drift_take_their_quantiles_from_the_changes_of_the_training_span(name):
    prices = garch_path()
    made, spans, last = forecast(name, prices)
    for step in range(1, HORIZON + 1):
        expected = np.exp(np.quantile(log_changes(prices, spans.train_end, step), QUANTILES))
        np.testing.assert_allclose(made.quantiles[:, step - 1] / last[:, None], np.broadcast_to(expected, (len(last), 19)), rtol=1e-12)


def test_drift_grows_by_the_mean_change_of_the_training_span():
    prices = garch_path()
    made, spans, last = forecast("drift", prices)
    growth = np.exp(log_changes(prices, spans.train_end, 1).mean() * np.arange(1, HORIZON + 1))
    np.testing.assert_allclose(made.point, last[:, None] * growth, rtol=1e-12)


def test_ewma_scales_standardised_residuals_by_riskmetrics_volatility():
    prices = garch_path()
    made, spans, last = forecast("ewma", prices)
    returns = np.diff(np.log(prices[CLOSE].to_numpy()), prepend=np.nan)
    trained = int((prices[DATE] <= spans.train_end).sum())
    variance = np.empty(len(returns))
    variance[0] = np.mean(returns[1:trained] ** 2)
    for t in range(1, len(returns)):
        variance[t] = 0.94 * variance[t - 1] + 0.06 * returns[t] ** 2
    for step in range(1, HORIZON + 1):
        z = log_changes(prices, spans.train_end, step) / np.sqrt(variance[: trained - step])
        expected = np.exp(np.sqrt(variance[made.rows])[:, None] * np.quantile(z, QUANTILES))
        np.testing.assert_allclose(made.quantiles[:, step - 1], last[:, None] * expected, rtol=1e-9)
    assert (made.point == last[:, None]).all()


def test_the_moving_average_is_the_mean_of_the_last_five_prices():
    prices = garch_path()
    made, _, _ = forecast("moving_average", prices)
    expected = [prices[CLOSE].to_numpy()[row - 4 : row + 1].mean() for row in made.rows]
    np.testing.assert_allclose(made.point, np.repeat(expected, HORIZON).reshape(-1, HORIZON), rtol=1e-12)


def test_rolling_takes_the_quantiles_of_the_last_250_known_changes():
    prices = garch_path()
    made, _, last = forecast("rolling", prices)
    close = np.log(prices[CLOSE].to_numpy())
    for position in (0, 50):
        row = made.rows[position]
        for step in (1, HORIZON):
            known = close[step : row + 1] - close[: row + 1 - step]
            expected = last[position] * np.exp(np.quantile(known[-250:], QUANTILES))
            np.testing.assert_allclose(made.quantiles[position, step - 1], expected, rtol=1e-12)


def test_garch_filters_the_variance_that_arch_computes():
    prices = garch_path(1500)
    spans = spans_of(prices)
    past = history(prices, spans)
    returns = np.diff(np.log(past[CLOSE].to_numpy()))
    theirs = arch_model(returns / returns.std(), p=1, o=1, q=1, dist="t", rescale=False).fit(disp="off")
    ahead = theirs.forecast(horizon=1).variance.to_numpy()[-1, 0]
    series = next(observed_series(past, CLOSE))
    model = fit_gjr(series)
    ours = model.next_variance(series) / returns.var()
    np.testing.assert_allclose(ours[300:-1], theirs.conditional_volatility[300:] ** 2, rtol=1e-5)
    assert ours[-1] == pytest.approx(ahead, rel=1e-5)


def test_garch_multiplies_the_volatility_by_the_quantiles_of_past_shocks():
    prices = garch_path(1000)
    made, spans, last = forecast("garch", prices, 1)
    series = next(observed_series(history(prices, spans), CLOSE))
    model = fit_gjr(series)
    z = (series.returns()[1:] - model.mean) / np.sqrt(model.next_variance(series)[:-1])
    first = model.mean + np.sqrt(model.next_variance(next(observed_series(prices, CLOSE)))[made.rows])[:, None] * np.quantile(z, QUANTILES)
    np.testing.assert_allclose(made.quantiles[:, 0], last[:, None] * np.exp(first), rtol=1e-9)


def test_simulated_variance_grows_as_the_garch_recursion_says():
    model = Gjr(mean=0.0, omega=0.02, alpha=0.05, gamma=0.1, beta=0.85, start=1.0)
    pool = np.random.default_rng(0).standard_normal(4000)
    pool = np.concatenate([pool, -pool]) / pool.std()
    shocks = np.stack([np.random.default_rng(step).permutation(pool) for step in range(5)], axis=1)
    quantiles = model.simulate(np.array([0.2, 3.0]), shocks)
    variance = np.array([0.2, 3.0])
    total = np.zeros(2)
    for step in range(5):
        total = total + variance
        assert quantiles[:, step, 9] == pytest.approx(0.0, abs=0.05 * np.sqrt(total.max()))
        spread = (quantiles[:, step, -4] - quantiles[:, step, 3]) / (2 * 0.8416)  # q80 and q20 of a normal
        np.testing.assert_allclose(spread, np.sqrt(total), rtol=0.06)
        variance = 0.02 + (0.05 + 0.1 / 2 + 0.85) * variance


def test_garch_recovers_the_true_volatility_of_a_garch_path():
    returns, volatility = garch_returns(3000, seed=5)
    prices = price_table(returns, volatility, 5, "TRUE", 100.0)
    made, _, last = forecast("garch", prices, 1)
    spread = np.log(made.quantiles[:, 0, -1] / made.quantiles[:, 0, 0])
    assert np.corrcoef(spread, volatility[made.rows + 1])[0, 1] > 0.97
    assert (made.point[:, 0] == last).all()


def test_a_ticker_whose_garch_does_not_converge_is_named_and_still_forecast():
    prices = near_constant()
    prices[CLOSE] = 50.0
    with pytest.warns(BaselineWarning, match="FLAT"):
        made, _, _ = forecast("garch", prices)
    assert np.isfinite(made.quantiles).all()


def test_a_garch_whose_shocks_are_far_from_unit_size_is_not_simulated_with(monkeypatch):
    """As maximum likelihood fits to a price that hardly ever moves: the variance is nothing, but after a fall."""
    (series,) = observed_series(garch_path(300), CLOSE)
    corner = SimpleNamespace(params=[0.0, 1e-9, 0.0, 2.0, 0.0, 2.05], convergence_flag=0)
    monkeypatch.setattr("arch.arch_model", lambda *_, **__: SimpleNamespace(fit=lambda **_: corner))
    with pytest.warns(BaselineWarning, match="GARCH"):
        assert fit_gjr(series).beta == 0.94
    corner.params = [0.0, 0.05, 0.1, 0.0, 0.85, 8.0]
    assert fit_gjr(series).beta == 0.85


def seldom_moving(seed: int, share: float) -> pd.DataFrame:
    """A price that moves in a share of its sessions, by some 5 %; in the others open, high and low repeat the close."""
    generator = np.random.default_rng(seed)
    moved = generator.random(1200) < share
    prices = price_table(np.where(moved, 0.03 * generator.standard_t(3, 1200), 0.0), np.full(1200, 0.01), seed, "THIN", 100.0)
    for column in (OPEN, HIGH, LOW):
        prices[column] = prices[CLOSE].where(~moved, prices[column])
    return prices


def test_a_garch_of_a_price_that_is_still_for_months_has_a_constant_variance(monkeypatch):
    prices = seldom_moving(0, 0.002)
    failed = SimpleNamespace(params=[0.0, 0.05, 0.1, 0.0, 0.85, 8.0], convergence_flag=4)
    monkeypatch.setattr("arch.arch_model", lambda *_, **__: SimpleNamespace(fit=lambda **_: failed))
    (series,) = observed_series(prices, CLOSE)
    with pytest.warns(BaselineWarning, match="THIN; its variance there is that of its past"):
        model = fit_gjr(series)
    np.testing.assert_allclose(model.next_variance(series), series.returns()[1:].var(), rtol=1e-12)
    with pytest.warns(BaselineWarning, match="THIN"):
        made, _, last = forecast("garch", prices, 10)
    assert 1.0 <= (made.quantiles[:, :, -1] / last[:, None]).max() < 1.1


@pytest.mark.parametrize(("seed", "share"), [(2, 0.1), (8, 0.1), (10, 0.2), (8, 0.3), (11, 0.3)])
def test_a_garch_that_a_price_which_seldom_moves_leads_astray_is_told_and_replaced(seed, share):
    """Maximum likelihood converges there, to intervals of which the widest reached 22,000 times the price."""
    with pytest.warns(BaselineWarning, match=r"THIN; its variance there is RiskMetrics' \(0\.06, 0\.94\)\."):
        made, _, last = forecast("garch", seldom_moving(seed, share), 10)
    assert 1.0 < (made.quantiles[:, :, -1] / last[:, None]).max() < 2.0


@pytest.mark.parametrize("slip", [1.0, 10.0, 100.0])
def test_a_garch_of_a_price_that_moves_is_kept_also_with_a_slip_of_the_pen(slip):
    prices = garch_path(1200)
    prices.loc[400, CLOSE] *= slip
    series = [next(observed_series(table, CLOSE)) for table in (prices, seldom_moving(0, 0.5))]
    assert [fit_gjr(each).alpha == 0.06 for each in series] == [False, False]


@pytest.mark.parametrize(("seed", "share"), [(2, 0.1), (4, 0.1), (4, 0.2), (5, 0.2)])
def test_har_of_a_price_that_seldom_moves_stays_near_it(seed, share):
    made, _, last = forecast("har", seldom_moving(seed, share), 10)
    assert 1.0 < (made.quantiles[:, :, -1] / last[:, None]).max() < 1.5


@pytest.mark.parametrize("has_range", [True, False])
def test_har_regresses_log_variance_on_its_last_1_5_and_22_sessions(has_range):
    prices = garch_path(900)
    parkinson = np.log(prices[HIGH] / prices[LOW]) ** 2 / (4 * np.log(2))
    squared = np.log(prices[CLOSE]).diff() ** 2
    variance = parkinson if has_range else squared
    if not has_range:
        prices[HIGH] = np.nan
    made, spans, last = forecast("har", prices, 1)
    known = int((prices[DATE] <= spans.calibration_end).sum())
    floor = 0.01 * variance[:known].median()
    logs = np.log(variance.fillna(floor).clip(lower=floor))
    terms = np.stack([logs.rolling(term, min_periods=1).mean() for term in (1, 5, 22)], axis=1)
    model = LinearRegression().fit(terms[: known - 1], logs[1:known])
    volatility = np.exp(model.predict(terms) / 2)
    z = log_changes(prices, spans.calibration_end, 1) / volatility[: known - 1]
    expected = last[:, None] * np.exp(volatility[made.rows][:, None] * np.quantile(z, QUANTILES))
    np.testing.assert_allclose(made.quantiles[:, 0], expected, rtol=1e-8)


@pytest.mark.parametrize("missing", [[HIGH, LOW], [OPEN, HIGH, LOW]])
def test_har_falls_back_on_returns_in_a_file_without_ranges(missing):
    prices = garch_path(900)
    prices[missing] = np.nan
    made, _, _ = forecast("har", prices)
    spread = np.log(made.quantiles[:, 0, -1] / made.quantiles[:, 0, 0])
    assert np.isfinite(made.quantiles).all()
    assert spread.std() > 0.05 * spread.mean()


def test_har_takes_highs_and_lows_that_repeat_the_close_for_none():
    prices = garch_path(900)
    bare = prices.assign(**{HIGH: np.nan, LOW: np.nan})
    prices.loc[300:, HIGH] = prices.loc[300:, LOW] = prices.loc[300:, CLOSE]
    np.testing.assert_array_equal(forecast("har", prices)[0].quantiles, forecast("har", bare)[0].quantiles)


@pytest.mark.parametrize(
    "fault", [{"convergence_flag": 1}, {"params": [0.0, 0.1, np.nan, 0.1, 0.8, 5.0]}, {"params": [0.0, 0.1, 0, 0, 1.0, 5.0]}]
)
def test_a_garch_that_fails_stands_aside_for_riskmetrics_variance(fault, monkeypatch):
    result = {"convergence_flag": 0, "params": [0.0, 0.1, 0.1, 0.1, 0.8, 5.0], **fault}
    monkeypatch.setattr("arch.arch_model", lambda *_, **__: SimpleNamespace(fit=lambda **__: SimpleNamespace(**result)))
    series = next(observed_series(garch_path(), CLOSE))
    with pytest.warns(BaselineWarning, match="GARCH"):
        variance = fit_gjr(series).next_variance(series)
    returns = series.returns()
    expected = np.var(returns[1:])
    for t in range(1, len(returns)):
        expected = 0.94 * expected + 0.06 * returns[t] ** 2
    assert variance[-1] == pytest.approx(expected)


def test_har_survives_sessions_without_a_range():
    prices = garch_path(900)
    prices.loc[::40, [HIGH, LOW]] = np.nan
    prices.loc[1::40, HIGH] = prices.loc[1::40, LOW]
    made, _, _ = forecast("har", prices)
    assert np.isfinite(made.quantiles).all()


@pytest.mark.parametrize("name", ["ewma", "garch", "har"])
def test_volatility_models_widen_in_turbulent_times_and_cover_about_90_percent(name):
    returns, volatility = garch_returns(3000, seed=3)
    prices = price_table(returns, volatility, 3, "TRUE", 100.0)
    made, _, _ = forecast(name, prices, 1)
    actual = prices[CLOSE].to_numpy()[made.rows + 1]
    inside = (made.quantiles[:, 0, 0] <= actual) & (actual <= made.quantiles[:, 0, -1])
    assert 0.86 < inside.mean() < 0.94
    spread = made.quantiles[:, 0, -1] / made.quantiles[:, 0, 0] - 1
    assert np.corrcoef(spread, volatility[made.rows + 1])[0, 1] > 0.7


def test_a_ticker_with_too_little_history_is_refused_when_it_is_asked_for():
    prices = panel()
    late = prices.drop(prices.index[(prices["ticker"] == "BBB")][:250]).reset_index(drop=True)
    spans = spans_of(late)
    naive = BASELINES["naive"](1).fit(history(late, spans), spans)
    naive.forecast(late, np.array([300]))
    with pytest.raises(DataError, match="BBB"):
        naive.forecast(late, np.array([len(late) - 2]))


def test_the_forecast_price_may_be_another_column():
    prices = random_walk()
    spans = spans_of(prices)
    made = BASELINES["naive"](1, OPEN).fit(history(prices, spans), spans).forecast(prices, np.array([350]))
    assert made.point[0, 0] == prices[OPEN][350]


def test_the_default_baselines_are_made_for_the_asked_column_and_horizon():
    made = default_baselines(HIGH, 4)
    assert [(b.name, b.column, b.horizon) for b in made] == [(name, HIGH, 4) for name in ("naive", "drift", "ewma", "garch", "har")]


def test_no_baseline_warns_on_a_regular_series():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in INSTALLED:
            forecast(name, random_walk(800), 1)


def autocorrelated(rows: int, seed: int) -> pd.DataFrame:
    """A price table whose log returns are AR(1) with coefficient 0.6."""
    shocks = 0.01 * np.random.default_rng([seed, 8]).standard_normal(rows)
    returns = np.empty(rows)
    returns[0] = shocks[0]
    for t in range(1, rows):
        returns[t] = 0.6 * returns[t - 1] + shocks[t]
    return price_table(returns, np.full(rows, 0.01), seed, "AR", 100.0)


@statistical
def test_arima_finds_the_direction_of_autocorrelated_returns_and_none_in_a_random_walk():
    prices = autocorrelated(900, 0)
    made, _, last = forecast("arima", prices, 2)
    returns = np.diff(np.log(prices[CLOSE].to_numpy()), prepend=0.0)
    assert np.corrcoef(np.log(made.point[:, 0] / last), returns[made.rows])[0, 1] > 0.98
    np.testing.assert_allclose(np.log(made.point[:, 0] / last).std(), 0.6 * returns[made.rows].std(), rtol=0.15)
    walk, _, last = forecast("arima", random_walk(900))
    assert np.log(walk.point[:, 0] / last).std() < 0.003  # a tenth of the variance at most


@statistical
def test_theta_is_the_models_own_forecast_of_the_last_500_sessions():
    prices = garch_path(900)
    made, spans, last = forecast("theta", prices)
    series = next(observed_series(history(prices, spans), CLOSE))
    model = pytest.importorskip("statsforecast.models").Theta(season_length=1).fit(np.log(series.price / series.price[0]))
    row = made.rows[5]
    seen = np.log(prices[CLOSE].to_numpy()[row - 499 : row + 1] / prices[CLOSE][row])
    np.testing.assert_allclose(np.log(made.point[5] / last[5]), model.forward(seen, h=HORIZON)["mean"], atol=1e-12)


@statistical
@pytest.mark.parametrize("name", ["arima", "theta"])
def test_quantiles_of_a_statistical_model_cover_about_90_percent(name):
    prices = random_walk(1500, 4)
    made, _, _ = forecast(name, prices, 2)
    for step in (1, 2):
        actual = prices[CLOSE].to_numpy()[made.rows + step]
        inside = (made.quantiles[:, step - 1, 0] <= actual) & (actual <= made.quantiles[:, step - 1, -1])
        assert 0.84 < inside.mean() < 0.96


@statistical
@pytest.mark.parametrize(("rows", "horizon"), [(24, 2), (1300, 520)])
def test_a_statistical_model_knows_some_errors_of_each_step_whatever_the_horizon(rows, horizon):
    prices = random_walk(rows)
    spans = spans_of(prices)
    theta = BASELINES["theta"](horizon).fit(history(prices, spans), spans)
    made = theta.forecast(prices, np.array([rows - 1]))
    assert np.isfinite(made.quantiles).all()
    assert (np.diff(made.quantiles[0, -1, [0, -1]]) > 0).all()


@pytest.mark.parametrize("name", ["arima", "theta"])
def test_without_statsforecast_the_user_is_told_to_install_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsforecast", None)
    with pytest.raises(MissingExtraError, match="Install it"):
        forecast(name, random_walk())


def test_a_cutoff_without_any_price_is_refused():
    prices = random_walk()
    spans = spans_of(prices)
    prices.loc[:5, HIGH] = np.nan
    naive = BASELINES["naive"](1, HIGH).fit(history(prices, spans), spans)
    with pytest.raises(DataError, match="WALK"):
        naive.forecast(prices, np.array([3]))
