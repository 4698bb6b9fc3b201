"""What was learnt and scored → the files of a run, the same for every command that makes one."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.beside import begin
from stockrnn.config import Config
from stockrnn.configfile import config_changes, to_yaml
from stockrnn.engines import ALONE, Engine, Tell
from stockrnn.errors import ConfigError, DataError, InterruptedRunError
from stockrnn.evaluation.conformal import Widths
from stockrnn.evaluation.learning import MOST_SENT, Learned
from stockrnn.evaluation.scores import score_rows, without_crowds
from stockrnn.evaluation.scoring import score_document
from stockrnn.features.splits import Spans
from stockrnn.features.windows import Windows
from stockrnn.garbage import uncollected
from stockrnn.interrupts import safe_place
from stockrnn.prices.loading import Prices
from stockrnn.prices.sessions import sessions_to_keep
from stockrnn.prices.steps import instant, number_of, numbered, told
from stockrnn.prices.tickers import ticker_slices
from stockrnn.reports.plots import FIGURES, render_figures, run_figures
from stockrnn.reports.tables import listed, titled
from stockrnn.runs.directory import CHECKPOINTS, PLOTS, RUNS, Run, end_run, model_names, open_run, remove_unfinished, write_run
from stockrnn.runs.files import to_csv, to_json
from stockrnn.runs.inference import TOLERANCE, export_difference
from stockrnn.runs.origin import MADE_IN, mark_of
from stockrnn.runs.parquet import forecasts_file
from stockrnn.storage import lock_folder, storage_errors
from stockrnn.types import DAILY, DATE, TICKER, UNDATED

if TYPE_CHECKING:  # it loads TensorFlow
    from stockrnn.training.recurrent import RecurrentForecaster

ERRANDS = ("arch", "exchange_calendars", "matplotlib.backends.backend_agg", "matplotlib.dates", "matplotlib.figure", "matplotlib.style")
"""What fitting baselines, looking up calendars and drawing import, for a worker that has nothing else to do."""
LONGEST = {"calibration", "change"}
"""Pictures that take the longest to draw: they are begun first."""
IN_VAIN = (ConfigError, DataError)
"""What ends a run for good: going on with what it has learnt would end the same way."""
CALENDAR_TICKERS = 20
"""Most tickers whose calendars a run keeps."""
VERSIONED = ("stockrnn", "tensorflow", "keras", "numpy", "pandas", "onnxruntime")


@dataclass(frozen=True)
class Trained:
    """What a command that makes a run leaves.

    Attributes:
        run: the complete run.
        metrics: the document in metrics.json.
        notes: what a user should know of data, features and export, a sentence each.
    """

    run: Run
    metrics: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What was learnt and scored.

    Attributes:
        learned: what `predict` will forecast with.
        table: the price table that `learned` knows.
        rows: the cutoff rows in it that were forecast by `learned`.
        forecasts: the forecast table of the test span.
        metrics: waits for the document of scores; begun by `begin_scores`.
        notes: what a user should know of them.
        history: a row for each network and epoch, and each refit of a walk.
        pictures: waits for those of the run, by the names of their files; begun by `begin_pictures`.
        sessions: waits for what the run keeps of calendars; begun by `begin_sessions`.
        widths: what `predict` will multiply the spread of the network's quantiles by.
    """

    learned: Learned
    table: pd.DataFrame
    rows: np.ndarray
    forecasts: pd.DataFrame
    metrics: Callable[[], dict[str, Any]]
    notes: tuple[str, ...]
    history: pd.DataFrame
    pictures: Callable[[], dict[str, bytes]]
    sessions: Callable[[], dict[str, Any]]
    widths: Widths = field(default_factory=Widths)


class Stopwatch:
    """Wall time of each stage."""

    def __init__(self) -> None:
        """Start with no stage."""
        self.elapsed_s: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under a name, which several may share; before it is a safe place to stop."""
        safe_place()
        start = time.perf_counter()
        yield
        self.elapsed_s[name] = round(self.elapsed_s.get(name, 0.0) + time.perf_counter() - start, 3)


def load_training(watch: Stopwatch, engine: Engine, units: int, *errand: Any) -> Callable[[], Any] | None:
    """Load TensorFlow, which takes seconds, apart from what is timed after it; another process gets ready meanwhile.

    It does the errand, a function and its arguments, takes some of so many units that train, where there are two, and draws
    pictures while this one exports. What waits for the errand's result is returned.
    """
    with watch.stage("import"):
        engine.prepare(max(units, 2), ["stockrnn.training.recurrent"] if units > 1 else ())
        begun = begin(engine, *errand) if errand else None
        if units == 1:
            begin(engine, _load, ERRANDS)
        from stockrnn.models.backend import HAS_GPU, PROGRAMS_NOTE
        from stockrnn.training import recurrent  # noqa: F401

    engine.crowded = HAS_GPU
    engine.notes += [PROGRAMS_NOTE] if PROGRAMS_NOTE else []
    return begun


def _load(modules: Sequence[str]) -> None:
    with uncollected(lasting=True):
        for name in modules:
            importlib.import_module(name)


@contextlib.contextmanager
def run_in_the_making(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder; what fails takes away what it left unfinished, what is interrupted can go on.

    Raises:
        RunInUseError: another process writes there.
    """
    existed = folder.is_dir() and folder.parent != Path(RUNS)  # those there were made for this run
    begun = True
    try:
        with lock_folder(folder):
            begun = (folder / CHECKPOINTS).exists()
            yield
    except BaseException as error:
        if not isinstance(error, InterruptedRunError) or not (folder / CHECKPOINTS).exists():  # else the user is told how to go on
            remove_unfinished(folder, existed, in_vain=not begun and isinstance(error, IN_VAIN))
        raise


