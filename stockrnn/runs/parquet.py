"""The forecast table of a large run as Parquet: a tenth of the time of CSV to write and read, and the same bytes each time.

No value may be missing and each text is kept once, so that a stranger's file never becomes a table much larger than itself.
Source of the format: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd

from stockrnn.errors import inert
from stockrnn.prices.steps import dates_of
from stockrnn.runs.files import FORECASTS, to_csv
from stockrnn.runs.vetting import hold
from stockrnn.types import DATE, FORECAST_TABLE, TICKER

MOST_CSV_ROWS = 100_000
"""Rows of a forecast table up to which it is written as CSV."""
_TEXTS, _DATES = (TICKER, "model"), ("cutoff", DATE)
ROWS_A_GROUP = 1 << 17
BYTES_A_ROW = 8 * (len(FORECAST_TABLE) - len(_TEXTS))
"""The least that a row takes."""
_WHAT = "be a forecast table as this package writes it"


def forecasts_file(table: pd.DataFrame) -> dict[str, bytes]:
    """The file of a run that holds its forecast table, by its name: CSV, which everything opens, or Parquet for a large one."""
    return {FORECASTS[0]: to_csv(table)} if len(table) <= MOST_CSV_ROWS else {FORECASTS[1]: to_parquet(table)}


def to_parquet(table: pd.DataFrame) -> bytes:
    """A forecast table, `steps.numbered` or not, as Parquet: floats to the last bit, dates to the millisecond; NaN or no date: unknown."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = {name: [inert(text, keep="") for text in table[name]] for name in _TEXTS}
    dated = table["cutoff"].dtype.kind == "M"
    dates = {name: table[name].to_numpy("datetime64[ms]" if dated else "int64") for name in _DATES}
    schema = _schema(dated)
    columns = [(texts | dates).get(field.name, table[field.name].to_numpy()) for field in schema]
    arrays = [pa.array(values, field.type, from_pandas=False) for values, field in zip(columns, schema, strict=True)]
    with io.BytesIO() as stream:
        data = pa.Table.from_arrays(arrays, schema=schema)
        pq.write_table(data, stream, compression="none", use_dictionary=list(_TEXTS), write_statistics=False, row_group_size=ROWS_A_GROUP)
        return stream.getvalue()


def read_parquet(data: bytes, path: Path) -> pd.DataFrame:
    """The forecast table that `to_parquet` wrote. Raises RunDamagedError: another schema, or more rows than its bytes can hold."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data), read_dictionary=list(_TEXTS), pre_buffer=False)
        rows = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        ours = any(file.schema_arrow.equals(_schema(dated, shared=True)) for dated in (True, False))
        hold(ours and rows * BYTES_A_ROW <= len(data), path, _WHAT, "another form")
        table = file.read(use_threads=False)
        table.validate(full=True)
        texts = {name: _spelled(table[name]) for name in _TEXTS}
        dates = {name: dates_of(table[name].to_numpy()) for name in _DATES}
        numbers = {name: table[name].to_numpy() for name in FORECAST_TABLE if name not in texts and name not in dates}
        return pd.DataFrame({name: (texts | dates | numbers)[name] for name in FORECAST_TABLE})
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        hold(False, path, _WHAT, str(error).splitlines()[0][:80])
        raise


def _spelled(column: Any) -> list[str]:
    """The texts of a column whose values are kept once."""
    texts: list[str] = []
    for chunk in column.chunks:
        words = chunk.dictionary.to_pylist()
        texts += [words[index] for index in chunk.indices.to_numpy()]
    return texts


def _schema(dated: bool, shared: bool = False) -> Any:
    """The columns in order, dates or whole numbers (`steps.numbered`) in those of `_DATES`; the texts with each value once."""
    import pyarrow as pa

    texts = pa.dictionary(pa.int32(), pa.string()) if shared else pa.string()
    kinds = dict.fromkeys(_TEXTS, texts) | dict.fromkeys(_DATES, pa.timestamp("ms") if dated else pa.int64()) | {"step": pa.int64()}
    return pa.schema([pa.field(name, kinds.get(name, pa.float64()), nullable=False) for name in FORECAST_TABLE])
