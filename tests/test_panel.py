"""Several tickers: one network for all or one each, each ticker forecast by its own rows, all of it in one run."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from stockrnn.configfile import load_config
from stockrnn.errors import DataError
from stockrnn.recipes import explain_run, predict, train
from tests.factories import garch_path, random_walk

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("no_pictures")]
SMALL = ["model.units=[3]", "train.epochs=2", "window.lookback=5", "window.horizon=2", "split.calibration=0"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Two tickers of 160 sessions, and one of 12: too few to learn from."""
    tables = [random_walk(160, 1, "AAA"), garch_path(160, 2, "BBB"), random_walk(160, 3, "NEW").tail(12)]
    path = tmp_path_factory.mktemp("panel") / "prices.csv"
    frame = pd.concat(tables).drop(columns="filled").rename(columns=str.capitalize).sample(frac=1, random_state=0)
    frame.rename(columns={"Ticker": "Name"}).to_csv(path, index=False, date_format="%Y-%m-%d")
    return path


def run(file, folder, panel):
    config = load_config(None, [*SMALL, f"data.panel={panel}", f"data.path={file}"])
    return train(config, folder)


@pytest.fixture(scope="module", params=["together", "separate"])
def trained(request, file, tmp_path_factory):
    return run(file, tmp_path_factory.mktemp(request.param) / "run", request.param)


def test_a_ticker_whose_new_rows_are_too_few_keeps_no_other_from_a_forecast(trained, file, tmp_path):
    prices = pd.read_csv(file).sort_values(["Name", "Date"])
    few = pd.concat([prices[prices["Name"] == "AAA"], prices[prices["Name"] == "BBB"].tail(3)])
    few.to_csv(tmp_path / "few.csv", index=False)
    made, whole = predict(trained.run, str(tmp_path / "few.csv")), predict(trained.run, str(file))
    pd.testing.assert_frame_equal(made.table, whole.table[whole.table["ticker"] == "AAA"].reset_index(drop=True))
    (said,) = [note for note in made.notes if note.startswith("Not forecast: BBB. A forecast needs")]
    assert "Received: 3 of BBB up to" in said
    few[few["Name"] == "BBB"].to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(DataError, match="Received: 3 of BBB up to"):
        predict(trained.run, str(tmp_path / "few.csv"))


def test_each_ticker_is_scored_and_short_ones_are_named(trained):
    assert set(trained.metrics["test"]["tickers"]) == {"AAA", "BBB"}
    assert any("NEW" in note for note in trained.notes)
    assert not any("not scored" in note for note in trained.notes)
    forecasts = pd.read_csv(trained.run.folder / "forecasts.csv")
    sizes = forecasts.groupby(["model", "ticker"]).size()
    assert sizes.nunique() == 1


def test_prediction_names_the_next_sessions_of_each_known_ticker(trained):
    predicted = predict(trained.run)
    assert predicted.rows.groupby("ticker").size().to_dict() == {"AAA": 2, "BBB": 2}
    assert any("NEW" in note for note in predicted.notes)
    last = predicted.table.groupby("ticker")["cutoff"].first()
    assert (predicted.rows.groupby("ticker")["date"].min() > last).all()


def test_a_ticker_whose_prices_end_well_before_those_of_others_is_named(trained, file, tmp_path):
    prices = pd.read_csv(file).sort_values(["Name", "Date"])
    dates = sorted(prices["Date"].unique())
    for lacking in (10, 11):
        kept = prices[(prices["Name"] != "BBB") | (prices["Date"] < dates[-lacking])]
        kept.to_csv(tmp_path / "ended.csv", index=False)
        said = [note for note in predict(trained.run, str(tmp_path / "ended.csv")).notes if "before those of others" in note]
        assert said == (["The prices of BBB end more than 10 sessions before those of others."] if lacking == 11 else [])


def test_prediction_equals_the_scored_forecast_of_that_day(trained):
    forecasts = pd.read_csv(trained.run.folder / "forecasts.csv", parse_dates=["cutoff", "date"])
    cutoff = forecasts["cutoff"].unique()[10]
    mine = forecasts[(forecasts["model"] == "lstm") & (forecasts["cutoff"] == cutoff)].reset_index(drop=True)
    rows = predict(trained.run, asof=pd.Timestamp(cutoff)).rows
    np.testing.assert_allclose(rows["forecast"], mine["forecast"], rtol=1e-5)
    assert rows["ticker"].tolist() == mine["ticker"].tolist()


