"""A search, batch after batch: what is tried, trained, ended early and kept. Reads and writes no file.

Settings are drawn, and their scores reported, in batches of one size and in the order of their numbers, whoever computes them and
however often the search is interrupted: the result depends on the space, the seed and the prices alone.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.configfile import result_tree
from stockrnn.engines import Engine, Tell
from stockrnn.errors import ConfigError, DataError
from stockrnn.evaluation.comparison import Comparison, compare
from stockrnn.evaluation.search import KEPT, Search
from stockrnn.evaluation.significance import cosine_count, diebold_mariano, losses_by_date
from stockrnn.evaluation.trials import Arena, base_fold, check_fold, try_fold
from stockrnn.evaluation.verdict import LEAST_SESSIONS, SIGNIFICANT, p_text
from stockrnn.prices.steps import dated, row_name, told
from stockrnn.searchspace import Space
from stockrnn.storage import sha256
from stockrnn.types import DATE

BATCH = 8
"""Trials that are drawn together: fewer would leave machines without work, more would teach the search less."""
SHOWN_TRIALS = 5
"""The best trials that a summary names."""
OPEN, COMPLETE, PRUNED, FAILED = "open", "complete", "pruned", "failed"

Results = MutableMapping[tuple[str, int], dict[str, Any]]
"""What `try_fold` gave, by the digest of a config and the number of a fold."""


@dataclass(frozen=True)
class Trial:
    """Settings and how they did.

    Attributes:
        number: 1, 2 … in the order in which they were asked for; 0 for the config itself.
        point: the value of each key of the space.
        config: the whole config.
        state: `complete`: scored over all folds; `pruned`: ended early; `failed`: these settings cannot learn; `open`: under way.
        folds: what `try_fold` gave of each fold that was tried.
        reason: why it failed.
    """

    number: int
    point: dict[str, Any]
    config: Config | None
    state: str
    folds: tuple[dict[str, Any], ...] = ()
    reason: str = ""

    @property
    def score(self) -> float | None:
        """The mean CRPS over the folds that were tried; None where a fold failed or none was tried."""
        scores = [fold["crps"] for fold in self.folds if "crps" in fold]
        return float(np.mean(scores)) if scores and len(scores) == len(self.folds) else None

    @property
    def epochs(self) -> int:
        """Epochs that were trained."""
        return sum(fold.get("epochs", 0) for fold in self.folds)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        digest = None if self.config is None else config_digest(self.config)
        said = {"reason": self.reason} if self.reason else {}
        return {"trial": self.number, "state": self.state, "score": self.score, "folds": len(self.folds), "epochs": self.epochs} | {
            "config": digest,
            "point": self.point,
            **said,
        }


def config_digest(config: Config) -> str:
    """What names a config in a ledger: a part of the SHA-256 of all that its result depends on."""
    return sha256(json.dumps(result_tree(config), sort_keys=True).encode())[:16]


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        own: the trial of the config itself.
        trials: all others.
        folds: how many folds a complete trial is scored over.
        importance: how much of the variance of the first fold's CRPS each key explains, largest first.
        in_currency: whether scores are in the prices' currency, or each ticker's in units of its naive MAE.
    """

    own: Trial
    trials: tuple[Trial, ...]
    folds: int
    importance: dict[str, float]
    in_currency: bool

    def __post_init__(self) -> None:
        """Refuse a search in which nothing could learn."""
        if self.trials and all(trial.state == FAILED for trial in self.trials):
            reason = self.trials[0].reason
            raise DataError(f"A trial of the space must be able to learn. Received: none of {len(self.trials)}; the first: {reason}")

    @property
    def best(self) -> Trial:
        """The trial with the lowest score over all folds, the first of equals; the config itself where none is below it."""
        return min((self.own, *(trial for trial in self.trials if trial.state == COMPLETE)), key=lambda trial: trial.score or 0.0)

    def _lowest(self) -> list[Trial]:
        complete = [trial for trial in self.trials if trial.state == COMPLETE]
        return sorted(complete, key=lambda trial: trial.score or 0.0)[:SHOWN_TRIALS]

    @property
    def gain(self) -> float:
        """The share by which the best score is below that of the config itself."""
        return 1.0 - (self.best.score or 0.0) / self.own.score if self.own.score else 0.0

    @property
    def epochs_saved(self) -> float | None:
        """The share of epochs that ending trials early saved: a fold not tried would have cost a trial its mean epochs so far."""
        tried = [trial for trial in self.trials if trial.folds and trial.state != FAILED]
        whole = sum(trial.epochs / len(trial.folds) * self.folds for trial in tried)
        return 1.0 - sum(trial.epochs for trial in tried) / whole if whole else None

    def to_dict(self) -> dict[str, Any]:
        """As tune.json holds it."""
        states = Counter(trial.state for trial in self.trials)
        return {
            "trials": {state: states[state] for state in (COMPLETE, PRUNED, FAILED)},
            "folds": self.folds,
            "epochs": self.own.epochs + sum(trial.epochs for trial in self.trials),
            "epochs_saved": self.epochs_saved,
            "config": {"crps": self.own.score},
            "best": {"trial": self.best.number, "crps": self.best.score, "settings": self.best.point},
            "lowest": [{"trial": each.number, "crps": each.score, "settings": each.point} for each in (self.own, *self._lowest())],
            "gain": self.gain,
            "in_currency": self.in_currency,
            "importance": self.importance,
        }


