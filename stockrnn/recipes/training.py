"""`train`: a config and a price file → a complete run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.config import Config, to_yaml
from stockrnn.evaluation.learning import Learned, learn, rows_of, table_of
from stockrnn.evaluation.scoring import score_document, scored_rows
from stockrnn.features.pipeline import learnable_tickers
from stockrnn.features.splits import Spans, split_time
from stockrnn.prices.loading import Prices, load_prices
from stockrnn.reports.plots import render_figures, run_figures
from stockrnn.reports.tables import listed
from stockrnn.runs.directory import (
    CHECKPOINTS,
    PLOTS,
    Run,
    begin_run,
    end_run,
    model_names,
    open_run,
    remove_unfinished,
    to_csv,
    to_json,
    write_run,
)
from stockrnn.runs.inference import TOLERANCE, export_difference
from stockrnn.storage import lock_folder, make_folder
from stockrnn.types import DATE, TICKER

if TYPE_CHECKING:  # these load TensorFlow
    from stockrnn.training.loop import EpochReport

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
        from stockrnn.training.recurrent import histories_table, save_weights

    fit, left_out = learnable_tickers(prices.table, spans, config)
    table = prices.table[prices.table[TICKER].isin(fit)].reset_index(drop=True) if left_out else prices.table
    with watch.stage("train"):
        learned = learn(config, table, spans, on_epoch, folder / CHECKPOINTS)
    with watch.stage("score"):
        possible = learned.possible_rows(table)
        rows = {span: scored_rows(table, spans, span, config.window.horizon, possible) for span in ("validation", "test")}
        forecasts = {span: learned.forecast(table, each) for span, each in rows.items()}
        metrics = score_document(learned.network.name, table, config.target, spans, forecasts)
    with watch.stage("export"):
        models, difference = _export(learned, table, rows["test"])
    with watch.stage("plot"):
        losses = histories_table(learned.parts)
        figures = run_figures(forecasts["test"], losses, learned.network.name, listed(fit), column=config.target.column)
        pictures = render_figures(figures, "png")
    files = {
        "config.yaml": to_yaml(config).encode(),
        "weights.safetensors": save_weights(learned.parts.values()),
        **models,
        "scaler.json": _state(learned, list(models)),
        "metrics.json": to_json(metrics),
        "history.csv": to_csv(losses),
        "forecasts.csv": to_csv(forecasts["test"]),
        **{f"{PLOTS}/{name}": data for name, data in pictures.items()},
    }
    counts = {**_window_counts(learned), "test": len(rows["test"])}
    found = {"windows": counts, "onnx_difference": difference, "outliers": _outliers(learned, table)}
    write_run(folder, files, _facts(config, prices, watch) | found)
    return Trained(open_run(folder), metrics, tuple(_notes(learned, left_out, difference)))


def _export(learned: Learned, table: pd.DataFrame, rows: np.ndarray) -> tuple[dict[str, bytes], float]:
    """The exported models by file name, and their largest relative difference from Keras on the test span."""
    models, difference = {}, 0.0
    for name, (ticker, part) in zip(model_names(len(learned.parts)), learned.parts.items(), strict=True):
        models[name], mine = part.onnx(), rows_of(table, ticker)
        cutoffs = np.searchsorted(mine, np.intersect1d(rows, mine))
        if len(cutoffs):
            windows = part.fitted.pipeline.windows_at(table_of(table, ticker), cutoffs)
            difference = max(difference, export_difference(models[name], windows, part.outputs(windows)))
    return models, difference


def _state(learned: Learned, models: Sequence[str]) -> bytes:
    """What scaler.json holds: each network's ticker, model file, pipeline and readout, and the conformal shifts."""
    parts = zip(models, learned.parts.items(), strict=True)
    states = [{"ticker": ticker, "model": model, **part.state()} for model, (ticker, part) in parts]
    return to_json({"format": 1, "parts": states, "conformal": learned.conformal.to_list()})


def _window_counts(learned: Learned) -> dict[str, int]:
    counts = [part.fitted.windows for part in learned.parts.values()]
    return {span: sum(count.get(span, 0) for count in counts) for span in ("train", "validation", "calibration")}


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


def _outliers(learned: Learned, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Every return that was flagged or altered."""
    touched = [part.fitted.pipeline.limits.apply(table_of(table, ticker))[1] for ticker, part in learned.parts.items()]
    rows = pd.concat(touched).to_dict("records")
    return [{str(name): value for name, value in row.items()} | {DATE: f"{row[DATE]:%Y-%m-%d}"} for row in rows]


def _notes(learned: Learned, left_out: Sequence[str], difference: float) -> Iterator[str]:
    absent = {name for part in learned.parts.values() for name in part.fitted.pipeline.absent}
    if left_out:
        yield f"Left out for want of history: {listed(left_out)}."
    if absent:
        yield f"Left out for want of their columns in the file: {', '.join(sorted(absent))}."
    if difference > TOLERANCE:
        yield f"The exported model differs from Keras by {difference:.1e}, more than {TOLERANCE:g}: `predict` will use Keras."
