"""Shapes of real files that once were read wrongly in silence, or refused for a false reason: each is written here and read back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from stockrnn.errors import DataError
from stockrnn.prices.loading import Prices
from stockrnn.prices.swaps import swapped_rows
from tests.test_dialects import assert_same, read
from tests.writing import bars

TABLE = bars(60)
DAYS = [f"{day:%Y-%m-%d}" for day in TABLE.date]


def refused(folder, text: str, **data) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, text, **data)
    return str(caught.value)


def kinds(prices: Prices) -> dict[str, int]:
    return {finding.kind: finding.count for finding in prices.findings}


def csv(header: str, *columns) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n"


def excel_days(dates: pd.Series) -> list[str]:
    """Day-first dates after a spreadsheet took those it could for month-first ones."""
    return [f"{d:%m.%d.%Y}" if d.day <= 12 else f"{d:%d.%m.%Y}" for d in dates]


@pytest.mark.parametrize("newest_first", [False, True])
def test_days_and_months_that_a_spreadsheet_swapped_are_refused_by_row(tmp_path, newest_first):
    rows = list(zip(excel_days(TABLE.date), TABLE.close, strict=True))[:: -1 if newest_first else 1]
    text = "Date,Close\n" + "".join(f"{day},{close}\n" for day, close in rows)
    message = refused(tmp_path, text)
    assert "prices.csv rows " in message
    assert "data.date_format" in message
    assert read(tmp_path, text, date_format="%d.%m.%Y").readings[0].sureness == "as set"


def test_rows_in_no_order_at_all_are_no_sign_of_swapped_dates(tmp_path):
    table = TABLE.sample(frac=1, random_state=1)
    text = csv("Date,Close", [f"{d:%d.%m.%Y}" for d in table.date], table.close)
    prices = read(tmp_path, text)
    assert_same(prices, TABLE, ("close",))
    assert "unsorted" in kinds(prices)


def test_swapped_rows_are_found_ticker_by_ticker():
    days = pd.bdate_range("2020-01-02", periods=60)
    right = np.tile(days.to_numpy(), 2)
    wrong = right.copy()
    wrong[60 + 22] = np.datetime64("2020-03-02")  # 2020-02-03
    codes = np.repeat([0, 1], 60)
    assert days[22] == pd.Timestamp(2020, 2, 3)
    assert swapped_rows(right, codes).tolist() == []
    assert swapped_rows(wrong.astype("datetime64[ns]"), codes).tolist() == [82]


def test_a_repeated_row_is_refused_and_the_advised_option_drops_it(tmp_path):
    text = csv("Date,Close", [*DAYS, DAYS[-1]], [*TABLE.close, TABLE.close.iloc[-1]])
    message = refused(tmp_path, text)
    assert "rows 61 and 62" in message
    assert "`data.duplicates` to first" in message
    assert "columns.ticker" not in message
    prices = read(tmp_path, text, duplicates="first")
    assert_same(prices, TABLE, ("close",))
    assert kinds(prices)["duplicated"] == 1


@pytest.mark.parametrize(("keep", "close"), [("first", 5.0), ("last", 6.0)])
def test_of_two_rows_of_a_date_the_one_asked_for_is_used_by_its_place_in_the_file(tmp_path, keep, close):
    text = "Date,Close\n2020-01-03,4\n2020-01-02,5\n2020-01-02,6\n"
    assert "with other values" in refused(tmp_path, text)
    assert read(tmp_path, text, duplicates=keep).table.close.tolist() == [close, 4.0]


def test_a_negative_price_of_one_ticker_leaves_the_others_readable(tmp_path):
    bad = TABLE.close.where(TABLE.index != 3, -1)
    text = csv("Date,AAA,BBB", DAYS, TABLE.close, bad)
    message = refused(tmp_path, text)
    assert "'BBB'" in message
    assert "`data.ticker`" in message
    assert_same(read(tmp_path, text, ticker="AAA"), TABLE, ("close",))
    assert len(read(tmp_path, text, start=DAYS[4]).table) == 2 * 56


@pytest.mark.parametrize(
    ("below", "kept"),
    [((0, 9), "keep 50 of 60 rows with `data.start: {10}`"), ((55, 56), "keep 55 of 60 rows with `data.end: {54}`"), ((0, 59), "")],
    ids=["early", "late", "everywhere"],
)
def test_negative_prices_are_refused_with_the_side_that_is_free_of_them(tmp_path, below, kept):
    """China's prices adjusted by differences begin below zero; oil was there for a day."""
    text = csv("Date,Close", DAYS, TABLE.close.where((TABLE.index < below[0]) | (TABLE.index > below[1]), -1))
    message = refused(tmp_path, text)
    assert (", or keep" in message) == bool(kept)
    assert kept.replace("{10}", DAYS[10]).replace("{54}", DAYS[54]) in message


