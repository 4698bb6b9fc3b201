"""The text files of a run: JSON and CSV as this package writes and reads them, floats to the last bit."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from stockrnn.errors import RunDamagedError, inert
from stockrnn.prices.steps import dates_of
from stockrnn.runs.vetting import hold
from stockrnn.storage import read_bytes, sha256
from stockrnn.types import DATE, FORECAST_TABLE, TICKER

FORECASTS = ("forecasts.csv", "forecasts.parquet")
"""The file that holds a run's forecast table: one of these."""
_ACTS = tuple("=+-@＝＋－＠")  # what a spreadsheet may take for the start of a formula
_EPOCHS = ("member", "epoch", "loss", "validation_loss")


def to_json(document: Any) -> bytes:
    """JSON as this package writes it: sorted as given, floats to the last bit, NaN refused."""
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def to_sealed(document: Any) -> bytes:
    """JSON below its own SHA-256, as the state of work under way is kept."""
    data = to_json(document)
    return sha256(data).encode() + b"\n" + data


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The document that `to_sealed` gave; None where nothing whole is."""
    if not path.is_file():
        return None
    digest, _, data = read_bytes(path).partition(b"\n")
    return dict(json.loads(data)) if sha256(data).encode() == digest else None


def to_csv(table: pd.DataFrame) -> bytes:
    """CSV as this package writes it: floats to the last bit, dates as ISO 8601 (with the time only where there is one).

    A text that a spreadsheet would take for a formula gets a leading quote (OWASP ASVS 5.0, 1.2.10), and control characters
    become �; numbers stay numbers.
    """
    written = table.copy()
    for name in table.select_dtypes("datetime"):
        midnight = (table[name].dropna() == table[name].dropna().dt.normalize()).all()
        written[name] = table[name].dt.strftime("%Y-%m-%d" if midnight else "%Y-%m-%dT%H:%M:%S")
    for name in table.select_dtypes(["object", "string"]):
        written[name] = table[name].map(_inert)
    return written.to_csv(index=False, lineterminator="\n").encode()


def read_forecasts(data: bytes | str) -> pd.DataFrame:
    """The forecast table in CSV of `to_csv`, to the last bit and without the quotes put before tickers. Raises RunDamagedError.

    `cutoff` and `date` hold dates, or whole numbers where the price file has none (`steps.numbered`).
    """
    table = _read(data, "forecasts.csv", "a forecast table", ("actual",))
    numbers = table.select_dtypes("number").columns
    whole = tuple(table.columns) == FORECAST_TABLE and {"step", *FORECAST_TABLE[5:]} <= set(numbers)
    hold(whole, Path("forecasts.csv"), "be a forecast table", "other columns")
    return table


def read_history(data: bytes | str) -> pd.DataFrame:
    """The epochs in history.csv, of a backtest those of every refit (column `fold`). Raises RunDamagedError."""
    table = _read(data, "history.csv", "a table of epochs", ("loss", "validation_loss", "learning_rate", "gradient_norm"))
    numbers = set(table.select_dtypes("number").columns)
    named = [name for name in (*_EPOCHS, "fold") if name != "fold" or name in table]
    hold(set(named) <= numbers, Path("history.csv"), "be a table of epochs", "other columns")
    return table


def _read(data: bytes | str, name: str, what: str, may_lack: tuple[str, ...], **options: Any) -> pd.DataFrame:
    """A table in CSV of `to_csv`; only the columns that may lack a value read an empty cell as none."""
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    options |= {"dtype": {TICKER: str, "model": str}, "keep_default_na": False, "na_values": dict.fromkeys(may_lack, "")}
    try:
        table: pd.DataFrame = pd.read_csv(stream, float_precision="round_trip", **options)
        table = table.assign(**{column: dates_of(table[column]) for column in ("cutoff", DATE) if column in table})
    except ValueError as error:
        raise RunDamagedError(f"{name} must be {what}. Received: {str(error)[:80]}. Train again.") from None
    return table.assign(**{column: table[column].map(_plain) for column in (TICKER, "model") if column in table})


def _inert(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = inert(value, keep="")
    return f"'{text}" if text.lstrip("'").startswith(_ACTS) else text


def _plain(text: str) -> str:
    return text[1:] if text.startswith("'") and _inert(text) != text else text
