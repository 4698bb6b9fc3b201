"""Rows are called what they are: bars, weeks and months by their dates, and rows without dates by their numbers, never by invented days."""

import io
import json
import re
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn import commands
from stockrnn.configfile import load_config
from stockrnn.errors import ConfigError, DataError, RunDamagedError
from stockrnn.features.pipeline import fit_pipeline
from stockrnn.features.splits import split_time
from stockrnn.prices.loading import load_prices
from stockrnn.prices.steps import AHEAD, MOST_ROWS, asked_for, dated, dates_of, instant, number_of, numbered, row_name, spoken, told
from stockrnn.recipes.comparing import compare_runs
from stockrnn.reports.inspection import inspection_figures
from stockrnn.reports.plots import run_figures
from stockrnn.reports.sheet import sheet, time_axis
from stockrnn.reports.subject import make_subject
from stockrnn.runs.directory import MANIFEST, Run, open_run
from stockrnn.runs.files import read_forecasts, read_history, to_csv
from stockrnn.runs.parquet import read_parquet, to_parquet
from stockrnn.types import DAILY, INTRADAY, MONTHLY, STEPS, UNDATED, WEEKLY
from tests.factories import random_walk

SMALL = (
    *("train.epochs=1", "train.ensemble=1", "model.units=[3]", "model.anchor=har", "model.anchor_renewal=40"),
    *("window.lookback=5", "window.horizon=2", "split.calibration=0.1"),
)
INVENTED = re.compile(r"19[67]\d-\d\d|\b19[67]\d\b")
DAYS = re.compile(r"\b(sessions?|today|yesterday|tomorrow|daily|days?)\b", re.IGNORECASE)
TEXTS = {".json", ".csv", ".yaml"}
PLACE = {"engine": "local", "address": None}
SETTLED = settings(max_examples=100)


# --- one row --------------------------------------------------------------------------------------------------------------------


@SETTLED
@given(st.integers(1, MOST_ROWS + AHEAD))
def test_a_number_is_told_and_read_back(number):
    stamp = instant(number)
    assert told(stamp, UNDATED) == number_of(stamp) == number
    assert spoken(number, UNDATED) == spoken(f"{stamp:%Y-%m-%d}", UNDATED) == dated(stamp, UNDATED) == f"session {number:,}"


@SETTLED
@given(st.datetimes(pd.Timestamp("1850-01-01"), pd.Timestamp("2100-01-01")), st.sampled_from(STEPS[:-1]))
def test_a_date_is_told_and_read_back_with_the_time_where_there_are_times(when, step):
    stamp = pd.Timestamp(when).floor("s" if step == INTRADAY else "D")
    assert instant(told(stamp, step)) == stamp
    assert ("T" in told(stamp, step)) == (step == INTRADAY)
    assert spoken(told(stamp.floor("min"), step), step) == dated(stamp.floor("min"), step)


@pytest.mark.parametrize("said", [0, -1, MOST_ROWS + AHEAD + 1, 10**30, "now", "", "2024-01-02T10:00:00+02:00"])
def test_what_names_no_row_is_refused_where_it_is_read_and_shown_as_it_is(said):
    with pytest.raises(ValueError, match=r".*"):
        instant(said)
    assert spoken(said, UNDATED) == str(said)


def test_rows_are_called_what_they_are():
    assert [row_name(step, 2) for step in (DAILY, WEEKLY, MONTHLY, INTRADAY, UNDATED, "")] == [
        *("sessions", "weeks", "months", "bars", "sessions", "sessions"),
    ]
    assert dated(pd.Timestamp("2024-01-02"), INTRADAY) == "2024-01-02 00:00"  # midnight is a time of day there


@pytest.mark.parametrize(
    ("text", "step", "found"),
    [("600", UNDATED, instant(600)), ("2024-06-28", DAILY, pd.Timestamp("2024-06-28")), ("20240628", "", pd.Timestamp("2024-06-28"))],
)
def test_a_row_is_asked_for_by_its_date_or_number(text, step, found):
    assert asked_for(text, "--asof", step) == found


