"""Tickers side by side, each beside dates of its own, as terminals give several at once: one is put below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stockrnn.prices.grid import Grid, kind_of, sample
from stockrnn.prices.words import meanings, normalise

_HEADER, _VALUE = "Ticker", "Value"


def stack_blocks(grid: Grid) -> Grid:
    """The table with a row for each ticker and date, where columns of dates of one name begin blocks of the same fields; else as it is.

    The ticker of a block stands above it, or is the name of its only field: `Date,AAPL,Date,MSFT`.
    """
    starts = [i for i, name in enumerate(grid.headers) if kind_of(sample(grid.columns[i])) == "date" and _names_date(name)]
    widths = {second - first for first, second in pairwise(starts)}
    if len(widths) != 1 or starts[0] > 0 or len({normalise(grid.headers[i]) for i in starts}) > 1:
        return grid
    width = widths.pop()
    blocks = [[i for i in range(start, min(start + width, len(grid.headers))) if grid.headers[i].strip()] for start in starts]
    fields = [[normalise(grid.headers[i]) for i in block[1:]] for block in blocks]
    names = _names(grid, blocks, fields)
    if not all(fields) or len({len(block) for block in blocks}) > 1 or len(set(names)) < len(names) or "" in names:
        return grid
    alone = len(set(map(tuple, fields))) > 1
    columns = [_below([grid.columns[block[k]] for block in blocks]) for k in range(len(blocks[0]))]
    tickers = pa.array(np.repeat(np.array(names, dtype=object), len(grid.rows)), pa.string())
    headers = [grid.headers[0], *([_VALUE] if alone else [grid.headers[i] for i in blocks[0][1:]])]
    stacked = replace(
        grid,
        headers=(_HEADER, *headers),
        columns=(tickers, *columns),
        rows=np.tile(grid.rows, len(blocks)),
        above=(),
        short=(),
        evidence="; ".join(filter(None, (grid.evidence, "each ticker has dates of its own"))),
    )
    return stacked.take(_is_given(columns[0]).to_numpy(zero_copy_only=False))


def _names_date(header: str) -> bool:
    return any(word.role == "date" for word in meanings(header))


def _names(grid: Grid, blocks: Sequence[Sequence[int]], fields: Sequence[Sequence[str]]) -> list[str]:
    """The ticker of each block; an empty text where nothing says it."""
    if grid.above:
        return [next((grid.above[i].strip() for i in range(block[0], block[-1] + 1) if grid.above[i].strip()), "") for block in blocks]
    single = all(len(block) == 2 for block in blocks) and not any(meanings(field[0]) for field in fields if field)
    return [grid.headers[block[1]].strip() if single else "" for block in blocks]


def _below(columns: Sequence[Any]) -> Any:
    """Columns put one below the other, as numbers where all are."""
    if any(pa.types.is_string(column.type) for column in columns):
        columns = [column if pa.types.is_string(column.type) else pc.fill_null(pc.cast(column, pa.string()), "") for column in columns]
    return pa.concat_arrays(columns)


def _is_given(column: Any) -> Any:
    """Which cells hold something: a workbook may give dates as numbers."""
    given = pc.not_equal(pc.utf8_trim_whitespace(column), "") if pa.types.is_string(column.type) else pc.is_finite(column)
    return pc.fill_null(given, False)
