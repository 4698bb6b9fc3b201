"""Where a forecast starts: how far the price is likely to move, and from where, by a model of a few weights.

A network with an anchor learns changes from this location and in units of this scale, so it begins as a volatility model and
learns what that leaves out. Both are causal: those of a session are made from it, the sessions before, and the plan of those to come;
so are the weights, where they are learned anew as sessions come.
Knows one ticker's prices and its exchange's plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.features.agenda import AGENDA, AGENDA_TRUST, coming
from stockrnn.features.indicators import close_location
from stockrnn.features.moves import gaps, has_ranges, least_range, log_ranges, log_volumes, returns_of, rolling_mean, tamed
from stockrnn.features.renewal import Renewal
from stockrnn.prices.schedule import Plan
from stockrnn.types import CLOSE, DATE

LEAST = 1e-6
"""Least scale, and least range: a constant price has none."""
GREATEST = 5.0
"""Greatest log scale."""
FARTHEST = 6.0
"""Terms are clipped to this distance from their training mean."""
TRUST = 300.0
"""Sessions of evidence that the prior weights count as."""
MEMORY = 1000.0
"""Sessions after which one counts half as much in what is learned: markets change."""
WARM_UP = 100
"""Sessions at the start from which nothing is learned, as the long means are not full yet (a quarter of a short history)."""
PRIOR = {
    "range_1": 0.026,
    "range_5": 0.339,
    "range_22": 0.277,
    "size_3": -0.098,
    "size_12": 0.173,
    "size_40": 0.225,
    "move_1": -0.043,
    "gap_1": 0.039,
    "fall_1": -0.026,
    "fall_5": -0.167,
    "trend_22": -0.163,
    "volume_1": 0.149,
    "volume_5": -0.114,
}
"""The terms of `har`, each with the weight that twelve daily series share (pooled, first 70 % of each):
mean log range of the last 1, 5, 22 sessions; log root mean square return with half-lives 3, 12, 40; today's move and
overnight gap, the falls of the last 1 and 5 and the mean return of the last 22 sessions, in units of the 22 sessions'
range; log volume today and over 5 sessions, less its mean over 60."""

REVERSAL = -0.08
"""How much lower the change is after a close at the session's high than after one in the middle of its range, in units of the
scale: what twelve daily series share (pooled, first 55 % of each, recent sessions weighing most)."""
REVERSAL_TRUST = 3000.0
"""Sessions of evidence that it counts as."""
SCALED_LIMIT = 4.0
"""Changes are clipped to this many scales when the reversal is learned."""

CHANGE_LIMIT = 20.0
"""Changes are clipped to this many mean ones when the weights are learned."""

DIGITS = 9
"""Decimals kept of what is learned anew: the last bits of a matrix product differ from machine to machine."""

USUAL_GAP = 0.25
"""An overnight gap that is no surprise, in units of the 22 sessions' range."""
GREATEST_SURPRISE = 1.5
"""More of a surprise than that says no more."""


