"""Networks in worlds whose truth is known: no skill where there is none, near the truth where there is one, and each alarm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from factories import cutoffs, garch_returns, price_table, random_walk, spans_of
from scipy.stats import t

from stockrnn.configfile import load_config
from stockrnn.evaluation.learning import learn
from stockrnn.evaluation.metrics import crps_rows
from stockrnn.evaluation.significance import diebold_mariano, losses_by_date
from stockrnn.evaluation.verdict import alarms, verdict
from stockrnn.features import pipeline
from stockrnn.types import CLOSE, OPEN, QUANTILE_COLUMNS, QUANTILES

pytestmark = [pytest.mark.slow, pytest.mark.network]
ROWS, WORLDS = 3000, range(20)
RARE = 3
"""Of 20 draws at 5 %, more than 3 come up with probability 1.6 %."""
SMALL = [
    *("model.cell=gru", "model.units=[8]", "window.lookback=10"),
    *("train.epochs=40", "train.batch_size=64", "train.learning_rate=0.003"),
]


def forecasts_of(prices: pd.DataFrame, *overrides: str) -> pd.DataFrame:
    """The forecast table of a small network, learnt from the spans before the test span, and of the baselines."""
    spans = spans_of(prices)
    learned = learn(load_config(None, [*SMALL, *overrides]), prices, spans)
    return learned.forecast(prices, cutoffs(prices, spans, 1))[0]


def crps_of(forecasts: pd.DataFrame, model: str) -> float:
    rows = forecasts[forecasts["model"] == model]
    return float(crps_rows(rows["actual"], rows[list(QUANTILE_COLUMNS)]).mean())


@pytest.fixture(scope="module")
def walks() -> list[pd.DataFrame]:
    return [forecasts_of(random_walk(ROWS, seed)) for seed in WORLDS]


def test_on_random_walks_no_network_has_point_skill_beyond_the_nominal_rate(walks):
    losses = {loss: [losses_by_date(table, loss) for table in walks] for loss in ("absolute", "squared")}
    for tables in losses.values():
        assert sum(diebold_mariano(table["gru"], table["naive"]).p_less < 0.05 for table in tables) <= RARE
    assert sum(": better than" in verdict(table, "gru")[0] for table in walks) <= 1


def test_on_random_walks_no_network_is_called_sharper_and_no_alarm_rings(walks):
    claims = sum("sharper than naive" in " ".join(verdict(table, "gru")) for table in walks)
    assert claims <= RARE
    assert [alarms(table, "gru") for table in walks] == [[]] * len(walks)


@pytest.mark.parametrize(("anchor", "most"), [("none", 1.02), ("ewma", 1.015), ("har", 1.01)])
def test_on_garch_paths_networks_come_near_the_true_distribution_and_claim_no_direction(anchor, most):
    ratios, garch, skilled = [], [], 0
    for seed in WORLDS:
        returns, volatility = garch_returns(ROWS, seed)
        prices = price_table(returns, volatility, seed, "TRUE", 100.0)
        rows, close = cutoffs(prices, spans_of(prices), 1), prices[CLOSE].to_numpy()
        shocks = t.ppf(np.array(QUANTILES), 6) * np.sqrt(4 / 6)
        truth = crps_rows(close[rows + 1], close[rows, None] * np.exp(volatility[rows + 1, None] * shocks)).mean()
        table = forecasts_of(prices, f"model.anchor={anchor}")
        ratios.append(crps_of(table, "gru") / truth)
        garch.append(crps_of(table, "garch") / truth)
        losses = losses_by_date(table, "absolute")
        skilled += diebold_mariano(losses["gru"], losses["naive"]).p_less < 0.05
        assert alarms(table, "gru") == []
    assert max(garch) < 1.02
    assert np.mean(ratios) < most
    assert skilled <= RARE


def test_a_file_whose_open_is_tomorrows_close_rings_too_good():
    prices = random_walk(ROWS)
    prices[OPEN] = prices[CLOSE].shift(-1).fillna(prices[CLOSE])
    (sentence,) = alarms(forecasts_of(prices, "features.indicators=[log_return, overnight]"), "gru")
    assert sentence.startswith("Too good: ")


def test_a_network_taught_the_last_change_rings_shifted_copy(monkeypatch):
    real = pipeline.make_targets

    def late(price: np.ndarray, *rest: object) -> np.ndarray:
        made = real(price, *rest)
        return np.concatenate([np.full_like(made[:1], np.nan), made[:-1]])

    monkeypatch.setattr(pipeline, "make_targets", late)
    (sentence,) = alarms(forecasts_of(random_walk(ROWS)), "gru")
    assert sentence.startswith("Shifted copy: the forecast change follows the last change (correlation 1.00)")


def test_a_level_network_that_learns_to_repeat_the_last_price_rings_shifted_copy():
    prices = random_walk(ROWS)
    overrides = ("target.transform=level", "features.scaler=minmax", "features.columns=[close]", "features.indicators=[]")
    table = forecasts_of(prices, *overrides)
    seen = prices[CLOSE][: cutoffs(prices, spans_of(prices), 1)[0]]
    found = alarms(table, "gru", {"WALK": (float(seen.min()), float(seen.max()))})
    assert any(sentence.startswith("Shifted copy: ") for sentence in found)
