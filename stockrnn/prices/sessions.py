"""Past sessions are the rows of the file; future ones come from the exchange's calendar, or from the pattern in the file.

No row is ever invented for the past. Calendars: https://github.com/gerrymanoim/exchange_calendars
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import ConfigError
from stockrnn.prices.planned import Planned, kept_sessions, version
from stockrnn.prices.quality import MOST_PLACES, Finding, Place
from stockrnn.types import DATE, TICKER, UNDATED

PATTERN, ALWAYS = "pattern", "24/7"
ENDINGS = {
    "XKRX": "KS KQ KRX", "XTKS": "T TYO JP", "XLON": "L UK", "XHKG": "HK", "XSHG": "SS SZ SH", "XETR": "DE", "XFRA": "F", "XPAR": "PA",
    "XAMS": "AS", "XBRU": "BR", "XLIS": "LS", "XMIL": "MI", "XMAD": "MC", "XSWX": "SW", "XSTO": "ST", "XCSE": "CO", "XOSL": "OL",
    "XHEL": "HE", "XDUB": "IR", "XWBO": "VI", "XWAR": "WA PL", "XPRA": "PR", "ASEX": "AT", "XIST": "IS", "XMOS": "ME", "XTSE": "TO V",
    "BVMF": "SA", "XMEX": "MX", "XBUE": "BA", "XSGO": "SN", "XBOM": "NS BO", "XTAI": "TW", "XSES": "SI", "XKLS": "KL", "XIDX": "JK",
    "XBKK": "BK", "XASX": "AX", "XNZE": "NZ", "XJSE": "JO", "XTAE": "TA", "XSAU": "SR", "XNYS": "US",
}  # fmt: skip
"""Calendar → endings of a ticker at Yahoo, Stooq and Reuters."""
CALENDAR_OF_ENDING = {ending: name for name, endings in ENDINGS.items() for ending in endings.split()}
CANDIDATES = (
    "XNYS", "XKRX", "XTKS", "XLON", "XETR", "XHKG", "XSHG", "XPAR", "XBOM", "BVMF", "XTSE", "XASX", "XTAI", "XSES", "XSWX", "XMIL",
    "XMAD", "XSTO", "XIDX", "XBKK", "XKLS", "XJSE", "XMEX", "XIST", "XWAR", "24/5",
)  # fmt: skip
"""Calendars that `auto` compares with the file, the likeliest first."""
OF_SUNDAYS = ("XSAU", "XTAE")
"""The same, of exchanges that trade from Sunday to Thursday."""
CLOSED = {
    "XNYS": ((7, 4), (12, 25)),
    "XKRX": ((3, 1), (5, 5), (8, 15), (10, 3)),
    "XTKS": ((1, 2), (1, 3), (2, 11), (4, 29), (5, 3), (5, 4), (5, 5), (11, 3)),
    "XLON": ((12, 25), (12, 26)),
    "XETR": ((5, 1), (12, 25), (12, 26)),
    "XPAR": ((5, 1), (12, 25), (12, 26)),
    "XHKG": ((7, 1), (10, 1), (12, 25)),
    "XSHG": ((5, 1), (10, 1), (10, 2), (10, 3)),
    "XBOM": ((1, 26), (8, 15), (10, 2)),
    "BVMF": ((4, 21), (5, 1), (9, 7), (10, 12), (11, 2)),
    "XTSE": ((7, 1), (12, 25), (12, 26)),
    "XASX": ((1, 26), (4, 25), (12, 25)),
    "XTAI": ((2, 28), (10, 10)),
    "XMEX": ((5, 1), (9, 16), (12, 25)),
    "XIST": ((4, 23), (5, 19), (8, 30), (10, 29)),
    "XWAR": ((5, 1), (5, 3), (11, 11)),
    "XSWX": ((5, 1), (8, 1)),
    "XSTO": ((6, 6), (12, 26)),
    "XJSE": ((4, 27), (9, 24), (12, 16)),
    "XMIL": ((5, 1), (12, 26)),
    "XMAD": ((5, 1), (12, 26)),
    "XIDX": ((5, 1), (8, 17)),
}
"""Days (month, day) on which an exchange never trades: a file with two such rows is not its."""
_RECENT, _GOOD, _FAIR = 375, 0.003, 0.03
_DAY = pd.Timedelta(days=1)
_SUNDAY = 6
_AHEAD = 60 * _DAY
"""How far a calendar is asked beyond the file's last day at least, so that it is asked once for its fit and for what comes."""
_KEPT = 400 * _DAY
"""How far beyond the last day of its file a run keeps its calendar."""
_AROUND = 400 * _DAY
"""Farther than any rule moves a holiday."""


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
) -> FutureSessions:
    """The `count` sessions after the last date of one ticker, in the file's own step.

    Args:
        dates: the ticker's sessions, any order.
        ticker: its name, whose ending may tell the exchange.
        count: sessions wanted, at least 1.
        calendar: `auto`, `24/7`, or a name of exchange_calendars such as XNYS.
        step: `daily`, `weekly`, `monthly`, `intraday`, or `none` where dates only count rows.

    Raises:
        ConfigError: no calendar of that name.
    """
    past = pd.DatetimeIndex(np.unique(pd.DatetimeIndex(dates).to_numpy("datetime64[ns]")))
    if step == UNDATED:
        return FutureSessions(pd.date_range(past[-1] + _DAY, periods=count), PATTERN, "the file has no dates; rows are counted")
    days = pd.DatetimeIndex(np.unique(past.normalize()))
    name, reason = choose_calendar(days, ticker, calendar, step)
    return _STEPS[step](past, days, count, name, reason)


