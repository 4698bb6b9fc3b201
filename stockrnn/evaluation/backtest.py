"""Walk-forward: learn from what is before a fold, forecast the fold, go on. Reads and writes no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.errors import ConfigError, DataError
from stockrnn.evaluation.conformal import Widths, adapt, widths_after
from stockrnn.evaluation.folds import Fold, walk_forward
from stockrnn.evaluation.learning import Learned, fit_baseline, forecast_baselines, learn
from stockrnn.evaluation.metrics import mase_scales
from stockrnn.evaluation.scoring import forecast_span, scored_rows
from stockrnn.features.learnable import learnable_tickers
from stockrnn.features.splits import Spans, cutoff_rows
from stockrnn.models.baselines import BASELINES, default_baselines
from stockrnn.models.forecaster import Forecaster
from stockrnn.prices.steps import asked_for, told
from stockrnn.training.context import NO_CONTEXT, TrainingContext
from stockrnn.types import DATE, FORECAST_TABLE, TICKER

BASELINE_SETS: dict[str, tuple[str, ...]] = {
    "default": tuple(name for name in BASELINES if name not in ("arima", "theta")),
    "all": tuple(BASELINES),
}
"""The baselines of each `--baselines`; `arima` and `theta` take minutes, and the package statsforecast."""


@dataclass(frozen=True)
class Plan:
    """How the test span is walked through.

    Attributes:
        folds: how many consecutive parts.
        refit: learn anew in every `refit`-th fold; the folds between keep what was learned and see the new data.
        window: `expanding` learns from the first date on, `rolling` from as many sessions as the first fold has.
        gap: sessions left out between what is learned from and the first that is forecast.
        start: first date of the test span, as ISO 8601, or its number where the file has no dates, instead of what `split.test` gives.
        warm_start: epochs of each refit after the first, which then goes on from the weights before it; None starts afresh.
        baselines: a name in `BASELINE_SETS`.

    Raises:
        ConfigError: a value that cannot be.
    """

    folds: int = 10
    refit: int = 1
    window: Literal["expanding", "rolling"] = "expanding"
    gap: int = 0
    start: str | None = None
    warm_start: int | None = None
    baselines: Literal["default", "all"] = "default"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, least in (("folds", 1), ("refit", 1), ("gap", 0), ("warm_start", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"`{name}` must be at least {least}. Received: {value}.")
        for name, known in (("window", ("expanding", "rolling")), ("baselines", BASELINE_SETS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"`{name}` must be {' or '.join(known)}. Received: {getattr(self, name)}.")
        if not isinstance(self.start, str | None):
            raise ConfigError(f"`start` must be a text. Received: {self.start}.")

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Plan:
        """The plan that `to_dict` gave."""
        return cls(**{field.name: state[field.name] for field in fields(cls)})

    def cut(self, config: Config, dates: pd.Series, step: str = "") -> list[Fold]:
        """The folds of a price table with these dates, whose rows are of this step. Raises DataError, and ConfigError for `start`."""
        start = None if self.start is None else asked_for(self.start, "--start", step)
        split = config.split
        return list(
            walk_forward(
                dates,
                folds=self.folds,
                validation=split.validation,
                calibration=split.calibration,
                test=split.test,
                start=start,
                window=self.window,
                gap=self.gap,
                refit=self.refit,
            )
        )


@dataclass(frozen=True)
class Taught:
    """What the history of one fold taught.

    Attributes:
        learned: the network, its interval shifts and the baselines that are fitted wherever a network is.
        table: the price table without the tickers that had too little history.
        more: the other baselines of the plan that could be fitted.
        failed: why each of the rest could not, by name; a warning of one that could stands under its name too.
        left_out: tickers with too little history.
    """

    learned: Learned
    table: pd.DataFrame
    more: Sequence[Forecaster]
    failed: Mapping[str, str]
    left_out: Sequence[str]


def teach(
    config: Config,
    plan: Plan,
    prices: pd.DataFrame,
    fold: Fold,
    context: TrainingContext = NO_CONTEXT,
) -> Taught:
    """Learn everything afresh from the history of a fold that refits: limits, scalers, weights, calibration, baselines.

    Args:
        config: the whole config.
        plan: how the test span is walked through.
        prices: the whole price table; only the fold's history is looked at.
        fold: a fold that refits.
        context: where networks are trained.

    Raises:
        DataError: too little history.
        DivergedError: a loss that is not finite.
    """
    fit, left_out = learnable_tickers(fold.history(prices), fold.spans, config)
    table = prices[prices[TICKER].isin(fit)].reset_index(drop=True)
    history = fold.history(table)
    learned = learn(config, history, fold.spans, context)
    tried = {model.name for model in default_baselines()}
    more: list[Forecaster] = []
    failed: dict[str, str] = {}
    for name in BASELINE_SETS[plan.baselines]:
        if name not in tried:
            model, said = fit_baseline(BASELINES[name](horizon=config.window.horizon, column=config.target.column), history, fold.spans)
            more += [model] if model is not None else []
            failed |= {name: said} if said else {}
    return Taught(learned, table, more, failed, left_out)


def forecast_fold(taught: Taught, config: Config, walk: Spans, fold: Fold) -> tuple[pd.DataFrame, dict[str, str]]:
    """The forecasts of every model from all cutoffs of a fold, in one call a model.

    Args:
        taught: what the fold forecasts with.
        config: the whole config.
        walk: the spans of the whole walk: all steps of a forecast lie in its test span.
        fold: the fold.

    Returns:
        The forecast table, and why a baseline is missing from it, by name.
    """
    table, rows = taught.table, fold_rows(taught, config, walk, fold)
    if not len(rows):  # such as of a last fold shorter than the horizon
        return pd.DataFrame(columns=list(FORECAST_TABLE)), {}
    forecasts, failed = taught.learned.forecast(table, rows)
    tables, more_failed = forecast_baselines(taught.more, table, rows)
    return pd.concat([forecasts, *tables], ignore_index=True), failed | more_failed


def fold_rows(taught: Taught, config: Config, walk: Spans, fold: Fold) -> np.ndarray:
    """Rows of `taught.table` that a fold forecasts from: a window can end there and all its labels lie in the walk's test span."""
    cutoffs = cutoff_rows(taught.table, walk, "test", config.window.horizon)
    return fold.rows(taught.table, np.intersect1d(cutoffs, taught.learned.possible_rows(taught.table)))


