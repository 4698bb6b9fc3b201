"""How the last changes of a ticker were spread in units of its anchor: filtered historical simulation.

The shape of a distribution is not the same in all years; the last sessions tell what a network learned long ago cannot: a year's
where the price is drawn to, several years' how wide and how heavy-tailed its changes are.
Knows a fitted pipeline and prices up to each cutoff; no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stockrnn.features.pipeline import Pipeline
from stockrnn.prices.tickers import ticker_slices
from stockrnn.types import QUANTILES, TICKER, RowIndex

AT_ONCE = 1_000_000
"""Changes that are put in order together."""


def recent_quantiles(pipeline: Pipeline, prices: pd.DataFrame, rows: RowIndex, sessions: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the last changes that are known at each cutoff, for each number of them, and how many of that number there are.

    The change over step h is known h sessions later. Each is told as the network learns it: from the anchor's location, in
    units of its scale, both as they were at its own cutoff.

    Source: Barone-Adesi, Giannopoulos and Vosper 1999, doi:10.1002/(SICI)1096-9934(199908)19:5<583::AID-FUT5>3.0.CO;2-S.

    Args:
        pipeline: a fitted one.
        prices: the price table that holds the cutoffs.
        rows: row of each cutoff, shape (n,).
        sessions: numbers of changes that are looked back at.

    Returns:
        q05 … q95 of each step in scaled target space, shape (n, numbers, horizon, 19), zero where no change is known; and the share
        of each number that is, shape (n, numbers, horizon).
    """
    cleaned = pipeline.limits.altered(prices)
    left = ticker_slices(cleaned[TICKER])
    quantiles = np.zeros((len(rows), len(sessions), pipeline.horizon, len(QUANTILES)))
    share = np.zeros(quantiles.shape[:3])
    for ticker, its in ticker_slices(prices[TICKER]).items():
        mine = np.flatnonzero((rows >= its.start) & (rows < its.stop))
        if not len(mine):
            continue
        past = cleaned.iloc[left[ticker]]
        at = np.searchsorted(past.index.to_numpy(), rows[mine])
        for step, changes in enumerate(pipeline.changes(past, ticker).T):
            seen = np.flatnonzero(np.isfinite(changes))
            known = np.searchsorted(seen + step + 1, at, side="right")  # a change over step + 1 sessions is known so much later
            for number, most in enumerate(sessions):
                quantiles[mine, number, step] = _last_quantiles(changes[seen], known, most)
                share[mine, number, step] = np.minimum(known, most) / most
    return quantiles, share


def _last_quantiles(values: np.ndarray, known: np.ndarray, most: int) -> np.ndarray:
    """Quantiles of the last `most` of the first `known` values, shape (n, 19); zero where there is none."""
    found = np.zeros((len(known), len(QUANTILES)))
    sizes = np.minimum(known, most)
    for size in np.unique(sizes[sizes > 0]):
        alike = np.flatnonzero(sizes == size)
        step = max(AT_ONCE // int(size), 1)
        for first in range(0, len(alike), step):
            some = alike[first : first + step]
            found[some] = np.quantile(values[known[some, None] - size + np.arange(size)], QUANTILES, axis=1).T
    return found
