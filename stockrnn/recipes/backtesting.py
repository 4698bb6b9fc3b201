"""`backtest`: a config and a price file → a complete run whose test span was walked through fold by fold."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from stockrnn.config import Config
from stockrnn.engines import Engine, Tell
from stockrnn.errors import ConfigError, InterruptedRunError, RunDamagedError
from stockrnn.evaluation.backtest import (
    Plan,
    Taught,
    calibration_forecasts,
    fold_document,
    fold_rows,
    forecast_fold,
    join_folds,
    scoring_spans,
    teach,
    walk_spans,
)
from stockrnn.evaluation.folds import Fold
from stockrnn.evaluation.scoring import scored_rows
from stockrnn.places import LOCAL, Place, open_engine
from stockrnn.prices.known import Known
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
from stockrnn.reports.tables import listed
from stockrnn.runs.directory import CHECKPOINTS, MANIFEST, begin_run, end_run, is_complete, open_run, unfinished_run
from stockrnn.runs.files import read_forecasts, read_history, read_sealed, to_csv, to_json, to_sealed
from stockrnn.runs.vetting import LARGEST, parse_json
from stockrnn.storage import make_folder, read_bytes, read_plain_file, storage_errors, write_bytes
from stockrnn.training.context import TrainingContext
from stockrnn.training.sizes import trainers
from stockrnn.types import DATE

if TYPE_CHECKING:  # these load TensorFlow
    from stockrnn.training.fitted import Start
    from stockrnn.training.loop import EpochReport

PLAN = "backtest.json"
MADE_BY = "backtest"
"""The manifest's key for the plan of a backtest."""


def backtest(
    config: Config,
    plan: Plan,
    folder: Path,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_fold: Callable[[Fold], None] | None = None,
    place: Place = LOCAL,
) -> Trained:
    """Walk through the test span, score it beside the baselines and write a run; an unfinished backtest in the folder goes on.

    Args:
        config: the whole config.
        plan: how the test span is walked through.
        folder: a new or empty folder, or one that holds an unfinished backtest of the same config, plan and data.
        on_epoch: called after each epoch; what it raises ends the backtest after its state was saved.
        on_fold: called after each fold; what it raises ends the backtest after the fold was saved.
        place: where folds are learned and forecast, or networks trained.

    Raises:
        StockRNNError: as `train`; nothing half-written stays but the state of an unfinished backtest.
    """
    watch, state = Stopwatch(), folder / CHECKPOINTS
    with run_in_the_making(folder), _dropping_unused(state), open_engine(config.train.workers, place) as engine:
        with watch.stage("read"):
            prices = load_prices(config.data, config.asked)
            folds = plan.cut(config, prices.table[DATE], prices.step)
            scored_rows(prices.table, walk_spans(folds), "test", config.window.horizon)  # before trainings that would be in vain
        begin_run(folder, config)
        _begin(state, plan, prices.data_hash)
        walk = _Walk(config, plan, prices.table, prices.known, folds, state, engine, engine.shares_files)
        trained = _backtest(walk, folder, prices, watch, on_epoch, on_fold)
        end_run(folder)
        return trained


def resume_backtest(
    config: Config,
    plan: Plan,
    folder: Path,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_fold: Callable[[Fold], None] | None = None,
    place: Place = LOCAL,
) -> Trained:
    """Go on with an unfinished backtest; one that had just become complete when it was killed is only opened. Raises as `backtest`."""
    if not is_complete(folder):
        return backtest(config, plan, folder, on_epoch, on_fold, place)
    run = open_complete(folder, config)
    if run.manifest.get(MADE_BY) != plan.to_dict():
        raise ConfigError(f"--resume needs the plan of the backtest. Received: another, and {folder} is complete. Choose another --run.")
    return Trained(run, run.json("metrics.json"), ())


def unfinished_backtest(chosen: str | None) -> tuple[Path, Config, Plan]:
    """The unfinished backtest that `--resume` means: the chosen folder, else the newest one in runs/.

    A chosen one that is complete is meant too: it may have been killed just after it was.

    Raises:
        ConfigError: there is none.
    """
    folder, config = unfinished_run(chosen)
    if is_complete(folder) and (made_by := open_run(folder).manifest.get(MADE_BY)):
        return folder, config, _plan_in({"plan": made_by}, folder / MANIFEST)
    path = folder / CHECKPOINTS / PLAN
    if not path.is_file():
        raise ConfigError(f"--resume needs an unfinished backtest. Received: {folder}, a training. Go on with `train --resume`.")
    return folder, config, _plan_in(_read_note(path), path)


