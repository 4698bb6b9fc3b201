"""Forms of files seen in the wild beyond the dialect table: each is written by hand arithmetic and read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from stockrnn.errors import DataError
from tests.test_dialects import assert_same, read
from tests.writing import bars, number_text

TABLE = bars(60)
HOURS = TABLE.assign(date=pd.date_range("2021-03-01", periods=60, freq="h"))
ALL = ("open", "high", "low", "close", "volume")


def lines(header: str, row: Callable[[Any], list], table: pd.DataFrame = TABLE, mark: str = ",", *, newest_first: bool = False) -> str:
    rows = [mark.join(str(cell) for cell in row(r)) for r in table.itertuples()]
    return "\n".join([header] * bool(header) + (rows[::-1] if newest_first else rows)) + "\n"


def bar(r) -> list:
    return [r.open, r.high, r.low, r.close, int(r.volume)]


def comma(values) -> list[str]:
    return [number_text(value, ",", thousands=True) for value in values]


DAY = "%Y-%m-%d"
FORMS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "r_row_names": (lines("Date,Open,High,Low,Close,Volume", lambda r: [r.Index + 1, f"{r.date:%Y-%m-%d}", *bar(r)]), ALL),
    "r_dates_as_row_names": (lines("Open Close", lambda r: [f'"{r.date:%Y-%m-%d}"', r.open, r.close], mark=" "), ("open", "close")),
    "pandas_index": (lines(",Date,Open,High,Low,Close,Volume", lambda r: [r.Index, f"{r.date:%Y-%m-%d}", *bar(r)]), ALL),
    "lines_quoted_whole": (
        "".join(f'"{line}"\n' for line in lines("Date,Open,High,Low,Close,Volume", lambda r: [f"{r.date:%Y-%m-%d}", *bar(r)]).splitlines()),
        ALL,
    ),
    "header_repeated": (
        lines("Date,Close", lambda r: [f"{r.date:%Y-%m-%d}", r.close]).replace("\n2019-02-01", "\nDate,Close\n2019-02-01"),
        ("close",),
    ),
    "dividend_rows": (
        lines("Date,Open,High,Low,Close*,Volume", lambda r: [f"{r.date:%Y-%m-%d}", *bar(r)]).replace(
            "\n2019-02-01", "\n2019-02-01,0.73 Dividend,,,,\n2019-02-01"
        ),
        ALL,
    ),
    "separator_hint": ("sep=;\n" + lines("Date;Open;High;Low;Close;Volume", lambda r: [f"{r.date:%Y-%m-%d}", *bar(r)], mark=";"), ALL),
    "blank_before_quote": (
        lines("Date, Close, Volume", lambda r: [f"{r.date:%Y-%m-%d}", f' "{r.close}"', f' "{int(r.volume):,}"']),
        ("close", "volume"),
    ),
    "german_spreadsheet": (
        lines(
            "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen",
            lambda r: [f"{r.date:%d.%m.%Y}", *comma(bar(r)[:4]), f"{int(r.volume):,}".replace(",", ".")],
            mark=";",
        ).encode("cp1252"),
        ALL,
    ),
    "spanish_yahoo": (
        lines(
            "Fecha;Abrir;Máx.;Mín.;Cierre*;Volumen",
            lambda r: [f"{r.date.day} {['ene', 'feb', 'mar'][r.date.month - 1]} {r.date.year}", *comma(bar(r)[:4]), int(r.volume)],
            mark=";",
        ),
        ALL,
    ),
    "taiwan_years": (
        lines("日期,開盤價,最高價,最低價,收盤價,成交股數", lambda r: [f"{r.date.year - 1911}/{r.date:%m/%d}", *bar(r)]).encode("big5"),
        ALL,
    ),
    "korean_half_days": (
        lines("일자,종가", lambda r: [f"{r.date:%Y-%m-%d} {'오전' if r.date.hour < 12 else '오후'} {r.date:%I:%M:%S}", r.close], HOURS),
        ("close",),
    ),
    "excel_day_numbers": (lines("Date,Open,High,Low,Close,Volume", lambda r: [(r.date - pd.Timestamp("1899-12-30")).days, *bar(r)]), ALL),
    "metatrader_hours": (lines("", lambda r: [f"{r.date:%Y.%m.%d}", f"{r.date:%H:%M}", *bar(r)], HOURS), ALL),
    "packed_times": (
        lines(
            "<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>", lambda r: [f"{r.date:%Y%m%d}", int(f"{r.date:%H%M%S}"), *bar(r)], HOURS, ";"
        ),
        ALL,
    ),
    "hours_of_the_day": (
        lines("Date,Open,High,Low,Close,Volume", lambda r: [f"{r.date:%Y-%m-%d %I-%p}", *bar(r)], HOURS, newest_first=True),
        ALL,
    ),
    "single_letters": (lines("ts,o,h,l,c,vol", lambda r: [int(r.date.timestamp() * 1000), *bar(r)], newest_first=True), ALL),
    "settlement_wins_over_last": (
        lines(
            "Date,Open,High,Low,Last,Settle,Volume", lambda r: [f"{r.date:%Y-%m-%d}", *bar(r)[:3], r.close + 0.01, r.close, int(r.volume)]
        ),
        ALL,
    ),
    "bid_and_ask": (
        lines("DateTime,BidOpen,BidHigh,BidLow,BidClose,AskClose", lambda r: [f"{r.date:%Y-%m-%d}", *bar(r)[:4], r.close + 1]),
        ALL[:4],
    ),
    "features_beside_prices": (
        lines("Date,Open,High,Low,Close,Volume,SMA_Close,Close_lag1,Target", lambda r: [f"{r.date:%Y-%m-%d}", *bar(r), "", r.open, 1]),
        ALL,
    ),
    "idle_volume_beside_ticks": (
        lines("<DATE>\t<CLOSE>\t<TICKVOL>\t<VOL>", lambda r: [f"{r.date:%Y.%m.%d}", r.close, int(r.volume), 0], mark="\t"),
        ("close", "volume"),
    ),
    "index_of_dates": (lines("index,close", lambda r: [f"{r.date:%Y%m%d}", r.close], newest_first=True), ("close",)),
    "javascript_dates": (lines("Date,Close", lambda r: [f"{r.date:%a %b %d %Y 00:00:00} GMT+0900 (KST)", r.close]), ("close",)),
}
REFUSED: dict[str, tuple[str, str]] = {
    "unknown_language": (
        lines("Kuupäev,Avamine,Kõrgeim,Madalaim,Sulgemine", lambda r: [f"{r.date:%Y-%m-%d}", *bar(r)[:4]]),
        "data.columns.close",
    ),
    "unreadable_dates": (lines("Date,Close", lambda r: [f"{r.date.timestamp():.6E}", r.close]), "data.date_format"),
    "quarters": (
        lines(
            "Date,Close", lambda r: [f"{r.date:%Y-%m-%d}", r.close], TABLE.assign(date=pd.date_range("2000-03-31", periods=60, freq="QE"))
        ),
        "month",
    ),
    "panel_without_a_ticker": (
        lines("Date,Close", lambda r: [f"{r.date:%Y-%m-%d}", r.close]) + lines("", lambda r: [f"{r.date:%Y-%m-%d}", 2 * r.close]),
        "data.columns.ticker",
    ),
    "no_close_at_all": ("Date,Close\n2020-01-02,null\n2020-01-03,null\n", "close"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_seen_in_the_wild_is_read(tmp_path, name):
    content, columns = FORMS[name]
    want = HOURS if name in ("korean_half_days", "metatrader_hours", "packed_times", "hours_of_the_day") else TABLE
    assert_same(read(tmp_path, content), want, columns)


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_that_cannot_be_told_is_refused_with_the_option_to_set(tmp_path, name):
    content, said = REFUSED[name]
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert said in str(caught.value)


def test_adjusted_close_of_a_foreign_header_scales_the_prices(tmp_path):
    text = lines("Fecha,Apertura,Cierre,Cierre ajustado", lambda r: [f"{r.date:%Y-%m-%d}", r.open, r.close, r.close / 4])
    assert_same(read(tmp_path, text), TABLE.assign(open=TABLE.open / 4, close=TABLE.close / 4), ("open", "close"))