def test_a_lone_network_of_its_own_takes_a_file_of_another_name(file, tmp_path):
    rows = pd.read_csv(file).query("Name == 'BBB'").drop(columns="Name").sort_values("Date")
    for name in ("first.csv", "renamed.csv"):
        rows.to_csv(tmp_path / name, index=False)
    alone = run(tmp_path / "first.csv", tmp_path / "alone", "separate").run
    renamed = predict(alone, str(tmp_path / "renamed.csv"))
    assert any("renamed is forecast as if it were first" in note for note in renamed.notes)
    columns = ["step", "date", "forecast", "lower_90", "upper_90"]
    pd.testing.assert_frame_equal(renamed.rows[columns], predict(alone).rows[columns])
    assert explain_run(alone, tmp_path / "pictures", "svg", str(tmp_path / "renamed.csv")).title == "renamed"


def test_a_separate_network_equals_one_trained_on_that_ticker_alone(file, tmp_path):
    both = run(file, tmp_path / "both", "separate")
    config = load_config(None, [*SMALL, f"data.path={file}", "data.ticker=BBB"])
    train(config, tmp_path / "alone")
    tables = [
        pd.read_csv(folder / "forecasts.csv").query("ticker == 'BBB' and model == 'lstm'")
        for folder in (both.run.folder, tmp_path / "alone")
    ]
    dates = sorted(set(tables[0]["date"]) & set(tables[1]["date"]))
    assert len(dates) > 10
    columns = ["step", "date", "forecast", "q05", "q95"]
    first, second = (table[columns].reset_index(drop=True) for table in tables)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert len(json.loads((both.run.folder / "scaler.json").read_text())["parts"]) == 2


def test_other_tickers_than_the_runs_are_refused_by_name(trained, tmp_path):
    random_walk(15, 5).drop(columns="filled").to_csv(tmp_path / "x.csv", index=False)  # too few to be scaled by themselves
    with pytest.raises(DataError, match=r"AAA, BBB.*WALK"):
        predict(trained.run, str(tmp_path / "x.csv"))


def test_a_ticker_younger_than_the_lookback_is_learned_from_scored_and_forecast(tmp_path):
    tables = [
        random_walk(160, 1, "OLD"),
        garch_path(160, 2, "NEW").tail(80),  # 32 sessions in the training span
        garch_path(160, 3, "GONE")[40:76],  # 36 sessions in all
    ]
    path = tmp_path / "prices.csv"
    pd.concat(tables).drop(columns="filled").to_csv(path, index=False, date_format="%Y-%m-%d")
    words = [*SMALL, "window.lookback=40", "window.shortest=5", "model.cell=gru", f"data.path={path}"]
    trained = train(load_config(None, words), tmp_path / "run")
    assert set(trained.metrics["test"]["tickers"]) == {"NEW", "OLD"}
    assert set(trained.run.json("scaler.json")["parts"][0]["pipeline"]["target"]) == {"NEW", "OLD", "GONE"}
    assert [note for note in trained.notes if "not scored" in note] == [
        "Learned from but not scored, for want of a whole forecast in the test span: GONE."
    ]
    forecasts = pd.read_csv(tmp_path / "run" / "forecasts.csv", parse_dates=["cutoff", "date"])
    mine = forecasts[(forecasts["model"] == "gru") & (forecasts["ticker"] == "NEW")]
    first = tables[1]["date"].min()
    asof = mine["cutoff"].min()
    assert ((tables[1]["date"] >= first) & (tables[1]["date"] <= asof)).sum() > 40
    early = tables[1]["date"].iloc[12]  # a window of thirteen sessions, and no history before
    rows = predict(trained.run, asof=early).rows
    assert set(rows["ticker"]) == {"NEW", "OLD", "GONE"}
    command = [sys.executable, "-m", "stockrnn", "predict", str(trained.run.folder), "--asof", f"{early:%Y-%m-%d}", "--json"]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["forecasts"]
    assert [row["forecast"] for row in printed] == rows["forecast"].tolist()
    scored = predict(trained.run, asof=asof).rows.query("ticker == 'NEW'")
    np.testing.assert_allclose(scored["forecast"], mine[mine["cutoff"] == asof]["forecast"], rtol=1e-5)
