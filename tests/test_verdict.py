"""The verdict claims what the tests show and no more; each alarm rings on its planted fault and on nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from factories import cutoffs, garch_path, garch_returns, history, panel, price_table, random_walk, spans_of
from scipy.stats import t

from stockrnn.evaluation.verdict import alarms, verdict
from stockrnn.models.baselines import BASELINES
from stockrnn.models.forecaster import Forecast, forecast_table
from stockrnn.types import CLOSE, QUANTILE_COLUMNS

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the prices of a ticker and its cutoff rows to a forecast price of each."""


def table_of(
    prices: pd.DataFrame, network: Forecast | None = None, horizon: int = 1, names: tuple[str, ...] = ("naive", "ewma")
) -> pd.DataFrame:
    """The forecast table of the baselines, and of a network where one is given."""
    spans = spans_of(prices)
    rows = cutoffs(prices, spans, horizon)
    made = {name: BASELINES[name](horizon).fit(history(prices, spans), spans).forecast(prices, rows) for name in names}
    if network is not None:
        made["gru"] = network
    return pd.concat([forecast_table(prices, name, forecast) for name, forecast in made.items()], ignore_index=True)


def pointing(prices: pd.DataFrame, change: Change) -> pd.DataFrame:
    """A table whose network's point forecast is `change`; its quantiles are naive's, moved along."""
    spans = spans_of(prices)
    rows = cutoffs(prices, spans, 1)
    naive = BASELINES["naive"](1).fit(history(prices, spans), spans).forecast(prices, rows)
    close = prices[CLOSE].to_numpy()
    point = change(close, rows)[:, None]
    factor = point / close[rows][:, None]
    return table_of(prices, Forecast(rows, point, naive.quantiles * factor[:, :, None]))


def knowing(prices: pd.DataFrame, volatility: np.ndarray, horizon: int = 1) -> pd.DataFrame:
    """A table whose network knows the true volatility of every session of a Student-t(6) GARCH path."""
    rows = cutoffs(prices, spans_of(prices), 1)
    shocks = t.ppf(np.arange(1, 20) / 20, 6) * np.sqrt(4 / 6)
    last = prices[CLOSE].to_numpy()[rows]
    quantiles = last[:, None] * np.exp(volatility[rows + 1][:, None] * shocks)
    return table_of(prices, Forecast(rows, last[:, None] * 1.0001, quantiles[:, None, :]), horizon, ("naive", "ewma", "rolling"))


def noise(seed: int, size: float) -> Change:
    return lambda close, rows: close[rows] * (1 + size * np.random.default_rng(seed).standard_normal(len(rows)))


def tomorrow(share: float) -> Change:
    return lambda close, rows: close[rows] + share * (close[rows + 1] - close[rows])