@dataclass(frozen=True)
class Anchor:
    """A fitted location and scale.

    Attributes:
        kind: name in `SCALES`.
        ranged: whether the file has highs and lows that tell a range; else the size of the return stands for it.
        floor: least range, log.
        centre: training mean of each term, shape (terms,).
        weights: intercept and weight of each term for each step, shape (horizon, 1 + terms).
        middle: training mean of the place of the close in its range, -1 at the low, 1 at the high.
        reversal: what a place 1 above the middle adds to the change over each step, in units of the scale, shape (horizon,).
        plan: what the exchange planned, for the terms of `AGENDA`, which stand after the others; None for an anchor without them.
        renewal: when weights and reversal are learned anew; None for never.
    """

    kind: str
    ranged: bool
    floor: float
    centre: np.ndarray
    weights: np.ndarray
    middle: float
    reversal: np.ndarray
    plan: Plan | None = None
    renewal: Renewal | None = None

    def __post_init__(self) -> None:
        """Refuse a state that is none. Raises ValueError."""
        terms = len(PRIOR) + (0 if self.plan is None else len(AGENDA))
        shapes = self.centre.shape == (terms,) and self.weights.ndim == 2 and self.weights.shape[1] == 1 + terms
        shapes = shapes and self.reversal.shape == self.weights.shape[:1]
        numbers = [self.floor, *self.centre, *self.weights.flat, self.middle, *self.reversal.flat]
        if self.kind not in SCALES or not shapes or not np.isfinite(numbers).all():
            raise ValueError("an anchor that does not fit")

    def scale(self, prices: pd.DataFrame) -> np.ndarray:
        """Likely size of the log change over step 1 … horizon, seen from each session of a ticker, shape (rows, horizon)."""
        return self.start(prices)[1]

    def start(self, prices: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Location and scale of the log change over step 1 … horizon, seen from each session of a ticker, both (rows, horizon)."""
        seen = _Seen(prices, self.ranged, self.floor, self.plan, len(self.weights))
        location, scale = _start(self, seen, slice(None))
        for first, anchor in self._renewed(seen):
            rows = slice(first, None)
            location[rows], scale[rows] = _start(anchor, seen, rows)
        return location, scale

    def _renewed(self, seen: _Seen) -> Iterator[tuple[int, Anchor]]:
        """Each session from which new weights hold, with the anchor that has them; weights that are 0 in this one stay 0."""
        renewal, horizon = self.renewal, len(self.weights)
        if renewal is None:
            return
        changes = renewal.changes(seen.prices, horizon)
        for known in renewal.times(seen.prices[DATE].to_numpy()):
            rows = np.flatnonzero(np.isfinite(changes[: known - horizon]).all(axis=1))
            if len(rows) < renewal.learned:
                continue
            rows = rows[_warm(rows)]
            weights = _fit_weights(seen, rows, changes, self.centre)
            anchor = replace(self, weights=np.where(self.weights == 0.0, 0.0, np.round(weights, DIGITS)))
            place = _fit_reversal(anchor, seen, rows, changes) if self.reversal.any() else {}
            yield known - 1, replace(anchor, **{name: np.round(value, DIGITS) for name, value in place.items()})

    def without_location(self) -> Anchor:
        """This anchor without its location: it starts from the last price."""
        return replace(self, reversal=np.zeros_like(self.reversal))

    def without_agenda(self) -> Anchor:
        """This anchor without the terms of `AGENDA`: as if every session to come were an average one."""
        weights = self.weights.copy()
        weights[:, 1 + len(PRIOR) :] = 0.0
        return replace(self, weights=weights)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able state, which names the plan; floats keep every bit."""
        plain = {"kind": self.kind, "ranged": self.ranged, "floor": self.floor, "middle": self.middle}
        plan = {} if self.plan is None else {"plan": self.plan.name}
        renewal = {} if self.renewal is None else {"renewal": self.renewal.to_dict()}
        return {**plain, **{name: getattr(self, name).tolist() for name in ("centre", "weights", "reversal")}, **plan, **renewal}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], plans: Mapping[str, Plan]) -> Anchor:
        """The anchor of a state written by `to_dict`, or before there was a location, a plan or a renewal.

        Raises:
            KeyError: a plan of another name than those given.
            ValueError: it is none.
        """
        centre, weights = (np.asarray(state[name], np.float64) for name in ("centre", "weights"))
        reversal = np.asarray(state.get("reversal", [0.0] * len(weights)), np.float64)
        plain = str(state["kind"]), bool(state["ranged"]), float(state["floor"])
        plan = plans[state["plan"]] if "plan" in state else None
        renewal = Renewal.from_dict(state["renewal"]) if "renewal" in state else None
        return cls(*plain, centre, weights, float(state.get("middle", 0.0)), reversal, plan, renewal)


def fit_anchor(
    kind: str, prices: pd.DataFrame, changes: np.ndarray, learn: np.ndarray, column: str = CLOSE, plan: Plan | None = None
) -> Anchor:
    """Learn a scale, and for `har` a location, from one ticker.

    The weights of `har` minimise the mean of |change| / scale + log scale, the likelihood of a Laplace distribution, which
    is convex in them; recent sessions weigh most, and a penalty draws the weights towards those that many series share, as those of
    one series are noisy. `ewma` has none to learn.

    The location says that a close near the session's high is followed by a lower change than one near its low, as liquidity
    provided into the close and the bid-ask bounce make it. Its weights are least squares of the change in units of the scale
    on the place of the close, recent sessions weighing most, and are drawn to what many series share.

    Sources: Corsi 2009, doi:10.1093/jjfinec/nbp001; Corsi and Renò 2012, doi:10.1080/07350015.2012.663261 (falls);
    Bollerslev et al. 2018, doi:10.1093/rfs/hhy041 (weights shared by many series); Lehmann 1990, doi:10.2307/2937816, and
    Roll 1984, doi:10.1111/j.1540-6261.1984.tb03897.x (reversal).

    Args:
        kind: name in `SCALES`.
        prices: the ticker's rows; of those after the last one learned from nothing is used.
        changes: log change from each row over step 1 … horizon, shape (rows, horizon).
        learn: whether a row's changes are known and may be learned from, shape (rows,).
        column: the price whose changes they are; those of another price than close start from no change.
        plan: what the exchange planned; None where the rows are not daily. `ewma` needs none.
    """
    until = int(np.flatnonzero(learn)[-1]) + 1
    past, changes, learn = prices.iloc[:until], changes[:until], learn[:until]
    ranged = has_ranges(past, _ages(np.arange(until)))
    floor = float(np.log(max(least_range(past, ranged), LEAST)))
    seen = _Seen(past, ranged, floor, plan, changes.shape[1])
    warm = _warm(np.arange(until))
    centre = np.concatenate([seen.known[warm].mean(axis=0), seen.ahead[warm, 0].mean(axis=0)])
    rows = np.flatnonzero(learn & warm)
    weights = _fit_weights(seen, rows, changes, centre)
    anchor = Anchor(kind, ranged, floor, centre, weights, 0.0, np.zeros(changes.shape[1]), plan)
    if kind != "har" or column != CLOSE:
        return anchor
    return replace(anchor, **_fit_reversal(anchor, seen, rows, changes))


