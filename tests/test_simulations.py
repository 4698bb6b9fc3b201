"""Worlds whose truth is known: what must not be found is not found, and what can be known is nearly reached."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from factories import cutoffs, garch_returns, history, price_table, random_walk, spans_of
from scipy.stats import norm, t

from stockrnn.evaluation.metrics import crps_rows
from stockrnn.evaluation.significance import diebold_mariano, losses_by_date
from stockrnn.evaluation.verdict import alarms, verdict
from stockrnn.models.baselines import BASELINES
from stockrnn.models.forecaster import forecast_table
from stockrnn.types import CLOSE, QUANTILES

pytestmark = pytest.mark.slow
ROWS, WORLDS = 3000, range(20)
LEVELS = np.array(QUANTILES)
NAMES = ("naive", "drift", "moving_average", "ewma", "garch", "har")


def forecasts_of(prices: pd.DataFrame) -> pd.DataFrame:
    spans = spans_of(prices)
    rows = cutoffs(prices, spans, 1)
    past = history(prices, spans)
    return pd.concat(forecast_table(prices, name, BASELINES[name](1).fit(past, spans).forecast(prices, rows)) for name in NAMES)


def true_crps(prices: pd.DataFrame, volatility: np.ndarray, shocks: np.ndarray) -> float:
    rows = cutoffs(prices, spans_of(prices), 1)
    close = prices[CLOSE].to_numpy()
    return float(crps_rows(close[rows + 1], close[rows, None] * np.exp(volatility[rows + 1, None] * shocks)).mean())


@pytest.fixture(scope="module")
def walks() -> list[pd.DataFrame]:
    return [forecasts_of(random_walk(ROWS, seed)) for seed in WORLDS]


def test_on_random_walks_no_baseline_has_point_skill_beyond_the_nominal_rate(walks):
    for name in ("drift", "moving_average"):
        found = 0
        for table in walks:
            losses = losses_by_date(table, "absolute")
            found += diebold_mariano(losses[name], losses["naive"]).p_less < 0.05
        assert found <= 3  # 20 draws at 5 %: more than 3 has probability 1.6 %


def test_on_random_walks_verdicts_claim_no_sharper_distribution_than_naive_and_no_alarm_rings(walks):
    claims = sum("sharper than naive" in " ".join(verdict(table, name)) for table in walks for name in ("ewma", "garch", "har"))
    assert claims <= 3
    for table in walks:
        moved = table.copy()
        network = moved["model"] == "drift"
        moved.loc[network, "forecast"] *= 1 + 0.0005 * np.random.default_rng(0).standard_normal(network.sum())
        assert alarms(moved, "drift") == []


def test_on_random_walks_naive_comes_within_one_percent_of_the_true_distribution(walks):
    ratios = []
    for seed, table in zip(WORLDS, walks, strict=True):
        prices = random_walk(ROWS, seed)
        truth = true_crps(prices, np.full(ROWS, 0.01), norm.ppf(LEVELS))
        ratios.append(losses_of(table, "naive") / truth)
    assert np.mean(ratios) < 1.01


@pytest.mark.parametrize(("name", "least", "most"), [("garch", 0.995, 1.02), ("ewma", 1.0, 1.03), ("naive", 1.01, 1.2)])
def test_on_garch_paths_crps_stands_where_the_model_deserves(name, least, most):
    ratios = []
    for seed in WORLDS:
        returns, volatility = garch_returns(ROWS, seed)
        prices = price_table(returns, volatility, seed, "TRUE", 100.0)
        spans = spans_of(prices)
        rows = cutoffs(prices, spans, 1)
        table = forecast_table(prices, name, BASELINES[name](1).fit(history(prices, spans), spans).forecast(prices, rows))
        ratios.append(losses_of(table, name) / true_crps(prices, volatility, t.ppf(LEVELS, 6) * np.sqrt(4 / 6)))
    assert least < np.mean(ratios) < most


def losses_of(table: pd.DataFrame, name: str) -> float:
    rows = table[table["model"] == name]
    return float(crps_rows(rows["actual"].to_numpy(), rows[[c for c in rows if c.startswith("q")]].to_numpy()).mean())
