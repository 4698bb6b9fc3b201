"""What is done about missing closes, halted sessions and returns that stand out.

Nothing here looks ahead: limits are fitted on rows up to `train_end`, or on the sessions before each row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.prices.quality import CODE, Finding, Sources, moved, with_columns
from stockrnn.prices.steps import instant
from stockrnn.prices.tickers import ticker_slices
from stockrnn.types import CLOSE, DATE, FILLED, HIGH, LOW, OPEN, OWN, PRICES, TICKER, VOLUME

MAD_TO_SD = 1.4826
"""Median absolute deviation to standard deviation of a normal variable."""
IQR_TO_SD = 1 / 1.349
"""Interquartile range to standard deviation of a normal variable."""
TOUCHED_COLUMNS = (TICKER, DATE, "return_log", "limit", "action")
_BLOCK = 65_536


def returns_log(table: pd.DataFrame) -> np.ndarray:
    """Log return of each row's close on the previous row of its ticker; NaN on each ticker's first row. Shape (rows,)."""
    close = np.log(table[CLOSE].to_numpy(float))
    ticker = table[TICKER].to_numpy()
    returns = np.full(len(close), np.nan)
    returns[1:] = np.where(ticker[1:] == ticker[:-1], np.diff(close), np.nan)
    return returns


def fit_outliers(
    prices: pd.DataFrame, train_end: pd.Timestamp, *, method: str, action: str, threshold: float, window: int
) -> OutlierLimits:
    """Learn each ticker's centre and spread of log returns from rows up to `train_end`.

    Filled rows are left out: a line drawn across a gap knows the price at its far end.

    Args:
        prices: a price table, sorted by ticker and date.
        train_end: last date that may be learned from.
        method: `none`, `hampel`, `iqr` or `zscore`.
        action: `flag`, `clip`, `replace` or `drop`.
        threshold: distance in robust standard deviations.
        window: sessions that `hampel` looks back; it fits nothing.
    """
    spread_of = {"iqr": _median_iqr, "zscore": _mean_sd}.get(method)
    fitted: dict[str, tuple[float, float]] = {}
    if spread_of is not None:
        learned = (prices[DATE] <= train_end) & ~prices[FILLED]
        seen = pd.Series(returns_log(prices), index=prices.index)[learned].dropna()
        for ticker, returns in seen.groupby(prices.loc[seen.index, TICKER], sort=True):
            fitted[str(ticker)] = spread_of(returns.to_numpy())
    return OutlierLimits(method, action, float(threshold), int(window), pd.Timestamp(train_end).isoformat(), fitted)


@dataclass(frozen=True)
class OutlierLimits:
    """Fitted limits: a frozen value that can be written as JSON.

    Attributes:
        fitted: (centre, spread) of the log returns of each ticker, in standard deviations; empty for `hampel` and `none`.
    """

    method: str
    action: str
    threshold: float
    window: int
    train_end: str
    fitted: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "method": self.method,
            "action": self.action,
            "threshold": self.threshold,
            "window": self.window,
            "train_end": self.train_end,
            "fitted": {ticker: list(pair) for ticker, pair in self.fitted.items()},
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> OutlierLimits:
        """From what `to_dict` gave."""
        fitted = {str(ticker): (float(centre), float(spread)) for ticker, (centre, spread) in state["fitted"].items()}
        end = state["train_end"]
        end = instant(end).isoformat() if isinstance(end, int) else end
        return cls(state["method"], state["action"], float(state["threshold"]), int(state["window"]), end, fitted)

    def apply(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Flag or alter the returns that stand out; causal: no row depends on a later one.

        `clip` and `replace` put a row's close at the previous *original* close times exp(limited return) and scale its
        other prices alike; the next row is judged against the original again. `drop` removes rows up to `train_end`;
        later ones are flagged, because leaving them out would flatter the score.

        Returns:
            The table, with its original index labels, and a table `ticker, date, return_log, limit, action` of every value touched.
        """
        returns = returns_log(table)
        centre, spread = _BOUNDS[self.method](self, table, returns)
        reach = self.threshold * spread
        with np.errstate(invalid="ignore"):
            out = (np.abs(returns - centre) > reach) & (spread > 0)
        limit = centre + np.sign(returns - centre) * reach
        train = (table[DATE] <= pd.Timestamp(self.train_end)).to_numpy()
        done = np.where(train, "drop", "flag") if self.action == "drop" else np.full(len(table), self.action)
        touched = pd.DataFrame(
            dict(zip(TOUCHED_COLUMNS, (table[TICKER], table[DATE], returns, limit, done), strict=True)), index=table.index
        )
        goal = {"clip": limit, "replace": centre}.get(self.action)
        if goal is not None:
            table = _scaled(table, out, goal - returns)
        return table[~(out & (done == "drop"))], touched[out]

    def altered(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table that `apply` gives, at no cost where returns are only flagged."""
        return table if self.action == "flag" else self.apply(table)[0]


def _scaled(table: pd.DataFrame, out: np.ndarray, shift_log: np.ndarray) -> pd.DataFrame:
    factor = np.where(out, np.exp(np.where(out, shift_log, 0.0)), 1.0)
    return table.assign(**{name: table[name].to_numpy() * factor for name in PRICES})


def _median_iqr(returns: np.ndarray) -> tuple[float, float]:
    low, middle, high = np.percentile(returns, (25, 50, 75))
    return float(middle), float((high - low) * IQR_TO_SD)


def _mean_sd(returns: np.ndarray) -> tuple[float, float]:
    return float(np.mean(returns)), float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0


def _no_bounds(limits: OutlierLimits, table: pd.DataFrame, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001 (one signature)
    return np.zeros(len(returns)), np.zeros(len(returns))


def _fitted_bounds(limits: OutlierLimits, table: pd.DataFrame, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
    """Those fitted for each ticker; of a run of one ticker that one's, whatever the name; else rows are not judged."""
    slices = ticker_slices(table[TICKER])
    stand_in = next(iter(limits.fitted.values())) if len(limits.fitted) == 1 else (0.0, 0.0)
    bounds = np.array([limits.fitted.get(ticker, stand_in) for ticker in slices]).reshape(-1, 2)
    known = np.repeat(bounds, [rows.stop - rows.start for rows in slices.values()], axis=0)
    return known[:, 0], known[:, 1]


def _trailing_bounds(limits: OutlierLimits, table: pd.DataFrame, returns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and scaled MAD of the `window` returns before each row; rows with fewer before them are not judged."""
    centre, spread = np.zeros(len(returns)), np.zeros(len(returns))
    ticker = table[TICKER].to_numpy()
    starts = np.flatnonzero(np.r_[True, ticker[1:] != ticker[:-1]]) if len(ticker) else np.array([], int)
    for start, stop in zip(starts, np.r_[starts[1:], len(ticker)], strict=True):
        for first in range(start + 1 + limits.window, stop, _BLOCK):
            last = min(first + _BLOCK, stop)
            past = np.lib.stride_tricks.sliding_window_view(returns[first - limits.window : last - 1], limits.window)
            middle = np.median(past, axis=1)
            centre[first:last] = middle
            spread[first:last] = MAD_TO_SD * np.median(np.abs(past - middle[:, None]), axis=1)
    return centre, spread


_BOUNDS: dict[str, Callable[[OutlierLimits, pd.DataFrame, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "none": _no_bounds,
    "hampel": _trailing_bounds,
    "iqr": _fitted_bounds,
    "zscore": _fitted_bounds,
}


def clean(frame: pd.DataFrame, sources: Sources, *, policy: str, limit: int) -> tuple[pd.DataFrame, list[Finding]]:
    """Make a price table of checked rows: halted sessions flat, impossible volumes unknown, missing closes by the policy.

    Args:
        frame: rows sorted by ticker and date, with `code`, `row` and `file`; `close` NaN or 0 where missing.
        sources: names of tickers, files and columns.
        policy: `error`, `drop`, `ffill` or `interpolate`.
        limit: most sessions of one gap that are filled.

    Returns:
        The price table, index 0 … rows-1, and what was done.

    Raises:
        DataError: policy `error` and a close is missing.
    """
    frame, found = _repaired(frame, sources)
    missing = frame[CLOSE].isna().to_numpy()
    if policy == "error" and missing.any():
        place = sources.place(frame, int(np.flatnonzero(missing)[0]))
        raise DataError(
            f"{place.file} row {place.row}: `close` must be there in every row (data.missing: error). Received: none on {place.date}, "
            f"{int(missing.sum())} rows in all. Set `data.missing` to drop, ffill or interpolate."
        )
    fillable = missing & (_gap_lengths(frame[CODE].to_numpy(), missing) <= limit) & (policy in _FILLERS)
    found += sources.finding(frame, "missing_close", missing & ~fillable, CLOSE, "left out")
    found += sources.finding(frame, "missing_close", fillable, CLOSE, f"filled ({policy})")
    if missing.any():
        kept = ~missing | fillable
        frame, fillable = frame[kept].reset_index(drop=True), fillable[kept]
    if fillable.any():
        frame = _filled(frame, fillable, policy)
    names = np.array(sources.tickers, dtype=object)
    kept_columns = {name: frame[name] for name in (DATE, *PRICES, VOLUME, *(name for name in map(str, frame) if name.startswith(OWN)))}
    return pd.DataFrame({TICKER: names[frame[CODE].to_numpy()], **kept_columns, FILLED: fillable}, copy=False), found


def _repaired(frame: pd.DataFrame, sources: Sources) -> tuple[pd.DataFrame, list[Finding]]:
    """Zero closes are missing; a halted session takes its close; zero volume where price moved, and one below zero, is unknown.

    A session is halted where open, high and low are all missing or zero beside a close, from its ticker's first one with any of them on:
    what comes later does not tell that a session was halted. A single one is missing, and so is what has not begun yet.
    """
    close = frame[CLOSE].to_numpy()
    found = sources.finding(frame, "zero_close", close == 0, CLOSE, "taken as missing")
    if (close == 0).any():
        frame = with_columns(frame, {CLOSE: np.where(close == 0, np.nan, close)})
    valid = frame[CLOSE].notna().to_numpy()
    held = {name: valid & (frame[name] > 0).to_numpy() for name in (OPEN, HIGH, LOW)}
    begun = {name: _begun(frame[CODE], rows) for name, rows in held.items()}
    halted = valid & ~np.logical_or.reduce(list(held.values())) & np.logical_or.reduce(list(begun.values()))
    found += sources.finding(frame, "halted_session", halted, CLOSE, "missing prices set to the close")
    changes: dict[str, np.ndarray] = {}
    for name, rows in held.items():
        lacking = valid & ~rows
        if lacking.any() and (rows.any() or (frame[name] == 0).any()):  # else a column that is not there
            flat = halted & begun[name]
            changes[name] = np.where(flat, frame[CLOSE].to_numpy(), np.where(lacking, np.nan, frame[name].to_numpy()))
            found += sources.finding(frame, f"missing_{name}", lacking & ~flat, name, "kept as missing")
    frame = with_columns(frame, changes) if changes else frame
    volume = frame[VOLUME].to_numpy()
    untraded, below = (volume == 0) & moved(frame) & valid, volume < 0
    found += sources.finding(frame, "zero_volume_with_move", untraded, VOLUME, "volume taken as missing")
    found += sources.finding(frame, "negative_volume", below, VOLUME, "volume taken as missing")
    impossible = untraded | below
    return (with_columns(frame, {VOLUME: frame[VOLUME].where(~impossible)}) if impossible.any() else frame), found


def _filled(frame: pd.DataFrame, rows: np.ndarray, policy: str) -> pd.DataFrame:
    """The closes of these rows by the policy, and its open, high and low at them as far as its ticker has had any."""
    close = frame.groupby(CODE, sort=False)[CLOSE].transform(_FILLERS[policy]).to_numpy()
    begun = {name: _begun(frame[CODE], frame[name].notna().to_numpy()) for name in PRICES}
    flat = {name: np.where(rows & begun[name], close, frame[name]) for name in PRICES}
    return with_columns(frame, {**flat, VOLUME: frame[VOLUME].where(~rows)})


def _begun(codes: pd.Series, known: np.ndarray) -> np.ndarray:
    """From each ticker's first known row on. Shape (rows,)."""
    return pd.Series(known).groupby(codes.to_numpy(), sort=False).cummax().to_numpy(bool)


_FILLERS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "ffill": lambda close: close.ffill(),
    "interpolate": lambda close: close.interpolate(limit_area="inside"),
}


def _gap_lengths(codes: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Length of the gap each missing row lies in; a gap at either end of a ticker's history counts as endless."""
    n = len(codes)
    if n == 0 or not missing.any():
        return np.zeros(n)
    starts = np.r_[True, (missing[1:] != missing[:-1]) | (codes[1:] != codes[:-1])]
    run = np.cumsum(starts) - 1
    first = np.flatnonzero(starts)
    last = np.r_[first[1:], n] - 1
    length = (last - first + 1).astype(float)
    before, after = codes[np.maximum(first - 1, 0)], codes[np.minimum(last + 1, n - 1)]
    at_edge = (first == 0) | (before != codes[first]) | (last == n - 1) | (after != codes[last])
    lengths: np.ndarray = np.where(at_edge, np.inf, length)[run]
    return lengths
