"""The next dates: exchanges, holidays, steps, and the pattern of a file whose exchange is unknown."""

from __future__ import annotations

import json
import subprocess
import sys

import exchange_calendars
import pandas as pd
import pytest

from stockrnn.dataconfig import DataConfig
from stockrnn.errors import ConfigError
from stockrnn.prices import planned
from stockrnn.prices.loading import load_prices
from stockrnn.prices.planned import Planned, keep_sessions
from stockrnn.prices.sessions import calendar_days, choose_calendar, future_sessions, missing_sessions, sessions_to_keep
from tests.factories import random_walk


def sessions(calendar: str, end: str, years: int = 3) -> pd.DatetimeIndex:
    last = pd.Timestamp(end)
    return calendar_days(calendar, last - pd.DateOffset(years=years), last)


def ahead(dates, count=3, ticker="x", **given) -> list[str]:
    return [f"{day:%Y-%m-%d}" for day in future_sessions(dates, ticker, count, **given).dates]


def test_the_shipped_data_goes_on_the_day_after_and_skips_thanksgiving():
    dates = load_prices(DataConfig()).table.date
    found = future_sessions(dates, "goog", 32)
    days = [f"{day:%Y-%m-%d}" for day in found.dates]
    assert found.calendar == "XNYS"
    assert days[0] == "2008-10-15"
    assert "2008-11-26" in days
    assert "2008-11-27" not in days
    assert "holidays are the file's" in found.reason


@pytest.mark.parametrize(
    ("calendar", "last", "expected"),
    [
        ("XNYS", "2023-12-29", ["2024-01-02", "2024-01-03", "2024-01-04"]),
        ("XKRX", "2024-02-08", ["2024-02-13", "2024-02-14", "2024-02-15"]),
        ("XTKS", "2023-12-29", ["2024-01-04", "2024-01-05", "2024-01-09"]),
        ("XLON", "2023-12-22", ["2023-12-27", "2023-12-28", "2023-12-29"]),
        ("XHKG", "2024-02-09", ["2024-02-14", "2024-02-15", "2024-02-16"]),
    ],
)
def test_holidays_in_the_file_name_its_exchange_across_new_years(calendar, last, expected):
    found = future_sessions(sessions(calendar, last), "unnamed", 3)
    assert [f"{day:%Y-%m-%d}" for day in found.dates] == expected
    assert found.calendar == calendar


@pytest.mark.parametrize(("ticker", "calendar"), [("005930.KS", "XKRX"), ("7203.T", "XTKS"), ("VOD.L", "XLON"), ("aapl.us", "XNYS")])
def test_the_ticker_s_ending_names_the_exchange_of_a_short_file(ticker, calendar):
    dates = sessions(calendar, "2023-06-30").to_series().iloc[-10:]
    assert future_sessions(dates, ticker, 1).calendar == calendar


def test_an_ending_that_the_file_contradicts_is_not_believed():
    assert future_sessions(sessions("XTKS", "2023-12-29"), "odd.US", 1).calendar == "XTKS"


def test_weekends_in_the_file_mean_every_day():
    found = future_sessions(pd.date_range("2022-01-01", "2022-12-30"), "BTC/USD", 3)
    assert (found.calendar, ahead(pd.date_range("2022-01-01", "2022-12-30"))) == ("24/7", ["2022-12-31", "2023-01-01", "2023-01-02"])


def test_a_file_of_no_exchange_goes_on_by_its_weekdays():
    sunday_to_thursday = [day for day in pd.date_range("2021-01-03", "2022-06-30") if day.dayofweek in (6, 0, 1, 2, 3)]
    found = future_sessions(pd.DatetimeIndex(sunday_to_thursday), "x", 3, "auto")
    assert found.calendar == "pattern"
    assert ahead(pd.DatetimeIndex(sunday_to_thursday)) == ["2022-07-03", "2022-07-04", "2022-07-05"]


@pytest.mark.parametrize(("exchange", "last", "following"), [("XSAU", "2024-04-04", "2024-04-16"), ("XTAE", "2024-10-01", "2024-10-06")])
def test_exchanges_that_trade_on_sundays_close_on_their_own_holidays(exchange, last, following):
    days = exchange_calendars.get_calendar(exchange, start="2021-01-05").sessions_in_range("2022-06-01", last)
    found = future_sessions(days, "x", 1)
    assert (found.calendar, f"{found.dates[0]:%Y-%m-%d}") == (exchange, following)


