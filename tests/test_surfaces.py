"""Text of a price file or of a stranger's run is inert on every surface: what a command prints, and every picture it draws."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stockrnn import commands
from stockrnn.evaluation.comparison import compare
from stockrnn.reports.comparing import comparison_figure
from stockrnn.reports.insight import insight_figures
from stockrnn.reports.plots import render_figures, run_figures
from stockrnn.reports.tables import importance_table
from stockrnn.runs.directory import MANIFEST
from stockrnn.runs.files import read_forecasts, read_history, to_csv, to_json
from tests.test_explaining import pictured
from tests.test_hostile import ESCAPES, GOLDEN, PRICES, Tags, change, payloads

FOLDERS = [text.replace("/", "∕").replace("\0", "") for text in payloads()]


def the_first_is_fast(cases):
    """The others are left to the slow tests."""
    return [cases[0], *(pytest.param(case, marks=pytest.mark.slow) for case in cases[1:])]


def assert_inert(capsys):
    said = capsys.readouterr()
    assert {sign for sign in said.out + said.err if not sign.isprintable()} <= {"\n", "\t"}
    return said.out + said.err


def speak(metrics, text):
    """Put a text wherever metrics.json holds one."""
    test = metrics["test"]
    scores = {"lstm": dict(test["models"]["lstm"]), text: dict(test["models"]["naive"])}
    test |= {"start": text, "end": text, "undefined": {"crps": text, "mae": text}, "models": {**test["models"], text: scores[text]}}
    test |= {kind: {text: scores, f"{text} 2": scores} for kind in ("steps", "years", "tickers")}
    test["ticker_skill"] = {"above_0": 1, "tickers": 99, "median": 0.1, "best": {text: 0.2}, "worst": {text: None}}
    metrics |= {"verdict": [text], "alarms": [text]}


def talking_run(folder, text):
    run = shutil.copytree(GOLDEN, folder)
    change(run, {"metrics.json": lambda metrics: speak(metrics, text), MANIFEST: lambda manifest: manifest.update(created=text)})
    return run


@pytest.mark.parametrize("batch", the_first_is_fast(range(6)))
def test_commands_that_read_a_run_print_nothing_live(batch, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN, "other")
    for folder in FOLDERS[batch::6]:
        run = talking_run(tmp_path / "runs" / folder, folder)
        for json_wanted in (False, True):
            commands.runs_show(str(run), json_wanted)
            commands.runs_list(json_wanted)
            commands.runs_compare([str(run), "other"], None, json_wanted)
        assert "lstm" in assert_inert(capsys)
        shutil.rmtree(run)


@pytest.mark.parametrize("folder", the_first_is_fast([FOLDERS[k] for k in (12, 0, 19, 20, 22, 25)]))
def test_commands_that_forecast_and_draw_print_nothing_live(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = talking_run(tmp_path / "runs" / folder, folder)
    (tmp_path / "runs" / f"{folder}.csv").write_bytes(PRICES.read_bytes())
    commands.predict(str(run), str(tmp_path / "runs" / f"{folder}.csv"), None, None, False)
    commands.plot(str(run), None, "svg")
    commands.inspect(str(tmp_path / "runs" / f"{folder}.csv"), None, [], False)
    assert_inert(capsys)


def named(found, text):
    """An explanation of features that are called by a text."""
    names = tuple(f"{text} {k}" for k in range(len(found.names)))
    rows = [*names, " + ".join(names)]
    return replace(found, names=names, importance=found.importance.assign(name=rows, features=[(row,) for row in rows]))


@pytest.mark.parametrize("batch", the_first_is_fast(range(3)))
def test_columns_and_titles_of_an_explanation_are_inert(batch, capsys):
    epochs = pd.DataFrame({"member": 0, "epoch": np.arange(1, 4), "gradient_norm": 0.5})
    for text in payloads()[batch * 3 : 36 : 9]:
        found = named(pictured(1, 1, features=2, timesteps=4), text)
        commands._show(importance_table(found.importance))
        commands._show(f"{text}: CRPS")
        commands._print_json({"importance": found.importance.to_dict("records"), "features": found.names})
        assert_inert(capsys)
        assert_tags_inert(insight_figures(found, epochs, text), text)


@pytest.mark.parametrize("batch", the_first_is_fast(range(5)))
def test_names_of_compared_runs_and_all_pictures_of_one_are_inert(batch):
    table = read_forecasts((GOLDEN / "forecasts.csv").read_bytes())
    history = read_history((GOLDEN / "history.csv").read_bytes())
    for text in [*ESCAPES[:2], *payloads()[12:19]][batch::5]:
        renamed = read_forecasts(to_csv(table.assign(ticker=text, model=table["model"].replace("lstm", text))))
        network = next(name for name in renamed["model"].unique() if name not in set(table["model"]))
        assert_tags_inert(run_figures(renamed, history, network, text), text)
        found = compare({text: (table, "lstm"), f"{text} 2": (table, "garch")})
        assert_tags_inert({"comparison": comparison_figure(found)}, text)


def assert_tags_inert(figures, text):
    for name, data in render_figures(figures, "svg").items():
        tags = Tags()
        tags.feed(data.decode())
        assert not tags.found & {"script", "img", "a", "foreignobject", "iframe"}, (name, text)
        assert not {found for found in tags.found if found.startswith("on")}, (name, text)
        assert not any(sign in data.decode() for sign in "\x1b\x9b\x07\u202e"), (name, text)


def test_scores_by_ticker_are_cells_and_no_formulas():
    for text in payloads():
        cells = to_csv(pd.DataFrame({"kind": ["ticker"], "group": [text], "model": [text], "mae": [-1.0]})).decode()
        assert not cells.splitlines()[1].split(",")[1].lstrip('"').startswith(("=", "+", "-", "@", "\t", "＝"))
        assert json.loads(to_json({"group": text}))["group"] == text
