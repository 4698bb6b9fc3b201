"""A search finds what is good, ends what is bad, repeats to the byte wherever and however often it runs, and never sees the end."""

import contextlib
import datetime as dt
import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockrnn import recipes
from stockrnn.configfile import config_changes, load_config
from stockrnn.errors import ConfigError, DataError, MissingExtraError, RunDamagedError
from stockrnn.evaluation import tuning
from stockrnn.evaluation.trials import base_fold, check_fold, make_arena, make_check, searched_spans, try_fold
from stockrnn.evaluation.tuning import BATCH, rungs
from stockrnn.recipes import Effort
from stockrnn.runs.directory import new_run_folder
from stockrnn.searchspace import space_of
from tests import objectives
from tests.factories import panel, random_walk

SPACE = space_of(
    {"model": {"dropout": [0.0, 0.2, 0.4], "cell": ["gru", "lstm"]}, "train.learning_rate": {"low": 0.0003, "high": 0.03, "log": True}},
    "space",
)
ROOT = Path(__file__).parents[1]
TINY = ["model.cell=simple_rnn", "model.units=[2]", "window.lookback=3", "train.epochs=2", "train.workers=1"]


@pytest.fixture
def quick(monkeypatch):
    """Let a formula of all that a trial is given stand for its training."""
    for name, unit in (("try_fold", objectives.score), ("base_fold", objectives.score), ("check_fold", objectives.forecast)):
        monkeypatch.setattr(tuning, name, unit)
    monkeypatch.setattr(recipes.tuning, "load_training", lambda *_: None)
    monkeypatch.setattr(recipes.tuning, "render_figures", lambda *_: {})


@pytest.fixture
def config(tmp_path):
    return config_of(tmp_path / "prices.csv", random_walk(400))


def config_of(path, table):
    table.drop(columns="filled").to_csv(path, index=False)
    return load_config("lstm", [f"data.path={path}", *TINY, "train.learning_rate=0.02"])


def ledger(folder):
    return (folder / "ledger.json").read_bytes()


# --- what is found -----------------------------------------------------------------------------------------------------------


def test_the_best_config_is_written_and_trains_and_the_worse_half_ends_early(quick, config, tmp_path):
    done = recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=24))
    found, table = done.summary, pd.read_csv(tmp_path / "run" / "trials.csv", float_precision="round_trip")
    complete = table[(table["state"] == "complete") & (table["trial"] > 0)]
    assert found["best"]["crps"] == complete["crps"].min() < found["config"]["crps"]
    best = load_config(tmp_path / "run" / "best.yaml")
    assert best.train.learning_rate == found["best"]["settings"]["train.learning_rate"]
    assert best.data == config.data
    assert table["trial"].tolist() == list(range(25))
    assert set(found["trials"]) == {"complete", "pruned", "failed"}
    assert found["trials"]["pruned"] >= 8
    assert found["epochs_saved"] > 0.3
    assert next(iter(found["importance"])) == "train.learning_rate"
    assert found["gain"] == pytest.approx(1 - found["best"]["crps"] / found["config"]["crps"])
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_search_learns_where_to_look(quick, config, tmp_path):
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=40))
    table = pd.read_csv(tmp_path / "run" / "trials.csv").iloc[1:]
    off = np.abs(np.log(table["train.learning_rate"] / 0.003))
    assert off.iloc[-16:].median() < 0.6 * off.iloc[:BATCH].median()


