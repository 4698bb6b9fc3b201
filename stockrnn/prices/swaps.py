"""Days and months that a spreadsheet has swapped in some rows of a column, shown by the order of the others."""

from __future__ import annotations

import numpy as np

from stockrnn.errors import DataError
from stockrnn.prices.quality import date_text, shown

_ORDERED, _LEAST_SURE = 0.98, 3


def swapped_rows(stamps: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Rows whose date breaks the order that the unmistakable dates keep, and fits it with day and month swapped.

    Args:
        stamps: datetime64[ns] under the format that was chosen, in the file's order. Shape (rows,).
        codes: for each row, the number of its ticker. Shape (rows,).
    """
    order = np.argsort(codes, kind="stable") if np.any(codes[1:] < codes[:-1]) else np.arange(len(codes))
    grouped = codes[order]
    steps = np.diff(stamps[order].astype(np.int64))
    steps[grouped[1:] != grouped[:-1]] = 0
    shuffled = np.intersect1d(grouped[1:][steps > 0], grouped[1:][steps < 0])
    bounds = [(np.searchsorted(grouped, code), np.searchsorted(grouped, code, side="right")) for code in shuffled]
    parts = [_swapped(stamps, order[start:stop]) for start, stop in bounds]
    return np.sort(np.concatenate(parts)) if parts else np.array([], dtype=int)


def _swapped(stamps: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of the rows of one ticker."""
    days = stamps[rows].astype("datetime64[D]").astype(np.int64)
    months = stamps[rows].astype("datetime64[M]")
    day = days - months.astype("datetime64[D]").astype(np.int64) + 1
    month = months.astype(np.int64) % 12 + 1
    sure = np.flatnonzero((day > 12) | (day == month))
    open_to_doubt = np.flatnonzero((day <= 12) & (day != month))
    steps = np.diff(days[sure])
    if len(sure) < _LEAST_SURE or len(open_to_doubt) == 0:
        return np.array([], dtype=int)
    up, down = np.mean(steps >= 0), np.mean(steps <= 0)
    if max(up, down) < _ORDERED:
        return np.array([], dtype=int)
    years = stamps[rows].astype("datetime64[Y]")
    other = ((years.astype("datetime64[M]") + (day - 1)).astype("datetime64[D]") + (month - 1)).astype(np.int64)
    sign = 1 if up >= down else -1
    before = np.searchsorted(sure, open_to_doubt) - 1
    lowest = np.where(before >= 0, sign * days[sure[np.maximum(before, 0)]], np.iinfo(np.int64).min)
    after = np.minimum(before + 1, len(sure) - 1)
    highest = np.where(before + 1 < len(sure), sign * days[sure[after]], np.iinfo(np.int64).max)
    now, then = sign * days[open_to_doubt], sign * other[open_to_doubt]
    off = ((now < lowest) | (now > highest)) & (then >= lowest) & (then <= highest)
    return np.asarray(rows[open_to_doubt[off]])


def refuse_swapped(stamps: np.ndarray, codes: np.ndarray, rows: np.ndarray, date_format: str, path: str) -> None:
    """Refuse a column in which two orders of day and month are mixed.

    Args:
        stamps: as `swapped_rows` takes them.
        codes: as `swapped_rows` takes them.
        rows: row of the file of each. Shape (rows,).
        date_format: the format that was chosen.
        path: the file.

    Raises:
        DataError: some rows fit the order of the others only with day and month swapped.
    """
    found = swapped_rows(stamps, codes)
    if len(found):
        some = ", ".join(str(int(row)) for row in rows[found[:5]])
        raise DataError(
            f"{path} rows {some}: dates must have one order of day and month. Received: {len(found)} rows, the first "
            f"{date_text(stamps[found[0]])} by {shown(date_format)}, that fit their neighbours only with day and month swapped. "
            "Mend them, or set `data.date_format` to take all rows by one format."
        )
