"""Reads many mutated files in this process and reports: python -m tests.fuzz.read_mutated FIRST COUNT [FOLDER of real files].

Prints one JSON document: counts by outcome, the slowest read, peak memory. Anything but our own errors ends it with a traceback.
"""

from __future__ import annotations

import bz2
import collections
import io
import json
import re
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import pandas as pd

from stockrnn.dataconfig import DataConfig
from stockrnn.errors import DataError
from stockrnn.prices.dialects import DIALECTS
from stockrnn.prices.loading import inspect_document, load_prices
from tests.fuzz.mutate import mutated
from tests.writing import bars, write

WATCHED_BYTES = 40_000


def seeds(folder: Path | None) -> list[bytes]:
    """A short file of each dialect and of each kind of document, and the head of each real file where there are any."""
    found = [write(dialect, bars(40)).content for dialect in DIALECTS] + documents(bars(40))
    for path in sorted(folder.iterdir()) if folder and folder.is_dir() else []:
        if path.suffix in (".csv", ".txt") and path.stem != "MANIFEST":
            found.append(b"\n".join(path.read_bytes().split(b"\n")[:40]))
        elif path.suffix in (".xlsx", ".parquet") and path.stat().st_size < 60_000:
            found.append(path.read_bytes())
    return found


def documents(table: pd.DataFrame) -> list[bytes]:
    """The same rows in JSON of several forms, in a page, in parts of dates, packed, and in containers of columns."""
    dated = table.set_index("date")
    texts = [*(dated.to_json(orient=form) for form in ("split", "columns", "index", "table")), table.to_json(orient="records", lines=True)]
    page, text = table.to_html(index=False), table.to_csv(index=False)
    parts = table.assign(year=table.date.dt.year, month=table.date.dt.month, day=table.date.dt.day).drop(columns="date").to_csv(index=False)
    binary = [io.BytesIO() for _ in range(3)]
    table.to_feather(binary[0])
    table.to_orc(binary[1])
    with zipfile.ZipFile(binary[2], "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, text)
    return [*(text.encode() for text in (*texts, page, parts)), bz2.compress(text.encode()), *(out.getvalue() for out in binary)]


def peak_mb() -> float:
    """Peak resident memory since the last reset (Linux)."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main(first: int, count: int, folder: Path | None) -> dict[str, object]:
    """Read `count` mutations, numbered from `first`; seconds are of the processor, so that a busy machine is no hang."""
    files, outcomes, slowest = seeds(folder), collections.Counter[str](), (0.0, -1)
    peak = 0.0
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(temporary) / "prices.csv"
        for seed in range(first, first + count):
            path.write_bytes(mutated(files[seed % len(files)], seed))
            watched = path.stat().st_size > WATCHED_BYTES or seed % 50 == 0
            if watched:
                Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: what the mutation took does not count
            start = time.process_time()
            try:
                document = inspect_document(load_prices(DataConfig(path=str(path))), str(path))
                json.dumps(document, allow_nan=False)
                outcomes["read"] += 1
            except DataError as error:
                message = str(error)
                assert message.isprintable(), (seed, message)
                assert len(message) < 2000, (seed, message)
                outcomes["refused"] += 1
            except BaseException:
                print(f"seed {seed}", file=sys.stderr)
                raise
            slowest = max(slowest, (time.process_time() - start, seed))
            peak = max(peak, peak_mb()) if watched else peak
    return {**outcomes, "slowest_s": slowest[0], "slowest_seed": slowest[1], "peak_mb": peak}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)))
