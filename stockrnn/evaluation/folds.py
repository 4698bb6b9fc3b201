"""Walk-forward: which dates each fold learns from, and which it is scored on. Knows dates only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.features.splits import Spans, split_time
from stockrnn.types import DATE, TICKER


@dataclass(frozen=True)
class Fold:
    """One stretch of the test span, and what the model that forecasts it has learned from.

    Attributes:
        number: 0, 1 … in time order.
        learned: number of the fold whose fit this one uses; its own number where it refits.
        start: first date that learning sees.
        spans: where training, validation and calibration end; `test_end` is the fold's last date.
        first: first date whose price is forecast from this fold.
        last: last such date, as step 1; longer steps reach into the next folds.
    """

    number: int
    learned: int
    start: pd.Timestamp
    spans: Spans
    first: pd.Timestamp
    last: pd.Timestamp

    @property
    def refits(self) -> bool:
        """Whether this fold learns anew."""
        return self.learned == self.number

    def rows(self, prices: pd.DataFrame, cutoffs: np.ndarray) -> np.ndarray:
        """Those of the cutoff rows whose next session, of the same ticker, lies in first … last, in their order."""
        date, ticker = prices[DATE].to_numpy(), prices[TICKER].to_numpy()
        inside = cutoffs[cutoffs + 1 < len(prices)]
        ahead = date[inside + 1]
        mine = (ahead >= self.first.to_datetime64()) & (ahead <= self.last.to_datetime64())
        return np.asarray(inside[mine & (ticker[inside + 1] == ticker[inside])])

    def history(self, prices: pd.DataFrame) -> pd.DataFrame:
        """The rows that learning may see, numbered afresh: from `start` to the calibration end."""
        seen = (prices[DATE] >= self.start) & (prices[DATE] <= self.spans.calibration_end)
        return prices[seen].reset_index(drop=True)


def walk_forward(
    dates: pd.Series,
    *,
    folds: int,
    validation: float,
    calibration: float,
    test: float,
    start: pd.Timestamp | None = None,
    window: Literal["expanding", "rolling"] = "expanding",
    gap: int = 0,
    refit: int = 1,
) -> Iterator[Fold]:
    """Cut the test span into consecutive folds of nearly equal length, each preceded by all that it learns from.

    Args:
        dates: dates of a price table, any order, repeats allowed.
        folds: how many.
        validation: share of all dates for early stopping; every fold's history keeps the proportions of a single split.
        calibration: share for interval residuals, likewise; 0 leaves it out.
        test: share of the dates at the end that is walked through, as in a single split.
        start: first date of the test span, instead of the one that `test` gives.
        window: `expanding` learns from the first date on; `rolling` from as many sessions as the first fold has.
        gap: sessions left out between what is learned from and the first date that is forecast.
        refit: learn anew in every `refit`-th fold; the folds between use the last fit.

    Raises:
        DataError: too few dates for that many folds, or for a history before them.
    """
    distinct = pd.DatetimeIndex(np.sort(dates.unique()))
    if start is None:
        begin = int(distinct.searchsorted(split_time(dates, validation, calibration, test).calibration_end, side="right"))
    else:
        begin = int(distinct.searchsorted(start))
    borders = np.round(np.linspace(begin, len(distinct), folds + 1)).astype(int)
    if begin - gap < 1 or np.any(np.diff(borders) < 1):
        raise DataError(
            f"The walk needs history before its test span and a row for each of {folds} folds. Received: {max(begin - gap, 0)} "
            f"rows of history, {len(distinct) - begin} to test. Ask for fewer folds, a smaller gap or another test span."
        )
    for number, (first, after) in enumerate(itertools.pairwise(borders)):
        if number % refit == 0:
            learned, until = number, first - gap
            since = until - (begin - gap) if window == "rolling" else 0
            spans = split_time(pd.Series(distinct[since:until]), validation / (1 - test), calibration / (1 - test), 0.0)
        last = distinct[after - 1]
        yield Fold(number, learned, distinct[since], replace(spans, test_end=last), distinct[first], last)
