"""Which rows of a table are whose: tables are sorted by ticker, so a ticker is a slice, and a panel costs one pass over its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from stockrnn.errors import DataError

T = TypeVar("T")

BLOCK_ROWS = 65_536
"""Rows of whole tickers that are looked at together: fewer cost time, more cost memory."""


def ticker_slices(tickers: pd.Series) -> dict[str, slice]:
    """The rows of each ticker, by position, in the order of the table.

    Args:
        tickers: the column of a table in which equal tickers stand together.
    """
    codes, names = pd.factorize(tickers)
    first = np.flatnonzero(np.diff(codes, prepend=-1))
    return {str(name): slice(int(a), int(b)) for name, a, b in zip(names, first, [*first[1:], len(codes)], strict=True)}


def ticker_blocks(tickers: pd.Series, least: int = BLOCK_ROWS) -> Iterator[slice]:
    """The rows of a table, some tickers at a time, whole ones and `least` rows where there are so many."""
    start = 0
    for rows in ticker_slices(tickers).values():
        if rows.stop - start >= least or rows.stop == len(tickers):
            yield slice(start, rows.stop)
            start = rows.stop


def of_ticker(fitted: Mapping[str, T], ticker: str) -> T:
    """What was fitted for a ticker; of a run of one ticker that one's, whatever the name. Raises DataError."""
    if ticker in fitted:
        return fitted[ticker]
    if len(fitted) == 1:
        return next(iter(fitted.values()))
    raise DataError(f"The ticker must be one of the run's {len(fitted)}. Received: {ticker}. Train with it, or set `data.ticker`.")
