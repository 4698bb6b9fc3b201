"""Tables of many tickers side by side: which headers are tickers, though they are words as well, and fields that stand once for many."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from tests.test_dialects import assert_same, read
from tests.test_redteam import DAYS, TABLE, csv, kinds, refused

CODES = ["AAPL", "MSFT", "KO", "PEP", "JNJ", "JPM", "XOM", "CVX", "WMT", "HD", "MCD", "UNH"]
FIELDS = {"Close": TABLE.close, "High": TABLE.high, "Low": TABLE.low, "Open": TABLE.open}
FOUR = ("open", "high", "low", "close")


def scaled(times: int) -> pd.DataFrame:
    return TABLE.assign(**{name: TABLE[name] * times for name in FOUR})


def closes(names: list[str]) -> str:
    return csv(",".join(["Date", *names]), DAYS, *(TABLE.close * (i + 1) for i in range(len(names))))


@pytest.mark.parametrize("word", ["LOW", "MO", "DAY", "SYM", "SON", "TS"])
def test_a_ticker_that_is_a_word_is_a_ticker_among_many(tmp_path, word):
    """Lowe's, Altria, Dayforce, Symbotic, Sonoco and Tenaris: low, open, date, ticker, close and date in some language."""
    prices = read(tmp_path, closes([*CODES[:6], word, "C", "V", *CODES[6:]]))
    assert len(prices.table.ticker.unique()) == 15
    assert_same(prices, scaled(7), ("close",), ticker=word)


def test_a_ticker_with_its_exchange_may_be_a_word(tmp_path):
    names = ["BAS.DE", "ADS.DE", "ALV.DE", "SAP.DE", "SIE.DE", "BMW.DE"]
    assert_same(read(tmp_path, closes(names)), TABLE, ("close",), ticker="BAS.DE")


def test_a_name_of_what_is_no_price_is_a_ticker_among_very_many_alone(tmp_path):
    many = [f"T{a}{b}" for a in "ABCD" for b in "EFGHI"]
    for name in ("PCT", "NAV"):
        assert_same(read(tmp_path, closes([*many, name])), scaled(21), ("close",), ticker=name)
    assert "price column" in refused(tmp_path, closes([*CODES, "CPI"]))


@pytest.mark.parametrize("names", [["AAPL", "LOW", "MSFT"], ["HIGH", "LOW", "OPEN", *CODES[:6]], [*CODES, "VOL"]])
def test_words_of_a_bar_beside_few_codes_are_no_tickers(tmp_path, names):
    assert "price column" in refused(tmp_path, closes(names))


def test_a_close_beside_many_codes_is_the_close(tmp_path):
    for name in ("CLOSE", "NAV"):
        prices = read(tmp_path, csv(",".join(["DATE", "LOW", name, *CODES]), DAYS, TABLE.low, TABLE.close, *[TABLE.open * 9] * 12))
        assert_same(prices, TABLE, ("low", "close"))


@pytest.mark.parametrize("form", ["{1}_{0}", "{0}_{1}", "{0}.{1}", "\"('{1}', '{0}')\""])
def test_a_ticker_that_is_a_word_has_the_fields_of_the_others(tmp_path, form):
    names = ["AAPL", "LOW", "MO", "MSFT"]
    header = ",".join(["Date", *(form.format(name, field) for field in FIELDS for name in names)])
    columns = [values * (i + 1) for values in FIELDS.values() for i in range(4)]
    prices = read(tmp_path, csv(header, DAYS, *columns))
    assert sorted(prices.table.ticker.unique()) == names
    assert_same(prices, scaled(3), FOUR, ticker="MO")


def test_a_word_beside_a_close_that_no_others_share_is_no_ticker(tmp_path):
    header = "Date,AAPL_Close,AAPL_Open,KO_Close,KO_Open,LOW_Close"
    prices = read(tmp_path, csv(header, DAYS, TABLE.close, TABLE.open, TABLE.close, TABLE.open, TABLE.open * 3))
    assert prices.table.ticker.unique().tolist() == ["AAPL", "KO"]
    assert kinds(prices)["unread_price_column"] == 1