def _begin(state: Path, plan: Plan, data_hash: str) -> None:
    """Note what is being walked through. Raises ConfigError where another walk was begun."""
    path, now = state / PLAN, {"plan": plan.to_dict(), "data": data_hash}
    if path.is_file():
        noted = _read_note(path)
        before = _plan_in(noted, path).to_dict()
        changed = [f"{key}: {before[key]} before, {value} now" for key, value in plan.to_dict().items() if before[key] != value]
        changed += ["other prices in the data"] if noted.get("data") != data_hash else []
        if changed:
            raise ConfigError(
                f"--resume needs the plan and data of the unfinished backtest. Received a difference: {'; '.join(changed)}. "
                "Ask for the same, or for another --run."
            )
    elif {entry.name for entry in state.iterdir()} != {"config.yaml"}:
        raise ConfigError(f"--run must be a new or empty folder. Received: {state.parent}, an unfinished training. Choose another.")
    write_bytes(path, to_json(now))


def _read_note(path: Path) -> Any:
    return parse_json(read_plain_file(path, LARGEST[".json"]), path)


def _plan_in(document: Any, path: Path) -> Plan:
    """The plan that a document notes. Raises RunDamagedError."""
    try:
        return Plan.from_dict(document["plan"])
    except (KeyError, TypeError, ConfigError) as error:
        raise RunDamagedError(f"{path} must hold the plan of a backtest. Received: {error!r}. Start again in another --run.") from None


@contextlib.contextmanager
def _dropping_unused(state: Path) -> Iterator[None]:
    """Drop what a failed backtest left unused, while its lock is held: nobody else's state is touched."""
    try:
        yield
    except InterruptedRunError:
        raise
    except BaseException:
        _drop_unused(state)
        raise


def _drop_unused(state: Path) -> None:
    """Take away the plan of a backtest that learned nothing, and folders that hold no state of training."""
    if not state.is_dir():
        return
    with storage_errors(state, "writable"):
        for entry in state.iterdir():
            if entry.is_dir() and not any(entry.iterdir()):
                entry.rmdir()
        if {entry.name for entry in state.iterdir()} == {"config.yaml", PLAN}:
            (state / PLAN).unlink()


@dataclass(frozen=True)
class _Walk:
    """A walk and the folder of its state: a file for each finished fold, a folder for the training of each refit."""

    config: Config
    plan: Plan
    prices: pd.DataFrame
    known: Known
    folds: Sequence[Fold]
    state: Path
    engine: Engine
    keeps_training: bool

    def teach(self, number: int, tell: Tell | None) -> Taught:
        """Learn what a fold forecasts with; a training that was finished before costs no epoch."""
        fold = self.folds[number]
        training = make_folder(self.state / f"fold{number}") if self.keeps_training else None
        context = TrainingContext(tell, training, self._starts(number), self.engine, self.known)
        taught = teach(self.config, self.plan, self.prices, fold, context)
        if self.plan.warm_start is not None:
            self._keep_start(number, taught)
        return taught

    def _keep_start(self, number: int, taught: Taught) -> None:
        from stockrnn.training.recurrent import save_weights

        parts = taught.learned.parts
        write_bytes(self.state / f"start{number}.safetensors", save_weights(parts.values()))
        write_bytes(self.state / f"start{number}.json", to_json([{"ticker": ticker, **part.state()} for ticker, part in parts.items()]))

    def _starts(self, number: int) -> dict[str, Start]:
        """Where the networks of a refit go on from: the weights of the refit before it, where the plan says so."""
        from stockrnn.training.fitted import Start
        from stockrnn.training.recurrent import parts_of, restore

        before = number - self.plan.refit
        if self.plan.warm_start is None or before < 0:
            return {}
        states = json.loads(read_bytes(self.state / f"start{before}.json"))
        parts = parts_of(restore(self.config, states, read_bytes(self.state / f"start{before}.safetensors")))
        return {ticker: Start(part.fitted, self.plan.warm_start) for ticker, part in parts.items()}

    def save(self, fold: Fold, document: dict[str, Any]) -> None:
        """Keep a finished fold, and drop the training that no later fold needs."""
        write_bytes(self._path(fold), to_sealed(document))
        following = self.folds[fold.number + 1 : fold.number + 2]
        if following and following[0].refits:
            with storage_errors(self.state, "writable"):
                shutil.rmtree(self.state / f"fold{fold.learned}", ignore_errors=True)

    def load(self, fold: Fold) -> dict[str, Any] | None:
        """What was kept of a fold; None where nothing whole was."""
        return read_sealed(self._path(fold))

    def _path(self, fold: Fold) -> Path:
        return self.state / f"forecasts{fold.number}.json"


