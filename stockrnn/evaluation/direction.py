"""How good P(up) is: scores of the direction of every model, beside the base rate of up moves in the training span.

P(up) is read from the forecast table like everything else, by `metrics.probability_above`, so it lies within 0.05 … 0.95.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stockrnn.evaluation.metrics import Scores, brier, by_model, log_loss, log_loss_rows, probability_above, skill
from stockrnn.types import DATE, FILLED, QUANTILE_COLUMNS, TICKER

BASE_RATE = "base rate"
Rates = Mapping[str, tuple[float, ...]]
"""P(up) of each step, for each ticker."""


def base_rates(prices: pd.DataFrame, train_end: pd.Timestamp, column: str, horizon: int) -> dict[str, tuple[float, ...]]:
    """The share of up moves over 1 … horizon sessions in each ticker's training span: what knowing nothing of today says.

    By Laplace's rule of succession, (ups + 1) / (moves + 2), so that no outcome is called impossible; a ticker that was listed
    later has a coin's. A move is up where the price is above that at its cutoff; both lie in the training span and were observed.

    Args:
        prices: the price table.
        train_end: last date of the training span.
        column: the price that is forecast.
        horizon: steps ahead.
    """
    rates = {}
    for ticker, rows in prices.groupby(TICKER, sort=False):
        seen = rows[rows[DATE] <= train_end]
        price = seen[column].where(~seen[FILLED].astype(bool)).to_numpy(float)
        moves = [price[step:] - price[:-step] for step in range(1, horizon + 1)]
        known = [move[np.isfinite(move)] for move in moves]
        rates[str(ticker)] = tuple(float((np.sum(move > 0) + 1) / (len(move) + 2)) for move in known)
    return rates


def direction_table(forecasts: pd.DataFrame, rates: Rates) -> dict[str, Scores]:
    """Brier score and log loss of every model's P(up), over all rows that have an actual.

    Args:
        forecasts: the forecast table, with `naive`.
        rates: from `base_rates`.

    Returns:
        `{model: {"brier": …, "log_loss": …, "skill_brier": …, "skill_log_loss": …}}`; skills are against the base rate,
        which stands in the table as `base rate`, and whose own are 0.
    """
    rows, up = _probabilities(forecasts, rates)
    scores: dict[str, Scores] = {
        str(name): {"brier": brier(up, rows[name].to_numpy()), "log_loss": log_loss(up, rows[name].to_numpy())} for name in rows
    }
    reference = scores[BASE_RATE]
    for each in scores.values():
        each["skill_brier"] = skill(each["brier"], reference["brier"])
        each["skill_log_loss"] = skill(each["log_loss"], reference["log_loss"])
    return scores


def direction_losses(forecasts: pd.DataFrame, rates: Rates) -> pd.DataFrame:
    """The log loss of every model and of `base rate`, summed per cutoff date: index cutoff, increasing; a column a model."""
    rows, up = _probabilities(forecasts, rates)
    cutoffs = next(iter(by_model(forecasts).values()))["cutoff"].to_numpy()
    losses = pd.DataFrame({name: log_loss_rows(up, rows[name].to_numpy()) for name in rows})
    return losses.groupby(cutoffs).sum()


def _probabilities(forecasts: pd.DataFrame, rates: Rates) -> tuple[pd.DataFrame, np.ndarray]:
    """P(up) of every known row, a column a model, the base rate's last; and whether the price went up."""
    tables = by_model(forecasts)
    said = {name: probability_above(rows[list(QUANTILE_COLUMNS)].to_numpy(float), rows["last"]) for name, rows in tables.items()}
    one = next(iter(tables.values()))
    said[BASE_RATE] = np.array([rates[ticker][step - 1] for ticker, step in zip(one[TICKER].astype(str), one["step"], strict=True)])
    return pd.DataFrame(said), (one["actual"] > one["last"]).to_numpy(float)
