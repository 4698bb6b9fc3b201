"""Cells to dates: every format that fits, and the evidence that decides between them.

A format is a strptime format as pandas reads it, or `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.prices.datewords import ENGLISH, MONTH_OF, WEEKDAY, tidy, western
from stockrnn.prices.quality import shown

EPOCHS = {"epoch_s": (10, "s"), "epoch_ms": (13, "ms"), "epoch_us": (16, "us"), "epoch_ns": (19, "ns")}
"""Name → digits of a date between 2001 and 2286, and the unit."""

ROC = "roc"
"""What `data.date_format` says for Taiwan's years, of which 1 is 1912."""

EXCEL, _EXCEL_DAYS = "excel_serial", (20_000, 80_000)
"""A spreadsheet's day number, and the days from 1954 to 2119."""

_LONGEST = 64
"""A longer cell is no date."""

_SEPARATORS = frozenset(";|\t")
"""What parts cells, and stands in no date."""

_TOKENS = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
_DATE = re.compile(
    r"^\d{4}\s?[-/년年]\s?\d{1,2}(?:\s?[-/.월月]|$)"  # 2020-01-31, 2020-01, 2020년 1월
    r"|^\d{4}\s?[.]\s?\d{1,2}\s?[.]\s?\d"  # 2020.01.31
    r"|^\d{4}-?M\d{1,2}$"  # 2020M01, the World Bank and Eurostat
    r"|^1\d{2}[/年]\d{1,2}[/月]\d{1,2}日?$"  # 107/01/29, Taiwan
    r"|^(?:[RHS]|令和|平成|昭和)\s?(?:\d{1,2}|元)[./年]\d{1,2}[./月]\d{1,2}日?$"  # R4.1.31, Japan
    r"|^\d{1,2}\s?([-/.])\s?\d{1,2}\s?\1\s?(?:\d{4}|\d{2})(?!\d)"  # 31/01/2020, 1.2.20
    r"|^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\s?\d{4}|\s?\d{6}|\s\d{1,2}:\d{2}(?::\d{2})?)?(?:\.0)?$"  # 20200131 0930
)


_YEAR = r"(?:19|20)\d\d"
_QUARTER = rf"(?i){_YEAR}[-/ .]{{0,2}}[qt]\s?[1-4]|(?:[qt]\s?[1-4]|[1-4]\s?[qt])[-/ .']{{0,2}}(?:\d\d|{_YEAR})"
_MONTH_OF_YEAR = r"(?:0?[1-9]|1[0-2])(?:19|20)\d\d"
"""012015: were it a day, every one of a column would be the 19th or the 20th."""


@dataclass(frozen=True)
class Dates:
    """Parsed dates of a column.

    Attributes:
        stamps: datetime64[ns], NaT where the cell is no date under the format.
        date_format: the format that was used.
        evidence: what decided, empty when only one format fits.
        zone: the time-zone suffix that was cut off, empty for none.
    """

    stamps: np.ndarray
    date_format: str
    evidence: str = ""
    zone: str = ""


def looks_like_date(cell: str) -> bool:
    """Whether a cell is a date as someone would write it; a number of seconds since 1970 is not judged here."""
    return (
        len(cell) <= _LONGEST
        and not _SEPARATORS & set(cell)
        and (bool(_DATE.match(WEEKDAY.sub("", cell)) or re.fullmatch(_QUARTER, cell)) or _has_month_name(cell))
    )


def looks_like_epoch(cell: str) -> bool:
    """Whether a cell counts seconds, milli-, micro- or nanoseconds to a date between 1990 and 2100."""
    return epoch_format([cell]) is not None


def _has_month_name(cell: str) -> bool:
    words = re.findall(r"[^\W\d_]+", cell)
    return len(words) <= 4 and any(word.lower() in MONTH_OF for word in words) and bool(re.search(r"\d", cell))


