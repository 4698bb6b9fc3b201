"""The commands as a user runs them: files, exit codes, one line an error, and bytes that repeat."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockrnn import cli, commands, recipes
from stockrnn.configfile import load_config, shipped_configs
from stockrnn.errors import InterruptedRunError
from stockrnn.prices.loading import find_files
from stockrnn.recipes import assembly
from stockrnn.reports.plots import FIGURES
from stockrnn.runs.directory import begin_run
from stockrnn.storage import shipped
from stockrnn.types import FORECAST_TABLE, QUANTILE_COLUMNS
from tests.factories import random_walk
from tests.units import undrawn

pytestmark = pytest.mark.network
GOLDEN = Path(__file__).parent / "golden" / "format1"
PRICES = GOLDEN.parent / "prices.csv"
SHORT = ["--set", "train.epochs=3", "--set", "model.units=[4]", "--set", "window.lookback=5"]
FILES = {
    *("config.yaml", "manifest.json", "weights.safetensors", "model.onnx", "scaler.json"),
    *("metrics.json", "scores.csv", "history.csv", "forecasts.csv"),
}


def stockrnn(*arguments, cwd, **environment):
    command = [sys.executable, "-m", "stockrnn", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def write_prices(path, prices):
    frame = prices[["date", "open", "high", "low", "close", "volume"]].rename(columns=str.capitalize)
    frame.assign(Volume=frame["Volume"].astype(int)).to_csv(path, index=False, date_format="%Y-%m-%d")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty folder in which `stockrnn train` ran once, with nothing but a shorter training."""
    folder = tmp_path_factory.mktemp("place")
    done = stockrnn("train", *SHORT, "--set", "window.horizon=2", cwd=folder, LOKY_MAX_CPU_COUNT="2")  # with a worker, as a user's
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def run(place):
    (folder,) = (place / "runs").iterdir()
    return folder


