"""The sessions that were to be expected on a day: the exchange's plan, not what became of it.

A calendar of the past knows every closing, those that nobody foresaw too. Here such days stay sessions, so that what is known
ahead of a session never tells that it will be cancelled.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.prices.sessions import PATTERN

FEAST_A_YEAR = 1.0
"""Closings a year from which a calendar's list of single days holds its movable feasts: those of the other calendars are decided on
short notice (2001-09-11 in New York). Where rules of the sun and the moon give most of the list (Seoul), they give the feasts, and
what is left was decided too: elections, and days between feasts."""
_COUNTED = pd.Timestamp("2000-01-01"), pd.Timestamp("2025-12-31")
_EARLIEST, _LATEST = pd.Timestamp("1800-01-01"), pd.Timestamp("2050-01-01")
"""Farther than that no rule of a moon is known."""
_WEEKS = pd.Timedelta(days=30)


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
    last = days.max() + np.timedelta64(3 * count + 30, "D")
    years = (int(str(day)[:4]) for day in (days.min(), last))
    plan = planned_days(calendar, *years, weekdays)
    return np.asarray(plan[np.searchsorted(plan, days, side="right")[:, None] + np.arange(count)])


@functools.lru_cache(maxsize=64)
def planned_days(calendar: str, first: int, last: int, weekdays: tuple[int, ...]) -> np.ndarray:
    """The planned sessions from the first year to the last, datetime64[D], ascending; beyond the calendar's ends by weekdays."""
    every = np.arange(f"{first}-01-01", f"{last + 1}-01-01", dtype="datetime64[D]")
    usual = every[np.isin((every.astype(np.int64) + 3) % 7, weekdays or range(5))]
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
