"""The folder of a run: which one is meant, what it must hold, and what is said when it does not."""

import contextlib
import datetime as dt
import hashlib
import io
import json
import os
import random
import shutil
import string
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from stockrnn import recipes
from stockrnn.configfile import load_config, to_yaml
from stockrnn.errors import ConfigError, DataError, RunDamagedError, RunInUseError, StorageError
from stockrnn.recipes.assembly import Stopwatch, run_in_the_making
from stockrnn.runs import parquet
from stockrnn.runs.directory import (
    CHECKPOINTS,
    DATA_HASH,
    FORMAT,
    LOCK_NAME,
    MANIFEST,
    PLOTS,
    REQUIRED,
    RUNS,
    SEARCH,
    _sealed,
    add_files,
    begin_run,
    end_run,
    find_run,
    is_begun,
    is_complete,
    is_unfinished,
    list_runs,
    model_names,
    new_run_folder,
    note_data,
    open_run,
    remove_unfinished,
    unfinished_run,
    write_run,
)
from stockrnn.runs.files import FORECASTS, read_forecasts, read_history, read_sealed, to_csv, to_json, to_sealed
from stockrnn.runs.parquet import forecasts_file, read_parquet, to_parquet
from stockrnn.runs.searches import Terms, read_summary, terms_of, unfinished_search, write_search
from stockrnn.searchspace import space_of
from stockrnn.storage import lock_folder, sha256, shipped

GOLDEN = Path(__file__).parent / "golden" / "format1"
TODAY = dt.date(2026, 3, 9)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(place):
    return Path(shutil.copytree(GOLDEN, place / "run"))


def made(folder, at):
    shutil.copytree(GOLDEN, folder)
    os.utime(Path(folder) / MANIFEST, ns=(at, at))
    return Path(folder)


def seal(run, **changes):
    manifest = {name: value for name, value in json.loads((run / MANIFEST).read_text()).items() if name != "sha256"}
    (run / MANIFEST).write_bytes(_sealed({**manifest, **changes}))


# --- which run ----------------------------------------------------------------------------------------------------------------


def test_the_layout_is_the_one_that_was_released():
    assert (FORMAT, RUNS, MANIFEST, PLOTS, CHECKPOINTS, DATA_HASH) == (1, "runs", "manifest.json", "plots", "checkpoint", "data.sha256")
    files = "config.yaml weights.safetensors model.onnx scaler.json metrics.json history.csv"
    assert tuple(files.split()) == REQUIRED
    assert FORECASTS == ("forecasts.csv", "forecasts.parquet")
    assert model_names(3) == ["model.onnx", "model.1.onnx", "model.2.onnx"]


def test_a_run_is_a_folder_else_a_name_in_runs_else_the_newest_complete_one(place):
    with pytest.raises(ConfigError, match=r"a run in runs/\. Received: none"):
        find_run(None)
    assert list_runs() == []
    second, first = made("runs/a", 2000), made("runs/b", 1000)
    (place / "runs/unfinished").mkdir()
    assert list_runs() == [first, second]
    assert find_run(None) == second
    assert find_run("b") == first
    made("b", 0)
    assert find_run("b") == Path("b")
    for name in ("c", "x" * 300, "\0"):
        with pytest.raises((ConfigError, ValueError), match=r"a name in runs/|null"):
            find_run(name)
    assert open_run(first).name == "b"


def test_a_damaged_run_does_not_hide_the_others(place, capsys):
    from stockrnn import commands

    for number, name in enumerate("abc"):
        made(f"runs/{name}", number)
    (place / "runs/b/weights.safetensors").unlink()
    commands.runs_list(json=True)
    said = capsys.readouterr()
    assert [row["name"] for row in json.loads(said.out)] == ["a", "c"]
    assert said.err.startswith("b is left out: runs/b/weights.safetensors must be a plain file")
    assert said.err.count("\n") == 1
    commands.runs_list(json=False)
    assert "left out" in capsys.readouterr().err


