"""What `predict` takes as its last date, and what it says of the tickers and calendars it forecasts with."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_hostile import GOLDEN, PRICES

from stockrnn import commands, recipes
from stockrnn.configfile import load_config
from stockrnn.errors import ConfigError
from stockrnn.recipes import prediction
from stockrnn.runs.directory import open_run
from tests.factories import random_walk

RUN = open_run(GOLDEN)


@pytest.mark.parametrize(("asof", "last"), [("2024-01-12", "15:59"), ("20240112", "15:59"), ("2024-01-12T12:00", "12:00")])
def test_a_day_is_known_to_its_end_and_a_time_as_it_is(asof, last):
    bars = pd.Series(pd.date_range("2024-01-12 09:30", "2024-01-12 15:59", freq="min"))
    bars = pd.concat([bars - pd.Timedelta(days=1), bars, bars + pd.Timedelta(days=1)])
    assert f"{bars[bars <= commands._last_instant(asof)].max():%d %H:%M}" == f"12 {last}"


@pytest.mark.parametrize("asof", ["2024-01-12T12:00+09:00", "2024-01-12T12:00Z", "2024-13-01", "9999-12-32", ""])
def test_what_is_no_date_of_the_file_s_own_clock_is_refused(asof):
    with pytest.raises(ConfigError, match=r"--asof must be a date such as 2024-06-28, without a time zone\. Received: "):
        commands._last_instant(asof)


def test_a_file_of_another_ticker_than_the_run_s_only_one_is_said_to_stand_in_for_it(tmp_path):
    other = shutil.copyfile(PRICES, tmp_path / "other.csv")
    said = "other is forecast as if it were prices, which the run learned, and in its scale."
    assert said in prediction.predict(RUN, str(other)).notes
    assert not [note for note in prediction.predict(RUN, str(PRICES)).notes if "as if it were" in note]


@pytest.mark.parametrize("column", ["close", "open"])
def test_the_sessions_follow_the_cutoff_also_where_the_price_of_the_last_one_is_unknown(no_pictures, tmp_path, column):
    words = ["data.calendar=24/5", "model.units=[4]", "window.lookback=5", "window.horizon=2", "train.epochs=1", "train.ensemble=1"]
    table = random_walk(200)[["date", "open", "high", "low", "close", "volume"]]
    table.loc[[100, 198], column] = None
    table.to_csv(tmp_path / "prices.csv", index=False)
    words += ["data.missing=ffill", f"target.column={column}", f"data.path={tmp_path / 'prices.csv'}"]
    trained = recipes.train(load_config("lstm", words), tmp_path / "run")
    assert trained.metrics["test"]["models"]["lstm"]["mae"] > 0
    forecast = prediction.predict(trained.run, asof=table["date"][198]).table
    assert forecast["cutoff"].unique().tolist() == [table["date"][197]]
    assert forecast["date"].tolist() == table["date"][198:200].tolist()
    assert np.isfinite(forecast["forecast"]).all()


def test_many_tickers_of_a_calendar_have_one_reason():
    reasons = {f"T{k}": f"{90 + k} % of its days agree" for k in range(8)}
    assert prediction._why(reasons) == "of T0: 90 % of its days agree"
    assert prediction._why(dict.fromkeys(reasons, "alike")) == "alike"


def test_a_forecast_from_before_the_end_of_learning_is_said_to_be_no_test():
    start = RUN.json("metrics.json")["test"]["start"]
    dates = pd.read_csv(PRICES, parse_dates=["date"])["date"]
    before = dates[dates < start]
    for cutoff, told in ((before.iloc[-2], True), (before.iloc[-1], False), (dates.iloc[-1], False)):
        day = f"{cutoff:%Y-%m-%d}"
        said = f"The run learned from all days before {start}, also from those after {day}: a forecast from {day} is no test of it."
        assert (said in prediction.predict(RUN, str(PRICES), cutoff).notes) == told
        assert any("is no test" in note for note in prediction.predict(RUN, str(PRICES), cutoff).notes) == told


@pytest.mark.parametrize(
    ("metrics", "first"),
    [
        ({"test": {"start": "2020-03-02"}}, "2020-03-02"),
        (
            {
                "test": {"start": "2020-03-02"},
                "folds": [{"fit_of_fold": 0, "start": "2020-05-04"}, {"fit_of_fold": 0, "start": "2020-06-01"}],
            },
            "2020-05-04",
        ),
        ({"test": {"start": "soon"}}, None),
        ({"test": {"start": "2020-03-02T00:00+09:00"}}, None),
        ({"test": {}, "folds": 3}, None),
        ({"test": {"start": ["2020-03-02"]}}, None),
    ],
)
def test_what_a_run_has_not_learned_from_begins_with_its_last_refit_s_test(metrics, first):
    found = prediction._first_unlearned(SimpleNamespace(json=lambda _: metrics))
    assert found == (None if first is None else pd.Timestamp(first))


def test_a_forecast_outside_of_its_own_interval_is_named():
    made = pd.DataFrame({"ticker": ["A", "B", "C"], "forecast": [9.0, 10.0, 13.0], "q05": [9.5, 9.5, 9.5], "q95": [12.0, 12.0, 12.0]})
    (note,) = prediction._beside(made)
    assert note.startswith("The forecast of A, C lies outside its 90 % interval: ")
    assert prediction._beside(made[1:2]) == []
