"""Scores against hand arithmetic, against `scoringrules`, and against an independent pooling."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scoringrules
from factories import cutoffs, gappy, history, panel, random_walk, spans_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from stockrnn.errors import StockRNNError
from stockrnn.evaluation import metrics
from stockrnn.models.baselines import BASELINES
from stockrnn.models.forecaster import forecast_table
from stockrnn.types import CLOSE, QUANTILE_COLUMNS, QUANTILES, TICKER

ACTUAL, FORECAST, LAST = [10.0, 12.0, 8.0], [11.0, 12.0, 6.0], [9.0, 13.0, 8.0]
values = arrays(float, (17, 20), elements=st.floats(0.01, 1e4))
modest = settings(max_examples=30, derandomize=True, deadline=None)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return make_table(panel(), 2)


def make_table(prices: pd.DataFrame, horizon: int, names: tuple[str, ...] = ("naive", "drift", "ewma", "moving_average")) -> pd.DataFrame:
    spans = spans_of(prices)
    rows = np.flatnonzero((prices["date"] >= spans.calibration_end) & ~prices["filled"])
    made = [(name, BASELINES[name](horizon).fit(history(prices, spans), spans).forecast(prices, rows)) for name in names]
    return pd.concat([forecast_table(prices, name, forecast) for name, forecast in made], ignore_index=True)


def scales_of(prices: pd.DataFrame) -> dict[str, float]:
    return metrics.mase_scales(prices, spans_of(prices).train_end, CLOSE)


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


@pytest.mark.parametrize(
    ("score", "arguments"),
    [
        (metrics.mape, ([0.0, 1.0], [1.0, 1.0])),
        (metrics.smape, ([0.0, 1.0], [0.0, 1.0])),
        (metrics.mase, ([1.0, 1.0], [2.0, 2.0], [0.0, 1.0])),
        (metrics.mase, ([1.0], [2.0], [math.nan])),
        (metrics.r2, ([2.0, 2.0], [2.0, 1.0], [1.0, 1.0])),
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


def test_the_table_is_reproduced_by_pandas_alone(table):
    scores = metrics.score_table(table, scales_of(panel()))
    for model, rows in table.dropna(subset="actual").groupby("model"):
        error = rows["actual"] - rows["forecast"]
        losses = [
            2 * np.maximum(q * d, (q - 1) * d) for q, d in zip(QUANTILES, (rows["actual"] - rows[c] for c in QUANTILE_COLUMNS), strict=True)
        ]
        assert scores[model]["mae"] == pytest.approx(error.abs().mean(), abs=1e-9)
        assert scores[model]["rmse"] == pytest.approx((error**2).mean() ** 0.5, abs=1e-9)
        assert scores[model]["crps"] == pytest.approx(pd.concat(losses).mean(), abs=1e-9)
        assert scores[model]["coverage_90"] == pytest.approx(rows["actual"].between(rows["q05"], rows["q95"]).mean(), abs=1e-9)
        assert scores[model]["width_90"] == pytest.approx((rows["q95"] - rows["q05"]).mean(), abs=1e-9)


def test_the_order_of_the_rows_does_not_matter(table):
    shuffled = table.sample(frac=1, random_state=0)
    assert metrics.score_table(shuffled, scales_of(panel())).keys() == {"naive", "drift", "ewma", "moving_average"}
    for model, scores in metrics.score_table(table, scales_of(panel())).items():
        assert metrics.score_table(shuffled, scales_of(panel()))[model] == scores


def test_skill_is_one_minus_the_ratio_to_naive_whose_own_is_zero(table):
    scores = metrics.score_table(table, scales_of(panel()))
    assert scores["naive"]["skill_mae"] == scores["naive"]["skill_crps"] == 0.0
    assert scores["ewma"]["skill_crps"] == pytest.approx(1 - scores["ewma"]["crps"] / scores["naive"]["crps"])


def test_naive_has_no_direction_and_no_score_is_nan(table):
    scores = metrics.score_table(table, scales_of(panel()))
    assert scores["naive"]["directional_accuracy"] is None
    assert all(value is None or math.isfinite(value) for row in scores.values() for value in row.values())
    assert list(scores["drift"]) == [
        *(
            "mae",
            "rmse",
            "mape",
            "smape",
            "mase",
            "r2",
            "directional_accuracy",
            "crps",
            "coverage_90",
            "width_90",
            "skill_mae",
            "skill_crps",
        )
    ]


def test_every_score_that_can_be_none_has_its_reason():
    flat = random_walk()
    flat[CLOSE] = 10.0
    scores = metrics.score_table(make_table(flat, 1, ("naive",)), scales_of(flat))["naive"]
    assert {name for name, value in scores.items() if value is None} == {"mase", "r2", "directional_accuracy", "skill_mae", "skill_crps"}
    assert set(metrics.UNDEFINED) >= {name for name, value in scores.items() if value is None}


@pytest.mark.parametrize("by", metrics.GROUPS)
def test_groups_are_tables_of_their_rows_and_pool_to_the_whole(table, by):
    groups = metrics.score_groups(table, scales_of(panel()), by)
    known = table[table["actual"].notna() & (table["model"] == "ewma")]
    sizes = metrics.GROUPS[by](known).astype(str).value_counts()
    assert set(groups) == set(sizes.index)
    pooled = sum(groups[key]["ewma"]["mae"] * sizes[key] for key in groups) / sizes.sum()
    assert pooled == pytest.approx(metrics.score_table(table, scales_of(panel()))["ewma"]["mae"])


def test_the_scores_of_a_ticker_are_those_of_its_rows_alone(table):
    groups = metrics.score_groups(table, scales_of(panel()), "ticker")
    assert groups["BBB"] == metrics.score_table(table[table[TICKER] == "BBB"], scales_of(panel()))


def test_the_distribution_table_holds_intervals_brier_and_every_pinball(table):
    scores = metrics.distribution_table(table)
    assert list(scores) == ["naive", "drift", "ewma", "moving_average"]
    mean_pinball = np.mean([scores["ewma"][f"pinball_{name}"] for name in QUANTILE_COLUMNS])
    assert 2 * mean_pinball == pytest.approx(metrics.score_table(table, {})["ewma"]["crps"])
    assert scores["ewma"]["width_50"] < scores["ewma"]["width_80"] < scores["ewma"]["width_90"]
    assert 0.2 < scores["ewma"]["brier"] < 0.3
    rows = table[(table["model"] == "ewma") & table["actual"].notna()]
    assert scores["ewma"]["winkler_80"] == pytest.approx(metrics.winkler(rows["actual"], rows["q10"], rows["q90"], 0.8))


def test_a_price_that_stays_has_not_risen():
    flat = random_walk()
    flat[CLOSE] = 10.0
    assert metrics.distribution_table(make_table(flat, 1, ("naive",)))["naive"]["brier"] == pytest.approx(0.25)


def test_models_that_forecast_unlike_rows_are_refused(table):
    with pytest.raises(StockRNNError, match="ewma"):
        metrics.score_table(table.drop(table.index[table["model"] == "ewma"][0]), {})


def test_a_table_without_naive_or_without_an_actual_is_refused(table):
    with pytest.raises(StockRNNError, match="naive"):
        metrics.score_table(table[table["model"] == "ewma"], {})
    with pytest.raises(StockRNNError, match="naive"):
        metrics.score_table(table.assign(actual=np.nan), {})


def test_steps_beyond_the_end_of_the_file_do_not_count():
    prices = gappy()
    whole = make_table(prices, 3)
    inside = whole[whole["actual"].notna()]
    assert len(inside) < len(whole)
    assert metrics.score_table(whole, {}) == metrics.score_table(inside, {})
    assert len(cutoffs(prices, spans_of(prices), 3)) < whole["cutoff"].nunique()


def cross_section(dates: int, tickers: int, seed: int) -> pd.DataFrame:
    """A naive and a noisy model over a panel of one-step forecasts."""
    random = np.random.default_rng(seed)
    size = dates * tickers
    frame = pd.DataFrame({"ticker": np.tile([f"T{k}" for k in range(tickers)], dates), "step": 1})
    frame["cutoff"] = np.repeat(pd.bdate_range("2020-01-01", periods=dates), tickers)
    frame["date"] = frame["cutoff"] + pd.Timedelta(days=1)
    last, moved = 10 + np.arange(size) % tickers, 0.01 * random.standard_normal(size)
    frame["actual"] = last * (1 + moved)
    guess = last * (1 + 0.5 * moved + 0.01 * random.standard_normal(size))
    frame[list(QUANTILE_COLUMNS)] = last[:, None] * np.linspace(0.98, 1.02, 19)
    return pd.concat([frame.assign(model="naive", forecast=last * 1.0), frame.assign(model="gru", forecast=guess)], ignore_index=True)


def test_information_coefficients_equal_pandas_correlations_date_by_date():
    forecasts = cross_section(30, 8, 0)
    scores = metrics.panel_table(forecasts)
    gru, naive = (forecasts[forecasts["model"] == name].reset_index(drop=True) for name in ("gru", "naive"))
    returns = pd.DataFrame({"a": gru["actual"] / naive["forecast"], "f": gru["forecast"] / naive["forecast"], "cutoff": gru["cutoff"]})
    daily = [day["a"].corr(day["f"]) for _, day in returns.groupby("cutoff")]
    ranked = [day["a"].corr(day["f"], method="spearman") for _, day in returns.groupby("cutoff")]
    assert scores["gru"]["ic"] == pytest.approx(np.mean(daily))
    assert scores["gru"]["rank_ic"] == pytest.approx(np.mean(ranked))
    assert scores["gru"]["icir"] == pytest.approx(np.mean(daily) / np.std(daily, ddof=1))


def test_information_coefficients_are_none_without_a_cross_section(table):
    assert metrics.panel_table(table)["ewma"] == {"ic": None, "rank_ic": None, "icir": None}
    assert metrics.panel_table(cross_section(30, 8, 0))["naive"]["ic"] is None
    assert metrics.panel_table(cross_section(30, 3, 0))["gru"]["ic"] is not None
    day = cross_section(1, 8, 0)
    twice = pd.concat([day, day.assign(cutoff=day["cutoff"] + pd.Timedelta(days=1))])
    assert metrics.panel_table(twice)["gru"]["icir"] is None
    one_day = metrics.panel_table(day)["gru"]
    assert one_day["ic"] is not None
    assert one_day["icir"] is None
