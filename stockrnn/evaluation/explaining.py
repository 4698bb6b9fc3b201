"""What a trained network relies on: which features, of which sessions. Measured on windows it has not learned from.

Importance says what the forecast loses without a feature, gradients how it moves with one: neither says why prices move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stockrnn.evaluation.conformal import Calibration
from stockrnn.evaluation.metrics import crps_rows
from stockrnn.features.anchors import Anchor
from stockrnn.features.pipeline import Pipeline
from stockrnn.features.windows import Windows
from stockrnn.models.seeds import derive_seed
from stockrnn.models.windowed import with_history
from stockrnn.types import QUANTILE_COLUMNS, TICKER

if TYPE_CHECKING:  # these load TensorFlow
    from stockrnn.models.sensitivity import Sensitivity
    from stockrnn.training.fitted import Fitted
    from stockrnn.training.recurrent import RecurrentForecaster

REPEATS = 10
"""Permutations of each feature; their standard deviation is shown."""
RELATED = 0.5
"""Features whose ranks correlate more than this are also permuted together: each could stand in for the other."""
MOST_AT_ONCE = 16_384
"""Most windows that are forecast together, each counted once for every permutation."""
MOST_WINDOWS = 2048
"""Windows whose gradients are taken, evenly spaced over the test span."""
ALL = "all features"


@dataclass(frozen=True)
class Subject:
    """A trained network and the windows it is looked at with.

    Attributes:
        part: the network of one ticker, or of all.
        prices: the price table it looks at.
        rows: cutoff rows in it, shape (n,).
        inputs: what the network is given: windows of shape (n, timesteps, features), then what stands beside them, each (n, …).
        actual: prices of each step, shape (n, horizon), in currency.
        conformal: the run's shifts.
    """

    part: RecurrentForecaster
    prices: pd.DataFrame
    rows: np.ndarray
    inputs: Sequence[np.ndarray]
    actual: np.ndarray
    conformal: Calibration

    @property
    def fitted(self) -> Fitted:
        """What the network learned."""
        return self.part.fitted

    @property
    def tickers(self) -> np.ndarray:
        """The ticker of each window, shape (n,)."""
        return np.asarray(self.prices[TICKER].to_numpy()[self.rows])

    @property
    def timesteps(self) -> int:
        """Those of a window."""
        return int(self.inputs[0].shape[1])

    def crps(self, inputs: Sequence[np.ndarray], pipeline: Pipeline | None = None) -> np.ndarray:
        """The CRPS of each window's forecast, mean over its steps, if it had seen these inputs: shape (tries, n), in currency.

        Args:
            inputs: one or more tries of all windows, one after the other, as `inputs` but of tries · n windows.
            pipeline: what to read the network's outputs with; the network's own where there is none.
        """
        pipeline = pipeline or self.fitted.pipeline
        n, timesteps, features = inputs[0].shape
        tries = n // len(self.rows)
        series, ends = inputs[0].reshape(n * timesteps, features), np.arange(1, n + 1) * timesteps - 1
        beside = {name: np.repeat(each, timesteps, axis=0) for name, each in zip(pipeline.beside, inputs[1:], strict=True)}
        unknown = np.full((n * timesteps, self.part.horizon), np.nan, np.float32)
        raw = self.part.outputs(Windows(series, unknown, ends, timesteps, beside))
        rows = np.tile(self.rows, tries)
        said = with_history(self.fitted.readout.quantiles(raw), pipeline, self.prices, rows, self.part.config.model)
        quantiles = pipeline.to_prices(said, self.prices, rows)
        steps = np.tile(np.arange(1, self.part.horizon + 1), n)
        table = pd.DataFrame(quantiles.reshape(len(steps), -1), columns=list(QUANTILE_COLUMNS)).assign(step=steps)
        shifted = self.conformal.apply(table)[list(QUANTILE_COLUMNS)].to_numpy()
        return np.asarray(crps_rows(np.tile(self.actual.reshape(-1), tries), shifted).reshape(tries, len(self.rows), -1).mean(axis=2))


@dataclass(frozen=True)
class Explanation:
    """What a trained network listens to.

    Attributes:
        windows: how many windows of the test span were looked at.
        crps: the network's CRPS on them, in currency.
        importance: one row a feature, group of related features, and all of them: `name`, `features` (tuple), `kind` (feature,
            group, all), `increase` of the CRPS when permuted over the windows and its `spread` over the repeats (1 is 100 %).
        names: features in the order of the arrays below.
        reliance: mean of |gradient · input| by timestep and feature, for each thing the head says: shape (timesteps, features).
        memory: one row a member and lag (0 is the cutoff): `member`, `cell`, `lag`, `norm`, the mean norm of d forecast / d input.
        attention: mean weight of each timestep, shape (queries, timesteps), or None where there is no attention.
        anchor: increase of the CRPS without each part of the anchor that the forecasts start from, by a name in `ANCHOR_PARTS`.
    """

    windows: int
    crps: float
    importance: pd.DataFrame
    names: tuple[str, ...]
    reliance: dict[str, np.ndarray]
    memory: pd.DataFrame
    attention: np.ndarray | None
    anchor: dict[str, float] = field(default_factory=dict)


ANCHOR_PARTS: dict[str, Callable[[Anchor], Anchor]] = {"location": Anchor.without_location, "agenda": Anchor.without_agenda}
"""The parts of an anchor beside its volatility model: each with what leaves it out."""


def explain(subjects: Sequence[Subject], seed: int, tell: Callable[[int, int], Any] = lambda *_: None) -> Explanation:
    """Look into the networks of a run.

    Args:
        subjects: each network with its windows.
        seed: `train.seed`; the permutations derive from it.
        tell: called with the number of steps done and of all.
    """
    names = tuple(dict.fromkeys(name for subject in subjects for name in subject.fitted.pipeline.names))
    crps = np.concatenate([subject.crps(subject.inputs)[0] for subject in subjects])
    ahead = (name for subject in subjects for name in subject.fitted.pipeline.ahead.columns)
    groups = permuted_together(subjects, names, tuple(dict.fromkeys(ahead)))
    steps = len(groups) + len(subjects)
    importance = feature_importance(subjects, groups, seed, lambda done: tell(done, steps))
    looks = []
    for done, subject in enumerate(subjects, start=len(groups) + 1):
        looks.append((subject, _look(subject)))
        tell(done, steps)
    shares = np.array([len(subject.rows) for subject in subjects]) / len(crps)
    reliance = _mean([_reliance(subject, look, names) for subject, look in looks], shares)
    memory = _mean([_memory(look, subject.timesteps) for subject, look in looks], shares)
    attention = [_attention(look, subject.timesteps) for subject, look in looks]
    known = [each for each in attention if each is not None]
    return Explanation(
        len(crps),
        float(crps.mean()),
        importance,
        names,
        reliance,
        _memory_table(memory["norm"], subjects[0]),
        _mean([{"weight": each} for each in known], shares)["weight"] if known else None,
        _anchor(subjects),
    )


def _anchor(subjects: Sequence[Subject]) -> dict[str, float]:
    """`Explanation.anchor`, of the parts that any of the anchors has."""
    found: dict[str, float] = {}
    for name, leave_out in ANCHOR_PARTS.items():
        before, after = [], []
        for subject in subjects:
            pipeline = subject.fitted.pipeline
            other = replace(pipeline, anchors={ticker: leave_out(anchor) for ticker, anchor in pipeline.anchors.items()})
            before.append(subject.crps(subject.inputs)[0])
            after.append(subject.crps(subject.inputs, other)[0])
        grown = _relative(subjects, before, np.concatenate(after)[None])
        found |= {name: float(grown[0])} if grown.any() else {}
    return found


Group = tuple[str, tuple[str, ...], str]
"""What is permuted at once: its name, its features, and its kind."""


def permuted_together(subjects: Sequence[Subject], names: Sequence[str], ahead: Sequence[str] = ()) -> list[Group]:
    """Each feature of the windows and what is known ahead, each group of related features, and all of them."""
    every = tuple(dict.fromkeys((*names, *ahead)))
    groups: list[Group] = [(name, (name,), "feature") for name in every]
    groups += [(" + ".join(group), group, "group") for group in related(subjects, names)]
    return [*groups, (ALL, every, "all")] if len(every) > 1 else groups


def feature_importance(
    subjects: Sequence[Subject], groups: Sequence[Group], seed: int, tell: Callable[[int], Any] = lambda *_: None
) -> pd.DataFrame:
    """By how much the CRPS grows when features are taken from other windows of the same ticker.

    A feature keeps its course within a window and its distribution, and loses its tie to everything else. Related features
    can stand in for each other, so that each alone seems to matter little: they are also permuted together. Tickers count
    in units of their own CRPS.

    Source: Breiman 2001, doi:10.1023/A:1010933404324; on correlated features Strobl et al. 2008, doi:10.1186/1471-2105-9-307.

    Returns:
        As `Explanation.importance`, features by falling importance, then groups, then all features.
    """
    before = [subject.crps(subject.inputs)[0] for subject in subjects]
    rows = []
    for done, (name, group, kind) in enumerate(groups, start=1):
        grown = _increases(subjects, before, group, [derive_seed(seed, "permutation", name, repeat) for repeat in range(REPEATS)])
        rows.append({"name": name, "features": group, "kind": kind, "increase": np.mean(grown), "spread": np.std(grown, ddof=1)})
        tell(done)
    table = pd.DataFrame(rows)
    order = table["kind"].map({"feature": 0, "group": 1, "all": 2})
    return table.assign(order=order).sort_values(["order", "increase"], ascending=[True, False], ignore_index=True).drop(columns="order")


def _increases(subjects: Sequence[Subject], before: Sequence[np.ndarray], group: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """The relative increase of the CRPS under each permutation, each ticker in units of its own: shape (seeds,)."""
    after = [np.concatenate(list(_permuted(subject, number, group, seeds))) for number, subject in enumerate(subjects)]
    return _relative(subjects, before, np.concatenate(after, axis=1))


def _relative(subjects: Sequence[Subject], before: Sequence[np.ndarray], after: np.ndarray) -> np.ndarray:
    """The mean increase of the CRPS of all windows, each ticker in units of its own, in each try: `after` of shape (tries, n)."""
    tickers = np.concatenate([subject.tickers for subject in subjects])
    unit = pd.Series(np.concatenate(before)).groupby(tickers).transform("mean").to_numpy()
    grown = after - np.concatenate(before)
    return np.asarray((grown / np.where(unit > 0, unit, 1.0)).mean(axis=1))


def _permuted(subject: Subject, number: int, group: Sequence[str], seeds: Sequence[int]) -> Iterator[np.ndarray]:
    """The CRPS of each window under each permutation, a few of them at once: shape (some of the seeds, n)."""
    pipeline, fixed = subject.fitted.pipeline, np.isnan(subject.inputs[0]).any(axis=(1, 2))
    at_once = max(1, MOST_AT_ONCE // len(subject.rows))
    for first in range(0, len(seeds), at_once):
        tries = []
        for seed in seeds[first : first + at_once]:
            other = shuffled(subject.tickers, fixed, derive_seed(seed, number))
            pairs = zip(subject.inputs, (pipeline.names, *pipeline.beside.values()), strict=True)
            tries.append([np.where(np.isin(names, group), each[other], each) for each, names in pairs])
        yield subject.crps([np.concatenate(each) for each in zip(*tries, strict=True)])


def shuffled(tickers: np.ndarray, fixed: np.ndarray, seed: int) -> np.ndarray:
    """A permutation of the places that keeps tickers apart and leaves the `fixed` ones where they are, shape (n,)."""
    generator, places = np.random.default_rng(seed), np.arange(len(tickers))
    for ticker in pd.unique(tickers):
        mine = np.flatnonzero((tickers == ticker) & ~fixed)
        places[mine] = generator.permutation(mine)
    return places


def related(subjects: Sequence[Subject], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of features whose ranks, or the ranks of their distances from the median, correlate beyond `RELATED`.

    Chains count: of three features, the first and the last may be related through the middle one alone.
    """
    values = pd.concat([pd.DataFrame(subject.inputs[0][:, -1], columns=list(subject.fitted.pipeline.names)) for subject in subjects])
    both = pd.concat({"value": values, "size": (values - values.median()).abs()}, axis=1).rank()
    tied = both.corr().abs().fillna(0.0) > RELATED
    groups = [{name} for name in names]
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            if any(bool(tied.loc[(a, one), (b, other)]) for a in ("value", "size") for b in ("value", "size")):
                joined = [group for group in groups if one in group or other in group]
                groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return [tuple(name for name in names if name in group) for group in groups if len(group) > 1]


