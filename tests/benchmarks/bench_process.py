"""Whole processes beside those of peers, from start to end, interleaved in one run: train, walk forward, predict, answer.

    python -m tests.benchmarks.bench_process [--peers PATH_OF_THE_PEERS_PYTHON] [--only train walk predict start] [--rounds 5] [--keep]

Both sides get the shipped prices and do the same work: the same windows, size of network, batches and updates, forecasts
of the same sessions. It is checked, and the program stops where it is not so. Trainings are timed with an empty folder of
programs, as a first command finds it, and with the compiled programs of an earlier one. Peers read a table whose features were made
for them before the clock runs; ours reads the price file, and scores, exports and draws besides. Exit code 1 where a goal
is missed.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.configfile import load_config
from stockrnn.evaluation.folds import walk_forward
from stockrnn.evaluation.metrics import crps
from stockrnn.features.pipeline import fit_pipeline
from stockrnn.models.programs import OFF, VARIABLE
from stockrnn.training.recurrent import split_windows
from stockrnn.types import DATE, QUANTILE_COLUMNS, QUANTILES
from tests.benchmarks.figures import Figure, figure, keep, ratios, take_turns, tell
from tests.benchmarks.inputs import Inputs, inputs_of

HERE = Path(__file__).parent
OURS = str(Path(sys.executable).with_name("stockrnn"))
TRAIN = ["train.epochs=50", "train.early_stopping.patience=50"]
WALK = ["train.ensemble=1", "split.validation=0.02"]
WALK_EPOCHS = (10, 50)
"""Epochs of each refit: with few, what a command takes besides weighs most."""
FOLDS = 20
INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {VARIABLE: OFF}
"""The environment of a user: the bytecode of an installed package lies beside it, and is not compiled at each start."""
KEPT = "compiled before"
CRPS_TOLERANCE, SIZE_TOLERANCE = 0.05, 0.06
"""Largest relative differences of the test span's CRPS, and of windows, updates and parameters (PyTorch's cells have two biases)."""


@dataclass(frozen=True)
class Place:
    """Where it happens: a folder for all files, the peers' Python, and the number of rounds."""

    folder: Path
    peers: Path | None
    rounds: int

    def peer(self, script: str, command: str, job: dict[str, Any]) -> list[str]:
        """The command line of a peer's process."""
        path = self.folder / f"{script}-{command}.json"
        path.write_text(json.dumps({**job, "table": str(self.folder / "table.csv"), "quantiles": list(QUANTILES)}))
        return [str(self.peers), "-W", "ignore", str(HERE / f"peer_{script}.py"), command, str(path)]


