"""The user's own columns of a price file: where they stand, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stockrnn.dataconfig import Asked
from stockrnn.errors import DataError
from stockrnn.prices.grid import Grid
from stockrnn.prices.layout import Layout, position
from stockrnn.prices.numerals import to_numbers
from stockrnn.prices.quality import shown

_TRUTHS = {"true": "1", "false": "0"}


def find_own(grid: Grid, asked: Asked) -> dict[str, int]:
    """The number of each column that was asked for. Raises DataError where the file has none of that name."""
    return {name: position(grid, f"features.{'columns' if name in asked.past else 'known_ahead'}", name) for name in asked.own}


def read_own(grid: Grid, columns: Mapping[str, int], layout: Layout, decimal: str, path: str) -> dict[str, np.ndarray]:
    """The numbers of the columns, float64 of shape (rows,), NaN where a cell is empty; true is 1 and false is 0.

    Raises:
        DataError: a cell that is neither, or a file with a column for each ticker.
    """
    if columns and len(layout.series) > 1:
        raise DataError(
            f"a column of the user's own needs a file with a row for each ticker and date. Received: columns of {len(layout.series)} "
            f"tickers beside {shown(next(iter(columns)))}. Write one table a ticker, or leave the name out of `features`."
        )
    found = {}
    for name, number in columns.items():
        found[name], wrong = to_numbers(_truths(grid.columns[number]), decimal)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            cell = shown(grid.columns[number][row].as_py())
            raise DataError(
                f"{path} row {grid.rows[row]}, column {shown(name)}: must be a number. Received: {cell}. Mend or empty the cell."
            )
    return found


def _truths(column: Any) -> Any:
    """A column of words for true and false as one of numbers; any other one as it is."""
    if not pa.types.is_string(column.type):
        return column
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    if not set(pc.unique(words).to_pylist()) - {""} <= set(_TRUTHS):
        return column
    return pa.array([_TRUTHS.get(word, "") for word in words.to_pylist()], pa.string())