def epoch_format(cells: Sequence[str]) -> str | None:
    """The epoch unit that fits all cells."""
    digits = [cell.removesuffix(".0") for cell in cells]
    if not digits or not all(9 <= len(d) <= 19 and d.isascii() and d.isdigit() for d in digits):
        return None
    for name, (n, _) in EPOCHS.items():
        if all(631e6 <= int(d) / 10 ** (n - 10) < 4.1e9 for d in digits):
            return name
    return None


def counts_time(cells: Sequence[str]) -> bool:
    """Whether epochs under an unknown header are times: whole minutes, or in order; unlike a volume of as many digits."""
    name = epoch_format(cells)
    if name is None:
        return False
    counts = [int(cell.removesuffix(".0")) for cell in cells]
    minute = 60 * 10 ** (EPOCHS[name][0] - 10)
    return all(count % minute == 0 for count in counts) or counts in (sorted(counts), sorted(counts, reverse=True))


def _epoch_with_old(cells: Sequence[str]) -> str | None:
    """Seconds or milliseconds of a history that begins before 1990, with few digits or a minus: some cells must be epochs of later."""
    digits = [cell.removesuffix(".0") for cell in cells]
    late = [cell for cell in digits if epoch_format([cell])]
    if not late or not all(re.fullmatch(r"-?\d{1,13}", cell) for cell in digits):
        return None
    name = epoch_format(late)
    unit = 1000 if name == "epoch_ms" else 1
    return name if name in ("epoch_s", "epoch_ms") and min(map(int, digits)) / unit > -5e9 else None


def _refuse_two_calendars(cells: pd.Series, name: str) -> None:
    """Two-digit years that come first, all of a century's end, may be Taiwan's: both share weekdays, 11 years being 574 weeks."""
    years = pd.to_numeric(cells.str.extract(r"^(\d{2})\D", expand=False), errors="coerce")
    if name.startswith("%y") and len(years.dropna()) and years.min() >= 60:
        year = int(years.max())
        raise DataError(
            f"dates must show their century. Received: {shown(cells[years.idxmax()])}, of {1900 + year}, or {1911 + year} by Taiwan's "
            f"years. Set `data.date_format` to {name} or {ROC}."
        )


def formats_of(cell: str) -> list[str]:
    """Every strptime format that a tidy cell may have, the usual ones first."""
    if len(cell) > _LONGEST:
        return []
    if re.fullmatch(r"\d+(?:\.0)?", cell):
        digits = len(cell.removesuffix(".0"))
        plain = {4: ["%Y"], 8: ["%Y%m%d"], 6: ["%y%m%d", "%d%m%y", "%m%d%y", "%Y%m"], 12: ["%Y%m%d%H%M"], 14: ["%Y%m%d%H%M%S"]}
        return plain.get(digits, [])
    tokens = _TOKENS.findall(cell)
    if tokens and len(tokens[0]) == 6 and tokens[0].isdigit():
        tail = _time_format(tokens, 1)
        return [] if tail is None else [date + tail for date in ("%y%m%d", "%d%m%y", "%m%d%y")]
    parts = [i for i, token in enumerate(tokens) if token.isdigit() or token in ENGLISH]
    date = parts[: _date_parts(tokens, parts)]
    tail = _time_format(tokens, (date[-1] + 1) if date else 0)
    if tail is None or not date:
        return []
    found = []
    for codes in _date_codes([tokens[i] for i in date]):
        head = list(tokens[: date[-1] + 1])
        for i, code in zip(date, codes, strict=True):
            head[i] = code
        found.append("".join(head) + tail)
    return found


def _date_parts(tokens: list[str], parts: list[int]) -> int:
    """How many of the number parts belong to the date: 3, or 2 for a month without a day, or 1 for `20200131 0930`."""
    if not parts:
        return 0
    if len(tokens[parts[0]]) == 8 and tokens[parts[0]].isdigit():
        return 1
    if len(parts) >= 3 and ":" not in "".join(tokens[parts[1] : parts[2]]):
        return 3
    return 2 if len(parts) == 2 else 0