def test_a_folder_that_may_not_be_looked_into_does_not_hide_the_others(place):
    place.chmod(0o755)
    for number, name in enumerate("ab"):
        made(f"runs/{name}", number)
    (place / "runs/b").chmod(0)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            if os.geteuid() == 0:
                os.setuid(65534)  # to root nothing is forbidden
            for find in (unfinished_run, unfinished_search):
                with pytest.raises(ConfigError, match=r"Received: none in runs"):
                    find(None)
            os._exit([list_runs(), find_run(None)] != [[Path("runs/a")], Path("runs/a")])
        os._exit(70)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (place / "runs/b").chmod(0o755)


def test_a_new_run_is_named_by_date_and_config_and_numbered(place):
    assert new_run_folder(None, "lstm", TODAY) == Path("runs/2026-03-09-lstm")
    (place / "runs/2026-03-09-lstm-2").mkdir()
    assert new_run_folder(None, "lstm", TODAY) == Path("runs/2026-03-09-lstm-3")


def test_runs_that_start_in_the_same_instant_have_names_of_their_own(place):
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: new_run_folder(None, "lstm", TODAY), range(40)))
    assert set(names) == {Path("runs/2026-03-09-lstm"), *(Path(f"runs/2026-03-09-lstm-{k}") for k in range(2, 41))}


def test_a_run_that_fails_takes_the_folder_made_for_it_away(place):
    folder = new_run_folder(None, "lstm", TODAY)
    with pytest.raises(DataError), run_in_the_making(folder):
        raise DataError("no")
    assert not (place / "runs").exists()


@pytest.mark.parametrize(("error", "stays"), [(DataError, False), (ConfigError, False), (StorageError, True)])
def test_a_state_that_would_fail_again_goes_with_the_run_that_began_it(place, run, error, stays):
    config, state = open_run(run).config, place / "chosen/checkpoint/state.0.safetensors"

    def fail():
        with run_in_the_making(Path("chosen")):
            begin_run(Path("chosen"), config)
            state.write_text("learnt")
            raise error("no")

    with pytest.raises(error):
        fail()
    assert state.exists() == (place / "chosen").exists() == stays
    begin_run(Path("chosen"), config)  # by another one, whose state is not taken away
    with pytest.raises(error):
        fail()
    assert state.exists()


def test_a_search_keeps_its_trials_whatever_ends_it(place, run):
    def fail():
        with run_in_the_making(Path("tuned")):
            begin_run(Path("tuned"), open_run(run).config)
            for name in ("search.json", "trial0.json"):
                (place / "tuned/checkpoint" / name).write_text("{}")
            raise DataError("no")

    with pytest.raises(DataError):
        fail()
    assert (place / "tuned/checkpoint/trial0.json").exists()


def test_a_chosen_folder_must_be_new_or_empty(run, place):
    config = open_run(run).config
    assert new_run_folder("new", "lstm", TODAY) == Path("new")
    (place / "file").write_text("")
    for name in (str(run), "file"):
        with pytest.raises(ConfigError, match=f"{name}, which is neither"):
            new_run_folder(name, "lstm", TODAY)
    empty = place / "empty"
    (empty / CHECKPOINTS).mkdir(parents=True)
    (empty / LOCK_NAME).write_text("")
    (empty / ".1-1.tmp").write_text("")
    (empty / CHECKPOINTS / ".1-1.tmp").write_text("")
    assert new_run_folder(str(empty), "lstm", TODAY) == empty
    (empty / CHECKPOINTS / "x").write_text("")
    with pytest.raises(ConfigError, match="which is neither"):
        new_run_folder(str(empty), "lstm", TODAY)
    odd = place / "odd"
    odd.mkdir()
    (odd / CHECKPOINTS).write_text("a file")
    with pytest.raises(ConfigError, match="which is neither"):
        new_run_folder(str(odd), "lstm", TODAY)
    begin_run(place / "begun", config)
    with pytest.raises(ConfigError, match=r"an unfinished run\. Add --resume"):
        new_run_folder("begun", "lstm", TODAY)
    (place / "searched/checkpoint").mkdir(parents=True)
    (place / "searched/checkpoint/search.json").write_text("")
    with pytest.raises(ConfigError, match=r"an unfinished run\. Add --resume"):
        new_run_folder("searched", "lstm", TODAY)
    (place / "used").mkdir()
    with lock_folder(place / "used"), pytest.raises(RunInUseError):
        new_run_folder("used", "lstm", TODAY)


