"""Rows in time order: what order a file was in, what its step is, and what stands twice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.prices.steps import MOST_ROWS

DAY = np.timedelta64(1, "D")


def order_of(codes: np.ndarray, stamps: np.ndarray) -> str:
    """`ascending`, `descending` or `shuffled`: how each ticker's rows stand in the file."""
    rows = np.argsort(codes, kind="stable") if np.any(codes[1:] < codes[:-1]) else slice(None)
    steps = np.diff(stamps[rows].astype("int64"))[np.diff(codes[rows]) == 0]
    if np.all(steps >= 0):
        return "ascending"
    return "descending" if np.all(steps <= 0) else "shuffled"


def out_of_order(codes: np.ndarray, stamps: np.ndarray) -> np.ndarray:
    """The rows, in file order, that go against the order of most rows of their ticker: back in time, or forth where most go back."""
    rows = np.argsort(codes, kind="stable")
    steps = np.diff(stamps[rows].astype("int64")) * (np.diff(codes[rows]) == 0)
    against = steps > 0 if np.sum(steps < 0) > np.sum(steps > 0) else steps < 0
    return np.sort(rows[np.r_[False, against]])


def time_order(codes: np.ndarray, stamps: np.ndarray) -> np.ndarray | slice:
    """What sorts rows by ticker and date: a permutation, or all rows as they stand."""
    numbers = stamps.astype("int64")
    forward = (codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (numbers[1:] >= numbers[:-1]))
    return slice(None) if forward.all() else np.lexsort((numbers, codes))


def step_of(codes: np.ndarray, stamps: np.ndarray) -> str:
    """The step of most rows, given sorted rows.

    Returns:
        `daily`, `weekly`, `monthly` or `intraday`.

    Raises:
        DataError: the rows lie further apart than months.
    """
    gaps = np.diff(stamps)[np.diff(codes) == 0] / DAY
    if len(gaps) == 0:
        return "daily"
    typical = float(np.median(gaps))
    for name, most in (("intraday", 0.9), ("daily", 4.5), ("weekly", 16.0), ("monthly", 45.0)):
        if typical < most:
            return name
    raise DataError(
        f"rows must be at most a month apart. Received: {typical:.0f} days between most rows. Give a daily, weekly or monthly file."
    )


def row_days(codes: np.ndarray, order: str) -> np.ndarray:
    """Days that only count the rows of each ticker of a file without dates in time order, datetime64[ns]. Raises DataError."""
    numbers = pd.Series(codes).groupby(codes).cumcount(ascending=order == "ascending").to_numpy()
    most = int(numbers.max(initial=-1)) + 1
    if most > MOST_ROWS:
        raise DataError(f"a file without dates must have at most {MOST_ROWS:,} rows of a ticker. Received: {most:,}. Add a date column.")
    return np.asarray(numbers.astype("datetime64[D]").astype("datetime64[ns]"))


def to_days(stamps: np.ndarray) -> np.ndarray:
    """The date of each stamp; a stamp of a late hour in UTC, with Sundays and no Fridays, belongs to the day after it begins."""
    days = stamps.astype("datetime64[D]")
    if np.all(days == stamps):
        return stamps
    late = stamps - days >= np.timedelta64(12, "h")
    weekdays = np.unique((np.unique(days).astype(np.int64) + 3) % 7)
    if late.all() and 6 in weekdays and 4 not in weekdays:
        days = days + DAY
    return days.astype("datetime64[ns]")


def undated_order(codes: np.ndarray, values: Mapping[str, np.ndarray], given: str) -> str:
    """The order of rows without dates: in time order an open is near its ticker's close before it.

    Raises:
        DataError: nothing tells.
    """
    if given != "auto":
        return given
    opening, closing = values.get("open", np.array([])), values["close"]
    rows = np.argsort(codes, kind="stable")
    known = rows[(opening[rows] > 0) & (closing[rows] > 0)] if len(opening) else np.array([], dtype=int)
    same = codes[known][1:] == codes[known][:-1]
    if same.sum() >= 20:
        opening, closing = np.log(opening[known]), np.log(closing[known])
        forward, backward = (np.mean(gaps[same]) for gaps in (np.abs(opening[1:] - closing[:-1]), np.abs(opening[:-1] - closing[1:])))
        if max(forward, backward) > 1.3 * min(forward, backward):
            return "ascending" if forward < backward else "descending"
    raise DataError("a file without dates must show its order. Received: no evidence of it. Set `data.order` to ascending or descending.")


def first_duplicate(codes: np.ndarray, stamps: np.ndarray) -> int | None:
    """The first row, given sorted rows, that has the ticker and date of the row before it."""
    same = np.flatnonzero((codes[1:] == codes[:-1]) & (stamps[1:] == stamps[:-1]))
    return int(same[0]) + 1 if len(same) else None
