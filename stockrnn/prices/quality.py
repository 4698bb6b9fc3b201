"""What is wrong with a price file: findings, each with its count, its first places and what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.types import CLOSE, DATE, HIGH, LOW, OPEN, UNDATED, VOLUME

MOST_PLACES = 5
CODE, ROW, FILE = "code", "row", "file"
"""Columns beside the price columns until the table is clean: number of the ticker, row in the file, number of the file."""
SPLIT_RATIOS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 10.0, 20.0, 25.0, 50.0)
_SLACK = 1 - 1e-6
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
    """Where rows come from: ticker names by code, file names by number, and each file's columns by role, or by ticker and role."""

    tickers: tuple[str, ...]
    files: tuple[str, ...]
    columns: tuple[Mapping[str, str], ...]
    headers: tuple[Mapping[str, Mapping[str, str]], ...]

    def place(self, frame: pd.DataFrame, row: int, column: str | None = None) -> Place:
        """The place of a row of the frame."""
        file, value = int(frame[FILE].iloc[row]), None if column is None else float(frame[column].iloc[row])
        columns = self.headers[file].get(self.tickers[int(frame[CODE].iloc[row])], self.columns[file])
        header = None if column is None else columns.get(column, column)
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
    shared: dict[Any, Any] = {name: frame[name] for name in frame}
    return pd.DataFrame({**shared, **columns}, index=frame.index, copy=False)


def check(frame: pd.DataFrame, sources: Sources, step: str) -> list[Finding]:
    """Everything suspicious that is kept as it is.

    Args:
        frame: rows sorted by ticker and date, with `code`, `row` and `file`.
        sources: names of tickers, files and columns.
        step: of the rows.
    """
    found: list[Finding] = []
    with np.errstate(divide="ignore", invalid="ignore"):
        facts = Facts(frame, step, _same(frame), moves(frame))
        for kind, test, column in _CHECKS:
            found += sources.finding(frame, kind, test(facts), column, "kept")
    return found


@dataclass(frozen=True)
class Facts:
    """What the checks look at: the frame and its step, whether the row before is of the same ticker, and close over the close before."""

    frame: pd.DataFrame
    step: str
    same: np.ndarray
    ratio: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """A column's values."""
        values: np.ndarray = self.frame[name].to_numpy()
        return values


def _same(frame: pd.DataFrame) -> np.ndarray:
    """Whether the row before is of the same ticker."""
    code = frame[CODE].to_numpy()
    same: np.ndarray = np.r_[False, code[1:] == code[:-1]][: len(code)]
    return same


def moves(frame: pd.DataFrame) -> np.ndarray:
    """Close over the last known close before it; NaN on a ticker's first row. Shape (rows,)."""
    close, index = frame[CLOSE].to_numpy(), np.arange(len(frame))
    known = close > 0
    before = np.r_[0, np.maximum.accumulate(np.where(known, index, 0))[:-1]][: len(close)]
    first = np.maximum.accumulate(np.where(_same(frame), 0, index))
    ratio = np.full(len(close), np.nan)
    np.divide(close, close[before], out=ratio, where=known & (index > first) & (before >= first) & known[before])
    return ratio


def moved(frame: pd.DataFrame) -> np.ndarray:
    """Whether price moved in a row: within it, or since the row before. Shape (rows,)."""
    within = np.nan_to_num(frame[HIGH].to_numpy() - frame[LOW].to_numpy()) != 0
    ratio = moves(frame)
    result: np.ndarray = within | (np.isfinite(ratio) & (ratio != 1))
    return result


def _future(facts: Facts) -> np.ndarray:
    tomorrow = pd.Timestamp.now() + pd.Timedelta(days=1)
    return np.asarray((facts[DATE] > tomorrow.to_datetime64()) & (facts.step != UNDATED))


def _high_below_low(facts: Facts) -> np.ndarray:
    return np.asarray(facts[HIGH] < facts[LOW] * _SLACK)