def test_training_leaves_exactly_the_files_of_a_run(run):
    assert {entry.name for entry in run.iterdir()} == FILES | {"plots"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-lstm", run.name)
    pictures = {path.name for path in (run / "plots").iterdir()}
    assert pictures == {f"{name}.png" for name in FIGURES}
    manifest = json.loads((run / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((run / name).read_bytes()).hexdigest() == digest
    assert set(manifest["windows"]) == {"train", "validation", "calibration", "test"}
    assert min(manifest["windows"][span] for span in ("train", "validation", "test")) > 0
    assert {"train", "score", "export and plot"} <= set(manifest["elapsed_s"])


def test_the_terminal_shows_our_own_output_only(place, run):
    assert (place / "stderr.txt").read_text() == ""
    text = (place / "stdout.txt").read_text()
    for word in ("lstm", "naive", "drift", "ewma", "CRPS", "Point forecast", str(Path("runs") / run.name / "plots")):
        assert word in text


def test_every_score_that_is_null_has_a_reason_in_its_span(run):
    metrics = json.loads((run / "metrics.json").read_text())
    for span in ("validation", "test"):
        lacking = {name for scores in metrics[span]["models"].values() for name, value in scores.items() if value is None}
        assert lacking
        assert lacking <= metrics[span]["undefined"].keys()


def recompute(table):
    """The four scores from the forecast table, by pandas alone."""
    residual = table["actual"] - table["forecast"]
    pinball = [
        np.maximum(q * (d := table["actual"] - table[c]), (q - 1) * d)
        for q, c in zip(np.arange(0.05, 0.96, 0.05), QUANTILE_COLUMNS, strict=True)
    ]
    return {
        "mae": residual.abs().mean(),
        "rmse": (residual**2).mean() ** 0.5,
        "crps": (2 * sum(pinball) / 19).mean(),
        "coverage_90": ((table["q05"] <= table["actual"]) & (table["actual"] <= table["q95"])).mean(),
    }


def test_the_scores_follow_from_the_forecast_table(run):
    metrics = json.loads((run / "metrics.json").read_text())
    forecasts = pd.read_csv(run / "forecasts.csv")
    assert tuple(forecasts.columns) == FORECAST_TABLE
    assert set(metrics["test"]["models"]) == set(forecasts["model"]) == {"lstm", "naive", "drift", "ewma", "garch", "har"}
    for model, table in forecasts.groupby("model"):
        for name, value in recompute(table).items():
            assert metrics["test"]["models"][model][name] == pytest.approx(value, rel=1e-9, abs=1e-9)
    one = forecasts[forecasts["model"] == "lstm"]
    assert (metrics["test"]["n"], metrics["test"]["start"], metrics["test"]["end"]) == (len(one), one["date"].min(), one["date"].max())
    assert metrics["test"]["models"]["naive"]["skill_mae"] == metrics["test"]["models"]["naive"]["skill_crps"] == 0


def test_actuals_are_the_files_own_prices(run):
    prices = pd.read_csv(shipped("data") / "goog.csv").set_index("Date")["Close"]
    forecasts = pd.read_csv(run / "forecasts.csv")
    assert (forecasts["actual"] == prices.loc[forecasts["date"]].to_numpy()).all()
    naive = forecasts[forecasts["model"] == "naive"]
    assert (naive["forecast"] == prices.loc[naive["cutoff"]].to_numpy()).all()
    assert (forecasts["cutoff"] < forecasts["date"]).all()


@pytest.mark.parametrize("given", ["prices/*.csv", "prices", "prices/a.csv"])
def test_the_data_of_a_run_are_found_from_any_folder(tmp_path, monkeypatch, given):
    home = tmp_path / "mine [1]"
    (home / "prices").mkdir(parents=True)
    write_prices(home / "prices" / "a.csv", random_walk(30))
    monkeypatch.chdir(home)
    path = commands._settings("lstm", given, []).data.path
    monkeypatch.chdir("/")
    assert find_files(path) == [home / "prices" / "a.csv"]


GIVEN = {
    "nothing": (None, None, [], True),
    "the same line again": (None, str(PRICES), ["train.epochs=7"], True),
    "the same, with its config": ("gru", str(PRICES), ["train.epochs=7"], True),
    "another value": (None, None, ["train.epochs=8"], False),
    "another config": ("lstm", str(PRICES), ["train.epochs=7"], False),
}


@pytest.mark.parametrize("given", sorted(GIVEN))
def test_a_run_goes_on_with_what_it_was_begun_with_unless_the_command_says_otherwise(given, tmp_path, monkeypatch):
    *words, same = GIVEN[given]
    begun = commands._settings("gru", str(PRICES), ["train.epochs=7"])
    begin_run(tmp_path / "run", begun)
    asked = []

    def resume(config, folder, *_):
        asked.append(config)
        raise InterruptedRunError("stop")

    monkeypatch.setattr(recipes, "resume", resume, raising=False)
    with pytest.raises(InterruptedRunError):
        commands.train(*words, str(tmp_path / "run"), True, True, {"engine": "local", "address": None})
    assert (asked == [begun]) == same


def test_prediction_names_the_next_sessions_with_ordered_intervals(place):
    done = stockrnn("predict", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["forecasts"]
    assert [row["date"] for row in rows] == ["2008-10-15", "2008-10-16"]
    assert [row["cutoff"] for row in rows] == ["2008-10-14"] * 2
    for row in rows:
        assert row["lower_90"] <= row["lower_80"] <= row["forecast"] <= row["upper_80"] <= row["upper_90"]
        assert 0 <= row["p_up"] <= 1
        assert 200 < row["forecast"] < 600
    assert stockrnn("predict", "--json", cwd=place).stdout == done.stdout


def test_prediction_as_of_a_past_day_equals_the_scored_forecast(place, run):
    rows = json.loads(stockrnn("predict", "--asof", "2008-09-12", "--json", cwd=place).stdout)["forecasts"]
    table = pd.read_csv(run / "forecasts.csv").query("model == 'lstm' and cutoff == '2008-09-12'")
    assert [row["date"] for row in rows] == table["date"].tolist()
    np.testing.assert_allclose([row["forecast"] for row in rows], table["forecast"], rtol=1e-6)
    np.testing.assert_allclose([row["lower_90"] for row in rows], table["q05"], rtol=1e-6)


def test_prediction_writes_the_forecast_table_and_loads_no_tensorflow(place, tmp_path):
    code = (
        "import sys, contextlib\nfrom stockrnn.cli import main\n"
        f"sys.argv = ['stockrnn', 'predict', '--output', {str(tmp_path / 'f.csv')!r}]\n"
        "with contextlib.suppress(SystemExit): main()\nprint(*{n.split('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "sklearn", "matplotlib"} & set(done.stdout.splitlines()[-1].split())
    table = pd.read_csv(tmp_path / "f.csv")
    assert tuple(table.columns) == FORECAST_TABLE
    assert table["actual"].isna().all()


def test_prediction_skips_thanksgiving(place, tmp_path):
    goog = pd.read_csv(shipped("data") / "goog.csv")
    days = pd.bdate_range("2008-10-15", "2008-11-26")
    more = goog.tail(len(days)).assign(Date=days.strftime("%Y-%m-%d"))
    pd.concat([goog, more]).to_csv(tmp_path / "goog.csv", index=False)
    rows = json.loads(stockrnn("predict", "--data", tmp_path / "goog.csv", "--json", cwd=place).stdout)["forecasts"]
    assert [row["date"] for row in rows] == ["2008-11-28", "2008-12-01"]


def test_plots_go_where_they_are_sent_and_the_run_stays_whole(place, run, tmp_path):
    done = stockrnn("plot", run, "--output", tmp_path / "p", "--format", "svg", cwd=place)
    assert done.returncode == 0, done.stderr
    pictures = {path.stem for path in (tmp_path / "p").glob("*.svg")}
    assert pictures == {path.stem for path in (run / "plots").glob("*.png")}
    before = {path.name: path.read_bytes() for path in (run / "plots").iterdir()}
    assert stockrnn("plot", cwd=place).returncode == 0
    assert {path.name: path.read_bytes() for path in (run / "plots").iterdir()} == before
    assert stockrnn("predict", run.name, cwd=place).returncode == 0


def test_runs_and_configs_are_listed_and_shown(place, run):
    assert run.name in stockrnn("runs", "list", cwd=place).stdout
    shown = json.loads(stockrnn("runs", "show", run.name, "--json", cwd=place).stdout)
    assert shown["metrics"]["network"] == "lstm"
    assert "ewma" in stockrnn("runs", "show", cwd=place).stdout
    assert set(json.loads(stockrnn("configs", "list", "--json", cwd=place).stdout)) == set(shipped_configs())
    assert "lookback: 7" in stockrnn("configs", "show", "seven_day.yaml", cwd=place).stdout
    assert json.loads(stockrnn("configs", "schema", cwd=place).stdout)["properties"]["model"]


def test_inspection_of_the_shipped_file(place, tmp_path):
    done = stockrnn("inspect", shipped("data") / "goog.csv", "--output", tmp_path / "i", cwd=place)
    assert done.returncode == 0, done.stderr
    for word in ("2004-08-19", "2008-10-14", "1,047", "362.71", "Adj Close"):
        assert word in done.stdout
    assert {path.suffix for path in (tmp_path / "i").iterdir()} == {".png"}
    document = json.loads(stockrnn("inspect", shipped("data") / "goog.csv", "--json", cwd=place).stdout)
    assert document["tickers"]["goog"]["rows"] == 1047
    assert document["tickers"]["goog"]["last"]["close"] == 362.71


def digests(folder, names=("weights.safetensors", "metrics.json", "forecasts.csv", "history.csv", "scaler.json")):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def test_one_seed_gives_one_result_in_this_process_and_in_fresh_ones_after_a_kill(tmp_path):
    settings = ["--config", "gru", *SHORT, "--set", "train.epochs=60", "--set", "train.early_stopping.patience=60"]
    settings += ["--set", "model.dropout=0.2", "--set", "model.recurrent_dropout=0.1", "--set", "train.ensemble=2"]
    recipes.train(load_config("gru", settings[3::2]), tmp_path / "a")
    command = [sys.executable, "-m", "stockrnn", "train", *settings, "--run", "c"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "c").glob("checkpoint/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, stderr
    assert stderr.count("\n") == 1
    assert "--resume --run c" in stderr
    refused = stockrnn("train", "--config", "lstm", "--resume", "--run", "c", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert stockrnn("train", "--resume", "--run", "c", cwd=tmp_path).returncode == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "c")


def test_a_system_without_posix_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr().err
    assert (left.value.code, said.count("\n")) == (2, 1)
    assert "Linux" in said
    assert "WSL" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_config_trains_in_full_and_says_what_it_is_worth(name, tmp_path):
    done = stockrnn("train", "--config", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Point forecast:" in done.stdout


DRAWN = {"direction.yaml", "many_to_many.yaml"}
"""Those whose pictures are unlike the others'."""
FEWER = {"panel.yaml": ["train.ensemble=[{cell: lstm}, {cell: gru, lookback: 10}]"]}
"""What takes long and is another's: the networks of quantile.yaml."""


@pytest.mark.parametrize(  # of the three that differ by their cell alone, one among the fast tests
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in {"gru.yaml", "simple_rnn.yaml"} else name for name in shipped_configs()]
)
def test_every_shipped_config_trains(name, tmp_path, monkeypatch, capsys):
    """In this process: configs that differ in nothing that is compiled share it."""
    monkeypatch.chdir(tmp_path)
    if name not in DRAWN:
        monkeypatch.setattr(assembly, "_draw", undrawn)
    commands.train(name, None, ["train.epochs=2", *FEWER.get(name, [])], None, False, True, {"engine": "local", "address": None})
    said = capsys.readouterr()
    assert json.loads(said.out)["test"]["n"] > 100
    assert len(list(Path().glob("runs/*/plots/*.png"))) == len(FIGURES)


def csv(text):
    return lambda folder: (folder / "f.csv").write_text(text)


ROWS = random_walk(200)
HEAD = "Date,Open,High,Low,Close,Volume\n"
LINES = [
    f"{d:%Y-%m-%d},{o:.4f},{h:.4f},{lo:.4f},{c:.4f},{v:.0f}"
    for d, o, h, lo, c, v in ROWS[["date", "open", "high", "low", "close", "volume"]].itertuples(index=False)
]
GOOD = HEAD + "\n".join(LINES) + "\n"


def with_line(k, line):
    return HEAD + "\n".join([*LINES[:k], line, *LINES[k + 1 :]]) + "\n"


WRONG_FILES = {
    "missing": (lambda folder: None, ["f.csv"]),
    "empty": (csv(""), ["f.csv"]),
    "header only": (csv(HEAD), ["f.csv"]),
    "no price column": (csv("Date,Colour\n2020-01-01,red\n2020-01-02,blue\n"), ["Colour"]),
    "text in a price": (csv(with_line(50, "2010-03-15,1,1,1,abc,5")), ["abc", "52"]),
    "duplicated date": (csv(with_line(50, LINES[49])), ["51", "52", LINES[49][:10]]),
    "negative price": (csv(with_line(50, LINES[50].split(",")[0] + ",-5,-4,-6,-5,10")), ["-"]),
    "too few rows": (csv(HEAD + "\n".join(LINES[:12]) + "\n"), ["need 21", "have 7"]),
    "constant": (csv(HEAD + "\n".join(f"{line[:10]},5,5,5,5,5" for line in LINES) + "\n"), ["5"]),
}


@pytest.mark.parametrize("case", sorted(WRONG_FILES))
def test_a_wrong_file_is_one_line_and_leaves_nothing(case, tmp_path):
    make, words = WRONG_FILES[case]
    make(tmp_path)
    done = stockrnn("train", "--data", "f.csv", *SHORT, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("stockrnn: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert [word for word in words if word not in done.stderr] == []
    assert {entry.name for entry in tmp_path.iterdir()} <= {"f.csv"}


def test_unsorted_rows_are_sorted_and_reported(tmp_path):
    (tmp_path / "f.csv").write_text(HEAD + "\n".join([*LINES[100:], *LINES[:100]]) + "\n")
    (tmp_path / "g.csv").write_text(GOOD)
    documents = [json.loads(stockrnn("inspect", name, "--json", cwd=tmp_path).stdout) for name in ("f.csv", "g.csv")]
    assert documents[0]["order"] == "shuffled"
    assert any("sort" in finding["kind"] for finding in documents[0]["findings"])
    assert documents[0]["tickers"]["f"] == documents[1]["tickers"]["g"]


WRONG_CONFIGS = {
    "unknown key": ("model: {cel: lstm}", ["model.cel", "cell"]),
    "wrong type": ("train: {epochs: many}", ["train.epochs", "many"]),
    "unknown cell": ("model: {cell: ltsm}", ["ltsm", "lstm"]),
    "invalid yaml": ("model: [", ["c.yaml", "line"]),
}


@pytest.mark.parametrize("case", sorted(WRONG_CONFIGS))
def test_a_wrong_config_is_one_line(case, tmp_path):
    text, words = WRONG_CONFIGS[case]
    (tmp_path / "c.yaml").write_text(text)
    done = stockrnn("train", "--config", "c.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert [word for word in words if word not in done.stderr] == []
    assert {entry.name for entry in tmp_path.iterdir()} == {"c.yaml"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("train", "--config", "."), 2),
        (("train", "--config", "nosuch.yaml"), 2),
        (("train", "--nonsense"), 2),
        (("predict",), 2),
        (("predict", "nosuch"), 2),
        (("predict", "."), 7),
        (("plot", "."), 7),
        (("train", "--resume"), 2),
        (("predict", "--asof", "yesterday"), 2),
    ],
)
def test_a_wrong_command_is_one_line(arguments, code, tmp_path):
    done = stockrnn(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (code, 1, "")
    assert list(tmp_path.iterdir()) == []


def test_a_full_or_forbidden_place_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    done = stockrnn("train", *SHORT, "--run", "file/run", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "file" in done.stderr


def test_an_altered_run_is_refused_by_name(run, tmp_path):
    for name in sorted(FILES - {"manifest.json"}):
        copy = tmp_path / name
        subprocess.run(["cp", "-r", run, copy], check=True)
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        done = stockrnn("predict", copy, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (7, 1)
        assert name in done.stderr


def test_a_run_folder_in_use_is_not_trained_into(run, tmp_path):
    done = stockrnn("train", "--run", run, cwd=tmp_path)
    assert done.returncode == 2
    assert "--run" in done.stderr


@pytest.mark.parametrize("writable", [True, False])
def test_a_bug_is_one_line_and_its_traceback_a_file_where_one_can_be_written(writable, tmp_path):
    code = "from stockrnn import cli, commands\ncommands.configs_list = lambda json: 1 / 0\ncli.main()"
    code = f"import tempfile\ntempfile.tempdir = {str(tmp_path if writable else tmp_path / 'none')!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", code, "configs", "list"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("stockrnn: this is a bug (ZeroDivisionError: division by zero). ")
    logs = [path.read_text() for path in tmp_path.iterdir()]
    assert ["Traceback" in log and "ZeroDivisionError" in log for log in logs] == [True] * writable
    assert ("could not be kept" in done.stderr) is not writable


@pytest.mark.parametrize(
    ("arguments", "exit_code"), [("configs schema", 0), ("predict nowhere", 2), ("predict --nothing", 2), ("configs list", 1)]
)
def test_no_process_is_taken_apart_at_its_end_however_that_comes(arguments, exit_code):
    """TensorFlow once hung in it, after the line of an error: all that is to be done by then is done."""
    code = "class Held:\n    def __del__(self):\n        print('taken apart', flush=True)\nheld = Held()\n"
    code += "from stockrnn import cli, commands\ncommands.configs_list = lambda json: 1 / 0\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments.split()], capture_output=True, text=True, check=False)
    assert (done.returncode, "taken apart" in done.stdout) == (exit_code, False)


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_closed_standard_streams_are_no_files_of_ours(closed, tmp_path):
    """Without a stand-in, the first file that is opened would be descriptor 1, and would take what is printed."""
    command = f"{sys.executable} -m stockrnn predict {GOLDEN} --data {PRICES} --output forecast.csv {closed}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "bug" in done.stderr) == (0, False)
    assert (">&-" in closed.split(), "2>&-" in closed.split()) == (done.stdout == "", done.stderr == "")
    assert (tmp_path / "forecast.csv").read_text().startswith("ticker,")


def test_letters_that_the_terminal_lacks_end_no_command(tmp_path):
    (tmp_path / "prices.csv").write_bytes(PRICES.read_bytes())
    done = stockrnn("inspect", "prices.csv", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "prices.csv" in done.stdout
    assert "?" in done.stdout


def test_a_forecast_leaves_nothing_at_home_and_reports_to_nobody(tmp_path):
    """ONNX Runtime would note an identifier of the machine, and what it has not sent yet to its maker; `CI` would keep it from that."""
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")}
    for place in places.values():
        place.mkdir()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **places}
    command = [sys.executable, "-m", "stockrnn", "predict", GOLDEN, "--data", PRICES]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [left for place in places.values() for left in place.rglob("*")] == []


def test_a_reader_that_leaves_early_is_no_fault(place):
    for command in ("predict", "predict --json", "runs show", "configs show"):
        line = f"({sys.executable} -m stockrnn {command} 2>&1; echo $? > code) | true"
        subprocess.run(["bash", "-c", line], cwd=place, check=False)
        assert (place / "code").read_text() == "0\n"


def test_a_file_of_another_step_than_the_run_learnt_is_refused(place, tmp_path):
    prices = random_walk(200)
    hours = prices.assign(date=pd.date_range("2021-03-01 09:00", periods=len(prices), freq="h").strftime("%Y-%m-%d %H:%M"))
    hours[["date", "open", "high", "low", "close"]].to_csv(tmp_path / "hours.csv", index=False)
    done = stockrnn("predict", "--data", tmp_path / "hours.csv", cwd=place)
    assert (done.returncode, done.stdout) == (3, "")
    assert "the step that the run learned from, daily. Received: intraday" in done.stderr


def test_a_file_without_what_features_need_is_told_what_it_lacks(place, tmp_path):
    random_walk(200)[["date", "close"]].to_csv(tmp_path / "close.csv", index=False)
    done = stockrnn("predict", "--data", tmp_path / "close.csv", cwd=place)
    assert done.returncode == 3
    assert "Give a file with open, high, low." in done.stderr
