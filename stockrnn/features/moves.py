"""What each session of a ticker tells of how far its price moves: returns, ranges, overnight gaps and volume.

Causal: what a row holds is made from it and the rows before. Knows one ticker's prices.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stockrnn.types import CLOSE, HIGH, LOW, OPEN, VOLUME

RETURN_LIMIT = 10.0
"""Returns are clipped to this many root mean squares of those before them: otherwise a split that the file does not adjust for, or a typing
error, would set the scale of months."""
ENOUGH = 0.9
"""Share of sessions whose highs and lows must be known, and tell a range where the price moved, for ranges to be used."""


def returns_of(prices: pd.DataFrame) -> np.ndarray:
    """Log return of each session, 0 for the first, shape (rows,)."""
    logged = np.log(prices[CLOSE].to_numpy(float))
    return np.asarray(np.diff(logged, prepend=logged[:1]))


def tamed(returns: np.ndarray, floor: float) -> pd.Series:
    """Returns clipped to `RETURN_LIMIT` times the root mean square (half-life 40) of those before, or the usual range if more."""
    r = held = pd.Series(returns)
    for _ in range(2):  # an error makes two jumps, there and back: the first one, clipped, must not raise the limit of the second
        before = np.sqrt((held**2).ewm(halflife=40).mean()).shift().fillna(np.inf)
        limit = RETURN_LIMIT * np.maximum(before, 10.0 * np.exp(floor))
        held = r.clip(-limit, limit)
    return held


def has_ranges(prices: pd.DataFrame, ages: np.ndarray) -> bool:
    """Whether highs and lows tell how far the price moves: some files repeat the close in them, at first or always.

    Args:
        prices: the rows.
        ages: what each row counts, shape (rows,).
    """
    high, low = prices[HIGH].to_numpy(float), prices[LOW].to_numpy(float)
    known = np.isfinite(high) & np.isfinite(low)
    told = (high > low) | (returns_of(prices) == 0.0)
    return bool(np.mean(known) >= ENOUGH and np.average(told[known], weights=ages[known]) >= ENOUGH)


def least_range(prices: pd.DataFrame, ranged: bool) -> float:
    """A tenth of the usual range of a session, not log; 0 where none has one."""
    ranges = ranges_of(prices, ranged)
    some = ranges[ranges > 0.0]
    usual = np.nanmedian(ranges) or (np.median(some) if len(some) else 0.0)
    return float(0.1 * usual)


def ranges_of(prices: pd.DataFrame, ranged: bool) -> np.ndarray:
    """log(high / low) of each session, NaN where unknown; without them the size of its return, shape (rows,)."""
    if ranged:
        return np.asarray(np.log(prices[HIGH].to_numpy(float) / prices[LOW].to_numpy(float)))
    return np.asarray(np.abs(returns_of(prices)))


def log_ranges(prices: pd.DataFrame, ranged: bool, floor: float) -> pd.Series:
    """Log of each session's range, the last known one where it has none, and never under `floor`."""
    return pd.Series(ranges_of(prices, ranged)).ffill().clip(lower=np.exp(floor)).apply(np.log).fillna(floor)


def gaps(prices: pd.DataFrame) -> pd.Series:
    """Log change from the close before to the open, 0 where unknown."""
    before = pd.Series(prices[CLOSE].to_numpy(float)).shift()
    return pd.Series(np.log(prices[OPEN].to_numpy(float) / before.to_numpy())).fillna(0.0)


def log_volumes(prices: pd.DataFrame) -> pd.Series:
    """log(1 + volume), the last known one where there is none."""
    return pd.Series(prices[VOLUME].to_numpy(float)).replace(0.0, np.nan).ffill().fillna(0.0).apply(np.log1p)


def rolling_mean(values: pd.Series, sessions: int) -> pd.Series:
    """The mean of the last sessions, of those there are."""
    return values.rolling(sessions, min_periods=1).mean()
