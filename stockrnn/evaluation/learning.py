"""A config and a history → everything learned from it: network, baselines and interval shifts, ready to forecast any cutoff.

`train` does this once, a walk-forward once a fold.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stockrnn.beside import begin
from stockrnn.config import Config
from stockrnn.engines import ALONE
from stockrnn.errors import StockRNNError
from stockrnn.evaluation.conformal import Calibration, calibrate, check_count
from stockrnn.evaluation.metrics import REFERENCE
from stockrnn.evaluation.scoring import forecast_span, history_until, scored_rows
from stockrnn.features.indicators import late_columns
from stockrnn.features.splits import Spans, cutoff_rows
from stockrnn.models.baselines import default_baselines
from stockrnn.models.forecaster import Forecaster
from stockrnn.models.rules import BaselineWarning
from stockrnn.prices.tickers import ticker_slices
from stockrnn.training.context import NO_CONTEXT, TrainingContext
from stockrnn.types import DATE, QUANTILE_COLUMNS, TICKER

if TYPE_CHECKING:  # it loads TensorFlow
    from stockrnn.training.recurrent import RecurrentForecaster

MOST_SENT = 100_000
"""Most rows of a table that is sent to another process to save time: some 25 MB."""
LATE_SHARE = 0.05
"""If more than this share of a ticker's training rows teaches nothing, the user is told."""
FAILURES = (StockRNNError, ArithmeticError, LookupError, RuntimeError, ValueError)
"""What a baseline may raise without stopping the run: no convergence, a missing package, an overflow."""


@dataclass(frozen=True)
class Learned:
    """What one history taught.

    Attributes:
        network: the network's forecaster, one for all tickers or one for each.
        parts: its fitted networks by ticker; one that all tickers share stands under the empty name.
        baselines: the fitted baselines.
        conformal: shifts of the network's quantiles.
        notes: what the baselines said of themselves, such as a fit that did not converge.
    """

    network: Forecaster
    parts: dict[str, RecurrentForecaster]
    baselines: Sequence[Forecaster]
    conformal: Calibration
    notes: tuple[str, ...] = ()

    def forecast(self, prices: pd.DataFrame, rows: np.ndarray) -> tuple[pd.DataFrame, dict[str, str]]:
        """The forecast table of the network, then the baselines, from each cutoff row; and why a baseline is not in it."""
        network = self.conformal.apply(forecast_span([self.network], prices, rows))
        tables, failed = forecast_baselines(self.baselines, prices, rows)
        return pd.concat([network, *tables], ignore_index=True), failed

    def possible_rows(self, prices: pd.DataFrame) -> np.ndarray:
        """Rows of a price table at which a window can end."""
        return np.concatenate([rows[part.fitted.pipeline.prepare(table).rows] for part, rows, table in self.each(prices)])

    def each(self, prices: pd.DataFrame) -> Iterator[tuple[RecurrentForecaster, np.ndarray, pd.DataFrame]]:
        """Each fitted network, the rows of a price table that it looks at, and these as a table, numbered afresh."""
        slices = ticker_slices(prices[TICKER])
        numbers = np.arange(len(prices))
        for ticker, part in self.parts.items():
            rows = slices.get(ticker, slice(0, 0)) if ticker else slice(None)
            yield part, numbers[rows], prices.iloc[rows].reset_index(drop=True) if ticker else prices


def learn(
    config: Config,
    prices: pd.DataFrame,
    spans: Spans,
    context: TrainingContext = NO_CONTEXT,
) -> Learned:
    """Fit everything on the rows up to the last calibration date.

    Args:
        config: the whole config.
        prices: a price table; rows after `spans.calibration_end` are not looked at.
        spans: where each span ends.
        context: where networks are trained.

    Raises:
        DataError: too little history.
        DivergedError: a loss that is not finite.
    """
    history = history_until(prices, spans.calibration_end)
    sent = context.engine if len(history) <= MOST_SENT else ALONE
    others = begin(sent, fit_baselines, default_baselines(config.target.column, config.window.horizon), history, spans)
    learned = learn_network(config, history, spans, context)
    baselines, notes = others()
    return replace(learned, baselines=baselines, notes=(*notes, *learned.notes))