def test_resume_means_the_chosen_run_else_the_newest_unfinished_one(run, place):
    config = open_run(run).config
    with pytest.raises(ConfigError, match=r"Received: none in runs\. Train"):
        unfinished_run(None)
    for name, at in (("a", 3), ("b", 9), ("c", 5)):
        begin_run(Path("runs") / name, config)
        os.utime(Path("runs") / name / CHECKPOINTS, (at, at))
    made("runs/d", 0)
    assert unfinished_run(None) == (Path("runs/b"), config)
    assert unfinished_run("runs/a") == (Path("runs/a"), config)
    assert unfinished_run("run") == (Path("run"), config)
    with pytest.raises(ConfigError, match="Received: runs/none"):
        unfinished_run("runs/none")
    states = {name: (is_begun(Path(name)), is_unfinished(Path(name)), is_complete(Path(name))) for name in ("run", "runs/a", "runs")}
    assert states == {"run": (True, False, True), "runs/a": (True, True, False), "runs": (False, False, False)}


# --- beginning and end ----------------------------------------------------------------------------------------------------------


def test_a_training_is_begun_once_and_goes_on_with_the_same_config_and_data(run, place):
    config, folder = open_run(run).config, place / "new"
    (folder / PLOTS).mkdir(parents=True)
    for inside in (folder, folder / PLOTS):
        (inside / ".1-1.tmp").write_text("left by the dead")
    begin_run(folder, config)
    assert (folder / CHECKPOINTS / "config.yaml").read_text() == to_yaml(config)
    assert list(folder.rglob("*.tmp")) == []
    note_data(folder, "a" * 64, "p.csv")
    begin_run(folder, config)
    note_data(folder, "a" * 64, "p.csv")
    with pytest.raises(ConfigError, match=r"Received: p\.csv with SHA-256 bbbbbbbbbbbb…, not aaaaaaaaaaaa…"):
        note_data(folder, "b" * 64, "p.csv")
    (folder / CHECKPOINTS / DATA_HASH).write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="needs the data of the unfinished run"):
        note_data(folder, "a" * 64, "p.csv")
    with pytest.raises(ConfigError, match=r"run, a complete run\. Choose another"):
        begin_run(run, config)
    (folder / ".1-1.tmp").write_text("left by the dead")
    end_run(folder)
    assert [path.name for path in folder.iterdir()] == [PLOTS]
    end_run(folder)


@pytest.mark.parametrize("name", [CHECKPOINTS, PLOTS])
def test_state_and_pictures_are_not_written_through_a_link(run, place, name):
    (place / "elsewhere").mkdir()
    (place / "new").mkdir()
    (place / "new" / name).symlink_to("../elsewhere")
    with pytest.raises(RunDamagedError, match=rf"{name} must be a folder\. Received: a link"):
        begin_run(place / "new", open_run(run).config)
    assert list((place / "elsewhere").iterdir()) == []


def test_what_a_failed_run_left_is_taken_away_but_nothing_else(run, place):
    config = open_run(run).config

    def failed(name, existed=False, keep=None):
        folder = Path(name)
        begin_run(folder, config)
        note_data(folder, "a" * 64, "p.csv")
        (folder / PLOTS).mkdir()
        (folder / ".1-1.tmp").write_text("left by the dead")
        if keep is not None:
            (folder / keep).write_text("kept")
        remove_unfinished(folder, existed)
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else None

    assert failed("gone") is None
    assert failed("was there", existed=True) == []
    assert failed("mine", keep="mine.txt") == ["mine.txt"]
    assert failed("drawn", keep="plots/mine.png") == [PLOTS, "plots/mine.png"]
    state = [CHECKPOINTS, "checkpoint/config.yaml", "checkpoint/data.sha256", "checkpoint/state.0.safetensors"]
    assert failed("trained", keep="checkpoint/state.0.safetensors") == state
    assert failed("deep/last") is None
    assert (place / "deep").exists()
    assert failed("runs/last") is None
    assert not (place / "runs").exists()
    (place / "runs/other").mkdir(parents=True)
    assert failed("runs/last") is None
    assert (place / "runs/other").exists()
    remove_unfinished(place / "never", existed=False)
    with lock_folder(place / "held"):
        (place / "held" / ".1-1.tmp").write_text("being written")
        remove_unfinished(place / "held", existed=False)
        assert (place / "held" / ".1-1.tmp").exists()