def timed(*commands: Sequence[str], folder: Path, said: list[str] | None = None, cache: Path | str = OFF) -> float:
    """Seconds that processes take, one after the other; what they print goes to `said`, compiled programs are kept in `cache`."""
    start = time.perf_counter()
    for command in commands:
        done = subprocess.run(command, cwd=folder, env=INSTALLED | {VARIABLE: str(cache)}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        if said is not None:
            said.append(done.stdout)
    return time.perf_counter() - start


def same(what: str, ours: float, theirs: float, tolerance: float) -> str:
    """Say that two numbers are as close as they must be; ends the program where they are not."""
    if abs(ours - theirs) > tolerance * abs(ours):
        raise SystemExit(f"not the same work: {what} {ours:g} here, {theirs:g} there")
    return f"{what} {ours:g}/{theirs:g}"


def settings(overrides: Sequence[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def shape(config: Config) -> dict[str, Any]:
    """What a peer needs to know of the network."""
    model, train = config.model, config.train
    plain = {"cell": model.cell, "units": model.units[0], "lookback": config.window.lookback, "batch": train.batch_size}
    return {**plain, "epochs": train.epochs, "learning_rate": train.learning_rate}


def parameters(run: Path) -> int:
    from safetensors.numpy import load_file

    return sum(value.size for value in load_file(run / "weights.safetensors").values())


def bench_train(place: Place) -> list[Figure]:
    """From process start to the forecasts of the test span and of the next session: one network, and three as shipped."""
    return [each for networks, case in ((3, "as shipped, 3 networks"), (1, "1 network")) for each in _train(place, networks, case)]


def _train(place: Place, networks: int, case: str) -> list[Figure]:
    overrides = [*TRAIN, f"train.ensemble={networks}"]
    config, inputs = load_config("lstm", overrides), _inputs(place, overrides)
    each = math.ceil((int((inputs.table["span"] == 0).sum()) - config.window.lookback) / config.train.batch_size)
    job = {**shape(config), "updates": config.train.epochs * each, "decoder_layers": 1, "threads": 2, "seeds": list(range(networks))}
    job |= {name: str(place.folder / f"peer-{name}") for name in ("model", "forecasts", "next")}
    said: list[str] = []
    numbers = iter(range(10**6))

    def ours(cache: Path | str) -> float:
        run = str(place.folder / f"run{networks}-{next(numbers)}")
        commands = [OURS, "train", *settings(overrides), "--run", run, "--json"], [OURS, "predict", run, "--json"]
        return timed(*commands, folder=place.folder, cache=cache)

    theirs = place.peer("neuralforecast", "train", job)
    seconds = _beside(ours, lambda: timed(theirs, folder=place.folder, said=said), place)
    did, run = json.loads(said[-1].splitlines()[-1]), place.folder / f"run{networks}-0"
    windows, made = json.loads((run / "manifest.json").read_text())["windows"], pd.read_csv(run / "forecasts.csv")
    updates = networks * config.train.epochs * math.ceil(windows["train"] / config.train.batch_size)
    peer = inputs.forecast_table("peer", pd.read_csv(job["forecasts"]))
    checks = [
        same("updates", updates, did["updates"], 0),
        same("forecasts", windows["test"], did["test_size"], 0),
        same("parameters", parameters(run), did["parameters"], SIZE_TOLERANCE),
        same("CRPS", _crps(made[made["model"] == "lstm"]), _crps(peer), CRPS_TOLERANCE),
    ]
    what = "whole `stockrnn train` and `predict`, 50 epochs ÷ neuralforecast's LSTM, same updates"
    detail = f"{_medians(seconds)}; {', '.join(checks)}; after the import theirs takes {did['work_s']:.1f} s"
    return _both(what, case, seconds, 0.5, detail)


def _beside(ours: Callable[[Path | str], float], theirs: Callable[[], float], place: Place) -> dict[str, list[float]]:
    """Ours with nothing kept yet, as a first command finds it, ours with what an earlier one has compiled, and theirs, in turns."""
    cache = place.folder / "cache"
    ours(cache)
    return take_turns({"ours": lambda: ours(tempfile.mkdtemp(dir=place.folder)), KEPT: lambda: ours(cache), "theirs": theirs}, place.rounds)


def _both(what: str, case: str, seconds: dict[str, list[float]], goal: float, detail: str) -> list[Figure]:
    cases = {"ours": case, KEPT: f"{case}, {KEPT}".removeprefix(", ")}
    return [figure(what, name, ratios(seconds[side], seconds["theirs"]), goal, detail=detail) for side, name in cases.items()]


def bench_walk(place: Place) -> list[Figure]:
    """A walk over the test span: ours forecasts every session of each fold, darts the first one."""
    return [each for epochs in WALK_EPOCHS for each in _walk(place, epochs)]


def _walk(place: Place, epochs: int) -> list[Figure]:
    overrides = [*WALK, f"train.epochs={epochs}", f"train.early_stopping.patience={epochs}"]
    config, inputs = load_config("lstm", overrides), _inputs(place, overrides)
    test = int((inputs.table["span"] == 3).sum())
    job = {
        **shape(config),
        "hidden_fc_sizes": None,
        "threads": 2,
        "seeds": [0],
        "start": len(inputs.table) - test,
        "stride": math.ceil(test / FOLDS),
    }
    job |= {"forecasts": str(place.folder / "walk.csv")}
    said: list[str] = []
    numbers = iter(range(10**6))

    def ours(cache: Path | str) -> float:
        run = str(place.folder / f"walk{epochs}-{next(numbers)}")
        command = [OURS, "backtest", *settings(overrides), "--folds", str(FOLDS), "--run", run, "--json"]
        return timed(command, folder=place.folder, cache=cache)

    theirs = place.peer("darts", "walk", job)
    seconds = _beside(ours, lambda: timed(theirs, folder=place.folder, said=said), place)
    did = json.loads(said[-1].splitlines()[-1])
    checks = [
        same("refits", FOLDS, did["refits"], 0),
        same("updates", walk_updates(config, inputs), did["updates"], SIZE_TOLERANCE),
        same("parameters", parameters(place.folder / f"walk{epochs}-0"), did["parameters"], SIZE_TOLERANCE),
    ]
    what = "walk-forward, 20 refits ÷ darts `historical_forecasts(retrain=True)`, same updates"
    detail = f"{_medians(seconds)}; {', '.join(checks)}; forecasts {test}/{did['forecasts']}"
    return _both(what, f"{epochs} epochs a refit", seconds, 0.2, detail)


def walk_updates(config: Config, inputs: Inputs) -> int:
    """The updates of all refits of our walk."""
    split, total = config.split, 0
    plan = {"validation": split.validation, "calibration": split.calibration, "test": split.test}
    for fold in walk_forward(inputs.prices[DATE], folds=FOLDS, **plan):
        seen = fold.history(inputs.prices)
        windows = split_windows(fit_pipeline(seen, fold.spans, config), seen, fold.spans, split.calibration > 0)["train"]
        total += config.train.epochs * math.ceil(len(windows) / config.train.batch_size)
    return total


def bench_predict(place: Place) -> list[Figure]:
    """The next session from a saved model."""
    run, theirs = _trained(place)
    sides = {"ours": [OURS, "predict", run], "theirs": theirs, "imports": [sys.executable, "-c", "import pandas, onnxruntime"]}
    if place.peers is None:
        del sides["theirs"]
    seconds = _commands(sides, place, 3 * place.rounds)
    what = "`stockrnn predict` ÷ a process that imports pandas and onnxruntime"
    found = [figure(what, "", ratios(seconds["ours"], seconds["imports"]), 1.5, detail=_medians(seconds))]
    if place.peers is not None:
        what = "`stockrnn predict` ÷ a process that loads a saved neuralforecast model and predicts"
        found.append(figure(what, "", ratios(seconds["ours"], seconds["theirs"]), 0.1, detail=_medians(seconds)))
    return found


def bench_start(place: Place) -> list[Figure]:
    """The first answer."""
    seconds = _commands({"ours": [OURS, "--help"], "typer": [sys.executable, "-c", "import typer"]}, place, 5 * place.rounds)
    what = "`stockrnn --help` ÷ a process that imports typer"
    return [figure(what, "", ratios(seconds["ours"], seconds["typer"]), 1.5, detail=_medians(seconds))]


PARTS: dict[str, Callable[[Place], list[Figure]]] = {
    "start": bench_start,
    "predict": bench_predict,
    "train": bench_train,
    "walk": bench_walk,
}
ALONE = ("start", "predict")
"""Parts that have something to compare with where there are no peers."""


def _inputs(place: Place, overrides: Sequence[str]) -> Inputs:
    inputs = inputs_of(load_config("lstm", overrides))
    inputs.write(place.folder / "table.csv")
    return inputs


def _trained(place: Place) -> tuple[str, list[str]]:
    """A run of ours and the command that forecasts from a model of theirs, both trained for an epoch."""
    short = ["train.ensemble=1", "train.epochs=1"]
    _inputs(place, short)
    run = str(place.folder / "short")
    timed([OURS, "train", *settings(short), "--run", run], folder=place.folder)
    if place.peers is None:
        return run, []
    job = {**shape(load_config("lstm", short)), "updates": 30, "epochs": 1, "decoder_layers": 1, "threads": 2, "seeds": [0]}
    job |= {name: str(place.folder / f"short-{name}") for name in ("model", "forecasts", "next")}
    timed(place.peer("neuralforecast", "train", job), folder=place.folder)
    return run, place.peer("neuralforecast", "predict", job)


def _commands(sides: dict[str, list[str]], place: Place, rounds: int) -> dict[str, list[float]]:
    calls = {name: functools.partial(timed, command, folder=place.folder) for name, command in sides.items()}
    for call in calls.values():
        call()  # files are in memory from here on
    return take_turns(calls, rounds)


def _crps(forecasts: pd.DataFrame) -> float:
    return crps(forecasts["actual"].to_numpy(), forecasts[list(QUANTILE_COLUMNS)].to_numpy())


def _medians(seconds: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {np.median(values):.2f} s" for name, values in seconds.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="the Python of the peers' environment; without it only what needs no peer runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="put the figures into results.json")
    options = parser.parse_args()
    peers = options.peers and options.peers.absolute()
    good = True
    for name in options.only or (PARTS if peers else ALONE):
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[name](Place(Path(folder), peers, options.rounds))
        good = tell(found) and good
        if options.keep:
            keep("process", found, peers)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
