"""Where in time a run learns, stops, calibrates and is scored.

Four spans in time order, common to all tickers: train, validation, calibration, test. Knows dates only, no prices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.types import DATE, FILLED, TICKER

SPAN_NAMES = ("train", "validation", "calibration", "test")


@dataclass(frozen=True)
class Spans:
    """The last date of each span, inclusive. An empty span ends where the one before it ends."""

    train_end: pd.Timestamp
    validation_end: pd.Timestamp
    calibration_end: pd.Timestamp
    test_end: pd.Timestamp

    def ends(self) -> Iterator[tuple[str, pd.Timestamp]]:
        """Each span's name and last date, in time order."""
        yield from zip(SPAN_NAMES, (self.train_end, self.validation_end, self.calibration_end, self.test_end), strict=True)

    def numbers(self, dates: pd.Series) -> np.ndarray:
        """The span of each date: 0 train … 3 test, 4 after the last span. Shape (rows,)."""
        ends = np.array([end.to_datetime64() for _, end in self.ends()])
        return np.searchsorted(ends, dates.to_numpy(), side="left")


def split_time(dates: pd.Series, validation: float, calibration: float, test: float) -> Spans:
    """Cut the distinct dates into spans by fractions of their number.

    Args:
        dates: dates of a price table, any order, repeats allowed.
        validation: share of the dates held out for early stopping.
        calibration: share held out for interval residuals; 0 leaves the span empty.
        test: share at the end, scored once.

    Raises:
        DataError: a span that was asked for would hold no date.
    """
    distinct = np.sort(dates.unique())
    n = len(distinct)
    shares = np.array([1.0 - validation - calibration - test, validation, calibration, test])
    lasts = np.round(np.cumsum(shares) * n).astype(int)
    sizes = np.diff(lasts, prepend=0)
    empty = np.flatnonzero((sizes == 0) & (shares > 0))
    if len(empty):
        raise DataError(
            f"`split` must leave at least one row in each span. Received: none for {SPAN_NAMES[empty[0]]}, {shares[empty[0]]:.3g} of "
            f"{n} rows. Give more history or other fractions."
        )
    return Spans(*(pd.Timestamp(distinct[last - 1]) for last in lasts))


def label_spans(prices: pd.DataFrame, spans: Spans, horizon: int) -> np.ndarray:
    """The span that holds all `horizon` labels of a cutoff at each row, or -1: no label straddles a border. Shape (rows,).

    -1 too where a label would lie beyond the ticker's last row, and where the cutoff or a label was filled in.
    """
    numbers = spans.numbers(prices[DATE])
    ticker, filled = prices[TICKER].to_numpy(), prices[FILLED].to_numpy()
    rows, before = np.arange(len(prices)), np.concatenate([[0], np.cumsum(filled)])
    first, last = (np.minimum(rows + step, len(prices) - 1) for step in (1, horizon))
    whole = (rows + horizon < len(prices)) & (ticker[last] == ticker) & (before[last + 1] == before[rows])
    return np.where(whole & (numbers[first] == numbers[last]) & (numbers[last] < len(SPAN_NAMES)), numbers[last], -1)


def cutoff_rows(prices: pd.DataFrame, spans: Spans, span: str, horizon: int) -> np.ndarray:
    """Rows whose forecasts are scored in a span: all their labels lie in it. Shape (n,)."""
    return np.flatnonzero(label_spans(prices, spans, horizon) == SPAN_NAMES.index(span))
