"""Tables of scores against pandas, against the formulas of each score, and against scipy; groups pool to the whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import cutoffs, gappy, history, panel, random_walk, spans_of
from scipy.stats import pearsonr, spearmanr

from stockrnn.errors import StockRNNError
from stockrnn.evaluation import metrics
from stockrnn.evaluation.scores import (
    ERRORS,
    GROUPS,
    MOST_GROUPS,
    extremes,
    reason,
    reasons,
    score_groups,
    score_rows,
    score_table,
    without_crowds,
)
from stockrnn.models.baselines import BASELINES
from stockrnn.models.forecaster import forecast_table
from stockrnn.runs.files import to_json
from stockrnn.runs.vetting import LARGEST, parse_json
from stockrnn.types import CLOSE, QUANTILE_COLUMNS, QUANTILES, TICKER


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


def test_the_table_is_reproduced_by_pandas_alone(table):
    scores = score_table(table, scales_of(panel()))
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
    assert score_table(shuffled, scales_of(panel())).keys() == {"naive", "drift", "ewma", "moving_average"}
    for model, scores in score_table(table, scales_of(panel())).items():
        assert score_table(shuffled, scales_of(panel()))[model] == pytest.approx(scores, nan_ok=False)


def test_skill_is_one_minus_the_ratio_to_naive_whose_own_is_zero(table):
    scores = score_table(table, scales_of(panel()))
    assert scores["naive"]["skill_mae"] == scores["naive"]["skill_crps"] == 0.0
    assert scores["ewma"]["skill_crps"] == pytest.approx(1 - scores["ewma"]["crps"] / scores["naive"]["crps"])


def test_naive_has_no_direction_and_no_score_is_nan(table):
    scores = score_table(table, scales_of(panel()))
    assert scores["naive"]["directional_accuracy"] is None
    assert all(value is None or math.isfinite(value) for row in scores.values() for value in row.values())
    assert list(scores["drift"])[:12] == [
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
    scores = score_table(make_table(flat, 1, ("naive",)), scales_of(flat))["naive"]
    lacking = {name for name, value in scores.items() if value is None}
    undefined = {"mase", "r2", "directional_accuracy", *(f"skill_{name}" for name in ERRORS)}
    assert lacking == undefined
    told = reasons([{"naive": scores}])
    assert set(told) == lacking
    assert told["skill_crps"] == reason("skill_crps") == "naive's crps is zero or undefined"
    assert "do not vary" in told["r2"]


@pytest.mark.parametrize("by", GROUPS)
def test_groups_are_tables_of_their_rows_and_pool_to_the_whole(table, by):
    groups = score_groups(table, scales_of(panel()), by)
    known = table[table["actual"].notna() & (table["model"] == "ewma")]
    sizes = GROUPS[by](known).astype(str).value_counts()
    assert set(groups) == set(sizes.index)
    pooled = sum(groups[key]["ewma"]["mae"] * sizes[key] for key in groups) / sizes.sum()
    assert pooled == pytest.approx(score_table(table, scales_of(panel()))["ewma"]["mae"])


def test_the_scores_of_a_ticker_are_those_of_its_rows_alone(table):
    groups = score_groups(table, scales_of(panel()), "ticker")
    assert groups["BBB"] == score_table(table[table[TICKER] == "BBB"], scales_of(panel()))


def test_the_distribution_table_holds_intervals_brier_and_every_pinball(table):
    scores = score_table(table, {})
    assert list(scores) == ["naive", "drift", "ewma", "moving_average"]
    mean_pinball = np.mean([scores["ewma"][f"pinball_{name}"] for name in QUANTILE_COLUMNS])
    assert 2 * mean_pinball == pytest.approx(score_table(table, {})["ewma"]["crps"])
    assert scores["ewma"]["width_50"] < scores["ewma"]["width_80"] < scores["ewma"]["width_90"]
    assert 0.2 < scores["ewma"]["brier"] < 0.3
    rows = table[(table["model"] == "ewma") & table["actual"].notna()]
    assert scores["ewma"]["winkler_80"] == pytest.approx(metrics.winkler(rows["actual"], rows["q10"], rows["q90"], 0.8))


def test_a_price_that_stays_has_not_risen():
    flat = random_walk()
    flat[CLOSE] = 10.0
    assert score_table(make_table(flat, 1, ("naive",)), {})["naive"]["brier"] == pytest.approx(0.25)


def test_models_that_forecast_unlike_rows_are_refused(table):
    with pytest.raises(StockRNNError, match="ewma"):
        score_table(table.drop(table.index[table["model"] == "ewma"][0]), {})


def test_a_table_without_naive_or_without_an_actual_is_refused(table):
    with pytest.raises(StockRNNError, match="naive"):
        score_table(table[table["model"] == "ewma"], {})
    with pytest.raises(StockRNNError, match="naive"):
        score_table(table.assign(actual=np.nan), {})


def test_steps_beyond_the_end_of_the_file_do_not_count():
    prices = gappy()
    whole = make_table(prices, 3)
    inside = whole[whole["actual"].notna()]
    assert len(inside) < len(whole)
    assert score_table(whole, {}) == score_table(inside, {})
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


def test_information_coefficients_equal_scipy_date_by_date():
    forecasts = cross_section(30, 8, 0)
    scores = score_table(forecasts, {})
    gru, naive = (forecasts[forecasts["model"] == name].reset_index(drop=True) for name in ("gru", "naive"))
    returns = pd.DataFrame({"a": gru["actual"] / naive["forecast"], "f": gru["forecast"] / naive["forecast"], "cutoff": gru["cutoff"]})
    daily = [pearsonr(day["a"], day["f"]).statistic for _, day in returns.groupby("cutoff")]
    ranked = [spearmanr(day["a"], day["f"]).statistic for _, day in returns.groupby("cutoff")]
    assert scores["gru"]["ic"] == pytest.approx(np.mean(daily), abs=1e-12)
    assert scores["gru"]["rank_ic"] == pytest.approx(np.mean(ranked), abs=1e-12)
    assert scores["gru"]["icir"] == pytest.approx(np.mean(daily) / np.std(daily, ddof=1), rel=1e-9)


def test_information_coefficients_by_year_and_step_are_those_of_their_days():
    first = cross_section(300, 6, 0)
    later = cross_section(300, 6, 1).assign(step=2, date=lambda rows: rows["cutoff"] + pd.Timedelta(days=2))
    both = pd.concat([first, later], ignore_index=True)
    assert score_table(both, {})["gru"]["ic"] == pytest.approx(score_table(first, {})["gru"]["ic"], rel=1e-9)
    by_step = score_groups(both, {}, "step")
    assert by_step["2"]["gru"]["rank_ic"] == pytest.approx(score_table(later.assign(step=1), {})["gru"]["rank_ic"], rel=1e-9)
    by_year = score_groups(first, {}, "year")
    for year, scores in by_year.items():
        alone = score_table(first[first["date"].dt.year == int(year)], {})
        assert scores["gru"]["icir"] == pytest.approx(alone["gru"]["icir"], rel=1e-9)


def test_information_coefficients_are_none_without_a_cross_section(table):
    nothing = {"ic": None, "rank_ic": None, "icir": None}
    assert nothing.items() <= score_table(table, {})["ewma"].items()
    assert not nothing.keys() & score_groups(table, {}, "ticker")["AAA"]["ewma"].keys()
    assert score_table(cross_section(30, 8, 0), {})["naive"]["ic"] is None
    assert score_table(cross_section(30, 4, 0), {})["gru"]["ic"] is None
    assert score_table(cross_section(30, 5, 0), {})["gru"]["ic"] is not None
    day = cross_section(1, 8, 0)
    twice = pd.concat([day, day.assign(cutoff=day["cutoff"] + pd.Timedelta(days=1))])
    assert score_table(twice, {})["gru"]["icir"] is None
    one_day = score_table(day, {})["gru"]
    assert one_day["ic"] is not None
    assert one_day["icir"] is None


def test_what_rounding_leaves_of_a_constant_is_no_variation():
    forecasts, gru = cross_section(30, 8, 0), "model == 'gru'"
    last = forecasts.query("model == 'naive'")["forecast"].to_numpy()
    one_change, foresight = forecasts.copy(), forecasts.copy()
    one_change.loc[forecasts.eval(gru), "forecast"] = 1.001 * last
    foresight.loc[forecasts.eval(gru), "forecast"] = last + (1 - 1e-15) * (forecasts.query(gru)["actual"].to_numpy() - last)
    assert score_table(one_change, {})["gru"]["ic"] is None
    found = score_table(foresight, {})["gru"]
    assert (found["ic"], found["icir"]) == (pytest.approx(1), None)
    growth = forecasts.assign(actual=np.tile(1.01 * last, 2))
    assert {scores["r2"] for scores in score_table(growth, {}).values()} == {None}


def test_every_score_of_a_group_equals_its_own_formula(table):
    rows = metrics.by_model(table[(table[TICKER] == "BBB") & (table["step"] == 2)])["moving_average"]
    scores = score_groups(table[table["step"] == 2], scales_of(panel()), "ticker")["BBB"]["moving_average"]
    a, f, p, q = (rows[name].to_numpy(float) for name in ("actual", "forecast", "last", list(QUANTILE_COLUMNS)))
    above = metrics.probability_above(q, p)
    expected = {
        "mae": metrics.mae(a, f),
        "rmse": metrics.rmse(a, f),
        "mape": metrics.mape(a, f),
        "smape": metrics.smape(a, f),
        "mase": metrics.mase(a, f, np.full(len(a), scales_of(panel())["BBB"])),
        "r2": metrics.r2(a, f, p),
        "directional_accuracy": metrics.directional_accuracy(a, f, p),
        "crps": metrics.crps(a, q),
        "brier": metrics.brier(a > p, above),
        "log_loss": metrics.log_loss(a > p, above),
    }
    for percent, (low, high) in metrics.LEVELS.items():
        expected[f"coverage_{percent}"] = metrics.coverage(a, rows[low], rows[high])
        expected[f"width_{percent}"] = metrics.width(rows[low], rows[high])
        expected[f"winkler_{percent}"] = metrics.winkler(a, rows[low], rows[high], percent / 100)
    expected |= {f"pinball_{name}": metrics.pinball(a, rows[name], level) for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)}
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert set(scores) == {*expected, *(f"skill_{name}" for name in ERRORS)}


def test_an_undefined_score_of_one_group_leaves_the_others(table):
    none = table.copy()
    none.loc[none[TICKER] == "AAA", "actual"] = 0.0
    groups = score_groups(none, scales_of(panel()), "ticker")
    assert groups["AAA"]["ewma"]["mape"] is None
    assert groups["BBB"] == score_groups(table, scales_of(panel()), "ticker")["BBB"]


def test_metrics_json_holds_no_crowd_and_scores_csv_all(table):
    groups = score_groups(table, scales_of(panel()), "ticker")
    crowd = {f"T{k}": groups["AAA"] for k in range(MOST_GROUPS)}
    few = {"n": 3, "models": groups["AAA"], "steps": {"1": groups["AAA"], "2": groups["BBB"]}, "tickers": groups}
    assert without_crowds(few) == few
    assert without_crowds({**few, "tickers": crowd}) == {name: value for name, value in few.items() if name != "tickers"}
    written = score_rows({**few, "tickers": crowd})
    assert written.groupby("by", sort=False)["group"].nunique().to_dict() == {"all": 1, "step": 2, "ticker": MOST_GROUPS}
    (row,) = written[(written["by"] == "step") & (written["group"] == "2") & (written["model"] == "ewma")].to_dict("records")
    assert row["crps"] == groups["BBB"]["ewma"]["crps"]


def test_the_largest_metrics_json_can_be_read_back(table):
    scores = {f"m{k}": score_table(table, scales_of(panel()))["ewma"] for k in range(10)}
    document = {"test": {"models": scores, "tickers": {f"TICKER{k}": scores for k in range(MOST_GROUPS)}}}
    assert len(to_json(document)) < LARGEST[".json"]
    parse_json(to_json(document), Path("metrics.json"))


def test_extremes_name_the_best_and_the_worst_and_count_the_rest():
    tickers = {f"T{k:02}": {"gru": {"skill_crps": (k - 10) / 100}} for k in range(30)} | {"FLAT": {"gru": {"skill_crps": None}}}
    found = extremes(tickers, "gru")
    assert (found["tickers"], found["above_0"]) == (30, 19)
    assert found["median"] == pytest.approx(0.045)
    assert list(found["best"]) == ["T29", "T28", "T27", "T26", "T25"]
    assert list(found["worst"]) == ["T00", "T01", "T02", "T03", "T04"]
    two = extremes({name: tickers[name] for name in ("T01", "T20")}, "gru")
    assert (list(two["best"]), list(two["worst"])) == (["T20"], ["T01"])
