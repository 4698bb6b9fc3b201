"""Tables of many tickers side by side: which headers are tickers, though they are words as well, and fields that stand once for many."""

from __future__ import annotations

import io

import numpy as np
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


def test_a_word_beside_few_codes_is_a_ticker_where_its_values_are_not_near_theirs(tmp_path):
    for names in (["AAPL", "LOW", "MSFT"], ["NOW", "OPEN", "MO", "HIGH", "KO", "PEP"], ["KO", "SON", "PEP"]):
        prices = read(tmp_path, closes(names))
        assert sorted(prices.table.ticker.unique()) == sorted(names)
        assert_same(prices, scaled(2), ("close",), ticker=names[1])


def test_words_of_a_bar_are_no_tickers(tmp_path):
    assert "price column" in refused(tmp_path, csv("Date,AAPL,LOW,MSFT", DAYS, TABLE.close, TABLE.low, TABLE.close * 3))
    assert "price column" in refused(tmp_path, csv("Date,AAPL,LOW,HIGH,KO", DAYS, TABLE.close * 9, TABLE.low, TABLE.high, TABLE.close * 3))
    assert "price column" in refused(tmp_path, closes(["LOW", "MSFT"]))
    assert "price column" in refused(tmp_path, closes([*CODES, "VOL"]))


@pytest.mark.parametrize("form", ["{0}({1})", "{0} ({1})", "{0}[{1}]"])
@pytest.mark.parametrize("names", [["SAND", "ERIC B"], ["LOW", "MSFT"], ["电力", "銀行業"]])
def test_what_stands_in_brackets_tells_columns_of_one_field_apart(tmp_path, form, names):
    header = ",".join(["Date", *(form.format(field, name) for name in names for field in ("Close", "High"))])
    prices = read(tmp_path, csv(header, DAYS, TABLE.close, TABLE.high, TABLE.close * 2, TABLE.high * 2))
    assert sorted(prices.table.ticker.unique()) == sorted(names)
    for i, name in enumerate(names):
        assert_same(prices, scaled(i + 1), ("high", "close"), ticker=name)


@pytest.mark.parametrize("header", ["Price (USD),Price (EUR)", "Close (raw),Close (adj)", "Close (AAPL),Close", "Price (Low),Price (High)"])
def test_brackets_that_hold_no_name_leave_two_closes_to_the_user(tmp_path, header):
    refused(tmp_path, csv(f"Date,{header}", DAYS, TABLE.close, TABLE.close * 2))


@pytest.mark.parametrize("form", ["{0:02d}{1}", "{0}{1}", "{0}-{1}"])
def test_a_month_before_its_year_is_a_month(tmp_path, form):
    months = [form.format(month, year) for year in range(2015, 2020) for month in range(1, 13)]
    prices = read(tmp_path, csv("Date,Close", months, TABLE.close))
    assert prices.table.date.tolist() == pd.date_range("2015-01-01", periods=60, freq="MS").tolist()


@pytest.mark.parametrize("name", ["EURO STOXX", "s&p500", "wig20", "usd_to_clp", "EUR 1 = USD", "Gold_IDR", "eurusd", "brent futures"])
def test_the_only_column_may_be_called_by_what_is_traded(tmp_path, name):
    prices = read(tmp_path, csv(f"Date,{name}", DAYS, TABLE.close))
    assert_same(prices, TABLE, ("close",))
    assert kinds(prices)["assumed_close"] == 1


@pytest.mark.parametrize("name", ["gold production", "usd", "oil demand", "euro rate", "births", "gold return", "nasdaq volatility"])
def test_the_only_column_is_no_close_where_a_word_of_it_is_not_traded(tmp_path, name):
    assert "price column" in refused(tmp_path, csv(f"Date,{name}", DAYS, TABLE.close))


