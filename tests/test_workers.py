"""A training, a panel and a backtest give the same bytes with one process and with two, and survive the death of either."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stockrnn import engines, recipes
from stockrnn.beside import begin
from stockrnn.configfile import load_config
from stockrnn.places import open_engine
from stockrnn.recipes import backtesting, training
from stockrnn.recipes.assembly import ERRANDS
from stockrnn.reports.plots import FIGURES
from stockrnn.runs.directory import is_complete
from tests.factories import panel, random_walk
from tests.units import load, meet, workers_of

pytestmark = pytest.mark.network
SAME = ("weights.safetensors", "model.onnx", "metrics.json", "forecasts.csv", "scaler.json", "history.csv")
TINY = ["model.cell=simple_rnn", "model.units=[3]", "window.lookback=3", "model.dropout=0.1", "train.epochs=3", "train.ensemble=3"]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """An engine whose worker has loaded all, so that short units reach it."""
    from stockrnn.training import recurrent

    del recurrent
    with open_engine(2) as engine:
        engine.run(meet, (tmp_path_factory.mktemp("met"), 2), range(4))
        begin(engine, load, ERRANDS)()
        yield engine


@pytest.fixture
def shared(two, monkeypatch):
    """Let commands use that engine, whose worker begins a unit of each run; what ran in this process."""
    here = []
    real, work = engines.Run.here, two._run
    monkeypatch.setattr(engines.Run, "here", lambda run, *rest: here.append(run.function.__name__) or real(run, *rest))

    def worker_first(run):
        until = time.monotonic() + 120  # it may have errands to do
        while len(run.waiting) == len(run.units):
            assert time.monotonic() < until
            two._attend(run, 0.05)
        work(run)

    monkeypatch.setattr(two, "_run", worker_first)

    @contextlib.contextmanager
    def lent(*_):
        with engines.one_thread():
            yield two

    monkeypatch.setattr(training, "open_engine", lent)
    monkeypatch.setattr(backtesting, "open_engine", lent)
    return here


def prices(folder, table):
    path = folder / "prices.csv"
    table.drop(columns="filled").to_csv(path, index=False)
    return path


def bytes_of(folder):
    pictures = [f"plots/{path.name}" for path in (folder / "plots").iterdir()]
    return {name: (folder / name).read_bytes() for name in (*SAME, *pictures)}


def alone(command, config, *rest):
    with pytest.MonkeyPatch.context() as patch:
        for recipe in (training, backtesting):
            patch.setattr(recipe, "open_engine", open_engine)
        return command(config, *rest)


@pytest.mark.parametrize(("data", "unit"), [pytest.param("together", "_train_member", marks=pytest.mark.slow), ("separate", "_fit_part")])
def test_a_training_gives_the_same_bytes_with_one_process_and_with_two(data, unit, shared, tmp_path):
    config = load_config("lstm", [*TINY, f"data.panel={data}", "train.workers=1", f"data.path={prices(tmp_path, panel(300))}"])
    alone(recipes.train, config, tmp_path / "one")
    in_one = shared.count(unit)
    shared.clear()
    recipes.train(config, tmp_path / "two")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert 0 < shared.count(unit) < in_one
    assert shared.count("_do") < len(FIGURES)  # errands: baselines, calendars and pictures


def test_a_backtest_gives_the_same_bytes_with_one_process_and_with_two(shared, tmp_path):
    config = load_config("lstm", [*TINY, "train.ensemble=1", "train.workers=1", f"data.path={prices(tmp_path, random_walk(300))}"])
    plan, folds = recipes.Plan(folds=6, refit=2), []
    alone(recipes.backtest, config, plan, tmp_path / "one")
    shared.clear()
    recipes.backtest(config, plan, tmp_path / "two", None, folds.append)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert sorted(fold.number for fold in folds) == list(range(6))
    assert 0 < shared.count("_forecast_folds") < 3


# --- processes that die ------------------------------------------------------------------------------------------------------

LONG = [*TINY, "train.ensemble=4", "train.epochs=4000", "train.early_stopping.patience=4000"]
"""One process must not be done with all it has before the other has begun, four starts long."""


def command(*words, run):
    settings = [word for override in LONG for word in ("--set", override)]
    arguments = ["--resume", *words] if is_resumed(run) else [*settings, *words]
    return [sys.executable, "-m", "stockrnn", "train", *arguments, "--run", str(run)]


def is_resumed(run):
    return (run / "checkpoint").is_dir()


def start(run):
    words = () if is_resumed(run) else ("--set", "train.workers=2")
    return subprocess.Popen(command(*words, run=run), cwd=run.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def worker_of(process):
    """The worker, once it has a member: states of one, of another and of the first again are kept, which one process does not do."""
    run, started, deadline = Path(process.args[-1]), time.time(), time.monotonic() + 180
    times, order = {}, []
    while len(order) == len(set(order)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
        for path in run.glob("checkpoint/*.safetensors"):
            member, at = path.name.split(".")[1], path.stat().st_mtime
            if at > times.get(member, started):
                times[member] = at
                order += [member] if order[-1:] != [member] else []
    return workers_of(process.pid)[0]


def gone(pid):
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
def test_members_of_killed_and_interrupted_processes_go_on_to_the_same_bytes(tmp_path):
    subprocess.run(command("--set", "train.workers=1", run=tmp_path / "whole"), cwd=tmp_path, check=True, capture_output=True)
    run = tmp_path / "killed"
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = start(run)
        worker = worker_of(process)
        process.send_signal(number)
        sent = time.monotonic()
        _, said = process.communicate(timeout=60)
        assert process.returncode == code
        assert time.monotonic() - sent < 5
        assert gone(worker)
        assert said.count("\n") == (code > 0), said
        assert not is_complete(run)
    process = start(run)
    os.kill(worker_of(process), signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "died with unit" in said
    assert bytes_of(run) == bytes_of(tmp_path / "whole")
