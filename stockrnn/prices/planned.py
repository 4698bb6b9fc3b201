"""An exchange's sessions over some time, as a run keeps them, so that a forecast need not load and work out all calendars again.

They are what exchange_calendars answered when the run was made, and are used as long as the same version of it is installed.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

_WEEKEND = 5
_LONGEST, _MOST = pd.Timedelta(days=4000), 64
"""Most days that are kept of a calendar, and most calendars: a run may be a stranger's."""


@dataclass(frozen=True)
class Planned:
    """A calendar between two days, both included.

    Attributes:
        start: the first day.
        end: the last day.
        sessions: the sessions between, ascending.
    """

    start: pd.Timestamp
    end: pd.Timestamp
    sessions: pd.DatetimeIndex

    def between(self, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex | None:
        """The sessions from one day to another; None where they lie outside of what is kept."""
        if start < self.start or end > self.end:
            return None
        return self.sessions[(self.sessions >= start) & (self.sessions <= end)]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values: the weekdays without a session, and the sessions at a weekend."""
        closed = pd.bdate_range(self.start, self.end).difference(self.sessions)
        special = self.sessions[self.sessions.dayofweek >= _WEEKEND]
        return {"start": _text(self.start), "end": _text(self.end), "closed": [*map(_text, closed)], "special": [*map(_text, special)]}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Planned:
        """From what `to_dict` gave. Raises KeyError, TypeError or ValueError for what is none."""
        (start, end), closed, special = _days([state["start"], state["end"]]), _days(state["closed"]), _days(state["special"])
        if not (start <= end <= start + _LONGEST and len(closed) + len(special) <= (end - start).days + 1):
            raise ValueError("days that cannot be kept")
        return cls(start, end, pd.bdate_range(start, end).difference(closed).union(special))


NO_SESSIONS: Mapping[str, Any] = {"version": "", "calendars": {}}
"""What a run keeps that knows no calendar."""
_kept: dict[str, Planned] = {}


def kept_sessions(name: str) -> Planned | None:
    """What is kept of a calendar; None for nothing."""
    return _kept.get(name)


def keep_sessions(state: Mapping[str, Any]) -> None:
    """Answer for calendars from what a run keeps of them, where the installed version gave it.

    Args:
        state: `{"version": …, "calendars": {name: as Planned.to_dict}}`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    calendars = {name: Planned.from_dict(calendar) for name, calendar in list(state["calendars"].items())[:_MOST]}
    if state["version"] == version():
        _kept.update(calendars)


@functools.cache
def version() -> str:
    """That of exchange_calendars."""
    return importlib.metadata.version("exchange_calendars")


def _days(texts: list[str]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(texts, format="%Y-%m-%d")).as_unit("ns")


def _text(day: pd.Timestamp) -> str:
    return f"{day:%Y-%m-%d}"
