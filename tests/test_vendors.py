"""Forms of exchanges, APIs and programs that were met in the wild, written by hand and read back; and tables that hold no prices."""

from __future__ import annotations

import numpy as np
import openpyxl
import pandas as pd
import pytest

from stockrnn.prices.dates import looks_like_date
from stockrnn.prices.dialects import name_dialect
from stockrnn.prices.words import names_no_price
from tests.test_dialects import assert_same, read
from tests.test_redteam import csv, kinds, refused
from tests.writing import bars

TABLE = bars(60)
DAYS = [f"{day:%Y-%m-%d}" for day in TABLE.date]
BAR = ("open", "high", "low", "close", "volume")
HEADERS = {
    "yfR": ("ref_date price_open price_high price_low price_close volume", "ticker price_open ret_adjusted_prices ret_closing_prices"),
    "kiwoom-rest": ("dt open_pric high_pric low_pric cur_prc trde_qty", "trde_prica pred_pre pred_pre_sig trde_tern_rt"),
    "kis": ("stck_bsop_date stck_oprc stck_hgpr stck_lwpr stck_clpr acml_vol", "acml_tr_pbmn flng_cls_code prdy_vrss"),
    "data-go-kr": ("basDt mkp hipr lopr clpr trqu", "srtnCd itmsNm vs fltRt trPrc lstgStCnt mrktTotAmt"),
    "krx-api": ("TRD_DD TDD_OPNPRC TDD_HGPRC TDD_LWPRC TDD_CLSPRC ACC_TRDVOL", "FLUC_TP_CD CMPPREVDD_PRC FLUC_RT ACC_TRDVAL"),
    "nse-udiff": ("TradDt OpnPric HghPric LwPric ClsPric TtlTradgVol", "TckrSymb SctySrs PrvsClsgPric SttlmPric TtlTrfVal TtlNbOfTxsExctd"),
    "ifind": ("time open high low close volume", "number thscode amount turnoverRatio adjustmentFactorBackward1"),
    "moex-ru": ("Дата_торгов Откр. Максимум Минимум Закр. Объём", "Кратк._наим. Ср.взв. Сделок"),
    "moex-futures-ru": (
        "Дата Цена_первой_сделки Максим._цена Миним._цена Цена_последней_сделки Объем_торгов,_контр.",
        "Код_фьючерса Средне-взвешенная_цена_за_лот Расчетная_цена Число_сделок",
    ),
    "korean-students": ("date start high low close volume", "index"),
    "joinquant": ("date open high low close volume", "index_code money label"),
    "byma": ("FECHA APERTURA MAXIMO MINIMO CIERRE VOLUMEN", "SIMBOLO VENCIMIENTO"),
    "twstock": ("Date Open High Low Close Capacity", "Turnover Change Transaction"),
    "nepse": ("published_date open high low close traded_quantity", "per_change traded_amount status"),
    "cafef": ("<DTYYYYMMDD> <OpenFixed> <HighFixed> <LowFixed> <CloseFixed> <Volume>", "<Ticker> <VolumeDeal>"),
    "investing-ar": ("التاريخ مفتوح مرتفع منخفض الأخير الحجم", "التغير_%"),
    "investing-he": ("תאריך פתיחה גבוה נמוך שער נפח", "%_שינוי"),
    "investing-el": ("Ημερομηνία Άνοιγμα Υψηλό Χαμηλό Τελευταία Vol.", "Μεταβολή_%"),
    "investing-th": ("วันเดือนปี เปิด สูง ต่ำ ล่าสุด ปริมาณ", "%_เปลี่ยน"),
    "investing-fi": ("Pvm Avaus Ylin Alin Viimeisin Vol.", "Muutos-%"),
    "investing-da": ("Dato Åben Høj Lav Seneste Vol.", "+/-_%"),
}  # fmt: skip
TEXTS = {
    "index_code",
    "ticker",
    "SIMBOLO",
    "VENCIMIENTO",
    "<Ticker>",
    "srtnCd",
    "itmsNm",
    "TckrSymb",
    "SctySrs",
    "thscode",
    "Кратк._наим.",
    "Код_фьючерса",
}


