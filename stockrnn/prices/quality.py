"""What is wrong with a price file: findings, each with its count, its first places and what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.types import CLOSE, DATE, HIGH, LOW, OPEN, VOLUME

MOST_PLACES = 5
CODE, ROW, FILE = "code", "row", "file"
"""Columns beside the price columns until the table is clean: number of the ticker, row in the file, number of the file."""
SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 10.0, 20.0, 25.0, 50.0)
STALE_ROWS, LONG_GAP = 5, {"daily": 15, "weekly": 30, "monthly": 93}
"""Equal closes in a row that are called stale; days without a row that are called a gap."""


@dataclass(frozen=True)
class Place:
    """Where something stands: the file, its row (1 is the first line), the date, the column and the value."""

    file: str
    row: int | None = None
    date: str | None = None
    column: str | None = None
    value: str | float | None = None


@dataclass(frozen=True)
class Finding:
    """One kind of defect: how many rows, the first of them, and the action taken."""

    kind: str
    count: int
    places: tuple[Place, ...]
    action: str

    def to_dict(self) -> dict[str, Any]:
        """As written in the JSON document."""
        return {"kind": self.kind, "count": self.count, "places": [asdict(place) for place in self.places], "action": self.action}


@dataclass(frozen=True)
class Sources:
    """Where rows come from: ticker names by code, file names by number, and each file's columns by role."""

    tickers: tuple[str, ...]
    files: tuple[str, ...]
    columns: tuple[Mapping[str, str], ...]

    def place(self, frame: pd.DataFrame, row: int, column: str | None = None) -> Place:
        """The place of a row of the frame."""
        file, value = int(frame[FILE].iloc[row]), None if column is None else float(frame[column].iloc[row])
        header = None if column is None else self.columns[file].get(column, column)
        undated = "date" not in self.columns[file]
        date = None if undated else date_text(frame[DATE].iloc[row])
        return Place(self.files[file], int(frame[ROW].iloc[row]), date, header, None if value is None or np.isnan(value) else value)

    def finding(self, frame: pd.DataFrame, kind: str, mask: np.ndarray, column: str | None, action: str) -> list[Finding]:
        """A finding for the rows of a mask; none when it is empty."""
        rows = np.flatnonzero(mask)
        places = tuple(self.place(frame, int(row), column) for row in rows[:MOST_PLACES])
        return [Finding(kind, len(rows), places, action)] if len(rows) else []