def _outside(name: str) -> Callable[[Facts], np.ndarray]:
    def test(facts: Facts) -> np.ndarray:
        value, high, low = facts[name], facts[HIGH], facts[LOW]
        outside = ((value * _SLACK > high) | (value < low * _SLACK)) & (value > 0) & (high > 0) & (low > 0)
        return np.asarray(outside & ~_high_below_low(facts))

    return test


def _jumps(facts: Facts, sizes: tuple[float, ...], slack: float) -> np.ndarray:
    """Rows whose close is about so many times, or such a part of, the close before."""
    rows = np.flatnonzero((facts.ratio > 1.45) | (facts.ratio < 1 / 1.45))
    size = np.maximum(facts.ratio[rows], 1 / facts.ratio[rows])
    mask = np.zeros(len(facts.ratio), dtype=bool)
    mask[rows] = np.any(np.abs(size[:, None] / np.array(sizes) - 1) < slack, axis=1)
    return mask


def _split_like(facts: Facts) -> np.ndarray:
    return _jumps(facts, SPLIT_RATIOS, 0.04)


def _hundredfold(facts: Facts) -> np.ndarray:
    return np.asarray(((facts.ratio > 88) | (facts.ratio < 1 / 88)) & (facts.ratio > 0) & np.isfinite(facts.ratio))


def _stale(facts: Facts) -> np.ndarray:
    """The first row of each run of at least `STALE_ROWS` equal closes."""
    starts = np.flatnonzero(~facts.same | (facts.ratio != 1))
    mask = np.zeros(len(facts.ratio), dtype=bool)
    mask[starts[np.diff(np.r_[starts, len(mask)]) >= STALE_ROWS]] = True
    return mask


def _long_gap(facts: Facts) -> np.ndarray:
    gaps = np.zeros(len(facts.same))
    gaps[1:] = np.diff(facts[DATE]) / np.timedelta64(1, "D")
    return np.asarray((gaps > LONG_GAP.get(facts.step, np.inf)) & facts.same)


def _flat_zero_volume(facts: Facts) -> np.ndarray:
    idle = facts[VOLUME] == 0
    return np.asarray(idle & ~moved(facts.frame) if idle.any() else idle)


def _weekend(facts: Facts) -> np.ndarray:
    """Rows on a weekend in a daily file that has few of them."""
    weekend = (facts[DATE].astype("datetime64[D]").astype(np.int64) + 3) % 7 >= 5
    return np.asarray(weekend & (facts.step == "daily" and bool(weekend.mean() < 0.05)))


def _shorter(facts: Facts) -> np.ndarray:
    """The first row of each ticker with fewer rows than another, where no dates tell which rows are of one day."""
    codes = facts[CODE]
    sizes = np.bincount(codes)[codes]
    return np.asarray(~facts.same & (sizes < sizes.max(initial=0)) & (facts.step == UNDATED))


def _thin_last(facts: Facts) -> np.ndarray:
    """A ticker's last row with under a tenth of the usual volume, which may be an unfinished session."""
    last: np.ndarray = np.r_[~facts.same[1:], True][: len(facts.same)]
    if facts.step != "daily":
        return np.zeros(len(last), dtype=bool)
    usual = facts.frame.groupby(CODE)[VOLUME].transform("median").to_numpy()
    return np.asarray(last & (facts[VOLUME] < 0.1 * usual) & (facts[VOLUME] > 0))


_CHECKS: tuple[tuple[str, Callable[[Facts], np.ndarray], str | None], ...] = (
    ("future", _future, None),
    ("high_below_low", _high_below_low, HIGH),
    ("close_outside_range", _outside(CLOSE), CLOSE),
    ("open_outside_range", _outside(OPEN), OPEN),
    ("split_like_jump", _split_like, CLOSE),
    ("hundredfold_jump", _hundredfold, CLOSE),
    ("stale_run", _stale, CLOSE),
    ("long_gap", _long_gap, None),
    ("zero_volume", _flat_zero_volume, VOLUME),
    ("weekend", _weekend, None),
    ("thin_last_session", _thin_last, VOLUME),
    ("counted_from_its_first_row", _shorter, None),
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