@pytest.mark.parametrize(
    ("text", "step", "said"),
    [
        ("2024-06-28", UNDATED, "number of a session"),
        ("20240628", UNDATED, "number of a session"),
        ("0", UNDATED, "number of a session from 1 to 100,000"),
        ("²", UNDATED, "number of a session"),
        ("600", DAILY, "a date such as"),
        ("2024-06-28T10:00+01:00", INTRADAY, "without a time zone"),
    ],
)
def test_what_is_asked_for_otherwise_is_refused_by_one_line(text, step, said):
    with pytest.raises(ConfigError, match=said) as caught:
        asked_for(text, "--asof", step)
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)


# --- a forecast table ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def table():
    golden = Path(__file__).parent / "golden" / "format1" / "forecasts.csv"
    read = read_forecasts(golden.read_bytes()).head(40)
    rows = np.arange(len(read))
    return read.assign(cutoff=dates_of(rows + 7), date=dates_of(rows + 8))


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("step", [UNDATED, DAILY])
def test_a_table_is_read_back_from_numbers_and_from_the_dates_of_the_format_before(table, form, step, tmp_path):
    written = numbered(table, step)
    assert written["cutoff"].dtype.kind == ("i" if step == UNDATED else "M")
    again = read_forecasts(to_csv(written)) if form == "csv" else read_parquet(to_parquet(written), tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(again, table, check_exact=True)


@pytest.mark.parametrize("number", [0, -5, 2_000_000, 10**17, "x", "7 May", 1.5, True])
@pytest.mark.parametrize("column", ["cutoff", "date"])
def test_numbers_of_a_stranger_that_name_no_row_are_refused(table, column, number):
    odd = numbered(table, UNDATED).assign(**{column: number})
    with pytest.raises(RunDamagedError):
        read_forecasts(to_csv(odd))


# --- files without dates ---------------------------------------------------------------------------------------------------------


def write_undated(path, tables, blank=()):
    frame = pd.concat(tables)[["ticker", "open", "high", "low", "close", "volume"]].rename(columns={"ticker": "Name"})
    frame.loc[np.isin(np.arange(len(frame)), blank), ["open", "high", "low", "close"]] = np.nan
    (frame if len(tables) > 1 else frame.drop(columns="Name")).to_csv(path, index=False)
    return path


def undated_config(path, *overrides):
    return load_config(None, [*SMALL, f"data.path={path}", *overrides])


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("mixed", [False, True])
def test_each_ticker_counts_its_own_rows_in_time_order(tmp_path, order, mixed):
    tables = [random_walk(60, 1, "AAA"), random_walk(60, 2, "BBB")]
    whole = pd.concat(tables).sort_values(["date", "ticker"] if mixed else ["ticker", "date"])
    path = write_undated(tmp_path / "f.csv", [whole if order == "ascending" else whole.iloc[::-1], whole.head(0)])
    prices = load_prices(undated_config(path).data)
    assert prices.step == UNDATED
    assert prices.readings[0].order == order
    for table in tables:
        mine = prices.table[prices.table["ticker"] == table["ticker"].iloc[0]]
        assert [number_of(stamp) for stamp in mine["date"]] == list(range(1, 61))
        np.testing.assert_allclose(mine["close"], table["close"])


def test_tickers_of_unlike_lengths_are_found_where_no_date_tells_which_rows_are_of_one_day(tmp_path):
    tables = [random_walk(60, 1, "AAA"), random_walk(50, 2, "BBB"), random_walk(60, 3, "CCC")]
    kind = "counted_from_its_first_row"
    found = load_prices(undated_config(write_undated(tmp_path / "f.csv", tables)).data).findings
    assert [(each.count, each.places[0].row) for each in found if each.kind == kind] == [(1, 62)]
    even = write_undated(tmp_path / "even.csv", [tables[0], tables[2]])
    assert kind not in {each.kind for each in load_prices(undated_config(even).data).findings}
    whole = pd.concat(tables).drop(columns="filled")
    whole.to_csv(tmp_path / "dated.csv", index=False)
    assert kind not in {each.kind for each in load_prices(undated_config(tmp_path / "dated.csv").data).findings}


def test_rows_without_dates_have_no_plan_of_an_exchange_though_many_are_left_out(tmp_path):
    rows = 400
    path = write_undated(tmp_path / "f.csv", [random_walk(rows)], blank=np.flatnonzero(np.arange(rows) % 7 >= 5))
    config = undated_config(path)
    prices = load_prices(config.data)
    spans = split_time(prices.table["date"], 0.15, 0.1, 0.15)
    assert len(prices.table) < 0.75 * rows
    (anchor,) = fit_pipeline(prices.table, spans, config, prices.known).anchors.values()
    assert anchor.plan is None
    (other,) = fit_pipeline(prices.table, spans, config).anchors.values()
    assert other.plan is not None  # what the invented days would give


@pytest.mark.parametrize("key", ["start", "end"])
def test_a_date_in_the_config_is_refused_for_a_file_without_dates(tmp_path, key):
    path = write_undated(tmp_path / "f.csv", [random_walk(60)])
    with pytest.raises(DataError, match=rf"must have dates for `data\.{key}`\. Received: 2020-01-02"):
        load_prices(undated_config(path, f"data.{key}=2020-01-02").data)


def test_more_rows_than_there_are_days_are_refused(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("Close\n" + "\n".join(str(100 + k % 7) for k in range(MOST_ROWS + 1)) + "\n")
    with pytest.raises(DataError, match=r"at most 100,000 rows of a ticker\. Received: 100,001"):
        load_prices(undated_config(path, "data.order=ascending").data)


# --- every command ---------------------------------------------------------------------------------------------------------------


def write_dated(path, dates):
    frame = random_walk(len(dates), 3).assign(date=dates)[["date", "open", "high", "low", "close", "volume"]]
    frame.to_csv(path, index=False, date_format="%Y-%m-%d %H:%M")
    return path


MINUTES = pd.DatetimeIndex([day + pd.Timedelta(minutes=570 + k) for day in pd.date_range("2024-01-02", periods=3) for k in range(75)])
KINDS = {
    "undated": lambda path: write_undated(path, [random_walk(220, 1)]),
    "undated panel": lambda path: write_undated(path, [random_walk(160, 1, "AAA"), random_walk(160, 2, "BBB")]),
    "minutes": lambda path: write_dated(path, MINUTES),
    "months": lambda path: write_dated(path, pd.date_range("2001-01-01", periods=220, freq="MS")),
}


def said(function, *arguments):
    """What a command prints, and tells beside it."""
    with io.StringIO() as out, io.StringIO() as beside, redirect_stdout(out), redirect_stderr(beside):
        function(*arguments)
        return out.getvalue() + beside.getvalue()


SLOW = {"minutes", "undated panel", "months"}


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in KINDS])
def spoke(request, no_pictures, tmp_path_factory):
    """Its kind, its folder, and what every command said of a file."""
    folder = tmp_path_factory.mktemp("kind")
    path = str(KINDS[request.param](folder / "prices.csv"))
    told = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        told["train json"] = said(commands.train, "lstm.yaml", path, [*SMALL], "one", False, True, PLACE)
        told["walk"] = said(commands.backtest, "lstm.yaml", path, [*SMALL], "walk", False, False, {"folds": 2}, PLACE)
        told["predict"] = said(commands.predict, "one", None, None, Path("next.csv"), False)
        told["predict json"] = said(commands.predict, "walk", None, None, None, True)
        told["inspect"] = said(commands.inspect, path, Path("seen"), [], False)
        told["inspect json"] = said(commands.inspect, path, None, [], True)
        told["show"] = said(commands.runs_show, "one", False)
        told["show json"] = said(commands.runs_show, "walk", True)
        told["compare"] = said(commands.runs_compare, ["one", "walk"], Path("both.png"), False)
        told["explain"] = said(commands.explain, "walk", None, "png", None, False)
    return request.param, folder, told


