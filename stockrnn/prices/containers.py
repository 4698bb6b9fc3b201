"""What a file is: text, a workbook or parquet, packed or not; and its cells."""

from __future__ import annotations

import importlib
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stockrnn.dataconfig import DataConfig
from stockrnn.errors import DataError, MissingExtraError
from stockrnn.prices.decoding import decode, is_open_document, is_workbook, unpack
from stockrnn.prices.grid import Grid, kind_of, read_rows, read_text, sample
from stockrnn.prices.quality import shown
from stockrnn.prices.words import meanings
from stockrnn.storage import read_bytes


def open_grids(path: Path, data: DataConfig) -> Iterator[tuple[Path, Grid, str]]:
    """The cells of a file, or of each one in an archive: its name, and the encoding of its text (`binary` for another container).

    Raises:
        DataError: damaged, empty, or of a kind that is not read.
        MissingExtraError: a workbook of a rarer kind, whose package is not installed.
        StorageError: it cannot be read.
    """
    for name, raw in unpack(read_bytes(path), path):
        yield name, *_grid(raw, name, data)


def _grid(raw: bytes, path: Path, data: DataConfig) -> tuple[Grid, str]:
    columnar = next((kind for mark, kind in _COLUMNAR.items() if raw.startswith(mark)), None)
    if columnar is not None:
        return _table(raw, columnar, path), "binary"
    if is_workbook(raw) or raw.startswith(b"\xd0\xcf\x11\xe0"):
        return _workbook(raw, path, data.sheet), "binary"
    text, encoding = decode(raw, path, data.encoding)
    if text.lstrip()[:1] in (b"<", b"{", b"["):
        from stockrnn.prices.documents import read_document

        document = read_document(text, path)
        if document is not None:
            return document, encoding
    return read_text(text, path, data.separator), encoding


_COLUMNAR = {b"PAR1": "parquet", b"ARROW1": "feather", b"FEA1": "feather", b"ORC": "orc"}
"""How a file of columns begins → the module of pyarrow that reads it."""


def _table(raw: bytes, kind: str, path: Path) -> Grid:
    module = importlib.import_module(f"pyarrow.{kind}")
    try:
        table = module.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} must be an intact {kind} file. Received: {shown(error)}. Write it anew.") from None
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
    rarer = is_open_document(raw) or b"xl/workbook.bin" in raw or not raw.startswith(b"PK")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names, rows = (_rarer_sheets if rarer else _sheets)(raw, sheet)
        except ImportError:
            raise MissingExtraError(
                f"{path} is a workbook of an older or rarer kind than xlsx. It needs the package python-calamine. Received: it is not "
                "installed. Install it with `pip install 'stockrnn[sheets]'`, or save the workbook as xlsx or CSV."
            ) from None
        except _FAULTS as error:
            raise DataError(f"{path} must be an intact workbook. Received: {shown(error)}. Save it anew.") from None
    if not names:
        raise DataError(f"{path} must be a common workbook. Received: one without sheets, as Strict Open XML is. Save it as xlsx or CSV.")
    if sheet is not None and sheet not in rows:
        raise DataError(f"`data.sheet` must be a sheet of {path}. Received: {sheet}. Sheets: {', '.join(names)}.")
    return _chosen_sheet(rows, path)


_FAULTS = (
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
"""What the readers of workbooks raise for a damaged one."""
_Sheets = tuple[Sequence[str], dict[str, Sequence[Sequence[Any]]]]
"""The names of all sheets, and the rows of those that are asked for."""


def _sheets(raw: bytes, sheet: str | None) -> _Sheets:
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
    return book.sheetnames, {name: list(book[name].iter_rows(values_only=True)) for name in book.sheetnames if sheet in (None, name)}


def _rarer_sheets(raw: bytes, sheet: str | None) -> _Sheets:
    """Those of xls, xlsb and ods."""
    calamine = importlib.import_module("python_calamine")
    try:
        book = calamine.load_workbook(io.BytesIO(raw))
        names = book.sheet_names
        return names, {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in names if sheet in (None, name)}
    except calamine.CalamineError as error:
        raise ValueError(str(error)) from error


def _chosen_sheet(rows: Mapping[str, Sequence[Sequence[Any]]], path: Path) -> Grid:
    """The first worksheet that is filled, or the only one with dates where a cover lies before it. Raises DataError."""
    filled = {name: part for name, part in rows.items() if sum(any(cell not in (None, "") for cell in row) for row in part) > 1}
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
