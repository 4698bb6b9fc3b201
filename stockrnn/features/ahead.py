"""What is known of a session before it comes: where the calendar puts it, and what the user says is known. Nothing else may look ahead.

At a cutoff these are facts of the sessions that were planned then, by a calendar chosen from the training span: which sessions took
place after the cutoff is never looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import CALENDAR, FeatureConfig
from stockrnn.errors import DataError
from stockrnn.features.scaling import Scaler, fit_scaler
from stockrnn.prices.known import NOTHING_KNOWN, Known
from stockrnn.prices.schedule import expected_sessions
from stockrnn.prices.sessions import choose_calendar
from stockrnn.prices.tickers import of_ticker
from stockrnn.types import DATE, TICKER

DAY = np.timedelta64(1, "D")
DAY_OF_WEEK, MONTH_END, DAYS_SINCE = CALENDAR


@dataclass(frozen=True)
class Ahead:
    """What enters the steps ahead, fitted.

    Attributes:
        names: what the config asks for, in its order: names in `FACTS`, and the user's own columns.
        weekdays: numbers, Monday is 0, of the days that the training span trades on.
        calendars: the calendar of each ticker: a name of exchange_calendars, or `pattern`.
        scalers: of each ticker, for the user's own columns; none where there are none.
        known: what the price file tells of these; no part of the state.
    """

    names: tuple[str, ...] = ()
    weekdays: tuple[int, ...] = ()
    calendars: dict[str, str] = field(default_factory=dict)
    scalers: dict[str, Scaler] = field(default_factory=dict)
    known: Known = field(default=NOTHING_KNOWN, compare=False)

    @property
    def own(self) -> tuple[str, ...]:
        """Those of the names that are the user's own columns."""
        return tuple(name for name in self.names if name not in FACTS)

    @property
    def columns(self) -> tuple[str, ...]:
        """The name that each column of `values` belongs to."""
        return tuple(name for name in self.names for _ in range(len(self.weekdays) if name == DAY_OF_WEEK else 1))

    def values(self, prices: pd.DataFrame, ticker: str, horizon: int) -> np.ndarray:
        """What each row of one ticker knows of step 1 … horizon, float32, shape (rows, horizon, columns); NaN where it cannot know."""
        if not self.names or not len(prices):
            return np.zeros((len(prices), horizon, len(self.columns)), np.float32)
        days = self._days(prices, ticker, horizon)
        facts = {name: FACTS[name](days, self.weekdays) for name in self.names if name in FACTS}
        if self.own:
            told = of_ticker(self.scalers, ticker).transform(self.known.at(ticker, _steps(days)))
            facts |= {name: told[..., k : k + 1] for k, name in enumerate(self.own)}
        return np.concatenate([facts[name] for name in self.names], axis=2).astype(np.float32)

    def untold(self, prices: pd.DataFrame, ticker: str, horizon: int) -> list[str]:
        """The planned sessions, up to the last day that the file tells of, that it has no row of."""
        if not self.own or ticker not in self.known.days:
            return []
        days = np.unique(_steps(self._days(prices, ticker, horizon)))
        days = days[days <= self.known.days[ticker][-1]]
        return [str(day) for day in days[np.isnan(self.known.at(ticker, days)).any(axis=1)]]

    def refuse_unknown(self, prices: pd.DataFrame, ticker: str, horizon: int) -> None:
        """Refuse rows of one ticker that do not know all of their steps: the first day that the file has no row of. Raises DataError."""
        days = _steps(self._days(prices, ticker, horizon)) if self.own else np.empty((len(prices), 0), "datetime64[D]")
        unknown = np.argwhere(np.isnan(self.known.at(ticker, days)).any(axis=2))
        if len(unknown):
            row, step = unknown[0]
            raise DataError(
                f"{', '.join(self.own)} must be known ahead. Received: no row of {ticker} on {days[row, step]}, step {step + 1} after "
                f"{prices[DATE].iloc[row]:%Y-%m-%d}. Add a row with that date and the value, without prices."
            )

    def _days(self, prices: pd.DataFrame, ticker: str, horizon: int) -> np.ndarray:
        """Each row's day, and the horizon + 1 sessions planned after it, datetime64[D], shape (rows, horizon + 2)."""
        cutoffs = prices[DATE].to_numpy().astype("datetime64[D]")
        sessions = expected_sessions(cutoffs, horizon + 1, of_ticker(self.calendars, ticker), self.weekdays)
        return np.concatenate([cutoffs[:, None], sessions], axis=1)

    def joined(self, other: Ahead) -> Ahead:
        """This for the tickers of another one, too."""
        return replace(self, calendars={**self.calendars, **other.calendars}, scalers={**self.scalers, **other.scalers})

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able state."""
        scalers = {"scalers": {ticker: scaler.to_dict() for ticker, scaler in self.scalers.items()}} if self.own else {}
        return {"names": list(self.names), "weekdays": list(self.weekdays), "calendars": self.calendars, **scalers}

    @classmethod
    def from_dict(cls, state: dict[str, Any], known: Known = NOTHING_KNOWN) -> Ahead:
        """What `to_dict` wrote, for a file that tells this. Raises ValueError for a weekday that is none."""
        weekdays = tuple(map(int, state["weekdays"]))
        if not set(weekdays) <= set(range(7)):
            raise ValueError("weekdays must be numbers from 0 to 6")
        calendars = {str(ticker): str(name) for ticker, name in state["calendars"].items()}
        scalers = {str(ticker): Scaler.from_dict(scaler) for ticker, scaler in state.get("scalers", {}).items()}
        return cls(tuple(map(str, state["names"])), weekdays, calendars, scalers, known)


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


def fit_ahead(learn: pd.DataFrame, features: FeatureConfig, calendar: str, known: Known = NOTHING_KNOWN) -> Ahead:
    """Choose each ticker's calendar, and scale the user's own columns, from the sessions that may be learned from.

    Args:
        learn: the training rows of a price table of daily sessions.
        features: the config's section.
        calendar: `data.calendar`.
        known: what the price file tells of the user's own columns, in their order.

    Raises:
        ConfigError: no calendar of that name.
    """
    names = features.known_ahead
    if not names:
        return Ahead(known=known)
    days = {str(ticker): pd.DatetimeIndex(dates.unique()) for ticker, dates in learn.groupby(TICKER, sort=False)[DATE]}
    calendars = {ticker: choose_calendar(mine, ticker, calendar)[0] for ticker, mine in days.items()}
    weekdays = np.unique(_weekday(learn[DATE].to_numpy().astype("datetime64[D]")))
    seen = {ticker: known.at(ticker, mine.to_numpy("datetime64[D]")) for ticker, mine in days.items()} if known.names else {}
    scalers = {ticker: fit_scaler(values, features.scaler) for ticker, values in seen.items()}
    return Ahead(names, tuple(map(int, weekdays)), calendars, scalers, known)