@dataclass
class Hunt:
    """A search under way.

    Attributes:
        base: the config whose keys are changed.
        space: what may be tried.
        arena: what configs are compared by.
        search: what says which to try.
        engine: where units run.
        results: what is known, filled from a ledger before.
        keep: called with digest, fold and result of each unit as it is done: writes the ledger.
        on_report: called after epochs.
        on_trial: called after each trial with how many are done.
    """

    base: Config
    space: Space
    arena: Arena
    search: Search
    engine: Engine
    results: Results
    keep: Callable[[str, int, dict[str, Any]], None]
    on_report: Tell
    on_trial: Callable[[int], None]
    trials: list[Trial] = field(default_factory=list)

    def run(self, count: int, goes_on: Callable[[], bool]) -> Found:
        """Try the config itself, and then so many settings, or as many as whole batches `goes_on` lets begin.

        Raises:
            StockRNNError: what the config itself raises: then nothing can be searched; DataError where no trial could learn.
        """
        folds = range(len(self.arena.folds))
        self._compute([(self.base, fold) for fold in folds], base_fold)
        own = Trial(0, {}, self.base, COMPLETE, self._known(self.base, len(folds)))
        self.on_trial(0)
        for first in range(1, count + 1, BATCH):
            if not goes_on():
                break
            self._batch(range(first, min(first + BATCH, count + 1)))
        importance = self.search.importance(_first_scores(self.trials))
        return Found(own, tuple(self.trials), len(folds), importance, len(self.arena.scales) == 1)

    def _batch(self, numbers: Iterable[int]) -> None:
        """Draw some trials, end the worse half of them after 1, 2, 4 … folds, and score the rest over all folds."""
        asked = [self._ask(number) for number in numbers]
        ended = [trial for trial in asked if trial.state == FAILED]
        alive, done = [trial for trial in asked if trial.state != FAILED], 0
        for border in rungs(len(self.arena.folds)):
            self._compute([(trial.config, fold) for trial in alive for fold in range(done, border) if trial.config], try_fold)
            alive = self._judge([self._scored(trial, border) for trial in alive], border)
            ended += [trial for trial in alive if trial.state != OPEN]
            alive, done = [trial for trial in alive if trial.state == OPEN], border
        for trial in sorted(ended, key=lambda trial: trial.number):
            self.trials.append(trial)
            self.on_trial(trial.number)

    def _ask(self, number: int) -> Trial:
        """A trial before its first fold."""
        point = self.search.ask()
        try:
            return Trial(number, point, self._config(point), OPEN)
        except ConfigError as error:
            return self._end(Trial(number, point, None, OPEN), FAILED, str(error))

    def _config(self, point: dict[str, Any]) -> Config:
        """The config with these settings. Raises ConfigError where they do not go together, or need what was not read."""
        config = self.space.config(self.base.model_dump(mode="json"), point)
        if more := set(config.asked.past) - set(self.base.asked.past):
            raise ConfigError(f"`features.columns` must be among those of the config, which are read. Received: {', '.join(sorted(more))}.")
        return config

    def _scored(self, trial: Trial, border: int) -> Trial:
        """The trial after its first `border` folds."""
        return replace(trial, folds=self._known(trial.config or self.base, border))

    def _judge(self, trials: Sequence[Trial], border: int) -> list[Trial]:
        """Tell the search how trials did: open ones are in the better half of these trials, and of all that came as far."""
        failures = {trial.number: str(fold["failed"]) for trial in trials for fold in trial.folds if "failed" in fold}
        learned = sorted((trial for trial in trials if trial.number not in failures), key=lambda trial: trial.score or 0.0)
        better = {trial.number for trial in learned[: -(-len(learned) // KEPT)]}
        judged = []
        for trial in trials:
            if trial.number in failures:
                judged.append(self._end(trial, FAILED, failures[trial.number]))
            elif border == len(self.arena.folds):
                judged.append(self._end(trial, COMPLETE))
            else:
                goes_on = self.search.goes_on(trial.number - 1, border, trial.score or 0.0)
                judged.append(trial if goes_on and trial.number in better else self._end(trial, PRUNED))
        return judged

    def _end(self, trial: Trial, state: str, reason: str = "") -> Trial:
        self.search.end(trial.number - 1, trial.score if state == COMPLETE else None)
        return replace(trial, state=state, reason=reason)

    def _known(self, config: Config, folds: int) -> tuple[dict[str, Any], ...]:
        return tuple(self.results[config_digest(config), fold] for fold in range(folds))

    def _compute(self, wanted: Sequence[tuple[Config, int]], unit: Any) -> None:
        """Compute the results that are not known yet, each config and fold once."""
        named = {(config_digest(config), fold): (config, fold) for config, fold in wanted}
        units = {name: each for name, each in named.items() if name not in self.results}
        names = list(units)

        def keep(number: int, result: dict[str, Any]) -> None:
            self.results[names[number]] = result
            self.keep(*names[number], result)

        self.engine.run(unit, self.arena, list(units.values()), keep, self.on_report)


def rungs(folds: int) -> Iterator[int]:
    """How many folds a trial has behind it when it is judged: 1, 2, 4 … and all."""
    yield from itertools.takewhile(lambda border: border < folds, (2**k for k in itertools.count()))
    yield folds


def _first_scores(trials: Iterable[Trial]) -> dict[int, float]:
    """What all trials have in common: the CRPS of the first fold, under the search's own numbers."""
    return {trial.number - 1: trial.folds[0]["crps"] for trial in trials if trial.folds and "crps" in trial.folds[0]}


def check_winner(found: Found, arena: Arena, engine: Engine, on_report: Tell, step: str = "") -> Comparison | str | None:
    """The config itself (`config`) and the best one (`best`) on a span that no trial saw; None where they are the same.

    A search may take hours, so one of them that cannot learn there does not end it: a text says which, and why.

    Args:
        found: what the search found.
        arena: from `make_check`.
        engine: where they are trained.
        on_report: called after epochs.
        step: what the rows are apart, by a name in `STEPS`.
    """
    if found.best is found.own:
        return None
    configs = [trial.config for trial in (found.own, found.best) if trial.config is not None]
    tables = engine.run(check_fold, arena, configs, on_report=on_report)
    compared = {}
    for name, table, config in zip(("config", "best"), tables, configs, strict=True):
        if isinstance(table, str):
            return f"the {'best config' if name == 'best' else name} could not be trained there. {table}"
        compared[name] = table, config.model.cell
    return compare(compared, step)


def check_document(checked: Comparison | str) -> dict[str, Any]:
    """What tune.json holds of the check."""
    if isinstance(checked, str):
        return {"failed": checked}
    first, last = (told(checked.forecasts[DATE].agg(end), checked.step) for end in ("min", "max"))
    span = {"start": first, "end": last, "sessions": checked.sessions}
    scores = {name: scores["crps"] for name, scores in checked.scores.items()}
    return {**span, "crps": scores, "gain": _held(checked), "p": _p(checked)}


def _held(checked: Comparison) -> float:
    """The share by which the loss of the best config is below that of the config itself."""
    return 1.0 - 1.0 / checked.pairs[0].ratios["crps"]


def _p(checked: Comparison) -> float | None:
    """The p-value of a Diebold-Mariano test that both are equally sharp; None where it is not defined."""
    losses, horizon = losses_by_date(checked.forecasts, "crps"), int(checked.forecasts["step"].max())
    outcome = diebold_mariano(losses["best"], losses["config"], horizon, cosine_count(len(losses), horizon))
    return None if outcome is None else outcome.p_value


def sentences(found: Found, checked: Comparison | str | None, calibrated: bool) -> list[str]:
    """What the search found and how much of it held, a sentence each.

    Args:
        found: what it found.
        checked: from `check_winner`.
        calibrated: whether that is the config's own calibration span.
    """
    own, best, count = found.own, found.best, len(found.trials)
    if checked is None:
        return [f"Validation: none of {count} trials had a lower CRPS than the config itself, so best.yaml is the config as it was."]
    scores = f"{own.score:.4g} → {best.score:.4g}, mean of {found.folds} folds"
    said = f"Validation: CRPS {100 * found.gain:.1f} % lower than the config's ({scores}), the best of {count} trials."
    if isinstance(checked, str):
        return [said, f"Check on rows which no trial saw: nothing shows that best.yaml is better, as {checked}"]
    p, held, names = _p(checked), _held(checked), row_name(checked.step, 2)
    first, last = (dated(checked.forecasts[DATE].agg(end), checked.step) for end in ("min", "max"))
    where = "calibration span" if calibrated else f"{names} before the test span"
    check = f"Check on the {where}, {first} to {last}, which no trial saw"
    if checked.sessions < LEAST_SESSIONS or p is None:
        return [said, f"{check}: {checked.sessions} {names} are too few for any claim."]
    way = f"CRPS {100 * abs(held):.1f} % {'lower' if held >= 0 else 'higher'}, {p_text(p)}"
    kept = "nothing" if held <= 0 else "all" if held >= found.gain else f"{100 * held / found.gain:.0f} %"
    shown = "better" if held > 0 and p < SIGNIFICANT else "not shown to be better"
    return [said, f"{check}: {kept} of the gain survived ({way}); best.yaml is {shown} than the config."]


def trials_table(found: Found, keys: Iterable[str]) -> pd.DataFrame:
    """A row a trial, the config itself (0) first: trial, state, crps (mean), folds, epochs, crps_1 … of each fold, its keys, reason."""
    rows = []
    for trial in (found.own, *found.trials):
        each = {f"crps_{number}": fold.get("crps") for number, fold in enumerate(trial.folds, 1)}
        facts = {"trial": trial.number, "state": trial.state, "crps": trial.score, "folds": len(trial.folds), "epochs": trial.epochs}
        settings = {key: _cell(trial.point.get(key, "")) for key in keys}
        rows.append({**facts, **{f"crps_{number}": each.get(f"crps_{number}") for number in range(1, found.folds + 1)}, **settings})
        rows[-1]["reason"] = trial.reason
    return pd.DataFrame(rows)


def _cell(value: Any) -> Any:
    """A setting as a cell of a table: a number or text as it is, a list as JSON."""
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
