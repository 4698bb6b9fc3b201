"""What is known of a session before it comes: where the calendar puts it. It may enter the steps ahead; nothing else may.

At a cutoff these are facts of the sessions that were planned then, by a calendar chosen from the training span: which dates the
file holds after the cutoff is never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.prices.schedule import expected_sessions
from stockrnn.prices.sessions import choose_calendar
from stockrnn.types import DATE, TICKER

DAY = np.timedelta64(1, "D")
DAY_OF_WEEK, MONTH_END, DAYS_SINCE = "day_of_week", "month_end", "days_since_last_session"


@dataclass(frozen=True)
class Ahead:
    """What enters the steps ahead, fitted.

    Attributes:
        names: what the config asks for, in its order.
        weekdays: numbers, Monday is 0, of the days that the training span trades on.
        calendars: the calendar of each ticker: a name of exchange_calendars, or `pattern`.
    """

    names: tuple[str, ...] = ()
    weekdays: tuple[int, ...] = ()
    calendars: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The name that each column of `values` belongs to."""
        return tuple(name for name in self.names for _ in range(len(self.weekdays) if name == DAY_OF_WEEK else 1))

    def values(self, prices: pd.DataFrame, calendar: str, horizon: int) -> np.ndarray:
        """What each row of one ticker knows of step 1 … horizon, float32, shape (rows, horizon, columns)."""
        cutoffs = prices[DATE].to_numpy().astype("datetime64[D]")
        if not self.names or not len(cutoffs):
            return np.zeros((len(cutoffs), horizon, len(self.columns)), np.float32)
        sessions = expected_sessions(cutoffs, horizon + 1, calendar, self.weekdays)
        days = np.concatenate([cutoffs[:, None], sessions], axis=1)
        return np.concatenate([FACTS[name](days, self.weekdays) for name in self.names], axis=2).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able state."""
        return {"names": list(self.names), "weekdays": list(self.weekdays), "calendars": self.calendars}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Ahead:
        """What `to_dict` wrote. Raises ValueError for what is none."""
        weekdays = tuple(map(int, state["weekdays"]))
        if not set(state["names"]) <= set(FACTS) or not set(weekdays) <= set(range(7)):
            raise ValueError("what is known ahead must be known here")
        return cls(tuple(state["names"]), weekdays, {str(ticker): str(name) for ticker, name in state["calendars"].items()})


def _day_of_week(days: np.ndarray, weekdays: tuple[int, ...]) -> np.ndarray:
    """1 in the column of the session's weekday, else 0."""
    return _steps(np.asarray(_weekday(days)[..., None] == np.array(weekdays)))


def _month_end(days: np.ndarray, _: tuple[int, ...]) -> np.ndarray:
    """1 for the last session of its month."""
    months = days.astype("datetime64[M]")
    return np.asarray(months[:, 1:-1] != months[:, 2:])[..., None]


def _days_since(days: np.ndarray, _: tuple[int, ...]) -> np.ndarray:
    """Log of the days since the session before: 0 from one day to the next, 1.1 over a weekend."""
    return _steps(np.log(np.diff(days, axis=1, prepend=days[:, :1] - DAY) / DAY)[..., None])


FACTS: dict[str, Callable[[np.ndarray, tuple[int, ...]], np.ndarray]] = {
    DAY_OF_WEEK: _day_of_week,
    MONTH_END: _month_end,
    DAYS_SINCE: _days_since,
}
"""What each calendar name of `features.known_ahead` says of the steps, shape (rows, horizon, columns), from the cutoff and the
horizon + 1 sessions planned after it, shape (rows, horizon + 2), and the weekdays of the training span."""


def _steps(values: np.ndarray) -> np.ndarray:
    """The steps 1 … horizon of what is said of the cutoff and all sessions."""
    return values[:, 1:-1]


def _weekday(days: np.ndarray) -> np.ndarray:
    return np.asarray((days.astype(np.int64) + 3) % 7)


def fit_ahead(learn: pd.DataFrame, names: Sequence[str], calendar: str) -> Ahead:
    """Choose each ticker's calendar from the sessions that may be learned from.

    Args:
        learn: the training rows of a price table of daily sessions.
        names: `features.known_ahead`.
        calendar: `data.calendar`.

    Raises:
        ConfigError: no calendar of that name.
    """
    if not names:
        return Ahead()
    days = {str(ticker): pd.DatetimeIndex(dates.unique()) for ticker, dates in learn.groupby(TICKER, sort=False)[DATE]}
    calendars = {ticker: choose_calendar(mine, ticker, calendar)[0] for ticker, mine in days.items()}
    weekdays = np.unique(_weekday(learn[DATE].to_numpy().astype("datetime64[D]")))
    return Ahead(tuple(names), tuple(map(int, weekdays)), calendars)
