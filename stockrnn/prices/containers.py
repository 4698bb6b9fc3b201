"""What a file is: text, a workbook or parquet, packed or not; and its cells."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stockrnn.dataconfig import DataConfig
from stockrnn.errors import DataError
from stockrnn.prices.decoding import decode, is_workbook, unpack
from stockrnn.prices.grid import Grid, kind_of, read_rows, read_text, sample
from stockrnn.prices.quality import shown
from stockrnn.prices.words import meanings
from stockrnn.storage import read_bytes


def open_grid(path: Path, data: DataConfig) -> tuple[Grid, str]:
    """The cells of a file, and the encoding of its text (`binary` for a workbook or parquet).

    Raises:
        DataError: damaged, empty, or of a kind that is not read.
        StorageError: it cannot be read.
    """
    raw = unpack(read_bytes(path), path)
    if raw.startswith(b"PAR1"):
        return _parquet(raw, path), "binary"
    if is_workbook(raw):
        return _workbook(raw, path, data.sheet), "binary"
    if raw.startswith(b"\xd0\xcf\x11\xe0"):
        raise DataError(f"{path} must be xlsx, not the old xls. Received: xls. Save it as xlsx or CSV.")
    text, encoding = decode(raw, path, data.encoding)
    return read_text(text, path, data.separator), encoding


def _parquet(raw: bytes, path: Path) -> Grid:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} must be an intact parquet file. Received: {shown(error)}. Write it anew.") from None
    columns = [_plain_column(table.column(i).combine_chunks()) for i in range(table.num_columns)]
    names = ["" if re.fullmatch(r"__index_level_\d+__", name) else name for name in table.column_names]
    kept = [i for i, column in enumerate(columns) if column is not None]
    if not kept or table.num_rows == 0:
        raise DataError(f"{path} must hold rows of prices. Received: an empty table. Give another file.")
    return Grid(tuple(names[i] for i in kept), tuple(columns[i] for i in kept), np.arange(1, table.num_rows + 1))


def _plain_column(column: Any) -> Any:
    """Text, numbers, or dates as text; None for what is none of these."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain_column(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        local = column if kind.tz is None else pc.local_timestamp(column)
        return pc.fill_null(pc.strftime(pc.cast(local, pa.timestamp("s"), safe=False), "%Y-%m-%d %H:%M:%S"), "")
    if pa.types.is_date(kind):
        return pc.fill_null(pc.cast(pc.cast(column, pa.date32()), pa.string()), "")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.fill_null(pc.cast(column, pa.string()), "")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pc.cast(column, pa.float64(), safe=False)
    return None


def _workbook(raw: bytes, path: Path, sheet: str | None) -> Grid:
    import openpyxl

    faults = (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
        OSError,
        EOFError,
        SyntaxError,
        RuntimeError,
        NotImplementedError,
        zlib.error,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            book = openpyxl.load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
            rows = {name: list(book[name].iter_rows(values_only=True)) for name in book.sheetnames if sheet in (None, name)}
        except faults as error:
            raise DataError(f"{path} must be an intact workbook. Received: {shown(error)}. Save it anew.") from None
    if not book.sheetnames:
        raise DataError(f"{path} must be a common workbook. Received: one without sheets, as Strict Open XML is. Save it as xlsx or CSV.")
    if sheet is not None and sheet not in rows:
        raise DataError(f"`data.sheet` must be a sheet of {path}. Received: {sheet}. Sheets: {', '.join(book.sheetnames)}.")
    return _chosen_sheet(rows, path)


def _chosen_sheet(rows: Mapping[str, Sequence[Sequence[Any]]], path: Path) -> Grid:
    """The first worksheet that is filled, or the only one with dates where a cover lies before it. Raises DataError."""
    filled = {name: part for name, part in rows.items() if sum(any(cell is not None for cell in row) for row in part) > 1}
    first = next(iter(filled or rows), "")
    if len(filled) < 2:
        return replace(read_rows(rows.get(first, []), path), title=first)
    grid = _with_prices(filled[first], path)
    if grid is not None:
        return replace(grid, title=first, evidence=f"sheet {shown(first)}, the first of {len(filled)}")
    others = {name: grid for name, part in filled.items() if name != first and (grid := _with_prices(part, path))}
    if len(others) > 1:
        names = shown(", ".join(others), 160)
        raise DataError(f"{path} must have its prices in its first sheet or in only one. Received: several, {names}. Set `data.sheet`.")
    for name, grid in others.items():
        return replace(grid, title=name, evidence=f"sheet {shown(name)}, the only one with dates")
    return read_rows(filled[first], path)


def _with_prices(rows: Sequence[Sequence[Any]], path: Path) -> Grid | None:
    """The table of a worksheet that has dates and numbers, or a close; else None."""
    try:
        grid = read_rows(rows, path)
    except DataError:
        return None
    kinds = [kind_of(sample(column)) for column in grid.columns]
    close = any(word.role == "close" for header in grid.headers for word in meanings(header))
    return grid if (close or "date" in kinds) and "number" in kinds else None