def test_a_negative_adjusted_close_is_refused_by_its_name(tmp_path):
    text = csv("Date,Open,High,Low,Close,Adj Close", DAYS, *(TABLE[name] for name in ("open", "high", "low", "close")), [-1e11] * 60)
    message = refused(tmp_path, text)
    assert "'Adj Close'" in message
    assert "`data.adjust`" in message
    assert_same(read(tmp_path, text, adjust="none"), TABLE, ("open", "high", "low", "close"))


def test_a_negative_volume_is_unknown_and_said(tmp_path):
    prices = read(tmp_path, csv("Date,Close,Volume", DAYS, TABLE.close, TABLE.volume.where(TABLE.index != 7, -5)))
    assert np.flatnonzero(prices.table.volume.isna()).tolist() == [7]
    assert kinds(prices)["negative_volume"] == 1


def test_a_redenomination_by_a_million_is_listed(tmp_path):
    close = TABLE.close.where(TABLE.index < 30, TABLE.close / 1e6)
    assert kinds(read(tmp_path, csv("Date,Close", DAYS, close)))["hundredfold_jump"] == 1


NOT_PRICES = {
    "ratios": ("Date,Quick Ratio,EPS,P/E,ROE", 4),
    "predictions": ("Fecha,dolar_blue,dolar_blue_pronostico", 2),
    "hash_rate": ("DateTime,Hash Rate", 1),
    "interest": ("MonthYear,Rate", 1),
    "passengers": ("Month,International airline passengers", 1),
    "holdings": ("date,holdings", 1),
    "libor": ("Date,Three_Months", 1),
    "yields": ("Date,1 Yr,10 Yr", 2),
    "money": ("Fecha,Base", 1),
}


@pytest.mark.parametrize("name", NOT_PRICES)
def test_a_table_that_holds_no_prices_is_refused_until_the_user_names_the_close(tmp_path, name):
    header, columns = NOT_PRICES[name]
    text = csv(header, DAYS, *[TABLE.close] * columns)
    assert "`data.columns.close`" in refused(tmp_path, text)
    assert_same(read(tmp_path, text, columns={"close": 2}), TABLE, ("close",))


@pytest.mark.parametrize("header", ["DATE,USDJPY", "date, value", "Дата,Значение", "Date,AAPL,MSFT"])
def test_a_close_that_no_word_names_is_a_finding(tmp_path, header):
    count = header.count(",")
    prices = read(tmp_path, csv(header, DAYS, *[TABLE.close] * count))
    assert kinds(prices)["assumed_close"] == count
    assert prices.readings[0].sureness != "certain"


@pytest.mark.parametrize("header", [",年,始値,高値,安値,終値", ",Year,Open,High,Low,Close"])
def test_years_are_dates_and_a_yearly_file_is_refused(tmp_path, header):
    years = range(1961, 2021)
    text = csv(header, range(60), years, TABLE.open, TABLE.high, TABLE.low, TABLE.close)
    assert "at most a month apart" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "header",
    [
        "Ngày giao dịch,Giá mở cửa,Giá cao nhất,Giá thấp nhất,Giá đóng cửa,Khối lượng giao dịch",
        "日付,開始価格*,最高価格,最低価格,終値**,ボリューム",
        "Trddt,Opnindex,Hiindex,Loindex,Clsindex,volume",
        "date,open,high,low,adjclose,volume",
    ],
)
def test_words_of_more_markets_are_known(tmp_path, header):
    assert_same(read(tmp_path, csv(header, DAYS, *(TABLE[name] for name in ("open", "high", "low", "close", "volume")))), TABLE)


