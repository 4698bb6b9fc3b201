"""Which column is what in a file without a header: only by what prices must satisfy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.prices.coherence import is_worth
from stockrnn.prices.dates import candidates
from stockrnn.prices.datewords import tidy
from stockrnn.prices.grid import Grid, sample

_LEAST_ROWS, _NEARLY_ALL, _CLEARER, _MOST_STARTS, _NEAR = 20, 0.99, 1.3, 8, 1.5


@dataclass(frozen=True)
class Guess:
    """The columns of a table without a header."""

    date: int
    time: int | None
    ticker: int | None
    roles: Mapping[str, int]
    evidence: str = "high is the highest, low the lowest, open follows the last close"


def guess_columns(grid: Grid, kinds: Sequence[str], date: int | None, numbers: Callable[[int], np.ndarray]) -> Guess:
    """Find open, high, low, close and volume after the date.

    No price of a bar is above its high or below its low; in time order an open is near the close before it; the volume
    follows the prices and is no price.

    Args:
        grid: the table.
        kinds: what each column's cells are.
        date: the date column.
        numbers: gives a column's values.

    Raises:
        DataError: anything of this cannot be told.
    """
    if date is None:
        raise DataError("a file without a header must have dates. Received: none. Name the columns with `data.columns` (positions from 1).")
    time = date + 1 if date + 1 < len(kinds) and _is_clock(sample(grid.columns[date + 1])) else None
    texts = [i for i, kind in enumerate(kinds) if kind == "text" and i != time]
    rest = [i for i in range(date + 1, len(kinds)) if i != time and _is_numeric(grid, i, kinds[i])]
    ticker = texts[0] if texts and (not rest or texts[0] < rest[0]) else None
    if len(rest) == 1:
        return Guess(date, time, ticker, {"close": rest[0]}, "the only column of numbers is taken for the close")
    start, roles = _prices(rest, grid.columns[date], numbers)
    others, after = [i for i in rest if not start <= i < start + 4], start + 4
    traded = _traded([numbers(i) for i in others], numbers(roles["low"]), numbers(roles["high"]))
    if traded is not None:
        roles["volume"] = others[traded]
    elif after in rest:
        volume = numbers(after)
        _check_volume(volume, numbers(roles["close"]))
        if _is_volume(volume):
            roles["volume"] = after
    return Guess(date, time, ticker, roles)


def _is_numeric(grid: Grid, i: int, kind: str) -> bool:
    """Whether a column can hold prices or a volume; whole numbers may look like dates, too."""
    return kind in ("number", "epoch") or (kind == "date" and all(cell.isdigit() for cell in sample(grid.columns[i])))


def _prices(rest: Sequence[int], dates: Any, numbers: Callable[[int], np.ndarray]) -> tuple[int, dict[str, int]]:
    """Where the four prices begin, and which is which: the first four columns side by side that show it. Raises DataError."""
    starts = [i for i in rest if all(i + j in rest for j in range(4))]
    if not starts:
        raise DataError(
            "a file without a header must have its four prices side by side, or one column of numbers. Received: others. Name the columns "
            "with `data.columns` (positions from 1)."
        )
    columns = {i: numbers(i) for i in {start + j for start in starts[:_MOST_STARTS] for j in range(4)}}
    faults = []
    for start in starts[:_MOST_STARTS]:
        values = np.column_stack([columns[start + j] for j in range(4)])
        try:
            return start, {role: start + j for role, j in _four_prices(values[(values > 0).all(axis=1)], dates).items()}
        except DataError as fault:
            faults.append(fault)
    raise faults[0]


def _traded(columns: Sequence[np.ndarray], low: np.ndarray, high: np.ndarray) -> int | None:
    """Which column beside the prices is the volume: another one over it is a price between low and high (Taiwan's exchange)."""
    for i, volume in enumerate(columns):
        for amount in columns:
            if is_worth(amount, volume, low, high):
                return i
    return None


def _is_volume(values: np.ndarray) -> bool:
    """Whether numbers can count what was traded: none below zero, and whole, or beyond a percentage."""
    held = values[np.isfinite(values)]
    return bool(len(held) and held.min() >= 0 and (np.all(held == np.round(held)) or held.max() > 100))


def _is_clock(cells: Sequence[str]) -> bool:
    return bool(cells) and all(re.fullmatch(r"\d{1,2}:\d{2}(?::\d{2})?", cell) for cell in cells)


def _four_prices(values: np.ndarray, dates: Any) -> dict[str, int]:
    """Which of four columns is which. Raises DataError."""
    if len(values) >= _LEAST_ROWS and np.median(values.max(axis=1) / values.min(axis=1)) < _NEAR:
        high = [j for j in range(4) if np.mean(values[:, j] >= values.max(axis=1)) >= _NEARLY_ALL]
        low = [j for j in range(4) if np.mean(values[:, j] <= values.min(axis=1)) >= _NEARLY_ALL]
        if len(high) == 1 and len(low) == 1 and high != low:
            first, second = (j for j in range(4) if j not in (high[0], low[0]))
            opening, closing = _open_close(values[:: _direction(dates)], first, second)
            return {"open": opening, "high": high[0], "low": low[0], "close": closing}
    raise DataError(
        "a file without a header must show which column is the high and which the low. Received: no such columns. "
        "Set `data.columns` (positions from 1)."
    )


def _direction(column: Any) -> int:
    """1 when the dates go up, -1 when they go down; whatever their format. Raises DataError."""
    cells, *_ = tidy(pd.Series(sample(column, 10)))
    dated = (stamps.dropna() for _, stamps in candidates(cells) if stamps.isna().sum() <= 2)
    signs = {int(np.sign((stamps.iloc[-1] - stamps.iloc[0]).total_seconds())) for stamps in dated}
    if len(signs) != 1 or 0 in signs:
        raise DataError("a file without a header must have dates in order. Received: none. Set `data.date_format` and `data.columns`.")
    return signs.pop()


def _open_close(values: np.ndarray, first: int, second: int) -> tuple[int, int]:
    """Which of two columns, in time order, is the open: its values are near the other's previous ones. Raises DataError."""
    gaps = {
        (opening, closing): float(np.mean(np.abs(np.log(values[1:, opening] / values[:-1, closing]))))
        for opening, closing in ((first, second), (second, first))
    }
    best, other = sorted(gaps, key=lambda pair: gaps[pair])
    if gaps[other] < _CLEARER * gaps[best] + 1e-12:
        raise DataError(
            "a file without a header must show which price is the open and which the close. Received: no evidence. "
            "Set `data.columns` (positions from 1)."
        )
    return best


def _check_volume(volume: np.ndarray, close: np.ndarray) -> None:
    """The column after the prices must not move with the close, as an adjusted close or an average price does. Raises DataError."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(volume / close)
    steps = np.abs(np.diff(ratio[np.isfinite(ratio)]))
    if len(steps) and np.median(steps) < 0.02:
        raise DataError(
            "a file without a header must show what follows its prices. Received: numbers like prices. "
            "Set `data.columns` (positions from 1)."
        )
