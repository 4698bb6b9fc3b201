"""The prices stage's one door: a `data` section to a price table, with how it was read and what is wrong with it."""

from __future__ import annotations

import difflib
import glob
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.dataconfig import NOTHING, Asked, DataConfig
from stockrnn.errors import DataError
from stockrnn.prices.cleaning import clean
from stockrnn.prices.intake import read_files
from stockrnn.prices.known import NOTHING_KNOWN, Known, take_known
from stockrnn.prices.naming import RARER, SUFFIXES, price_files
from stockrnn.prices.ordering import first_duplicate, order_of, out_of_order, row_days, step_of, time_order, to_days, undated_order
from stockrnn.prices.parts import join_parts, span_of
from stockrnn.prices.quality import CODE, FILE, MOST_PLACES, ROW, Finding, Place, Sources, check, date_text, shown, with_columns
from stockrnn.prices.readings import Reading, Rows
from stockrnn.prices.sessions import ALWAYS, known_calendar
from stockrnn.storage import shipped, storage_errors
from stockrnn.types import CLOSE, DAILY, DATE, FILLED, INTRADAY, OWN, PRICES, TICKER, UNDATED, VOLUME, own


@dataclass(frozen=True)
class Prices:
    """What a run learns from.

    Attributes:
        table: the price table (`types.PRICE_TABLE`), adjusted unless told otherwise, after the missing-value policy.
        readings: how each file was read.
        findings: what is wrong with the data and what was done.
        step: `daily`, `weekly`, `monthly`, `intraday`, or `none` for a file without dates, whose `date` only counts rows.
        data_hash: SHA-256 of the table's content, and of what is known ahead.
        known: what the file tells of days before they come.
    """

    table: pd.DataFrame
    readings: tuple[Reading, ...]
    findings: tuple[Finding, ...]
    step: str
    data_hash: str
    known: Known = NOTHING_KNOWN


def load_prices(data: DataConfig, asked: Asked = NOTHING) -> Prices:
    """Read, check and clean the prices that `data` names.

    Args:
        data: the config's section.
        asked: what is needed beside prices.

    Raises:
        ConfigError: no calendar of that name, which forecasts would ask for when all is learnt.
        DataError: no such file, or it does not hold prices, or may be read in more than one way.
        StorageError: it cannot be read.
    """
    if data.calendar not in ("auto", ALWAYS):
        known_calendar(data.calendar)
    return prices_of((rows for path in find_files(data.path) for rows in read_files(path, data, asked)), data, asked)


def prices_of(files_read: Iterable[Rows], data: DataConfig, asked: Asked = NOTHING) -> Prices:
    """All that `load_prices` does after reading: the prices of files that are in memory. Raises DataError."""
    arranged = [_in_order(rows, data) for rows in files_read]
    named = join_parts([rows for rows, _, _ in arranged], [span_of(frame[DATE]) for _, _, frame in arranged])
    files = [(rows, reading, frame) for rows, (_, reading, frame) in zip(named, arranged, strict=True)]
    readings = tuple(reading for _, reading, _ in files)
    steps = {reading.step for reading in readings}
    if len(steps) > 1:
        other = next(reading for reading in readings if reading.step != readings[0].step)
        both = f"{readings[0].path} is {readings[0].step}, {other.path} is {other.step}"
        raise DataError(f"all files must have one step. Received: {both}. Name files of one step.")
    _need_days(readings[0], data, asked)
    frame, sources = _joined(files)
    frame, sources = _chosen(frame, sources, data)
    _refuse_negative(frame, sources)
    known, frame, coming = take_known(frame, sources, asked)
    known = replace(known, dated=readings[0].step != UNDATED)
    found = [*(finding for rows, _, _ in files for finding in rows.findings), *coming]
    found += check(frame, sources, readings[0].step)
    table, done = clean(frame, sources, policy=data.missing.policy, limit=data.missing.limit)
    if table.empty:
        raise DataError(f"{data.path} must hold a close in at least one row. Received: none. Give another file.")
    table = _with_target(table, asked.target, data.path)
    return Prices(table, readings, tuple(found + done), readings[0].step, table_hash(table, known), known)


def _with_target(table: pd.DataFrame, target: str, path: str) -> pd.DataFrame:
    """The table in which a session without the price that is forecast is neither a cutoff nor an actual. Raises DataError for no price."""
    lacking = table[target].isna()
    if lacking.all():
        raise DataError(f"{path} must hold the price of `target.column: {target}`. Received: none. Set it to another one.")
    return with_columns(table, {FILLED: table[FILLED] | lacking}) if lacking.any() else table


