"""One file to rows of prices, and how it was read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from stockrnn.dataconfig import NOTHING, Asked, ColumnsConfig, DataConfig
from stockrnn.errors import DataError
from stockrnn.prices.blocks import stack_blocks
from stockrnn.prices.coherence import BAR, check_bars, follows, misplaced_close, refuse_jumps, refuse_listing, refuse_zeros, unscaled_close
from stockrnn.prices.columns import find_own, read_own
from stockrnn.prices.containers import open_grids
from stockrnn.prices.dateparts import join_date_parts
from stockrnn.prices.dates import Dates, choose
from stockrnn.prices.decimals import Decimals, find_decimals
from stockrnn.prices.dialects import name_dialect
from stockrnn.prices.grid import Grid, kind_of, sample, spread
from stockrnn.prices.layout import Layout, find_layout, may_be_price
from stockrnn.prices.naming import clean_ticker, name_of
from stockrnn.prices.numerals import decimal_mark, is_nothing, to_numbers
from stockrnn.prices.quality import MOST_PLACES, Finding, Place, shown
from stockrnn.prices.readings import Rows
from stockrnn.prices.stems import VALUE_ROLES
from stockrnn.prices.swaps import refuse_swapped
from stockrnn.prices.words import meanings, normalise

_MOST_SPARE = 50
_CLOCK = re.compile(r"(?i)\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]m)?(?:\s?e[sd]?t)?")
"""A time of day in place of a date: Nasdaq's files begin with the quote of the running session."""
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


def read_files(path: Path, data: DataConfig, asked: Asked = NOTHING) -> Iterator[Rows]:
    """Read one file, or each one in an archive, as it is, with the columns that are asked for beside prices.

    Raises:
        DataError: one does not hold prices, or may be read in more than one way.
        StorageError: it cannot be read.
    """
    name, sheet = path, ""
    try:
        for name, grid, encoding in open_grids(path, data):
            sheet = f", {grid.evidence} (`data.sheet`)" if grid.title and grid.evidence else ""
            table = grid if grid.headerless or data.columns != ColumnsConfig() else stack_blocks(grid)
            named = data.columns.date is not None or grid.headerless
            yield _Reader(name, data, asked, table if named else join_date_parts(table), encoding).read()
    except DataError as error:
        raise error if str(name) in str(error) else DataError(f"{name}{sheet}: {error}") from None