class _Seen:
    """What each session of a ticker tells, worked out when it is asked for."""

    def __init__(self, prices: pd.DataFrame, ranged: bool, floor: float, plan: Plan | None, horizon: int) -> None:
        self.prices, self.ranged, self.floor, self.plan, self.horizon = prices, ranged, floor, plan, horizon

    @cached_property
    def known(self) -> np.ndarray:
        """The terms of `PRIOR`, shape (rows, terms)."""
        return _terms(self.prices, self.ranged, self.floor)

    @cached_property
    def ahead(self) -> np.ndarray:
        """The terms of `AGENDA`, shape (rows, horizon, terms)."""
        return _ahead(self.plan, self.prices, self.ranged, self.floor, self.horizon)

    @cached_property
    def places(self) -> np.ndarray:
        """Place of each session's close in its range, NaN where the file does not tell it, shape (rows,)."""
        return close_location(self.prices).to_numpy(float)


def _start(anchor: Anchor, seen: _Seen, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale seen from these rows, with the weights of one time, both (rows, horizon)."""
    scale = np.maximum(SCALES[anchor.kind](anchor, seen, rows), LEAST)
    return anchor.reversal * np.nan_to_num(seen.places[rows] - anchor.middle)[:, None] * scale, scale


def _warm(rows: np.ndarray) -> np.ndarray:
    """Which of ascending rows come after the first sessions, whose long means are not full yet."""
    return np.asarray(rows >= min(WARM_UP, (int(rows[-1]) + 1) // 4))


def _ages(rows: np.ndarray) -> np.ndarray:
    """What each row that is learned from counts: the last one 1."""
    return np.asarray(0.5 ** (np.arange(len(rows))[::-1] / MEMORY))


def _fit_weights(seen: _Seen, rows: np.ndarray, changes: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The weights of an anchor, learned from these rows, shape (horizon, 1 + terms)."""
    prior = np.array([*PRIOR.values(), *AGENDA.values()][: len(centre)])
    trust = np.array([TRUST] * len(PRIOR) + [AGENDA_TRUST] * seen.ahead.shape[2])
    designs = (_design(np.concatenate([seen.known[rows], seen.ahead[rows, step]], axis=1), centre) for step in range(changes.shape[1]))
    ages = _ages(rows)
    return np.stack([_fit_step(x, change, ages, prior, trust) for x, change in zip(designs, changes[rows].T, strict=True)])


def _fit_step(x: np.ndarray, change: np.ndarray, age: np.ndarray, prior: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """The weights of one step, with changes clipped to `CHANGE_LIMIT` mean ones in units of the shared scale, shape (1 + terms,)."""
    shared = np.exp(x[:, 1:] @ prior)
    limit = CHANGE_LIMIT * shared * np.average(np.abs(change) / shared, weights=age)
    return _least_laplace(x, np.clip(change, -limit, limit), age, prior, trust)


def _fit_reversal(anchor: Anchor, seen: _Seen, rows: np.ndarray, changes: np.ndarray) -> dict[str, Any]:
    """`middle` and `reversal` of an anchor, learned from these rows."""
    scale = _start(anchor, seen, slice(int(rows[-1]) + 1))[1]
    change = np.clip(changes[rows] / scale[rows], -SCALED_LIMIT, SCALED_LIMIT)
    place, age = np.nan_to_num(seen.places[rows]), _ages(rows)
    middle = float(np.average(place, weights=age))
    x = (place - middle) * age
    spread = float(x @ (place - middle))
    own = x @ (change - np.average(change, axis=0, weights=age)) / spread if spread > LEAST else np.zeros(change.shape[1])
    share = age.sum() / (age.sum() + REVERSAL_TRUST)
    return {"middle": middle, "reversal": share * own + (1.0 - share) * REVERSAL}


def _least_laplace(x: np.ndarray, change: np.ndarray, age: np.ndarray, prior: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Minimise mean(size exp(-x w) + x w) + penalty by Newton's method with bounded steps; w of shape (1 + terms,).

    The mean counts a row by its `age`. The penalty draws the weights to `prior` with `trust` rows' worth each, but not the intercept.
    """
    prior, share = np.concatenate([[0.0], prior]), age / age.sum()
    size = np.maximum(np.abs(change), LEAST)
    spread = share @ (x[:, 1:] - share @ x[:, 1:]) ** 2
    penalty = np.concatenate([[0.0], spread * trust / age.sum() + LEAST])
    w = prior.copy()
    w[0] = np.log(share @ (size * np.exp(-x @ prior)))
    for _ in range(50):
        relative = size * np.exp(-x @ w)
        slope = x.T @ (share * (1.0 - relative)) + penalty * (w - prior)
        step = np.linalg.solve((x * (share * relative)[:, None]).T @ x + np.diag(penalty), slope)
        w = w - step * min(1.0, 2.0 / max(float(np.abs(x @ step).max()), LEAST))
        if np.abs(step).max() < LEAST:
            break
    return np.asarray(w)


def _har(anchor: Anchor, seen: _Seen, rows: slice) -> np.ndarray:
    """The exponential of the weighted terms; added one by one, as a matrix product's last bit depends on the number of rows."""
    known, ahead = len(PRIOR), seen.ahead[rows]
    x = _design(seen.known[rows], anchor.centre[:known])
    logs = sum(x[:, [term]] * weights for term, weights in enumerate(anchor.weights.T[: 1 + known]))
    for term in range(ahead.shape[2]):
        logs = logs + _held(ahead[:, :, term] - anchor.centre[known + term]) * anchor.weights[:, 1 + known + term]
    return np.asarray(np.exp(np.minimum(logs, GREATEST)))


def _ewma(anchor: Anchor, seen: _Seen, rows: slice) -> np.ndarray:
    """RiskMetrics' volatility, the same for every step: v[t] = 0.94 v[t-1] + 0.06 r[t]²."""
    squares = pd.Series(returns_of(seen.prices) ** 2)
    squares.iloc[0] = np.exp(2.0 * anchor.floor)
    volatility = np.sqrt(squares.ewm(alpha=0.06, adjust=False).mean().to_numpy())
    return np.repeat(volatility[rows, None], len(anchor.weights), axis=1)


SCALES: dict[str, Callable[[Anchor, _Seen, slice], np.ndarray]] = {"ewma": _ewma, "har": _har}
"""The formula of each `model.anchor`: (weights, what one ticker's sessions tell, which of them) → (rows, horizon)."""


def _design(terms: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(terms), 1)), _held(terms - centre)], axis=1)


