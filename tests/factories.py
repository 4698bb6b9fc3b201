"""Seeded price tables for the tests: random walk, GARCH path, panel, gaps."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd

from stockrnn.features.splits import Spans, split_time
from stockrnn.models.baselines import BASELINES, Statistical
from stockrnn.types import CLOSE, DATE, FILLED, HIGH, LOW, OPEN, PRICE_TABLE, TICKER, VOLUME

HAS_STATSFORECAST = importlib.util.find_spec("statsforecast") is not None
INSTALLED = {name: kind for name, kind in BASELINES.items() if HAS_STATSFORECAST or not issubclass(kind, Statistical)}
"""The baselines whose packages are there."""


def random_walk(rows: int = 400, seed: int = 0, ticker: str = "WALK", volatility: float = 0.01, first: float = 100.0) -> pd.DataFrame:
    """A price table whose log returns are independent and normal."""
    returns = volatility * np.random.default_rng([seed, 1]).standard_normal(rows)
    return price_table(returns, np.full(rows, volatility), seed, ticker, first)


def garch_path(rows: int = 400, seed: int = 0, ticker: str = "GARCH", first: float = 100.0) -> pd.DataFrame:
    """A price table whose log returns follow `garch_returns`."""
    returns, volatility = garch_returns(rows, seed)
    return price_table(returns, volatility, seed, ticker, first)


def garch_returns(rows: int, seed: int, freedom: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """GJR-GARCH(1,1) returns with unit-variance Student-t shocks, and the true volatility of each; about 1 % a session."""
    omega, alpha, gamma, beta = 0.02e-4, 0.03, 0.10, 0.90
    shocks = np.random.default_rng([seed, 2]).standard_t(freedom, rows) * np.sqrt((freedom - 2) / freedom)
    variance, returns = np.empty(rows), np.empty(rows)
    variance[0] = omega / (1 - alpha - gamma / 2 - beta)
    for t in range(rows):
        returns[t] = np.sqrt(variance[t]) * shocks[t]
        if t + 1 < rows:
            variance[t + 1] = omega + (alpha + gamma * (returns[t] < 0)) * returns[t] ** 2 + beta * variance[t]
    return returns, np.sqrt(variance)


def panel(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Two tickers of unlike price and volatility, the second listed a quarter later."""
    first = random_walk(rows, seed, "AAA")
    second = random_walk(rows, seed + 1, "BBB", volatility=0.03, first=7.0).iloc[rows // 4 :]
    return pd.concat([first, second], ignore_index=True)


def gappy(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A random walk in which every 17th close was put in by `ffill`, and no volume is known."""
    table = random_walk(rows, seed, "GAPPY")
    filled = np.arange(rows) % 17 == 16
    table[FILLED] = filled
    table.loc[filled, CLOSE] = table[CLOSE].shift(1)[filled]
    table.loc[filled, [OPEN, HIGH, LOW]] = np.nan
    table[VOLUME] = np.nan
    return table


def near_constant(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A price that hardly ever moves, and then by one part in a million."""
    returns = np.where(np.random.default_rng([seed, 3]).random(rows) < 0.02, 1e-6, 0.0)
    return price_table(returns, np.zeros(rows), seed, "FLAT", 50.0)


def price_table(returns: np.ndarray, volatility: np.ndarray, seed: int, ticker: str, first: float) -> pd.DataFrame:
    """A price table from log returns; open, high, low and volume fit the volatility of each session."""
    rows = len(returns)
    generator = np.random.default_rng([seed, 4])
    close = first * np.exp(np.cumsum(returns))
    opened = np.concatenate([[first], close[:-1]]) * np.exp(0.2 * volatility * generator.standard_normal(rows))
    up, down = np.abs(0.4 * volatility * generator.standard_normal((2, rows)))
    columns = {
        TICKER: ticker,
        DATE: pd.bdate_range("2010-01-04", periods=rows),
        OPEN: opened,
        HIGH: np.maximum(opened, close) * np.exp(up),
        LOW: np.minimum(opened, close) * np.exp(-down),
        CLOSE: close,
        VOLUME: np.round(1e6 * np.exp(0.3 * generator.standard_normal(rows))),
        FILLED: False,
    }
    return pd.DataFrame(columns)[list(PRICE_TABLE)]


def spans_of(prices: pd.DataFrame) -> Spans:
    """The default spans of a table."""
    return split_time(prices[DATE], 0.15, 0.1, 0.15)


def history(prices: pd.DataFrame, spans: Spans) -> pd.DataFrame:
    """The rows `fit` may see."""
    return prices[prices[DATE] <= spans.calibration_end].reset_index(drop=True)


def cutoffs(prices: pd.DataFrame, spans: Spans, horizon: int) -> np.ndarray:
    """Rows from the calibration end on whose `horizon` next rows are of the same ticker, none of them filled in between the two ends."""
    ticker, filled = prices[TICKER].to_numpy(), prices[FILLED].to_numpy(bool)
    rows = np.flatnonzero((prices[DATE] >= spans.calibration_end).to_numpy() & ~filled)
    rows = rows[rows + horizon < len(prices)]
    return rows[ticker[rows + horizon] == ticker[rows]]
