"""Which mark parts the decimals of a table: by what its numbers prove, else by the language of its header."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stockrnn.errors import DataError
from stockrnn.prices.grid import Grid
from stockrnn.prices.layout import Layout
from stockrnn.prices.numerals import as_plain, decimal_mark
from stockrnn.prices.words import COMMA_LANGUAGES

_MARKS = {"point": ".", "comma": ","}


@dataclass(frozen=True)
class Decimals:
    """How the numbers of a table are written.

    Attributes:
        mark: `.` or `,`.
        signed: whether pluses are written, too, so that a minus may be no part of a price.
        evidence: what decided, where the numbers did not.
    """

    mark: str
    signed: bool = False
    evidence: str = ""


def find_decimals(grid: Grid, layout: Layout, given: str) -> tuple[Decimals, Grid]:
    """How numbers are written, and the table, whose columns are numbers already where programs wrote them plainly.

    Args:
        grid: the table.
        layout: which of its columns are read.
        given: `data.decimal`.

    Raises:
        DataError: both marks are used as one, or nothing decides between them.
    """
    if given != "auto":
        return Decimals(_MARKS[given]), grid
    numbers = {i for _, roles in layout.series for i in roles.values()}
    used = [grid.columns[i] for i in numbers]
    if layout.language not in COMMA_LANGUAGES:
        plain = {i: as_plain(grid.columns[i]) for i in numbers}
        if all(column is not None for column in plain.values()):
            signed = any((pc.min(column).as_py() or 0) < 0 for column in plain.values()) and _has_plus(used)
            return Decimals(".", signed), replace(grid, columns=tuple(plain.get(i, column) for i, column in enumerate(grid.columns)))
    mark = decimal_mark(used)
    if mark.endswith("?"):
        others = [c for i, c in enumerate(grid.columns) if i not in (layout.date, layout.time, layout.ticker)]
        wider = decimal_mark(others)
        mark = wider if wider in (".", ",") else mark
    if mark == "both":
        raise DataError("numbers must have one decimal mark. Received: both `.` and `,` used as one. Set `data.decimal` to point or comma.")
    if mark.endswith("?"):
        evidence = _thousands(mark[0], layout.language, grid.separator)
        return Decimals(".", _has_plus(used), evidence), grid
    return Decimals("." if mark == "none" else mark, _has_plus(used)), grid


def _has_plus(columns: Collection[Any]) -> bool:
    return any(bool(pc.any(pc.starts_with(column, "+")).as_py()) for column in columns if pa.types.is_string(column.type))


def _thousands(mark: str, language: str, separator: str | None) -> str:
    """What to tell where every mark is followed by three digits, and the header's language says which it is. Raises DataError."""
    if mark == "." and language not in COMMA_LANGUAGES:
        return ""
    if mark == "," and language not in COMMA_LANGUAGES and (separator == "," or language != "en"):
        return "commas taken for thousands"
    raise DataError(
        f"numbers must have one reading. Received: every `{mark}` is followed by three digits. Set `data.decimal` to point or comma."
    )
