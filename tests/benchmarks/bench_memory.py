"""Peak memory and time against the number of rows: of training alone, and of the whole `stockrnn train`.

    python -m tests.benchmarks.bench_memory [--only training command] [--epochs 2] [--keep]

Made series of 2,500 sessions and 5 features, lookback 60. Each size is a process of its own: training is fed windows over
the float32 series, and its memory counts from after TensorFlow was imported, the series included; the command's is that of
its process. Programs are compiled, and in one case kept from an earlier process.
The exponents are slopes of log cost over log rows, of training's medians of three rounds; the steepest step counts. Linux; exit
code 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from stockrnn.models.programs import OFF, VARIABLE
from tests.benchmarks.bench_reading import write_panel
from tests.benchmarks.figures import Figure, figure, keep, tell

SESSIONS, FEATURES, LOOKBACK = 2500, 5, 60
TICKERS = (1, 4, 16, 64)
MANY, ROUNDS = 500, 3
MIB = 2**20
COST = "cost of training against rows, 1 × to 64 ×: steepest exponent"
SETTINGS = ["train.epochs=1", "train.ensemble=1", "train.batch_size=256", f"window.lookback={LOOKBACK}", "data.panel=together"]


def resident(field: str) -> float:
    """VmRSS or VmHWM of this process, MiB."""
    return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def serve(tickers: int, epochs: int) -> None:
    """Train one network on so many tickers; print seconds of the last epoch, MiB above the import at the peak, MiB of the series."""
    from stockrnn.config import Config, ModelConfig
    from stockrnn.features.windows import Windows, window_ends, with_room
    from stockrnn.models.networks import build_network
    from stockrnn.training.loop import train_network

    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before = resident("VmRSS")
    rows = tickers * SESSIONS
    rng = np.random.default_rng(0)
    series, targets = with_room((rows, FEATURES), 0.0), with_room((rows, 1), 0.0)  # as the pipeline makes them
    for array in (series, targets):
        rng.standard_normal(dtype=np.float32, out=array)
    ends = window_ends(np.ones(rows, bool), np.repeat(np.arange(tickers), SESSIONS), LOOKBACK)
    windows = Windows(series, targets, ends, LOOKBACK)
    late = ends % SESSIONS >= SESSIONS * 85 // 100
    model = ModelConfig(units=(32,))
    config = Config().train.model_copy(update={"epochs": epochs, "batch_size": 256})
    network = build_network(features=FEATURES, lookback=LOOKBACK, horizon=1, model=model, seed=0)
    train, validation = windows.pick(~late), windows.pick(late)
    history = train_network(network, train, validation, train_config=config, head=model.head, seed=0, member=0)
    print(json.dumps([history.epochs[-1].seconds, resident("VmHWM") - before, series.nbytes / MIB]))


def training(tickers: int, epochs: int, cache: Path | str = OFF) -> tuple[float, float, float]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_memory", "--serve", str(tickers), "--epochs", str(epochs)]
    done = subprocess.run(command, env={**os.environ, VARIABLE: str(cache)}, capture_output=True, text=True, check=True)
    seconds, peak, series = json.loads(done.stdout)
    said = "" if cache == OFF else ", compiled before"
    print(
        f"training {tickers:4} tickers{said}: {seconds:7.2f} s an epoch, {peak:7.1f} MiB above the import, series {series:.1f} MiB",
        flush=True,
    )
    return seconds, peak, series


def command(tickers: int) -> tuple[float, float]:
    """Seconds and peak MiB of `stockrnn train` on a panel, worker processes included in neither."""
    with tempfile.TemporaryDirectory() as folder:
        panel = Path(folder) / "panel.csv"
        write_panel(panel, tickers * SESSIONS, tickers)
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        words = [
            str(Path(sys.executable).with_name("stockrnn")),
            "train",
            "--data",
            str(panel),
            *settings,
            "--run",
            str(Path(folder) / "run"),
        ]
        start = time.perf_counter()
        process = subprocess.Popen(words, env={**os.environ, VARIABLE: OFF}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
        seconds, peak = time.perf_counter() - start, usage.ru_maxrss / 1024
    print(f"command  {tickers:4} tickers: {seconds:7.2f} s, {peak:7.1f} MiB", flush=True)
    return seconds, peak


def steepest(rows: tuple[int, ...], costs: list[float]) -> float:
    """The largest slope of log cost over log rows between neighbouring sizes."""
    points = list(zip(rows, costs, strict=True))
    return max(math.log(after / before) / math.log(more / less) for (less, before), (more, after) in itertools.pairwise(points))


def bench_training(epochs: int) -> list[Figure]:
    rounds = [[training(tickers, epochs) for tickers in TICKERS] for _ in range(ROUNDS)]
    sizes = [tuple(map(statistics.median, zip(*each, strict=True))) for each in zip(*rounds, strict=True)]
    _, peak, series = training(MANY, 1)
    with tempfile.TemporaryDirectory() as cache:
        kept = [training(MANY, 1, cache) for _ in range(2)][-1][1]
    slope = (peak - sizes[0][1]) / (series - sizes[0][2])
    memory = "peak memory to train on 500 × 2,500 rows above the TensorFlow import ÷ the float32 series"
    detail = f"{peak:.0f} MiB for a series of {series:.0f} MiB; with one ticker {sizes[0][1]:.0f} MiB for {sizes[0][2]:.2f}"
    return [
        figure(memory, "whole", [peak / series], 4.0, detail=detail),
        figure(memory, "whole, compiled before", [kept / series], 4.0, detail=f"{kept:.0f} MiB"),
        figure(memory, "each row more", [slope], 4.0, detail=detail),
        figure(COST, "seconds", [steepest(TICKERS, [each[0] for each in sizes])], 1.05),
        figure(COST, "memory", [steepest(TICKERS, [each[1] for each in sizes])], 1.05),
    ]


def bench_command(_: int) -> list[Figure]:
    sizes = [command(tickers) for tickers in TICKERS]
    detail = "; ".join(f"{tickers} tickers {seconds:.1f} s {peak:.0f} MiB" for tickers, (seconds, peak) in zip(TICKERS, sizes, strict=True))
    names = enumerate(("seconds of the whole command", "memory of the whole command"))
    return [figure(COST, name, [steepest(TICKERS, [each[k] for each in sizes])], 1.05, detail=detail) for k, name in names]


PARTS = {"training": bench_training, "command": bench_command}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=int, metavar="TICKERS")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--keep", action="store_true", help="put the figures into results.json")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.epochs)
        return 0
    good = True
    for name in options.only:
        found = PARTS[name](options.epochs)
        good = tell(found) and good
        if options.keep:
            keep("memory", found)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
