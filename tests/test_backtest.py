"""A walk-forward: each fold learns from what is before it, a killed one goes on where it was, and what it says is true."""

import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest

from stockrnn import recipes, workers
from stockrnn.configfile import load_config
from stockrnn.errors import ConfigError, DataError, InterruptedRunError
from stockrnn.evaluation import backtest, learning
from stockrnn.evaluation.conformal import RATE, adapt
from stockrnn.models import baselines
from stockrnn.models.rules import BaselineWarning
from stockrnn.recipes import Plan, assembly
from stockrnn.runs.directory import open_run
from stockrnn.runs.files import read_history
from stockrnn.training import recurrent
from tests.factories import panel, random_walk
from tests.test_cli import stockrnn, write_prices

pytestmark = pytest.mark.network
SMALL = ["model.units=[3]", "train.epochs=2", "window.lookback=5", "window.horizon=2", "split.calibration=0"]
SAME = ("config.yaml", "weights.safetensors", "scaler.json", "metrics.json", "history.csv", "forecasts.csv")


@pytest.fixture
def quick(monkeypatch):
    """A run without its exported model and pictures, which take most of the time."""
    monkeypatch.setattr(assembly, "_export_and_draw", lambda *_: ({"model.onnx": b""}, 0.0, {}))


def small(*overrides, data="f.csv"):
    return load_config(None, [*SMALL, f"data.path={data}", *overrides])


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    return write_prices(tmp_path_factory.mktemp("data") / "f.csv", random_walk(200, seed=4))


@pytest.fixture(scope="module")
def run(csv, tmp_path_factory):
    """A backtest of six folds, learnt anew in every second one, with all that hangs on it."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return recipes.backtest(small(data=csv), Plan(folds=6, refit=2), folder)


def walked(prices, plan, config):
    """The forecast table of a walk, without files."""
    folds = plan.cut(config, prices["date"])
    tables, taught = [], None
    for fold in folds:
        taught = backtest.teach(config, plan, prices, fold) if fold.refits else taught
        tables.append(backtest.forecast_fold(taught, config, backtest.walk_spans(folds), fold)[0])
    first = backtest.teach(config, plan, prices, folds[0])
    before = backtest.calibration_forecasts(first, folds[0].spans)
    return folds, backtest.join_folds(tables, config.model.cell, before)[0]


def contents(folder):
    return {name: (folder / name).read_bytes() for name in SAME} | {p.name: p.read_bytes() for p in folder.glob("plots/*")}


def test_a_walk_of_one_fold_is_a_training(quick, csv, tmp_path):
    config = small("train.seed=3", data=csv)
    trained = recipes.train(config, tmp_path / "train").run
    walk = recipes.backtest(config, Plan(folds=1), tmp_path / "walk").run
    assert walk.read("weights.safetensors") == trained.read("weights.safetensors")
    pd.testing.assert_frame_equal(read_history(walk.read("history.csv")).drop(columns="fold"), read_history(trained.read("history.csv")))
    state = walk.json("scaler.json")
    assert state.pop("widths")
    assert state == trained.json("scaler.json")
    one, other = (pd.read_csv(each.folder / "forecasts.csv", float_precision="round_trip") for each in (trained, walk))
    mine = one["model"] == "lstm"
    one = pd.concat([adapt(one[mine]), one[~mine]])
    shared = other[other["model"].isin(one["model"].unique())].reset_index(drop=True)
    pd.testing.assert_frame_equal(shared, one, check_exact=True)
    of_points = [each.json("metrics.json")["significance"]["skill_interval_95"]["absolute"] for each in (trained, walk)]
    assert of_points[0] == of_points[1]
    assert walk.manifest["windows"] == trained.manifest["windows"]


def test_a_plan_that_cannot_be_is_refused_whoever_noted_it():
    """In a process of its own, whose arguments no test checks the types of."""
    wrong = [{"folds": 0}, {"gap": -1}, {"window": "all"}, {"window": []}, {"baselines": "none"}, {"start": 20190102}]
    code = f"""