def learn_network(config: Config, history: pd.DataFrame, spans: Spans, context: TrainingContext = NO_CONTEXT) -> Learned:
    """Fit the network and its shifts alone, without baselines; `history` ends with the calibration span. The rest as `learn`."""
    calibrated, point = config.split.calibration > 0, config.model.head == "point"
    if calibrated:  # before a training that would be in vain
        count = len(cutoff_rows(history, spans, "calibration", config.window.horizon))
        check_count(count, instead="choose another `model.head`" if point else "set it to 0")
    from stockrnn.training.recurrent import network_forecaster, parts_of

    network = network_forecaster(config, context).fit(history, spans)
    learned = Learned(network, parts_of(network), (), Calibration.none(network.horizon))
    learned = replace(learned, notes=(*_absent(learned), *_late(learned, history, spans), *_untold(learned, history)))
    if point or not calibrated:  # a point head has its spread from there already
        return learned
    rows = scored_rows(history, spans, "calibration", network.horizon, learned.possible_rows(history))
    return replace(learned, conformal=calibrate(forecast_span([network], history, rows)))


def _absent(learned: Learned) -> tuple[str, ...]:
    """A note on the features that are left out, as a column they need begins late or never."""
    absent = {ticker: part.fitted.pipeline.absent for ticker, part in learned.parts.items() if part.fitted.pipeline.absent}
    names, tickers = sorted({*itertools.chain(*absent.values())}), [ticker for ticker in absent if ticker]
    whose = f" of {_some(tickers)}" if tickers else ""
    return (f"Features left out, as most training rows{whose} lack the columns they need: {', '.join(names)}.",) if names else ()


def _late(learned: Learned, history: pd.DataFrame, spans: Spans) -> tuple[str, ...]:
    """A note where many training rows teach nothing, as a column that features need begins after them."""
    late = []
    for part, _, table in learned.each(history):
        for ticker, rows in ticker_slices(table[TICKER]).items():
            past = table.iloc[rows]
            past = past[past[DATE] <= spans.train_end]
            count, columns = late_columns(past, part.fitted.pipeline.names)
            if count > LATE_SHARE * len(past):
                late.append(f"the first {count} of {len(past)} of {ticker} ({', '.join(columns)})")
    said = f"Training rows before the first value of a column that features need teach nothing: {_some(late)}."
    return (said,) if late else ()


def _untold(learned: Learned, history: pd.DataFrame) -> tuple[str, ...]:
    """A note on sessions that are not learned from, as the file does not tell what is known ahead of them."""
    days = [
        day
        for part, _, table in learned.each(history)
        for ticker, rows in ticker_slices(table[TICKER]).items()
        for day in part.fitted.pipeline.ahead.untold(table.iloc[rows], ticker, part.horizon)
    ]
    days = sorted(set(days))
    said = (
        f"The file has no row for {_some(days)}, planned sessions whose `features.known_ahead` it should tell: no forecast looks past them."
    )
    return (said,) if days else ()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def fit_baselines(models: Sequence[Forecaster], history: pd.DataFrame, spans: Spans) -> tuple[list[Forecaster], list[str]]:
    """The baselines that could be fitted, and notes on any of them, a sentence each. Raises as `fit_baseline`."""
    tried = [(model.name, *fit_baseline(model, history, spans)) for model in models]
    notes = [said if fitted is not None else f"{name}: {said}" for name, fitted, said in tried if said]
    return [fitted for _, fitted, _ in tried if fitted is not None], notes


def fit_baseline(model: Forecaster, history: pd.DataFrame, spans: Spans) -> tuple[Forecaster | None, str]:
    """The fitted baseline, or None if it failed, and its warnings or its error. An error of `naive`, which all scores need, is raised."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(history, spans)
        except FAILURES as error:
            if model.name == REFERENCE:
                raise
            return None, str(error)
    return model, " ".join(sorted({str(each.message) for each in caught if issubclass(each.category, BaselineWarning)}))


def forecast_baselines(models: Sequence[Forecaster], prices: pd.DataFrame, rows: np.ndarray) -> tuple[list[pd.DataFrame], dict[str, str]]:
    """The forecast tables of baselines from the same cutoff rows, and why one is missing, by name. An error of `naive` is raised."""
    tables, failed = [], {}
    for model in models:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                table = forecast_span([model], prices, rows)
        except FAILURES as error:
            if model.name == REFERENCE:
                raise
            failed[model.name] = str(error)
            continue
        if np.isfinite(table[["forecast", *QUANTILE_COLUMNS]].to_numpy(float)).all():
            tables.append(table)
        else:
            failed[model.name] = "its forecasts are not all finite."
    return tables, failed


def table_of(prices: pd.DataFrame, ticker: str) -> pd.DataFrame:
    """The price table a part of this name looks at, numbered afresh: its ticker's rows, or all under the empty name."""
    return prices[prices[TICKER] == ticker].reset_index(drop=True) if ticker else prices
