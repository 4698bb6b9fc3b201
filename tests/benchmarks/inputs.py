"""The same inputs for all: a price file as the table of scaled columns that our networks see, and the way back to prices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.features.indicators import make_features
from stockrnn.features.pipeline import Pipeline, fit_pipeline
from stockrnn.features.splits import Spans, split_time
from stockrnn.prices.loading import load_prices
from stockrnn.types import CLOSE, DATE, FORECAST_TABLE, QUANTILE_COLUMNS, TICKER

LOG_RETURN = "log_return"


@dataclass(frozen=True)
class Inputs:
    """A series as peers take it.

    Attributes:
        table: a row a session: `t` 0, 1, …; `y`, the scaled log return; the other indicators, scaled; `span` 0 train,
            1 validation, 2 calibration, 3 test.
        rows: row of each in the price table.
        prices: the price table.
        spans: of the config's `split`.
        pipeline: the fitted one that scaled.
    """

    table: pd.DataFrame
    rows: np.ndarray
    prices: pd.DataFrame
    spans: Spans
    pipeline: Pipeline

    def write(self, path: Path) -> Path:
        """The table as CSV."""
        self.table.to_csv(path, index=False, float_format="%.9g")
        return path

    def forecast_table(self, model: str, quantiles: pd.DataFrame) -> pd.DataFrame:
        """One-step forecasts as the forecast table.

        Args:
            model: its name.
            quantiles: columns `t`, the session that is forecast, and q05 … q95 of its scaled log return.
        """
        there = np.searchsorted(self.table["t"].to_numpy(), quantiles["t"].to_numpy())
        row, cutoff = self.rows[there], self.rows[there - 1]
        scaled = np.sort(quantiles[list(QUANTILE_COLUMNS)].to_numpy(), axis=1)  # crossing quantiles are put in order
        returns = self.pipeline.target[self.prices[TICKER][0]].inverse(scaled[..., None])[..., 0]
        close = self.prices[CLOSE].to_numpy()
        levels = close[cutoff][:, None] * np.exp(returns)
        dates = self.prices[DATE].to_numpy()
        made = pd.DataFrame(levels, columns=list(QUANTILE_COLUMNS)).assign(
            ticker=self.prices[TICKER].to_numpy()[row], cutoff=dates[cutoff], step=1, date=dates[row], model=model, actual=close[row]
        )
        return made.assign(forecast=made[f"q{50:02d}"])[list(FORECAST_TABLE)]


def inputs_of(config: Config) -> Inputs:
    """The inputs of one series, scaled by its training span as a config without an anchor says."""
    plain = config.model_copy(update={"model": config.model.model_copy(update={"anchor": "none"})})
    prices = load_prices(config.data).table
    split = config.split
    spans = split_time(prices[DATE], split.validation, split.calibration, split.test)
    pipeline = fit_pipeline(prices, spans, plain)
    prepared = pipeline.prepare(prices)
    cleaned = prepared.cleaned.reset_index(drop=True)
    changes = np.log(cleaned[CLOSE]).diff().to_numpy()
    y = pipeline.target[cleaned[TICKER][0]].transform(changes[:, None])[:, 0]
    columns = {name: prepared.windows.series[:, k] for k, name in enumerate(pipeline.names) if name != LOG_RETURN}
    table = pd.DataFrame({"y": y, **columns, "span": spans.numbers(cleaned[DATE])})
    whole = np.isfinite(y) & np.isfinite(make_features(cleaned, pipeline.names)).all(axis=1)
    first = int(np.argmax(whole))
    table = table.iloc[first:].reset_index(drop=True)
    return Inputs(table.rename_axis("t").reset_index(), prepared.cleaned.index.to_numpy()[first:], prices, spans, pipeline)
