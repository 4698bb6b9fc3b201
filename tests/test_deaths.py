"""Workers and nodes that are killed at random moments cost time and nothing else: every unit is done, once, to the same bytes."""

import hashlib
import importlib.util
import os
import random
import signal
import threading
import time

import pandas as pd
import pytest

from stockrnn import engines, recipes
from stockrnn.configfile import load_config
from stockrnn.evaluation.learning import learn
from stockrnn.evaluation.scoring import score_document, scored_rows
from stockrnn.places import LOCAL, Place, open_engine
from stockrnn.runs.directory import is_complete
from stockrnn.runs.files import to_csv, to_json
from stockrnn.training.context import TrainingContext
from tests.factories import garch_path, spans_of
from tests.forks import Forks
from tests.units import workers_of

pytestmark = [pytest.mark.slow, pytest.mark.network]
needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs stockrnn[ray]")
TICKERS, DEATHS = 8, 10
JOB = [
    "model.cell=gru",
    "model.units=[8]",
    "data.panel=separate",
    "train.ensemble=1",
    "train.epochs=40",
    "train.early_stopping.patience=40",
]
SAME = ("weights.safetensors", "metrics.json", "forecasts.csv", "scaler.json", "scores.csv")


def prices():
    return pd.concat([garch_path(900, number, f"T{number}") for number in range(TICKERS)], ignore_index=True)


def work(engine):
    """What a training of a network for each ticker leaves on disk, in a digest each."""
    from stockrnn.training.recurrent import save_weights

    config, table = load_config("lstm", JOB), prices()
    spans = spans_of(table)
    learned = learn(config, table, spans, TrainingContext(engine=engine))
    forecasts, failed = learned.forecast(table, scored_rows(table, spans, "test", 1, learned.possible_rows(table)))
    metrics = score_document(learned.network.name, table, config.target, spans, forecasts)
    files = save_weights(learned.parts.values()), to_csv(forecasts), to_json(metrics), repr(failed).encode()
    return [hashlib.sha256(data).hexdigest() for data in files]


@pytest.fixture(scope="module")
def whole():
    with open_engine(1) as engine:
        return work(engine)


@pytest.fixture
def ledger(monkeypatch):
    """The number of each unit of networks that was kept, in order."""
    kept = []
    real = engines.Run.keep
    monkeypatch.setattr(
        engines.Run, "keep", lambda run, number, result: kept.append((run.function.__name__, number)) or real(run, number, result)
    )
    return kept


def die_and_compare(engine, whole, ledger, kill, heal=lambda: None):
    """Work ten times, while `kill` strikes at a random moment of each; how many of those took something with them."""
    work(engine)  # workers have loaded and compiled
    started = time.monotonic()
    assert work(engine) == whole
    usual_s = time.monotonic() - started
    dice, struck = random.Random(3), 0
    for _ in range(DEATHS):
        ledger.clear()
        before = len(engine.notes)
        timer = threading.Timer(dice.uniform(0.02, 0.6) * usual_s, kill)
        timer.start()
        assert work(engine) == whole
        timer.join()
        heal()
        assert sorted(number for name, number in ledger if name == "_fit_part") == list(range(TICKERS))
        struck += len(engine.notes) > before
    return struck


def test_a_worker_killed_at_ten_moments_changes_no_byte_and_doubles_no_unit(whole, ledger):
    def kill():
        workers = workers_of(os.getpid())
        if workers:
            os.kill(workers[0], signal.SIGKILL)

    with open_engine(2) as engine:
        assert die_and_compare(engine, whole, ledger, kill) > 0


@needs_ray
def test_nodes_killed_at_ten_moments_and_then_all_change_no_byte_and_double_no_unit(whole, ledger, monkeypatch):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def heal():
        nodes.append(cluster.add_node(num_cpus=1))

    try:
        with open_engine(place=Place("ray", cluster.address)) as engine:
            assert die_and_compare(engine, whole, ledger, lambda: nodes.pop(0).kill_raylet(), heal) > DEATHS // 2
            monkeypatch.setattr("stockrnn.cluster.NO_NODE_S", 3.0)
            for node in nodes:
                node.kill_raylet()
            assert work(engine) == whole
            assert engine.notes[-1] == "The cluster had no core left: this process went on alone."
    finally:
        cluster.shutdown()


def train(settings, folder, place=LOCAL):
    recipes.train(load_config("lstm", settings), folder, place=place)


def backtest(settings, folder, place=LOCAL):
    recipes.backtest(load_config("lstm", settings), recipes.Plan(folds=4), folder, place=place)


UNITS = {"tickers": (train, []), "members": (train, ["data.panel=together", "train.ensemble=3"]), "folds": (backtest, ["data.ticker=T0"])}


@needs_ray
def test_one_process_two_processes_and_a_cluster_write_the_same_run(tmp_path):
    from ray.cluster_utils import Cluster

    path = tmp_path / "prices.csv"
    prices().drop(columns="filled").to_csv(path, index=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        for name, (command, changes) in UNITS.items():
            settings = [*JOB, f"data.path={path}", "train.epochs=5", *changes]
            command([*settings, "train.workers=1"], tmp_path / f"{name}1")
            command([*settings, "train.workers=2"], tmp_path / f"{name}2")
            command(settings, tmp_path / f"{name}ray", Place("ray", cluster.address))
            for file in SAME:
                assert len({(folder / file).read_bytes() for folder in tmp_path.glob(f"{name}*")}) == 1, (name, file)
    finally:
        cluster.shutdown()


def test_a_backtest_killed_at_ten_moments_loses_and_doubles_no_fold(tmp_path):
    path = tmp_path / "prices.csv"
    garch_path(500).drop(columns="filled").to_csv(path, index=False)
    settings = ["model.units=[4]", "model.dropout=0.2", "window.lookback=5", "train.epochs=12", "train.ensemble=1", "train.workers=1"]
    words = ["--data", path, "--folds", "8", "--refit", "2", *(word for setting in settings for word in ("--set", setting))]
    dice, killed = random.Random(5), 0
    with Forks(tmp_path) as run:
        run("backtest", *words, "--run", "warm")
        done = run("backtest", *words, "--run", "whole")
        for number in range(DEATHS):
            name = f"killed{number}"
            struck = run("backtest", *words, "--run", name, kill_after=dice.uniform(0.05, 0.95) * done.seconds)
            killed += struck.code == -signal.SIGKILL
            begun = is_complete(tmp_path / name) or (tmp_path / name / "checkpoint" / "backtest.json").is_file()
            again = run("backtest", *(["--resume"] if begun else words), "--run", name)
            assert again.code == 0, again.err
            for file in SAME:
                assert (tmp_path / name / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    assert killed > DEATHS // 2