def choose_calendar(days: pd.DatetimeIndex, ticker: str, calendar: str = "auto", step: str = "daily") -> tuple[str, str]:
    """The calendar that the ticker's ending and the file's own days speak for, with the reason. Raises ConfigError."""
    if calendar != "auto":
        return known_calendar(calendar), "data.calendar"
    hinted = _hinted(ticker)
    if step in ("weekly", "monthly"):
        return (hinted, f"the name {ticker}") if hinted else ("XNYS", "nothing in the file names an exchange")
    recent = days[-_RECENT:]
    if np.bincount(recent.dayofweek, minlength=7).min() > 0.1 * len(recent):  # Tehran trades on Saturday and Sunday, and not on Thursday
        return ALWAYS, "the file has all days of the week"
    return _best_fit(recent, hinted, ticker)


def _best_fit(days: pd.DatetimeIndex, hinted: str | None, ticker: str) -> tuple[str, str]:
    """The calendar whose sessions are the days: at once where they are, else the nearest if it is near, else none."""
    traded = {(int(month), int(day)) for month, day in zip(days.month, days.day, strict=True)}
    misfits: dict[str, float] = {}
    candidates = OF_SUNDAYS if np.mean(days.dayofweek == _SUNDAY) > 0.1 else CANDIDATES
    for name in dict.fromkeys([hinted, *candidates] if hinted else candidates):
        if name != hinted and len(traded & set(CLOSED.get(name, ()))) >= 2:
            continue
        misfits[name], telling = _misfit(name, days)
        agree = f"{100 * (1 - misfits[name]):.1f} % of {len(days)} days agree"
        if name == hinted and misfits[name] <= _FAIR:
            return name, f"the name {ticker} ({agree})"
        if misfits[name] <= _GOOD and (telling or name == "XNYS"):
            return name, f"its holidays are the file's ({agree})" if telling else "the file has no holiday that tells exchanges apart"
    best = min(misfits, key=lambda name: misfits[name], default=PATTERN)
    if misfits.get(best, 1.0) <= _FAIR:
        return best, f"nearest to the file's days ({100 * (1 - misfits[best]):.1f} % of {len(days)} agree)"
    return PATTERN, "no exchange's holidays are the file's; its weekdays go on"