def _held(terms: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(terms, -FARTHEST, FARTHEST))


def _terms(prices: pd.DataFrame, ranged: bool, floor: float) -> np.ndarray:
    """The terms of `PRIOR`, in its order, of each session, shape (rows, terms)."""
    r, logs, gap, volume = tamed(returns_of(prices), floor), log_ranges(prices, ranged, floor), gaps(prices), log_volumes(prices)
    unit = np.exp(rolling_mean(logs, 22))
    falls, least = r.clip(upper=0.0), 0.1 * np.exp(2.0 * floor)
    sizes = [0.5 * np.log((r**2).ewm(halflife=life).mean() + least) for life in (3, 12, 40)]
    volumes = [mean - rolling_mean(volume, 60) for mean in (volume, rolling_mean(volume, 5))]
    moves = [r.abs() / unit, gap.abs() / unit, falls / unit, rolling_mean(falls, 5) / unit, rolling_mean(r, 22) / unit]
    return np.stack([logs, rolling_mean(logs, 5), rolling_mean(logs, 22), *sizes, *moves, *volumes], axis=1)


def _ahead(plan: Plan | None, prices: pd.DataFrame, ranged: bool, floor: float, horizon: int) -> np.ndarray:
    """The terms of `AGENDA`, in its order, of the change over each step, shape (rows, horizon, terms); no terms without a plan."""
    if plan is None:
        return np.zeros((len(prices), horizon, 0))
    gap, volume = gaps(prices).abs() / np.exp(rolling_mean(log_ranges(prices, ranged, floor), 22)).shift(), log_volumes(prices)
    surprise = np.sqrt((gap - USUAL_GAP).clip(lower=0.0) * (volume - rolling_mean(volume, 60).shift()).clip(lower=0.0)).fillna(0.0)
    days = prices[DATE].to_numpy().astype("datetime64[D]")
    return coming(plan, days, surprise.clip(upper=GREATEST_SURPRISE).to_numpy(), horizon)
