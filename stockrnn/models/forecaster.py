"""The one contract: what every forecaster, network or baseline, promises.

A forecaster learns from a price table that ends at or before the last calibration date, and then forecasts from any
cutoff row of a longer table, using the rows up to that cutoff only. Prices are in the file's currency.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.features.splits import Spans
from stockrnn.types import CLOSE, DATE, QUANTILE_COLUMNS, TICKER, PriceArray, QuantileArray, RowIndex


@dataclass(frozen=True)
class Forecast:
    """Forecasts from n cutoffs.

    Attributes:
        rows: row of each cutoff in the price table, shape (n,).
        point: forecast price of step 1 … horizon, shape (n, horizon), in currency.
        quantiles: q05 … q95, non-decreasing, shape (n, horizon, 19), in currency.
    """

    rows: RowIndex
    point: PriceArray
    quantiles: QuantileArray


class Forecaster(abc.ABC):
    """Fit once on history, then forecast from any cutoff.

    `column` is the price that is forecast, `close` by default; `on_epoch` is told of each epoch, by those who learn in epochs.
    The constructor stores; `fit` learns and returns self.
    `fit` sees rows up to `spans.calibration_end` only: the caller cuts the table there. `forecast`
    uses, for each cutoff, that row and the rows of the same ticker before it.
    """

    name: str
    horizon: int
    column: str
    on_epoch: Callable[[Any], None] | None = None

    @abc.abstractmethod
    def fit(self, prices: pd.DataFrame, spans: Spans) -> Forecaster:
        """Learn from a price table (sorted by ticker and date, index 0 … rows-1)."""

    @abc.abstractmethod
    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast the `horizon` sessions after each cutoff row. Raises NotFittedError before `fit`."""


def forecast_table(prices: pd.DataFrame, name: str, forecast: Forecast, column: str = CLOSE) -> pd.DataFrame:
    """The long forecast table of one model; dates and actuals come from the price table, missing beyond its end.

    Returns:
        Columns `types.FORECAST_TABLE`, sorted by ticker, cutoff and step.
    """
    n, horizon = forecast.point.shape
    rows = np.repeat(forecast.rows, horizon)
    steps = np.tile(np.arange(1, horizon + 1), n)
    ticker = prices[TICKER].to_numpy()
    ahead = np.minimum(rows + steps, len(prices) - 1)
    inside = (rows + steps < len(prices)) & (ticker[ahead] == ticker[rows])
    dates = prices[DATE].to_numpy()
    quantiles = forecast.quantiles.reshape(n * horizon, -1)
    table = pd.DataFrame(
        {
            TICKER: ticker[rows],
            "cutoff": dates[rows],
            "step": steps,
            DATE: np.where(inside, dates[ahead], np.datetime64("NaT")),
            "model": name,
            "actual": np.where(inside, prices[column].to_numpy()[ahead], np.nan),
            "forecast": forecast.point.reshape(-1),
            **dict(zip(QUANTILE_COLUMNS, quantiles.T, strict=True)),
        }
    )
    return table.sort_values([TICKER, "cutoff", "step"], ignore_index=True)
