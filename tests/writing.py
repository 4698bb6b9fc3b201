"""Writes price files as vendors do, from the dialect table's samples, for tests to read back."""

from __future__ import annotations

import csv
import datetime as dt
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stockrnn.prices.dates import EPOCHS
from stockrnn.prices.dialects import DIALECTS, Dialect
from stockrnn.prices.words import meanings

BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
FILLERS = {"ticker": "ACME", "time": "000000", "series": "EQ", "per": "D"}
HEADERLESS = {
    "binance-klines": lambda row, date: [date, *row[:5], date, row[4] * 7, 10, row[4], row[4], 0],
    "metatrader4": lambda row, date: [date, *row[:5]],
}


def bars(rows: int = 60, seed: int = 0, start: str = "2019-01-02") -> pd.DataFrame:
    """A random walk of daily bars with two decimals: date, open, high, low, close, volume."""
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.015, rows))), 2)
    opening = np.round(np.r_[100.0, close[:-1]] * np.exp(rng.normal(0, 0.002, rows)), 2)
    high = np.round(np.maximum(opening, close) + rng.uniform(0.05, 0.6, rows), 2)
    low = np.round(np.minimum(opening, close) - rng.uniform(0.05, 0.6, rows), 2)
    volume = rng.integers(100_000, 9_000_000, rows).astype(float)
    return pd.DataFrame(
        {"date": pd.bdate_range(start, periods=rows), "open": opening, "high": high, "low": low, "close": close, "volume": volume}
    )


def number_text(value: float, decimal: str = ".", *, thousands: bool = False) -> str:
    """A number with a decimal mark and, if wanted, the other mark between thousands."""
    text = f"{value:,.2f}" if thousands else f"{value:.2f}"
    return text if decimal == "." else text.translate(str.maketrans(",.", ".,"))


def date_text(date: dt.date | pd.Timestamp, date_format: str) -> str:
    """A date in a format of the table, an epoch included."""
    stamp = pd.Timestamp(date)
    if date_format in EPOCHS:
        return str(stamp.value // int(np.timedelta64(1, EPOCHS[date_format][1]) / np.timedelta64(1, "ns")))
    return stamp.tz_localize("America/New_York").strftime(date_format) if "%z" in date_format else stamp.strftime(date_format)


@dataclass(frozen=True)
class Written:
    """A file and what must be read from it."""

    content: bytes
    table: pd.DataFrame


def write(
    dialect: Dialect, table: pd.DataFrame, *, date_format: str = "", encoding: str = "", order: str = "", thousands: bool = False
) -> Written:
    """A file of a dialect. Adjusted columns are half of the raw ones, so that a reader that leaves them unscaled is found out."""
    date_format, encoding, order = date_format or dialect.date_format, encoding or dialect.encoding, order or dialect.order
    rows = table if order == "ascending" else table.iloc[::-1]
    out = io.StringIO()
    if dialect.above:
        out.write(dialect.above + "\n")
    writer = csv.writer(out, delimiter=dialect.separator, lineterminator="\n")
    names = next(csv.reader([dialect.header], delimiter=dialect.separator)) if dialect.header else []
    if names:
        writer.writerow(names)
    has_adjusted = any(role_of(name) == "adj_close" for name in names)
    for bar in rows.itertuples(index=False):
        date = date_text(bar.date, date_format)
        values = {role: getattr(bar, role) for role in ("open", "high", "low", "close", "volume")}
        if dialect.name in HEADERLESS:
            writer.writerow(HEADERLESS[dialect.name](list(values.values()), date))
        else:
            writer.writerow([_cell(name, values, date, dialect.decimal, thousands) for name in names])
    adjusted = table.assign(**{name: table[name] / 2 for name in ("open", "high", "low", "close")}) if has_adjusted else table
    return Written(out.getvalue().encode(encoding), adjusted)


def role_of(name: str) -> str:
    """The role of a header of the table."""
    found = meanings(name)
    if name.strip("<>").lower() == "time":
        return "time" if name.startswith("<") else "date"
    return found[0].role if found else "close"


def _cell(name: str, values: dict[str, float], date: str, decimal: str, thousands: bool) -> str:
    role, key = role_of(name), name.strip("<>").lower()
    if role == "date":
        return date
    if role in FILLERS:
        return FILLERS[role]
    if role == "adj_close":
        return (
            number_text(values["close"] / 2, decimal) if values["close"] * 50 % 1 == 0 else repr(values["close"] / 2).replace(".", decimal)
        )
    if role == "adj_volume":
        return number_text(values["volume"], decimal)
    if role == "volume":
        return str(int(values["volume"])) if key != "volume usd" else "1"
    if role == "close" and key in ("last", "last price", "현재가") and "close" in values and key != "현재가":
        return number_text(values["close"], decimal, thousands=thousands)
    if role in values:
        return number_text(values[role], decimal, thousands=thousands)
    return FILLERS.get(key, "1")
