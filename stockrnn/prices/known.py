"""What a price file tells of days before they come: the user's own columns that he says are known ahead, by ticker and day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from stockrnn.dataconfig import Asked
from stockrnn.errors import DataError
from stockrnn.prices.quality import CODE, Finding, Sources, shown
from stockrnn.types import DATE, PRICES, own


@dataclass(frozen=True)
class Known:
    """Values of the user's own columns, of past days and of days to come.

    Attributes:
        names: the columns, as the config names them.
        days: those of each ticker that the file has a row of, datetime64[D], ascending, shape (days,).
        values: of each ticker, float64, shape (days, names).
        dated: whether the file has dates at all; else the days only count rows.
    """

    names: tuple[str, ...] = ()
    days: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    dated: bool = True

    def at(self, ticker: str, days: np.ndarray) -> np.ndarray:
        """What is known of each day, shape (…, names); NaN where the file has no row of it, which is never filled."""
        if ticker not in self.days:
            return np.full((*days.shape, len(self.names)), np.nan)
        have = self.days[ticker]
        places = np.minimum(np.searchsorted(have, days), len(have) - 1)
        return np.where((have[places] == days)[..., None], self.values[ticker][places], np.nan)

    def until(self, end: pd.Timestamp) -> Known:
        """What is known of the days up to this one."""
        counts = {
            ticker: int(np.searchsorted(days, end.to_datetime64().astype("datetime64[D]"), side="right"))
            for ticker, days in self.days.items()
        }
        days, values = ({ticker: each[ticker][:count] for ticker, count in counts.items() if count} for each in (self.days, self.values))
        return Known(self.names, days, values, self.dated)


NOTHING_KNOWN = Known()


def take_known(frame: pd.DataFrame, sources: Sources, asked: Asked) -> tuple[Known, pd.DataFrame, list[Finding]]:
    """What the file tells of days before they come, and its rows without those that tell nothing else.

    Args:
        frame: rows sorted by ticker and date, with `code`, `row` and `file`.
        sources: names of tickers, files and columns.
        asked: which columns.

    Returns:
        What is known, the rows up to each ticker's last one with a price, and how many came after them.

    Raises:
        DataError: a row without a value.
    """
    if not asked.ahead:
        return NOTHING_KNOWN, frame, []
    columns = [own(name) for name in asked.ahead]
    for name, column in zip(asked.ahead, columns, strict=True):
        missing = np.flatnonzero(frame[column].isna())
        if len(missing):
            place = sources.place(frame, int(missing[0]))
            raise DataError(
                f"{place.file} row {place.row}, column {shown(name)}: must hold a number in every row for `features.known_ahead`. "
                f"Received: none on {place.date}, {len(missing)} rows in all. Fill them, or leave the name out."
            )
    codes = frame[CODE].to_numpy()
    groups = {sources.tickers[code]: np.flatnonzero(codes == code) for code in np.unique(codes)}
    days = {ticker: frame[DATE].to_numpy()[rows].astype("datetime64[D]") for ticker, rows in groups.items()}
    values = {ticker: frame[columns].to_numpy(np.float64)[rows] for ticker, rows in groups.items()}
    priced = pd.Series(np.where(frame[list(PRICES)].notna().any(axis=1), np.arange(len(frame)), -1))
    coming = np.arange(len(frame)) > priced.groupby(codes).transform("max").to_numpy()
    found = sources.finding(frame, "row_to_come", coming, None, "known ahead")
    return Known(asked.ahead, days, values), frame[~coming].reset_index(drop=True), found