def test_a_column_like_the_close_that_is_not_read_is_told(tmp_path):
    text = csv("date,floor,opening_price,ceiling,closing_price,other", DAYS, TABLE.low, TABLE.open, TABLE.high, TABLE.close, TABLE.volume)
    prices = read(tmp_path, text)
    assert kinds(prices)["unread_price_column"] == 2
    assert "ceiling" in prices.readings[0].sureness
    assert "unread_price_column" not in kinds(
        read(tmp_path, csv("date,high,low,close,ma", DAYS, TABLE.high, TABLE.low, TABLE.close, TABLE.close))
    )


def test_every_prefixed_series_is_read_whatever_letter_it_ends_with(tmp_path):
    text = csv("Date,XAU_Close,XAU_HighestOfYear,DXY_Close,DXY_HighestOfYear", DAYS, TABLE.close, TABLE.high, TABLE.open, TABLE.high)
    prices = read(tmp_path, text)
    assert prices.table.ticker.unique().tolist() == ["DXY", "XAU"]
    assert_same(read(tmp_path, text, ticker="XAU"), TABLE, ("close",))


def test_merged_columns_and_lags_of_the_close_are_no_tickers(tmp_path):
    for header in ("Date,Close_x,Close_y", "Date,Close_lag1,Close_ma20"):
        assert "`data.columns.close`" in refused(tmp_path, csv(header, DAYS, TABLE.close, TABLE.open))


def test_a_headerless_file_of_dates_and_one_number_is_read_with_a_finding(tmp_path):
    prices = read(tmp_path, "".join(f"{day},{close}\n" for day, close in zip(DAYS, TABLE.close, strict=True)))
    assert_same(prices, TABLE, ("close",))
    assert kinds(prices)["assumed_close"] == 1


def test_prices_of_a_headerless_file_may_stand_after_a_ticker(tmp_path):
    epochs = [int(day.timestamp() * 1000) for day in TABLE.date]
    columns = (TABLE[name] for name in ("open", "high", "low", "close", "volume"))
    rows = zip(epochs, [f"{day} 00:00:00" for day in DAYS], ["DAI/USDT"] * 60, *columns, strict=True)
    prices = read(tmp_path, "".join(",".join(map(str, row)) + "\n" for row in rows))
    assert_same(prices, TABLE)
    assert prices.table.ticker[0] == "DAI/USDT"


def taiwan(table: pd.DataFrame) -> str:
    """As the exchange of Taiwan writes: year, shares, amount, open, high, low, close, change, trades; no header."""
    dates = [f"{day.year - 1911}/{day:%m/%d}" for day in table.date]
    amount = (table.volume * (table.high + table.low) / 2).round().astype(int)
    rows = zip(
        dates, table.volume.astype(int), amount, table.open, table.high, table.low, table.close, ["+0.10"] * 60, range(60), strict=True
    )
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def test_taiwan_s_years_of_two_and_three_digits_are_read(tmp_path):
    table = TABLE.assign(date=pd.bdate_range("2010-11-15", periods=60))
    assert_same(read(tmp_path, taiwan(table)), table)


def test_taiwan_s_years_of_two_digits_alone_are_refused_and_the_option_settles_them(tmp_path):
    table = TABLE.assign(date=pd.bdate_range("2003-06-30", periods=60))
    text = csv("Date,Close", [f"{day.year - 1911}/{day:%m/%d}" for day in table.date], table.close)
    assert "`data.date_format`" in refused(tmp_path, text)
    assert_same(read(tmp_path, text, date_format="roc"), table, ("close",))
    assert read(tmp_path, text, date_format="%y/%m/%d").table.date[0] == pd.Timestamp(1992, 6, 30)


def test_a_blank_in_the_header_is_no_separator(tmp_path):
    text = csv("Data,Q Negs,Q Tots,Fechamento", [f"{day:%d/%m/%Y}" for day in TABLE.date], ["-"] * 60, ["-"] * 60, TABLE.close)
    assert read(tmp_path, text).readings[0].separator == ","


def test_a_long_preamble_with_dates_and_known_words_is_passed_over(tmp_path):
    above = (
        "Title:\tS&P 500\t\nUnits:\tIndex\t\nDate Range:\t2006-06-22 to 2016-06-22\t\nNotes:\tclose\t\n"
        + "\tmore words\t\n" * 20
        + "\t\t\n"
    )
    text = above + "DATE\tVALUE\t\n" + "".join(f"{day}\t{close}\t\n" for day, close in zip(DAYS, TABLE.close, strict=True))
    assert_same(read(tmp_path, text), TABLE, ("close",))