def find_files(name: str) -> list[Path]:
    """The files that `data.path` means: a file, the price files of a folder, a glob, or a shipped file. Raises DataError."""
    path = Path(name).expanduser()
    with storage_errors(path, "readable"):
        if path.is_file():
            return [path]
        if path.is_dir():
            found = price_files(p for p in path.iterdir() if p.is_file())
        else:
            found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())  # noqa: PTH207 (Path.glob knows no absolute patterns)
        ours = shipped("data") / name
        found = found or ([ours] if not path.exists() and ours.parent == shipped("data") and ours.is_file() else [])
    if not found:
        why = "a folder without any" if path.is_dir() else "which names no file" if glob.has_magic(name) else "which is not there"
        raise DataError(
            f"`data.path` must be a file, a folder or glob of price files ({', '.join((*SUFFIXES, *RARER))}), or a shipped file. "
            f"Received: {name}, {why}. Give the path of one."
        )
    return found


def _in_order(rows: Rows, data: DataConfig) -> tuple[Rows, Reading, pd.DataFrame]:
    """`_arranged`, whose errors name the file."""
    try:
        return _arranged(rows, data)
    except DataError as error:
        raise error if rows.path in str(error) else DataError(f"{rows.path}: {error}") from None


def _arranged(rows: Rows, data: DataConfig) -> tuple[Rows, Reading, pd.DataFrame]:
    """One file in time order, adjusted; dates that stand twice as `data.duplicates` says."""
    values, columns = _adjusted(rows, data.adjust)
    if rows.date_format is None:
        order = undated_order(rows.codes, values, data.order)
        stamps = row_days(rows.codes, order)
    else:
        stamps, order = rows.stamps, order_of(rows.codes, rows.stamps)
    sort = time_order(rows.codes, stamps)
    codes, stamps = rows.codes[sort], stamps[sort]
    step = UNDATED if rows.date_format is None else step_of(codes, stamps)
    if step not in (UNDATED, INTRADAY):
        stamps = to_days(stamps)
    beside = {own(name): column[sort] for name, column in rows.own.items()}
    frame = pd.DataFrame(
        {CODE: codes, DATE: stamps, **{name: values[name][sort] for name in (*PRICES, VOLUME)}, **beside, ROW: rows.rows[sort]}, copy=False
    )
    frame, repeated = _without_repeats(frame, rows, data.duplicates)
    close = columns[CLOSE]
    reading = Reading(
        rows.path,
        rows.dialect,
        rows.encoding,
        rows.separator,
        rows.decimal,
        rows.date_format,
        order,
        step,
        columns,
        close,
        rows.sureness,
        rows.others,
    )
    findings = (*rows.findings, *([_unsorted(rows)] if order == "shuffled" else []), *repeated)
    return replace(rows, values={}, own={}, stamps=np.array([]), rows=np.array([]), findings=findings), reading, frame


def _without_repeats(frame: pd.DataFrame, rows: Rows, keep: str) -> tuple[pd.DataFrame, list[Finding]]:
    """One row for each ticker and date: the first or the last in the file. Raises DataError where neither was asked for."""
    if first_duplicate(frame[CODE].to_numpy(), frame[DATE].to_numpy()) is None:
        return frame, []
    ordered = frame.sort_values([CODE, DATE, ROW], kind="stable", ignore_index=True)
    keys = [CODE, DATE]
    if keep == "error":
        twice = int(np.flatnonzero(ordered.duplicated(keys))[0])
        one, two = ordered.iloc[twice - 1], ordered.iloc[twice]
        alike = ordered.iloc[twice - 1 : twice + 1].duplicated([*keys, *PRICES, VOLUME]).any()
        what = (
            "with equal values. Remove one, or set `data.duplicates` to first"
            if alike
            else ("with other values. Remove one, set `data.duplicates` to first or last, or `data.columns.ticker`")
        )
        raise DataError(
            f"{rows.path} rows {int(one[ROW])} and {int(two[ROW])}: each date must stand once for a ticker. Received: "
            f"{shown(rows.tickers[int(two[CODE])])} {date_text(two[DATE])} twice, {what}."
        )
    left = ordered.duplicated(keys, keep="first" if keep == "first" else "last")
    some = ordered[left].head(MOST_PLACES)
    places = tuple(Place(rows.path, int(row), date_text(date)) for row, date in zip(some[ROW], some[DATE], strict=True))
    return ordered[~left].reset_index(drop=True), [Finding("duplicated", int(left.sum()), places, f"left out, the {keep} one is used")]


