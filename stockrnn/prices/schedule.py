"""The sessions that were to be expected on a day: the exchange's plan, not what became of it.

A calendar of the past knows every closing, those that nobody foresaw too. Here such days stay sessions, so that what is known
ahead of a session never tells that it will be cancelled.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.prices.ordering import step_of
from stockrnn.prices.sessions import PATTERN, choose_calendar
from stockrnn.types import DAILY

FEAST_A_YEAR = 1.0
"""Closings a year from which a calendar's list of single days holds its movable feasts: those of the other calendars are decided on
short notice (2001-09-11 in New York). Where rules of the sun and the moon give most of the list (Seoul), they give the feasts, and
what is left was decided too: elections, and days between feasts."""
_COUNTED = pd.Timestamp("2000-01-01"), pd.Timestamp("2025-12-31")
_EARLIEST, _LATEST = pd.Timestamp("1800-01-01"), pd.Timestamp("2050-01-01")
"""Farther than that no rule of a moon is known."""
_WEEKS = pd.Timedelta(days=30)
YEARS_AHEAD = 10
"""A plan reaches at least so many years beyond what was learned from; farther, the usual weekdays trade."""
_YEAR, _LONGEST = 250, np.timedelta64(366 * 150, "D")
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Plan:
    """What an exchange planned, and plans, of some decades, as a run keeps it: a later version may know the calendar otherwise.

    Attributes:
        name: tells it from the others of a run: calendar, years and weekdays.
        start: the first day, datetime64[D].
        end: the last day.
        weekdays: numbers, Monday is 0, of the days that usually trade, ascending.
        sessions: the planned sessions between, datetime64[D], ascending.
        short: those of them that were planned to end early.
    """

    name: str
    start: np.datetime64
    end: np.datetime64
    weekdays: tuple[int, ...]
    sessions: np.ndarray
    short: np.ndarray

    def following(self, days: np.ndarray, count: int) -> np.ndarray:
        """The `count` sessions to be expected after each day, both datetime64[D], shape (rows, count); beyond its ends by weekdays."""
        first, last = min(days.min(), self.start), max(_beyond(days, count), self.end)
        usual = _usual(first, last, self.weekdays)
        known = np.concatenate([usual[usual < self.start], self.sessions, usual[usual > self.end]])
        return np.asarray(known[np.searchsorted(known, days, side="right")[:, None] + np.arange(count)])

    def closed_between(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Whether a day that usually trades lies between two sessions that follow each other."""
        return np.asarray(np.busday_count(first + _DAY, last, weekmask=[day in self.weekdays for day in range(7)]) > 0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values: its ends and weekdays, what differs from these, and what ends early."""
        usual = _usual(self.start, self.end, self.weekdays)
        days = {"closed": np.setdiff1d(usual, self.sessions), "special": np.setdiff1d(self.sessions, usual), "short": self.short}
        plain = {"name": self.name, "start": str(self.start), "end": str(self.end), "weekdays": list(self.weekdays)}
        return {**plain, **{name: each.astype(str).tolist() for name, each in days.items()}}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Plan:
        """From what `to_dict` gave. Raises KeyError, TypeError or ValueError for what is none."""
        start, end = (np.datetime64(str(state[name]), "D") for name in ("start", "end"))
        weekdays = tuple(map(int, state["weekdays"]))
        closed, special, short = (np.array(list(map(str, state[name])), "datetime64[D]") for name in ("closed", "special", "short"))
        if not (start <= end <= start + _LONGEST) or not weekdays or list(weekdays) != [day for day in range(7) if day in weekdays]:
            raise ValueError("a plan of some decades and of weekdays in order")
        sessions = np.union1d(np.setdiff1d(_usual(start, end, weekdays), closed), special)
        if np.isnat(sessions).any() or not len(sessions) or sessions[0] < start or sessions[-1] > end or not np.isin(short, sessions).all():
            raise ValueError("days of a plan")
        return cls(str(state["name"]), start, end, weekdays, sessions, short)


def plan_of(dates: pd.Series, ticker: str, calendar: str) -> Plan | None:
    """The plan of the exchange that a ticker is traded on; None where its rows are not daily.

    Args:
        dates: its days up to the last one that may be learned from, ascending; the plan starts at their decade.
        ticker: its name.
        calendar: as `data.calendar`.

    Raises:
        ConfigError: no calendar of that name.
    """
    stamps = dates.to_numpy("datetime64[ns]")
    if step_of(np.zeros(len(stamps)), stamps) != DAILY:
        return None
    name, _ = choose_calendar(pd.DatetimeIndex(dates).normalize(), ticker, calendar)
    days = stamps.astype("datetime64[D]")
    first, last = (int(str(day)[:4]) for day in (days[0], days[-1]))
    return _plan(name, first // 10 * 10, -(-(last + 1 + YEARS_AHEAD) // 10) * 10 - 1, _often(days[-_YEAR:]))


@functools.lru_cache(maxsize=64)
def _plan(calendar: str, first: int, last: int, weekdays: tuple[int, ...]) -> Plan:
    """That of a calendar from the first year to the last."""
    sessions = planned_days(calendar, first, last, weekdays)
    start, end = np.datetime64(f"{first}-01-01"), np.datetime64(f"{last}-12-31")
    name = f"{calendar} {first}-{last} {''.join(map(str, weekdays))}"
    return Plan(name, start, end, _often(sessions), sessions, np.intersect1d(sessions, _early(calendar, start, end)))


def _early(calendar: str, start: np.datetime64, end: np.datetime64) -> np.ndarray:
    """The days on which a calendar's rules end the session early; not those of a single year, which were decided on short notice."""
    rules = [] if calendar == PATTERN else [rule for _, rule in _calendar(calendar).special_closes if not isinstance(rule, int)]
    ends = max(pd.Timestamp(str(start)), _EARLIEST), min(pd.Timestamp(str(end)), _LATEST)
    found = [pd.DatetimeIndex(rule.holidays(*ends)).to_numpy("datetime64[D]") for rule in rules if ends[0] < ends[1]]
    return np.concatenate([np.array([], "datetime64[D]"), *found])


def _often(days: np.ndarray) -> tuple[int, ...]:
    """The weekdays that there are at least half as many of as of the one that there are most of."""
    counts = np.bincount((days.astype(np.int64) + 3) % 7, minlength=7)
    return tuple(map(int, np.flatnonzero(counts >= 0.5 * counts.max())))


def _usual(first: np.datetime64, last: np.datetime64, weekdays: tuple[int, ...]) -> np.ndarray:
    """The days between two, both included, of these weekdays."""
    every = np.arange(first, last + _DAY)
    return every[np.isin((every.astype(np.int64) + 3) % 7, weekdays)]


def _beyond(days: np.ndarray, count: int) -> np.datetime64:
    """A day before which `count` sessions follow each of these, though weeks have one alone and a feast takes a month."""
    return np.datetime64(days.max() + (7 * count + 30) * _DAY)


def is_calendar(name: str) -> bool:
    """Whether there is a calendar of that name."""
    import exchange_calendars

    return name == PATTERN or name in exchange_calendars.get_calendar_names()


def expected_sessions(dates: np.ndarray, count: int, calendar: str, weekdays: tuple[int, ...]) -> np.ndarray:
    """The `count` sessions to be expected after each date, datetime64[D], shape (rows, count).

    Args:
        dates: days, datetime64, shape (rows,).
        count: sessions wanted of each.
        calendar: a name of exchange_calendars, or `pattern`.
        weekdays: numbers, Monday is 0, of the days that trade where there is no calendar, or it does not reach.
    """
    days = dates.astype("datetime64[D]")
    last = _beyond(days, count)
    years = (int(str(day)[:4]) for day in (days.min(), last))
    plan = planned_days(calendar, *years, weekdays)
    return np.asarray(plan[np.searchsorted(plan, days, side="right")[:, None] + np.arange(count)])


@functools.lru_cache(maxsize=64)
def planned_days(calendar: str, first: int, last: int, weekdays: tuple[int, ...]) -> np.ndarray:
    """The planned sessions from the first year to the last, datetime64[D], ascending; beyond the calendar's ends by weekdays."""
    every = _usual(np.datetime64(f"{first}-01-01"), np.datetime64(f"{last}-12-31"), tuple(range(7)))
    usual = _usual(every[0], every[-1], weekdays or tuple(range(5)))
    if calendar == PATTERN:
        return usual
    begin, stop = _reach(calendar)
    known = every[(every >= begin.to_datetime64()) & (every <= stop.to_datetime64())]
    if not len(known):
        return usual
    ends = pd.Timestamp(known[0]), pd.Timestamp(known[-1])
    planned = known[np.is_busday(known, weekmask="1111111", holidays=_feasts(calendar, *ends))]
    planned = planned[_trades(calendar, pd.DatetimeIndex(planned))]
    return np.concatenate([usual[usual < known[0]], planned, usual[usual > known[-1]]])


def _reach(name: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    """The first and the last day that a calendar knows."""
    begin, stop = _calendar(name).bound_min(), _calendar(name).bound_max()
    return _EARLIEST if begin is None else pd.Timestamp(begin), _LATEST if stop is None else min(pd.Timestamp(stop), _LATEST)


def _feasts(name: str, start: pd.Timestamp, end: pd.Timestamp) -> np.ndarray:
    """The closings of a calendar that are known long before, datetime64[D]."""
    calendar = _calendar(name)
    regular, single = calendar.regular_holidays, pd.DatetimeIndex(pd.to_datetime(list(calendar.adhoc_holidays))).normalize()
    feasts, ruled = (
        pd.DatetimeIndex([]) if regular is None else pd.DatetimeIndex(regular.holidays(*ends)) for ends in ((start, end), _COUNTED)
    )
    weekdays = single[_trades(name, single)]
    counted = weekdays[(weekdays >= _COUNTED[0]) & (weekdays <= _COUNTED[1])]
    years = (_COUNTED[1] - _COUNTED[0]).days / 365.25
    are_feasts = len(counted) >= FEAST_A_YEAR * years and counted.isin(ruled).mean() < 0.5
    return (feasts.union(single) if are_feasts else feasts).to_numpy("datetime64[D]")


def _trades(name: str, days: pd.DatetimeIndex) -> np.ndarray:
    """Whether the exchange's week of that time has each day; a week of its own is no plan but a decision."""
    calendar = _calendar(name)
    trades = np.zeros(len(days), bool)
    for begin, end, mask in [(None, None, calendar.weekmask), *getattr(calendar, "special_weekmasks", ())]:
        reach = begin or _EARLIEST, end or _LATEST
        if reach[1] - reach[0] > _WEEKS:
            within = (days >= reach[0]) & (days <= reach[1])
            trades = np.where(within, np.isin(days.dayofweek, [day for day in range(7) if mask[day] == "1"]), trades)
    return trades


@functools.lru_cache(maxsize=64)
def _calendar(name: str) -> Any:
    import exchange_calendars

    return exchange_calendars.get_calendar(name, start="2024-01-01", end="2024-12-31")
