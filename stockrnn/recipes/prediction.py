"""`predict`: a run and the prices up to a day → the next sessions."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.evaluation.conformal import Calibration, Widths
from stockrnn.evaluation.metrics import probability_above
from stockrnn.evaluation.scoring import forecast_span, history_until
from stockrnn.features.pipeline import Pipeline, fit_newcomer
from stockrnn.models.forecaster import Forecaster
from stockrnn.prices.known import Known
from stockrnn.prices.loading import Prices, load_prices
from stockrnn.prices.sessions import FutureSessions, future_sessions
from stockrnn.prices.steps import dated, instant, row_name
from stockrnn.prices.tickers import ticker_slices
from stockrnn.reports.tables import listed
from stockrnn.runs.directory import Run
from stockrnn.runs.inference import TOLERANCE, load_forecaster
from stockrnn.runs.origin import made_here, prices_of_run
from stockrnn.types import DATE, FILLED, INTRADAY, QUANTILE_COLUMNS, TICKER, UNDATED

BEHIND = 10
"""Dates of a price file that a ticker may lack at its end without a word."""


@dataclass(frozen=True)
class Predicted:
    """The next sessions.

    Attributes:
        table: the forecast table; nothing is known of `actual`.
        rows: what a person reads: ticker, cutoff, step, date, forecast, lower_80, upper_80, lower_90, upper_90, p_up.
        data_step: what the rows of the prices are apart, by a name in `STEPS`.
        notes: where the dates come from, and what else a user should know.
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    data_step: str
    notes: tuple[str, ...]


def predict(run: Run, data: str | None = None, asof: pd.Timestamp | None = None) -> Predicted:
    """Forecast the next `horizon` sessions after the last row of the run's data, or of another price file.

    Raises:
        ConfigError: no `data`, and a run that was copied or made elsewhere.
        DataError: no row up to `asof`, too little history, a ticker the run does not know.
        RunDamagedError: the run cannot be read.
    """
    config = run.config
    if made_here(run):  # a stranger's word for a calendar is not taken
        run.recall_sessions()
    path = prices_of_run(run) if data is None else data
    prices = load_prices(config.data.model_copy(update={"path": path}), config.asked)
    _refuse_step(run, prices.step)
    table = prices.table if asof is None else _until(prices, asof)
    newcomers = _newcomers(run, table, prices.known)
    table, unknown = known_tickers(run, table, newcomers)

    def pipeline_of(state: dict[str, Any]) -> Pipeline:
        return functools.reduce(Pipeline.joined, newcomers.values(), Pipeline.from_dict(state, prices.known))

    forecaster = _forecaster(run, pipeline_of)
    forecasts, rows, short = _forecast(run, forecaster, table, pipeline_of)
    future = _future(table, rows, forecaster.horizon, config.data.calendar, prices.step)
    forecasts[DATE] = [future[ticker].dates[step - 1] for ticker, step in zip(forecasts[TICKER], forecasts["step"], strict=True)]
    notes = _notes(unknown, list(newcomers), _stand_ins(run, table) if not newcomers else {}) + short
    notes += [*_sources(future, prices.step), *_hindsight(run, forecasts), *_beside(forecasts), *_ended(table, forecasts, prices.step)]
    last = dict(zip(table[TICKER].to_numpy()[rows], table[forecaster.column].to_numpy()[rows], strict=True))
    return Predicted(forecasts, _readable(forecasts, forecasts[TICKER].map(last).to_numpy()), prices.step, tuple(notes))


def _forecast(
    run: Run, forecaster: Forecaster, table: pd.DataFrame, pipeline_of: Callable[[dict[str, Any]], Pipeline]
) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """The calibrated forecasts from each ticker's last observed row, these rows, and a note on tickers with too little history.

    Raises:
        DataError: every ticker has too little history.
    """
    rows, notes = table[~table[FILLED]].groupby(TICKER, sort=False).tail(1).index.to_numpy(), []
    try:
        forecasts = forecast_span([forecaster], table, rows)
    except DataError as error:
        enough = np.intersect1d(rows, _possible_rows(run, table, pipeline_of))
        if len(enough) == 0:
            raise
        short = table[TICKER][np.setdiff1d(rows, enough)].tolist()
        rows, notes = enough, [f"Not forecast: {listed(short)}. {error}"]
        forecasts = forecast_span([forecaster], table, rows)
    return _calibrated(run, forecasts), rows, notes


