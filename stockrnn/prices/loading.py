"""The prices stage's one door: a `data` section to a price table, with how it was read and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import DataConfig
from stockrnn.errors import DataError
from stockrnn.prices.cleaning import fill_missing
from stockrnn.prices.intake import Reading, read_file
from stockrnn.prices.quality import Finding, date_text
from stockrnn.storage import sha256, shipped
from stockrnn.types import DATE, PRICE_TABLE, PRICES, TICKER, VOLUME


@dataclass(frozen=True)
class Prices:
    """What a run learns from.

    Attributes:
        table: the price table (`types.PRICE_TABLE`), after adjustment and the missing-value policy.
        readings: how each file was read.
        findings: what is wrong with the data and what was done.
        step: `daily`, `weekly`, `monthly`, `intraday`, or `none` for a file without dates, whose `date` only counts rows.
        data_hash: SHA-256 of the table's content.
    """

    table: pd.DataFrame
    readings: tuple[Reading, ...]
    findings: tuple[Finding, ...]
    step: str
    data_hash: str


def load_prices(data: DataConfig) -> Prices:
    """Read, check and clean the prices that `data` names.

    Raises:
        DataError: no such file, or it does not hold prices.
        StorageError: it cannot be read.
    """
    path = Path(data.path) if Path(data.path).exists() else shipped("data") / data.path
    if not path.is_file():
        raise DataError(f"`data.path` must be a file, folder or glob. Received: {data.path}, which does not exist.")
    raw, reading = read_file(path, data)
    raw = raw.sort_values([TICKER, DATE], ignore_index=True)
    table, _ = fill_missing(raw, policy=data.missing.policy, limit=data.missing.limit)
    table = table.reset_index(drop=True)[list(PRICE_TABLE)]
    return Prices(table, (reading,), (), reading.step, table_hash(table))


def table_hash(table: pd.DataFrame) -> str:
    """SHA-256 of a price table's tickers, dates and numbers; the same on every machine."""
    names, codes = np.unique(table[TICKER].to_numpy(str), return_inverse=True)
    parts = ["\n".join(names).encode(), codes.astype("<i8").tobytes(), table[DATE].to_numpy("datetime64[ns]").astype("<i8").tobytes()]
    parts += [table[name].to_numpy("<f8").tobytes() for name in (*PRICES, VOLUME)]
    return sha256(b"\0".join(parts))


def inspect_document(prices: Prices, path: str) -> dict[str, Any]:
    """The JSON document of `inspect`."""
    first = prices.readings[0]
    tickers = {}
    for ticker, rows in prices.table.groupby(TICKER, sort=True):
        ends = {name: _bar(rows.iloc[at], prices.step) for name, at in (("first", 0), ("last", -1))}
        tickers[str(ticker)] = {"rows": len(rows), **ends}
    return {
        "format": 1,
        "path": path,
        "dialect": first.dialect,
        "encoding": first.encoding,
        "separator": first.separator,
        "decimal": first.decimal,
        "date_format": first.date_format,
        "order": first.order,
        "step": prices.step,
        "columns": dict(first.columns),
        "tickers": tickers,
        "findings": [finding.to_dict() for finding in prices.findings],
    }


def _bar(row: pd.Series, step: str) -> dict[str, Any]:
    numbers = {name: None if np.isnan(row[name]) else float(row[name]) for name in (*PRICES, VOLUME)}
    return {"date": None if step == "none" else date_text(row[DATE]), **numbers}
