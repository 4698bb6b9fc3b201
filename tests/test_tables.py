"""What the terminal shows."""

import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from factories import garch_path, panel
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.prices.quality import Finding, Place
from stockrnn.reports import tables
from stockrnn.reports.inspection import describe, histogram_rows, log_returns
from stockrnn.types import CLOSE, DATE, FILLED, TICKER, VOLUME

EVIL = "[red]\x1b[31m\x07삼성[/]\u202e\r\nx"
TAMED = "[red][31m삼성[/] x"


def printed(renderable, width=100):
    stream = io.StringIO()
    console = tables.make_console(stream)
    console.width = width
    console.print(renderable)
    return stream.getvalue()


def rows_of(text):
    """The cells of each line: split where two or more spaces stand."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]


def scores(scale=1.0):
    naive = {"mae": 4.312, "rmse": 6.12, "mape": 1.214, "mase": 1.0334, "crps": 3.214, "coverage_90": 0.866, "width_90": 18.3}
    naive = {**naive, "directional_accuracy": None, "skill_mae": 0.0, "skill_crps": 0.0, "r2": 0.1}
    network = {**naive, "directional_accuracy": 0.531, "skill_mae": -0.0234, "skill_crps": 0.0689, "coverage_90": 0.906}
    models = {"naive": naive, "drift": {"mae": 4.0, "crps": math.nan}, "simple_rnn": network}
    currency = ("mae", "rmse", "crps", "width_90")
    return {name: {key: value * scale if key in currency else value for key, value in values.items()} for name, values in models.items()}


def test_the_score_table_puts_the_network_first_and_a_dash_where_nothing_is_known():
    head1, head2, _, network, naive, drift, *_ = rows_of(printed(tables.score_table(scores(), "simple_rnn", 100)))
    assert head2 == ["Model", "MAE", "RMSE", "%", "MASE", "way %", "CRPS", "cover", "width", "MAE %", "CRPS %"]
    assert head1 == ["MAPE", "Right", "90 %", "90 %", "Skill", "Skill"]
    assert network == ["simple_rnn", "4.312", "6.120", "1.21", "1.033", "53.1", "3.214", "90.6", "18.30", "-2.3", "+6.9"]
    assert naive == ["naive", "4.312", "6.120", "1.21", "1.033", "–", "3.214", "86.6", "18.30", "+0.0", "+0.0"]
    assert drift == ["drift", "4.000", *"–––––––––"]


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 300.0, 1e6])
@pytest.mark.parametrize("width", [80, 100])
def test_the_score_table_fits_a_terminal_whatever_the_prices(scale, width):
    text = printed(tables.score_table(scores(scale), "simple_rnn", width), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    if width == 100:
        assert "simple_rnn " in text


@pytest.mark.parametrize("width", [80, 100])
def test_the_score_table_of_a_direction_head_shows_p_up_beside_the_base_rate(width):
    direction = {"brier": 0.2512, "log_loss": 0.6951, "skill_brier": -0.0031, "skill_log_loss": -0.0042}
    models = {name: values | direction for name, values in scores().items()}
    base = {"brier": 0.25, "log_loss": 0.6931, "skill_brier": 0.0, "skill_log_loss": 0.0}
    text = printed(tables.score_table(models, "simple_rnn", width, base), width)
    assert max(map(len, text.splitlines())) <= width
    assert text.splitlines()[3].split() == ["simple_rnn", "0.2512", "0.6951", "-0.3", "-0.4", "53.1", "4.312", "3.214", "-2.3", "+6.9"]
    assert "base rate 0.2500 0.6931 +0.0 +0.0 – –" in " ".join(text.split())


@pytest.mark.parametrize("base_rate", [None, {"brier": 0.25}])
def test_scores_pooled_over_tickers_say_that_high_prices_count_most(base_rate):
    for pooled in (False, True):
        text = " ".join(printed(tables.score_table(scores(), "simple_rnn", 100, base_rate, pooled=pooled)).split())
        assert text.endswith(tables.POOLED) == pooled


@pytest.mark.parametrize(
    ("count", "title"), [(1, "T0"), (3, "T0, T1, T2"), (6, "T0, T1, T2, T3, T4 and 1 more"), (5000, "T0, T1, T2, T3, T4 and 4995 more")]
)
def test_a_title_names_tickers_as_long_as_it_has_room(count, title):
    assert tables.titled([f"T{k}" for k in range(count)]) == title
    assert tables.titled([f"a rather long name {k}" for k in range(count)]) == (
        f"{count:,} tickers" if count > 1 else "a rather long name 0"
    )


@pytest.mark.parametrize(("value", "expected"), [(362.71, 2), (52_300.0, 0), (0.0012345, 7), (1.0845, 4), (9_999.0, 2), (0.0, 2)])
def test_prices_get_decimals_for_their_size(value, expected):
    assert tables.decimals_of(value) == expected


def test_numbers_have_no_negative_zero_and_no_nan():
    assert tables.number(-0.0004, 1, "+") == "+0.0"
    assert tables.number(-1234.56, 1) == "-1,234.6"
    assert tables.number(math.nan, 1) == tables.number(None, 1) == tables.number(math.inf, 1) == tables.NOTHING


def forecast(ticker="GOOG", price=362.71):
    bounds = {"lower_80": price * 0.97, "upper_80": price * 1.03, "lower_90": price * 0.95, "upper_90": price * 1.05}
    dates = pd.to_datetime(["2008-10-15", "2008-10-16"])
    return pd.DataFrame({TICKER: ticker, "step": [1, 2], DATE: dates, "forecast": price, **bounds, "p_up": [0.511, 0.49]})


def test_a_forecast_shows_date_weekday_price_intervals_and_the_chance_to_rise():
    head, _, first, second = rows_of(printed(tables.forecast_rows(forecast())))
    assert head == ["Step", "Date", "Day", "Forecast", "80 % interval", "90 % interval", "P(up) %"]
    assert first == ["1", "2008-10-15", "Wed", "362.71", "351.83 to 373.59", "344.57 to 380.85", "51.1"]
    assert second[:3] == ["2", "2008-10-16", "Thu"]


def test_of_many_tickers_the_highest_and_the_lowest_chances_are_shown():
    many = pd.DataFrame([{"ticker": f"T{k}", "step": step, "p_up": (7 * k + step) % 30 / 30} for k in range(30) for step in (1, 2)])
    shown = tables.most_and_least(many, 3)
    last = many[many["step"] == 2].sort_values("p_up")["ticker"].tolist()
    assert shown["ticker"].tolist() == [ticker for ticker in (*last[:-4:-1], *last[2::-1]) for _ in (1, 2)]
    assert shown["step"].tolist() == [1, 2] * 6


def test_of_many_tickers_those_with_the_fewest_sessions_are_listed():
    ends = {"first": {"date": "2020-01-02", "close": 10.5}, "last": {"date": None, "close": 2500.0}}
    text = printed(tables.tickers_table({f"T{k}": {"rows": 1000 - 30 * k, **ends} for k in range(12)}, most=2))
    assert rows_of(text)[2:4] == [
        ["T11", "670", "2020-01-02", "–", "10.50", "2,500.00"],
        ["T10", "700", "2020-01-02", "–", "10.50", "2,500.00"],
    ]
    assert "and 10 more, with 730 to 1,000 sessions" in text


def test_a_forecast_of_several_tickers_names_each_and_takes_its_own_decimals():
    text = printed(tables.forecast_rows(pd.concat([forecast(), forecast(EVIL, 52_300.0)], ignore_index=True)))
    lines = rows_of(text)
    assert [line[0] for line in lines[2:]] == ["GOOG", "GOOG", TAMED, TAMED]
    assert lines[4][4:6] == ["52,300", "50,731 to 53,869"]


@settings(max_examples=100)
@given(st.text(), st.integers(2, 30))
def test_plain_text_is_one_short_printable_line(text, limit):
    line = tables.plain_text(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert len(line.splitlines()) <= 1


def test_text_of_a_file_is_neither_markup_nor_control():
    finding = Finding(EVIL, 1234, (Place(f"/home/me/{EVIL}.csv", 12, "2008-01-02", EVIL, EVIL),), EVIL)
    run = {"name": EVIL, "data": EVIL, "network": EVIL}
    shown = [tables.findings_table([finding]), tables.runs_table([run]), tables.facts({"path": EVIL}), tables.verdict([EVIL])]
    for renderable in [*shown, tables.score_table({EVIL: {}}, EVIL, 100)]:
        text = printed(renderable, 200)
        assert "[red][31m삼성[/]" in text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)


def test_findings_say_how_often_where_and_what_was_done():
    finding = Finding("duplicated date", 1234, (Place("data/goog.csv", 12, "2008-01-02", "Close", "4,1"), Place("x")), "kept the last")
    lines = rows_of(printed(tables.findings_table([finding])))
    assert lines[0] == ["Finding", "Count", "First place", "What was done"]
    assert lines[2] == ["duplicated date", "1,234", "goog.csv, row 12, 2008-01-02, Close = 4,1", "kept the last"]
    assert rows_of(printed(tables.findings_table([])))[2][0] == "none found"


def test_runs_are_listed_with_their_honest_scores():
    run = {"name": "2026-11-20-lstm", "created": "2026-11-20T22:11:03+00:00", "data": "goog.csv", "network": "lstm", "forecasts": 157}
    run |= {"coverage_90": 0.91, "skill_mae": -0.001, "skill_crps": 0.06, "mae": 1.0}
    known, empty = rows_of(printed(tables.runs_table([run, {"name": "x"}])))[-2:]
    assert known == ["2026-11-20-lstm", "2026-11-20 22:11", "goog.csv", "lstm", "157", "91.0", "-0.1", "+6.0"]
    assert empty == ["x", *[tables.NOTHING] * 7]


def test_the_deviation_of_a_lone_volume_is_a_dash():
    table = garch_path(5)
    table["volume"] = [np.nan, 3.0, np.nan, np.nan, np.nan]
    text = printed(tables.describe_table(describe(table)))
    assert "nan" not in text
    assert text.splitlines()[-1].split() == ["volume", "1", "4", "3", "–", "3", "3", "3", "3", "3"]


def test_describe_takes_price_decimals_for_prices_and_short_counts_for_volume():
    table = garch_path(100)
    lines = rows_of(printed(tables.describe_table(describe(table))))
    assert lines[0] == ["Column", "count", "missing", "mean", "std", "min", "25%", "50%", "75%", "max"]
    by_name = {line[0]: line[1:] for line in lines[2:]}
    assert by_name[CLOSE][:3] == ["100", "0", f"{table[CLOSE].mean():.2f}"]
    assert by_name[VOLUME][2] == tables.counted(table[VOLUME].mean())


def test_head_and_tail_stand_about_a_line_of_dots():
    table = garch_path(30)
    table.loc[1, VOLUME] = np.nan
    lines = rows_of(printed(tables.price_rows(table, 3)))
    assert lines[0] == ["Date", "Open", "High", "Low", "Close", "Volume"]
    dates = [f"{date:%Y-%m-%d}" for date in table[DATE]]
    assert [line[0] for line in lines[2:]] == [*dates[:3], "…", *dates[-3:]]
    assert lines[3][-1] == tables.NOTHING
    assert len(rows_of(printed(tables.price_rows(table.head(6), 3)))) == 2 + 6


def test_rows_of_a_file_without_dates_are_numbered_and_have_no_weekdays():
    prices = garch_path(30).assign(date=pd.date_range("1970-01-01", periods=30))
    shown = printed(tables.price_rows(prices, step="none"))
    assert "1970" not in shown
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("session")] == [*"12345", *map(str, range(26, 31))]
    rows = pd.DataFrame([{"ticker": "a", "step": 1, "date": pd.Timestamp("1972-06-19"), "forecast": 1.0, "p_up": 0.5}])
    rows = rows.assign(**dict.fromkeys(["lower_80", "upper_80", "lower_90", "upper_90"], 1.0))
    assert rows_of(printed(tables.forecast_rows(rows, "none")))[-1][:3] == ["1", "session 901", "1.0000"]
    assert rows_of(printed(tables.forecast_rows(rows)))[-1][:3] == ["1", "1972-06-19", "Mon"]


def test_head_and_tail_of_a_panel_name_the_ticker_and_intraday_rows_the_time():
    table = panel(30)
    table[DATE] += pd.Timedelta("9h30min")
    table[FILLED] = True
    lines = rows_of(printed(tables.price_rows(table, 2)))
    assert lines[0][0] == "Ticker"
    assert lines[2][:2] == ["AAA", f"{table[DATE][0]:%Y-%m-%d} 09:30"]


def test_a_text_histogram_stands_under_its_name():
    rows = histogram_rows(log_returns(garch_path(100)))
    lines = rows_of(printed(tables.histogram_table("Change (log return, %)", rows)))
    assert lines[0] == ["Change (log return, %)"]
    assert lines[1] == ["From", "To", "Sessions"]
    assert sum(int(line[2]) for line in lines[3:]) == 99


def test_a_verdict_is_wrapped_under_its_bullet():
    lines = printed(tables.verdict(["word " * 30, "second"]), 60).splitlines()
    assert [line[:2] for line in lines] == ["• ", "  ", "  ", "• "]


def test_what_is_no_terminal_gets_plain_text_of_a_hundred_letters(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    stream = io.StringIO()
    console = tables.make_console(stream)
    assert console.width == 100
    console.print(tables.score_table(scores(), "simple_rnn"))
    assert "\x1b" not in stream.getvalue()
    monkeypatch.setenv("COLUMNS", "77")
    assert tables.make_console(io.StringIO()).width == 77
    monkeypatch.setenv("COLUMNS", "0")  # of a shell that was never told: rich would print sentences as empty lines
    assert tables.make_console(io.StringIO()).width == tables.PIPE_WIDTH
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert tables.make_console(io.StringIO()).width == tables.PIPE_WIDTH


def test_a_terminal_of_an_old_encoding_gets_question_marks_instead_of_an_error():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    tables.make_console(stream).print(tables.facts({"name": "삼성", "nothing": None}))
    stream.flush()
    assert b"name     ??" in raw.getvalue()


def test_a_console_prints_text_as_it_is():
    stream = io.StringIO()
    tables.make_console(stream).print("[red]x[/red] :smile:")
    assert stream.getvalue() == "[red]x[/red] :smile:\n"


@pytest.mark.parametrize("width", [20, 40, 60, 100])
def test_no_number_is_cut_where_a_line_is_too_short(width):
    stream = io.StringIO()
    console = tables.make_console(stream)
    console.width = width
    table = tables.empty_table(["Step", "Date", "Forecast", "90 % interval"], left=2)
    table.add_row(*map(tables.literal, ["1", "2008-10-15", "364.59", "347.40 to 381.41"]))
    tables.show(table, console)
    head, _, row = filter(str.strip, stream.getvalue().splitlines())
    assert head.split() == ["Step", "Date", "Forecast", "90", "%", "interval"]
    assert row.split() == ["1", "2008-10-15", "364.59", "347.40", "to", "381.41"]


def test_a_reader_that_leaves_early_is_no_fault_that_rich_may_report(monkeypatch):
    class Left(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        tables.show("text", tables.make_console(Left()))