# --- what a run must hold ---------------------------------------------------------------------------------------------------------


def test_a_folder_without_a_manifest_is_no_complete_run(place):
    (place / "x").mkdir()
    with pytest.raises(RunDamagedError, match=r"x must be a complete run\. Received: no manifest\.json"):
        open_run(place / "x")


def test_a_manifest_says_what_is_wrong_with_it(run):
    for text, said in (
        (b"[]", "be the manifest of a run"),
        (b'{"format": 9}', r"stockrnn unknown\."),
        (b'{"format": 9, "versions": {}}', r"stockrnn unknown\."),
    ):
        (run / MANIFEST).write_bytes(text)
        with pytest.raises(RunDamagedError, match=said):
            open_run(run)
    (run / MANIFEST).write_bytes(b'{"format": "' + b"9" * 99 + b'", "versions": {"stockrnn": "' + b"8" * 99 + b'"}}')
    with pytest.raises(RunDamagedError, match=r"Received: 9{40}, written by stockrnn 8{40}\."):
        open_run(run)
    shutil.copy(GOLDEN / MANIFEST, run)
    files = json.loads((run / MANIFEST).read_text())["files"]
    for wrong in ([], {}, {**files, "x.csv": 5}, {name: digest for name, digest in files.items() if name != "history.csv"}):
        seal(run, files=wrong)
        with pytest.raises(RunDamagedError, match="name the files of a run"):
            open_run(run)
    seal(run, files=files, onnx_difference=True)
    with pytest.raises(RunDamagedError, match="how far the exported model is off"):
        open_run(run)
    seal(run, onnx_difference=0)
    open_run(run)
    (run / MANIFEST).write_bytes((run / MANIFEST).read_bytes().replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(RunDamagedError, match=r"manifest\.json must be as it was written"):
        open_run(run)


def test_a_file_is_read_by_a_name_in_the_manifest(run):
    opened = open_run(run)
    with pytest.raises(RunDamagedError, match=r"manifest\.json must name the file 'other\.json'"):
        opened.json("other.json")
    with pytest.raises(RunDamagedError, match=f"'{'n' * 80}'"):
        opened.read("n" * 99)
    (run / "metrics.json").write_text("{}")
    with pytest.raises(RunDamagedError, match=r"metrics\.json must be as it was written\. Received: other bytes than manifest"):
        opened.json("metrics.json")


def test_a_config_that_this_version_does_not_read_is_damage(run):
    (run / "config.yaml").write_text("nonsense: 1\n")
    seal(run, files={**json.loads((run / MANIFEST).read_text())["files"], "config.yaml": digest(run / "config.yaml")})
    with pytest.raises(RunDamagedError, match=r"a config this version reads\. Received: config\.yaml: `nonsense` is not a key"):
        open_run(run)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_work_under_way_is_json_below_its_own_hash(tmp_path):
    """Another first line, or another byte below it, is nothing whole."""
    data = to_sealed({"epoch": 3})
    assert data == sha256(b'{\n  "epoch": 3\n}\n').encode() + b'\n{\n  "epoch": 3\n}\n'
    path = tmp_path / "state.json"
    assert read_sealed(path) is None
    for content, wanted in ((data, {"epoch": 3}), (data.replace(b"3", b"4"), None), (data[:-1], None), (b"x" + data, None), (b"", None)):
        path.write_bytes(content)
        assert read_sealed(path) == wanted


def test_a_search_is_written_in_the_form_that_was_released(place):
    config = load_config("lstm", ["data.start=2020-01-02"])
    terms = Terms(config, space_of({"train.learning_rate": [0.1, 0.2]}, "space"), 4, {"sha256": "0" * 64})
    written = json.loads(to_json(terms.to_dict()))  # dates as texts
    assert (list(written), written["format"], written["folds"]) == (["format", "config", "space", "folds", "data"], 1, 4)
    assert written["config"]["data"]["start"] == "2020-01-02"
    assert terms_of(written, place) == terms
    assert write_search(place / "search", {"trials.csv": b"x"}, {"folds": 4}) == read_summary(place / "search")
    assert read_summary(place / "search") == {"format": 1, "folds": 4, "files": {"trials.csv": sha256(b"x")}}
    assert (place / "search/trials.csv").read_bytes() == b"x"


@pytest.mark.parametrize(
    "summary", ["", "[1]", "3", "{}", '{"format": 1}', '{"format": 1, "files": 3}', '{"format": 1, "files": {}}', None]
)
def test_a_search_that_was_altered_is_named_and_not_gone_on_with(place, summary):
    write_search(place / "done", {"ledger.json": b"{}"}, {})
    (place / "done/tune.json").write_text(summary) if summary is not None else (place / "done/ledger.json").unlink()
    with pytest.raises(RunDamagedError, match=r"done/(tune|ledger)\.json must"):
        unfinished_search(str(place / "done"))


def test_a_search_of_another_format_is_refused_with_the_version_that_wrote_it(place):
    write_search(place / "done", {}, {"versions": {"stockrnn": "9.1"}})
    path = place / "done/tune.json"
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(RunDamagedError, match=r"tune\.json must have format 1\. Received: 2, written by stockrnn 9\.1\."):
        unfinished_search("done")
    (place / "begun/checkpoint").mkdir(parents=True)
    (place / "begun/checkpoint" / SEARCH).write_bytes(to_sealed({"format": 2}))
    with pytest.raises(RunDamagedError, match=r"must have format 1\. Received: 2"):
        unfinished_search("begun")


def test_a_picture_may_be_deleted_and_nothing_else(run):
    with lock_folder(run):
        add_files(open_run(run), {"plots/a.png": b"a"})
    (run / "plots/a.png").unlink()
    opened = open_run(run)
    add_files(opened, {"plots/b.png": b"b"})
    assert list(opened.manifest["files"]) == sorted(opened.manifest["files"])
    assert list(open_run(run).manifest["files"]) == sorted([*opened.manifest["files"], "plots/b.png"])
    (run / "plots/b.png").write_bytes(b"c")
    with pytest.raises(RunDamagedError, match=r"plots/b\.png must be as it was written"):
        open_run(run)
    (run / "plots/b.png").unlink()
    for name in (*REQUIRED, "forecasts.csv"):
        (run / name).rename(run / "away")
        with pytest.raises(RunDamagedError, match=rf"{name} must be a plain file .* Received: none"):
            open_run(run)
        (run / "away").rename(run / name)


def test_the_files_of_a_run_are_written_before_its_manifest(place, monkeypatch):
    from stockrnn.runs import directory

    written = []
    monkeypatch.setattr(directory, "write_bytes", lambda path, data: written.append(str(path.relative_to(place))))
    write_run(place / "r", {"b.csv": b"", "a.csv": b""}, {"seed": 3})
    assert written == ["r/b.csv", "r/a.csv", "r/manifest.json"]
    assert (place / "r" / PLOTS).is_dir()
    monkeypatch.undo()
    write_run(place / "r", {"b.csv": b"", "a.csv": b""}, {"seed": 3})
    manifest = json.loads((place / "r" / MANIFEST).read_text())
    assert list(manifest) == ["format", "seed", "files", "sha256"]
    assert list(manifest["files"]) == ["a.csv", "b.csv"]


def test_a_run_that_changes_all_the_time_is_not_taken_for_damaged(run, monkeypatch):
    from stockrnn.runs import directory

    tries = []

    def drawn(self):
        tries.append(1)
        seal(run, seed=len(tries))
        raise RunDamagedError("other bytes")

    monkeypatch.setattr(directory.Run, "check", drawn)
    with pytest.raises(RunDamagedError, match=r"Received: a writer\. Try again"):
        open_run(run)
    assert len(tries) == 5


METRICS = {
    "network": {},
    "no verdict": {"verdict": None},
    "texts for scores": {"test": {"start": "a", "end": "b", "n": 1, "models": {"lstm": {"mae": "low"}}}},
    "a text among scores": {"test": {"start": "a", "end": "b", "n": 1, "models": {"lstm": {"mae": 1.0, "mse": "low"}}}},
    "a number among what is said": {"verdict": ["good", 1]},
    "a truth for a score": {"test": {"start": "a", "end": "b", "n": 1, "models": {"lstm": {"mae": True}}}},
    "no such network": {"network": "gru"},
    "half a session": {"test": {"start": "a", "end": "b", "n": 1.5, "models": {"lstm": {}}}},
    "a number for a date": {"test": {"start": 1, "end": "b", "n": 1, "models": {"lstm": {}}}},
    "a number in the verdict": {"verdict": [1]},
    "a number in the alarms": {"alarms": [1]},
    "a text for tests": {"significance": "none"},
    "a test of a word": {"significance": {"kupiec": {"AAPL": {"statistic": 1.0, "p_holm": "small"}}}},
    "a test without its p": {"significance": {"diebold_mariano": {"naive": {"crps": {"statistic": 1.0}}}}},
    "a reason for a test that is a list": {"significance": {"undefined": {"kupiec": []}}},
    "an interval with one end": {"significance": {"skill_interval_95": {"crps": [0.1]}}},
}
SPANS = {"start": "a", "end": "b", "n": 1, "models": {"lstm": {}}}
METRICS |= {
    "steps that are a number": {"test": {**SPANS, "steps": 5}},
    "a text among a year's scores": {"test": {**SPANS, "years": {"2020": {"lstm": {"mae": "low"}}}}},
    "a skill of tickers without its best": {"test": {**SPANS, "ticker_skill": {"tickers": 2, "above_0": 1, "median": 0.1, "worst": {}}}},
    "a reason that is a number": {"test": {**SPANS, "undefined": {"mape": 1}}},
}


@pytest.mark.parametrize("case", METRICS)
def test_scores_are_numbers_and_what_is_said_is_text(run, case):
    before = json.loads((run / "metrics.json").read_text())
    changed = {**before, **METRICS[case]} if case != "network" else {name: value for name, value in before.items() if name != "network"}
    (run / "metrics.json").write_bytes(to_json(changed))
    seal(run, files={**json.loads((run / MANIFEST).read_text())["files"], "metrics.json": digest(run / "metrics.json")})
    with pytest.raises(RunDamagedError, match=r"metrics\.json must hold the scores of a run"):
        open_run(run)


# --- text files -------------------------------------------------------------------------------------------------------------------


def test_json_is_readable_and_refuses_what_json_does_not_know():
    assert to_json({"b": 0.1, "a": "é"}) == '{\n  "b": 0.1,\n  "a": "é"\n}\n'.encode()
    with pytest.raises(ValueError, match="JSON"):
        to_json(float("nan"))


def test_dates_have_a_time_where_one_of_them_has_one():
    table = pd.DataFrame({"date": pd.to_datetime(["2026-01-02", None, "2026-01-05"]), "x": [0.1, None, 1 / 3]})
    assert to_csv(table) == b"date,x\n2026-01-02,0.1\n,\n2026-01-05,0.3333333333333333\n"
    table["date"] += pd.Timedelta(hours=1)
    assert to_csv(table).splitlines()[1] == b"2026-01-02T01:00:00,0.1"
    assert table["date"].iloc[0] == pd.Timestamp("2026-01-02T01:00:00")
    table.loc[2, "date"] = pd.Timestamp("2026-01-05")
    assert to_csv(table).splitlines()[1:] == [b"2026-01-02T01:00:00,0.1", b",", b"2026-01-05T00:00:00,0.3333333333333333"]


def test_history_and_forecasts_come_back_to_the_last_bit():
    for name, read in (("history.csv", read_history), ("forecasts.csv", read_forecasts)):
        data = (GOLDEN / name).read_bytes()
        assert to_csv(read(data)) == data
        assert read(data.decode()).equals(read(data))
    with pytest.raises(RunDamagedError, match=r"history\.csv must be a table of epochs\. Received: other columns"):
        read_history((GOLDEN / "forecasts.csv").read_bytes())
    with pytest.raises(RunDamagedError, match=r"forecasts\.csv must be a forecast table\. Received: other columns"):
        read_forecasts((GOLDEN / "forecasts.csv").read_bytes().replace(b"q05", b"q06", 1))
    with pytest.raises(RunDamagedError, match=r"forecasts\.csv must be a forecast table\. Received: \w"):
        read_forecasts(b"")
    words = (GOLDEN / "forecasts.csv").read_text().splitlines()
    with pytest.raises(RunDamagedError, match="other columns"):
        read_forecasts("\n".join([words[0], words[1].rpartition(",")[0] + ",high"]))


# --- a forecast table as Parquet ---------------------------------------------------------------------------------------------


def test_a_large_forecast_table_is_parquet_of_the_same_bytes_each_time_and_comes_back_to_the_last_bit(monkeypatch):
    table = read_forecasts((GOLDEN / "forecasts.csv").read_bytes())
    assert forecasts_file(table) == {"forecasts.csv": to_csv(table)}
    monkeypatch.setattr(parquet, "MOST_CSV_ROWS", len(table) - 1)
    monkeypatch.setattr(parquet, "ROWS_A_GROUP", 100)
    ((name, data),) = forecasts_file(table).items()
    assert (name, data) == ("forecasts.parquet", to_parquet(table.copy()))
    table.loc[3, "actual"], table.loc[4, "q50"] = float("nan"), 0.1 + 0.2
    table.loc[5, ["cutoff", "date"]] += pd.Timedelta(hours=9, minutes=31, seconds=7)
    table.loc[6, "ticker"] = "=\x1bé"
    again = read_parquet(to_parquet(table), Path(name))
    pd.testing.assert_frame_equal(again, table.replace({"ticker": {"=\x1bé": "=\N{REPLACEMENT CHARACTER}é"}}), check_exact=True)


def large(run):
    """The run with its forecast table as Parquet."""
    files = json.loads((run / MANIFEST).read_text())["files"]
    data = to_parquet(read_forecasts((run / "forecasts.csv").read_bytes()))
    (run / "forecasts.csv").unlink()
    (run / "forecasts.parquet").write_bytes(data)
    seal(run, files={name: digest for name, digest in files.items() if name != "forecasts.csv"} | {"forecasts.parquet": sha256(data)})
    return open_run(run)


def test_every_command_reads_a_run_whose_forecasts_are_parquet(run, place):
    small, names = open_run(shutil.copytree(run, place / "small")), []
    opened = large(run)
    assert opened.forecasts().equals(small.forecasts())
    for each, folder in ((opened, place / "a"), (small, place / "b")):
        names.append({path.name: path.read_bytes() for path in recipes.plot(each, folder, "svg")})
    assert names[0] == names[1]
    compared = recipes.compare_runs([opened, small])
    assert compared.pairs[0].ratios["crps"] == 1
    assert not recipes.predict(opened, str(shipped("data") / "goog.csv")).rows.empty


def test_a_run_has_one_forecast_table(run):
    files = json.loads((run / MANIFEST).read_text())["files"]
    for changed in ({**files, "forecasts.parquet": "0" * 64}, {name: digest for name, digest in files.items() if name != "forecasts.csv"}):
        seal(run, files=changed)
        with pytest.raises(RunDamagedError, match="name the files of a run"):
            open_run(run)


def test_a_strangers_parquet_is_no_larger_than_its_file():
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = read_forecasts((GOLDEN / "forecasts.csv").read_bytes())
    data = to_parquet(table)
    plain = pq.read_table(io.BytesIO(data))

    def written(table, **options):
        stream = io.BytesIO()
        pq.write_table(table, stream, **options)
        return stream.getvalue()

    assert read_parquet(written(plain, compression="none", use_dictionary=False), Path("x")).equals(table)
    nullable = plain.cast(pa.schema([field.with_nullable(True) for field in plain.schema]))
    repeated = pa.concat_tables([plain.slice(0, 1)] * 60_000).combine_chunks()
    for hostile in (
        written(repeated, use_dictionary=True),
        written(nullable),
        written(plain.drop_columns(["q95"])),
        written(plain.rename_columns([name.upper() for name in plain.column_names])),
        data[:-9],
        data[: len(data) // 2],
        b"",
        b"PAR1",
    ):
        with pytest.raises(RunDamagedError, match=r"forecasts\.parquet must be a forecast table as this package writes it"):
            read_parquet(hostile, Path("forecasts.parquet"))


def test_a_strangers_parquet_holds_as_many_rows_as_its_bytes_can():
    import pyarrow.parquet as pq

    one = read_forecasts((GOLDEN / "forecasts.csv").read_bytes()).head(1)

    def written(count):
        table = pq.read_table(io.BytesIO(to_parquet(pd.concat([one] * count, ignore_index=True))))
        stream = io.BytesIO()
        pq.write_table(table, stream, compression="none")  # each number is kept once
        return stream

    assert len(read_parquet(written(5).getvalue(), Path("forecasts.parquet"))) == 5
    stream = written(5000)
    assert len(stream.getvalue()) < 5000 * 8
    with pytest.raises(RunDamagedError, match="must be a forecast table as this package writes it"):
        read_parquet(stream.getvalue(), Path("forecasts.parquet"))


def test_a_damaged_parquet_is_refused_or_read_whatever_byte_changes():
    data, chance = to_parquet(read_forecasts((GOLDEN / "forecasts.csv").read_bytes()).head(40)), random.Random(0)
    for _ in range(400):
        place = chance.choice([chance.randrange(len(data)), len(data) - 1 - chance.randrange(2000)])
        changed = data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]
        with contextlib.suppress(RunDamagedError):
            assert len(read_parquet(changed, Path("x"))) <= 40


def test_a_ticker_that_looks_like_something_else_stays_a_text():
    table = read_forecasts((GOLDEN / "forecasts.csv").read_bytes()).head(8)
    tickers = ["NA", "null", "007", "=1", "'=1", "'x", "1e5", ""]
    again = read_forecasts(to_csv(table.assign(ticker=tickers, model=tickers)))
    assert again["ticker"].tolist() == again["model"].tolist() == tickers
    for ticker in ("007", "1e5", "NA"):  # in each row: nothing else says that the column holds text
        again = read_forecasts(to_csv(table.assign(ticker=ticker, model=ticker)))
        assert set(again["ticker"]) == set(again["model"]) == {ticker}


def test_only_what_a_spreadsheet_would_obey_gets_a_quote():
    plain = [sign for sign in string.ascii_letters + string.digits + "^.&_$#%(é" if sign.isprintable()]
    cells = to_csv(pd.DataFrame({"ticker": plain})).decode().splitlines()[1:]
    assert cells == plain
    assert to_csv(pd.DataFrame({"ticker": pd.Series([-1.5, "x", 2], dtype=object)})).decode().splitlines()[1:] == ["-1.5", "x", "2"]
    assert to_csv(pd.DataFrame({"ticker": ["=1", "+1", "-1", "@a"]})).decode().splitlines()[1:] == ["'=1", "'+1", "'-1", "'@a"]


def test_what_is_not_known_yet_is_an_empty_cell():
    table = read_forecasts((GOLDEN / "forecasts.csv").read_bytes()).head(8).assign(actual=float("nan"))
    assert read_forecasts(to_csv(table)).equals(table)
    epochs = read_history(b"member,epoch,loss,validation_loss\n0,1,0.5,0.25\n")
    assert list(epochs) == ["member", "epoch", "loss", "validation_loss"]
    for name in ("loss", "validation_loss", "learning_rate", "gradient_norm"):
        some = pd.concat([epochs, epochs], ignore_index=True).assign(**{name: [0.5, float("nan")]})
        assert read_history(to_csv(some)).equals(some)
    with pytest.raises(RunDamagedError, match=r"history\.csv must be a table of epochs\. Received: \w"):
        read_history(b"")


def test_stages_of_one_name_add_up():
    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("score"):
            time.sleep(0.05)
    assert watch.elapsed_s["score"] >= 0.1