def _adjusted(rows: Rows, adjust: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The values as used and the columns they come from: open, high, low scaled as the adjusted close is to the close."""
    values, columns = dict(rows.values), dict(rows.columns)
    adjusted, adjusted_volume = values.pop("adj_close", None), values.pop("adj_volume", None)
    headers = {name: columns.pop(name, "") for name in ("adj_close", "adj_volume")}
    if adjust == "auto" and adjusted is not None:
        _refuse_negative_adjusted(rows, adjusted, headers["adj_close"])
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(values[CLOSE] > 0, adjusted / values[CLOSE], np.nan)
        for name in PRICES:
            if name in values and name != CLOSE:
                values[name] = values[name] * factor
        values[CLOSE], columns[CLOSE] = adjusted, headers["adj_close"]
        if adjusted_volume is not None:
            values[VOLUME], columns[VOLUME] = adjusted_volume, headers["adj_volume"]
    blank = np.full(len(rows.codes), np.nan)
    return {name: values.get(name, blank) for name in (*PRICES, VOLUME)}, columns


def _refuse_negative_adjusted(rows: Rows, adjusted: np.ndarray, header: str) -> None:
    below = np.flatnonzero((adjusted < 0) & (rows.values[CLOSE] >= 0))
    if len(below):
        raise DataError(
            f"{rows.path} row {rows.rows[below[0]]}, column {shown(header)}: must not be negative where the close is not. Received: "
            f"{adjusted[below[0]]:g}. Set `data.adjust` to none, which takes prices as written."
        )


def _need_days(reading: Reading, data: DataConfig, asked: Asked) -> None:
    for key, day in (("start", data.start), ("end", data.end)):
        if day is not None and reading.step == UNDATED:
            raise DataError(f"{reading.path} must have dates for `data.{key}`. Received: {day} for a file without dates. Leave it out.")
    if (asked.calendar or asked.ahead) and reading.step != DAILY:
        received = "a file without dates" if reading.step == UNDATED else f"{reading.step} rows"
        names = ", ".join((*asked.calendar, *asked.ahead))
        raise DataError(f"{reading.path} must have daily dates for `features.known_ahead`: {names}. Received: {received}. Leave it out.")


def _refuse_negative(frame: pd.DataFrame, sources: Sources) -> None:
    for name in PRICES:
        below = np.flatnonzero(frame[name].to_numpy() < 0)
        if len(below):
            at, code = sources.place(frame, int(below[0]), name), int(frame[CODE].iloc[below[0]])
            many = len(sources.tickers) > 1
            column = f"`{name}` of {shown(sources.tickers[code])}" if many else shown(at.column)
            choice = ", set `data.ticker` to another one" if many else ""
            raise DataError(
                f"{at.file} row {at.row}, column {column}: must not be negative. Received: {at.value:g} on {at.date}. "
                f"Mend the row{choice}{'' if at.date is None else _without_negative(frame[frame[CODE] == code])}."
            )


def _without_negative(rows: pd.DataFrame) -> str:
    """The side of a ticker's negative prices that keeps the most of its rows."""
    below = np.flatnonzero((rows[[*PRICES]] < 0).any(axis=1))
    before, after = int(below[0]), len(rows) - 1 - int(below[-1])
    key, edge = ("end", before - 1) if before > after else ("start", -after)
    kept = max(before, after)
    return f", or keep {kept} of {len(rows)} rows with `data.{key}: {date_text(rows[DATE].iloc[edge])}`" if kept else ""


def _joined(files: Sequence[tuple[Rows, Reading, pd.DataFrame]]) -> tuple[pd.DataFrame, Sources]:
    """All files as one frame, sorted by ticker and date."""
    names = sorted({ticker for rows, _, _ in files for ticker in rows.tickers})
    number = {name: i for i, name in enumerate(names)}
    frames = []
    for i, (rows, _, frame) in enumerate(files):
        lookup = np.array([number[ticker] for ticker in rows.tickers], dtype=np.int64)
        frames.append(with_columns(frame, {CODE: lookup[frame[CODE].to_numpy()], FILE: np.full(len(frame), i, dtype=np.int32)}))
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    sort = time_order(frame[CODE].to_numpy(), frame[DATE].to_numpy())
    frame = frame if isinstance(sort, slice) else frame.take(sort).reset_index(drop=True)
    columns, headers = tuple(reading.columns for _, reading, _ in files), tuple(_headers(rows, reading) for rows, reading, _ in files)
    sources = Sources(tuple(names), tuple(reading.path for _, reading, _ in files), columns, headers)
    twice = first_duplicate(frame[CODE].to_numpy(), frame[DATE].to_numpy())
    if twice is not None:
        one, two = (sources.place(frame, row) for row in (twice - 1, twice))
        who = f"{shown(names[frame[CODE].iloc[twice]])} {two.date}, also in {one.file} row {one.row}"
        raise DataError(f"{two.file} row {two.row}: each date must stand once for a ticker. Received: {who}. Remove one of them.")
    return frame, sources


def _headers(rows: Rows, reading: Reading) -> dict[str, dict[str, str]]:
    """Ticker → role → header as used: the adjusted close in place of the close where it is."""
    close = "adj_close" if reading.close != rows.columns[CLOSE] else CLOSE
    return {name: {**roles, CLOSE: roles.get(close, roles[CLOSE])} for name, roles in rows.headers.items()}


def _chosen(frame: pd.DataFrame, sources: Sources, data: DataConfig) -> tuple[pd.DataFrame, Sources]:
    """The rows of `data.ticker`, from `data.start` to `data.end`."""
    kept = np.ones(len(frame), dtype=bool)
    if data.ticker is not None:
        if data.ticker not in sources.tickers:
            near = difflib.get_close_matches(data.ticker, sources.tickers, n=1, cutoff=0.3) or list(sources.tickers[:5])
            raise DataError(f"`data.ticker` must be in the data. Received: {shown(data.ticker)}. It holds {', '.join(map(shown, near))}.")
        kept &= frame[CODE].to_numpy() == sources.tickers.index(data.ticker)
    its = frame[DATE][kept]
    if data.start is not None:
        kept &= (frame[DATE] >= pd.Timestamp(data.start)).to_numpy()
    if data.end is not None:
        kept &= (frame[DATE] < pd.Timestamp(data.end) + pd.Timedelta(days=1)).to_numpy()
    if not kept.any():
        asked = " and ".join(f"`data.{key}: {day}`" for key, day in (("start", data.start), ("end", data.end)) if day is not None)
        raise DataError(
            f"{asked} must leave rows. Received: data from {date_text(its.min())} to {date_text(its.max())}. Choose other days."
        )
    return (frame if kept.all() else frame[kept].reset_index(drop=True)), sources


def _unsorted(rows: Rows) -> Finding:
    late = out_of_order(rows.codes, rows.stamps)
    places = tuple(Place(rows.path, int(rows.rows[i]), date_text(rows.stamps[i])) for i in late[:MOST_PLACES])
    return Finding("unsorted", len(late), places, "sorted by date")


def table_hash(table: pd.DataFrame, known: Known = NOTHING_KNOWN) -> str:
    """SHA-256 of a price table's tickers, dates and numbers, and of what is known ahead; the same on every machine."""
    ticker = table[TICKER].to_numpy()
    change = np.flatnonzero(np.r_[True, ticker[1:] != ticker[:-1]])
    digest = hashlib.sha256("\n".join(map(str, ticker[change])).encode())
    digest.update(change.astype("<i8").tobytes())
    digest.update(table[DATE].to_numpy("datetime64[ns]").astype("<i8").data)
    beside = [name for name in map(str, table) if name.startswith(OWN)]
    digest.update("".join(f"\n{name}" for name in beside).encode())
    for name in (*PRICES, VOLUME, *beside):
        values = table[name].to_numpy("<f8")
        digest.update(np.ascontiguousarray(np.where(np.isnan(values), np.nan, values)).data)
    for name, days in known.days.items():
        digest.update(f"\n{name}\n{known.names}\n".encode())
        digest.update(days.astype("<i8").data)
        digest.update(np.ascontiguousarray(known.values[name].astype("<f8")).data)
    return digest.hexdigest()


def inspect_document(prices: Prices, path: str) -> dict[str, Any]:
    """The JSON document of `inspect`; what the file lacks is null."""
    first = prices.readings[0]
    tickers = {}
    names, starts = np.unique(prices.table[TICKER].to_numpy(str), return_index=True)
    stops = np.r_[starts[1:], len(prices.table)]
    for name, start, stop in zip(names, starts, stops, strict=True):
        ends = {end: _bar(prices.table.iloc[at], prices.step) for end, at in (("first", start), ("last", stop - 1))}
        tickers[str(name)] = {"rows": int(stop - start), **ends}
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
        "close": first.close,
        "sureness": first.sureness,
        "other_columns": list(first.others),
        "known_until": {ticker: date_text(days[-1]) for ticker, days in prices.known.days.items()},
        "tickers": tickers,
        "findings": [finding.to_dict() for finding in prices.findings],
    }


def _bar(row: pd.Series, step: str) -> dict[str, Any]:
    numbers = {name: _number(row[name]) for name in (*PRICES, VOLUME)}
    beside = {name.removeprefix(OWN): _number(row[name]) for name in map(str, row.index) if name.startswith(OWN)}
    return {"date": None if step == UNDATED else date_text(row[DATE]), **numbers, **({"own": beside} if beside else {})}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