def yesterday(close: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return close[rows - 1]


def momentum(close: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return 2 * close[rows] - close[rows - 1]


def smoothed(close: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (close[rows] + close[rows - 1] + close[rows - 2]) / 3


def test_a_forecast_that_knows_nothing_is_no_better_than_yesterdays_close():
    sentences = verdict(pointing(random_walk(2000), noise(0, 0.001)), "gru")
    assert re.fullmatch(
        r"Point forecast: no better than yesterday's close \(MAE (\d+\.\d|under 0\.1) % (higher|lower), p = [01]\.\d+\)\.", sentences[0]
    )


def test_the_last_price_itself_is_called_the_same():
    assert (
        verdict(pointing(random_walk(2000), lambda close, rows: close[rows]), "gru")[0] == "Point forecast: the same as yesterday's close."
    )


def test_a_clear_gain_is_claimed_with_its_size_and_p():
    sentences = verdict(pointing(random_walk(2000), tomorrow(0.2)), "gru")
    assert sentences[0] == "Point forecast: better than yesterday's close (MAE 20.0 % lower, p < 0.001)."


def test_a_clear_loss_is_said():
    assert "worse than yesterday's close" in verdict(pointing(random_walk(2000), noise(0, 0.02)), "gru")[0]


def test_true_volatility_is_sharper_than_the_volatility_models_and_its_coverage_stands():
    returns, volatility = garch_returns(6000, 3)
    sentences = verdict(knowing(price_table(returns, volatility, 3, "TRUE", 100.0), volatility), "gru")
    assert [s.split(" (")[0] for s in sentences[1:4]] == [f"Distribution: sharper than {name}" for name in ("naive", "ewma", "rolling")]
    assert "not shown to differ from 90 %" in sentences[-1]


@pytest.mark.parametrize(("factor", "word"), [(0.5, "too narrow"), (3.0, "too wide")])
def test_intervals_of_the_wrong_width_are_said_to_be(factor, word):
    table = pointing(random_walk(2000), noise(0, 0.001))
    gru = table["model"] == "gru"
    centre = table.loc[gru, ["q50"]].to_numpy()
    table.loc[gru, list(QUANTILE_COLUMNS)] = centre + factor * (table.loc[gru, list(QUANTILE_COLUMNS)].to_numpy() - centre)
    assert word in verdict(table, "gru")[-1]


def test_coverage_of_everything_is_too_wide():
    table = pointing(random_walk(2000), noise(0, 0.001))
    table.loc[table["model"] == "gru", "q05"] = 0.0
    table.loc[table["model"] == "gru", "q95"] = 1e9
    assert verdict(table, "gru")[-1] == "90 % interval: it held 100.0 % of the actual prices, too wide (p < 0.001)."
    few = table[table["cutoff"].isin(sorted(table["cutoff"].unique())[:25])]
    assert float(re.search(r"p = (\S+)\)", verdict(few, "gru")[-1])[1]) > 0.02  # Kupiec's for 0 of 25, before Holm


def test_a_distribution_that_is_worse_is_said_to_be():
    table = pointing(random_walk(2000), noise(0, 0.02))
    assert [s.split(" (")[0] for s in verdict(table, "gru")[1:3]] == ["Distribution: worse than naive", "Distribution: worse than ewma"]


def test_too_few_sessions_get_no_verdict():
    table = pointing(random_walk(400), noise(0, 0.001))
    early = table[table["cutoff"].isin(sorted(table["cutoff"].unique())[:19])]
    assert verdict(early, "gru") == ["No verdict: 19 scored sessions are too few for any claim; at least 20 are needed."]


def test_dates_that_all_overlap_get_no_verdict_not_the_word_that_all_is_the_same():
    prices = random_walk(600)
    rows = cutoffs(prices, spans_of(prices), 30)[:30]
    naive = BASELINES["naive"](30).fit(history(prices, spans_of(prices)), spans_of(prices)).forecast(prices, rows)
    forecasts = {"naive": naive, "gru": Forecast(rows, naive.point * 1.01, naive.quantiles * 1.01)}
    table = pd.concat([forecast_table(prices, name, forecast) for name, forecast in forecasts.items()], ignore_index=True)
    assert verdict(table, "gru") == ["No verdict: 30 scored sessions are too few for any claim; at least 31 are needed."]


@pytest.mark.parametrize(("late", "p"), [(0.0, "1.00"), (0.01, "0.0")])
def test_a_price_that_stood_still_is_not_called_the_same_as_a_forecast_that_it_moves(late, p):
    table = pointing(random_walk(600), lambda close, rows: close[rows])
    gru = table["model"] == "gru"
    table["actual"] = table.loc[~gru, "forecast"] = 100.0
    table.loc[gru, "forecast"] = 101.0 + late * np.arange(gru.sum())
    sentence = verdict(table, "gru")[0]
    assert re.match(rf"Point forecast: (no better|worse) than yesterday's close \(MAE above its 0, p [=<] {p}", sentence)


def test_several_steps_are_compared_with_the_last_close():
    prices = panel()
    rows = cutoffs(prices, spans_of(prices), 3)
    ewma = BASELINES["ewma"](3).fit(history(prices, spans_of(prices)), spans_of(prices)).forecast(prices, rows)
    sentences = verdict(table_of(prices, Forecast(rows, ewma.point * 1.001, ewma.quantiles * 1.001), 3), "gru")
    assert "the last close" in sentences[0]
    assert len(sentences) == 4


@pytest.mark.parametrize(
    ("step", "column", "words"), [("1h", "close", "the last close"), ("7D", "close", "the last close"), ("1D", "open", "yesterday's open")]
)
def test_the_point_forecast_is_held_against_the_price_that_naive_repeats(step, column, words):
    table = pointing(random_walk(1000), noise(0, 0.001))
    dates = np.sort(table["cutoff"].unique())
    moved = dict(zip(dates, pd.date_range("2020-01-01", periods=len(dates), freq=step), strict=True))
    sentence = verdict(table.assign(cutoff=table["cutoff"].map(moved)), "gru", column=column)[0]
    assert re.match(rf"Point forecast: (no better|worse) than {words} \(", sentence)


def test_a_handful_of_sessions_is_not_too_good():
    table = pointing(random_walk(400), tomorrow(0.5))
    early = table[table["cutoff"].isin(sorted(table["cutoff"].unique())[:19])]
    assert [sentence.split(":")[0] for sentence in alarms(early, "gru")] == ["Few test sessions"]


def test_a_network_may_be_judged_without_volatility_models():
    table = pointing(random_walk(1000), noise(0, 0.001))
    sentences = verdict(table[table["model"] != "ewma"], "gru")
    assert [s.split(":")[0] for s in sentences] == ["Point forecast", "Distribution", "90 % interval"]


@pytest.mark.parametrize("change", [noise(0, 0.003), tomorrow(0.5), yesterday])
def test_a_curve_late_by_a_session_is_no_news_of_a_verdict(change):
    """Every forecast near the last price trails it by a session; what is wrong is for the alarms to say."""
    assert "trails" not in " ".join(verdict(pointing(random_walk(2000), change), "gru"))


def test_a_level_network_that_repeats_the_last_price_is_a_shifted_copy():
    table = pointing(random_walk(1500), noise(0, 0.002))
    assert alarms(table, "gru") == []
    (sentence,) = alarms(table, "gru", {"WALK": (0.0, 1e9)})
    assert sentence.startswith("Shifted copy: the forecast repeats the last price")
    assert alarms(pointing(random_walk(1500), noise(0, 0.02)), "gru", {"WALK": (0.0, 1e9)}) == []


def test_the_verdict_claims_no_point_skill_on_random_walks_beyond_the_nominal_rate():
    claims = sum(": better than" in verdict(pointing(random_walk(800, seed), noise(seed, 0.002)), "gru")[0] for seed in range(40))
    assert claims <= 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [random_walk, garch_path])
def test_alarms_are_silent_on_an_honest_forecast(make, seed):
    prices = make(1500, seed)
    assert alarms(pointing(prices, noise(seed, 0.001)), "gru") == []


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        (yesterday, "Shifted copy"),
        (momentum, "Shifted copy"),
        (smoothed, "Shifted copy"),
        (lambda close, rows: close[rows], "Shifted copy"),
        (tomorrow(0.3), "Too good"),
        (lambda _, rows: np.full(len(rows), 95.0), "Collapsed"),
        (lambda close, rows: 1.001 * close[rows], "Collapsed"),
    ],
)
def test_a_planted_fault_rings_its_alarm_alone(change, alarm):
    found = alarms(pointing(random_walk(1500), change), "gru")
    assert [sentence.split(":")[0] for sentence in found] == [alarm]


