"""Reading a Kaggle-shaped panel (600,000 rows, 500 tickers) against pandas.read_csv: time and peak memory.

    python -m tests.benchmarks.bench_reading [--rows 600000] [--keep]

Each reading is a fresh process; both take turns. Linux; exit code 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from tests.benchmarks.figures import figure, keep, ratios, tell

MOST_TIME, MOST_MEMORY = 2.0, 3.0
_ONE = """
import re, sys, time
{imports}
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
start = time.perf_counter()
{call}
elapsed_s = time.perf_counter() - start
print(elapsed_s, peak(), before)
"""
READERS = {
    "pandas": ("import pandas as pd", "frame = pd.read_csv(sys.argv[1])"),
    "stockrnn": (
        "import pandas as pd, pyarrow.csv\nfrom stockrnn.dataconfig import DataConfig\nfrom stockrnn.prices.loading import load_prices",
        "prices = load_prices(DataConfig(path=sys.argv[1]))",
    ),
}


def write_panel(path: Path, rows: int, tickers: int = 500) -> None:
    """`date,open,high,low,close,volume,Name`, ticker by ticker, as the S&P 500 panel has it."""
    days = rows // tickers
    rng = np.random.default_rng(7)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.015, (tickers, days)), axis=1)).ravel()
    frame = pd.DataFrame(
        {
            "date": np.tile(pd.bdate_range("2013-02-08", periods=days).strftime("%Y-%m-%d"), tickers),
            "open": (close * 1.001).round(2),
            "high": (close * 1.01).round(4),
            "low": (close * 0.99).round(4),
            "close": close.round(2),
            "volume": rng.integers(100_000, 90_000_000, len(close)),
            "Name": np.repeat([f"T{i:03d}" for i in range(tickers)], days),
        }
    )
    frame.to_csv(path, index=False)


def measure(path: Path, repeats: int = 7) -> dict[str, list[list[float]]]:
    """Seconds, peak KiB and KiB after the imports of each reader, round by round."""
    runs: dict[str, list[list[float]]] = {name: [] for name in READERS}
    for _ in range(repeats):
        for name, (imports, call) in READERS.items():
            program = _ONE.format(imports=imports, call=call)
            done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
            runs[name].append([float(value) for value in done.stdout.split()])
    return runs


def main() -> int:
    """Measure both and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--keep", action="store_true", help="put the figures into results.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.csv"
        write_panel(path, options.rows)
        runs = measure(path)
    what = f"reading a panel of {options.rows:,} rows ÷ `pandas.read_csv`"
    found = []
    for case, place, goal in (("seconds", 0, MOST_TIME), ("memory", 1, MOST_MEMORY)):
        ours, theirs = ([run[place] for run in runs[name]] for name in ("stockrnn", "pandas"))
        unit = (1, "s") if case == "seconds" else (1024, "MiB")
        detail = ", ".join(f"{statistics.median(values) / unit[0]:.3g} {unit[1]}" for values in (ours, theirs))
        found.append(figure(what, case, ratios(ours, theirs), goal, detail=detail))
    good = tell(found)
    if options.keep:
        keep("reading", found)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