def _date_codes(parts: list[str]) -> list[tuple[str, ...]]:
    if len(parts) == 1:
        return [("%Y%m%d",)]
    named = [i for i, part in enumerate(parts) if part in ENGLISH]
    if len(parts) == 2:
        year_first = len(parts[0]) == 4 and parts[0].isdigit()
        month = "%b" if named else "%m"
        year = "%Y" if any(len(p) == 4 and p.isdigit() for p in parts) else "%y"
        return [(year, month)] if year_first or named == [1] else [(month, year)] if named or len(parts[1]) == 4 else []
    years = [i for i, part in enumerate(parts) if part.isdigit() and len(part) == 4]
    if len(named) > 1 or len(years) > 1:
        return []
    month = "%b" if named else "%m"
    orders: dict[tuple[int, ...], list[str]] = {(0,): ["Ymd"], (2,): ["mdY", "dmY"], (): ["dmy", "mdy", "ymd"]}
    choices = orders.get(tuple(years), [])
    codes = {"Y": "%Y", "y": "%y", "m": month, "d": "%d"}
    return [tuple(codes[c] for c in choice) for choice in choices if not named or choice.lower().index("m") == named[0]]


def _time_format(tokens: list[str], start: int) -> str | None:
    """The format of what follows the date; None when it is no time of day."""
    rest = "".join(tokens[start:])
    mark = re.match(r"[일日월月]?[\s.]*", rest)
    day, rest = (mark.group(), rest[mark.end() :]) if mark else ("", rest)
    if not rest:
        return day
    match = re.fullmatch(r"([T,:\-_]?\s*)(\d{1,2})(?:(:)(\d{2})(?:(:)(\d{2})(\.\d{1,9}|,\d{3})?)?)?(\s?-?)([AaPp][Mm])?", rest)
    if match:
        lead, _, minute, _, second, _, fraction, gap, half = match.groups()
        if not (minute or half):
            return None
        text = day + lead + ("%I" if half else "%H") + (":%M" if minute else "") + (":%S" if second else "")
        return text + (f"{fraction[0]}%f" if fraction else "") + (f"{gap}%p" if half else gap)
    packed = re.fullmatch(r"(T?)(\d{4}(?:\d\d)?)", rest)
    if packed is None or not (packed[1] or day.endswith(" ")):
        return None
    return day + packed[1] + ("%H%M" if len(packed[2]) == 4 else "%H%M%S")


def parse(cells: pd.Series, date_format: str) -> pd.Series:
    """Datetimes of tidy cells, NaT where one does not fit the format."""
    if date_format == EXCEL:
        days = pd.to_numeric(cells, errors="coerce")
        return _counted(days.where(days.between(*_EXCEL_DAYS)), "D", pd.Timestamp("1899-12-30"))
    if date_format in EPOCHS:
        return _counted(pd.to_numeric(cells.str.removesuffix(".0"), errors="coerce"), EPOCHS[date_format][1], pd.Timestamp(0))
    if "%" in date_format and re.fullmatch(r"(?:%[a-zA-Z])+", date_format):
        cells = cells.str.removesuffix(".0")
    try:
        return pd.to_datetime(cells, format=date_format, errors="coerce", exact=True).astype("datetime64[ns]")
    except (ValueError, OverflowError):
        return pd.Series(np.full(len(cells), np.datetime64("NaT"), dtype="datetime64[ns]"), index=cells.index)


def _counted(numbers: pd.Series, unit: str, origin: pd.Timestamp) -> pd.Series:
    """Stamps so many units after an origin, NaT where there is no number or it is out of range."""
    factor = int(np.timedelta64(1, unit) / np.timedelta64(1, "ns"))  # type: ignore[call-overload] # a unit of EPOCHS, or D
    inside = numbers.abs() <= np.iinfo(np.int64).max / factor
    whole = numbers.where(inside).astype("Float64").round().astype("Int64") * factor
    stamps = whole.fillna(np.iinfo(np.int64).min).to_numpy(np.int64).view("datetime64[ns]")
    return pd.Series(stamps + (origin.to_datetime64() - np.datetime64(0, "ns")), index=numbers.index)


