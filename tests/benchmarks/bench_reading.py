"""Reading a Kaggle-shaped panel (600,000 rows, 500 tickers) against pandas.read_csv: time and peak memory.

Run: python tests/benchmarks/bench_reading.py [--rows 600000]. Prints one JSON document; exit code 1 beyond 2.0 x time or 3 x memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

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


def measure(path: Path, repeats: int = 7) -> dict[str, dict[str, float]]:
    """Least seconds and peak memory (MB, of the whole process; Linux) of each reader in fresh processes, taking turns."""
    runs: dict[str, list[list[float]]] = {name: [] for name in READERS}
    for _ in range(repeats):
        for name, (imports, call) in READERS.items():
            program = _ONE.format(imports=imports, call=call)
            done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
            runs[name].append([float(value) for value in done.stdout.split()])
    return {
        name: {
            "elapsed_s": min(run[0] for run in each),
            "peak_mb": max(run[1] for run in each) / 1024,
            "imports_mb": max(run[2] for run in each) / 1024,
        }
        for name, each in runs.items()
    }


def main() -> int:
    """Measure both and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=600_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.csv"
        start = time.perf_counter()
        write_panel(path, rows)
        made_s = time.perf_counter() - start
        found = measure(path)
    time_ratio = found["stockrnn"]["elapsed_s"] / found["pandas"]["elapsed_s"]
    memory_ratio = found["stockrnn"]["peak_mb"] / found["pandas"]["peak_mb"]
    above_imports = {name: run["peak_mb"] - run["imports_mb"] for name, run in found.items()}
    print(
        json.dumps(
            {
                "rows": rows,
                "made_s": made_s,
                **found,
                "time_ratio": time_ratio,
                "memory_ratio": memory_ratio,
                "above_imports_mb": above_imports,
            },
            indent=1,
        )
    )
    return int(time_ratio > MOST_TIME or memory_ratio > MOST_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
