"""Runs against each other, on the forecasts that all of them made."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.evaluation.metrics import KEYS, REFERENCE
from stockrnn.evaluation.scores import Table, reasons, score_table
from stockrnn.evaluation.significance import cosine_count, diebold_mariano, holm, losses_by_date, skill_interval
from stockrnn.evaluation.verdict import SIGNIFICANT, least_sessions, p_text
from stockrnn.prices.steps import dated, row_name
from stockrnn.types import TICKER

LOSSES = ("crps", "absolute")
SAME_PRICE = 1e-6
"""Relative difference up to which two runs' actual prices are the same."""
SEED = 0
UNSCALED = "runs may have learned from unlike spans, whose changes are the scale"
"""Why runs side by side have no MASE."""


@dataclass(frozen=True)
class Pair:
    """Two runs: the first one's mean loss divided by the second's, and Holm's p that they are equal, by loss."""

    first: str
    second: str
    ratios: Mapping[str, float]
    p_holm: Mapping[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """What runs did on the sessions they have in common.

    Attributes:
        forecasts: the forecast table of those sessions: each run's network under the run's name, and `naive`.
        sessions: cutoff dates in it.
        scores: the scores of each run, then of `naive`.
        intervals: 95 % bootstrap interval of each run's CRPS skill against naive.
        pairs: every two runs.
        best: the run with the lowest CRPS, each ticker's in units of its naive CRPS, as in pairs and sentences.
        sentences: what the tests allow one to say.
        step: what the rows are apart, by a name in `STEPS`; empty where no run says.
    """

    forecasts: pd.DataFrame
    sessions: int
    scores: Table
    intervals: Mapping[str, tuple[float, float] | None]
    pairs: tuple[Pair, ...]
    best: str
    sentences: tuple[str, ...]
    step: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        pairs = [{"runs": [pair.first, pair.second], "ratio": dict(pair.ratios), "p_holm": dict(pair.p_holm)} for pair in self.pairs]
        of_all = {"sessions": self.sessions, "forecasts": len(self.forecasts) // len(self.scores), "best": self.best}
        intervals = {run: interval and list(interval) for run, interval in self.intervals.items()}
        undefined = reasons([self.scores]) | dict.fromkeys(("mase", "skill_mase"), UNSCALED)
        said = {"pairs": pairs, "sentences": list(self.sentences)}
        return {"format": 1, **of_all, "runs": self.scores, "undefined": undefined, "skill_crps_95": intervals, **said}


def compare(runs: Mapping[str, tuple[pd.DataFrame, str]], step: str = "") -> Comparison:
    """Compare runs on the forecasts of the same ticker, cutoff and step.

    Losses are summed per cutoff date in units of each ticker's mean naive loss and compared by Diebold-Mariano, as in a
    verdict; p is Holm's over all pairs and losses.

    Args:
        runs: the forecast table of each run and the name of its network, by the name of the run; at least two.
        step: what the rows of all of them are apart, by a name in `STEPS`.

    Raises:
        DataError: no forecast in common, or other actual prices.
    """
    forecasts = _common(runs, step)
    sessions, horizon = forecasts["cutoff"].nunique(), int(forecasts["step"].max())
    losses = {loss: losses_by_date(forecasts, loss) for loss in LOSSES}
    scores = score_table(forecasts, {})
    pairs = _pairs(list(runs), losses, horizon)
    crps = losses["crps"]
    ranked = sorted(runs, key=lambda run: float(crps[run].sum()))
    intervals = {run: skill_interval(crps[run], crps[REFERENCE], SEED, horizon=horizon) for run in runs}
    ordered = {run: scores[run] for run in (*runs, REFERENCE)}
    said = tuple(_sentences(ranked, pairs, sessions, row_name(step, 2), least_sessions(horizon)))
    return Comparison(forecasts, sessions, ordered, intervals, pairs, ranked[0], said, step)


def _common(runs: Mapping[str, tuple[pd.DataFrame, str]], step: str) -> pd.DataFrame:
    """The forecast table of what all runs forecast."""
    mine = {run: _known(forecasts, network) for run, (forecasts, network) in runs.items()}
    keys = None
    for table in mine.values():
        keys = table.index if keys is None else keys.intersection(table.index)
    if keys is None or not len(keys):
        told = "; ".join(_span(run, forecasts, step) for run, (forecasts, _) in runs.items())
        raise DataError(f"The runs must have forecasts of the same ticker, cutoff and step in common. Received: {told}. Compare others.")
    first, (forecasts, _) = next(iter(runs.items()))
    mine = {run: table.loc[keys].assign(model=run) for run, table in mine.items()}
    for run, table in mine.items():
        if not np.allclose(table["actual"], mine[first]["actual"], rtol=SAME_PRICE, atol=0):
            raise DataError(f"The runs must be scored on the same prices. Received: others in {run} than in {first}. Use one data file.")
    naive = _known(forecasts, REFERENCE).loc[keys]
    return pd.concat([*mine.values(), naive]).reset_index()


def _known(forecasts: pd.DataFrame, model: str) -> pd.DataFrame:
    rows = forecasts[(forecasts["model"] == model) & forecasts["actual"].notna()]
    return rows.set_index(KEYS).sort_index()


def _span(run: str, forecasts: pd.DataFrame, step: str) -> str:
    tickers = list(forecasts[TICKER].unique())
    named = tickers[0] if len(tickers) == 1 else f"{len(tickers)} tickers"
    return f"{run} with {named} from {dated(forecasts['cutoff'].min(), step)} to {dated(forecasts['cutoff'].max(), step)}"


def _pairs(runs: list[str], losses: Mapping[str, pd.DataFrame], horizon: int) -> tuple[Pair, ...]:
    tests = {}
    for first, second in itertools.combinations(runs, 2):
        for loss, table in losses.items():
            tests[first, second, loss] = diebold_mariano(table[first], table[second], horizon, cosine_count(len(table), horizon))
    defined = {key: outcome.p_value for key, outcome in tests.items() if outcome is not None}
    adjusted = dict(zip(defined, holm(list(defined.values())), strict=True))
    return tuple(
        Pair(
            first,
            second,
            {loss: float(table[first].sum() / table[second].sum()) if table[second].sum() else 1.0 for loss, table in losses.items()},
            {loss: adjusted.get((first, second, loss)) for loss in losses},
        )
        for first, second in itertools.combinations(runs, 2)
    )


def _sentences(ranked: list[str], pairs: tuple[Pair, ...], sessions: int, names: str, least: int) -> list[str]:
    if sessions < least:
        return [f"No verdict: {sessions} {names} in common are too few for any claim; at least {least} are needed."]
    best, told = ranked[0], []
    for other in ranked[1:]:
        pair = next(pair for pair in pairs if {pair.first, pair.second} == {best, other})
        ratio = pair.ratios["crps"] if pair.first == best else 1 / pair.ratios["crps"]
        p = pair.p_holm["crps"]
        if p is None:
            told.append(f"Distribution: {best} is the same as {other}.")
            continue
        word = "is sharper than" if p < SIGNIFICANT else "is not shown to be sharper than"
        told.append(f"Distribution: {best} {word} {other} (CRPS {100 * (1 - ratio):.2f} % lower, {p_text(p)}).")
    return told