def walk_spans(folds: Sequence[Fold]) -> Spans:
    """The spans of a whole walk: what the first fold learns from, and then the test span."""
    return replace(folds[0].spans, test_end=folds[-1].last)


def scoring_spans(folds: Sequence[Fold], prices: pd.DataFrame, forecasts: pd.DataFrame, column: str) -> Spans:
    """The earliest spans of a walk whose training part knows every ticker that was forecast: scores are scaled by it."""
    tickers = set(forecasts[TICKER])
    known = (fold.spans for fold in folds if tickers <= set(mase_scales(prices, fold.spans.train_end, column)))
    return replace(next(known), test_end=folds[-1].last)


def calibration_forecasts(taught: Taught, spans: Spans) -> pd.DataFrame | None:
    """The network's forecasts of the calibration span, from which the width that follows the misses sets out; None without one."""
    history, horizon = taught.table[taught.table[DATE] <= spans.calibration_end].reset_index(drop=True), taught.learned.network.horizon
    if spans.calibration_end == spans.validation_end:
        return None
    rows = scored_rows(history, spans, "calibration", horizon, taught.learned.possible_rows(history))
    return taught.learned.conformal.apply(forecast_span([taught.learned.network], history, rows))


def join_folds(tables: Iterable[pd.DataFrame], network: str, calibration: pd.DataFrame | None) -> tuple[pd.DataFrame, Widths]:
    """The forecast tables of all folds as one, of the models that are in every fold, the network's first; and its width at the end.

    The network's width follows its own misses before each cutoff (`conformal.adapt`), with or without a calibration span.

    Args:
        tables: the forecast table of each fold.
        network: name of the network.
        calibration: its forecasts of the calibration span, whose misses count too; None where there is no such span.

    Raises:
        DataError: no forecast at all.
    """
    parts = [table for table in tables if len(table)]
    if not parts:
        raise DataError("The test span must hold a forecast with all its steps. Received: none. Walk through a longer span.")
    places = {name: place for place, name in enumerate(_models_of_all(parts, network))}
    whole = pd.concat(parts, ignore_index=True)
    whole = whole[whole["model"].isin(places)]
    whole = whole.assign(place=whole["model"].map(places)).sort_values(["place", TICKER, "cutoff", "step"], ignore_index=True)
    whole = whole.drop(columns="place")
    mine = whole["model"] == network
    before = whole.iloc[:0] if calibration is None else calibration
    followed = pd.concat([before, whole[mine]], ignore_index=True)
    return pd.concat([adapt(followed).iloc[len(before) :], whole[~mine]], ignore_index=True), widths_after(followed)


def _models_of_all(parts: Sequence[pd.DataFrame], network: str) -> list[str]:
    """The models that every part has: the network, then the baselines in the order of `BASELINES`."""
    common = [name for name in dict.fromkeys(parts[0]["model"]) if all((part["model"] == name).any() for part in parts)]
    order = [network, *BASELINES]
    return sorted(common, key=lambda name: order.index(name) if name in order else len(order))


def fold_document(fold: Fold, epochs: Sequence[int], step: str = "") -> dict[str, Any]:
    """What metrics.json says of a fold: its dates, what it learned from, and the epochs of each network it learned itself."""
    dates = {
        "start": fold.first,
        "end": fold.last,
        "learned_from": fold.start,
        "train_end": fold.spans.train_end,
        "validation_end": fold.spans.validation_end,
        "calibration_end": fold.spans.calibration_end,
    }
    shown = {name: told(date, step) for name, date in dates.items()}
    return {"fold": fold.number, **shown, "refit": fold.refits, "fit_of_fold": fold.learned, "epochs": list(epochs)}