def test_a_ticker_that_looks_like_trillions_is_a_name(tmp_path):
    text = csv(
        "Price,Close,High,Low,Open,Volume\nTicker,7203.T,7203.T,7203.T,7203.T,7203.T\nDate,,,,,",
        DAYS,
        TABLE.close,
        TABLE.high,
        TABLE.low,
        TABLE.open,
        TABLE.volume,
    )
    prices = read(tmp_path, text)
    assert prices.table.ticker[0] == "7203.T"
    assert_same(prices, TABLE)


def test_a_spreadsheet_s_apostrophe_is_no_part_of_a_ticker(tmp_path):
    assert read(tmp_path, csv("Date,Symbol,Close", DAYS, ["'000651"] * 60, TABLE.close)).table.ticker[0] == "000651"


def test_rows_of_many_words_are_rows(tmp_path):
    text = csv("Date,Brand,Product,Price,Unit,Kind", DAYS, ["A"] * 60, ["gold"] * 60, TABLE.close, ["yuan"] * 60, ["up"] * 60)
    assert_same(read(tmp_path, text), TABLE, ("close",))


def test_a_list_of_stocks_is_no_history_and_no_option_is_advised(tmp_path):
    message = refused(tmp_path, csv("Symbol,Shares,Current Price,Close", [f"S{i}" for i in range(60)], range(60), TABLE.close, TABLE.close))
    assert "a list of them at one time" in message
    assert "data.order" not in message
    header = "Stock Name;Symbol;Shares;Purchase Price;Current Price"
    message = refused(tmp_path, csv(header, *[[f"S{i}" for i in range(60)]] * 2, range(60), TABLE.close, TABLE.open).replace(",", ";"))
    assert "must have a price column" in message
    assert "data.order" not in message


def test_a_refusal_after_reading_names_the_file(tmp_path):
    assert "prices.csv" in refused(tmp_path, csv("Close", TABLE.close))
    assert "prices.csv" in refused(tmp_path, csv("Date,Close", [f"{year}-01-01" for year in range(1961, 2021)], TABLE.close))


def test_jumps_across_missing_closes_are_seen_and_halts_are_none(tmp_path):
    close = TABLE.close.astype(object).where(TABLE.index < 30, TABLE.close / 1e6)
    close[30] = ""
    assert kinds(read(tmp_path, csv("Date,Close", DAYS, close)))["hundredfold_jump"] == 1
    close = TABLE.close.where(TABLE.index != 30, 0)
    assert "hundredfold_jump" not in kinds(read(tmp_path, csv("Date,Close", DAYS, close)))


def test_tickers_that_are_also_words_in_small_letters_are_series(tmp_path):
    text = csv("Date,AAPL_Close,MA_Close,X_Close", DAYS, TABLE.close, TABLE.open, TABLE.high)
    assert read(tmp_path, text).table.ticker.unique().tolist() == ["AAPL", "MA", "X"]


CODED = {
    "dates": "Date,005930,000660\n",
    "no_word": ",2330,2317\n",
    "japanese": "日付,7203,6758\n",
    "names_below": "Date,7203,6758\n,Motors,Games\n",
}


@pytest.mark.parametrize("header", CODED.values(), ids=CODED)
def test_numbers_that_name_stocks_are_the_header_of_a_table_of_closes(tmp_path, header):
    text = header + csv("", DAYS, TABLE.close, TABLE.open).lstrip("\n")
    first, second = header.split("\n")[0].split(",")[1:]
    prices = read(tmp_path, text)
    assert_same(prices, TABLE, ("close",), ticker=first)
    assert_same(prices, TABLE.assign(close=TABLE.open), ("close",), ticker=second)


STACKED = {
    "yfinance": "Price,Close,Close,Open,Open\nTicker,005930,000660,005930,000660\nDate,,,,\n",
    "pandas": ",Close,Close,Open,Open\n,005930,000660,005930,000660\nDate,,,,\n",
}


@pytest.mark.parametrize("header", STACKED.values(), ids=STACKED)
def test_numbers_that_name_stocks_may_stand_below_the_fields(tmp_path, header):
    columns = (TABLE.close, TABLE.close * 2, TABLE.open, TABLE.open * 2)
    prices = read(tmp_path, header + csv("", DAYS, *columns).lstrip("\n"))
    assert_same(prices, TABLE, ("open", "close"), ticker="005930")
    assert_same(prices, TABLE.assign(open=TABLE.open * 2, close=TABLE.close * 2), ("open", "close"), ticker="000660")


