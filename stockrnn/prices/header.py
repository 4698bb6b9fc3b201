"""Where the table of a file begins: which line names its columns, and what stands above."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stockrnn.errors import DataError
from stockrnn.prices.dates import looks_like_date
from stockrnn.prices.numerals import is_nothing, looks_like_number
from stockrnn.prices.quality import shown
from stockrnn.prices.stems import CODE
from stockrnn.prices.words import meanings

CODE_NUMBER = re.compile(r"\d{4,6}")
"""A number that names a stock."""
_LOOKED_AT = 40
"""Cells of a row in which the names of fields are looked for."""
_SAMPLE = 5
"""Rows that show what begins a row."""
_MANY = 5
"""More dates than these in a row are days across the columns."""


@dataclass(frozen=True)
class Head:
    """Where the table begins: the number of lines before the data, and what they say."""

    lines: int
    headers: tuple[str, ...]
    above: tuple[str, ...]
    preamble: tuple[str, ...]
    width: int
    headerless: bool


def is_typed(cell: str) -> bool:
    """Whether a cell is a number or a date."""
    return looks_like_number(cell) or looks_like_date(cell)


def _is_data(row: Sequence[str], width: int) -> bool:
    """Whether a row holds values: a number or a date, at most a third of words."""
    cells = [cell for cell in row if cell]
    if not cells or len(row) <= width // 2:
        return False
    typed = sum(is_typed(cell) for cell in cells)
    nothing = sum(is_nothing(cell) for cell in cells)
    named = len(cells) > 2 and sum(bool(meanings(cell)) for cell in cells) >= 3
    dated = len(cells) > 3 and any(map(looks_like_date, cells)) and any(map(looks_like_number, cells))
    return typed > 0 and ((typed + nothing) * 2 >= len(cells) or dated) and not named


def _names_codes(row: Sequence[str], above: Sequence[str]) -> bool:
    """Whether a row names columns by the numbers that exchanges of Asia give to stocks: `Date,005930,000660`.

    A row without a word for the dates is one at the top of the file, or below fields that repeat, a field for each stock.
    """
    first, codes, fields = row[0], [cell for cell in row[1:] if cell], [cell for cell in above if cell]
    worded = any(word.role in ("date", "ticker") for word in meanings(first)) and not is_typed(first)
    bare = not first and (not fields or len(set(fields)) < len(fields))
    return (worded or bare) and bool(codes) and all(CODE_NUMBER.fullmatch(code) for code in codes)


def _names_fields(row: Sequence[str]) -> bool:
    """Whether a row can be nothing but a header: it names a close, a date or an open, and more."""
    roles = [{word.role for word in meanings(cell)} for cell in row[:_LOOKED_AT] if cell and not is_typed(cell)]
    named = set().union(*roles)
    return sum(map(bool, roles)) > 3 and "close" in named and not named.isdisjoint(("date", "open"))


def _first_data(rows: Sequence[Sequence[str]], width: int) -> int | None:
    """The first row of values that more such rows follow, unlike a line of a preamble that holds a date; else the first one.

    No row of values stands above a header: `High,150` is of a summary that a terminal writes there. Where rows begin with dates, a row
    that begins with words is about the columns: `Publication date,08-Mar-2024`.
    """
    held = [(i, row) for i, row in enumerate(rows) if any(row)]
    above = [(), *(row for _, row in held)]
    values = [(i, _is_data(row, width) and not _names_codes(row, before)) for (i, row), before in zip(held, above, strict=False)]
    found = [k for k, (_, data) in enumerate(values) if data]
    header = next((k for k, (_, row) in enumerate(held) if _names_fields(row)), -1)
    found = [k for k in found if k > header] or found
    followed = [k for k in found if 2 * sum(data for _, data in values[k + 1 : k + 6]) >= len(values[k + 1 : k + 6])]
    starts = followed or found
    firsts = [row[0] for _, row in held]
    dated = next((k for k in starts if all(map(looks_like_date, firsts[k : k + _SAMPLE]))), None)
    if dated is not None and not any(re.search(r"\d", first) or is_nothing(first) for first in firsts[starts[0] : dated]):
        starts = [dated]
    return values[starts[0]][0] if starts else None


def find_head(rows: Sequence[Sequence[str]], path: Path) -> Head:
    """Find the header among the first rows. Raises DataError when no row holds values."""
    if _is_numbered(rows):
        width = len(rows[0])
        return Head(1, ("",) * width, (), (), width, headerless=True)
    for row in rows[:3]:
        if len(row) > _MANY and sum(map(looks_like_date, row)) > 0.8 * len(row):
            raise DataError(
                f"{path} must have its dates in one column. Received: dates across the columns, {shown(', '.join(row))}. Turn the table, "
                "as pandas' `T` or a spreadsheet's paste with `transpose` do."
            )
    widths = [len(row) for row in rows if len(row) > 1 or any(row)]
    width = Counter(widths).most_common(1)[0][0] if widths else 1
    first = _first_data(rows, width)
    if first is None:
        held = sum(any(row) for row in rows)
        what = "a header only" if held < 2 else f"no dates and numbers in its first {held} lines"
        raise DataError(f"{path} must hold rows of prices. Received: {what}, {shown(', '.join(rows[0]))}. Give another file.")
    width = max(width, len(rows[first]))
    above_data = rows[:first]
    block = [[_uncommented(row[0]), *row[1:]] if row else [] for row in above_data]
    scores = [sum(bool(meanings(cell)) for cell in (row[:1] if _holds_tickers(row) else row)) for row in block]
    likely = max(range(len(block)), key=lambda i: (scores[i], len(block[i]) == width), default=0)
    at = likely if scores and scores[likely] > 0 else _last_wide(above_data, width)
    if at is None:
        return Head(first, ("",) * width, (), tuple(_joined(row) for row in above_data if any(row)), width, headerless=True)
    names = _fit_names(block[at], rows[first : first + 20], path)
    width = len(names)
    others = [list(row) for i, row in enumerate(above_data) if i != at and any(row)]
    beside = [list(row) for i, row in enumerate(above_data) if abs(i - at) == 1 and any(row)]
    above = next((tuple(row + [""] * (width - len(row))) for row in beside if _is_second_header(row, names)), ())
    preamble = tuple(_joined(row) for row in others if tuple(row + [""] * (width - len(row))) != above and not _is_name_row(row, width))
    return Head(first, tuple(_spread(names, above)), above, preamble, len(names), headerless=False)


def _holds_tickers(row: Sequence[str]) -> bool:
    """Whether a line holds tickers, of which some may be words as well: `Ticker,AAPL,LOW,MO,MSFT`."""
    cells = [cell for cell in row[1:] if cell]
    return 2 * sum(bool(CODE.fullmatch(cell)) and not meanings(cell) for cell in cells) >= max(2, len(cells))


def _spread(names: Sequence[str], above: Sequence[str]) -> list[str]:
    """The fields, each of which may stand once for all its tickers below it (merged cells): `Close,,High,` over `A,B,A,B`."""
    found: list[str] = []
    for i, name in enumerate(names):
        found.append(name or (found[-1] if i > 1 and above[i : i + 1] not in ((), ("",)) else ""))
    return found


def _is_numbered(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line only counts the columns, as pandas writes what has no names: `,0,1,2`."""
    first = list(rows[0]) if len(rows) > 1 else []
    return len(first) > 1 and first == ["", *map(str, range(len(first) - 1))] and len(rows[1]) == len(first)