def open_complete(folder: Path, config: Config) -> Run:
    """A run that had just become complete when it was killed, its state of training taken away. Raises ConfigError for another config."""
    with lock_folder(folder):
        end_run(folder)
    run = open_run(folder)
    if config_changes(run.config.model_dump(mode="json"), config):
        raise ConfigError(f"--resume needs the config of the run. Received: another, and {folder} is complete. Choose another --run.")
    return run


def assemble(
    folder: Path, config: Config, prices: Prices, outcome: Outcome, watch: Stopwatch, engine: Engine = ALONE, **facts: Any
) -> Trained:
    """Export the network, draw the pictures and write the run; `facts` join those in its manifest."""
    from stockrnn.models.backend import spare_memory
    from stockrnn.training.recurrent import save_weights

    learned, table, forecasts = outcome.learned, outcome.table, outcome.forecasts
    spare_memory()  # what learning and scoring left: of a panel, as much again as its forecasts
    with watch.stage("export and plot"), storage_errors(Path(tempfile.gettempdir()), "a writable folder, for the export"):
        models, difference, pictures = _export_and_draw(outcome, engine)
    spare_memory()
    with watch.stage("score"):
        scores = outcome.metrics()
    metrics = {**scores, "test": without_crowds(scores["test"])}
    files = {
        "config.yaml": to_yaml(config).encode(),
        "weights.safetensors": save_weights(learned.parts.values()),
        **models,
        "scaler.json": _state(learned, outcome.widths, list(models), prices.step),
        "metrics.json": to_json(metrics),
        "scores.csv": to_csv(score_rows(scores["test"])),
        "history.csv": to_csv(outcome.history),
        **forecasts_file(numbered(forecasts, prices.step)),
        **{f"{PLOTS}/{name}": data for name, data in pictures.items()},
    }
    counts = {**_window_counts(learned), "test": int(scores["test"]["n"]) // config.window.horizon}
    found = {
        "windows": counts,
        "onnx_difference": difference,
        "outliers": _outliers(learned, table, prices.step),
        **outcome.sessions(),
    }
    safe_place()
    write_run(folder, files, _facts(config, prices, watch) | found | facts | {MADE_IN: mark_of(folder)})
    notes = dict.fromkeys((*outcome.notes, *_unscored(outcome), *_notes(prices, learned, difference), *engine.notes))
    return Trained(open_run(folder), metrics, tuple(notes))


def _export_and_draw(outcome: Outcome, engine: Engine) -> tuple[dict[str, bytes], float, dict[str, bytes]]:
    """The exported models by file name, their largest relative difference from Keras on the test span, and the pictures."""
    units = []
    for part, mine, prices in outcome.learned.each(outcome.table):
        cutoffs = np.searchsorted(mine, np.intersect1d(outcome.rows, mine))
        units.append((part, part.fitted.pipeline.windows_at(prices, cutoffs) if len(cutoffs) else None))
    models, differences = zip(*engine.run(_export, None, units), strict=True)
    return dict(zip(model_names(len(units)), models, strict=True)), max(differences), outcome.pictures()


def begin_scores(
    engine: Engine,
    config: Config,
    step: str,
    network: str,
    table: pd.DataFrame,
    spans: Spans,
    forecasts: pd.DataFrame,
    others: Mapping[str, Any] | None = None,
) -> Callable[[], dict[str, Any]]:
    """Begin to score the forecasts of the test span, where the tables are not too large to be sent; what waits for the document."""
    judged: dict[str, Any] = {"seed": config.train.seed, "head": config.model.head, "step": step}
    scores = functools.partial(score_document, network, table, config.target, spans, forecasts, others, **judged)
    return begin(engine, scores) if len(table) + len(forecasts) <= MOST_SENT else scores


def begin_pictures(
    engine: Engine, forecasts: pd.DataFrame, history: pd.DataFrame, network: str, column: str, step: str
) -> Callable[[], dict[str, bytes]]:
    """Begin to draw the pictures of a run, each one apart where its table is not too large to be sent; what waits for them."""
    subject = forecasts, history, network, column, step
    if len(forecasts) > MOST_SENT:
        return functools.partial(_draw, list(FIGURES), *subject)
    names = sorted(FIGURES, key=lambda name: name not in LONGEST)
    begun = [begin(engine, _draw, [name], *subject) for name in names]

    def drawn() -> dict[str, bytes]:
        pieces = [each() for each in reversed(begun)]  # workers take the first ones
        return {name: data for piece in reversed(pieces) for name, data in piece.items()}

    return drawn


def _draw(names: Sequence[str], forecasts: pd.DataFrame, history: pd.DataFrame, network: str, column: str, step: str) -> dict[str, bytes]:
    """Pictures of a run under the names of their files."""
    title = titled(list(forecasts[TICKER].unique()))
    with uncollected():
        return render_figures(run_figures(forecasts, history, network, title, column=column, names=names, step=step), "png")


def _export(_: None, unit: tuple[RecurrentForecaster, Windows | None], __: Tell) -> tuple[bytes, float]:
    """A unit of work: one network as an exported model, and how far that is from Keras on these windows."""
    part, windows = unit
    model = part.onnx()
    return model, 0.0 if windows is None else export_difference(model, windows, part.outputs(windows))


def _state(learned: Learned, widths: Widths, models: Sequence[str], step: str) -> bytes:
    """What scaler.json holds: each network's ticker, model file, pipeline and readout, the conformal shifts, and the widths of a walk."""
    parts = zip(models, learned.parts.items(), strict=True)
    states = [{"ticker": ticker, "model": model, **part.state()} for model, (ticker, part) in parts]
    if step == UNDATED:
        for state in states:
            _number(state["pipeline"])
    followed = {"widths": widths.to_dict()} if widths.factors else {}
    return to_json({"format": 1, "parts": states, "conformal": learned.conformal.to_list(), **followed})


def _number(pipeline: dict[str, Any]) -> None:
    """Put numbers of sessions in place of the dates that stand for them."""
    renewals = [anchor["renewal"] for anchor in pipeline["anchors"].values() if "renewal" in anchor]
    for state, name in ((pipeline["limits"], "train_end"), *((renewal, "after") for renewal in renewals)):
        state[name] = number_of(instant(state[name]))


def _window_counts(learned: Learned) -> dict[str, int]:
    counts = [part.fitted.windows for part in learned.parts.values()]
    return {span: sum(count.get(span, 0) for count in counts) for span in ("train", "validation", "calibration")}


def _facts(config: Config, prices: Prices, watch: Stopwatch) -> dict[str, Any]:
    return {
        "created": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
        "seed": config.train.seed,
        "data": {"hash": prices.data_hash, "step": prices.step, "rows": len(prices.table)},
        "findings": [finding.to_dict() for finding in prices.findings],
        "versions": versions(),
        "machine": {"processor": platform.machine(), "system": platform.system()},
        "elapsed_s": watch.elapsed_s,
    }


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in VERSIONED}}


