"""What the baselines share: the observed sessions of each ticker, and one learned rule a ticker.

A rule forecasts log changes from the cutoff's price, so that scaling a series scales its forecasts. Rows marked
`filled`, and rows without a price, are no observations: neither learning nor a forecast looks at them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from stockrnn.errors import DataError, NotFittedError
from stockrnn.features.splits import Spans
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.types import CLOSE, DATE, FILLED, HIGH, LOW, QUANTILES, TICKER, RowIndex

LEAST_CHANGES = 10
"""Fewest changes a baseline learns from."""
TINY = 1e-12
"""Least volatility a change is divided by: a constant series has none."""


class BaselineWarning(UserWarning):
    """A baseline could not be fitted as described; the message says what stands in its place."""


@dataclass(frozen=True)
class Series:
    """The observed sessions of one ticker.

    Attributes:
        ticker: its name.
        rows: row of each session in the price table, increasing, shape (sessions,).
        price: the forecast price column, in currency, shape (sessions,).
        high: session high, NaN where unknown, shape (sessions,).
        low: session low, NaN where unknown, shape (sessions,).
    """

    ticker: str
    rows: np.ndarray
    price: np.ndarray
    high: np.ndarray
    low: np.ndarray

    def changes(self, step: int) -> np.ndarray:
        """log(p[t+step] / p[t]) of every session t, NaN where the future is unknown, shape (sessions,)."""
        changes = np.full(len(self.price), np.nan)
        changes[:-step] = np.log(self.price[step:] / self.price[:-step])
        return changes

    def returns(self) -> np.ndarray:
        """log(p[t] / p[t-1]) of every session t, 0 for the first, shape (sessions,)."""
        return np.asarray(np.log(self.price / np.concatenate([self.price[:1], self.price[:-1]])))


Changes = tuple[np.ndarray, np.ndarray]
Rule = Callable[[Series, np.ndarray], Changes]
"""From a series and positions in it to log changes: point (n, horizon), and quantiles (n, horizon, 19)."""


class Baseline(Forecaster):
    """What the baselines share: one learned rule a ticker, applied to the observed sessions up to each cutoff."""

    span: ClassVar[str] = "train"
    """The last span it learns from."""

    def __init__(self, horizon: int = 1, column: str = CLOSE) -> None:
        """Forecast `horizon` sessions of the price `column`."""
        self.horizon = horizon
        self.column = column
        self._rules: dict[str, Rule] | None = None

    def fit(self, prices: pd.DataFrame, spans: Spans) -> Baseline:
        """Learn one rule for each ticker with at least horizon + 10 observed sessions up to the end of `span`."""
        past = prices[(prices[DATE] <= dict(spans.ends())[self.span]).to_numpy()]
        enough = (series for series in observed_series(past, self.column) if len(series.price) >= self.horizon + LEAST_CHANGES)
        self._rules = {series.ticker: self._learn(series) for series in enough}
        return self

    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast from cutoff rows, in any order.

        Raises:
            NotFittedError: before `fit`.
            DataError: a cutoff's ticker had too little history to learn from.
        """
        if self._rules is None:
            raise NotFittedError(f"`{self.name}` must be fitted before it forecasts. Received: no `fit` yet. Call `fit` first.")
        point = np.empty((len(rows), self.horizon))
        quantiles = np.empty((len(rows), self.horizon, len(QUANTILES)))
        wanted = pd.Series(rows).groupby(prices[TICKER].to_numpy()[rows], sort=False).indices
        for series in observed_series(prices[prices[TICKER].isin(list(wanted))], self.column):
            mine = wanted[series.ticker]
            at = np.searchsorted(series.rows, rows[mine], side="right") - 1
            if at.size and at.min() < 0:
                raise DataError(f"A cutoff must have a price at or before it. Received: a row of {series.ticker} without one. Start later.")
            change, spread = self._rule_of(series.ticker)(series, at)
            last = series.price[at]
            point[mine] = last[:, None] * np.exp(change)
            quantiles[mine] = np.maximum.accumulate(last[:, None, None] * np.exp(spread), axis=-1)
        return Forecast(rows, point, quantiles)

    @abc.abstractmethod
    def _learn(self, past: Series) -> Rule:
        """The rule learned from one ticker's past."""

    def _rule_of(self, ticker: str) -> Rule:
        rules = self._rules or {}
        if ticker not in rules:
            raise DataError(
                f"`{self.name}` needs {self.horizon + LEAST_CHANGES} observed rows in the {self.span} span. "
                f"Received: fewer for {ticker}. Give more history or leave the ticker out."
            )
        return rules[ticker]

    def _scaled(self, past: Series, volatility: Callable[[Series], np.ndarray]) -> Rule:
        """The rule whose quantiles are a volatility, shape (sessions, horizon), times the past's standardised changes."""
        scale = np.maximum(volatility(past), TINY)
        spread = step_quantiles([past.changes(step) / scale[:, step - 1] for step in self._steps()])

        def rule(series: Series, at: np.ndarray) -> Changes:
            ahead = np.maximum(volatility(series)[at], TINY)
            return np.zeros((len(at), self.horizon)), ahead[:, :, None] * spread

        return rule

    def _steps(self) -> range:
        return range(1, self.horizon + 1)


def observed_series(prices: pd.DataFrame, column: str) -> Iterator[Series]:
    """The observed sessions of each ticker; a table without rows has none."""
    rows = np.flatnonzero(~prices[FILLED].to_numpy(bool) & prices[column].notna().to_numpy())
    numbers, tickers = prices.index.to_numpy(), prices[TICKER].to_numpy()[rows]
    values = {name: prices[name].to_numpy(float) for name in {column, HIGH, LOW}}
    for part in np.split(rows, np.flatnonzero(tickers[1:] != tickers[:-1]) + 1):
        if len(part):
            ticker = str(prices[TICKER].to_numpy()[part[0]])
            yield Series(ticker, numbers[part], values[column][part], values[HIGH][part], values[LOW][part])


def step_quantiles(changes: list[np.ndarray]) -> np.ndarray:
    """q05 … q95 of the known changes of each step, shape (horizon, 19)."""
    return np.stack([np.quantile(change[np.isfinite(change)], QUANTILES) for change in changes])