def _future(table: pd.DataFrame, rows: np.ndarray, horizon: int, calendar: str, step: str) -> dict[str, FutureSessions]:
    """The sessions after each ticker's cutoff row, by ticker."""
    slices, future = ticker_slices(table[TICKER]), {}
    for ticker, row in zip(table[TICKER].to_numpy()[rows], rows, strict=True):
        sessions = table[DATE].iloc[slices[ticker].start : row + 1]
        future[ticker] = future_sessions(sessions, ticker, horizon, calendar, step)
    return future


def _sources(future: Mapping[str, FutureSessions], step: str) -> list[str]:
    """Which calendar the dates of which tickers come from, and why: a sentence for each calendar."""
    reasons: dict[str, dict[str, str]] = {}
    for ticker, sessions in future.items():
        reasons.setdefault(sessions.calendar, {})[ticker] = sessions.reason
    return [f"{listed(list(given))}: {row_name(step, 2)} from {calendar} ({_why(given)})." for calendar, given in reasons.items()]


def _until(prices: Prices, asof: pd.Timestamp) -> pd.DataFrame:
    """The rows up to an instant. Raises DataError where there is none."""
    table, first = history_until(prices.table, asof), prices.table[DATE][~prices.table[FILLED]].min()
    if table[FILLED].all():
        asked, had = (dated(stamp if prices.step == INTRADAY else stamp.normalize(), prices.step) for stamp in (asof, first))
        raise DataError(f"--asof must not lie before the data. Received: {asked}, but the first {row_name(prices.step)} is {had}.")
    return table


def _possible_rows(run: Run, table: pd.DataFrame, pipeline_of: Callable[[dict[str, Any]], Pipeline]) -> np.ndarray:
    """The rows that end a window of the network that forecasts them."""
    slices, numbers = ticker_slices(table[TICKER]), np.arange(len(table))
    found = []
    for part in run.json("scaler.json")["parts"]:
        rows = slices.get(part["ticker"], slice(0, 0)) if part["ticker"] else slice(None)
        if len(numbers[rows]):
            found.append(numbers[rows][pipeline_of(part["pipeline"]).prepare(table.iloc[rows].reset_index(drop=True)).rows])
    return np.concatenate(found)


def _refuse_step(run: Run, step: str) -> None:
    """A network of days says nothing of hours. Raises DataError."""
    if run.step and run.step != step:
        raise DataError(f"The data must have the step that the run learned from, {run.step}. Received: {step} rows. Train a run on them.")


def _newcomers(run: Run, table: pd.DataFrame, known: Known) -> dict[str, Pipeline]:
    """Tickers that the run did not learn, and what it takes to forecast them through one network of several others."""
    found: dict[str, Pipeline] = {}
    (state, *others) = (part["pipeline"] for part in run.json("scaler.json")["parts"])
    if others or len(state["features"]) == 1:
        return found
    for ticker, rows in ticker_slices(table[TICKER]).items():
        if ticker not in state["features"]:
            with contextlib.suppress(DataError):  # too little history to be scaled
                made = fit_newcomer(table.iloc[rows].reset_index(drop=True), run.config, known)
                found |= {ticker: made} if list(made.names) == state["names"] else {}
    return found


def _hindsight(run: Run, forecasts: pd.DataFrame) -> list[str]:
    """A warning where the network has learned from sessions after the cutoff: its forecast proves nothing then."""
    first, cutoff = _first_unlearned(run), forecasts["cutoff"].max()
    if first is None or forecasts.loc[forecasts["step"] == 1, DATE].max() >= first:
        return []
    unlearned, day = dated(first, run.step), dated(cutoff, run.step)
    return [f"The run learned from all days before {unlearned}, also from those after {day}: a forecast from {day} is no test of it."]


def _beside(forecasts: pd.DataFrame) -> list[str]:
    """A warning where a forecast lies outside its own interval, which a point head takes from its residuals."""
    outside = forecasts[(forecasts["forecast"] < forecasts["q05"]) | (forecasts["forecast"] > forecasts["q95"])]
    if outside.empty:
        return []
    who = listed(list(outside[TICKER].unique()))
    return [f"The forecast of {who} lies outside its 90 % interval: nearly all residuals of the calibration span were on one side of it."]


