"""One function for each command: the Python API. Nothing is printed here: results are returned, progress goes to a callback."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.config import Config, to_yaml
from stockrnn.errors import DataError
from stockrnn.evaluation.conformal import Calibration, calibrate
from stockrnn.evaluation.metrics import probability_above
from stockrnn.evaluation.scoring import forecast_span, history_until, score_document, scored_rows
from stockrnn.features.pipeline import learnable_tickers
from stockrnn.features.splits import Spans, split_time
from stockrnn.models.baselines import default_baselines
from stockrnn.models.forecaster import Forecaster
from stockrnn.prices.loading import Prices, load_prices
from stockrnn.prices.sessions import future_sessions
from stockrnn.reports.inspection import inspection_figures
from stockrnn.reports.plots import render_figures, run_figures, save_figures
from stockrnn.runs.directory import (
    CHECKPOINTS,
    PLOTS,
    Run,
    add_files,
    begin_run,
    end_run,
    model_names,
    open_run,
    remove_unfinished,
    to_csv,
    to_json,
    write_run,
)
from stockrnn.runs.inference import TOLERANCE, export_difference, load_forecaster
from stockrnn.storage import lock_folder, make_folder
from stockrnn.types import DATE, FILLED, QUANTILE_COLUMNS, TICKER

if TYPE_CHECKING:  # these load TensorFlow
    from stockrnn.training.loop import EpochReport
    from stockrnn.training.recurrent import RecurrentForecaster

VERSIONED = ("stockrnn", "tensorflow", "keras", "numpy", "pandas", "scikit-learn", "onnxruntime")


@dataclass(frozen=True)
class Trained:
    """What `train` leaves.

    Attributes:
        run: the complete run.
        metrics: the document in metrics.json.
        notes: what a user should know of data, features and export, a sentence each.
    """

    run: Run
    metrics: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Predicted:
    """The next sessions.

    Attributes:
        table: the forecast table; nothing is known of `actual`.
        rows: what a person reads: ticker, step, date, forecast, lower_80, upper_80, lower_90, upper_90, p_up.
        notes: where the dates come from, and what else a user should know.
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    notes: tuple[str, ...]


