"""Years, months and days that stand in columns of their own: one column of dates is made of them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stockrnn.prices.datewords import MONTH_OF
from stockrnn.prices.grid import Grid, kind_of, sample
from stockrnn.prices.words import normalise

_NAMES = {
    "year": "year, yr, yyyy, 년, 년도, 연도, 年, 年份, jahr, année, año, ano, anno, rok, yıl, год, tahun, năm, jaar, år",
    "month": "month, mon, mm, 월, 月, 月份, monat, mois, mes, mês, mese, miesiąc, měsíc, ay, месяц, bulan, tháng, maand, måned",
    "day": "day, dd, day of month, 일, 日, tag, jour, día, dia, giorno, dzień, den, gün, день, hari, ngày, dag",
    "hour": "hour, hh, 시, 時, 时, stunde, heure, hora, ora, saat, час",
    "minute": "minute, minutes, 분, 分",
}
_WORDS = {name: frozenset(map(normalise, words.split(", "))) for name, words in _NAMES.items()}


def join_date_parts(grid: Grid) -> Grid:
    """The table with a last column of dates where year, month and maybe day, hour and minute have columns and no other holds dates."""
    if any(kind_of(sample(column)) in ("date", "epoch") for column in grid.columns):
        return grid
    found = {name: i for name, words in _WORDS.items() for i, header in enumerate(grid.headers) if normalise(header) in words}
    parts = {name: _text(grid.columns[i]) for name, i in found.items()}
    if not {"year", "month"} <= parts.keys() or not all(_fits(name, sample(column)) for name, column in parts.items()):
        return grid
    date = pc.binary_join_element_wise(*(parts[name] for name in ("year", "month", "day") if name in parts), "-")
    if "hour" in parts:
        date = pc.binary_join_element_wise(date, parts["hour"], " ")
        date = pc.binary_join_element_wise(date, parts.get("minute", pa.scalar("00")), ":")
    header = " + ".join(grid.headers[i].strip() for i in found.values())
    evidence = "; ".join(filter(None, (grid.evidence, f"dates made of {header}")))
    return replace(grid, headers=(*grid.headers, header), columns=(*grid.columns, date), above=(), evidence=evidence)


def _text(column: Any) -> Any:
    """Cells of two figures at least, without what a program leaves of a float."""
    if not pa.types.is_string(column.type):
        column = pc.fill_null(pc.cast(pc.cast(column, pa.int64(), safe=False), pa.string()), "")
    column = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"\.0$|[년年월月일日]$", "")
    return pc.if_else(pc.equal(column, ""), "", pc.utf8_lpad(column, 2, "0"))


def _fits(name: str, cells: list[str]) -> bool:
    if name == "year":
        return bool(cells) and all(re.fullmatch(r"(?:1[789]|20|21)\d\d", cell) for cell in cells)
    least, most = {"month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59)}[name]
    named = name == "month" and all(cell.lower().strip(".") in MONTH_OF for cell in cells)
    return bool(cells) and (named or all(cell.isdigit() and least <= int(cell) <= most for cell in cells))
