"""`train`: a config and a price file → a complete run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stockrnn.config import Config
from stockrnn.engines import Engine
from stockrnn.errors import ConfigError
from stockrnn.evaluation.learning import MOST_SENT, learn
from stockrnn.evaluation.scoring import history_until, score_span, scored_rows
from stockrnn.features.learnable import learnable_tickers
from stockrnn.features.pipeline import fit_pipeline
from stockrnn.features.splits import Spans, split_time
from stockrnn.places import LOCAL, Place, open_engine
from stockrnn.prices.loading import Prices, load_prices
from stockrnn.recipes.assembly import (
    Outcome,
    Stopwatch,
    Trained,
    assemble,
    begin_pictures,
    begin_scores,
    begin_sessions,
    load_training,
    open_complete,
    run_in_the_making,
)
from stockrnn.recipes.backtesting import PLAN
from stockrnn.reports.tables import listed
from stockrnn.runs.directory import CHECKPOINTS, begin_run, end_run, is_complete, note_data
from stockrnn.training.context import TrainingContext
from stockrnn.training.sizes import trainers
from stockrnn.types import DATE, TICKER

if TYPE_CHECKING:  # these load TensorFlow
    from stockrnn.training.loop import EpochReport


def train(config: Config, folder: Path, on_epoch: Callable[[EpochReport], None] | None = None, place: Place = LOCAL) -> Trained:
    """Train a network, score it beside the baselines and write a run; an unfinished training in the folder goes on.

    Args:
        config: the whole config.
        folder: a new or empty folder, or one that holds an unfinished run of the same config and data.
        on_epoch: called after each epoch; what it raises ends the training after its state was saved.
        place: where networks are trained.

    Raises:
        StockRNNError: DataError, ConfigError, DivergedError, StorageError, RunInUseError, RunDamagedError, or what
            `on_epoch` raised; nothing half-written stays but the state of an unfinished training.
    """
    watch = Stopwatch()
    with run_in_the_making(folder), open_engine(config.train.workers, place) as engine:
        _begin(folder, config)
        with watch.stage("read"):
            prices = load_prices(config.data, config.asked)
            spans = split_time(prices.table[DATE], config.split.validation, config.split.calibration, config.split.test)
        note_data(folder, prices.data_hash, config.data.path)
        trained = _train(config, folder, prices, spans, watch, on_epoch, engine)
        end_run(folder)
        return trained


def resume(config: Config, folder: Path, on_epoch: Callable[[EpochReport], None] | None = None, place: Place = LOCAL) -> Trained:
    """Go on with an unfinished training; one that had just become complete when it was killed is only opened. Raises as `train`."""
    if not is_complete(folder):
        return train(config, folder, on_epoch, place)
    run = open_complete(folder, config)
    return Trained(run, run.json("metrics.json"), ())


def _begin(folder: Path, config: Config) -> None:
    begin_run(folder, config)
    if (folder / CHECKPOINTS / PLAN).is_file():
        raise ConfigError(f"{folder} must hold no unfinished backtest. Received: one. Go on with `stockrnn backtest --resume`.")


def _train(
    config: Config,
    folder: Path,
    prices: Prices,
    spans: Spans,
    watch: Stopwatch,
    on_epoch: Callable[[EpochReport], None] | None,
    engine: Engine,
) -> Trained:
    fit, left_out = learnable_tickers(prices.table, spans, config)
    table = prices.table[prices.table[TICKER].isin(fit)].reset_index(drop=True) if left_out else prices.table
    for span in ("validation", "test"):  # before a training that would be in vain
        scored_rows(table, spans, span, config.window.horizon)
    seen, together = history_until(table, spans.calibration_end), config.data.panel == "together"
    errand = (fit_pipeline, seen, spans, config, prices.known) if together and len(seen) <= MOST_SENT else ()
    pipeline = load_training(watch, engine, max(trainers(config), 1 if together else len(fit)), *errand)
    from stockrnn.training.recurrent import histories_table

    sessions = begin_sessions(engine, config, prices.step, table)
    with watch.stage("train"):
        checkpoints = folder / CHECKPOINTS if engine.shares_files else None
        context = TrainingContext(on_epoch, checkpoints, engine=engine, known=prices.known, pipeline=pipeline)
        learned = learn(config, table, spans, context)
    with watch.stage("score"):
        possible = learned.possible_rows(table)
        rows = {span: scored_rows(table, spans, span, config.window.horizon, possible) for span in ("validation", "test")}
        held_out, failed = learned.forecast(table, rows["validation"])
        others = {"validation": score_span(table, config.target, spans, held_out, prices.step)}
        del held_out  # a panel's forecasts are large, those of the test span as well
        forecasts, also_failed = learned.forecast(table, rows["test"])
        history, network = histories_table(learned.parts), learned.network.name
        metrics = begin_scores(engine, config, prices.step, network, table, spans, forecasts, others)
        pictures = begin_pictures(engine, forecasts, history, network, config.target.column, prices.step)
    notes = [f"Left out for want of history, or of what features need: {listed(left_out)}."] if left_out else []
    notes += [f"{name}: {said}" for each in (failed, also_failed) for name, said in each.items()]
    outcome = Outcome(learned, table, rows["test"], forecasts, metrics, tuple(notes), history, pictures, sessions)
    return assemble(folder, config, prices, outcome, watch, engine)