def _hinted(ticker: str) -> str | None:
    ending = ticker.upper().rpartition(".")[2] if "." in ticker else ""
    if ending in CALENDAR_OF_ENDING:
        return CALENDAR_OF_ENDING[ending]
    return "XKRX" if re.search(r"[가-힣]|(?<!\d)\d{6}(?!\d)", ticker) else None


def known_calendar(name: str) -> str:
    """The name, where a calendar has it. Raises ConfigError."""
    if kept_sessions(name) is not None:
        return name
    import exchange_calendars

    names = exchange_calendars.get_calendar_names()
    if name in names:
        return name
    near = difflib.get_close_matches(name.upper(), names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(f"`data.calendar` must be auto, 24/7 or the name of an exchange calendar such as XNYS. Received: {name!r}.{hint}")


@functools.lru_cache(maxsize=256)  # tickers of a panel ask for the same days
def calendar_days(name: str, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    """A calendar's sessions from start to end, as far as it reaches."""
    kept = kept_sessions(name)
    found = None if kept is None else kept.between(start, end)
    if found is not None:
        return found
    whole = _years(name, start.year, end.year)
    return whole[(whole >= start) & (whole <= end)] if len(whole) else _worked_out(name, start, end)


@functools.lru_cache(maxsize=256)  # tickers and refits ask for days of the same years
def _years(name: str, first: int, last: int) -> pd.DatetimeIndex:
    """A calendar's sessions of whole years; none where it begins within the first."""
    return _worked_out(name, pd.Timestamp(first, 1, 1), pd.Timestamp(last, 12, 31))


def _worked_out(name: str, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    import exchange_calendars
    from exchange_calendars.errors import CalendarError

    for last in (end, None):
        try:
            with _holidays_between(start - _AROUND, end + _AROUND):
                calendar: Any = exchange_calendars.get_calendar(name, start=start, end=last)
        except (CalendarError, ValueError):
            continue
        days = pd.DatetimeIndex(calendar.sessions)
        return days[(days >= start) & (days <= end)]
    return pd.DatetimeIndex([])


@functools.lru_cache(maxsize=256)
def _holidays(name: str, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    """The weekdays from start to end that are no sessions of a calendar."""
    return pd.bdate_range(start, end).difference(calendar_days(name, start, end + _AHEAD))


def sessions_to_keep(dates: Mapping[str, pd.DatetimeIndex], calendar: str) -> dict[str, Any]:
    """What `planned.keep_sessions` takes, of the calendars of daily files: from their last rows to a year after them.

    Args:
        dates: the sessions of each ticker, ascending.
        calendar: as `data.calendar`.
    """
    spans: dict[str, list[pd.Timestamp]] = {}
    for ticker, past in dates.items():
        days = past.normalize()
        name, _ = choose_calendar(days, ticker, calendar)
        if name != PATTERN:
            spans.setdefault(name, []).extend((days[-_RECENT:][0], days[-1] + _KEPT))
    found = {name: (min(days), max(days), calendar_days(name, min(days), max(days))) for name, days in spans.items()}
    whole = {name: Planned(*each) for name, each in found.items() if len(each[2]) and each[1] - each[2][-1] < _AHEAD}
    return {"version": version(), "calendars": {name: each.to_dict() for name, each in whole.items()}}


@contextlib.contextmanager
def _holidays_between(start: pd.Timestamp, end: pd.Timestamp) -> Iterator[None]:
    """Let the rules of holidays be worked out for these years, not for 1970 to 2200, which takes a lunar calendar seconds.

    https://pandas.pydata.org/docs/user_guide/timeseries.html#holidays-holiday-calendars
    """
    from pandas.tseries.holiday import AbstractHolidayCalendar as Rules

    before = Rules.start_date, Rules.end_date
    Rules.start_date, Rules.end_date = start, end
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # pandas' own, where no rule has a holiday in these years
            yield
    finally:
        Rules.start_date, Rules.end_date = before


def _misfit(name: str, days: pd.DatetimeIndex) -> tuple[float, bool]:
    """The share of days on which calendar and file differ, and whether the file keeps holidays of it that are weekdays."""
    sessions = calendar_days(name, days[0], days[-1] + _AHEAD)
    sessions = sessions[sessions <= days[-1]]
    if not len(sessions):
        return 1.0, False
    differing = len(days.symmetric_difference(sessions))
    kept = _holidays(name, days[0], days[-1]).difference(days)
    return differing / max(len(days), len(sessions)), len(kept) >= 3


def _after(days: pd.DatetimeIndex, count: int, name: str, reason: str) -> FutureSessions:
    """The next `count` days: from the calendar, and beyond its end by the weekdays of the file."""
    last = days[-1]
    asked = days[-_RECENT:][0], last + max(_AHEAD, 2 * count * _DAY + 30 * _DAY)
    found = pd.DatetimeIndex([]) if name == PATTERN else calendar_days(name, *asked)
    found = found[found > last][:count]
    if len(found) < count:
        start = found[-1] if len(found) else last
        if name != PATTERN:
            reason += f"; after {start:%Y-%m-%d} by the file's weekdays, where the calendar ends"
            name = name if len(found) else PATTERN
        found = pd.DatetimeIndex(found.append(_by_weekdays(days, start, count - len(found))))
    return FutureSessions(pd.DatetimeIndex(found.to_numpy("datetime64[ns]")), name, reason)


def _by_weekdays(days: pd.DatetimeIndex, start: pd.Timestamp, count: int) -> pd.DatetimeIndex:
    recent = days[-60:]
    weeks = max(1.0, (recent[-1] - recent[0]) / _DAY / 7)
    counts = np.bincount(recent.dayofweek, minlength=7)
    usual = set(map(int, np.flatnonzero(counts >= 0.4 * min(weeks, counts.max()))))
    ahead = pd.date_range(start + _DAY, periods=7 * count + 7, freq="D")
    return pd.DatetimeIndex(ahead[[day in usual for day in ahead.dayofweek]][:count])


def _daily(past: pd.DatetimeIndex, days: pd.DatetimeIndex, count: int, name: str, reason: str) -> FutureSessions:  # noqa: ARG001 (one signature)
    return _after(days, count, name, reason)


def _intraday(past: pd.DatetimeIndex, days: pd.DatetimeIndex, count: int, name: str, reason: str) -> FutureSessions:
    """The times of day of the last sessions, on the days that follow."""
    recent = past[past >= days[-20:][0]]
    clock = recent - recent.normalize()
    times, seen = np.unique(clock, return_counts=True)
    times = times[seen >= 0.5 * min(20, len(days))]
    times = times if len(times) else np.unique(clock)
    today = [days[-1] + time for time in pd.TimedeltaIndex(times) if days[-1] + time > past[-1]]
    coming = _after(days, 1 + count // len(times) + 1, name, reason)
    later = [day + time for day in coming.dates for time in pd.TimedeltaIndex(times)]
    return FutureSessions(pd.DatetimeIndex([*today, *later][:count]), coming.calendar, coming.reason)


def _periods(past: pd.DatetimeIndex, frequency: str, count: int) -> Iterator[tuple[pd.Timestamp, pd.Timestamp]]:
    """First and last day of the periods after the last row."""
    period = past[-1].to_period(frequency)
    for k in range(1, count + 1):
        yield (period + k).start_time.normalize(), (period + k).end_time.normalize()


def _weekly(past: pd.DatetimeIndex, days: pd.DatetimeIndex, count: int, name: str, reason: str) -> FutureSessions:
    """The same weekday of the coming weeks; or each week's last or first session where the file's weekdays vary."""
    weekday = int(np.bincount(days[-104:].dayofweek).argmax())
    if np.mean(days[-104:].dayofweek == weekday) == 1.0:
        dates = [first + weekday * _DAY for first, _ in _periods(past, "W-SUN", count)]
        return FutureSessions(pd.DatetimeIndex(dates), PATTERN, "weekly, always the same weekday")
    return _by_period(past, days, count, "W-SUN", name, reason) or FutureSessions(
        pd.DatetimeIndex([first + weekday * _DAY for first, _ in _periods(past, "W-SUN", count)]), PATTERN, "weekly, the usual weekday"
    )


def _monthly(past: pd.DatetimeIndex, days: pd.DatetimeIndex, count: int, name: str, reason: str) -> FutureSessions:
    """The same day of the coming months, each month's last day, or its last or first session."""
    recent, periods = days[-60:], list(_periods(past, "M", count))
    if np.all(recent.day == recent[-1].day):
        dates = [first + min(int(recent[-1].day) - 1, (last - first).days) * _DAY for first, last in periods]
        return FutureSessions(pd.DatetimeIndex(dates), PATTERN, f"monthly, always day {recent[-1].day}")
    if np.all(recent.is_month_end):
        return FutureSessions(pd.DatetimeIndex([last for _, last in periods]), PATTERN, "monthly, always the last day")
    return _by_period(past, days, count, "M", name, reason) or FutureSessions(
        pd.DatetimeIndex([last for _, last in periods]), PATTERN, "monthly, the end of the month"
    )


def _by_period(past: pd.DatetimeIndex, days: pd.DatetimeIndex, count: int, frequency: str, name: str, reason: str) -> FutureSessions | None:
    """Each period's last or first session of the calendar in which the file's rows are such sessions."""
    recent = days[-60:]
    ends = list(_periods(past, frequency, count))
    scores: dict[tuple[str, str], float] = {}
    for calendar in dict.fromkeys((name, *CANDIDATES)) if reason.startswith("nothing") else (name,):
        sessions = calendar_days(
            calendar, recent[0].to_period(frequency).start_time.normalize(), recent[-1].to_period(frequency).end_time.normalize()
        )
        for which in ("last", "first"):
            stamps = (
                sessions.to_series().groupby(sessions.to_period(frequency)).agg(which)
                if len(sessions)
                else pd.Series(dtype="datetime64[ns]")
            )
            scores[calendar, which] = float(np.mean(recent.isin(pd.DatetimeIndex(stamps))))
        if max(scores.values()) >= 0.99:
            break
    calendar, which = max(scores, key=lambda pair: scores[pair])
    if scores[calendar, which] < 0.8:
        return None
    sessions = calendar_days(calendar, ends[0][0], ends[-1][1])
    found = [sessions[(sessions >= first) & (sessions <= last)] for first, last in ends]
    if not all(len(part) for part in found):
        return None
    dates = pd.DatetimeIndex([part[-1] if which == "last" else part[0] for part in found])
    return FutureSessions(dates, calendar, f"each row is the {which} session of its period ({100 * scores[calendar, which]:.0f} % agree)")


_STEPS = {"daily": _daily, "weekly": _weekly, "monthly": _monthly, "intraday": _intraday}


def missing_sessions(table: pd.DataFrame, calendar: str = "auto", file: str = "") -> list[Finding]:
    """Sessions of the exchange's calendar that a daily price table lacks between its tickers' first and last dates.

    Args:
        table: a price table of daily rows.
        calendar: as `data.calendar`.
        file: the file to name.

    Raises:
        ConfigError: no calendar of that name.
    """
    groups = {str(ticker): pd.DatetimeIndex(dates) for ticker, dates in table.groupby(TICKER, sort=True)[DATE]}
    longest = max(groups, key=lambda ticker: len(groups[ticker]))
    name, _ = choose_calendar(groups[longest], longest, calendar)
    if name == PATTERN:
        return []
    sessions = calendar_days(name, table[DATE].min().normalize(), table[DATE].max().normalize())
    lacking = [
        (ticker, day) for ticker, days in groups.items() for day in sessions[(sessions > days[0]) & (sessions < days[-1])].difference(days)
    ]
    places = tuple(Place(file, None, f"{day:%Y-%m-%d}", ticker) for ticker, day in lacking[:MOST_PLACES])
    return [Finding("missing_session", len(lacking), places, f"not in the file, though {name} has them")] if lacking else []