@pytest.mark.parametrize("names", [["AAPL", "JNJ", "KO"], ["AAPL", "LOW", "MO", "MSFT"], ["005930", "000660"]])
@pytest.mark.parametrize("fields", [["Close"], list(FIELDS)])
@pytest.mark.parametrize("kind", ["workbook", "text"])
def test_a_field_stands_once_for_all_its_tickers_where_cells_are_merged(tmp_path, names, fields, kind):
    """As pandas writes what yfinance gives of several tickers; all but the first were dropped in silence."""
    table = pd.DataFrame({(field, name): (FIELDS[field] * (i + 1)).to_numpy() for field in fields for i, name in enumerate(names)})
    table.index, table.columns.names = pd.Index(TABLE.date, name="Date"), ["Price", "Ticker"]
    file = io.BytesIO()
    if kind == "workbook":
        table.to_excel(file)
    else:
        gaps = "," * (len(names) - 1)
        lines = table.to_csv().split("\n")
        lines[0] = "Price," + ",".join(field + gaps for field in fields)
        file.write("\n".join(lines).encode())
    prices = read(tmp_path, file.getvalue(), name="a.xlsx" if kind == "workbook" else "a.csv")
    assert sorted(prices.table.ticker.unique()) == sorted(names)
    for i, name in enumerate(names):
        assert_same(prices, scaled(i + 1), tuple(field.lower() for field in fields), ticker=name)


@pytest.mark.parametrize("header", ["Date,USD Exchange Rate", "Date,Exchange Rate", "Fecha,Tipo de cambio", "Date,Taux de change"])
def test_a_rate_of_exchange_is_a_price_and_a_rate_of_interest_is_none(tmp_path, header):
    assert_same(read(tmp_path, csv(header, DAYS, TABLE.close)), TABLE, ("close",))
    assert "price column" in refused(tmp_path, csv(f"{header},Interest Rate", DAYS, TABLE.close, TABLE.open))
    assert "price column" in refused(tmp_path, csv("Date,Interest Rate", DAYS, TABLE.close))


def test_a_rate_of_exchange_is_not_taken_alone(tmp_path):
    prices = read(tmp_path, csv("Date,Brent,Exchange Rate", DAYS, TABLE.close, TABLE.open))
    assert sorted(prices.table.ticker.unique()) == ["Brent", "Exchange Rate"]


def test_the_price_of_something_between_low_and_high_is_their_close(tmp_path):
    text = csv("date,gold_price,High,Low,Open", DAYS, TABLE.close, TABLE.high, TABLE.low, TABLE.open)
    prices = read(tmp_path, text)
    assert_same(prices, TABLE, FOUR)
    assert prices.readings[0].sureness == "'gold_price' lies between low and high"
    assert "price column" in refused(tmp_path, text.replace("gold_price", "avg_price"))


def test_a_header_parted_by_blanks_over_rows_with_commas_is_read(tmp_path):
    columns = (TABLE.open, TABLE.high, TABLE.low, TABLE.close, TABLE.volume)
    text = csv("Date Ticker Open High Low Close Volume", [day.replace("-", "") for day in DAYS], ["ACME"] * 60, *columns)
    prices = read(tmp_path, text, name="a.txt")
    assert_same(prices, TABLE, ticker="ACME")
    assert prices.readings[0].columns["close"] == "Close"


@pytest.mark.parametrize("form", ["%Y%m%dT%H%M", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ"])
def test_the_basic_form_of_iso_8601_is_a_date(tmp_path, form):
    assert_same(read(tmp_path, csv("date,close", [f"{day:{form}}" for day in TABLE.date], TABLE.close)), TABLE, ("close",))
