"""What reading a file gives: its rows, and how they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stockrnn.prices.quality import Finding


@dataclass(frozen=True)
class Reading:
    """How one file was read.

    Attributes:
        separator: between cells; None where the file has no text cells.
        decimal: the decimal mark.
        date_format: of the date column; None for a file without dates.
        order: `ascending`, `descending` or `shuffled`, as the rows stand in the file.
        step: `daily`, `weekly`, `monthly`, `intraday`, or `none` for a file without dates.
        columns: role → header, such as `close` → `Adj Close`.
        close: the header of the close that is used.
        sureness: `certain`, or what decided.
        others: headers of the columns of numbers that are read as nothing; `features` may name them.
    """

    path: str
    dialect: str
    encoding: str
    separator: str | None
    decimal: str
    date_format: str | None
    order: str
    step: str
    columns: Mapping[str, str]
    close: str
    sureness: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """The rows of one file, in its order.

    Attributes:
        tickers: distinct tickers.
        codes: for each row, the number of its ticker. Shape (rows,).
        stamps: datetime64[ns], NaT in a file without dates. Shape (rows,).
        values: role → float64 of shape (rows,).
        rows: row of the file. Shape (rows,).
        findings: what was left out while reading.
        headers: ticker → role → header, where each ticker has columns of its own.
        own: the user's own columns that were asked for → float64 of shape (rows,).
        others: headers of the columns of numbers that are read as nothing.
    """

    tickers: tuple[str, ...]
    codes: np.ndarray
    stamps: np.ndarray
    values: Mapping[str, np.ndarray]
    rows: np.ndarray
    path: str
    dialect: str
    encoding: str
    separator: str | None
    decimal: str
    date_format: str | None
    columns: Mapping[str, str]
    sureness: str
    findings: tuple[Finding, ...] = field(default=())
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    own: Mapping[str, np.ndarray] = field(default_factory=dict)
    others: tuple[str, ...] = ()