class Stopwatch:
    """Wall time of each stage."""

    def __init__(self) -> None:
        """Start with no stage."""
        self.elapsed_s: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under a name."""
        start = time.perf_counter()
        yield
        self.elapsed_s[name] = round(time.perf_counter() - start, 3)


def train(config: Config, folder: Path, on_epoch: Callable[[EpochReport], None] | None = None) -> Trained:
    """Train a network, score it beside the baselines and write a run; an unfinished training in the folder goes on.

    Args:
        config: the whole config.
        folder: a new or empty folder, or one that holds an unfinished run of the same config and data.
        on_epoch: called after each epoch; what it raises ends the training after its state was saved.

    Raises:
        StockRNNError: DataError, ConfigError, DivergedError, StorageError, RunInUseError, RunDamagedError, or what
            `on_epoch` raised; nothing half-written stays but the state of an unfinished training.
    """
    watch = Stopwatch()
    with watch.stage("read"):
        prices = load_prices(config.data)
        spans = split_time(prices.table[DATE], config.split.validation, config.split.calibration, config.split.test)
    existed = folder.is_dir()
    make_folder(folder)
    try:
        with lock_folder(folder):
            begin_run(folder, config)
            trained = _train(config, folder, prices, spans, watch, on_epoch)
            end_run(folder)
            return trained
    finally:
        remove_unfinished(folder, existed)


def _train(
    config: Config, folder: Path, prices: Prices, spans: Spans, watch: Stopwatch, on_epoch: Callable[[EpochReport], None] | None
) -> Trained:
    with watch.stage("import"):
        from stockrnn.training.recurrent import histories_table, network_forecaster, parts_of, save_weights

    fit, left_out = learnable_tickers(prices.table, spans, config)
    table = prices.table[prices.table[TICKER].isin(fit)].reset_index(drop=True) if left_out else prices.table
    history = history_until(table, spans.calibration_end)
    with watch.stage("train"):
        network = network_forecaster(config, on_epoch, folder / CHECKPOINTS)
        network.fit(history, spans)
        parts = parts_of(network)
    with watch.stage("score"):
        baselines = [each.fit(history, spans) for each in default_baselines(config.target.column, config.window.horizon)]
        possible = _possible_rows(parts, table)
        rows = {span: scored_rows(table, spans, span, config.window.horizon, possible) for span in ("validation", "test")}
        conformal = _conformal(config, network, table, spans, possible)
        forecasts = {
            span: pd.concat(
                [conformal.apply(forecast_span([network], table, each)), forecast_span(baselines, table, each)], ignore_index=True
            )
            for span, each in rows.items()
        }
        metrics = score_document(network.name, table, config.target, spans, forecasts)
    with watch.stage("export"):
        exported = {ticker: _export(part, table, ticker, rows["test"]) for ticker, part in parts.items()}
    with watch.stage("plot"):
        losses = histories_table(parts)
        figures = run_figures(forecasts["test"], losses, network.name, _title(table), column=config.target.column)
        pictures = render_figures(figures, "png")
    models = dict(zip(parts, model_names(len(parts)), strict=True))
    states = [{"ticker": ticker, "model": models[ticker], **part.state()} for ticker, part in parts.items()]
    files = {
        "config.yaml": to_yaml(config).encode(),
        "weights.safetensors": save_weights(parts.values()),
        **{models[ticker]: model for ticker, (model, _) in exported.items()},
        "scaler.json": to_json({"format": 1, "parts": states, "conformal": conformal.to_list()}),
        "metrics.json": to_json(metrics),
        "history.csv": to_csv(losses),
        "forecasts.csv": to_csv(forecasts["test"]),
        **{f"{PLOTS}/{name}": data for name, data in pictures.items()},
    }
    difference = max(difference for _, difference in exported.values())
    counts = pd.DataFrame([part.fitted.windows for part in parts.values()]).sum()
    facts = _facts(config, prices, watch) | {
        "windows": {**{name: int(count) for name, count in counts.items()}, "test": len(rows["test"])},
        "onnx_difference": difference,
        "outliers": [touch for ticker, part in parts.items() for touch in _outliers(part, table, ticker)],
    }
    write_run(folder, files, facts)
    absent = {name for part in parts.values() for name in part.fitted.pipeline.absent}
    return Trained(open_run(folder), metrics, tuple(_train_notes(left_out, absent, difference)))


def predict(run: Run, data: str | None = None, asof: pd.Timestamp | None = None) -> Predicted:
    """Forecast the next `horizon` sessions after the last row of the run's data, or of another price file.

    Raises:
        DataError: no row up to `asof`, too little history, a ticker the run does not know.
        RunDamagedError: the run cannot be read.
    """
    config = run.config
    prices = load_prices(config.data if data is None else config.data.model_copy(update={"path": data}))
    table = prices.table if asof is None else history_until(prices.table, asof)
    if table.empty:
        first = prices.table[DATE].min()
        raise DataError(f"--asof must not lie before the data. Received: {asof:%Y-%m-%d}, but the first session is {first:%Y-%m-%d}.")
    table, unknown = _known_tickers(run, table)
    forecaster = _forecaster(run)
    rows = table[~table[FILLED]].groupby(TICKER, sort=False).tail(1).index.to_numpy()
    forecasts = Calibration.from_list(run.json("scaler.json")["conformal"]).apply(forecast_span([forecaster], table, rows))
    notes = [f"Not forecast, because the run did not learn them: {_listed(unknown)}."] if unknown else []
    dates = {}
    for ticker, sessions in table.groupby(TICKER, sort=False)[DATE]:
        future = future_sessions(sessions, str(ticker), forecaster.horizon, config.data.calendar, prices.step)
        dates[ticker] = future.dates
        notes.append(f"{ticker}: sessions from {future.calendar} ({future.reason}).")
    forecasts[DATE] = [dates[ticker][step - 1] for ticker, step in zip(forecasts[TICKER], forecasts["step"], strict=True)]
    last = dict(zip(table[TICKER].to_numpy()[rows], table[forecaster.column].to_numpy()[rows], strict=True))
    return Predicted(forecasts, _readable(forecasts, forecasts[TICKER].map(last).to_numpy()), tuple(notes))


def plot(run: Run, output: Path | None, picture_format: str) -> list[Path]:
    """Draw the pictures of a run into its own plots/ (and its manifest), or into another folder."""
    forecasts = read_forecasts(run)
    history = pd.read_csv(run.folder / "history.csv")
    figures = run_figures(forecasts, history, run.config.model.cell, _title(forecasts), column=run.config.target.column)
    if output is None:
        pictures = render_figures(figures, picture_format)
        with lock_folder(run.folder):
            add_files(run, {f"{PLOTS}/{name}": data for name, data in pictures.items()})
        return [run.folder / PLOTS / name for name in pictures]
    make_folder(output)
    return save_figures(figures, output, picture_format)


def inspection_pictures(prices: Prices, title: str, output: Path) -> list[Path]:
    """Draw the prices and the histograms of a price file into a folder."""
    make_folder(output)
    return save_figures(inspection_figures(prices.table, Path(title).name), output, "png")


def read_forecasts(run: Run) -> pd.DataFrame:
    """The forecast table of a run, tickers as text."""
    return pd.read_csv(
        run.folder / "forecasts.csv", parse_dates=["cutoff", DATE], dtype={TICKER: str}, keep_default_na=False, na_values={"actual": ""}
    )


def _forecaster(run: Run) -> Forecaster:
    if run.manifest.get("onnx_difference", 0.0) <= TOLERANCE:
        return load_forecaster(run)
    from stockrnn.training.recurrent import restore

    return restore(run.config, run.json("scaler.json")["parts"], run.read("weights.safetensors"))


def _conformal(config: Config, network: Forecaster, table: pd.DataFrame, spans: Spans, possible: np.ndarray) -> Calibration:
    """Shifts learnt on the calibration span for a head that forecasts its own quantiles; none where there is no such span."""
    if config.model.head == "point" or config.split.calibration == 0:
        return Calibration.none(network.horizon)
    rows = scored_rows(table, spans, "calibration", network.horizon, possible)
    return calibrate(forecast_span([network], table, rows))


def _possible_rows(parts: Mapping[str, RecurrentForecaster], table: pd.DataFrame) -> np.ndarray:
    """Rows of a price table at which a window can end."""
    return np.concatenate(
        [_rows_of(table, ticker)[part.fitted.pipeline.prepare(_table_of(table, ticker)).rows] for ticker, part in parts.items()]
    )


def _rows_of(table: pd.DataFrame, ticker: str) -> np.ndarray:
    return np.flatnonzero(table[TICKER] == ticker) if ticker else np.arange(len(table))


def _table_of(table: pd.DataFrame, ticker: str) -> pd.DataFrame:
    return table.iloc[_rows_of(table, ticker)].reset_index(drop=True) if ticker else table


def _export(part: RecurrentForecaster, table: pd.DataFrame, ticker: str, rows: np.ndarray) -> tuple[bytes, float]:
    """The exported model, and its largest relative difference from Keras on the test span."""
    model, mine = part.onnx(), _rows_of(table, ticker)
    windows = part.fitted.pipeline.windows_at(_table_of(table, ticker), np.searchsorted(mine, np.intersect1d(rows, mine)))
    return model, export_difference(model, windows, part.outputs(windows)) if len(windows) else 0.0


def _known_tickers(run: Run, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows of tickers the run learnt, and the other tickers. A run of one ticker takes a file of one, whatever its name."""
    known = {ticker for part in run.json("scaler.json")["parts"] for ticker in part["pipeline"]["features"]}
    here = list(table[TICKER].unique())
    unknown = [ticker for ticker in here if ticker not in known]
    if not unknown or len(known) == len(here) == 1:
        return table, []
    if len(unknown) == len(here):
        raise DataError(
            f"The data must hold a ticker the run learnt ({_listed(sorted(known))}). Received: {_listed(here)}. Train with them."
        )
    return table[table[TICKER].isin(known)].reset_index(drop=True), unknown


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _title(table: pd.DataFrame) -> str:
    tickers = table[TICKER].unique()
    return str(tickers[0]) if len(tickers) == 1 else f"{len(tickers)} tickers"


