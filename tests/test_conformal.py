"""Coverage is what was promised: by rank arithmetic, by simulation, and without a look at the future."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
from factories import garch_returns, history, panel, price_table, random_walk, spans_of
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.configfile import load_config
from stockrnn.errors import DataError
from stockrnn.evaluation.conformal import RATE, Calibration, Widths, adapt, calibrate, widths_after
from stockrnn.evaluation.learning import learn_network
from stockrnn.models.baselines import BASELINES
from stockrnn.models.forecaster import forecast_table
from stockrnn.types import DATE, QUANTILE_COLUMNS, QUANTILES

COLUMNS = list(QUANTILE_COLUMNS)


def table(actual: np.ndarray, scale: np.ndarray | float = 1.0, step: int = 1, ticker: str = "AAA", model: str = "gru") -> pd.DataFrame:
    """Forecasts of one step around 100 with quantiles 90.5 … 109.5 times `scale`, from consecutive sessions."""
    n = len(actual)
    days = pd.bdate_range("2015-01-05", periods=n + step)
    offsets = np.linspace(-9.5, 9.5, 19) * np.broadcast_to(scale, n)[:, None]
    made = pd.DataFrame({"ticker": ticker, "cutoff": days[:n], "step": step, DATE: days[step:], "model": model, "actual": actual})
    made["forecast"] = 100.0
    made[COLUMNS] = 100 + offsets
    return made


def normal(n: int, deviation: float | np.ndarray, seed: int) -> np.ndarray:
    return 100 + deviation * np.random.default_rng([9, seed]).standard_normal(n)


def inside(forecasts: pd.DataFrame) -> pd.Series:
    return ((forecasts["q05"] <= forecasts["actual"]) & (forecasts["actual"] <= forecasts["q95"])).astype(float)


@pytest.mark.parametrize("n", [39, 40])
def test_each_level_takes_its_finite_sample_rank(n):
    actual = 100 + np.arange(n, dtype=float)
    moved = calibrate(table(np.random.default_rng(0).permutation(actual))).apply(table(actual[:1]))
    ranks = [np.floor((n + 1) * q + 1e-9) if q < 0.5 else np.ceil((n + 1) * q - 1e-9) for q in QUANTILES]
    np.testing.assert_allclose(moved[COLUMNS].to_numpy()[0], 99 + np.array(ranks))


def test_split_conformal_covers_at_least_its_level_on_average():
    covered = []
    for seed in range(150):
        actual = normal(40 + 50, 25.0, seed)
        calibration = calibrate(table(actual[:40]))
        covered.append(inside(calibration.apply(table(actual[40:]))).mean())
    assert 0.90 <= np.mean(covered) < 0.96


def test_shifts_are_in_units_of_the_forecasts_own_scale():
    rows = 400
    scale = np.where(np.arange(rows) % 2 == 0, 1.0, 5.0)
    calibration = calibrate(table(normal(rows, 20 * scale, 0), scale))
    narrow, wide = (calibration.apply(table(np.array([100.0]), size)).iloc[0] for size in (1.0, 5.0))
    assert wide["q95"] - 100 == pytest.approx(5 * (narrow["q95"] - 100))
    assert calibration.shifts.shape == (1, 19)


def test_each_step_has_its_own_shifts():
    both = pd.concat([table(normal(200, 5.0, 1)), table(normal(200, 50.0, 2), step=2)])
    calibration = calibrate(both)
    moved = calibration.apply(both)
    one, two = ((moved.loc[moved["step"] == step, "q95"] - moved.loc[moved["step"] == step, "q05"]).iloc[0] for step in (1, 2))
    assert two > 4 * one
    assert calibration.shifts.shape == (2, 19)


def test_too_few_rows_are_refused_and_unknown_actuals_do_not_count():
    actual = normal(19, 5.0, 0)
    calibrate(table(actual))
    actual[3] = np.nan
    with pytest.raises(DataError, match=r"19 forecasts of step 1\. Received: 18"):
        calibrate(table(actual))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_quantiles_never_cross_and_other_columns_stay(seed, scale):
    forecasts = table(normal(60, 10.0, seed), scale)
    for moved, also in ((calibrate(forecasts).apply(forecasts), ["forecast"]), (adapt(forecasts), [])):
        assert (np.diff(moved[COLUMNS].to_numpy(), axis=1) >= 0).all()
        others = [c for c in forecasts if c not in [*COLUMNS, *also]]
        pd.testing.assert_frame_equal(moved[others], forecasts[others])


def test_a_forecast_goes_with_its_median_and_stays_inside_its_interval():
    forecasts = table(normal(60, 3.0, 0) + 40.0)  # of a network that is far off
    moved = calibrate(forecasts).apply(forecasts)
    assert moved["q05"].min() > 130
    assert (moved["forecast"] == moved["q50"]).all()
    assert (moved["q05"] <= moved["forecast"]).all()
    point = forecasts.assign(forecast=70.0)
    pd.testing.assert_frame_equal(Calibration.none(1).apply(point), point)


def test_a_forecast_without_width_gives_finite_quantiles():
    flat = table(normal(50, 1.0, 0), 0.0)
    assert np.isfinite(calibrate(flat).apply(flat)[COLUMNS].to_numpy()).all()
    assert np.isfinite(adapt(flat)[COLUMNS].to_numpy()).all()


def test_the_adaptive_width_follows_its_rule():
    actual = np.array([100.0, 120.0, 100.0, 100.0])
    moved = adapt(table(actual), rate=0.5)
    k = np.exp(0.5 * np.array([0.0, -0.1, 0.8, 0.7]))
    np.testing.assert_allclose(moved["q95"], 100 + 9.5 * k)
    np.testing.assert_allclose(moved["q05"], 100 - 9.5 * k)
    np.testing.assert_allclose(moved["q50"], 100.0)


def test_a_miss_is_judged_by_the_interval_that_was_given():
    actual = np.array([120.0, 112.0, 112.0])
    widened = 9.5 * np.exp(0.5 * 0.9)
    assert widened > 12
    assert adapt(table(actual), rate=0.5)["q95"].iloc[2] == pytest.approx(100 + 9.5 * np.exp(0.5 * 0.8))


def test_the_ends_of_the_interval_belong_to_it_and_the_default_rate_is_a_fiftieth():
    for end in (109.5, 90.5):
        moved = adapt(table(np.array([end, 100.0])))
        assert moved["q95"].iloc[1] == pytest.approx(100 + 9.5 * np.exp(-0.02 * 0.1))


@pytest.mark.parametrize("step", [1, 3])
def test_an_actual_changes_nothing_before_its_date_is_a_cutoff(step):
    actual = normal(60, 5.0, 0)
    changed = actual.copy()
    changed[20] = 1e6
    before, after = (adapt(table(a, step=step))[COLUMNS].to_numpy() for a in (actual, changed))
    assert before[: 20 + step].tobytes() == after[: 20 + step].tobytes()
    assert (before[20 + step] != after[20 + step]).any()


def test_models_tickers_and_steps_adapt_apart_and_in_any_order():
    parts = [
        table(normal(80, 30.0, 0)),
        table(normal(80, 1.0, 1), ticker="BBB"),
        table(normal(80, 9.0, 2), model="lstm"),
        table(normal(80, 3.0, 3), step=2),
    ]
    mixed = pd.concat(parts).sample(frac=1, random_state=0)
    made = adapt(mixed).sort_values(["model", "ticker", "step", "cutoff"], ignore_index=True)
    alone = pd.concat([adapt(part) for part in parts]).sort_values(["model", "ticker", "step", "cutoff"], ignore_index=True)
    pd.testing.assert_frame_equal(made, alone)


def test_unknown_actuals_teach_nothing():
    actual = normal(30, 5.0, 0)
    actual[10:] = np.nan
    factors = (adapt(table(actual))["q95"] - 100) / 9.5
    assert factors[10:].nunique() == 1


def test_coverage_holds_through_a_change_of_regime_where_split_conformal_loses_it():
    deviation = np.repeat([4.0, 12.0, 3.0], 500)
    forecasts = table(normal(1500, deviation, 0))
    fixed = inside(calibrate(forecasts[:300]).apply(forecasts))[300:]
    slow, fast = (inside(adapt(forecasts, rate))[300:] for rate in (RATE, 5 * RATE))
    assert fixed[200:700].mean() < 0.6
    assert slow[200:700].mean() > fixed[200:700].mean() + 0.1
    assert fast[200:700].mean() > 0.84
    assert abs(fast.mean() - 0.9) < 0.015


@pytest.mark.parametrize("name", ["naive", "ewma"])
def test_adapting_mends_a_miscalibrated_baseline_on_a_garch_path(name):
    returns, volatility = garch_returns(3000, 11)
    prices = price_table(returns, volatility, 11, "TRUE", 100.0)
    spans = spans_of(prices)
    made = BASELINES[name](1).fit(prices[:1500], spans).forecast(prices, np.arange(1500, 2999))
    forecasts = forecast_table(prices, name, made)
    raw, mended = inside(forecasts)[200:], inside(adapt(forecasts))[200:]
    assert abs(mended.mean() - 0.9) <= max(abs(raw.mean() - 0.9), 0.01)
    assert mended.rolling(250).mean().min() >= min(raw.rolling(250).mean().min(), 0.8)


def test_a_panel_of_steps_keeps_its_rows():
    prices = panel()
    spans = spans_of(prices)
    rows = np.flatnonzero(prices[DATE] > spans.validation_end)
    made = BASELINES["naive"](3).fit(prices[prices[DATE] <= spans.calibration_end], spans).forecast(prices, rows)
    forecasts = forecast_table(prices, "naive", made)
    assert len(calibrate(forecasts).apply(forecasts)) == len(adapt(forecasts)) == len(forecasts)


def test_the_width_at_the_end_is_what_the_next_forecast_would_get():
    known = pd.concat([table(normal(80, 30.0, 0)), table(normal(80, 3.0, 1), ticker="BBB"), table(normal(80, 9.0, 2), step=2)])
    ends = [part.tail(1) for _, part in known.groupby(["ticker", "step"])]
    following = pd.concat([row.assign(cutoff=row["date"], date=row["date"] + pd.Timedelta(days=9), actual=np.nan) for row in ends])
    expected = adapt(pd.concat([known, following])).tail(len(following))
    widths = widths_after(known.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(widths.apply(following), expected)
    assert set(widths.factors) == {"AAA", "BBB"}
    assert [len(widths.factors[ticker]) for ticker in ("AAA", "BBB")] == [2, 1]
    assert Widths.from_dict(json.loads(json.dumps(widths.to_dict()))) == widths


def test_widths_of_one_ticker_fit_any_name_and_those_of_several_only_their_own():
    forecasts = table(normal(5, 1.0, 0), ticker="OTHER")
    assert (Widths({"AAA": (2.0,)}).apply(forecasts)["q95"] == 119.0).all()
    assert (Widths({"AAA": (2.0,), "BBB": (3.0,)}).apply(forecasts)["q95"] == 109.5).all()
    pd.testing.assert_frame_equal(Widths().apply(forecasts), forecasts)


@pytest.mark.parametrize(("head", "instead"), [("quantile", "set it to 0"), ("point", "choose another `model.head`")])
def test_too_short_a_calibration_span_is_refused_before_anything_is_trained(monkeypatch, head, instead):
    monkeypatch.setitem(sys.modules, "stockrnn.training.recurrent", None)  # whatever trains is found missing
    prices, config = random_walk(150), load_config(None, ["split.calibration=0.1", f"model.head={head}"])
    spans = spans_of(prices)
    with pytest.raises(DataError, match=r"The calibration span must hold 19 forecasts of step 1\. Received: 16\..*" + instead):
        learn_network(config, history(prices, spans), spans)
    prices = random_walk(250)
    with pytest.raises(ImportError):
        learn_network(config, history(prices, spans_of(prices)), spans_of(prices))