def written(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.suffix in TEXTS}


@pytest.mark.network
def test_no_command_tells_or_writes_an_invented_date(spoke):
    kind, folder, told = spoke
    if not kind.startswith("undated"):
        return
    files = {name: text for name, text in written(folder).items() if name != "prices.csv"}
    assert {"one/forecasts.csv", "one/scores.csv", "walk/metrics.json", "walk/scaler.json", "next.csv"} <= set(files)
    found = {name: INVENTED.search(text) for name, text in {**told, **files}.items()}
    assert {name: match[0] for name, match in found.items() if match} == {}
    assert set(pd.read_csv(folder / "one" / "scores.csv")["by"]) == ({"all", "step"} | ({"ticker"} if "panel" in kind else set()))


@pytest.mark.network
def test_numbers_count_from_the_first_row_everywhere(spoke):
    kind, folder, told = spoke
    if not kind.startswith("undated"):
        return
    last = 220 if kind == "undated" else 160
    ahead = pd.read_csv(folder / "next.csv")
    assert ahead[["cutoff", "date"]].drop_duplicates().to_numpy().tolist() == [[last, last + 1], [last, last + 2]]
    assert {row["date"] for row in json.loads(told["predict json"].partition("\n}\n")[0] + "\n}")["forecasts"]} == {last + 1, last + 2}
    assert f"forecast from session {last}" in told["predict"]
    metrics = json.loads((folder / "walk" / "metrics.json").read_text())
    forecasts = pd.read_csv(folder / "walk" / "forecasts.csv")
    assert (metrics["test"]["start"], metrics["test"]["end"]) == (forecasts["date"].min(), forecasts["date"].max())
    assert metrics["test"]["end"] == metrics["folds"][-1]["end"] == last
    assert metrics["folds"][0]["start"] == forecasts["cutoff"].min() + 1 == metrics["folds"][0]["calibration_end"] + 1
    assert f"Test span session {metrics['test']['start']} to session {last}" in told["walk"]
    assert not [note for note in told["predict"].splitlines() if "learned from all days before" in note]