def test_beyond_the_calendar_s_own_end_the_weekdays_of_the_file_go_on():
    dates = pd.bdate_range("2110-01-01", "2111-05-29")
    found = future_sessions(dates, "x", 2, "XHKG")
    assert [f"{day:%Y-%m-%d}" for day in found.dates] == ["2111-06-01", "2111-06-02"]
    assert found.calendar == "pattern"
    assert "weekdays" in found.reason


def test_a_calendar_can_be_set_and_an_unknown_one_names_the_nearest():
    dates = pd.bdate_range("2019-01-01", "2020-07-02")
    assert ahead(dates, 1, calendar="XNYS") == ["2020-07-06"]
    assert ahead(dates, 1, calendar="24/7") == ["2020-07-03"]
    with pytest.raises(ConfigError, match=r"data\.calendar.*XKRX"):
        future_sessions(dates, "x", 1, "XKRZ")


def test_weekly_files_step_by_weeks_on_their_own_weekday():
    mondays = pd.date_range("2018-01-01", "2019-12-23", freq="W-MON")
    assert ahead(mondays, step="weekly") == ["2019-12-30", "2020-01-06", "2020-01-13"]


def test_weekly_files_stamped_on_the_last_session_follow_the_calendar():
    days = sessions("XNYS", "2021-03-26").to_series()
    stamps = days.groupby(days.dt.to_period("W-SUN")).last()
    assert ahead(pd.DatetimeIndex(stamps), 2, step="weekly") == ["2021-04-01", "2021-04-09"]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (pd.date_range("2017-01-01", "2019-11-01", freq="MS"), ["2019-12-01", "2020-01-01", "2020-02-01"]),
        (pd.date_range("2017-01-31", "2019-11-30", freq="ME"), ["2019-12-31", "2020-01-31", "2020-02-29"]),
    ],
)
def test_monthly_files_step_by_months(stamps, expected):
    assert ahead(stamps, step="monthly") == expected


def test_monthly_files_stamped_on_the_last_session_follow_the_calendar():
    days = sessions("XNYS", "2021-03-31").to_series()
    stamps = days.groupby(days.dt.to_period("M")).last()
    assert ahead(pd.DatetimeIndex(stamps), 3, step="monthly") == ["2021-04-30", "2021-05-28", "2021-06-30"]


def test_intraday_files_go_on_in_the_session_and_then_in_the_next():
    days = sessions("XNYS", "2023-12-29", 1)
    stamps = [day + pd.Timedelta(hours=9.5) + pd.Timedelta(minutes=30 * k) for day in days for k in range(13)]
    found = future_sessions(pd.DatetimeIndex(stamps[:-1]), "x", 3, step="intraday")
    assert [str(stamp) for stamp in found.dates] == ["2023-12-29 15:30:00", "2024-01-02 09:30:00", "2024-01-02 10:00:00"]


def test_rows_without_dates_are_counted_on():
    dates = pd.date_range("1970-01-01", periods=5)
    assert ahead(dates, 2, step="none") == ["1970-01-06", "1970-01-07"]


def test_the_order_of_the_dates_does_not_matter():
    dates = sessions("XNYS", "2023-12-29")
    shuffled = pd.Series(dates).sample(frac=1, random_state=0)
    assert ahead(shuffled) == ahead(dates)


def test_sessions_that_the_exchange_has_and_the_file_lacks_are_found():
    days = sessions("XNYS", "2023-12-29", 2)
    table = random_walk(len(days)).assign(date=days)
    assert missing_sessions(table, file="f.csv") == []
    (finding,) = missing_sessions(table.drop(index=[100, 200]).reset_index(drop=True), file="f.csv")
    assert finding.count == 2
    assert [place.date for place in finding.places] == [f"{days[i]:%Y-%m-%d}" for i in (100, 200)]
    assert finding.action == "not in the file, though XNYS has them"


def test_a_week_from_saturday_to_wednesday_is_no_week_of_seven_days():
    days = pd.date_range("2022-01-01", "2023-12-30")
    days = days[~days.dayofweek.isin((3, 4))]
    assert choose_calendar(days, "FUND")[0] == "pattern"
    assert ahead(days, 5) == ["2023-12-31", "2024-01-01", "2024-01-02", "2024-01-03", "2024-01-06"]
    assert choose_calendar(pd.date_range("2022-01-01", "2023-12-30"), "FUND")[0] == "24/7"


def test_without_holidays_the_choice_is_said_to_be_open():
    name, reason = choose_calendar(pd.bdate_range("2023-03-01", "2023-03-20"), "x")
    assert (name, "no holiday" in reason) == ("XNYS", True)
    assert ahead(pd.bdate_range("2023-03-01", "2023-03-20"), 1) == ["2023-03-21"]