def test_a_row_of_whole_prices_without_a_date_is_no_header(tmp_path):
    text = csv("Date,Open,Close,Volume", DAYS, TABLE.open, TABLE.close, TABLE.volume)
    assert "row 2, column 'Date'" in refused(tmp_path, text.replace("\n", "\n,50000,51000,123456\n", 1))


def test_a_header_in_brackets_names_the_columns_where_no_other_does(tmp_path):
    prices = read(tmp_path, csv(r"Period\Unit:,[Dollar ],[Lev ]", DAYS, TABLE.close, TABLE.open))
    assert_same(prices, TABLE, ("close",), ticker="[Dollar ]")


@pytest.mark.parametrize("marks", [1, 2])
def test_marks_of_utf_8_are_no_part_of_the_first_name(tmp_path, marks):
    prices = read(tmp_path, "\ufeff" * marks + csv("Date,Close", DAYS, TABLE.close), columns={"date": "Date"})
    assert prices.readings[0].columns["date"] == "Date"


@pytest.mark.parametrize("second", ["Datum|1 USD|1 AUD", "Datum|1 AUD|1 EUR", "Datum|1 USD"])
def test_a_header_farther_down_that_names_other_columns_is_refused(tmp_path, second):
    """The yearly file of the Czech national bank, after a currency is given up; files that were put together of several."""
    lines = [f"{day:%d.%m.%Y}|{close}|{other}" for day, close, other in zip(TABLE.date, TABLE.close, TABLE.open, strict=True)]
    first = "Datum|1 AUD|1 USD"
    same = "\n".join([first, *lines[:30], first, *lines[30:]]) + "\n"
    assert_same(read(tmp_path, same), TABLE, ("close",), ticker="1 AUD")
    below = [line.rsplit("|", 1)[0] for line in lines[30:]] if second.count("|") == 1 else lines[30:]
    message = refused(tmp_path, "\n".join([first, *lines[:30], second, *below]) + "\n")
    assert "row 32: a header that repeats must name the same columns. Received: '1 " in message


def test_a_short_row_of_a_table_of_closes_is_told(tmp_path):
    lines = csv("Date,AAA,BBB", DAYS, TABLE.close, TABLE.open).split("\n")
    lines[31] = lines[31].rsplit(",", 1)[0]
    assert kinds(read(tmp_path, "\n".join(lines)))["short_row"] == 1


DAILY = {
    "coindesk": "Currency,Date,Closing Price (USD),24h Open (USD),24h High (USD),24h Low (USD),Volume",
    "vienna": "Name,Datum,Schlusspreis,Eröffnungskurs,Tageshöchst,Tagestief,Stück",
    "casablanca": "Ticker,Séance,Dernier Cours,Ouverture,+haut du jour,+bas du jour,Nombre de titres échangés",
}


@pytest.mark.parametrize("header", DAILY.values(), ids=DAILY)
def test_the_words_of_a_day_s_range_are_known(tmp_path, header):
    columns = (TABLE.close, TABLE.open, TABLE.high, TABLE.low, TABLE.volume)
    prices = read(tmp_path, csv(header, ["ACME"] * 60, [f"{d:%d/%m/%Y}" for d in TABLE.date], *columns))
    assert_same(prices, TABLE)


@pytest.mark.parametrize(("start", "count"), [("2001-01-01", 144), ("2010-06-01", 11), ("1995-03-01", 60)])
def test_six_digits_of_a_year_and_a_month_are_no_days_of_one_year(tmp_path, start, count):
    """200101 to 201212, as central banks and data libraries write months, had been read as days of 2020."""
    months = pd.DataFrame({"date": pd.date_range(start, periods=count, freq="MS"), "close": bars(144).close[:count]})
    prices = read(tmp_path, csv("Date,Close", months.date.dt.strftime("%Y%m"), months.close))
    assert_same(prices, months, ("close",))
    assert prices.step == "monthly"


@pytest.mark.parametrize("count", [6, 60])
def test_six_digits_of_days_stay_days(tmp_path, count):
    table = bars(60, start="2020-01-02")[:count]
    prices = read(tmp_path, csv("Date,Close", table.date.dt.strftime("%y%m%d"), table.close))
    assert_same(prices, table, ("close",))
    assert prices.readings[0].date_format == "%y%m%d"