def with_columns(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The frame with some columns new, the others shared and not copied."""
    return pd.DataFrame({**{name: frame[name] for name in frame}, **columns}, index=frame.index, copy=False)


def check(frame: pd.DataFrame, sources: Sources, step: str) -> list[Finding]:
    """Everything suspicious that is kept as it is.

    Args:
        frame: rows sorted by ticker and date, with `code`, `row` and `file`.
        sources: names of tickers, files and columns.
        step: of the rows.
    """
    found: list[Finding] = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for kind, test, column in _CHECKS:
            found += sources.finding(frame, kind, test(frame, step), column, "kept")
    return found


def _same(frame: pd.DataFrame) -> np.ndarray:
    """Whether the row before is of the same ticker."""
    code = frame[CODE].to_numpy()
    return np.r_[False, code[1:] == code[:-1]]


def _moves(frame: pd.DataFrame) -> np.ndarray:
    """Close over the close before it; NaN on a ticker's first row."""
    close = frame[CLOSE].to_numpy()
    ratio = np.full(len(close), np.nan)
    ratio[1:] = close[1:] / close[:-1]
    return np.where(_same(frame), ratio, np.nan)


def _future(frame: pd.DataFrame, step: str) -> np.ndarray:
    return (frame[DATE] > pd.Timestamp.now() + pd.Timedelta(days=1)).to_numpy() & (step != "none")


def _high_below_low(frame: pd.DataFrame, step: str) -> np.ndarray:  # noqa: ARG001 (one signature for all checks)
    return frame[HIGH].to_numpy() < frame[LOW].to_numpy() * (1 - 1e-6)


def _close_outside(frame: pd.DataFrame, step: str) -> np.ndarray:  # noqa: ARG001
    close, high, low = (frame[name].to_numpy() for name in (CLOSE, HIGH, LOW))
    return ((close > high * (1 + 1e-6)) | (close < low * (1 - 1e-6))) & (high > 0) & (low > 0) & (high >= low * (1 - 1e-6))


def _open_outside(frame: pd.DataFrame, step: str) -> np.ndarray:  # noqa: ARG001
    opening, high, low = (frame[name].to_numpy() for name in (OPEN, HIGH, LOW))
    return ((opening > high * (1 + 1e-6)) | (opening < low * (1 - 1e-6))) & (opening > 0) & (high > 0) & (low > 0)


def _split_like(frame: pd.DataFrame, step: str) -> np.ndarray:  # noqa: ARG001
    ratio = _moves(frame)
    size = np.maximum(ratio, 1 / ratio)
    return np.logical_or.reduce([np.abs(size / near - 1) < 0.04 for near in SPLIT_RATIOS]) & (size > 1.45)


def _hundredfold(frame: pd.DataFrame, step: str) -> np.ndarray:  # noqa: ARG001
    ratio = _moves(frame)
    return (np.abs(np.log10(np.maximum(ratio, 1 / ratio)) - 2) < 0.05) | (np.abs(np.log10(np.maximum(ratio, 1 / ratio)) - 3) < 0.05)


def _stale(frame: pd.DataFrame, step: str) -> np.ndarray:  # noqa: ARG001
    """The first row of each run of at least `STALE_ROWS` equal closes."""
    close = frame[CLOSE].to_numpy()
    new = np.r_[True, close[1:] != close[:-1]][: len(close)] | ~_same(frame)
    starts = np.flatnonzero(new)
    lengths = np.diff(np.r_[starts, len(close)])
    mask = np.zeros(len(close), dtype=bool)
    mask[starts[lengths >= STALE_ROWS]] = True
    return mask


def _long_gap(frame: pd.DataFrame, step: str) -> np.ndarray:
    days = np.r_[0.0, np.diff(frame[DATE].to_numpy()) / np.timedelta64(1, "D")][: len(frame)]
    return (days > LONG_GAP.get(step, np.inf)) & _same(frame)


def _flat_zero_volume(frame: pd.DataFrame, step: str) -> np.ndarray:  # noqa: ARG001
    return (frame[VOLUME].to_numpy() == 0) & ~moved(frame)


def _weekend(frame: pd.DataFrame, step: str) -> np.ndarray:
    """Rows on a weekend in a file that has few of them."""
    weekend = (frame[DATE].to_numpy().astype("datetime64[D]").astype(np.int64) + 3) % 7 >= 5
    return weekend & (step == "daily" and weekend.mean() < 0.05)


def _thin_last_day(frame: pd.DataFrame, step: str) -> np.ndarray:
    """A ticker's last row with under a tenth of the usual volume, which may be an unfinished session."""
    volume = frame[VOLUME].to_numpy()
    last = np.r_[~_same(frame)[1:], True][: len(frame)]
    usual = frame.groupby(CODE)[VOLUME].transform("median").to_numpy() if last.sum() < 2000 else np.full(len(frame), np.nan)
    return last & (volume < 0.1 * usual) & (volume > 0) & (step == "daily")


def moved(frame: pd.DataFrame) -> np.ndarray:
    """Whether price moved in a row: within it, or since the row before."""
    within = np.nan_to_num(frame[HIGH].to_numpy() - frame[LOW].to_numpy()) != 0
    ratio = _moves(frame)
    return within | (np.isfinite(ratio) & (ratio != 1))


_CHECKS: tuple[tuple[str, Callable[[pd.DataFrame, str], np.ndarray], str | None], ...] = (
    ("future", _future, None),
    ("high_below_low", _high_below_low, HIGH),
    ("close_outside_range", _close_outside, CLOSE),
    ("open_outside_range", _open_outside, OPEN),
    ("split_like_jump", _split_like, CLOSE),
    ("hundredfold_jump", _hundredfold, CLOSE),
    ("stale_run", _stale, CLOSE),
    ("long_gap", _long_gap, None),
    ("zero_volume", _flat_zero_volume, VOLUME),
    ("weekend", _weekend, None),
    ("thin_last_session", _thin_last_day, VOLUME),
)


def date_text(stamp: Any) -> str | None:
    """A date as `2020-01-31`, with the time where there is one; None for NaT."""
    if pd.isna(stamp):
        return None
    stamp = pd.Timestamp(stamp)
    return str(stamp.strftime("%Y-%m-%d") if stamp == stamp.normalize() else stamp.isoformat())


def shown(value: object, most: int = 60) -> str:
    """A value from a file as it may go to a terminal: escaped, quoted and cut."""
    text = repr(str(value))
    return text if len(text) <= most else text[: most - 2] + "…'"