class _Reader:
    """The steps from a grid to rows, each of which may leave rows out with a finding."""

    def __init__(self, path: Path, data: DataConfig, asked: Asked, grid: Grid, encoding: str) -> None:
        self.path, self.data, self.grid, self.encoding = path, data, grid, encoding
        self.own = find_own(grid, asked)
        self.others: tuple[str, ...] = ()
        self.findings: list[Finding] = []
        self.stamps: np.ndarray | None = None
        self.numbers = Decimals(".")
        self.sure = [*(["no header"] if grid.headerless else []), *([grid.evidence] if grid.evidence else [])]

    def read(self) -> Rows:
        layout = find_layout(self.grid, self.data.columns, self._guessed, self.own.values())
        if layout.evidence:
            self.sure.append(layout.evidence)
        self.numbers, self.grid = find_decimals(self.grid, layout, self.data.decimal)
        if self.numbers.evidence:
            self.sure.append(self.numbers.evidence)
        if self.grid.preamble:
            places = tuple(Place(str(self.path), None, None, None, shown(line)) for line in self.grid.preamble[:MOST_PLACES])
            self.findings.append(Finding("line_above_header", len(self.grid.preamble), places, "skipped"))
        dates = self._dates(layout)
        self.stamps = dates.stamps if dates else None
        values = self._values(layout)
        self._mention(layout, values)
        tickers, codes = self._tickers(layout)
        if dates is None:
            self._refuse_unread_dates()
            refuse_listing(*((tickers, codes) if layout.ticker is None else self._distinct(layout.ticker)))
        rows = self.grid.rows
        stamps = np.full(len(rows), np.datetime64("NaT", "ns")) if self.stamps is None else self.stamps
        if len(layout.series) > 1:
            count = len(layout.series)
            codes, stamps, rows = np.repeat(np.arange(count), len(rows)), np.tile(stamps, count), np.tile(rows, count)
        return Rows(
            tickers=tickers,
            codes=codes,
            stamps=stamps,
            values=values,
            rows=rows,
            path=str(self.path),
            dialect=self._headerless(dates) if self.grid.headerless else name_dialect(self.grid.headers),
            encoding=self.encoding,
            separator=self.grid.separator,
            decimal=self.numbers.mark,
            date_format=dates.date_format if dates else None,
            columns=self._columns(layout),
            sureness="; ".join(self.sure) or "certain",
            findings=tuple(self.findings),
            headers=self._headers(layout, tickers) if len(layout.series) > 1 else {},
            own=read_own(self.grid, self.own, layout, self.numbers.mark, str(self.path)),
            others=self.others,
        )

    def _headers(self, layout: Layout, tickers: tuple[str, ...]) -> dict[str, dict[str, str]]:
        each = ({role: self.grid.name(i) for role, i in roles.items()} for _, roles in layout.series)
        return dict(zip(tickers, each, strict=True))

    def _headerless(self, dates: Dates | None) -> str:
        epoch = dates is not None and dates.date_format.startswith("epoch")
        return ("binance-klines" if len(self.grid.headers) == 12 else "klines") if epoch else "metatrader4"

    def _guessed(self, i: int, most: int | None = None) -> np.ndarray:
        """A column's values before the layout is known, of some rows all over it if not of all."""
        column = self.grid.columns[i] if most is None else self.grid.columns[i].take(spread(len(self.grid.rows), most))
        mark = decimal_mark([column])
        return to_numbers(column, "," if mark == "," else ".")[0]

    def _dates(self, layout: Layout) -> Dates | None:
        if layout.date is None:
            return None
        for attempt in range(2):
            cells, codes = self._date_cells(layout)
            dates = choose(cells, codes, lambda: self._series(layout), self.data.date_format)
            bad = np.isnat(dates.stamps)
            if not bad.any() or attempt:
                break
            self._leave_out(bad, cells, codes, layout)
        if self.data.date_format == "auto" and "%d" in dates.date_format and "%m" in dates.date_format:
            refuse_swapped(dates.stamps, self._series(layout), self.grid.rows, dates.date_format, str(self.path))
        if dates.evidence:
            self.sure.append(dates.evidence)
        if dates.zone:
            place = Place(str(self.path), None, None, self.grid.name(layout.date), shown(dates.zone))
            self.findings.append(Finding("time_zone", len(codes), (place,), "local dates kept"))
        return dates

    def _refuse_unread_dates(self) -> None:
        """Refuse to count rows where a column of words holds a year in each of them, such as `2015-W02`. Raises DataError."""
        for i, column in enumerate(self.grid.columns):
            cells = sample(column)
            if kind_of(cells) == "text" and len(set(cells)) > 0.9 * len(cells) and all(_YEAR.search(cell) for cell in cells):
                raise DataError(
                    f"dates must be readable. Received: {shown(cells[0])} in column {shown(self.grid.name(i))}. Write a day of each, such "
                    "as 2020-01-31, or leave the column out to count the rows."
                )

    def _date_cells(self, layout: Layout) -> tuple[pd.Series, np.ndarray]:
        column = self._text(self.grid.columns[layout.date or 0])
        if layout.time is not None:
            clock = pc.utf8_trim_whitespace(self._text(self.grid.columns[layout.time]))
            distinct = pc.unique(clock).to_pylist()
            if any(re.sub(r"[0:.]", "", cell) for cell in distinct):
                wide = 4 if all(len(cell) <= 4 for cell in distinct) else 6
                digits = pc.utf8_lpad(clock, wide, "0")
                plain = not any(":" in cell for cell in distinct)
                column = pc.binary_join_element_wise(column, digits if plain else clock, " ")
        coded = pc.dictionary_encode(column)
        return pd.Series(coded.dictionary.to_pylist(), dtype=object), coded.indices.to_numpy().astype(np.int64)

    def _series(self, layout: Layout) -> np.ndarray:
        return np.zeros(len(self.grid.rows), dtype=np.int64) if layout.ticker is None else self._distinct(layout.ticker)[1]

    def _distinct(self, i: int) -> tuple[list[str], np.ndarray]:
        coded = pc.dictionary_encode(self._text(self.grid.columns[i]))
        return coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int64)

    @staticmethod
    def _text(column: Any) -> Any:
        if pa.types.is_string(column.type):
            return column
        return pc.fill_null(pc.cast(pc.cast(column, pa.int64(), safe=False), pa.string()), "")

    def _leave_out(self, bad: np.ndarray, cells: pd.Series, codes: np.ndarray, layout: Layout) -> None:
        """Rows without a date: headers again, blank rows, and lines above or below the table; any other is an error."""
        good = np.flatnonzero(~bad)
        if len(good) == 0:
            raise DataError(f"dates must fit `data.date_format`. Received: {shown(cells.iloc[0])} for {self.data.date_format}.")
        header = self.grid.name(layout.date or 0)
        reasons: dict[str, list[int]] = {}
        for i in map(int, np.flatnonzero(bad)):
            cell = str(cells[codes[i]]).strip()
            outside = i > good[-1] or i < good[0]
            if cell == header:
                self._refuse_other_header(i)
                reasons.setdefault("repeated_header", []).append(i)
            elif is_nothing(cell) and self._valueless(i, layout):
                reasons.setdefault("blank_row", []).append(i)
            elif outside and cell and (not re.search(r"\d", cell) or _CLOCK.fullmatch(cell) or self._valueless(i, layout)):
                reasons.setdefault("line_outside_table", []).append(i)
            else:
                place = f"{self.path} row {self.grid.rows[i]}, column {shown(header)}"
                raise DataError(
                    f"{place}: must be a date like its other rows. Received: {shown(cell)}. Mend the row or set `data.date_format`."
                )
        for kind, found in reasons.items():
            places = tuple(Place(str(self.path), int(self.grid.rows[i]), None, header, shown(cells[codes[i]])) for i in found[:MOST_PLACES])
            self.findings.append(Finding(kind, len(found), places, "left out"))
        self.grid = self.grid.take(~bad)

    def _refuse_other_header(self, row: int) -> None:
        """A file that was put together of several, or whose source changed, may name other columns farther down. Raises DataError."""
        for name, column in zip(self.grid.headers, self.grid.columns, strict=True):
            cell = str(column[row].as_py() or "").strip()
            if cell and name and normalise(cell) != normalise(name):
                raise DataError(
                    f"{self.path} row {self.grid.rows[row]}: a header that repeats must name the same columns. Received: {shown(cell)} in "
                    f"column {shown(name)}. Put the columns in one order, or split the file there."
                )

    def _valueless(self, row: int, layout: Layout) -> bool:
        """Whether a row holds no close."""
        for _, roles in layout.series:
            value, wrong = to_numbers(self.grid.columns[roles["close"]].slice(row, 1), self.numbers.mark)
            if not wrong[0] and np.isfinite(value[0]):
                return False
        return True

    def _values(self, layout: Layout) -> dict[str, np.ndarray]:
        """Role → values, one series after the other."""
        parsed = self._parsed(layout)
        if any(bad.any() for _, bad in parsed.values()):
            wrong = np.logical_or.reduce([bad for _, bad in parsed.values()])
            events = self._events(parsed, wrong)
            if not events[wrong].all():
                self._refuse_text(parsed, wrong & ~events)
            places = tuple(Place(str(self.path), int(row)) for row in self.grid.rows[events][:MOST_PLACES])
            self.findings.append(Finding("corporate_action_row", int(events.sum()), places, "left out"))
            self._keep(~events)
            parsed = self._parsed(layout)
        blank = np.full(len(self.grid.rows), np.nan)
        parts: dict[str, np.ndarray] = {}
        for role in VALUE_ROLES:
            if any(role in roles for _, roles in layout.series):
                each = [parsed[roles[role]][0] if role in roles else blank for _, roles in layout.series]
                parts[role] = each[0] if len(each) == 1 else np.concatenate(each)
        self._unsigned(parts, self.grid.name(layout.series[0][1]["close"]))
        if layout.assumed:
            closes = parts["close"].reshape(len(layout.series), -1)
            refuse_zeros(closes)
            if layout.ticker is None:
                refuse_jumps(closes if self.stamps is None else closes[:, np.argsort(self.stamps)])
        self._check(layout, parts)
        return parts

    def _mention(self, layout: Layout, values: Mapping[str, np.ndarray]) -> None:
        """Tell of closes that no word names, and of columns that look like prices and are not read."""
        path = str(self.path)
        if layout.assumed:
            places = tuple(Place(path, None, None, self.grid.name(i)) for i in layout.assumed[:MOST_PLACES])
            self.findings.append(Finding("assumed_close", len(layout.assumed), places, "taken as the close"))
        many = len(layout.series) > 1
        if layout.ignored and not any("volume" in roles for _, roles in layout.series):
            places = tuple(Place(path, None, None, self.grid.name(i)) for i in layout.ignored[:MOST_PLACES])
            self.findings.append(Finding("unread_volume", len(layout.ignored), places, "not numbers, not used"))
        used = {layout.date, layout.time, layout.ticker, *(i for _, roles in layout.series for i in roles.values()), *self.own.values()}
        spare = [i for i, header in enumerate(self.grid.headers) if i not in used and (self.grid.headerless or not meanings(header))]
        spare = [i for i in spare[:_MOST_SPARE] if kind_of(sample(self.grid.columns[i])) == "number"]
        self.others = () if many else tuple(self.grid.name(i) for i in spare)
        if not many and {"high", "low"} <= layout.series[0][1].keys():
            return
        near = [i for i in spare if (may_be_price(self.grid.headers[i]) if many else follows(self._guessed(i), values["close"]))]
        if near:
            places = tuple(Place(path, None, None, self.grid.name(i)) for i in near[:MOST_PLACES])
            self.findings.append(Finding("unread_price_column", len(near), places, "not used; name them with `data.columns`"))
            self.sure.append(f"{shown(', '.join(self.grid.name(i) for i in near))} not read")

    def _check(self, layout: Layout, values: dict[str, np.ndarray]) -> None:
        """Refuse columns and rows whose values contradict their place."""
        roles = layout.series[0][1]
        headers = {role: self.grid.name(i) for role, i in roles.items()}
        check_bars(values, headers)
        if any(word.role == "adj_close" for word in meanings(headers["close"])) and unscaled_close(values):
            raise DataError(
                f"an adjusted close needs the close that open, high and low belong to. Received: {shown(headers['close'])} alone. "
                "Set `data.columns.close`."
            )
        if self.grid.short:
            self._check_short(values if len(layout.series) == 1 else {})

    def _check_short(self, values: dict[str, np.ndarray]) -> None:
        """A row with too few cells may have lost one before its close; the last one of a broken download is no row."""
        short = self.grid.short
        row = misplaced_close(values, short) if values else None
        if row == len(self.grid.rows) - 1 and self.grid.unfinished:
            values["close"] = np.where(np.arange(len(self.grid.rows)) == row, np.nan, values["close"])
            self.findings.append(Finding("cut_row", 1, (Place(str(self.path), int(self.grid.rows[row])),), "left out"))
            return
        if row is not None:
            place = f"{self.path} row {self.grid.rows[row]}"
            raise DataError(
                f"{place}: must have {len(self.grid.headers)} cells. Received: fewer, and a close outside low and high. Mend the row."
            )
        places = tuple(Place(str(self.path), int(self.grid.rows[row])) for row in short[:MOST_PLACES])
        self.findings.append(Finding("short_row", len(short), places, "missing cells are empty"))

    def _unsigned(self, values: dict[str, np.ndarray], close: str) -> None:
        """Korean brokers sign a price by its change, where pluses are written, too, and CRSP one that is the middle of bid and ask, PRC."""
        roles = [role for role in BAR if role in values]
        below = np.logical_or.reduce([values[role] < 0 for role in roles])
        if below.any() and (self.numbers.signed or normalise(close) == "prc"):
            for role in roles:
                values[role] = np.abs(values[role])
            rows = self.grid.rows[np.flatnonzero(below[: len(self.grid.rows)])]
            self.findings.append(
                Finding("signed_price", len(rows), tuple(Place(str(self.path), int(row)) for row in rows[:MOST_PLACES]), "sign left out")
            )

    def _parsed(self, layout: Layout) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {i: to_numbers(self.grid.columns[i], self.numbers.mark) for _, roles in layout.series for i in roles.values()}

    def _keep(self, kept: np.ndarray) -> None:
        self.grid = self.grid.take(kept)
        if self.stamps is not None:
            self.stamps = self.stamps[kept]

    def _events(self, parsed: Mapping[int, tuple[np.ndarray, np.ndarray]], wrong: np.ndarray) -> np.ndarray:
        """Rows that tell of a dividend or a split in place of prices, as Yahoo's pages do."""
        events = wrong.copy()
        for i, (_, bad) in parsed.items():
            for row in np.flatnonzero(bad):
                events[row] &= bool(re.search(r"(?i)dividend|split|capital gain", str(self.grid.columns[i][int(row)].as_py())))
        return events

    def _refuse_text(self, parsed: Mapping[int, tuple[np.ndarray, np.ndarray]], wrong: np.ndarray) -> None:
        row = int(np.flatnonzero(wrong)[0])
        i = next(i for i, (_, bad) in parsed.items() if bad[row])
        value = self.grid.columns[i][row].as_py()
        place = f"{self.path} row {self.grid.rows[row]}, column {shown(self.grid.name(i))}"
        raise DataError(f"{place}: must be a number. Received: {shown(value)}. Mend or empty the cell.")

    def _tickers(self, layout: Layout) -> tuple[tuple[str, ...], np.ndarray]:
        if layout.ticker is None or len(layout.series) > 1:
            series = tuple(clean_ticker(name) if name else name_of(self.path) for name, _ in layout.series)
            return series, np.zeros(len(self.grid.rows), dtype=np.int64)
        cells, codes = self._distinct(layout.ticker)
        names = [clean_ticker(name) for name in cells]
        if "" in names:
            row = int(np.flatnonzero(codes == names.index(""))[0])
            place = f"{self.path} row {self.grid.rows[row]}, column {shown(self.grid.name(layout.ticker))}"
            raise DataError(f"{place}: must name a ticker. Received: an empty cell. Fill it or remove the row.")
        distinct, inverse = np.unique(np.array(names, dtype=object), return_inverse=True)
        return tuple(distinct), inverse[codes]

    def _columns(self, layout: Layout) -> dict[str, str]:
        roles = layout.series[0][1]
        fixed = {"date": layout.date, "time": layout.time, "ticker": layout.ticker}
        return {role: self.grid.name(i) for role, i in (*fixed.items(), *roles.items()) if i is not None}