def _readable(forecasts: pd.DataFrame, last: np.ndarray) -> pd.DataFrame:
    bounds = {"lower_80": "q10", "upper_80": "q90", "lower_90": "q05", "upper_90": "q95"}
    rows = forecasts[[TICKER, "step", DATE, "forecast"]].assign(**{name: forecasts[q] for name, q in bounds.items()})
    return rows.assign(p_up=probability_above(forecasts[list(QUANTILE_COLUMNS)].to_numpy(), last))


def _facts(config: Config, prices: Prices, watch: Stopwatch) -> dict[str, Any]:
    return {
        "created": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
        "seed": config.train.seed,
        "data": {"hash": prices.data_hash, "step": prices.step, "rows": len(prices.table)},
        "findings": [finding.to_dict() for finding in prices.findings],
        "versions": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in VERSIONED}},
        "machine": {"processor": platform.machine(), "system": platform.system()},
        "elapsed_s": watch.elapsed_s,
    }


def _outliers(part: RecurrentForecaster, table: pd.DataFrame, ticker: str) -> list[dict[str, Any]]:
    _, touched = part.fitted.pipeline.limits.apply(_table_of(table, ticker))
    return [{str(k): v for k, v in row.items()} | {DATE: f"{row[DATE]:%Y-%m-%d}"} for row in touched.to_dict("records")]


def _train_notes(left_out: Sequence[str], absent: Collection[str], difference: float) -> Iterator[str]:
    if left_out:
        yield f"Left out for want of history: {_listed(left_out)}."
    if absent:
        yield f"Left out for want of their columns in the file: {', '.join(sorted(absent))}."
    if difference > TOLERANCE:
        yield f"The exported model differs from Keras by {difference:.1e}, more than {TOLERANCE:g}: `predict` will use Keras."