def test_no_more_than_the_better_half_of_a_batch_goes_on(quick, config, tmp_path):
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=24))
    table = pd.read_csv(tmp_path / "run" / "trials.csv").iloc[1:]
    for _, batch in table.groupby((table["trial"] - 1) // BATCH):
        for folds, most in ((1, 4), (2, 2)):
            came = batch[batch["folds"] >= folds]
            scores = came[[f"crps_{fold}" for fold in range(1, folds + 1)]].mean(axis=1)
            on = scores[came["folds"] > folds]
            assert len(on) <= most
            assert set(on) <= set(scores.sort_values().head(-(-len(scores) // 2)))
    for row in table.to_dict("records"):
        assert np.isnan([row[f"crps_{fold}"] for fold in range(int(row["folds"]) + 1, 5)]).all()


def test_settings_that_cannot_learn_or_go_together_fail_alone(quick, config, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "try_fold", objectives.score_low_rates)
    space = space_of({**SPACE.to_dict(), "model.residual": [True, False]}, "space")
    found = recipes.tune(config, space, tmp_path / "run", Effort(trials=16)).summary
    table = pd.read_csv(tmp_path / "run" / "trials.csv")
    failed = table[table["state"] == "failed"]
    assert found["trials"]["failed"] == len(failed) > 1
    assert {reason.startswith(("It diverged", "space: `model.units` must hold two equal")) for reason in failed["reason"]} == {True}
    assert len(failed["reason"].unique()) == 2
    assert found["best"]["settings"]["train.learning_rate"] <= 0.004


def test_a_space_in_which_nothing_can_learn_is_refused_with_the_first_reason(quick, config, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "try_fold", objectives.score_low_rates)
    with pytest.raises(DataError, match=r"none of 3; the first: It diverged"):
        recipes.tune(config, space_of({"train.learning_rate": {"low": 0.01, "high": 0.02}}, "s"), tmp_path / "run", Effort(trials=3))


def test_where_no_trial_is_better_the_config_stays_and_is_not_checked(quick, config, tmp_path):
    good = load_config(None, [f"data.path={config.data.path}", *TINY, "train.learning_rate=0.003"])
    found = recipes.tune(good, space_of({"train.learning_rate": [0.3, 0.4]}, "s"), tmp_path / "run", Effort(trials=3)).summary
    assert (found["gain"], found["check"], found["best"]["trial"]) == (0, None, 0)
    assert "none of 3 trials had a lower CRPS than the config itself" in found["sentences"][0]
    assert load_config(tmp_path / "run" / "best.yaml") == good


def test_what_survives_of_the_gain_is_measured_where_no_trial_looked(quick, config, tmp_path):
    found = recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=16)).summary
    check = found["check"]
    assert check["start"] > found["searched"]["end"]
    assert check["end"] < str(random_walk(400)["date"].iloc[-1])
    assert check["gain"] == pytest.approx(1 - check["crps"]["best"] / check["crps"]["config"])
    assert "which no trial saw" in found["sentences"][1]


def test_a_winner_that_cannot_be_trained_in_the_check_ends_no_search(quick, config, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "check_fold", objectives.forecast_high_rates)
    found = recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=16)).summary
    assert found["check"] == {"failed": "the best config could not be trained there. It diverged."}
    assert found["sentences"][1].endswith(
        "nothing shows that best.yaml is better, as the best config could not be trained there. It diverged."
    )
    assert load_config(tmp_path / "run" / "best.yaml").train.learning_rate < 0.01


def test_a_check_of_a_config_that_diverges_says_so(config):
    wild = load_config(None, [f"data.path={config.data.path}", *TINY, "train.learning_rate=1.0e+30", "train.clip_norm=null"])
    said = check_fold(make_check(wild, random_walk(400)), wild, lambda _: None)
    assert "Lower `train.learning_rate`" in said


def test_a_time_limit_begins_no_more_batches(quick, config, tmp_path):
    assert sum(recipes.tune(config, SPACE, tmp_path / "run", Effort(None, 1e-9)).summary["trials"].values()) == 0
    assert sum(recipes.tune(config, SPACE, tmp_path / "two", Effort(3, 1e6)).summary["trials"].values()) == 3


def test_rungs_double():
    assert [list(rungs(count)) for count in (1, 2, 3, 4, 7)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 7]]


# --- what is never seen ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [random_walk(400), panel(400)], ids=["one", "panel"])
def test_nothing_after_the_validation_span_changes_a_byte_of_the_ledger(quick, table, tmp_path):
    config = config_of(tmp_path / "prices.csv", table)
    recipes.tune(config, SPACE, tmp_path / "before", Effort(trials=16))
    after = (table["date"] > searched_spans(config, table["date"]).validation_end).to_numpy()
    assert 0.2 < after.mean() < 0.4
    changed = table.copy()
    for name in ("open", "high", "low", "close"):
        changed.loc[after, name] *= np.random.default_rng(1).lognormal(0, 1, after.sum())
    changed[["high", "low"]] = np.sort(changed[["open", "high", "low", "close"]].to_numpy())[:, [-1, 0]]
    recipes.tune(config_of(tmp_path / "prices.csv", changed), SPACE, tmp_path / "after", Effort(trials=16))
    assert ledger(tmp_path / "before") == ledger(tmp_path / "after")