from pathlib import Path
from stockrnn.errors import RunDamagedError
from stockrnn.recipes.backtesting import Plan, _plan_in
for wrong in {wrong}:
    try:
        print(_plan_in({{"plan": Plan().to_dict() | wrong}}, Path("backtest.json")))
    except RunDamagedError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    starts = [line.startswith("backtest.json must hold the plan of a backtest. Received: ") for line in done.stdout.splitlines()]
    assert starts == [True] * len(wrong), done.stdout


@pytest.mark.parametrize("command", [recipes.train, lambda config, folder: recipes.backtest(config, Plan(folds=1), folder)])
def test_workers_get_ready_for_the_members_of_one_ticker_and_one_refit(command, csv, tmp_path, monkeypatch):
    """Their number is the larger of both counts: a process a member, though there is one refit or one ticker."""
    asked = []

    def prepare(self, units, modules):
        asked.append(units)
        raise InterruptedRunError("enough is seen")

    monkeypatch.setattr(workers.Local, "prepare", prepare)
    with pytest.raises(InterruptedRunError):
        command(small("train.ensemble=3", "train.workers=3", "data.panel=separate", data=csv), tmp_path / "run")
    assert asked == [3]


def test_the_run_is_like_a_trained_one_with_its_folds(run):
    opened = open_run(run.run.folder)
    table = pd.read_csv(opened.folder / "forecasts.csv")
    assert set(table["model"]) == {"lstm", "naive", "drift", "moving_average", "rolling", "ewma", "garch", "har"}
    assert table.groupby("model").size().nunique() == 1
    folds = run.metrics["folds"]
    assert [fold["refit"] for fold in folds] == [True, False] * 3
    assert [fold["fit_of_fold"] for fold in folds] == [0, 0, 2, 2, 4, 4]
    assert [len(fold["epochs"]) for fold in folds] == [1, 0] * 3
    for one, other in itertools.pairwise(folds):
        assert one["end"] < other["start"]
        assert other["learned_from"] <= other["train_end"] < other["validation_end"] <= other["calibration_end"] < other["start"]
    assert (run.metrics["test"]["start"], run.metrics["test"]["end"]) == (folds[0]["start"], folds[-1]["end"])
    epochs = read_history(opened.read("history.csv"))
    assert epochs.groupby("fold")["epoch"].apply(list).to_dict() == {0: [1, 2], 2: [1, 2], 4: [1, 2]}
    assert epochs.loc[epochs["restored"], "epoch"].tolist() == [fold["epochs"][0] for fold in folds[::2]]
    assert opened.manifest["backtest"] == Plan(folds=6, refit=2).to_dict()


def test_every_session_of_the_test_span_is_forecast_once(run, csv):
    prices = pd.read_csv(csv)
    table = pd.read_csv(run.run.folder / "forecasts.csv").query("model == 'lstm'")
    for step in (1, 2):
        one = table[table["step"] == step]
        assert one["date"].tolist() == prices["Date"].iloc[-31 + step : 200 - 2 + step].tolist()
        assert one["cutoff"].tolist() == prices["Date"].iloc[-31:-2].tolist()


def test_prediction_takes_the_last_refit_and_the_width_at_the_end(run):
    table = pd.read_csv(run.run.folder / "forecasts.csv").query("model == 'lstm' and step == 1").iloc[-1]
    predicted = recipes.predict(run.run, asof=pd.Timestamp(table["cutoff"])).table.iloc[0]
    assert predicted["forecast"] == pytest.approx(table["forecast"], rel=1e-6)
    missed = not table["q05"] <= table["actual"] <= table["q95"]
    for column in ("q05", "q25", "q95"):
        told = table["q50"] + np.exp(RATE * (missed - 0.1)) * (table[column] - table["q50"])
        assert predicted[column] - predicted["q50"] == pytest.approx(told - table["q50"], rel=1e-4)
    assert [len(steps) for steps in run.run.json("scaler.json")["widths"].values()] == [2]