def _ended(table: pd.DataFrame, forecasts: pd.DataFrame, step: str) -> list[str]:
    """A warning where tickers' prices end well before those of others, as those of shares that are no longer traded."""
    dates = np.sort(table[DATE].unique())
    if step == UNDATED or len(dates) <= BEHIND:
        return []
    ended = forecasts[forecasts["cutoff"] < dates[-1 - BEHIND]][TICKER].unique()
    names = row_name(step, 2)
    return [f"The prices of {listed(list(ended))} end more than {BEHIND} {names} before those of others."] if len(ended) else []


def _first_unlearned(run: Run) -> pd.Timestamp | None:
    """The first day that a run's network has not learned from; None where it does not say."""
    metrics = run.json("metrics.json")
    with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError):
        folds = metrics.get("folds")
        said = metrics["test"]["start"] if folds is None else folds[folds[-1]["fit_of_fold"]]["start"]
        return instant(said)
    return None


def _stand_ins(run: Run, table: pd.DataFrame) -> dict[str, str]:
    """A ticker whose name the run does not know, with the only one that the run learned, as which it is forecast."""
    here, learned = list(table[TICKER].unique()), learned_tickers(run)
    return {} if set(here) <= learned else dict(zip(here, learned, strict=True))


def _why(reasons: Mapping[str, str]) -> str:
    """Why a calendar was chosen for some tickers: their reason, or that of the first."""
    ticker, reason = next(iter(reasons.items()))
    return reason if len(set(reasons.values())) == 1 else f"of {ticker}: {reason}"


def _notes(unknown: Sequence[str], newcomers: Sequence[str], stand_ins: Mapping[str, str]) -> list[str]:
    notes = [f"Not forecast, because the run did not learn them: {listed(list(unknown))}."] if unknown else []
    shared = "Unknown to the run, and forecast by what its tickers have in common, scaled by their own history"
    notes += [f"{shared}: {listed(list(newcomers))}."] if newcomers else []
    return [
        *notes,
        *(f"{ticker} is forecast as if it were {other}, which the run learned, and in its scale." for ticker, other in stand_ins.items()),
    ]


def _forecaster(run: Run, pipeline_of: Callable[[dict[str, Any]], Pipeline]) -> Forecaster:
    if run.manifest.get("onnx_difference", 0.0) <= TOLERANCE:
        return load_forecaster(run, pipeline_of)
    from stockrnn.training.recurrent import restore

    return restore(run.config, run.json("scaler.json")["parts"], run.read("weights.safetensors"), pipeline_of)


def _calibrated(run: Run, forecasts: pd.DataFrame) -> pd.DataFrame:
    """The forecasts with the run's conformal shifts and, of a backtest, the width that its misses led to."""
    state = run.json("scaler.json")
    return Widths.from_dict(state.get("widths", {})).apply(Calibration.from_list(state["conformal"]).apply(forecasts))


def learned_tickers(run: Run) -> set[str]:
    """The tickers that a run learned."""
    return {ticker for part in run.json("scaler.json")["parts"] for ticker in part["pipeline"]["features"]}


def known_tickers(run: Run, table: pd.DataFrame, newcomers: Iterable[str] = ()) -> tuple[pd.DataFrame, list[str]]:
    """The rows of tickers the run learned and of `newcomers`, and the other tickers.

    A run of one ticker takes a file of one, whatever its name.

    Raises:
        DataError: no such row.
    """
    learned = learned_tickers(run)
    known = learned | set(newcomers)
    here = list(table[TICKER].unique())
    unknown = [ticker for ticker in here if ticker not in known]
    if not unknown or len(known) == len(here) == 1:
        return table, []
    if len(unknown) == len(here):
        raise DataError(
            f"The data must hold a ticker that the run learned ({listed(sorted(learned))}). Received: {listed(here)}. Train a run on them."
        )
    return table[table[TICKER].isin(known)].reset_index(drop=True), unknown


def _readable(forecasts: pd.DataFrame, last: np.ndarray) -> pd.DataFrame:
    bounds = {"lower_80": "q10", "upper_80": "q90", "lower_90": "q05", "upper_90": "q95"}
    rows = forecasts[[TICKER, "cutoff", "step", DATE, "forecast"]].assign(**{name: forecasts[q] for name, q in bounds.items()})
    return rows.assign(p_up=probability_above(forecasts[list(QUANTILE_COLUMNS)].to_numpy(), last))