def test_the_names_of_forecasting_libraries_are_known(tmp_path):
    """`ds` and `y` of Prophet, with the `unique_id` of Nixtla."""
    assert_same(read(tmp_path, csv("ds,y", DAYS, TABLE.close)), TABLE, ("close",))
    prices = read(tmp_path, csv("unique_id,ds,y", ["A"] * 60 + ["B"] * 60, [*DAYS, *DAYS], [*TABLE.close, *(TABLE.close * 2)]))
    assert_same(prices, scaled(2), ("close",), ticker="B")


def test_the_history_of_indian_funds_has_a_ticker_a_scheme(tmp_path):
    """Lines between the rows name the kind of fund and its house."""
    header = "Scheme Code;Scheme Name;ISIN Div Payout/ISIN Growth;ISIN Div Reinvestment;Net Asset Value;Repurchase Price;Sale Price;Date"
    lines = [header, "", "Open Ended Schemes ( Equity )", "", "Some House"]
    for scheme, times in (("One - Growth", 1), ("Two - Growth", 2)):
        lines += [
            f"1{times};{scheme};INF1{times};;{value * times:.4f};;;{day:%d-%b-%Y}"
            for day, value in zip(TABLE.date, TABLE.close, strict=True)
        ]
    prices = read(tmp_path, "\n".join(lines) + "\n", name="a.txt")
    assert_same(prices, scaled(2), ("close",), ticker="Two - Growth")


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


@pytest.mark.parametrize("form", ["%Y%m%dT%H%M", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M+02:00[Europe/Paris]"])
def test_the_basic_form_of_iso_8601_is_a_date(tmp_path, form):
    assert_same(read(tmp_path, csv("date,close", [f"{day:{form}}" for day in TABLE.date], TABLE.close)), TABLE, ("close",))


def test_a_column_that_steps_as_volumes_do_is_no_close(tmp_path):
    """Whatever its order; a ticker for each row may stand between steps of another one."""
    rng = np.random.default_rng(0)
    volumes = [rng.lognormal(12, 0.5, 60).round() for _ in range(3)]
    assert "from most rows to the next" in refused(tmp_path, csv("Date,AAPL,KO,PEP", DAYS, *volumes))
    shuffled = rng.permutation(60)
    trend = TABLE.close * np.exp(np.arange(60) / 10)
    prices = read(tmp_path, csv("Date,AAPL,KO", [DAYS[i] for i in shuffled], trend[shuffled], trend[shuffled] * 2))
    assert_same(prices, TABLE.assign(close=trend), ("close",), ticker="AAPL")
    by_day = [(day, name, value * times) for day, value in zip(DAYS, TABLE.close, strict=True) for name, times in (("A", 1), ("B", 9))]
    assert_same(read(tmp_path, csv("ds,unique_id,y", *zip(*by_day, strict=True))), scaled(9), ("close",), ticker="B")


def test_a_word_for_a_change_is_a_ticker_among_very_many(tmp_path):
    many = [f"T{a}{b}" for a in "ABCD" for b in "EFGHI"]
    assert_same(read(tmp_path, closes([*many, "CHG"])), scaled(21), ("close",), ticker="CHG")
    assert "price column" in refused(tmp_path, closes([*CODES, "CHG"]))


def test_months_of_a_language_beside_a_comma_leave_a_semicolon_between_cells(tmp_path):
    """`ene.2015;540,51`: neither half of it is a date or a number with the other one."""
    names = ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic")
    months = [f"{name}.{year}" for year in range(2015, 2020) for name in names]
    lines = [f"{month};{str(value).replace('.', ',')}" for month, value in zip(months, TABLE.close, strict=True)]
    prices = read(tmp_path, "Período;USD\n" + "\n".join(lines) + "\n")
    assert prices.readings[0].separator == ";"
    assert prices.table.close.tolist() == TABLE.close.tolist()


def test_prices_of_a_bar_in_french_words_are_known(tmp_path):
    columns = (DAYS, TABLE.open, TABLE.high, TABLE.low, TABLE.close, TABLE.volume)
    assert_same(read(tmp_path, csv("date,prix_debut,prix_haut,prix_bas,prix_fin,volume", *columns)), TABLE)