def test_a_copy_is_named_with_its_correlations_and_its_ratio_to_the_last_price():
    prices = random_walk(1500)
    (sentence,) = alarms(pointing(prices, yesterday), "gru")
    close, rows = prices[CLOSE].to_numpy(), cutoffs(prices, spans_of(prices), 1)
    error, moved = close[rows + 1] / close[rows] - close[rows - 1] / close[rows], close[rows + 1] / close[rows] - 1
    assert sentence.endswith(f"its RMSE is {np.sqrt(np.mean(error**2) / np.mean(moved**2)):.2f} times that of the last price.")
    assert "correlation -1.00" in sentence


def test_one_price_for_every_session_of_one_ticker_of_a_panel_is_a_collapse():
    prices = panel(1500)

    def stuck(close: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.where(prices["ticker"].to_numpy()[rows] == "BBB", 7.0, noise(0, 0.001)(close, rows))

    assert "Collapsed: the network forecasts one price for every session." in alarms(pointing(prices, stuck), "gru")


def test_alarms_stand_a_price_that_never_moves():
    prices = random_walk(400)
    prices[CLOSE] = 10.0
    assert not any("Too good" in s or "Shifted" in s for s in alarms(pointing(prices, noise(0, 0.001)), "gru"))


def test_a_panel_rings_too():
    prices = panel(1500)
    assert any("Shifted copy" in s for s in alarms(pointing(prices, yesterday), "gru"))
    assert alarms(pointing(prices, noise(0, 0.001)), "gru") == []


def test_few_test_sessions_are_named():
    table = pointing(random_walk(1500), noise(0, 0.001))
    early = table[table["cutoff"].isin(sorted(table["cutoff"].unique())[:59])]
    assert alarms(early, "gru") == ["Few test sessions: 59 are scored; below 60 luck outweighs skill."]


def test_prices_beyond_the_training_range_are_named_with_their_share():
    table = pointing(random_walk(1500), noise(0, 0.001))
    median = float(table.loc[table["model"] == "naive", "actual"].median())
    *_, found = alarms(table, "gru", {"WALK": (0.0, median)})
    assert found.startswith("Range left: 50 % of the scored prices")