def _backtest(
    walk: _Walk,
    folder: Path,
    prices: Prices,
    watch: Stopwatch,
    on_epoch: Callable[[EpochReport], None] | None,
    on_fold: Callable[[Fold], None] | None,
) -> Trained:
    config, folds = walk.config, walk.folds
    refits = len({fold.learned for fold in folds})
    load_training(watch, walk.engine, max(trainers(config), refits if walk.plan.warm_start is None else 1))
    sessions = begin_sessions(walk.engine, config, prices.step, prices.table)
    with watch.stage("walk"):
        taught = _finish_folds(walk, on_epoch, on_fold) or walk.teach(folds[-1].learned, on_epoch)
    with watch.stage("score"):
        kept = [walk.load(fold) or {} for fold in folds]
        before = kept[0]["calibration"]
        tables = (read_forecasts(each["forecasts"]) for each in kept if each["forecasts"] is not None)
        forecasts, widths = join_folds(tables, taught.learned.network.name, None if before is None else read_forecasts(before))
        history, network = _epochs(kept), taught.learned.network.name
        spans = scoring_spans(folds, prices.table, forecasts, config.target.column)
        metrics = begin_scores(walk.engine, config, prices.step, network, prices.table, spans, forecasts)
        pictures = begin_pictures(walk.engine, forecasts, history, network, config.target.column, prices.step)
        documents = [fold_document(fold, each["epochs"], prices.step) for fold, each in zip(folds, kept, strict=True)]

    def scores() -> dict[str, Any]:
        return {**metrics(), "folds": documents}

    rows = fold_rows(taught, config, walk_spans(folds), folds[-1])
    notes = _notes(kept)
    outcome = Outcome(taught.learned, taught.table, rows, forecasts, scores, notes, history, pictures, sessions, widths)
    return assemble(folder, config, prices, outcome, watch, walk.engine, **{MADE_BY: walk.plan.to_dict()})


def _finish_folds(walk: _Walk, on_epoch: Callable[[EpochReport], None] | None, on_fold: Callable[[Fold], None] | None) -> Taught | None:
    """Learn and forecast every fold that is not kept yet; what the last refit learned, if it learned now."""
    missing = [fold for fold in walk.folds if walk.load(fold) is None]
    units = [[fold for fold in missing if fold.learned == learned] for learned in dict.fromkeys(fold.learned for fold in missing)]

    def tell(fold: Fold) -> None:
        if on_fold is not None:
            on_fold(fold)

    def keep(unit: int, done: tuple[list[dict[str, Any]], Taught | None]) -> None:
        for fold, document in zip(units[unit], done[0], strict=True):
            walk.save(fold, document)
        for fold in units[unit]:
            tell(fold)

    for fold in walk.folds:
        if fold not in missing:
            tell(fold)
    if walk.plan.warm_start is None:
        results = walk.engine.run(_forecast_folds, walk, units, keep, on_epoch)
    else:  # each refit goes on from the one before
        results = []
        for number, unit in enumerate(units):
            results += walk.engine.run(_forecast_folds, walk, [unit], on_report=on_epoch)
            keep(number, results[-1])
    return results[-1][1] if results else None


def _forecast_folds(walk: _Walk, folds: Sequence[Fold], tell: Tell) -> tuple[list[dict[str, Any]], Taught | None]:
    """A unit of work: learn once, and forecast the folds that use it. What is kept of each; of the last refit, what it learned too."""
    taught = walk.teach(folds[0].learned, tell)
    spans = walk_spans(walk.folds)
    documents = [_fold(walk.config, taught, fold, *forecast_fold(taught, walk.config, spans, fold)) for fold in folds]
    if folds[0].learned != walk.folds[-1].learned:
        return documents, None
    return documents, replace(taught, learned=replace(taught.learned, baselines=()), more=())


def _fold(config: Config, taught: Taught, fold: Fold, forecasts: pd.DataFrame, failed: dict[str, str]) -> dict[str, Any]:
    """What is kept of a fold."""
    from stockrnn.training.recurrent import histories_table

    calibration = calibration_forecasts(taught, fold.spans) if fold.number == 0 and config.split.calibration > 0 else None
    histories = [history for part in taught.learned.parts.values() for history in part.fitted.histories]
    return {
        "forecasts": to_csv(forecasts).decode() if len(forecasts) else None,
        "history": to_csv(histories_table(taught.learned.parts)).decode() if fold.refits else None,
        "calibration": None if calibration is None else to_csv(calibration).decode(),
        "epochs": [history.restored_epoch for history in histories] if fold.refits else [],
        "failed": {**taught.failed, **failed},
        "notes": list(taught.learned.notes),
        "left_out": list(taught.left_out),
    }


def _epochs(kept: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The epochs of every refit, under the number of its fold."""
    tables = [(number, read_history(each["history"])) for number, each in enumerate(kept) if each["history"] is not None]
    joined = pd.concat([table.assign(fold=number) for number, table in tables], ignore_index=True)
    return joined[["fold", *(name for name in joined.columns if name != "fold")]]


def _notes(kept: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    failed = {f"{name}: {said}": None for each in kept for name, said in each["failed"].items()}
    left_out = {ticker: None for each in kept for ticker in each["left_out"]}
    notes = [f"Left out of some folds for want of history, or of what features need: {listed(list(left_out))}."] if left_out else []
    said = {note: None for each in kept for note in each["notes"]}
    return (*notes, *said, *failed)