def _uncommented(cell: str) -> str:
    return re.sub(r"^[#%/!\s]+(?=\w)", "", cell) if cell[:1] in "#%/!" else cell


def _joined(row: Sequence[str]) -> str:
    return ",".join(row)


def _last_wide(block: Sequence[Sequence[str]], width: int) -> int | None:
    """A header of unknown words: the last line above the data that is as wide as the data."""
    wide = [i for i, row in enumerate(block) if len(row) >= max(2, width - 1) and not row[0].startswith("#")]
    return next((i for i in reversed(wide) if not _is_units(block[i])), wide[-1] if wide else None)


def _is_units(row: Sequence[str]) -> bool:
    """A line of units under the names: `,($/bbl),($/mt)`."""
    cells = [cell for cell in row[1:] if cell]
    return bool(cells) and all(re.fullmatch(r"\(.*\)|\[.*\]", cell) for cell in cells)


def _fit_names(names: list[str], data: Sequence[Sequence[str]], path: Path) -> list[str]:
    """Header cells for every column: row names have none (R), and lines may end in separators. Raises DataError."""
    used = max(max((j + 1 for j, cell in enumerate(row) if cell), default=0) for row in data)
    while len(names) > used and not names[-1]:
        names.pop()
    extra = used - len(names)
    if extra == 1 and _has_row_names(names, data[0]):
        return ["", *names]
    if extra > 0:
        raise DataError(
            f"{path}: rows must have as many cells as the header, {len(names)}. Received: {used} in the first rows, "
            f"{shown(','.join(data[0]))}. Add the names that the header lacks, or quote cells that hold the separator."
        )
    return names + [""] * (max(map(len, data)) - len(names))


def _has_row_names(names: Sequence[str], first: Sequence[str]) -> bool:
    """Whether the first cell of a row is its name: no header means a date, or the date stands one cell further."""
    dated = [i for i, cell in enumerate(first) if looks_like_date(cell)]
    named = [i for i, name in enumerate(names) if any(word.role == "date" for word in meanings(name))]
    return bool(dated) and ((not named and dated[0] == 0) or named[:1] == [dated[0] - 1])


def _is_second_header(row: Sequence[str], names: Sequence[str]) -> bool:
    """A line of tickers over or under the fields: as wide, or one cell for each repetition of the fields (merged cells)."""
    cells = [cell for cell in row[1:] if cell]
    if not cells or any(re.fullmatch(r"[+-]?\d*[.]\d+|#N/A.*", cell) for cell in cells):
        return False
    repeats = max(Counter(name for name in names if name).values(), default=0)
    merged = repeats > 1 and len(cells) in (repeats, repeats - bool(row[0]))
    return merged or (len(row) >= len(names) - 1 and len(cells) >= (len(names) - 1) // 2)


def _is_name_row(row: Sequence[str], width: int) -> bool:
    """Yfinance's third header line, `Date,,,`."""
    return len(row) <= width and not any(row[1:]) and bool(row[0]) and bool(meanings(row[0]))
