"""The words that all stages share: column names of the two tables, and array shapes.

Price table: `ticker, date, open, high, low, close, volume, filled`, one row a session, sorted by ticker and date, unique,
index 0 … rows-1; prices and volume float64 (NaN where the file has none, never in close), `filled` true where the close
was put in by the missing-value policy, or the price that is forecast is unknown: such a row is never a cutoff and never an actual.
Beside them, as float64, the user's own columns that the config names, each under `own(name)`.
Forecast table: `ticker, cutoff, step, date, model, actual, forecast, q05 … q95`, one row a model, cutoff and step.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

TICKER, DATE = "ticker", "date"
OPEN, HIGH, LOW, CLOSE, VOLUME = "open", "high", "low", "close", "volume"
PRICES = (OPEN, HIGH, LOW, CLOSE)
FILLED = "filled"
PRICE_TABLE = (TICKER, DATE, *PRICES, VOLUME, FILLED)


AHEAD = "ahead"
"""What a network is given of the steps ahead; `TICKER` also names what it is given of the ticker."""
STEPS = ("daily", "weekly", "monthly", "intraday", "none")
"""What the rows of a price file may be apart; `none` where it has no dates, and its rows count as days from 1970-01-01 on."""
DAILY, WEEKLY, MONTHLY, INTRADAY, UNDATED = STEPS
OWN = "own "
"""How the price table's columns of the user's own begin: no word of ours can be one."""


def own(name: str) -> str:
    """The price table's column of one that the user names."""
    return OWN + name


QUANTILES = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""The quantile levels every forecaster gives: 0.05, 0.10 … 0.95."""
QUANTILE_COLUMNS = tuple(f"q{round(100 * q):02d}" for q in QUANTILES)
FORECAST_TABLE = (TICKER, "cutoff", "step", DATE, "model", "actual", "forecast", *QUANTILE_COLUMNS)

if TYPE_CHECKING or "jaxtyping" in sys.modules:  # the tests, which check shapes, have loaded it; no command waits for it
    from jaxtyping import Float, Float32, Int

    SeriesArray = Float32[np.ndarray, "rows features"]
    TargetArray = Float32[np.ndarray, "rows horizon"]
    WindowArray = Float32[np.ndarray, "batch timesteps features"]
    LabelArray = Float32[np.ndarray, "batch horizon"]
    RowIndex = Int[np.ndarray, " batch"]
    PriceArray = Float[np.ndarray, "batch horizon"]
    QuantileArray = Float[np.ndarray, "batch horizon quantiles"]
else:
    SeriesArray = TargetArray = WindowArray = LabelArray = RowIndex = PriceArray = QuantileArray = np.ndarray
