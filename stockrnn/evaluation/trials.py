"""How a search compares configs: by CRPS over walk-forward folds that end with the validation span. Reads and writes no file.

All prices after the validation span are cut away before a trial sees them. The calibration span, which follows, is read once, by
`make_check`, when the search is over; the test span never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.engines import Tell
from stockrnn.errors import ConfigError, DataError, DivergedError
from stockrnn.evaluation.backtest import Taught, fold_rows, walk_spans
from stockrnn.evaluation.evidence import table_bytes
from stockrnn.evaluation.folds import Fold, walk_forward
from stockrnn.evaluation.learning import Learned, learn_network
from stockrnn.evaluation.metrics import REFERENCE, crps_rows, mase_scales
from stockrnn.evaluation.scoring import forecast_span, history_until
from stockrnn.features.learnable import learnable_tickers
from stockrnn.features.splits import Spans, split_time
from stockrnn.models.baselines import BASELINES
from stockrnn.prices.known import NOTHING_KNOWN, Known
from stockrnn.storage import sha256
from stockrnn.training.context import TrainingContext
from stockrnn.types import DATE, QUANTILE_COLUMNS, TICKER

WALKED = 0.4
"""Share of the sessions up to the validation end that the folds forecast."""
CHECKED = 0.1
"""Share of the sessions, just before the test span, on which the winner is checked if the config has no calibration span."""
FAILURES = (ConfigError, DataError, DivergedError)
"""What ends a trial and not the search: these settings cannot learn from these data."""
CURVE_DIGITS = 5


@dataclass(frozen=True)
class Arena:
    """What all trials see.

    Attributes:
        prices: the price table up to the last date that is scored.
        folds: what is learned from and scored, in time order.
        known: what the price file tells of days before they come, up to the same date.
        scales: what the losses of each ticker are divided by: 1 where there is one ticker, so that they are in currency.
    """

    prices: pd.DataFrame
    folds: tuple[Fold, ...]
    known: Known
    scales: Mapping[str, float]

    @property
    def digest(self) -> str:
        """The SHA-256 of the prices that a trial sees."""
        days = {ticker: table_bytes(pd.DataFrame(values)) for ticker, values in self.known.values.items()}
        told = [part for ticker, values in days.items() for part in (ticker.encode(), self.known.days[ticker].tobytes(), values)]
        return sha256(b"\n".join([table_bytes(self.prices), *told]))


def searched_spans(config: Config, dates: pd.Series) -> Spans:
    """The spans of a search: without a calibration span in the config, `CHECKED` of the sessions are set aside to check the winner."""
    split = config.split
    return split_time(dates, split.validation, split.calibration or CHECKED, split.test)


def make_arena(config: Config, prices: pd.DataFrame, folds: int, known: Known = NOTHING_KNOWN) -> Arena:
    """Cut the prices at the validation end, and what is left into a history and folds.

    Each fold's history keeps the proportions of training, validation and calibration that the config asks for.

    Args:
        config: the base config.
        prices: a price table; rows after the validation span are cut away first.
        folds: how many.
        known: what the price file tells of days before they come; that of later days is cut away likewise.

    Raises:
        DataError: too little history.
    """
    seen = history_until(prices, searched_spans(config, prices[DATE]).validation_end)
    validation, calibration = _shares(config)
    history = 1.0 - WALKED
    cut = tuple(walk_forward(seen[DATE], folds=folds, validation=validation * history, calibration=calibration * history, test=WALKED))
    return _arena(config, seen, cut, known)


def make_check(config: Config, prices: pd.DataFrame, known: Known = NOTHING_KNOWN) -> Arena:
    """The arena that checks the winner: all that the search saw is learned from, and the span after it is scored."""
    spans = searched_spans(config, prices[DATE])
    seen = history_until(prices, spans.calibration_end)
    dates = pd.Series(seen[DATE].unique())
    learned = split_time(dates[dates <= spans.validation_end], *_shares(config), 0.0)
    first = dates[dates > spans.validation_end].min()
    end = spans.calibration_end
    return _arena(config, seen, (Fold(0, 0, dates.min(), replace(learned, test_end=end), first, end),), known)


def _shares(config: Config) -> tuple[float, float]:
    """Validation and calibration as shares of what a network of this config is made from."""
    split = config.split
    return split.validation / (1.0 - split.test), split.calibration / (1.0 - split.test)


def _arena(config: Config, seen: pd.DataFrame, folds: tuple[Fold, ...], known: Known) -> Arena:
    first = folds[0]
    fit, _ = learnable_tickers(first.history(seen), first.spans, config)
    table = seen[seen[TICKER].isin(fit)].reset_index(drop=True)
    scales = mase_scales(table, first.spans.train_end, config.target.column) if len(fit) > 1 else dict.fromkeys(fit, 1.0)
    return Arena(table, folds, known.until(folds[-1].last), {ticker: scale for ticker, scale in scales.items() if scale > 0})


def try_fold(arena: Arena, unit: tuple[Config, int], tell: Tell) -> dict[str, Any]:
    """A unit of work: the CRPS of one config in one fold, or why there is none (`failed`).

    Returns:
        `crps` (mean over cutoffs and steps, each ticker's divided by its scale), `n` forecasts, `epochs` trained, and the
        validation losses of each network, `curves`; all as JSON holds them.
    """
    try:
        return base_fold(arena, unit, tell)
    except FAILURES as error:
        return {"failed": str(error)}


def base_fold(arena: Arena, unit: tuple[Config, int], tell: Tell) -> dict[str, Any]:
    """A unit of work: `try_fold` that raises what is wrong, as for the base config."""
    learned, _, forecasts = _forecast(arena, *unit, tell)
    histories = [history for part in learned.parts.values() for history in part.fitted.histories]
    return {
        "crps": float(losses_of(arena, forecasts).mean()),
        "n": len(forecasts),
        "epochs": sum(len(history.epochs) for history in histories),
        "curves": [[float(f"{report.validation_loss:.{CURVE_DIGITS}g}") for report in history.epochs] for history in histories],
    }


def check_fold(arena: Arena, config: Config, tell: Tell) -> pd.DataFrame | str:
    """A unit of work: the forecast table of a config and of `naive` in the arena of `make_check`, or why there is none."""
    try:
        _, rows, forecasts = _forecast(arena, config, 0, tell)
    except FAILURES as error:
        return str(error)
    fold = arena.folds[0]
    naive = BASELINES[REFERENCE](horizon=config.window.horizon, column=config.target.column)
    naive.fit(fold.history(arena.prices), fold.spans)
    return pd.concat([forecasts, forecast_span([naive], arena.prices, rows)], ignore_index=True)


def losses_of(arena: Arena, forecasts: pd.DataFrame) -> np.ndarray:
    """The scaled CRPS of each row that has an actual and whose ticker has a scale. Raises DataError where there is none."""
    known = forecasts[forecasts["actual"].notna() & forecasts[TICKER].isin(arena.scales)]
    if known.empty:
        raise DataError("A fold must hold a forecast with all its steps. Received: none. Ask for fewer --folds, or give more history.")
    losses = crps_rows(known["actual"].to_numpy(), known[list(QUANTILE_COLUMNS)].to_numpy())
    return np.asarray(losses / known[TICKER].map(dict(arena.scales)).to_numpy())


def _forecast(arena: Arena, config: Config, number: int, tell: Tell) -> tuple[Learned, np.ndarray, pd.DataFrame]:
    """What the history of a fold teaches, the rows that the fold is forecast from, and the forecasts."""
    fold = arena.folds[number]
    history = fold.history(arena.prices)
    _, left_out = learnable_tickers(history, fold.spans, config)
    if left_out:
        raise DataError(f"Each ticker must have history for these settings. Received: too little of {', '.join(left_out[:3])}.")
    learned = learn_network(config, history, fold.spans, TrainingContext(tell, known=arena.known))
    rows = fold_rows(Taught(learned, arena.prices, (), {}, ()), config, walk_spans(arena.folds), fold)
    forecasts = learned.conformal.apply(forecast_span([learned.network], arena.prices, rows))
    return learned, rows, forecasts
