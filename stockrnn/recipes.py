"""One function for each command: the Python API. Nothing is printed here: results are returned, progress goes to a callback."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.config import Config, to_yaml
from stockrnn.errors import DataError
from stockrnn.evaluation.metrics import probability_above
from stockrnn.evaluation.scoring import forecast_span, history_until, score_document, scored_rows
from stockrnn.features.splits import Spans, split_time
from stockrnn.models.baselines import default_baselines
from stockrnn.models.forecaster import Forecaster, forecast_table
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
    open_run,
    remove_unfinished,
    to_csv,
    to_json,
    write_run,
)
from stockrnn.runs.inference import TOLERANCE, OnnxForecaster, export_difference
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
        from stockrnn.training.recurrent import RecurrentForecaster  # noqa: PLC0415 (loads TensorFlow)

    table, column, horizon = prices.table, config.target.column, config.window.horizon
    history = history_until(table, spans.calibration_end)
    with watch.stage("train"):
        network = RecurrentForecaster(config, on_epoch, folder / CHECKPOINTS).fit(history, spans)
    with watch.stage("score"):
        models = [network, *(baseline.fit(history, spans) for baseline in default_baselines(column, horizon))]
        prepared = network.fitted.pipeline.prepare(table)
        rows = {span: scored_rows(table, spans, span, horizon, prepared.rows) for span in ("validation", "test")}
        forecasts = {span: forecast_span(models, table, rows[span]) for span in rows}
        metrics = score_document(network.name, table, config.target, spans, forecasts)
    with watch.stage("export"):
        model = network.onnx()
        windows = network.fitted.pipeline.windows_at(table, rows["test"])
        difference = export_difference(model, windows, network.outputs(windows))
    with watch.stage("plot"):
        history_table = network.history_table()
        pictures = render_figures(run_figures(forecasts["test"], history_table, network.name, _title(table), column=column), "png")
    files = {
        "config.yaml": to_yaml(config).encode(),
        "weights.safetensors": network.weights(),
        "model.onnx": model,
        "scaler.json": to_json({"pipeline": network.fitted.pipeline.to_dict(), "readout": network.fitted.readout.to_dict()}),
        "metrics.json": to_json(metrics),
        "history.csv": to_csv(history_table),
        "forecasts.csv": to_csv(forecasts["test"]),
        **{f"{PLOTS}/{name}": data for name, data in pictures.items()},
    }
    facts = _facts(config, prices, watch) | {
        "windows": {**network.fitted.windows, "test": len(rows["test"])},
        "onnx_difference": difference,
        "outliers": _outliers(network, table),
    }
    write_run(folder, files, facts)
    return Trained(open_run(folder), metrics, tuple(_train_notes(network, difference)))


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
    forecaster = _forecaster(run)
    rows = table[~table[FILLED]].groupby(TICKER, sort=False).tail(1).index.to_numpy()
    forecasts = forecast_table(table, forecaster.name, forecaster.forecast(table, rows), forecaster.column)
    notes, dates = [], {}
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
    return pd.read_csv(run.folder / "forecasts.csv", parse_dates=["cutoff", DATE], dtype={TICKER: str}, keep_default_na=False, na_values={"actual": ""})


def _forecaster(run: Run) -> Forecaster:
    if run.manifest.get("onnx_difference", 0.0) <= TOLERANCE:
        return OnnxForecaster(run)
    from stockrnn.training.recurrent import restore  # noqa: PLC0415 (loads TensorFlow, where the exported model is not trusted)

    return restore(run.config, run.json("scaler.json"), run.read("weights.safetensors"))


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


def _outliers(network: RecurrentForecaster, table: pd.DataFrame) -> list[dict[str, Any]]:
    _, touched = network.fitted.pipeline.limits.apply(table)
    return [{**row, DATE: f"{row[DATE]:%Y-%m-%d}"} for row in touched.to_dict("records")]


def _train_notes(network: RecurrentForecaster, difference: float) -> Iterator[str]:
    absent = network.fitted.pipeline.absent
    if absent:
        yield f"Left out for want of their columns in the file: {', '.join(absent)}."
    if difference > TOLERANCE:
        yield f"The exported model differs from Keras by {difference:.1e}, more than {TOLERANCE:g}: `predict` will use Keras."