def test_the_test_span_changes_nothing_at_all_and_the_last_session_that_trials_see_does(quick, config, tmp_path):
    table = random_walk(400)
    spans = searched_spans(config, table["date"])
    said = {}
    for name, date in (("test", spans.calibration_end), ("seen", spans.validation_end - pd.Timedelta(days=1))):
        changed = table.copy()
        changed.loc[changed["date"] > date, ["open", "high", "low", "close"]] *= 1.5
        recipes.tune(config_of(tmp_path / "prices.csv", changed), SPACE, tmp_path / name, Effort(trials=8))
        said[name] = (ledger(tmp_path / name), json.loads((tmp_path / name / "tune.json").read_text())["check"])
    recipes.tune(config_of(tmp_path / "prices.csv", table), SPACE, tmp_path / "same", Effort(trials=8))
    same = (ledger(tmp_path / "same"), json.loads((tmp_path / "same" / "tune.json").read_text())["check"])
    assert said["test"] == same
    assert said["seen"][0] != same[0]


def test_folds_and_check_follow_each_other_and_end_before_the_test_span(config):
    table = random_walk(400)
    arena, check = make_arena(config, table, 4), make_check(config, table)
    spans = searched_spans(config, table["date"])
    for fold, following in itertools.pairwise((*arena.folds, *check.folds)):
        assert fold.spans.calibration_end < fold.first <= fold.last < following.first
    assert arena.folds[-1].last == arena.prices["date"].max() == spans.validation_end
    assert check.folds[0].last == check.prices["date"].max() == spans.calibration_end < spans.test_end


# --- wherever and however often ----------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Stands for the end of the process."""


def marks(folder, monkeypatch):
    folder.mkdir()
    monkeypatch.setenv(objectives.MARKS, str(folder))
    return lambda: {path.name: len(path.read_text()) for path in folder.iterdir()}


def test_two_processes_give_the_ledger_of_one(quick, light_workers, config, tmp_path, monkeypatch):
    recipes.tune(config, SPACE, tmp_path / "one", Effort(trials=16))
    ran = marks(tmp_path / "marks", monkeypatch)
    two = config.model_copy(update={"train": config.train.model_copy(update={"workers": 2})})
    recipes.tune(two, SPACE, tmp_path / "two", Effort(trials=16))
    assert ledger(tmp_path / "two") == ledger(tmp_path / "one")
    assert set(ran()) == set(json.loads(ledger(tmp_path / "one"))["units"])
    assert set(ran().values()) == {1}


@pytest.mark.parametrize("at", range(0, 34, 6))
def test_a_search_that_ends_at_any_result_goes_on_and_repeats_none(quick, config, tmp_path, monkeypatch, at):
    recipes.tune(config, SPACE, tmp_path / "whole", Effort(trials=12))
    ran, kept = marks(tmp_path / "marks", monkeypatch), []
    real = recipes.tuning.keep_result

    def keep(*result):
        if len(kept) == at:
            raise StoppedError
        real(*result)
        kept.append(result)

    with monkeypatch.context() as patch, contextlib.suppress(StoppedError):
        patch.setattr(recipes.tuning, "keep_result", keep)
        recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=12))
    if not (tmp_path / "run" / "tune.json").exists() and at:
        folder, *_, effort = recipes.unfinished_tune(str(tmp_path / "run"))
        assert (folder, effort) == (tmp_path / "run", Effort(trials=12))
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=12))
    assert ledger(tmp_path / "run") == ledger(tmp_path / "whole")
    assert sum(ran().values()) <= len(ran()) + 1  # the one whose result was not kept


def test_more_trials_go_on_from_a_complete_search(quick, config, tmp_path, monkeypatch):
    recipes.tune(config, SPACE, tmp_path / "whole", Effort(trials=20))
    ran = marks(tmp_path / "marks", monkeypatch)
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=11))
    folder, kept_config, space, effort = recipes.unfinished_tune(str(tmp_path / "run"))
    assert (config_changes(kept_config.model_dump(mode="json"), config), space, effort.trials) == ([], SPACE, 11)
    recipes.tune(kept_config, space, folder, Effort(trials=20))
    assert ledger(tmp_path / "run") == ledger(tmp_path / "whole")
    assert set(ran().values()) == {1}