def candidates(cells: pd.Series) -> Iterator[tuple[str, pd.Series]]:
    """Each format that fits at least half of the distinct tidy cells, with the dates it gives."""
    sample = [cell for cell in cells.iloc[:: max(1, len(cells) // 40)].tolist() if cell]
    seen: set[str] = set()
    epoch = epoch_format(sample) or _epoch_with_old(sample)
    if sample and all(re.fullmatch(r"\d{5}(?:\.0)?", cell) for cell in sample):
        epoch = EXCEL
    months = bool(sample) and all(re.fullmatch(_MONTH_OF_YEAR, cell) for cell in sample) and max(map(len, sample)) == 6
    for name in ["%m%Y"] if months else [*([epoch] if epoch else []), *(name for cell in sample for name in formats_of(cell))]:
        if name in seen:
            continue
        seen.add(name)
        stamps = parse(cells, name)
        if stamps.notna().mean() >= 0.5 and _plausible(stamps):
            yield name, stamps


def _plausible(stamps: pd.Series) -> bool:
    years = stamps.dropna().dt.year
    return bool(len(years)) and bool(years.min() >= 1780) and bool(years.max() <= 2100)


def choose(cells: pd.Series, codes: np.ndarray, series: Callable[[], np.ndarray], given: str = "auto") -> Dates:
    """Decide the date format by evidence and parse.

    Args:
        cells: the distinct cells.
        codes: for each row, which cell it holds. Shape (rows,).
        series: gives, for each row, a number of its ticker. Shape (rows,).
        given: a format that the user set, or `auto`.

    Raises:
        DataError: no format fits, or several do and nothing decides between them.
    """
    _refuse_quarters(cells)
    tidied, zone, calendar = tidy(cells)
    if given == ROC:
        tidied = western(tidied)
    elif given != "auto":
        stamps = parse(tidied, given.replace("%z", "").replace("%Z", "").replace("%B", "%b").rstrip())
        return Dates(_into_past(stamps, given).to_numpy()[codes], given, "as set", zone)
    found = [(name, _into_past(stamps, name)) for name, stamps in candidates(tidied)]
    if not found:
        sample = next((cell for cell in cells if cell), "")
        raise DataError(f"dates must be readable. Received: {shown(sample)}. Set `data.columns.date` or `data.date_format`.")
    found = _with_year(found, cells, codes, series)
    weight = np.bincount(codes, minlength=len(cells))
    fits = [int(weight[stamps.notna().to_numpy()].sum()) for _, stamps in found]
    best = [pair for pair, n in zip(found, fits, strict=True) if n == max(fits)]
    evidence = "" if len(best) == len(found) else f"only {best[0][0]} fits every row"
    if len(best) > 1:
        best, evidence = _decide(best, codes, series())
    name, stamps = best[0]
    _refuse_two_calendars(tidied, name)
    stamps, name = _with_variants(tidied, stamps, name)
    evidence = "Taiwan's years, as set" if given == ROC else "; ".join(filter(None, (evidence, calendar)))
    return Dates(stamps.to_numpy()[codes], name + ("%z" if zone else ""), evidence, zone)


def _refuse_quarters(cells: pd.Series) -> None:
    quarters = cells[cells.str.strip().str.fullmatch(_QUARTER)]
    if len(quarters) > len(cells) / 2:
        raise DataError(
            f"rows must be at most a month apart. Received: quarters, {shown(quarters.iloc[0])}. Give a daily, weekly or monthly file."
        )


def _with_year(
    found: list[tuple[str, pd.Series]], cells: pd.Series, codes: np.ndarray, series: Callable[[], np.ndarray]
) -> list[tuple[str, pd.Series]]:
    """The formats without those of months with years of two digits in no order: `Jan 03` is a day. Raises DataError where none is left."""
    kept = []
    for name, stamps in found:
        rows = stamps.to_numpy()[codes]
        held = ~np.isnat(rows)
        if "%y" not in name or "%d" in name or _in_order(rows[held], series()[held]):
            kept.append((name, stamps))
    if not kept:
        raise DataError(
            f"dates must have a year, and months of years must be in order. Received: {shown(cells[codes[0]])}. "
            "Write the year to each date, or set `data.date_format`."
        )
    return kept


def _into_past(stamps: pd.Series, name: str) -> pd.Series:
    """Two-digit years that would lie ahead of today belong to the century before."""
    if "%y" not in name:
        return stamps
    ahead = stamps > pd.Timestamp.now() + pd.Timedelta(days=366)
    return stamps.mask(ahead, stamps - pd.DateOffset(years=100)) if ahead.any() else stamps


def _with_variants(cells: pd.Series, stamps: pd.Series, name: str) -> tuple[pd.Series, str]:
    """Cells that write the same year-first date another way, such as with a time of day."""
    names = [name]
    if name.startswith("%Y") and stamps.isna().any():
        for cell in cells[stamps.isna()].iloc[:: max(1, int(stamps.isna().sum()) // 40)].tolist():
            for other in formats_of(cell):
                if other.startswith("%Y") and other not in names:
                    names.append(other)
                    stamps = stamps.fillna(parse(cells, other))
    return stamps, " | ".join(names)


def _decide(found: list[tuple[str, pd.Series]], codes: np.ndarray, series: np.ndarray) -> tuple[list[tuple[str, pd.Series]], str]:
    """Keep the formats that the order of the rows, the calendar and the weekdays speak for."""
    reasons = []
    for reason, holds in _EVIDENCE:
        kept = [pair for pair in found if holds(pair[1].to_numpy()[codes], series)]
        if 0 < len(kept) < len(found):
            found = kept
            reasons.append(reason)
        if len(found) == 1:
            return found, f"{found[0][0]} by {reasons[-1]}"
    names = ", ".join(shown(name) for name, _ in found[:5])
    raise DataError(f"dates must have one reading. Received: {names} all fit every row. Set `data.date_format` to one of them.")


def _in_order(stamps: np.ndarray, series: np.ndarray) -> bool:
    rows = np.argsort(series, kind="stable")
    steps = np.diff(stamps[rows].astype("int64"))[np.diff(series[rows]) == 0]
    return len(steps) > 0 and bool(max(np.mean(steps >= 0), np.mean(steps <= 0)) >= 0.98)


def _days(stamps: np.ndarray) -> np.ndarray:
    return np.unique(stamps[~np.isnat(stamps)].astype("datetime64[D]"))


def _without_leaps(stamps: np.ndarray, series: np.ndarray) -> bool:  # noqa: ARG001 (one signature)
    gaps = np.diff(_days(stamps)).astype(int)
    return len(gaps) > 0 and bool(gaps.max() <= 8 * np.median(gaps))


def _on_weekdays(stamps: np.ndarray, series: np.ndarray) -> bool:  # noqa: ARG001
    """No weekend, and nearly every day is the weekday after the one before: by chance only in one of many thousand files."""
    days = _days(stamps)
    return len(days) >= 4 and bool(np.is_busday(days).all()) and bool(np.mean(np.busday_count(days[:-1], days[1:]) == 1) >= 0.8)


def _not_ahead(stamps: np.ndarray, series: np.ndarray) -> bool:  # noqa: ARG001
    return bool(np.nanmax(stamps.astype("int64")) <= (pd.Timestamp.now() + pd.Timedelta(days=2)).value)


_EVIDENCE: tuple[tuple[str, Callable[[np.ndarray, np.ndarray], bool]], ...] = (
    ("the order of the rows", _in_order),
    ("the weekdays", _on_weekdays),
    ("the evenness of the steps", _without_leaps),
    ("no date ahead of today", _not_ahead),
)
