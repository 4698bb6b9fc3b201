"""Exports of terminals, exchanges and programs of many countries: their words, digits, calendars, and columns that only values tell."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from stockrnn.prices.dates import looks_like_date
from stockrnn.prices.decoding import decode
from stockrnn.prices.dialects import name_dialect
from stockrnn.prices.words import meanings
from tests.test_dialects import assert_same, read
from tests.test_redteam import csv, kinds, refused
from tests.test_vendors import BAR, DAYS, TABLE, workbook

YEAR, MONTH, DAY = TABLE.date.dt.year, TABLE.date.dt.month, TABLE.date.dt.day
WORDS = {
    "Warsaw": "Data;Kurs otwarcia;Kurs max;Kurs min;Kurs zamknięcia;Wolumen",
    "Prague": "Datum;Otevírací kurz;Maximum;Minimum;Závěrečný kurz;Objem (ks)",
    "Budapest": "Dátum;Nyitóár;Legmagasabb ár;Legalacsonyabb ár;Záróár;Forgalom (db)",
    "Bucharest": "Data;Deschidere;Maxim;Minim;Închidere;Volum",
    "Kyiv": "Дата;Відкриття;Максимум;Мінімум;Закриття;Обсяг",
    "Sofia": "Дата;Отваряне;Най-висока;Най-ниска;Затваряне;Обем",
    "Stockholm": "Datum;Öppning;Högsta;Lägsta;Stängning;Volym",
    "Oslo": "Dato;Åpning;Høy;Lav;Slutt;Volum",
    "Istanbul": "TARIH;ACILIS FIYATI;EN YUKSEK FIYAT;EN DUSUK FIYAT;KAPANIS FIYATI;TOPLAM ISLEM ADEDI",
    "Istanbul, capitals": "TARİH;AÇILIŞ;EN YÜKSEK;EN DÜŞÜK;KAPANIŞ;HACİM",
    "Tel Aviv": "תאריך;שער פתיחה (באגורות);שער גבוה (באגורות);שער נמוך (באגורות);שער נעילה (באגורות);מחזור",
    "Kuala Lumpur": "Tarikh;Buka;Tinggi;Rendah;Tutup;Isipadu",
    "Bangkok": "วันที่;ราคาเปิด;ราคาสูงสุด;ราคาต่ำสุด;ราคาปิด;ปริมาณ",
    "Tehran": "تاریخ;بازگشایی;بیشترین;کمترین;پایانی;حجم",
    "Frankfurt": "Datum;Eroeffnung;Tageshoch;Tagestief;Schlusskurs;Umsatz (Stk.)",
    "Kathmandu": "Date;Open Price;Max. Price;Min. Price;Close Price;Total Traded Shares",
    "Colombo": "Trade Date;Open (Rs.);High (Rs.);Low (Rs.);Close (Rs.);Share Volume",
    "London": "Date;Open;High;Low;Close Mid;Volume",
    "CRSP": "date;OPENPRC;ASKHI;BIDLO;PRC;VOL",
    "Compustat": "datadate;prcod;prchd;prcld;prccd;cshtrd",
    "Eikon": "Date;OPEN_PRC;HIGH_1;LOW_1;TRDPRC_1;ACVOL_UNS",
    "nsepython": "CH_TIMESTAMP;CH_OPENING_PRICE;CH_TRADE_HIGH_PRICE;CH_TRADE_LOW_PRICE;CH_CLOSING_PRICE;CH_TOT_TRADED_QTY",
    "in dollars": "Date;Open USD;High USD;Low USD;Close USD;Volume",
}


@pytest.mark.parametrize("header", WORDS.values(), ids=WORDS)
def test_columns_of_a_country_or_a_vendor_are_known(tmp_path, header):
    prices = read(tmp_path, csv(header, DAYS, *(TABLE[name] for name in BAR)).replace(",", ";"), decimal="point")
    assert_same(prices, TABLE)
    assert set(prices.table.ticker) == {"prices"}


def test_a_name_that_only_looks_like_utf_8_and_like_a_letter_is_no_word():
    header = "证券代码,证券名称,交易时间,开盘价,收盘价\n"
    assert decode((header + "600519,贵州茅台,2022-01-04,1.0,2.0\n").encode("gbk"), Path("a.csv"))[1] == "gb18030"


def test_prices_of_one_bar_under_unknown_words_are_no_tickers(tmp_path):
    text = csv("Date,Kurs mediany,Kurs jednolity", DAYS, TABLE.close, TABLE.open)
    assert "price column" in refused(tmp_path, text)
    prices = read(tmp_path, csv("Date,Kurs Gold,Kurs Silber", DAYS, TABLE.close, TABLE.open / 60))
    assert set(prices.table.ticker) == {"Gold", "Silber"}


@pytest.mark.parametrize(
    "header", ["Data,High,Low,Close,Volume,Quantidade", "Datum,High,Low,Schluss,Umsatz (€),Umsatz", "d,High,Low,Close,x1,x2"]
)
def test_a_volume_counts_what_another_column_is_worth(tmp_path, header):
    worth = TABLE.volume * (TABLE.high + TABLE.low) / 2
    prices = read(tmp_path, csv(header, DAYS, TABLE.high, TABLE.low, TABLE.close, worth, TABLE.volume))
    assert_same(prices, TABLE, ("close", "volume"))
    assert "is worth" in prices.readings[0].sureness


@pytest.mark.parametrize(("name", "unit"), [("t", 1000), ("window_start", 10**9), ("MTS", 1000), ("mark", 1)])
def test_epochs_under_unknown_names_are_dates_and_volumes_are_none(tmp_path, name, unit):
    stamps = TABLE.date.astype("int64") // 10**9 * unit
    assert_same(read(tmp_path, csv(f"close,{name}", TABLE.close, stamps)), TABLE, ("close",))
    panel = csv(f"ticker,close,{name}", ["A"] * 60 + ["B"] * 60, [*TABLE.close, *TABLE.open], [*stamps, *stamps])
    assert_same(read(tmp_path, panel), TABLE, ("close",), ticker="A")
    volume = (2 * 10**9 + TABLE.volume * 7 + 1).astype("int64")
    assert "its order" in refused(tmp_path, csv("close,traded", TABLE.close, volume))


PARTS = {
    "Year,Month,Day": (YEAR, MONTH, DAY),
    "day,month,year": (DAY, MONTH, YEAR),
    "YYYY,MM,DD": (YEAR, [f"{m:02}" for m in MONTH], [f"{d:02}" for d in DAY]),
    "Jahr,Monat,Tag": (YEAR, MONTH, DAY),
    "년,월,일": (YEAR, MONTH, DAY),
    "年,月,日": (YEAR, MONTH, DAY),
    "Year,Mon,Day": (YEAR, TABLE.date.dt.strftime("%b"), DAY),
    "year,month,day": ([f"{y}.0" for y in YEAR], [f"{m}.0" for m in MONTH], [f"{d}.0" for d in DAY]),
}


@pytest.mark.parametrize("header", PARTS)
def test_year_month_and_day_of_their_own_columns_make_a_date(tmp_path, header):
    prices = read(tmp_path, csv(f"{header},Open,Close", *PARTS[header], TABLE.open, TABLE.close))
    assert_same(prices, TABLE, ("open", "close"))
    assert set(prices.readings[0].sureness.removeprefix("dates made of ").split(" + ")) == set(header.split(","))


def test_parts_of_dates_may_stand_beside_a_clock_an_hour_or_the_dates_themselves(tmp_path):
    hours = TABLE.assign(date=pd.date_range("2021-03-01", periods=60, freq="h"))
    parts = (hours.date.dt.year, hours.date.dt.month, hours.date.dt.day)
    for header, more in (
        ("Time", [hours.date.dt.strftime("%H:%M")]),
        ("Hour", [hours.date.dt.hour]),
        ("Hour,Minute", [hours.date.dt.hour, [0] * 60]),
    ):
        prices = read(tmp_path, csv(f"Year,Month,Day,{header},Close", *parts, *more, TABLE.close))
        assert_same(prices, hours, ("close",))
    assert_same(read(tmp_path, csv("Date,Year,Month,Day,Close", DAYS, [1999] * 60, MONTH, DAY, TABLE.close)), TABLE, ("close",))
    months = TABLE.assign(date=pd.date_range("2011-01-01", periods=60, freq="MS"))
    prices = read(tmp_path, csv("Year,Month,Close", months.date.dt.year, months.date.dt.month, TABLE.close))
    assert_same(prices, months, ("close",))
    assert prices.step == "monthly"


DIGITS = {"wide": "０１２３４５６７８９", "Arabic": "٠١٢٣٤٥٦٧٨٩", "Persian": "۰۱۲۳۴۵۶۷۸۹", "Hindi": "०१२३४५६७८९", "Thai": "๐๑๒๓๔๕๖๗๘๙"}


@pytest.mark.parametrize("digits", DIGITS.values(), ids=DIGITS)
def test_digits_of_other_scripts_are_digits_and_told(tmp_path, digits):
    script = str.maketrans("0123456789", digits)
    prices = read(tmp_path, csv("Date,Open,High,Low,Close,Volume", DAYS, *(TABLE[name] for name in BAR)).translate(script))
    assert_same(prices, TABLE)
    assert "digits of another script" in prices.readings[0].sureness
    rows = [
        ["Date", "Close"],
        *([day.translate(script), str(close).translate(script)] for day, close in zip(DAYS, TABLE.close, strict=True)),
    ]
    assert_same(read(tmp_path, workbook(tmp_path, A=rows), name="a.xlsx"), TABLE, ("close",))


def test_marks_between_wide_and_arabic_digits_are_marks(tmp_path):
    wide = [f'"{close * 100:,.2f}"'.translate(str.maketrans("0123456789,.", "０１２３４５６７８９，．")) for close in TABLE.close]
    want = TABLE.assign(close=(TABLE.close * 100).round(2))
    assert_same(read(tmp_path, csv("日付,終値", DAYS, wide).encode("cp932")), want, ("close",))
    arabic = [f"{close * 100:,.2f}".translate(str.maketrans("0123456789,.", "٠١٢٣٤٥٦٧٨٩٬٫")) for close in TABLE.close]
    assert_same(read(tmp_path, csv("التاريخ,إغلاق", DAYS, arabic)), want, ("close",))


def test_cells_between_apostrophes_are_cells(tmp_path):
    quoted = [[f"'{cell}'" for cell in column] for column in (DAYS, TABLE.close, [f"{volume:,.0f}" for volume in TABLE.volume])]
    assert_same(read(tmp_path, csv("'Date','Close','Volume'", *quoted)), TABLE, ("close", "volume"))
    assert_same(read(tmp_path, csv("Date,Close", quoted[0], TABLE.close)), TABLE, ("close",))


def test_thailand_s_years_are_made_western_and_told(tmp_path):
    for days in (
        DAY.astype(str) + "/" + MONTH.astype(str) + "/" + (YEAR + 543).astype(str),
        (YEAR + 543).astype(str) + TABLE.date.dt.strftime("-%m-%d"),
    ):
        prices = read(tmp_path, csv("Date,Close", days, TABLE.close))
        assert_same(prices, TABLE, ("close",))
        assert "Thailand's years" in prices.readings[0].sureness


@pytest.mark.parametrize("form", ["Q{q} {y}", "{y}-Q{q}", "{y}Q{q}", "{q}Q{y}", "T{q} {y}", "Q{q}-{s}"])
def test_quarters_are_refused_and_not_taken_for_months(tmp_path, form):
    days = pd.date_range("2005-01-01", periods=60, freq="QS")
    cells = [form.format(q=day.quarter, y=day.year, s=f"{day:%y}") for day in days]
    assert "at most a month apart. Received: quarters" in refused(tmp_path, csv("Date,Close", cells, TABLE.close))


def test_months_of_the_world_bank_are_read_below_a_line_of_units(tmp_path):
    months = TABLE.assign(date=pd.date_range("2010-01-01", periods=60, freq="MS"))
    text = csv(",Crude oil average,Gold\n,($/bbl),($/troy oz)", [f"{day:%Y}M{day:%m}" for day in months.date], TABLE.close, TABLE.open * 9)
    prices = read(tmp_path, "Commodity Prices,,\n" + text)
    assert_same(prices, months, ("close",), ticker="Crude oil average")
    assert not looks_like_date("2010M1000")


def test_a_short_line_with_a_date_above_the_header_is_no_row(tmp_path):
    text = '"Inception Date","May 15, 2000"\n\n' + csv(
        "As Of,NAV per Share,Ex-Dividends,Shares Outstanding", DAYS, TABLE.close, ["--"] * 60, [9] * 60
    )
    assert_same(read(tmp_path, "Fund\n" + text), TABLE, ("close",))


def test_weeks_of_years_are_told_and_their_rows_not_counted(tmp_path):
    weeks = [f"{day.isocalendar().year}-W{day.isocalendar().week:02}" for day in pd.date_range("2015-01-05", periods=60, freq="7D")]
    text = csv("Week,Open,High,Low,Close", weeks, *(TABLE[name] for name in BAR[:4]))
    assert "Received: '2015-W02' in column 'Week'" in refused(tmp_path, text)
    assert (
        read(tmp_path, csv("Row,Open,High,Low,Close", [f"row {i}" for i in range(60)], *(TABLE[name] for name in BAR[:4]))).step == "none"
    )


def test_dates_across_the_columns_are_told(tmp_path):
    text = csv("Ticker," + ",".join(DAYS), ["AAA", "BBB"], *([close, close] for close in TABLE.close))
    assert "dates across the columns, 'Ticker, 2019-01-02" in refused(tmp_path, text)


def test_the_only_column_of_numbers_may_call_itself_a_price_in_many_words(tmp_path):
    prices = read(tmp_path, csv('Date,"Cushing, OK WTI Spot Price FOB (Dollars per Barrel)"', DAYS, TABLE.close))
    assert_same(prices, TABLE, ("close",))
    assert kinds(prices)["assumed_close"] == 1
    assert "price column" in refused(tmp_path, csv("Date,Consumer Price Index", DAYS, TABLE.close))
    assert_same(read(tmp_path, csv("Dates,Prices", DAYS, TABLE.close)), TABLE, ("close",))


def test_a_second_column_of_dates_is_no_series(tmp_path):
    prices = read(tmp_path, csv("realtime_start,realtime_end,date,value", ["2023-02-26"] * 60, ["2023-02-26"] * 60, DAYS, TABLE.close))
    assert_same(prices, TABLE, ("close",))
    assert kinds(prices)["assumed_close"] == 1


def test_a_year_s_mark_in_russian_and_bulgarian_is_no_part_of_a_date(tmp_path):
    assert_same(
        read(tmp_path, csv("Дата;Цена", [f"{day:%d.%m.%Y} г." for day in TABLE.date], TABLE.close).replace(",", ";")), TABLE, ("close",)
    )


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("timestamp,open,high,low,close,volume,adjclose", "alphavantage"),
        ("timestamp,low,volume,high,close,open,adjclose", "unknown"),
        ("Date,Open,Close,High,Low,Volume", "ohlcv"),
        ("Date,Close,High,Low,Open,Volume", "yfinance-flat"),
    ],
)
def test_a_header_is_a_vendor_s_where_it_has_its_words_in_their_order(header, name):
    assert name_dialect(header.split(",")) == name


@pytest.mark.parametrize("header", ["Price change", "Average price", "Previous close price", "Price c", "Strike price"])
def test_words_beside_a_price_that_name_no_price_of_a_bar_make_none(header):
    assert not any(word.role in ("open", "high", "low", "close", "adj_close") for word in meanings(header))