def test_each_refit_learns_from_its_own_past_only(monkeypatch):
    seen = []
    real = learning.learn
    monkeypatch.setattr(
        backtest, "learn", lambda config, prices, spans, *rest: seen.append((prices, spans)) or real(config, prices, spans, *rest)
    )
    prices, plan = random_walk(200), Plan(folds=4, refit=2, window="rolling", gap=3)
    folds, _ = walked(prices, plan, small())
    assert len(seen) == 2 + 1
    sizes = {len(history) for history, _ in seen}
    assert len(sizes) == 1
    for (history, spans), fold in zip(seen, folds[::2], strict=False):
        between = prices[(prices["date"] > history["date"].max()) & (prices["date"] < fold.first)]
        assert len(between) == 3
        assert history["date"].max() == spans.calibration_end


@pytest.mark.parametrize("overrides", [[], pytest.param(["split.calibration=0.2"], marks=pytest.mark.slow)])
def test_no_forecast_knows_a_price_after_its_cutoff(overrides):
    config, plan, prices = small(*overrides), Plan(folds=3, refit=2), random_walk(200, seed=1)
    folds, whole = walked(prices, plan, config)
    for date in (folds[1].first, folds[2].first, prices["date"].iloc[-3]):
        after = (prices["date"] > date).to_numpy()
        other = prices.copy()
        other.loc[after, ["open", "high", "low", "close", "volume"]] = np.random.default_rng(0).lognormal(0, 3, (after.sum(), 5))
        _, again = walked(other, plan, config)
        past = [table[table["cutoff"] <= date].drop(columns="actual").reset_index(drop=True) for table in (whole, again)]
        pd.testing.assert_frame_equal(*past, check_exact=True)
        assert len(past[0]) > 0


def test_between_refits_the_weights_stay_and_new_prices_count():
    config, prices = small(), random_walk(200)
    plan = Plan(folds=4, refit=4)
    folds, whole = walked(prices, plan, config)
    taught = backtest.teach(config, plan, prices, folds[0])
    last = whole[(whole["model"] == "lstm") & (whole["step"] == 1) & (whole["date"] >= folds[3].first)]
    rows = np.flatnonzero(prices["date"].isin(last["cutoff"]))
    assert taught.learned.network.forecast(prices, rows).point[:, 0].tolist() == last["forecast"].tolist()
    assert last["forecast"].nunique() == len(last)


def test_a_warm_start_goes_on_from_the_weights_before_it(quick, monkeypatch, csv, tmp_path):
    starts, ends, budgets = [], [], []
    real = recurrent.train_network

    def spy(network, *arguments, **options):
        starts.append(recurrent.network_weights(network))
        budgets.append(options["train_config"].epochs)
        history = real(network, *arguments, **options)
        ends.append(recurrent.network_weights(network))
        return history

    monkeypatch.setattr(recurrent, "train_network", spy)
    done = recipes.backtest(small(data=csv), Plan(folds=3, warm_start=1), tmp_path / "warm")
    assert budgets == [2, 1, 1]
    for start, end in zip(starts[1:], ends[:-1], strict=True):
        assert {name: value.tolist() for name, value in start.items()} == {name: value.tolist() for name, value in end.items()}
    assert [fold["epochs"] for fold in done.metrics["folds"]][1:] == [[1], [1]]
    starts.clear()
    recipes.backtest(small(data=csv), Plan(folds=3), tmp_path / "cold")
    assert all((starts[0][name] == other[name]).all() for other in starts for name in other)