@pytest.mark.network
def test_a_number_says_from_where_to_forecast_and_from_where_to_walk(spoke):
    kind, folder, _ = spoke
    if kind != "undated":
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        then = said(commands.predict, "one", None, "60", None, False)
        assert "forecast from session 60" in then
        assert re.search(r"learned from all days before session \d+, also from those after session 60", then)
        for option, call in {
            "--asof": lambda: commands.predict("one", None, "2020-01-02", None, False),
            "--start": lambda: commands.backtest(
                "lstm.yaml", str(folder / "prices.csv"), [*SMALL], "no", False, False, {"start": "2020-01-02"}, PLACE
            ),
        }.items():
            with pytest.raises(ConfigError, match=rf"{option} must be the number of a session"):
                call()
        plan = {"folds": 2, "start": "201"}
        said(commands.backtest, "lstm.yaml", str(folder / "prices.csv"), [*SMALL], "late", False, False, plan, PLACE)
        assert json.loads(Path("late/metrics.json").read_text())["folds"][0]["start"] == 201


@pytest.mark.network
def test_a_run_of_the_format_before_is_read(spoke, tmp_path):
    """Such a run has days of 1970 where this one has numbers."""
    kind, folder, _ = spoke
    if kind != "undated":
        return
    run = open_run(folder / "one")
    old = run.forecasts()
    assert read_forecasts(to_csv(old)).equals(old)
    metrics = json.loads((folder / "walk" / "metrics.json").read_text())
    days = [f"{instant(metrics['test'][end]):%Y-%m-%d}" for end in ("start", "end")]
    assert [instant(day) for day in days] == [instant(metrics["test"][end]) for end in ("start", "end")]
    assert [spoken(day, UNDATED) for day in days] == [f"session {metrics['test'][end]}" for end in ("start", "end")]


@pytest.mark.network
def test_rows_that_are_no_days_are_not_called_days(spoke):
    kind, folder, told = spoke
    if kind.startswith("undated"):
        return
    name = {"minutes": "bar", "months": "month"}[kind]
    heard = {key: re.sub(r"always day 1|Date  Day|`[^`]*`", "", text) for key, text in told.items() if "json" not in key and key != "show"}
    found = {key: [line for line in text.splitlines() if DAYS.search(line)] for key, text in heard.items()}
    assert {key: lines for key, lines in found.items() if lines and key != "inspect"} == {}
    assert [line for line in found["inspect"] if "session" in line.lower()] == []
    assert f"{name}s in common" in told["compare"]
    assert f"{name.capitalize()}s" in told["inspect"]
    for run in ("one", "walk"):
        metrics = json.loads((folder / run / "metrics.json").read_text())
        assert not [line for line in [*metrics["verdict"], *metrics["alarms"]] if DAYS.search(line)]


