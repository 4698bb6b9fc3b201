"""Which tickers of a panel have enough to learn from."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from stockrnn.config import Config
from stockrnn.errors import DataError
from stockrnn.features.pipeline import Lesson, lessons, need_of, treated
from stockrnn.features.splits import Spans
from stockrnn.prices.tickers import ticker_slices
from stockrnn.types import TICKER


def learnable_tickers(prices: pd.DataFrame, spans: Spans, config: Config) -> tuple[list[str], list[str]]:
    """Tickers with enough changing history to learn from, and the others; a lone ticker is always among the first.

    One whose network is its own must have been traded after the training span too, where its training is stopped.

    Raises:
        DataError: none of several has enough.
    """
    tickers = [str(ticker) for ticker in prices[TICKER].unique()]
    if len(tickers) == 1:
        return tickers, []
    separate = config.data.panel == "separate"
    needed = {0}  # the training span; and, of a network of its own, those that its training looks at afterwards
    if separate:
        needed = {0, 1, 2} if config.split.calibration > 0 else {0, 1}
    parts = [prices.iloc[rows] for rows in ticker_slices(prices[TICKER]).values()] if separate else [prices]
    fit: list[str] = []
    for part in parts:
        fit += [lesson.ticker for lesson in _lessons_of(part, spans, config) if _is_enough(lesson, needed, config)]
    if not fit:
        raise DataError(
            f"At least one ticker must have {need_of(config)} training rows with all features and a price that changes. Received: none of "
            f"{len(tickers)}. Shorten the window, give more history, ask for fewer folds, or leave features out."
        )
    return fit, [ticker for ticker in tickers if ticker not in fit]


def _is_enough(lesson: Lesson, needed: set[int], config: Config) -> bool:
    """Whether a ticker has enough training rows, its price changes in them, and these spans hold a whole window each."""
    if lesson.seen.sum() < need_of(config) or lesson.table[config.target.column][lesson.seen].nunique() < 2:
        return False
    return needed <= lesson.spans(config.shortest)


def _lessons_of(prices: pd.DataFrame, spans: Spans, config: Config) -> Iterator[Lesson]:
    """Those of the tickers that one network learns; none where they have no feature."""
    try:
        names, _, _, cleaned = treated(prices, spans, config)
    except DataError:
        return iter(())
    return lessons(cleaned, names, spans, config)