def test_a_complete_search_loses_no_trial(quick, config, tmp_path):
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=11))
    whole = ledger(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"--trials must be at least those that are done\. Received: 10, but 11 are"):
        recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=10))
    assert ledger(tmp_path / "run") == whole
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=11))
    assert ledger(tmp_path / "run") == whole


def test_equal_settings_are_tried_once(quick, config, tmp_path, monkeypatch):
    ran = marks(tmp_path / "marks", monkeypatch)
    recipes.tune(config, space_of({"model.dropout": [0.1, 0.2]}, "s"), tmp_path / "run", Effort(trials=20))
    assert set(ran().values()) == {1}
    assert len(ran()) <= 3 * 4


# --- what is refused ---------------------------------------------------------------------------------------------------------


def test_another_search_in_the_folder_is_refused_by_what_differs(quick, config, tmp_path):
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=8))
    other = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 7})})
    narrow = space_of({**SPACE.to_dict(), "model.dropout": [0.0, 0.1]}, "s")
    changed = config_of(tmp_path / "others.csv", random_walk(400, seed=3)).model_copy(update={"data": config.data})
    for told, arguments in {
        "`train.epochs` was 2 and is 7": (other, SPACE, Effort()),
        r"`model.dropout` of the space was \[0.0, 0.2, 0.4\] and is \[0.0, 0.1\]": (config, narrow, Effort()),
        "--folds was 4 and is 5": (config, SPACE, Effort(folds=5)),
    }.items():
        with pytest.raises(ConfigError, match=f"--resume needs.*{told}"):
            recipes.tune(arguments[0], arguments[1], tmp_path / "run", arguments[2])
    shutil.copy(tmp_path / "others.csv", changed.data.path)
    with pytest.raises(ConfigError, match=r"the prices that trials see were .* SHA-256 .* and are .* SHA-256"):
        recipes.tune(changed, SPACE, tmp_path / "run")
    assert (tmp_path / "run" / "tune.json").exists()


def test_a_search_is_no_run_and_an_unfinished_one_says_how_to_go_on(quick, config, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "try_fold", lambda *_: (_ for _ in ()).throw(StoppedError))
    with pytest.raises(StoppedError):
        recipes.tune(config, SPACE, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"an unfinished run. Add --resume"):
        new_run_folder(str(tmp_path / "run"), "lstm", dt.date(2026, 1, 1))
    with pytest.raises(ConfigError, match="--resume needs an unfinished search"):
        recipes.unfinished_tune(str(tmp_path / "none"))


def test_a_ledger_that_was_altered_is_refused(quick, config, tmp_path):
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=8))
    path = tmp_path / "run" / "ledger.json"
    path.write_bytes(path.read_bytes().replace(b'"n": 9', b'"n": 8', 1))
    with pytest.raises(RunDamagedError, match=r"ledger.json must be as it was written"):
        recipes.unfinished_tune(str(tmp_path / "run"))


def test_a_result_that_was_not_written_whole_is_made_again(quick, config, tmp_path, monkeypatch):
    recipes.tune(config, SPACE, tmp_path / "whole", Effort(trials=8))
    monkeypatch.setattr(recipes.tuning, "end_run", lambda _: None)
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=8))
    (tmp_path / "run" / "tune.json").unlink()
    for path in sorted((tmp_path / "run" / "checkpoint").glob("*.*.json"))[::2]:
        path.write_bytes(path.read_bytes()[:-9])
    recipes.tune(config, SPACE, tmp_path / "run", Effort(trials=8))
    assert ledger(tmp_path / "run") == ledger(tmp_path / "whole")


@pytest.mark.parametrize(
    ("given", "said"), [({"trials": 0}, "--trials must be above 0"), ({"folds": 0}, "--folds"), ({"time_s": -1}, "--time")]
)
def test_an_effort_that_cannot_be_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        Effort(**given)