@pytest.mark.parametrize("name", ["XNYS", "XKRX", "XTAI", "XHKG", "XIST"])
def test_holidays_of_the_asked_years_alone_give_the_calendar_s_own_sessions(name):
    whole = exchange_calendars.get_calendar(name, start="1998-01-01", end="2024-12-31").sessions
    for start, end in (("1998-05-04", "2001-02-03"), ("2019-12-31", "2024-06-28")):
        expected = whole[(whole >= start) & (whole <= end)]
        assert calendar_days(name, pd.Timestamp(start), pd.Timestamp(end)).equals(expected)


def daily(calendar, last="2024-03-14"):
    return {"A": sessions(calendar, last)}


@pytest.fixture
def nothing_kept(monkeypatch):
    monkeypatch.setattr(planned, "_kept", {})
    calendar_days.cache_clear()
    yield
    calendar_days.cache_clear()


@pytest.mark.parametrize("calendar", ["XNYS", "XKRX", "XTAE", "XBKK", "24/7"])
def test_what_is_kept_of_a_calendar_is_what_the_calendar_says(calendar, nothing_kept):
    state = json.loads(json.dumps(sessions_to_keep(daily(calendar), calendar)))
    kept = Planned.from_dict(state["calendars"][calendar])
    assert kept.end == pd.Timestamp("2024-03-14") + pd.Timedelta(days=400)
    for days in ([kept.start, kept.end], pd.to_datetime(["2023-04-29", "2024-03-31"]), pd.to_datetime(["2024-03-15", "2024-12-25"])):
        pd.testing.assert_index_equal(kept.between(*days), calendar_days(calendar, *days), exact=True, check_names=False)
    assert kept.between(kept.start - pd.Timedelta(days=1), kept.end) is None
    assert kept.between(kept.start, kept.end + pd.Timedelta(days=1)) is None


@pytest.mark.parametrize("calendar", ["auto", "XNYS"])
def test_what_is_kept_answers_alike_without_loading_calendars(calendar):
    dates = load_prices(DataConfig()).table.date
    state = sessions_to_keep({"goog": pd.DatetimeIndex(dates)}, calendar)
    code = (
        "import json, sys; from stockrnn.dataconfig import DataConfig; from stockrnn.prices.loading import load_prices\n"
        "from stockrnn.prices.planned import keep_sessions; from stockrnn.prices.sessions import future_sessions\n"
        f"keep_sessions(json.loads({json.dumps(state)!r}))\n"
        f"found = future_sessions(load_prices(DataConfig()).table.date, 'goog', 40, {calendar!r})\n"
        "print(json.dumps([[str(day) for day in found.dates], found.calendar, found.reason, 'exchange_calendars' in sys.modules]))"
    )
    said = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    wanted = future_sessions(dates, "goog", 40, calendar)
    assert said == [[str(day) for day in wanted.dates], wanted.calendar, wanted.reason, False]


def test_another_version_of_the_calendars_is_asked_itself(nothing_kept):
    state = sessions_to_keep(daily("XNYS"), "XNYS")
    keep_sessions({**state, "version": "0.1"})
    assert planned.kept_sessions("XNYS") is None
    keep_sessions(state)
    assert planned.kept_sessions("XNYS") is not None


def test_of_a_file_without_an_exchange_nothing_is_kept():
    days = pd.bdate_range("2022-01-03", periods=400)
    days = days[days.dayofweek != 2]
    assert sessions_to_keep({"A": days}, "auto")["calendars"] == {}


def test_of_tickers_of_one_exchange_all_days_that_one_asks_for_are_kept(nothing_kept):
    both = {"A.KS": sessions("XKRX", "2024-03-14"), "B.KS": sessions("XKRX", "2021-03-12")}
    (kept,) = (Planned.from_dict(each) for each in sessions_to_keep(both, "auto")["calendars"].values())
    assert kept.start == both["B.KS"][-375]
    assert kept.end == both["A.KS"][-1] + pd.Timedelta(days=400)


ODD = {"start": "2024-01-01", "end": "2024-12-31", "closed": [], "special": []}


@pytest.mark.parametrize(
    "change",
    [
        {"start": "x"},
        {"start": None},
        {"end": "2023-12-31"},
        {"end": "2099-12-31"},
        {"closed": 3},
        {"special": ["2024-01-01"] * 400},
        {"end": 7},
    ],
)
def test_days_that_cannot_be_kept_are_refused(change):
    with pytest.raises((TypeError, ValueError)):
        Planned.from_dict({**ODD, **change})