@pytest.mark.network
def test_times_of_day_are_told_where_rows_have_them(spoke):
    kind, folder, told = spoke
    if kind != "minutes":
        return
    stamp = re.compile(r"2024-01-0\dT\d\d:\d\d:00")
    metrics = json.loads((folder / "walk" / "metrics.json").read_text())
    ends = [metrics["test"]["start"], metrics["test"]["end"], *(fold[key] for fold in metrics["folds"] for key in ("start", "train_end"))]
    assert [end for end in ends if not stamp.fullmatch(end)] == []
    assert len(set(ends[2:])) == 4  # which a day alone would not tell apart
    assert metrics["test"]["end"] == "2024-01-04T10:44:00"
    assert "forecast from 2024-01-04 10:44" in told["predict"]
    assert stamp.search(told["predict json"])
    assert re.search(r"Test span 2024-01-04 10:\d\d to 2024-01-04 10:44:", told["walk"])
    assert re.search(r"forecast from 2024-01-04 10:\d\d to 2024-01-04 10:\d\d", told["compare"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert "also from those after 2024-01-03 10:00" in said(commands.predict, "one", None, "2024-01-03T10:00", None, False)
        with pytest.raises(DataError, match=r"Received: 2024-01-02 09:00, but the first bar is 2024-01-02 09:30"):
            commands.predict("one", None, "2024-01-02T09:00", None, False)


@pytest.mark.network
def test_the_pictures_speak_of_the_rows(spoke):
    kind, folder, _ = spoke
    run = open_run(folder / "one")
    table = load_prices(run.config.data).table
    drawn = run_figures(run.forecasts(), read_history(run.read("history.csv")), "lstm", "prices", step=run.step)
    drawn |= inspection_figures(table, "prices", step=run.step)
    words = [text for figure in drawn.values() for text in _texts(figure)]
    assert not [text for text in words if INVENTED.search(text)] or not kind.startswith("undated")
    if kind in ("minutes", "months"):
        assert [text for text in words if DAYS.search(text)] == []
    else:
        assert "Session (number)" in words


def _texts(figure):
    axes = [text for each in figure.axes for text in (each.get_xlabel(), each.get_ylabel(), each.get_title(loc="left"))]
    labels = [text.get_text() for each in figure.axes for text in each.get_xticklabels()]
    return [
        *(text.get_text() for text in figure.texts),
        *axes,
        *labels,
        *(text.get_text() for legend in figure.legends for text in legend.texts),
    ]


@pytest.mark.network
def test_runs_of_rows_of_other_steps_are_not_compared(spoke, tmp_path):
    kind, folder, _ = spoke
    if kind != "minutes":
        return
    manifest = json.loads((folder / "one" / MANIFEST).read_text())
    shutil.copytree(folder / "one", tmp_path / "two")
    other = Run(tmp_path / "two", {**manifest, "data": {**manifest["data"], "step": UNDATED}})
    with pytest.raises(DataError, match=r"rows of one step\. Received: one of intraday rows, .* of rows without dates"):
        compare_runs([open_run(folder / "one"), other])


def test_a_subject_without_a_step_is_daily(table):
    subject = make_subject(
        table.assign(actual=1.0, model="lstm").pipe(lambda t: pd.concat([t, t.assign(model="naive")])), table, "lstm", "x"
    )
    assert (subject.row, subject.now, subject.before, subject.when) == ("session", "today", "yesterday", "Date")


@SETTLED
@given(st.integers(2, 3000), st.sampled_from(["s", "min", "5min", "h", "4h"]), st.sampled_from([4, 5, 6, 8]))
def test_bars_of_any_span_have_labels_on_their_time_axes(rows, apart, most):
    """matplotlib warns where it finds no interval for a span; warnings are errors here."""
    _, cells = sheet(["x"])
    (axes,) = cells["x"]
    time_axis(axes, pd.date_range("2024-01-02 09:30", periods=rows, freq=apart).to_numpy(), most)
    assert 1 <= len(axes.get_xticks()) <= most + 1
