"""Two processes against one, interleaved in one run: members of an ensemble, and tickers with a network each.

    python -m tests.benchmarks.bench_workers [--rounds 5] [--tickers 100] [--ray] [--only members] [--keep]

Programs are compiled and the worker is started before the clock runs. Both sides must give the same bytes, or the program
stops. `--ray` adds a Ray cluster of two one-core nodes on this machine. Beside them stands what the machine itself gives: two
processes that only multiply matrices, against one. Exit code 1 where a median misses its goal.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import time

import pandas as pd

from stockrnn.config import Config
from stockrnn.configfile import load_config
from stockrnn.engines import ONE_THREAD
from stockrnn.places import Place, open_engine
from stockrnn.training.context import TrainingContext
from stockrnn.training.recurrent import network_forecaster, parts_of, save_weights
from tests.benchmarks.figures import Figure, figure, keep, ratios, tell
from tests.factories import garch_path, history, spans_of

WHAT = "two processes ÷ one, units per second"
GOALS = {"members": 1.6, "tickers": 1.8}
"""Least units per second of two processes over those of one."""
RAY_GOAL = 0.9
"""Least units per second of a Ray cluster of two one-core nodes over those of two processes."""
FIXED = ["train.epochs=15", "train.early_stopping.patience=15"]
JOBS = {
    "members": [*FIXED, "model.units=[50, 50]", "window.lookback=60", "train.ensemble=2"],
    "tickers": ["train.epochs=10", "train.early_stopping.patience=10", "train.ensemble=1", "data.panel=separate"],
}


def prices(job: str, tickers: int) -> pd.DataFrame:
    """Made prices: one long series, or many of 1,200 rows."""
    if job == "members":
        return garch_path(3500, 0)
    return pd.concat([garch_path(1200, number, f"T{number:03d}") for number in range(tickers)], ignore_index=True)


def once(config: Config, table: pd.DataFrame, engine) -> tuple[float, str]:
    """Seconds of a fit, and what it gave."""
    spans = spans_of(table)
    seen = history(table, spans)
    start = time.perf_counter()
    network = network_forecaster(config, TrainingContext(engine=engine)).fit(seen, spans)
    elapsed_s = time.perf_counter() - start
    return elapsed_s, hashlib.sha256(save_weights(parts_of(network).values())).hexdigest()


@contextlib.contextmanager
def cluster():
    """Two nodes of one core, and a head that does no work."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    with open_engine(place=Place("ray", nodes.address)) as engine:
        yield engine
    nodes.shutdown()


def compare(job: str, tickers: int, rounds: int, ray: bool) -> list[Figure]:
    """Measure one job."""
    config, table = load_config("lstm", JOBS[job]), prices(job, tickers)
    with contextlib.ExitStack() as stack:
        engines = {"one": stack.enter_context(open_engine(1)), "two": stack.enter_context(open_engine(2))}
        if ray:
            engines["ray"] = stack.enter_context(cluster())
        warm = prices(job, 8)
        for engine in (*engines.values(), *engines.values()):
            once(config, warm, engine)
        times: dict[str, list[float]] = {name: [] for name in engines}
        found = set()
        for _ in range(rounds):
            for name, engine in engines.items():
                elapsed_s, digest = once(config, table, engine)
                times[name].append(elapsed_s)
                found.add(digest)
    if len(found) > 1:
        raise SystemExit(f"{job}: the sides gave other weights")
    rows = [row(job, times["one"], times["two"], GOALS[job])]
    return [*rows, row(f"{job}, Ray's two one-core nodes ÷ two processes", times["two"], times["ray"], RAY_GOAL)] if ray else rows


def row(case: str, before: list[float], after: list[float], goal: float) -> Figure:
    """The ratio of units per second."""
    detail = f"{statistics.median(before):.2f} s, {statistics.median(after):.2f} s"
    return figure(WHAT, case, ratios(before, after), goal, at_least=True, detail=detail)


MULTIPLY = """
import sys, time
import numpy as np
start, matrix, count = float(sys.argv[1]), np.ones((256, 256), np.float32), 0
while time.time() < start:
    pass
while time.time() < start + 3:
    matrix @ matrix
    count += 1
print(count)
"""


def multiply(processes: int) -> int:
    """Matrix products that so many processes of one thread make in 3 s."""
    command = [sys.executable, "-c", MULTIPLY, str(time.time() + 2)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | ONE_THREAD) for _ in range(processes)]
    return sum(int(process.communicate()[0]) for process in started)


def ceiling(rounds: int) -> Figure:
    """What two cores of this machine give over one."""
    return figure(WHAT, "matrix products alone", [multiply(2) / multiply(1) for _ in range(rounds)])


def main() -> int:
    """Measure both jobs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tickers", type=int, default=100)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--only", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--keep", action="store_true", help="put the figures into results.json")
    options = parser.parse_args()
    found = [ceiling(options.rounds)]
    for job in options.only:
        found += compare(job, options.tickers, options.rounds, options.ray)
    good = tell(found)
    if options.keep:
        keep("workers", found)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