def test_a_missing_optuna_is_said_in_one_line_before_anything_is_written(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"needs the package optuna.*pip install 'stockrnn\[tune\]'"):
        recipes.tune(config, SPACE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_config_that_cannot_be_trained_on_the_data_leaves_nothing(config, tmp_path):
    with pytest.raises(DataError, match="lookback"):
        recipes.tune(load_config(None, [f"data.path={config.data.path}", "window.lookback=300"]), SPACE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_space_that_changes_nothing_leaves_no_folder_of_a_default_name(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, cells = new_run_folder(None, "lstm-tune", dt.date(2026, 1, 1)), space_of({"model": {"cell": ["lstm", "gru"]}}, "s")
    with pytest.raises(ConfigError, match=r"every network of `train\.ensemble` has of its own"):
        recipes.tune(load_config("quantile", [f"data.path={config.data.path}"]), cells, folder)
    assert not Path("runs").exists()


# --- the real thing ----------------------------------------------------------------------------------------------------------


@pytest.mark.network
def test_trials_train_networks_and_the_winner_becomes_a_run(no_pictures, config, tmp_path):
    space = space_of({"train.learning_rate": {"low": 0.003, "high": 0.02, "log": True}}, "s")
    found = recipes.tune(config, space, tmp_path / "run", Effort(trials=2, folds=2)).summary
    kept = json.loads(ledger(tmp_path / "run"))
    assert all(unit["epochs"] == 6 and [len(curve) for curve in unit["curves"]] == [2, 2, 2] for unit in kept["units"].values())
    assert found["config"]["crps"] == pytest.approx(
        np.mean([base_fold(make_arena(config, random_walk(400), 2), (config, k), lambda _: 0)["crps"] for k in (0, 1)])
    )
    trained = recipes.train(load_config(tmp_path / "run" / "best.yaml"), tmp_path / "trained")
    assert trained.metrics["network"] == "simple_rnn"


@pytest.mark.network
def test_a_diverging_trial_says_so_and_no_more(config):
    arena = make_arena(config, random_walk(400), 2)
    wild = load_config("lstm", [*TINY, "train.learning_rate=1e30", "train.optimizer=sgd", "train.clip_norm=null"])
    assert "Lower `train.learning_rate`" in try_fold(arena, (wild, 0), lambda _: 0)["failed"]


# --- processes that die ------------------------------------------------------------------------------------------------------

DRIVER = """
import sys
from stockrnn.cli import main
from stockrnn.evaluation import tuning
from stockrnn.recipes import tuning as recipe
from tests import objectives
tuning.try_fold = tuning.base_fold = objectives.score_slowly
tuning.check_fold = objectives.forecast
recipe.load_training = lambda *_: None
main()
"""


def start(run, *words):
    code = [sys.executable, "-c", DRIVER, "tune", "--run", str(run), *words]
    return subprocess.Popen(code, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def first(config, tmp_path, workers):
    (tmp_path / "space.yaml").write_text("train.learning_rate: {low: 0.0003, high: 0.03, log: true}\nmodel.dropout: [0.0, 0.2, 0.4]\n")
    settings = [*TINY, "train.learning_rate=0.02", f"train.workers={workers}"]
    words = ["--data", config.data.path, "--space", str(tmp_path / "space.yaml"), "--trials", "24"]
    return [*words, *(word for setting in settings for word in ("--set", setting))]


def kill_often(config, tmp_path, chance, workers, kills, again):
    """Kill a search and go on with it, so often; whether its ledger is that of one left alone, and how often a result was made twice."""
    run = tmp_path / f"killed{again}"
    words, done = first(config, tmp_path, workers), 0
    while True:
        process = start(run, *words)
        try:
            _, said = process.communicate(timeout=chance.uniform(1.0, 4.0) if done < kills else 120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done += 1
        else:
            assert process.returncode == 0, said
            return ledger(run), done
        begun = (run / "checkpoint" / "search.json").exists() or (run / "tune.json").exists()  # or it was just complete
        words = ["--resume"] if begun else first(config, tmp_path, workers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_searches_killed_at_random_moments_lose_and_double_no_trial(config, tmp_path, workers):
    whole, chance, killed = tmp_path / "whole", random.Random(workers), 0
    process = start(whole, *first(config, tmp_path, workers))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    for again in range(5):
        found, done = kill_often(config, tmp_path, chance, workers, 1 + again % 3, again)
        killed += done
        assert found == ledger(whole)
        assert len({row["trial"] for row in json.loads(found)["trials"]}) == len(json.loads(found)["trials"]) == 25
    assert killed >= 5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_search_says_how_to_go_on(config, tmp_path, number, code):
    run = tmp_path / "run"
    process = start(run, *first(config, tmp_path, 1))
    while not list(run.glob("checkpoint/*.*.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (code, f"stockrnn: Interrupted. Go on with: stockrnn tune --resume --run {run}\n")
    assert not (run / "tune.json").exists()
