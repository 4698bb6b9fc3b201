"""When what is learned of a ticker before a network is learned anew, as sessions come. Knows one ticker's dates and prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.features.targets import make_targets
from stockrnn.prices.steps import instant
from stockrnn.types import FILLED, PRICES


@dataclass(frozen=True)
class Renewal:
    """When the weights of an anchor are learned anew: dates and the table decide that, so that a forecast is the same whoever asks.

    Attributes:
        every: sessions from one time to the next, counted from `after`.
        after: the last day that the first weights could be learned from.
        learned: sessions that the first weights were learned from; a table that tells of fewer keeps the weights it comes to.
        column: the price whose changes are learned from.
    """

    every: int
    after: np.datetime64
    learned: int
    column: str

    def __post_init__(self) -> None:
        """Refuse a state that is none. Raises ValueError."""
        if self.every < 1 or self.learned < 1 or np.isnat(self.after) or self.column not in PRICES:
            raise ValueError("a renewal that does not fit")

    def times(self, dates: np.ndarray) -> range:
        """Number of a ticker's sessions that are known each time; their dates are ascending."""
        before = int(np.searchsorted(dates, self.after, side="right"))
        return range(before + self.every, len(dates) + 1, self.every)

    def changes(self, prices: pd.DataFrame, horizon: int) -> np.ndarray:
        """Log change from each session over step 1 … horizon, NaN where it is unknown, shape (rows, horizon)."""
        price = prices[self.column].to_numpy(float)
        usable = ~prices[FILLED].to_numpy() & np.isfinite(price)
        return make_targets(price, usable, np.zeros(len(price)), horizon, "log_return")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able state."""
        return {**vars(self), "after": str(self.after)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Renewal:
        """From what `to_dict` gave. Raises KeyError, TypeError or ValueError for what is none."""
        after = state["after"]
        after = instant(after).to_datetime64() if isinstance(after, int) else np.datetime64(str(after), "ns")
        return cls(int(state["every"]), after, int(state["learned"]), str(state["column"]))
