"""`tune`: a config, a space and a price file → the best config found, and an honest word on it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stockrnn.config import Config
from stockrnn.configfile import to_yaml
from stockrnn.engines import Tell
from stockrnn.errors import ConfigError
from stockrnn.evaluation.comparison import Comparison
from stockrnn.evaluation.search import Search
from stockrnn.evaluation.trials import Arena, make_arena, make_check
from stockrnn.evaluation.tuning import BATCH, Found, Hunt, check_document, check_winner, config_digest, sentences, trials_table
from stockrnn.interrupts import safe_place
from stockrnn.places import LOCAL, Place, open_engine
from stockrnn.prices.loading import load_prices
from stockrnn.prices.steps import told
from stockrnn.recipes.assembly import Stopwatch, load_training, run_in_the_making, versions
from stockrnn.reports.plots import render_figures
from stockrnn.reports.tuning import tuning_figures
from stockrnn.runs.directory import PLOTS, end_run
from stockrnn.runs.files import to_csv
from stockrnn.runs.searches import (
    LEDGER,
    Results,
    Terms,
    begin_search,
    keep_result,
    ledger_bytes,
    terms_of,
    unfinished_search,
    write_search,
)
from stockrnn.searchspace import Space, refuse_settled
from stockrnn.types import DATE, TICKER

TRIALS, FOLDS = 40, 4
"""Trials and folds of a search that asks for no other number."""
MOST_TRIALS = 100_000


@dataclass(frozen=True)
class Effort:
    """How much is tried.

    Attributes:
        trials: how many settings are tried; None for as many as `time_s` lets begin.
        time_s: seconds after which no more are begun; None for no limit.
        folds: how many walk-forward folds a config is scored over.

    Raises:
        ConfigError: a value that cannot be.
    """

    trials: int | None = TRIALS
    time_s: float | None = None
    folds: int = FOLDS

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for option, value, most in (("--trials", self.trials, MOST_TRIALS), ("--folds", self.folds, 1000), ("--time", self.time_s, 1e9)):
            if value is not None and not 0 < value <= most:
                raise ConfigError(f"{option} must be above 0 and at most {most:g}. Received: {value:g}.")


@dataclass(frozen=True)
class Tuned:
    """What a search leaves.

    Attributes:
        folder: where it lies.
        summary: the document in tune.json.
        notes: what a user should know of the data and of lost units, a sentence each.
    """

    folder: Path
    summary: dict[str, Any]
    notes: tuple[str, ...] = ()


def tune(
    config: Config,
    space: Space,
    folder: Path,
    effort: Effort | None = None,
    on_report: Tell = lambda _: None,
    on_trial: Callable[[int], None] = lambda _: None,
    place: Place = LOCAL,
) -> Tuned:
    """Search a space for the config with the lowest CRPS before the calibration span; an unfinished search in the folder goes on.

    Args:
        config: the config whose keys are changed.
        space: what may be tried.
        folder: a new or empty folder, or one that holds a search of the same config, space, folds and prices.
        effort: how much is tried.
        on_report: called after epochs; what it raises ends the search, and what is done stays.
        on_trial: called after each trial with how many are done; likewise.
        place: where trials run.

    Raises:
        StockRNNError: MissingExtraError without Optuna; ConfigError for another search in the folder or a key that changes nothing; what
            the config itself raises.
    """
    asked, watch = effort or Effort(), Stopwatch()
    with run_in_the_making(folder), open_engine(config.train.workers, place) as engine:
        refuse_settled(space, config)
        search = Search(space, config.train.seed)
        with watch.stage("read"):
            prices = load_prices(config.data, config.asked)
            arena = make_arena(config, prices.table, asked.folds, prices.known)
        terms = Terms(config, space, asked.folds, _facts(arena, prices.step))
        results = begin_search(folder, terms, asked.trials)
        load_training(watch, engine, BATCH)
        with watch.stage("search"):
            hunt = Hunt(config, space, arena, search, engine, results, partial(keep_result, folder), on_report, on_trial)
            until = math.inf if asked.time_s is None else time.monotonic() + asked.time_s
            found = hunt.run(asked.trials or MOST_TRIALS, lambda: time.monotonic() < until)
        with watch.stage("check"):
            checked = check_winner(found, make_check(config, prices.table, prices.known), engine, on_report, prices.step)
        summary = _write(folder, terms, results, found, checked, watch)
        end_run(folder)
        return Tuned(folder, summary, tuple(engine.notes))


def unfinished_tune(chosen: str | None) -> tuple[Path, Config, Space, Effort]:
    """The search that `--resume` means, and what it was asked for: the chosen folder, else the newest unfinished one in runs/.

    Raises:
        ConfigError: there is none.
    """
    folder, kept = unfinished_search(chosen)
    terms = terms_of(kept, folder)
    return folder, terms.config, terms.space, Effort(kept["trials"], None, terms.folds)


def _facts(arena: Arena, step: str) -> dict[str, Any]:
    """What names the prices that trials see."""
    dates = arena.prices[DATE]
    span = {"start": told(dates.min(), step), "end": told(dates.max(), step)}
    return {"sha256": arena.digest, **span, "sessions": dates.nunique(), "tickers": arena.prices[TICKER].nunique()}


def _write(
    folder: Path, terms: Terms, results: Results, found: Found, checked: Comparison | str | None, watch: Stopwatch
) -> dict[str, Any]:
    """Draw the pictures and write all files; the document in tune.json."""
    config, trials = terms.config, (found.own, *found.trials)
    with watch.stage("plot"):
        pictures = render_figures(tuning_figures(found, terms.space, Path(config.data.path).name), "png")
    names = {(config_digest(trial.config), fold) for trial in trials if trial.config is not None for fold in range(len(trial.folds))}
    used = {name: results[name] for name in names}
    files = {
        "best.yaml": to_yaml(found.best.config or config).encode(),
        "trials.csv": to_csv(trials_table(found, terms.space.domains)),
        LEDGER: ledger_bytes(terms, used, [trial.to_dict() for trial in trials]),
        **{f"{PLOTS}/{name}": data for name, data in pictures.items()},
    }
    said = sentences(found, checked, config.split.calibration > 0)
    document = {"sentences": said, **found.to_dict(), "check": checked and check_document(checked), "searched": dict(terms.data)}
    safe_place()
    return write_search(folder, files, {**document, "versions": versions(), "elapsed_s": watch.elapsed_s})
