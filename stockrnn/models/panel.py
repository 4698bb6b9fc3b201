"""Several tickers, one forecaster each, behind the one contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.engines import ALONE, Engine, Tell
from stockrnn.errors import NotFittedError
from stockrnn.features.splits import Spans
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.prices.tickers import of_ticker, ticker_slices
from stockrnn.types import TICKER, RowIndex


class SeparateForecaster(Forecaster):
    """Hands each ticker's rows to a forecaster of its own; `parts` holds them by ticker."""

    def __init__(
        self,
        make: Callable[[str], Forecaster],
        parts: Mapping[str, Forecaster] | None = None,
        engine: Engine = ALONE,
        on_epoch: Callable[[Any], None] | None = None,
    ) -> None:
        """Store how a ticker's forecaster is made, those that are fitted already, where they are fitted, and whom to tell of epochs."""
        self.make, self.engine, self.on_epoch = make, engine, on_epoch
        self.parts: dict[str, Forecaster] = dict(parts or {})
        part = next(iter(self.parts.values()), None) or make("")
        self.name, self.horizon, self.column = part.name, part.horizon, part.column

    def fit(self, prices: pd.DataFrame, spans: Spans) -> SeparateForecaster:
        """Fit a forecaster on each ticker's rows."""
        tables = {ticker: prices.iloc[mine].reset_index(drop=True) for ticker, mine in ticker_slices(prices[TICKER]).items()}
        units = [(self.make(ticker), table) for ticker, table in tables.items()]
        done: list[int] = []

        def tell(report: Any) -> None:
            if self.on_epoch is not None:
                self.on_epoch(replace(report, parts=len(units), done=len(done)))

        fitted = self.engine.run(_fit_part, spans, units, lambda number, _: done.append(number), tell)
        self.parts = dict(zip(tables, fitted, strict=True))
        return self

    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast each cutoff row by its ticker's forecaster, of one the only one. Raises DataError for a ticker without one."""
        if not self.parts:
            raise NotFittedError(f"{self.name} must be fitted before it forecasts. Received: no fit. Call `fit` first.")
        point, quantiles = np.empty((len(rows), self.horizon)), np.empty((len(rows), self.horizon, 19))
        for ticker, mine in ticker_slices(prices[TICKER]).items():
            chosen = np.flatnonzero((rows >= mine.start) & (rows < mine.stop))
            if len(chosen):
                part = of_ticker(self.parts, ticker).forecast(prices.iloc[mine].reset_index(drop=True), rows[chosen] - mine.start)
                point[chosen], quantiles[chosen] = part.point, part.quantiles
        return Forecast(rows, point, quantiles)


def _fit_part(spans: Spans, unit: tuple[Forecaster, pd.DataFrame], tell: Tell) -> Forecaster:
    """A unit of work: one ticker's forecaster, fitted on its rows."""
    part, prices = unit
    part.on_epoch = tell
    try:
        return part.fit(prices, spans)
    finally:
        part.on_epoch = None
