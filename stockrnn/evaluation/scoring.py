"""Forecasters → one forecast table a span → one document of scores. Every score comes from the forecast table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import TargetConfig
from stockrnn.errors import DataError
from stockrnn.evaluation.direction import BASE_RATE, Rates, base_rates, direction_losses, direction_table
from stockrnn.evaluation.metrics import mase_scales
from stockrnn.evaluation.scores import GROUPS, YEAR, Table, extremes, reasons, score_groups, score_table
from stockrnn.evaluation.significance import significance_document
from stockrnn.evaluation.verdict import alarms, verdict
from stockrnn.features.splits import SPAN_NAMES, Spans, cutoff_rows
from stockrnn.models.forecaster import Forecaster, forecast_table
from stockrnn.prices.steps import told
from stockrnn.types import DATE, TICKER, UNDATED

FORMAT = 1


def history_until(prices: pd.DataFrame, end: pd.Timestamp) -> pd.DataFrame:
    """The rows up to a date, numbered afresh: all that learning gets to see."""
    return prices[prices[DATE] <= end].reset_index(drop=True)


def forecast_span(forecasters: Sequence[Forecaster], prices: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """The forecast table of several forecasters from the same cutoff rows, in the order of the forecasters."""
    return pd.concat(
        [forecast_table(prices, model.name, model.forecast(prices, rows), model.column) for model in forecasters], ignore_index=True
    )


def scored_rows(prices: pd.DataFrame, spans: Spans, span: str, horizon: int, possible: np.ndarray | None = None) -> np.ndarray:
    """Cutoff rows scored in a span, of those a window can end at, all where none are given. Raises DataError where there is none."""
    rows = cutoff_rows(prices, spans, span, horizon)
    rows = rows if possible is None else np.intersect1d(rows, possible)
    if len(rows) == 0:
        sessions = prices[DATE][spans.numbers(prices[DATE]) == SPAN_NAMES.index(span)].nunique()
        raise DataError(
            f"The {span} span must hold a forecast with all its {horizon} steps. Received: none in its {sessions} rows. "
            f"Enlarge `split.{span}`, shorten `window.horizon` or give more history."
        )
    return rows


def score_document(
    network: str,
    prices: pd.DataFrame,
    target: TargetConfig,
    spans: Spans,
    forecasts: pd.DataFrame,
    others: Mapping[str, Any] | None = None,
    seed: int = 0,
    head: str = "",
    step: str = "",
) -> dict[str, Any]:
    """What metrics.json holds.

    Args:
        network: name of the trained model in the forecast table.
        prices: the whole price table.
        target: which price is forecast, and as what.
        spans: where each span ends.
        forecasts: forecast table of the test span.
        others: `score_span` of other spans, whose forecasts are gone by now.
        seed: the bootstrap derives from it.
        head: the network's; the verdict judges the probabilities of a `direction` head as well.
        step: what the rows are apart, by a name in `STEPS`.
    """
    test = score_span(prices, target, spans, forecasts, step)
    test |= _group_scores(forecasts, mase_scales(prices, spans.train_end, target.column), network, step)
    test["undefined"] = reasons(_tables(test))
    directions = direction_losses(forecasts, _rates(prices, target, spans, forecasts)) if head == "direction" else None
    return {
        "format": FORMAT,
        "network": network,
        "test": test,
        **(others or {}),
        "significance": significance_document(forecasts, network, seed),
        "verdict": verdict(forecasts, network, directions, target.column, step),
        "alarms": alarms(forecasts, network, _train_range(prices, target.column, spans) if target.transform == "level" else None, step),
    }


def score_span(prices: pd.DataFrame, target: TargetConfig, spans: Spans, forecasts: pd.DataFrame, step: str = "") -> dict[str, Any]:
    """The scores of every model over the forecast table of a span; arguments as for `score_document`."""
    one = forecasts[forecasts["model"] == forecasts["model"].iloc[0]]
    rates = _rates(prices, target, spans, forecasts)
    directions = direction_table(forecasts, rates)
    scores = score_table(forecasts, mase_scales(prices, spans.train_end, target.column))
    base_rate = directions.pop(BASE_RATE)
    models = {model: each | directions[model] for model, each in scores.items()}
    return {
        "start": told(one[DATE].min(), step),
        "end": told(one[DATE].max(), step),
        "n": len(one),
        "models": models,
        "base_rate": {"learned_on": "training span", "up": dict(rates), **base_rate},
        "undefined": reasons([models]),
    }


def _rates(prices: pd.DataFrame, target: TargetConfig, spans: Spans, forecasts: pd.DataFrame) -> Rates:
    return base_rates(prices, spans.train_end, target.column, int(forecasts["step"].max()))


def _train_range(prices: pd.DataFrame, column: str, spans: Spans) -> dict[str, tuple[float, float]]:
    seen = prices[prices[DATE] <= spans.train_end].groupby(TICKER)[column].agg(["min", "max"])
    return {str(ticker): (float(low), float(high)) for ticker, low, high in seen.itertuples()}


def _group_scores(table: pd.DataFrame, scales: dict[str, float], network: str, step: str) -> dict[str, Any]:
    """The scores of each step, year (of rows that have dates) and ticker, where there are several; of tickers also how skill spreads."""
    grouped = {f"{by}s": score_groups(table, scales, by) for by in GROUPS if by != YEAR or step != UNDATED}
    several: dict[str, Any] = {name: groups for name, groups in grouped.items() if len(groups) > 1}
    if "tickers" in several:
        several["ticker_skill"] = extremes(several["tickers"], network)
    return several


def _tables(scores: dict[str, Any]) -> list[Table]:
    """Every score table of a span."""
    return [scores["models"], *(table for by in GROUPS for table in scores.get(f"{by}s", {}).values())]
