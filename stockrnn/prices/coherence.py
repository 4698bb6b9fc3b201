"""Whether the columns of one file fit each other: mistaken columns show in their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stockrnn.errors import DataError
from stockrnn.prices.quality import shown

BAR = ("open", "high", "low", "close")
_MOST_TORN, _MOST_SAMPLED, _LARGEST_STEP = 0.1, 50_000, 0.2
_LEAST_STEPS = 5


def check_bars(values: Mapping[str, np.ndarray], headers: Mapping[str, str]) -> None:
    """Prices of one bar are near each other, and the high is not below the low.

    Args:
        values: role → values of shape (rows,), NaN where missing.
        headers: role → header.

    Raises:
        DataError: more than a tenth of the rows are otherwise.
    """
    roles = [role for role in BAR if role in values]
    stride = max(1, len(values["close"]) // _MOST_SAMPLED)
    bars = np.column_stack([values[role][::stride] for role in roles])
    bars = bars[(bars > 0).all(axis=1)]
    if len(bars) == 0 or len(roles) < 2:
        return
    torn = bars.max(axis=1) > 3 * bars.min(axis=1)
    if "high" in roles and "low" in roles:
        torn |= bars[:, roles.index("high")] < 0.999 * bars[:, roles.index("low")]
    if torn.mean() > _MOST_TORN:
        names = ", ".join(f"{role} {shown(headers[role])}" for role in roles)
        raise DataError(
            f"open, high, low and close must fit each other. Received: {names}; {torn.mean():.0%} of rows do not. Set `data.columns`."
        )


def misplaced_close(values: Mapping[str, np.ndarray], rows: Sequence[int]) -> int | None:
    """Of some rows, the first whose close lies outside its low and high, as when a cell before it is lost."""
    at = np.asarray(rows)
    close = values["close"][at]
    off = np.zeros(len(at), dtype=bool)
    with np.errstate(invalid="ignore"):
        if "low" in values:
            off |= values["low"][at] - close > 0.01 * np.abs(close)
        if "high" in values:
            off |= close - values["high"][at] > 0.01 * np.abs(close)
    return int(at[np.flatnonzero(off)[0]]) if off.any() else None


def unscaled_close(values: Mapping[str, np.ndarray]) -> bool:
    """Whether the close lies outside low and high in more than a twentieth of the rows: adjusted beside prices that are not."""
    if not {"high", "low"} <= values.keys():
        return False
    close, high, low = values["close"], values["high"], values["low"]
    with np.errstate(invalid="ignore"):
        outside = (close > 1.005 * high) | (close < 0.995 * low)
    return bool(outside[np.isfinite(close) & (high > 0) & (low > 0)].sum() > 0.05 * len(close))


def like_bars(columns: Sequence[np.ndarray]) -> bool:
    """Whether four columns side by side are a bar's prices under unknown names: one always highest, one always lowest, all near."""
    for start in range(len(columns) - 3):
        bars = np.column_stack(columns[start : start + 4])
        bars = bars[(bars > 0).all(axis=1)]
        if len(bars) < 5 or np.median(bars.max(axis=1) / bars.min(axis=1)) > 1.3:
            continue
        highest = (bars >= bars.max(axis=1, keepdims=True)).mean(axis=0) >= 0.99
        lowest = (bars <= bars.min(axis=1, keepdims=True)).mean(axis=0) >= 0.99
        if highest.sum() == lowest.sum() == 1:
            return True
    return False


def near_always(columns: Sequence[np.ndarray]) -> bool:
    """Whether columns lie within a few percent of each other in most rows and never far, as the prices of one bar do."""
    rows = np.column_stack(columns)
    rows = rows[(rows > 0).all(axis=1)]
    if len(rows) < 5:
        return False
    ratio = rows.max(axis=1) / rows.min(axis=1)
    return bool(np.median(ratio) < 1.08 and np.quantile(ratio, 0.99) < 1.5)


def is_worth(amount: np.ndarray, shares: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether an amount is what so many shares cost: where any were traded, a price between low and high in nine rows of ten."""
    traded = (shares > 0) & (high > 0)
    price = amount[traded] / shares[traded]
    return bool(traded.any() and np.mean((price >= 0.98 * low[traded]) & (price <= 1.02 * high[traded])) >= 0.9)


def follows(column: np.ndarray, close: np.ndarray) -> bool:
    """Whether a column lies within a third of the close in nearly every row, as another price of the bar does, and is not the close."""
    known = (column > 0) & (close > 0)
    if len(column) != len(close) or known.sum() < max(5, 0.5 * (close > 0).sum()):
        return False
    ratio = column[known] / close[known]
    return bool(np.mean((ratio > 2 / 3) & (ratio < 1.5)) >= 0.99 and np.any(ratio != 1))


def refuse_listing(tickers: Sequence[str], codes: np.ndarray) -> None:
    """Refuse a table without dates that has one row or two for each name: a list of stocks, and no history. Raises DataError."""
    if len(tickers) > 1 and len(codes) < 3 * len(tickers):
        raise DataError(
            f"a file without dates must hold the history of each ticker. Received: {len(codes)} rows of {len(tickers)} names, a list of "
            "them at one time. Give a file with dates."
        )


def refuse_zeros(closes: np.ndarray) -> None:
    """Refuse columns that no word calls a close, where a tenth of what lies between their values is zero: weights or volumes.

    Args:
        closes: shape (series, rows), NaN where missing.

    Raises:
        DataError: so many zeros after a first and before a last value of their column.
    """
    held = closes > 0
    inside = np.logical_or.accumulate(held, axis=1) & np.logical_or.accumulate(held[:, ::-1], axis=1)[:, ::-1]
    share = np.mean(closes[inside] == 0) if inside.any() else 0.0
    if share > _MOST_TORN:
        raise DataError(
            f"prices must be above zero. Received: {share:.0%} zeros in columns that no word calls a price. "
            "Give another file, or name the column with `data.columns.close`."
        )


def refuse_jumps(closes: np.ndarray) -> None:
    """Refuse columns that no word calls a close, which mostly move by a fifth or more from row to row: volumes or counts.

    Args:
        closes: in the order of time, shape (series, rows), NaN where missing.

    Raises:
        DataError: the middle step of the middle one of them is so large.
    """
    steps = np.abs(np.diff(np.log(np.where(closes > 0, closes, np.nan)), axis=1))
    held = [row[np.isfinite(row)] for row in steps]
    middle = np.median([np.median(row) for row in held if len(row) >= _LEAST_STEPS] or [0.0])
    if middle > _LARGEST_STEP:
        raise DataError(
            f"prices must move by less than {_LARGEST_STEP:.0%} from most rows to the next. Received: steps of {middle:.0%} in columns "
            "that no word calls a price. Give another file, or name the column with `data.columns.close`."
        )
