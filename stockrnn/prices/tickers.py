"""Which rows of a table are whose: tables are sorted by ticker, so a ticker is a slice, and a panel costs one pass over its rows."""

from __future__ import annotations

import numpy as np
import pandas as pd


def ticker_slices(tickers: pd.Series) -> dict[str, slice]:
    """The rows of each ticker, by position, in the order of the table.

    Args:
        tickers: the column of a table in which equal tickers stand together.
    """
    codes, names = pd.factorize(tickers)
    first = np.flatnonzero(np.diff(codes, prepend=-1))
    return {str(name): slice(int(a), int(b)) for name, a, b in zip(names, first, [*first[1:], len(codes)], strict=True)}
