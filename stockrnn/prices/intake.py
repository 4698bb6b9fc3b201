"""One file to rows: what was read, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stockrnn.config import DataConfig
from stockrnn.errors import DataError
from stockrnn.types import CLOSE, DATE, HIGH, LOW, OPEN, TICKER, VOLUME


@dataclass(frozen=True)
class Reading:
    """How one file was read.

    Attributes:
        columns: role → header, such as `close` → `Adj Close`.
        close: the header of the close that is used.
        sureness: `certain`, or the evidence that decided.
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


def read_file(path: Path, data: DataConfig) -> tuple[pd.DataFrame, Reading]:
    """Rows of a Yahoo CSV."""
    frame = pd.read_csv(path, na_values=["null"])
    if frame.empty:
        raise DataError(f"{path} must hold rows of prices. Received: a header only. Give another file.")
    if "Close" not in frame:
        raise DataError(f"{path} must have a price column. Received: {list(frame)[:10]}. Name it with `data.columns.close`.")
    adjusted = data.adjust == "auto" and "Adj Close" in frame
    factor = frame["Adj Close"] / frame["Close"] if adjusted else 1.0
    table = pd.DataFrame({TICKER: path.stem, DATE: pd.to_datetime(frame["Date"], format="%Y-%m-%d").astype("datetime64[ns]")})
    for role, name in zip((OPEN, HIGH, LOW, CLOSE), ("Open", "High", "Low", "Close"), strict=True):
        table[role] = frame[name].astype(float) * factor
    table[VOLUME] = frame["Volume"].astype(float)
    columns = {
        "date": "Date",
        "open": "Open",
        "high": "High",
        "low": "Low",
        "close": "Adj Close" if adjusted else "Close",
        "volume": "Volume",
    }
    order = "ascending" if table[DATE].is_monotonic_increasing else "shuffled"
    return table, Reading(str(path), "yahoo", "utf-8", ",", ".", "%Y-%m-%d", order, "daily", columns, columns["close"], "certain")