class Stop:
    """Interrupts at the n-th call."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self, _):
        self.left -= 1
        if self.left == 0:
            raise InterruptedRunError("stop")


@pytest.mark.parametrize("plan", [Plan(folds=4, refit=2), pytest.param(Plan(folds=3, warm_start=2), marks=pytest.mark.slow)])
def test_a_backtest_stopped_anywhere_ends_as_if_it_had_not_been(quick, plan, csv, tmp_path):
    config = small("split.calibration=0.2", data=csv)
    recipes.backtest(config, plan, tmp_path / "whole")
    folder = tmp_path / "stopped"
    for fold, epoch in ((1, 99), (99, 1), (2, 99), (99, 1), (3, 99)):
        with pytest.raises(InterruptedRunError):
            recipes.backtest(config, plan, folder, Stop(epoch), Stop(fold))
    found, settings, kept = recipes.unfinished_backtest(str(folder))
    assert (found, settings, kept) == (folder, config, plan)
    recipes.backtest(config, plan, folder)
    assert contents(folder) == contents(tmp_path / "whole")
    assert not (folder / "checkpoint").exists()


def test_finished_folds_are_not_learnt_again(quick, csv, tmp_path, monkeypatch):
    config, plan, folder = small(data=csv), Plan(folds=3), tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        recipes.backtest(config, plan, folder, on_fold=Stop(2))
    learnt = []
    real = backtest.learn
    monkeypatch.setattr(backtest, "learn", lambda config, prices, *rest: learnt.append(prices["date"].max()) or real(config, prices, *rest))
    recipes.backtest(config, plan, folder)
    assert len(learnt) == 1


def test_a_fold_that_was_altered_on_disk_is_made_again(quick, csv, tmp_path):
    config, plan, folder = small(data=csv), Plan(folds=2), tmp_path / "run"
    recipes.backtest(config, plan, tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        recipes.backtest(config, plan, folder, on_fold=Stop(1))
    path = folder / "checkpoint" / "forecasts0.json"
    path.write_bytes(path.read_bytes().replace(b"lstm", b"lstn", 1))
    recipes.backtest(config, plan, folder)
    assert contents(folder) == contents(tmp_path / "whole")


def test_going_on_with_something_else_is_refused_by_name(quick, csv, tmp_path):
    config, plan, folder = small(data=csv), Plan(folds=3), tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        recipes.backtest(config, plan, folder, on_fold=Stop(1))
    with pytest.raises(ConfigError, match="refit: 1 before, 2 now"):
        recipes.backtest(config, dataclasses.replace(plan, refit=2), folder)
    with pytest.raises(ConfigError, match=r"`model\.dropout` was 0\.0 and is 0\.1"):
        recipes.backtest(small("model.dropout=0.1", data=csv), plan, folder)
    with pytest.raises(ConfigError, match="stockrnn backtest --resume"):
        recipes.train(config, folder)
    kept = csv.read_bytes()
    try:
        write_prices(csv, random_walk(200, seed=5))
        with pytest.raises(ConfigError, match="other prices"):
            recipes.backtest(config, plan, folder)
    finally:
        csv.write_bytes(kept)
    recipes.backtest(config, plan, folder)


def test_an_unfinished_training_is_no_backtest(quick, csv, tmp_path):
    config, folder = small(data=csv), tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        recipes.train(config, folder, Stop(1))
    with pytest.raises(ConfigError, match="train --resume"):
        recipes.unfinished_backtest(str(folder))
    with pytest.raises(ConfigError, match="unfinished training"):
        recipes.backtest(config, Plan(folds=2), folder)
    recipes.train(config, folder)


def test_a_walk_that_cannot_begin_leaves_nothing(quick, csv, tmp_path):
    for config, plan in ((small(data=csv), Plan(folds=31)), (small("window.lookback=150", data=csv), Plan(folds=2))):
        with pytest.raises(DataError):
            recipes.backtest(config, plan, tmp_path / "run")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "where"),
    [
        *(("garch", where) for where in ("fit", "one fold", "not finite")),
        ("rolling", "one fold"),
        *(pytest.param("rolling", where, marks=pytest.mark.slow) for where in ("fit", "not finite")),
    ],
)
def test_a_baseline_that_fails_is_told_and_stops_nothing(quick, name, where, csv, tmp_path, monkeypatch):
    class Broken(baselines.BASELINES[name]):
        def fit(self, prices, spans):
            if where == "fit" or (where == "one fold" and len(prices) > 175):
                raise ValueError("singular")
            return super().fit(prices, spans)

        def forecast(self, prices, rows):
            made = super().forecast(prices, rows)
            return dataclasses.replace(made, point=made.point * np.nan) if where == "not finite" else made

    monkeypatch.setitem(backtest.BASELINES, name, Broken)
    done = recipes.backtest(small(data=csv), Plan(folds=3), tmp_path / "run")
    assert name not in done.metrics["test"]["models"]
    assert "har" in done.metrics["test"]["models"]
    assert [note for note in done.notes if note.startswith(f"{name}: ")] == [
        f"{name}: its forecasts are not all finite." if where == "not finite" else f"{name}: singular"
    ]


@pytest.mark.parametrize("where", ["fit", "forecast"])
def test_a_training_goes_on_without_a_baseline_that_fails(quick, where, csv, tmp_path, monkeypatch):
    class Broken(baselines.BASELINES["har"]):
        pass

    def fail(*_):
        raise np.linalg.LinAlgError("singular")

    setattr(Broken, where, fail)
    monkeypatch.setitem(baselines.BASELINES, "har", Broken)
    done = recipes.train(small(data=csv), tmp_path / "run")
    assert list(done.metrics["test"]["models"]) == ["lstm", "naive", "drift", "ewma", "garch"]
    assert "har: singular" in done.notes


def test_without_naive_there_is_no_run(quick, csv, tmp_path, monkeypatch):
    class Broken(baselines.BASELINES["naive"]):
        def fit(self, prices, spans):
            raise ValueError("no price")

    monkeypatch.setitem(baselines.BASELINES, "naive", Broken)
    with pytest.raises(ValueError, match="no price"):
        recipes.train(small(data=csv), tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["garch", "rolling"])
def test_a_baseline_that_did_not_converge_stays_and_says_so(quick, name, csv, tmp_path, monkeypatch):
    class Warned(baselines.BASELINES[name]):
        def fit(self, prices, spans):
            warnings.warn("it did not converge on f.", BaselineWarning, stacklevel=1)
            return super().fit(prices, spans)

    monkeypatch.setitem(backtest.BASELINES, name, Warned)
    done = recipes.backtest(small(data=csv), Plan(folds=2), tmp_path / "run")
    assert name in done.metrics["test"]["models"]
    assert sum("it did not converge on f." in note for note in done.notes) == 1


@pytest.mark.slow
def test_all_baselines_are_all(quick, csv, tmp_path):
    done = recipes.backtest(small(data=csv), Plan(folds=2, baselines="all"), tmp_path / "run")
    assert set(done.metrics["test"]["models"]) == {"lstm", *baselines.BASELINES}


def test_the_networks_width_follows_its_misses():
    config, plan, prices = small("split.calibration=0.2"), Plan(folds=2), random_walk(200)
    folds = plan.cut(config, prices["date"])
    taught = backtest.teach(config, plan, prices, folds[0])
    tables = [backtest.forecast_fold(taught, config, backtest.walk_spans(folds), fold)[0] for fold in folds]
    before = backtest.calibration_forecasts(taught, folds[0].spans)
    assert before["date"].between(folds[0].spans.validation_end, folds[0].spans.calibration_end, inclusive="right").all()
    plain = pd.concat(tables, ignore_index=True)
    for start, prefix in ((None, before.iloc[:0]), (before, before)):
        joined, widths = backtest.join_folds(tables, "lstm", start)
        expected = adapt(pd.concat([prefix, plain[plain["model"] == "lstm"]], ignore_index=True)).iloc[len(prefix) :]
        pd.testing.assert_frame_equal(joined[joined["model"] == "lstm"], expected.reset_index(drop=True))
        assert not joined["q05"].iloc[: len(expected)].equals(plain.loc[plain["model"] == "lstm", "q05"].reset_index(drop=True))
        assert [len(steps) for steps in widths.factors.values()] == [2]
        garch = [table.loc[table["model"] == "garch", "q05"].tolist() for table in (plain, joined)]
        assert garch[0] == garch[1]


@pytest.mark.slow
def test_a_ticker_listed_later_joins_at_the_next_refit(quick, tmp_path):
    prices = panel(200, seed=2)
    young = (prices["ticker"] == prices["ticker"].iloc[-1]) & (prices["date"] < prices["date"].sort_values().unique()[-75])
    prices = prices[~young]
    frame = prices[["ticker", "date", "open", "high", "low", "close", "volume"]].rename(columns=str.capitalize)
    frame.to_csv(tmp_path / "f.csv", index=False, date_format="%Y-%m-%d")
    done = recipes.backtest(small(data=tmp_path / "f.csv"), Plan(folds=4), tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "forecasts.csv").query("model == 'lstm'")
    names = sorted(table["ticker"].unique())
    assert len(names) == 2
    firsts = table.groupby("ticker")["date"].min()
    assert firsts.max() in [fold["start"] for fold in done.metrics["folds"][1:]]
    assert any("want of history" in note for note in done.notes)


def test_folds_shorter_than_the_horizon_leave_the_last_ones_without_a_forecast(quick, csv, tmp_path):
    done = recipes.backtest(small("window.horizon=9", "train.epochs=1", data=csv), Plan(folds=8, refit=2), tmp_path / "run")
    cutoffs = pd.read_csv(tmp_path / "run" / "forecasts.csv").query("model == 'lstm'")["cutoff"].unique()
    assert len(cutoffs) == 30 - 9 + 1
    assert len(done.metrics["folds"]) == 8
    with pytest.raises(DataError, match=r"last refit .* Received: none from 2010-\d\d-\d\d on.* fewer --folds"):
        recipes.explain_run(done.run, tmp_path / "pictures", "png")


def test_a_test_span_without_room_for_a_forecast_is_refused_before_anything_is_trained(csv, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "stockrnn.training.recurrent", None)  # whatever trains is found missing
    config, run = small("window.horizon=25", "split.test=0.1", data=csv), tmp_path / "run"
    for make in (lambda: recipes.train(config, run), lambda: recipes.backtest(config, Plan(folds=2), run)):
        with pytest.raises(DataError, match=r"test span .* all its 25 steps\. Received: none in its 20 rows\. Enlarge `split\.test`"):
            make()
        assert not run.exists()
    with pytest.raises(ImportError):
        recipes.train(small("window.horizon=20", "split.test=0.1", data=csv), run)


def test_the_start_date_takes_the_place_of_the_test_share(csv):
    config = small(data=csv)
    dates = pd.Series(pd.to_datetime(pd.read_csv(csv)["Date"]))
    folds = Plan(folds=3, start=f"{dates.iloc[-12]:%Y-%m-%d}").cut(config, dates)
    assert (folds[0].first, folds[-1].last) == (dates.iloc[-12], dates.iloc[-1])


@pytest.mark.parametrize("wrong", [{"folds": 0}, {"refit": 0}, {"gap": -1}, {"warm_start": 0}])
def test_a_plan_that_cannot_be_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Plan(**wrong)


def test_a_plan_survives_json():
    plan = Plan(5, 2, "rolling", 3, "2020-01-01", 4, "all")
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.slow
def test_the_command_prints_one_document_and_names_its_run(csv, tmp_path):
    short = [word for override in SMALL for word in ("--set", override)]
    done = stockrnn("backtest", "--data", csv, *short, "--folds", 2, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["run"].endswith("-lstm-backtest")
    assert len(document["folds"]) == 2


@pytest.mark.parametrize(("arguments", "code"), [(("--folds", 0), 2), (("--start", "soon"), 2), (("--folds", 10**6), 3)])
def test_wrong_arguments_are_one_line_and_leave_nothing(arguments, code, csv, tmp_path):
    wrong = stockrnn("backtest", "--data", csv, *arguments, cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n"), wrong.stdout) == (code, 1, ""), wrong.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bytes(csv, tmp_path):
    short = [word for override in (*SMALL, "model.dropout=0.2") for word in ("--set", override)]
    command = [sys.executable, "-m", "stockrnn", "backtest", "--data", str(csv), *short, "--folds", "6", "--refit", "2", "--run"]
    subprocess.run([*command, "whole"], cwd=tmp_path, check=True, capture_output=True)
    process = subprocess.Popen([*command, "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    for fold in (0, 3):
        deadline = time.monotonic() + 60
        while not (tmp_path / "killed" / "checkpoint" / f"forecasts{fold}.json").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = subprocess.Popen(
            [sys.executable, "-m", "stockrnn", "backtest", "--resume", "--run", "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
    assert process.wait(timeout=120) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