def _look(subject: Subject) -> tuple[np.ndarray, list[Sensitivity]]:
    """The windows whose gradients are taken, and how each member reads them."""
    from stockrnn.models.sensitivity import sensitivities

    n = len(subject.rows)
    chosen = np.unique(np.linspace(0, n - 1, min(MOST_WINDOWS, n)).round().astype(int))
    windows, *beside = (each[chosen] for each in subject.inputs)
    return windows, sensitivities(subject.fitted.specs, subject.fitted.members, windows, beside=beside)


def _reliance(subject: Subject, look: tuple[np.ndarray, list[Sensitivity]], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Mean of |gradient · input| of the ensemble's mean, by what it says: shape (timesteps, features)."""
    inputs, views = look
    columns = [list(names).index(name) for name in subject.fitted.pipeline.names]
    made = {}
    for said in views[0].gradients:
        gradient = np.mean([_aligned(view.gradients[said], inputs.shape[1], axis=1) for view in views], axis=0)
        made[said] = np.zeros((inputs.shape[1], len(names)))
        made[said][:, columns] = np.abs(gradient * np.nan_to_num(inputs)).mean(axis=0)
    return made


def _memory(look: tuple[np.ndarray, list[Sensitivity]], timesteps: int) -> dict[str, np.ndarray]:
    """The mean norm of d forecast / d input at each timestep, over all that is said and all features: shape (members, timesteps)."""
    norms = [np.sqrt(sum((gradient**2).sum(axis=2) for gradient in view.gradients.values())).mean(axis=0) for view in look[1]]
    return {"norm": np.stack([_aligned(norm, timesteps, axis=0) for norm in norms])}


def _memory_table(norms: np.ndarray, subject: Subject) -> pd.DataFrame:
    tables = []
    for member, (spec, norm) in enumerate(zip(subject.fitted.specs, norms, strict=True)):
        lags = np.arange(spec.lookback)
        tables.append(pd.DataFrame({"member": member, "cell": spec.model.cell, "lag": lags, "norm": norm[::-1][: spec.lookback]}))
    return pd.concat(tables, ignore_index=True)


def _attention(look: tuple[np.ndarray, list[Sensitivity]], timesteps: int) -> np.ndarray | None:
    """The mean weight of each timestep over windows and members, shape (queries, timesteps)."""
    weights = [_aligned(view.attention, timesteps, axis=2).mean(axis=0) for view in look[1] if view.attention is not None]
    return np.mean(weights, axis=0) if weights else None


def _aligned(values: np.ndarray, timesteps: int, axis: int) -> np.ndarray:
    """Zeros put before the timesteps of a member that sees fewer of them."""
    missing = [(timesteps - values.shape[axis], 0) if k == axis else (0, 0) for k in range(values.ndim)]
    return np.pad(values, missing)


def _mean(parts: Sequence[dict[str, np.ndarray]], shares: np.ndarray) -> dict[str, np.ndarray]:
    """The mean over networks, each with the share of its windows."""
    return {name: sum(share * part[name] for share, part in zip(shares, parts, strict=True)) for name in parts[0]}
