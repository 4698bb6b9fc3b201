"""What is known of a session before it comes and makes it livelier or calmer: closings around it, and days on which news recur.

Both are told by the plan of the exchange and by what happened up to the cutoff; which sessions took place later is never looked at.
Knows one ticker's days and how much of a surprise each was.
"""

from __future__ import annotations

import numpy as np

from stockrnn.prices.schedule import Plan

AGENDA = {
    "recurring": 0.12,
    "after_closing": 0.12,
    "before_closing": -0.08,
    "short": -0.24,
    "after_short": 0.31,
    "new_year": 0.26,
    "new_month": 0.08,
}
"""The terms, each with the weight in the log scale of a change that twelve daily series share (pooled, first 55 % of each): evidence of
news that come every 13 weeks, above all earnings; whether the session is the first after, or the last before, a day that the exchange
closes on; whether it ends early, or follows one that did, whose range tells little; whether it begins a year or a month."""
AGENDA_TRUST = 10_000.0
"""Sessions of evidence that these weights count as: such sessions are few."""

QUARTER = 91
"""Days, 13 weeks: so a Thursday's news come on a Thursday again."""
QUARTERS = 16
"""Quarters that are looked back at."""
OTHER_QUARTER, YEAR_BEFORE, NEIGHBOUR = 0.5, 0.8, 0.1
"""What a surprise counts in another quarter of the year, a year earlier, and a day off."""
CHANCE, SUREST = 0.75, 3.0
"""Evidence that chance brings about and that counts as none, and the most beyond it."""


def coming(plan: Plan, days: np.ndarray, surprise: np.ndarray, horizon: int) -> np.ndarray:
    """The terms of the change over step 1 … horizon, seen from each session of a ticker: the mean over its steps.

    Sources: Beaver 1968, doi:10.2307/2490070, and Dubinsky, Johannes, Kaeck and Seeger 2019, doi:10.1093/rfs/hhy060 (prices move on
    days of earnings, which are known before); French and Roll 1986, doi:10.1016/0304-405X(86)90004-8 (closings).

    Args:
        plan: of the ticker's exchange.
        days: the sessions' days, datetime64[D], ascending, shape (rows,).
        surprise: how much of a surprise each session was, shape (rows,).
        horizon: steps ahead.

    Returns:
        The terms of `AGENDA`, in its order, shape (rows, horizon, terms).
    """
    every = np.concatenate([days[:, None], plan.following(days, horizon + 1)], axis=1)
    before, its, after = every[:, :-2], every[:, 1:-1], every[:, 2:]
    rests = its - before > np.timedelta64(1, "D")
    facts = {
        "recurring": _recurring(days, its, surprise),
        "after_closing": plan.closed_between(before, its),
        "before_closing": plan.closed_between(its, after),
        "short": np.isin(its, plan.short),
        "after_short": np.isin(before, plan.short),
        "new_year": rests & (its.astype("datetime64[Y]") > before.astype("datetime64[Y]")),
        "new_month": its.astype("datetime64[M]") > before.astype("datetime64[M]"),
    }
    told = np.stack([facts[name] for name in AGENDA], axis=2).astype(np.float64)
    return np.asarray(np.cumsum(told, axis=1) / np.arange(1, horizon + 1)[:, None])


def _recurring(days: np.ndarray, its: np.ndarray, surprise: np.ndarray) -> np.ndarray:
    """How much the surprises 13, 26, 39 … weeks before each session, and up to its cutoff, speak for another one, shape of `its`."""
    numbers = days.astype(np.int64) - int(days[0].astype(np.int64))
    of_day = np.zeros(numbers[-1] + 3)
    of_day[numbers + 1] = surprise
    spread = of_day[1:-1] + NEIGHBOUR * (of_day[:-2] + of_day[2:])
    evidence = np.zeros(its.shape)
    for quarter in range(1, QUARTERS + 1):
        years = quarter / 4
        weight = (1.0 if quarter % 4 == 0 else OTHER_QUARTER) * YEAR_BEFORE ** max(years - 1.0, 0.0)
        at = its.astype(np.int64) - int(days[0].astype(np.int64)) - QUARTER * quarter
        seen = (at >= 0) & (at < numbers[:, None])  # its neighbour must not be after the cutoff either
        evidence += weight * np.where(seen, spread[np.clip(at, 0, len(spread) - 1)], 0.0)
    return np.asarray(np.clip(evidence - CHANCE, 0.0, SUREST))