def workbook(folder, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(folder / "source.xlsx")
    return (folder / "source.xlsx").read_bytes()


def dated(*columns, names=("Close",)):
    return [["Date", *names], *([day.to_pydatetime(), *row] for day, *row in zip(TABLE.date, *columns, strict=True))]


@pytest.mark.parametrize(("used", "others"), HEADERS.values(), ids=HEADERS)
def test_the_words_of_apis_exchanges_and_languages_are_known(tmp_path, used, others):
    names, rest = used.split(), [name for name in others.split() if name not in used.split()]
    columns = [DAYS, *(TABLE[name] for name in BAR), *(["ACME"] * 60 if name in TEXTS else [3] * 60 for name in rest)]
    header = "\t".join(name.replace("_", " ") if not name.isascii() or "%" in name else name for name in [*names, *rest])
    text = "\n".join([header, *("\t".join(map(str, row)) for row in zip(*columns, strict=True))]) + "\n"
    prices = read(tmp_path, text)
    assert_same(prices, TABLE)
    assert prices.readings[0].sureness == "certain"
    assert set(prices.table.ticker) == {"ACME" if TEXTS & set(rest) else "prices"}


def test_tehran_s_open_is_its_first_price_and_not_the_close_of_the_day_before(tmp_path):
    header = "<TICKER>,<DTYYYYMMDD>,<FIRST>,<HIGH>,<LOW>,<CLOSE>,<VALUE>,<VOL>,<OPENINT>,<PER>,<OPEN>,<LAST>"
    before = TABLE.close.shift(1, fill_value=100.0)
    each = (TABLE.open, TABLE.high, TABLE.low, TABLE.close, TABLE.close * 9, TABLE.volume, [7] * 60, ["D"] * 60, before, TABLE.close)
    assert_same(read(tmp_path, csv(header, ["FUND"] * 60, [day.replace("-", "") for day in DAYS], *each)), TABLE)


def test_years_of_two_digits_beside_years_of_four_are_one_date_column(tmp_path):
    days = [f"{d:%m/%d/%y}" if d.day > 12 else f"{d:%m/%d/%Y}" for d in TABLE.date]
    assert_same(read(tmp_path, csv("Date,Close", days, TABLE.close)), TABLE, ("close",))


@pytest.mark.parametrize("unit", [1, 1000])
def test_seconds_before_1970_are_dates_where_later_rows_prove_the_unit(tmp_path, unit):
    table = bars(15_000, start="1950-01-03")
    seconds = (table.date.astype("int64") // 10**9 + 52_200) * unit
    assert_same(read(tmp_path, csv("time,open,high,low,close", seconds, *(table[name] for name in BAR[:4]))), table, BAR[:4])


def test_a_packed_date_with_a_clock_is_a_date():
    assert looks_like_date("20260515 09:36:09")
    assert not looks_like_date("20261515 09:36:09")


def test_french_months_are_read_by_all_their_short_names(tmp_path):
    months = ("Janv", "Févr", "Mars", "Avr", "Mai", "Juin", "Juill", "Août", "Sept", "Oct", "Nov", "Déc")
    table = pd.DataFrame({"date": pd.date_range("2019-01-01", periods=24, freq="MS"), "close": TABLE.close[:24]})
    prices = read(tmp_path, csv("Date,Dernier", [f"{months[d.month - 1]} {d.year}" for d in table.date], table.close))
    assert_same(prices, table, ("close",))
    assert prices.step == "monthly"


def test_a_quote_of_the_running_session_above_the_history_has_no_date_and_is_left_out(tmp_path):
    rows = zip([*DAYS[::-1]], TABLE.close[::-1], TABLE.volume[::-1], strict=True)
    text = 'date,close,volume\n"15:36","8.97","4,728"\n' + "".join(f'"{d}","{c}","{v:.0f}"\n' for d, c, v in rows)
    prices = read(tmp_path, text)
    assert_same(prices, TABLE, ("close",))
    assert kinds(prices)["line_outside_table"] == 1


def test_a_clock_amid_the_dates_is_an_error(tmp_path):
    assert "row 32" in refused(tmp_path, csv("Date,Close", [*DAYS[:30], "15:36", *DAYS[31:]], TABLE.close))


def test_column_numbers_of_pandas_are_no_row(tmp_path):
    assert_same(read(tmp_path, csv(",0", DAYS, TABLE.close)), TABLE, ("close",))


@pytest.mark.parametrize("nothing", ["n/d", "...", "#DIV/0!", "s/d", "n.a.", r"\N", "?", "－", "#N/A N/A", "#N/A Field Not Applicable"])
def test_words_for_nothing_are_missing_values(tmp_path, nothing):
    closes = [nothing, *TABLE.close[1:]]
    assert_same(read(tmp_path, csv("Date,Close", DAYS, closes)), TABLE[1:], ("close",))


def test_a_header_with_tabs_over_rows_with_commas_is_read_by_its_words(tmp_path):
    values = zip([day.replace("-", "") for day in DAYS], *(TABLE[name] for name in BAR), strict=True)
    rows = [",".join(map(str, row)) for row in values]
    header = "      日期\t    开盘\t    最高\t    最低\t    收盘\t    成交量"
    lines = ["600000 银行 日线", header, *rows, "数据来源:某"]
    prices = read(tmp_path, "\n".join(lines).encode("gb18030"), name="a.txt")
    assert_same(prices, TABLE)
    assert prices.readings[0].columns["close"] == "收盘"


def test_a_cover_before_the_only_sheet_with_dates_is_passed_over(tmp_path):
    cover = [["Workbook Contents"], ["For Help", "Contact"], ["(202) 555-0100", "someone"]]
    prices = read(tmp_path, workbook(tmp_path, Contents=cover, Data=dated(TABLE.close)), name="a.xlsx")
    assert_same(prices, TABLE, ("close",))
    assert prices.readings[0].sureness == "sheet 'Data', the only one with dates"


def test_an_empty_date_below_the_table_is_a_blank_row(tmp_path):
    rows = [*dated(TABLE.close), [None, None, "a note"], ["source: a terminal", None]]
    prices = read(tmp_path, workbook(tmp_path, Data=rows), name="a.xlsx")
    assert_same(prices, TABLE, ("close",))
    assert kinds(prices)["blank_row"] == 1


def test_two_sheets_after_a_cover_must_be_chosen_from(tmp_path):
    content = workbook(tmp_path, Title=[["Prices"], ["of two funds"]], One=dated(TABLE.close), Two=dated(TABLE.open))
    assert "several, 'One, Two'. Set `data.sheet`" in refused(tmp_path, content, name="a.xlsx")
    assert_same(read(tmp_path, content, name="a.xlsx", sheet="Two"), TABLE.assign(close=TABLE.open), ("close",))


def test_the_first_of_many_sheets_is_named(tmp_path):
    prices = read(tmp_path, workbook(tmp_path, One=dated(TABLE.close), Two=dated(TABLE.open)), name="a.xlsx")
    assert prices.readings[0].sureness == "sheet 'One', the first of 2"


def test_a_summary_of_numbers_above_the_header_is_no_table(tmp_path):
    """A terminal's price history: what was asked for and the extremes of the span, each with its number, and then the table."""
    above = [["Price History"], ["Instrument", "ACME.O"], ["Currency", "USD"], ["High", 150], ["Low", 90], ["Average", 120]]
    header = ["Exchange Date", "Close", "Net", "%Chg", "Open", "Low", "High", "Volume"]
    columns = (TABLE.close, TABLE.open * 0, TABLE.open * 0, TABLE.open, TABLE.low, TABLE.high, TABLE.volume)
    rows = dated(*columns)[:0:-1]
    prices = read(tmp_path, workbook(tmp_path, Data=[*above, header, *rows]), name="a.xlsx")
    assert_same(prices, TABLE)
    assert kinds(prices)["line_above_header"] == 6
    text = "\n".join(",".join(map(str, row)) for row in [*above, header, *([f"{row[0]:%Y-%m-%d}", *row[1:]] for row in rows)])
    assert_same(read(tmp_path, text + "\n"), TABLE)


def test_a_refused_workbook_names_its_sheet(tmp_path):
    content = workbook(tmp_path, Economy=dated(TABLE.close, TABLE.open, names=("GDP growth", "CPI growth")), Quotes=dated(TABLE.close))
    message = refused(tmp_path, content, name="a.xlsx")
    assert "sheet 'Economy', the first of 2 (`data.sheet`): the file must have a price column" in message


@pytest.mark.parametrize("title", ["成交量", "Volume", "Turnover", "Returns"])
def test_a_sheet_whose_name_says_otherwise_holds_no_closes(tmp_path, title):
    rows = dated(TABLE.close, TABLE.open, names=("AAA", "BBB"))
    assert_same(read(tmp_path, workbook(tmp_path, Prices=rows), name="a.xlsx"), TABLE, ("close",), ticker="AAA")
    assert "price column" in refused(tmp_path, workbook(tmp_path, **{title: rows}), name="a.xlsx")


def test_weights_that_are_often_zero_are_no_closes_but_zeros_before_a_listing_are_allowed(tmp_path):
    weights = [0.4 if i % 3 else 0.0 for i in range(60)]
    assert "32% zeros" in refused(tmp_path, csv("date,AAA,BBB", DAYS, weights, weights))
    young = [0.0] * 40 + list(TABLE.close[40:])
    assert_same(read(tmp_path, csv("date,AAA,BBB", DAYS, TABLE.close, young)), TABLE[40:], ("close",), ticker="BBB")


def test_a_finding_names_the_column_of_its_own_ticker(tmp_path):
    prices = read(tmp_path, csv("date,AAA,BBB", DAYS, TABLE.close, [0.0, *TABLE.open[1:]]))
    (finding,) = [finding for finding in prices.findings if finding.kind == "zero_close"]
    assert [place.column for place in finding.places] == ["BBB"]


def test_a_column_of_words_is_none_of_a_table_of_closes(tmp_path):
    assert "price column" in refused(tmp_path, csv("day,line,boarding,alighting", DAYS, ["Red"] * 60, TABLE.close, TABLE.open))


def test_one_named_price_beside_columns_that_may_be_prices_is_not_taken_alone(tmp_path):
    assert "Oil_Price" in refused(tmp_path, csv("Date,Gold,SP500,Oil_Price", DAYS, TABLE.open, TABLE.high, TABLE.close))
    prices = read(tmp_path, csv("Date,Oil_Price,volatility", DAYS, TABLE.close, TABLE.open))
    assert set(prices.table.ticker) == {"Oil"}


def test_columns_beside_named_series_that_are_not_read_are_told(tmp_path):
    prices = read(tmp_path, csv("Date,Oil price,Gold price,SP500", DAYS, TABLE.close, 9 * TABLE.open, TABLE.high))
    assert set(prices.table.ticker) == {"Oil", "Gold"}
    assert kinds(prices)["unread_price_column"] == 1
    assert "SP500" in prices.readings[0].sureness


def test_a_price_in_one_currency_beside_an_empty_one_keeps_the_file_s_ticker(tmp_path):
    prices = read(tmp_path, csv("date;symbol;price_eur;price_usd".replace(";", ","), DAYS, ["BTC"] * 60, TABLE.close, [""] * 60))
    assert set(prices.table.ticker) == {"BTC"}


def test_ratios_of_east_asia_are_no_prices_but_rates_of_exchange_are(tmp_path):
    assert all(map(names_no_price, ("滚动市盈率", "배당수익률", "換手率(%)")))
    assert not any(map(names_no_price, ("汇率", "환율", "율촌화학")))
    assert "price column" in refused(tmp_path, csv("日期,指数,滚动市盈率", DAYS, TABLE.close, TABLE.open))


def test_a_long_file_of_words_is_not_called_a_header(tmp_path):
    message = refused(tmp_path, csv("Symbol,Name,Sector", ["A"] * 60, ["Ann"] * 60, ["Tools"] * 60))
    assert "no dates and numbers in its first 60 lines" in message


def test_a_value_between_low_and_high_is_the_close_and_a_turnover_is_not(tmp_path):
    prices = read(tmp_path, csv("Date,Value,High,Low", DAYS, TABLE.close, TABLE.high, TABLE.low))
    assert_same(prices, TABLE, ("high", "low", "close"))
    assert prices.readings[0].sureness == "'Value' lies between low and high"
    assert "price column" in refused(tmp_path, csv("Date,Value,High,Low", DAYS, TABLE.volume, TABLE.high, TABLE.low))


def test_rows_out_of_order_are_those_against_the_order_of_most(tmp_path):
    back = TABLE[::-1].reset_index(drop=True)
    order = [*range(20), 30, *range(20, 30), *range(31, 60)]
    prices = read(tmp_path, csv("Date,Close", back.date.dt.date[order], back.close[order]))
    assert_same(prices, TABLE, ("close",))
    assert kinds(prices)["unsorted"] == 1


@pytest.mark.parametrize("clock", ["100000", "1000", "10:00:00"])
def test_six_digits_of_a_date_may_have_a_time_beside_them(tmp_path, clock):
    days = [f"{day:%y%m%d}" for day in TABLE.date]
    prices = read(tmp_path, csv("<DATE>;<TIME>;<CLOSE>".replace(";", ","), days, [clock] * 60, TABLE.close))
    assert_same(prices, TABLE, ("close",))


def test_columns_made_straight_with_blanks_are_read(tmp_path):
    table = TABLE.set_index("date")[["open", "high", "low", "close"]]
    assert_same(read(tmp_path, table.to_string(), name="a.txt"), TABLE, BAR[:4])
    assert_same(read(tmp_path, table.to_string().replace("\n", "  \n"), name="b.txt", separator="space"), TABLE, BAR[:4])


def test_a_million_blanks_take_no_time_to_read(tmp_path):
    assert "dates" in refused(tmp_path, "a" + " " * 1_000_000 + "b\n" + " " * 1_000_000 + "c\n")


@pytest.mark.parametrize("name", ["RAY Index", "AAPL US Equity", "CL1 Comdty"])
def test_a_terminal_s_name_of_a_security_alone_is_the_close(tmp_path, name):
    assert_same(read(tmp_path, csv(f"DATES,{name}", DAYS, TABLE.close)), TABLE, ("close",))
    assert "price column" in refused(tmp_path, csv("DATES,CPI Index", DAYS, TABLE.close))


@pytest.mark.parametrize(
    ("header", "name"),
    [("Date,Price,Open,High,Low,Change %", "investing"), ("Tarih,Şimdi,Açılış,Yüksek,Düşük,Fark %", "investing-tr"), ("Date,A", "unknown")],
)
def test_a_vendor_s_file_without_volume_is_the_vendor_s(header, name):
    assert name_dialect(header.split(",")) == name


def test_a_german_compound_alone_is_the_close(tmp_path):
    assert_same(read(tmp_path, csv("Datum,Goldpreis", DAYS, TABLE.close)), TABLE, ("close",))


YAHOO = (
    "Close Close price adjusted for splits.,"
    "Adj Close Adjusted close price adjusted for splits and dividend and/or capital gain distributions."
)


def test_the_explanations_in_the_header_of_yahoo_s_page_are_no_tickers(tmp_path):
    columns = (TABLE.open, TABLE.high, TABLE.low, TABLE.close, TABLE.close / 2, [f'"{v:,.0f}"' for v in TABLE.volume])
    prices = read(tmp_path, csv(f"Date,Open,High,Low,{YAHOO},Volume", [f'"{d:%b} {d.day}, {d.year}"' for d in TABLE.date], *columns))
    assert_same(prices, TABLE.assign(**{name: TABLE[name] / 2 for name in BAR[:4]}), ticker="prices")


FUNDS = {
    "Date,NAV,Shares Outstanding,Total Net Assets": "us",
    "净值日期,单位净值,累计净值,日增长率": "cn",
    "年月日,基準価額(円),純資産総額（百万円）,分配金": "jp",
    "기준일자,기준가격,수정기준가격,설정액": "kr",
}


@pytest.mark.parametrize("header", FUNDS, ids=FUNDS.values())
def test_a_fund_s_value_is_its_close_and_what_stands_beside_it_is_no_ticker(tmp_path, header):
    prices = read(tmp_path, csv(header, DAYS, TABLE.close, TABLE.volume, [3] * 60))
    assert_same(prices, TABLE, ("close",), ticker="prices")
    assert prices.readings[0].sureness == "certain"


@pytest.mark.parametrize("header", ["Date,Bid,Ask", "Fecha,Compra,Venta", "Datum,Geld,Brief", "일자,매수,매도"])
def test_two_sides_of_one_price_are_no_two_tickers(tmp_path, header):
    text = csv(header, DAYS, TABLE.close, TABLE.close + 0.5)
    assert "price column" in refused(tmp_path, text)
    assert_same(read(tmp_path, text, columns={"close": 2}), TABLE, ("close",))


@pytest.mark.parametrize(
    "header", ["时间,开盘价(后复权),最高价(后复权),最低价(后复权),收盘价(后复权),成交量(股)", "时间,开盘,最高,最低,收盘,总手"]
)
def test_chinese_text_that_begins_like_utf_8_is_read(tmp_path, header):
    prices = read(tmp_path, csv(header, DAYS, *(TABLE[name] for name in BAR)).encode("gbk"))
    assert_same(prices, TABLE)
    assert prices.readings[0].encoding == "gb18030"


MONTHS_DE = ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"]
WEEKDAYS_DE = ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag")
WRITTEN = {
    "japan": lambda d: f"{d:%Y/%m/%d}({'月火水木金土日'[d.weekday()]})",
    "japan_wide": lambda d: f"{d.year}年{d.month}月{d.day}日（{'月火水木金土日'[d.weekday()]}）",
    "korea": lambda d: f"{d:%Y.%m.%d}({'월화수목금토일'[d.weekday()]})",
    "china": lambda d: f'"{d:%Y-%m-%d},{"一二三四五六日"[d.weekday()]}"',
    "germany": lambda d: f'"{WEEKDAYS_DE[d.weekday()][:2]}, {d:%d.%m.%Y}"',
    "germany_long": lambda d: f'"{WEEKDAYS_DE[d.weekday()]}, {d.day}. {MONTHS_DE[d.month - 1]} {d.year}"',
    "era": lambda d: f"R{d.year - 2018}.{d.month}.{d.day}" if d >= pd.Timestamp("2019-05-01") else f"H{d.year - 1988}.{d.month}.{d.day}",
    "era_long": lambda d: f"{'令和元' if d >= pd.Timestamp('2019-05-01') else '平成31'}年{d.month}月{d.day}日",
    "ordinal": lambda d: f"{d.day}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(d.day % 10 if d.day // 10 != 1 else 0, 'th') } {d:%B %Y}",
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_weekdays_eras_and_ordinals_of_dates_are_read(tmp_path, write):
    table = bars(120)
    assert_same(read(tmp_path, csv("Date,Close", table.date.map(write), table.close)), table, ("close",))


@pytest.mark.parametrize("form", ["%b %d", "%d %b", "%d-%b"])
def test_days_without_a_year_are_no_months_of_many_years(tmp_path, form):
    message = refused(tmp_path, csv("Date,Close", [f"{day:{form}}" for day in TABLE.date], TABLE.close))
    assert "dates must have a year" in message


@pytest.mark.parametrize("newest_first", [False, True])
def test_months_of_years_of_two_digits_are_read_in_order(tmp_path, newest_first):
    table = pd.DataFrame({"date": pd.date_range("2015-01-01", periods=60, freq="MS"), "close": TABLE.close})
    rows = table[::-1] if newest_first else table
    assert_same(read(tmp_path, csv("Date,Close", [f"{d:%b %y}" for d in rows.date], rows.close)), table, ("close",))


VOLUMES = {"mn": 1e6, " Mio.": 1e6, " mln": 1e6, "bn": 1e9, " Mrd": 1e9, " Lakh": 1e5, " Cr": 1e7, "주": 1, "株": 1}


@pytest.mark.parametrize("unit", VOLUMES)
def test_units_of_volumes_are_known(tmp_path, unit):
    prices = read(tmp_path, csv("Date,Close,Volume", DAYS, TABLE.close, [f"{v:.0f}{unit}" for v in TABLE.volume]))
    assert_same(prices, TABLE.assign(volume=TABLE.volume * VOLUMES[unit]), ("close", "volume"))


def test_a_volume_of_words_is_told(tmp_path):
    prices = read(tmp_path, csv("Date,Close,Volume", DAYS, TABLE.close, ["high"] * 60))
    assert kinds(prices)["unread_volume"] == 1
    assert "unread_volume" not in kinds(read(tmp_path, csv("Date,Close,Volume,Vol.", DAYS, TABLE.close, TABLE.volume, ["high"] * 60)))


def test_thousands_may_be_parted_as_switzerland_does(tmp_path):
    closes = [f'"{v * 100:,.2f}"'.replace(",", "’") for v in TABLE.close]
    assert_same(read(tmp_path, csv("Datum,Schluss", DAYS, closes)), TABLE.assign(close=(TABLE.close * 100).round(2)), ("close",))


def test_an_empty_close_is_named(tmp_path):
    message = refused(tmp_path, csv("Date,Open,Close", DAYS, TABLE.open, [""] * 60))
    assert "column 3 'Close' must hold closes. Received: empty cells" in message


def test_the_header_below_a_preamble_of_pairs_is_the_one_as_wide_as_the_rows(tmp_path):
    text = "Fund,ACME\nTicker,AC\n" + csv("Date,One,Two", DAYS, TABLE.close, TABLE.open)
    assert_same(read(tmp_path, text), TABLE, ("close",), ticker="One")


@pytest.mark.parametrize("header", ["Index Name", "Contract", "合约代码"])
def test_indices_and_contracts_name_series(tmp_path, header):
    text = csv(f"{header},Date,Close", ["Z24"] * 60 + ["H25"] * 60, DAYS * 2, [*TABLE.close, *TABLE.open])
    assert_same(read(tmp_path, text), TABLE, ("close",), ticker="Z24")


@pytest.mark.parametrize("text", ["\n\n<!DOCTYPE html>\n<html>\n", "<!-- saved -->\n<html>\n"])
def test_a_page_after_an_empty_line_or_a_comment_is_called_a_page(tmp_path, text):
    assert "a web page" in refused(tmp_path, text)


def test_an_adjusted_close_in_a_column_s_name_is_no_other_ticker(tmp_path):
    """R writes `ABB.ST.Adj.Close`; a ticker may hold a point."""
    fields = ("Open", "High", "Low", "Close", "Volume", "Adj.Close")
    columns = [TABLE.open, TABLE.high, TABLE.low, TABLE.close, TABLE.volume, TABLE.close / 2]
    header = ",".join(["", *(f"{ticker}.{field}" for ticker in ("ABB.ST", "SEB") for field in fields)])
    prices = read(tmp_path, csv(header, DAYS, *columns, *columns))
    assert sorted(prices.table.ticker.unique()) == ["ABB.ST", "SEB"]
    for _, table in prices.table.groupby("ticker"):
        np.testing.assert_allclose(table[list(BAR)], TABLE.assign(**{name: TABLE[name] / 2 for name in BAR[:4]})[list(BAR)])


def test_adjusted_and_raw_prices_of_one_file_are_the_adjusted_ones(tmp_path):
    header = "<Ticker>,<DTYYYYMMDD>,<OpenFixed>,<HighFixed>,<LowFixed>,<CloseFixed>,<Volume>,<Open>,<High>,<Low>,<Close>"
    raw = [2 * TABLE[name] for name in BAR[:4]]
    days = [day.replace("-", "") for day in DAYS]
    prices = read(tmp_path, csv(header, ["CAG"] * 60, days, *(TABLE[name] for name in BAR), *raw))
    assert_same(prices, TABLE, ticker="CAG")
    assert_same(
        read(tmp_path, csv(header, ["CAG"] * 60, days, *(TABLE[name] for name in BAR), *raw), adjust="none"),
        TABLE.assign(**{name: 2 * TABLE[name] for name in BAR[:4]}),
        ticker="CAG",
    )


def test_taiwan_s_volume_is_found_among_days_without_trade(tmp_path):
    traded = TABLE.index % 3 > 0
    volume, bars_of = TABLE.volume.where(traded, 0), [TABLE[name].where(traded) for name in BAR[:4]]
    days = [f"{day.year - 1911}/{day:%m/%d}" for day in TABLE.date]
    rows = zip(days, volume, volume * TABLE.close, *bars_of, strict=True)
    text = "".join(",".join("" if value != value else str(value) for value in row) + ",0.00,12\n" for row in rows)
    table = read(tmp_path, text).table
    np.testing.assert_array_equal(table.volume, TABLE.volume[traded])


@pytest.mark.parametrize("month", ["{0.year}년 {0.month}월", "{0.year}년 {0:%m}월", "{0.year}年{0.month}月"])
def test_months_of_korea_japan_and_china_are_months(tmp_path, month):
    months = pd.date_range("2014-11-01", periods=60, freq="MS")
    prices = read(tmp_path, csv("date,close", [month.format(day) for day in months], TABLE.close))
    assert prices.step == "monthly"
    assert prices.table.date.tolist() == months.tolist()


def test_taiwan_s_years_beside_what_a_spreadsheet_made_of_them_are_refused(tmp_path):
    days = [f"{day.year - 1911}/{day:%m/%d}" for day in TABLE.date]
    days[:9] = [f"{day.year - 23}-{day:%m-%d}" for day in TABLE.date[:9]]  # 96/12/26, of 2007, is written as a day of 1996
    assert "one calendar" in refused(tmp_path, csv("date,close", days, TABLE.close))


def test_a_start_that_counts_seconds_is_the_date_of_a_candle_and_not_its_open(tmp_path):
    """Coinbase's candles begin with `start`, and some Korean files call the open so."""
    seconds = [int(day.timestamp()) for day in TABLE.date]
    columns = [TABLE[name] for name in ("low", "high", "open", "close", "volume")]
    assert_same(read(tmp_path, csv("start,low,high,open,close,volume", seconds, *columns)), TABLE)
    ends = [second + 86_400 for second in seconds]
    assert_same(read(tmp_path, csv("start,end,low,high,open,close,volume", seconds, ends, *columns)), TABLE)
