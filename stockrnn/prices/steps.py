"""What the rows of a price file are apart, and how one of them is named: by its date, or by its number where the file has no dates.

A step is a name in `STEPS`; an empty one is that of a run that does not say. Rows without dates count as days from 1970-01-01 on
inside; nobody is told such a day, but the number of the session in time order, from 1 on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import ConfigError
from stockrnn.types import DAILY, DATE, INTRADAY, MONTHLY, UNDATED, WEEKLY

WORDS = {DAILY: "session", WEEKLY: "week", MONTHLY: "month", INTRADAY: "bar", UNDATED: "session"}
MOST_ROWS = 100_000
"""Most rows of a ticker that a file without dates may have: no date follows 2262-04-11."""
AHEAD = 1000
"""Most sessions that a forecast looks ahead."""
_FIRST, _DAY = pd.Timestamp(0), pd.Timedelta(days=1)


def row_name(step: str, count: int = 1) -> str:
    """What a row is called, or so many of them."""
    return WORDS.get(step, WORDS[DAILY]) + ("" if count == 1 else "s")


def told(stamp: pd.Timestamp, step: str) -> str | int:
    """A row's date as a program reads it, ISO 8601 with the time of day where rows have one; without dates its number."""
    if step == UNDATED:
        return number_of(stamp)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}" if step == INTRADAY else f"{stamp:%Y-%m-%d}"


def dated(stamp: pd.Timestamp, step: str = "") -> str:
    """The same as a person reads it."""
    if step == UNDATED:
        return f"{row_name(step)} {number_of(stamp):,}"
    return f"{stamp:%Y-%m-%d %H:%M}" if step == INTRADAY or stamp != stamp.normalize() else f"{stamp:%Y-%m-%d}"


def spoken(value: str | int, step: str) -> str:
    """What `told` told, of this format or the one before, as a person reads it; text that it did not tell as it is."""
    with contextlib.suppress(ValueError):
        if step == UNDATED or isinstance(value, int):
            return dated(instant(value), UNDATED)
    return str(value).replace("T", " ").removesuffix(":00") if step == INTRADAY else str(value)


def instant(value: str | int) -> pd.Timestamp:
    """What `told` told, of this format or the one before, where rows without dates had dates. Raises ValueError."""
    if isinstance(value, int):
        _hold_numbers(value, value)
        return _FIRST + (value - 1) * _DAY
    date = dt.datetime.fromisoformat(value)
    if date.tzinfo is not None:
        raise ValueError("a time zone")
    return pd.Timestamp(date)


def asked_for(text: str, option: str, step: str) -> pd.Timestamp:
    """The row that a user names to an option: by its date, or where the file has none by its number. Raises ConfigError."""
    if step == UNDATED:
        if is_number(text) and 1 <= int(text) <= MOST_ROWS:
            return instant(int(text))
        numbers = f"the number of a session from 1 to {MOST_ROWS:,}, such as 600"
        raise ConfigError(f"{option} must be {numbers}, as the file has no dates. Received: {text!r}.")
    with contextlib.suppress(ValueError):
        date = dt.datetime.fromisoformat(text)
        if date.tzinfo is None:
            return pd.Timestamp(date)
    raise ConfigError(f"{option} must be a date such as 2024-06-28, without a time zone. Received: {text!r}.")


def is_number(text: str) -> bool:
    """Whether a text is the number of a row: no date is as short."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(MOST_ROWS))


def number_of(stamp: pd.Timestamp) -> int:
    """The number of a row without a date."""
    return (stamp - _FIRST) // _DAY + 1


def numbered(table: pd.DataFrame, step: str) -> pd.DataFrame:
    """A forecast table as it is written: `cutoff` and `date` are whole numbers where the price file has no dates."""
    if step != UNDATED:
        return table
    return table.assign(**{name: (table[name] - _FIRST) // _DAY + 1 for name in ("cutoff", DATE)})


def dates_of(cells: Any) -> np.ndarray:
    """The dates, datetime64[ns], of what a column of `numbered` holds: whole numbers, or dates as they are. Raises ValueError."""
    values = np.asarray(cells)
    if values.dtype.kind in "fub":
        raise ValueError("what is neither a date nor a whole number")
    if values.dtype.kind != "i":
        return np.asarray(pd.to_datetime(values, format="ISO8601"), "datetime64[ns]")
    if len(values):
        _hold_numbers(int(values.min()), int(values.max()))
    return (values - 1).astype("datetime64[D]").astype("datetime64[ns]")


def _hold_numbers(least: int, most: int) -> None:
    if not 1 <= least <= most <= MOST_ROWS + AHEAD:
        raise ValueError(f"numbers of sessions from {least} to {most}")
