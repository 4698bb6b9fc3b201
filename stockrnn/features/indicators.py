"""Causal columns: what the network sees of a session is made from that session and those before it.

Knows one price table; knows no target, scaler or network.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.types import CLOSE, HIGH, LOW, OPEN, OWN, TICKER, VOLUME, own

VOLUME_MEMORY = 60
"""Sessions that `relative_volume` compares with."""
LEAST_SHARE = 0.5
"""Share of all tickers' rows that a column must have begun in to be learned from."""


def log_return(prices: pd.DataFrame) -> pd.Series:
    """log(close / previous close)."""
    logged: pd.Series = prices[CLOSE].transform(np.log)
    return logged.groupby(prices[TICKER], sort=False).diff()


def abs_return(prices: pd.DataFrame) -> pd.Series:
    """Size of the log return."""
    return log_return(prices).abs()


def price_range(prices: pd.DataFrame) -> pd.Series:
    """log(high / low), the range that carries most of a day's news about volatility (Parkinson 1980, doi:10.1086/296071)."""
    return (prices[HIGH] / prices[LOW]).transform(np.log)


def overnight(prices: pd.DataFrame) -> pd.Series:
    """log(open / previous close)."""
    return (prices[OPEN] / prices.groupby(TICKER, sort=False)[CLOSE].shift()).transform(np.log)


def relative_volume(prices: pd.DataFrame) -> pd.Series:
    """log(1 + volume) less its mean over the ticker's sessions before, 60 at most."""
    groups = prices[TICKER]
    logged: pd.Series = prices[VOLUME].transform(np.log1p)
    past: pd.Series = logged.groupby(groups, sort=False).transform(lambda s: s.shift().rolling(VOLUME_MEMORY, min_periods=5).mean())
    return logged - past


def close_location(prices: pd.DataFrame) -> pd.Series:
    """Place of the close in the session's range, from -1 at its low to 1 at its high (close location value); 0 where low is high."""
    high, low, close = prices[HIGH], prices[LOW], prices[CLOSE]
    place: pd.Series = ((2.0 * close - high - low) / (high - low).where(high > low)).mask(high == low, 0.0)
    return place.clip(-1.0, 1.0)


INDICATORS: dict[str, tuple[Callable[[pd.DataFrame], pd.Series], tuple[str, ...]]] = {
    "log_return": (log_return, (CLOSE,)),
    "abs_return": (abs_return, (CLOSE,)),
    "range": (price_range, (HIGH, LOW)),
    "overnight": (overnight, (OPEN, CLOSE)),
    "relative_volume": (relative_volume, (VOLUME,)),
    "close_location": (close_location, (HIGH, LOW, CLOSE)),
}
"""Name → formula and the price columns it needs."""


def split_available(prices: pd.DataFrame, columns: Sequence[str], indicators: Sequence[str]) -> tuple[list[str], list[str]]:
    """The features this file can give, and those it cannot, in config order: a column they need is empty, or begins late.

    A network learns from the rows that have all features, so one that most rows come before costs more than it tells.

    Raises:
        DataError: none of them can be made.
    """
    needs = {**{name: (name,) for name in columns}, **{name: INDICATORS[name][1] for name in indicators}}
    empty = {name for name in {*itertools.chain(*needs.values())} if not _is_there(prices, name)}
    missing = [name for name in needs if empty & set(needs[name])]
    if len(missing) == len(needs):
        raise DataError(
            f"`features` must name at least one column the file has. Received: {', '.join(missing)}; empty: {', '.join(sorted(empty))}. "
            "Name others."
        )
    return [name for name in needs if name not in missing], missing


def _is_there(prices: pd.DataFrame, name: str) -> bool:
    """Whether a column has begun in half of the rows or more, each ticker's by itself, and is no volume of zeros."""
    column = prices[_header(prices, name)]
    if name == VOLUME and not (column > 0).any():
        return False
    known = column.notna()
    return bool(known.any() and known.groupby(prices[TICKER], sort=False).cummax().mean() >= LEAST_SHARE)


def _header(prices: pd.DataFrame, name: str) -> str:
    """What the table calls a column of the config."""
    return own(name) if own(name) in prices else name


def make_features(prices: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """The features of every row, float64, shape (rows, features); NaN while an indicator warms up.

    A feature that is unknown in a later session (no volume, a filled close) repeats the ticker's last known one.
    """
    columns = {name: INDICATORS[name][0](prices) if name in INDICATORS else prices[_header(prices, name)] for name in names}
    return pd.DataFrame(columns).groupby(prices[TICKER], sort=False).ffill().to_numpy(dtype=np.float64)


def unknown_columns(past: pd.DataFrame, names: Sequence[str], sessions: int) -> list[str]:
    """The columns for want of which features of a ticker's last sessions are unknown, by the names that the user knows."""
    values = make_features(past, names)[-sessions:]
    unknown = [name for name, column in zip(names, values.T, strict=True) if not np.isfinite(column).all()]
    needed, last = _needed(unknown), past.iloc[-sessions:]
    return [str(name).removeprefix(OWN) for name in last if str(name).removeprefix(OWN) in needed and last[name].isna().any()]


def late_columns(past: pd.DataFrame, names: Sequence[str]) -> tuple[int, list[str]]:
    """How many of a ticker's first rows come before all columns that the features need have begun, and the columns that begin so late."""
    known = {name: past[_header(past, name)].notna().to_numpy() for name in _needed(names)}
    firsts = {name: int(np.argmax(held)) if held.any() else len(held) for name, held in known.items()}
    last = max(firsts.values())
    return last, sorted(name for name, first in firsts.items() if first == last)


def _needed(names: Sequence[str]) -> set[str]:
    """The columns that features are made from."""
    return {column for name in names for column in (INDICATORS[name][1] if name in INDICATORS else (name,))}
