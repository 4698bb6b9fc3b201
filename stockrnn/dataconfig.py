"""The config's `data` section: which price file, and how it is read. Every section's base class stands here too."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Date = Annotated[dt.date, Field(strict=False)]


class Section(BaseModel):
    """A frozen part of the config: unknown keys are errors, and values are not converted in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _named(field: str) -> BeforeValidator:
    """Let a section be given by one word: `missing: ffill` means `missing: {policy: ffill}`."""
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str) else value)


class MissingConfig(Section):
    """What happens to sessions whose close is missing."""

    policy: Literal["error", "drop", "ffill", "interpolate"] = "drop"
    """`error` refuses the file, `drop` leaves the session out, `ffill` repeats the last close, `interpolate` draws a line
    (no forecast starts or is scored inside an interpolated gap, as its other end lies in the future)."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Longest gap, in sessions, that `ffill` and `interpolate` may fill; a longer one is dropped."""


class OutlierConfig(Section):
    """What happens to returns that stand out. Limits are fitted on the training span; actuals are never altered."""

    method: Literal["none", "hampel", "iqr", "zscore"] = "hampel"
    """`hampel` compares a return with the sessions before it (median and MAD), `iqr` and `zscore` with the training span."""
    action: Literal["flag", "clip", "replace", "drop"] = "flag"
    """`flag` only reports; `clip` moves the return to the limit, `replace` to the centre; `drop` leaves the session out of training."""
    threshold: Positive = 8.0
    """Distance from the centre, in robust standard deviations, beyond which a return is an outlier."""
    window: Annotated[int, Field(ge=5, le=10_000)] = 63
    """Sessions that `hampel` looks back."""


class ColumnsConfig(Section):
    """Which column is what, by its header or by its position from 1; what is not given is found by evidence."""

    date: str | int | None = None
    """The date, or date and time."""
    time: str | int | None = None
    """The time of day, where it has a column of its own."""
    ticker: str | int | None = None
    """The ticker of a panel."""
    open: str | int | None = None
    """The first price."""
    high: str | int | None = None
    """The highest price."""
    low: str | int | None = None
    """The lowest price."""
    close: str | int | None = None
    """The last price."""
    adj_close: str | int | None = None
    """The close adjusted for splits and dividends."""
    volume: str | int | None = None
    """The shares traded."""


class DataConfig(Section):
    """The price file and how it is read. Every `auto` is decided by evidence in the file; `inspect` says how."""

    path: str = "goog.csv"
    """A file, folder or glob; else the name of a shipped file."""
    ticker: str | None = None
    """Use this ticker only."""
    panel: Literal["together", "separate"] = "together"
    """Several tickers share one network, or have one each."""
    start: Date | None = None
    """First date used."""
    end: Date | None = None
    """Last date used."""
    calendar: str = "auto"
    """Exchange calendar for future sessions: `auto`, `24/7`, or a name such as XNYS, XKRX."""
    adjust: Literal["auto", "none"] = "auto"
    """`auto` scales open, high, low and close by the adjusted close where the file has one; `none` takes prices as written."""
    missing: Annotated[MissingConfig, _named("policy")] = MissingConfig()
    """Sessions without a close; one word sets the policy."""
    outliers: Annotated[OutlierConfig, _named("method")] = OutlierConfig()
    """Returns that stand out; one word sets the method."""
    encoding: str = "auto"
    """Text encoding, such as utf-8, cp949, utf-16."""
    separator: str = "auto"
    """The mark between cells, such as `,` or `;`; `tab` for a tab."""
    decimal: Literal["auto", "point", "comma"] = "auto"
    """The decimal mark of numbers."""
    date_format: str = "auto"
    """strptime format of the dates, such as `%d/%m/%Y`; or `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`, or `roc` for Taiwan's years."""
    order: Literal["auto", "ascending", "descending"] = "auto"
    """Order of the rows of a file without dates."""
    duplicates: Literal["error", "first", "last"] = "error"
    """For a date that a file has twice for a ticker: `error` refuses the file, `first` and `last` use that row."""
    columns: ColumnsConfig = ColumnsConfig()
    """Which column is what."""
    sheet: str | None = None
    """Sheet of a workbook; by default the first one that holds a table."""


@dataclass(frozen=True)
class Asked:
    """What features need of a price file beside prices.

    Attributes:
        calendar: those that need to know which day each session is.
        past: the user's own columns of what has happened.
        ahead: the user's own columns of what is known of a day before it comes.
        target: the price that is forecast.
    """

    calendar: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()
    target: str = "close"

    @property
    def own(self) -> tuple[str, ...]:
        """All of the user's own columns, each once."""
        return tuple(dict.fromkeys((*self.past, *self.ahead)))


NOTHING = Asked()