def begin_sessions(engine: Engine, config: Config, step: str, table: pd.DataFrame) -> Callable[[], dict[str, Any]]:
    """Begin to look up the calendars that `predict` will ask for, as the first tickers speak for them; what waits for them."""
    if step != DAILY:
        return dict
    some = list(ticker_slices(table[TICKER]).items())[:CALENDAR_TICKERS]
    dates = {ticker: pd.DatetimeIndex(table[DATE].iloc[rows]) for ticker, rows in some}
    return begin(engine, _sessions, dates, config.data.calendar)


def _sessions(dates: dict[str, pd.DatetimeIndex], calendar: str) -> dict[str, Any]:
    return {"sessions": sessions_to_keep(dates, calendar)}


def _outliers(learned: Learned, table: pd.DataFrame, step: str) -> list[dict[str, Any]]:
    """Every return that was flagged or altered."""
    touched = [part.fitted.pipeline.limits.apply(prices)[1] for part, _, prices in learned.each(table)]
    rows = pd.concat(touched).to_dict("records")
    return [{str(name): value for name, value in row.items()} | {DATE: told(row[DATE], step)} for row in rows]


def _unscored(outcome: Outcome) -> Iterator[str]:
    """That tickers were learned from which no score tells of, such as those that are no longer traded."""
    scored = set(outcome.forecasts[TICKER])
    if unscored := [ticker for ticker in outcome.table[TICKER].unique() if ticker not in scored]:
        yield f"Learned from but not scored, for want of a whole forecast in the test span: {listed(unscored)}."


def _notes(prices: Prices, learned: Learned, difference: float) -> Iterator[str]:
    if prices.findings:
        kinds = ", ".join(f"{finding.kind.replace('_', ' ')} ({finding.count})" for finding in prices.findings)
        yield f"Found in the data: {kinds}. `stockrnn inspect` shows where; manifest.json keeps it."
    yield from learned.notes
    if difference > TOLERANCE:
        yield f"The exported model differs from Keras by {difference:.1e}, more than {TOLERANCE:g}: `predict` will use Keras."
