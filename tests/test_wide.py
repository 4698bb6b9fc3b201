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
    assert "close column" in refused(tmp_path, csv(f"Date,{header}", DAYS, TABLE.close, TABLE.close * 2))


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


def blocks(names: list[str], fields: dict[str, pd.Series], gap: int, above: bool) -> str:
    """Blocks of dates and fields side by side, each without the first rows of the one before, as far as they go."""
    parts = []
    for i, name in enumerate(names):
        rows = [[day, *values] for day, *values in zip(DAYS, *((v * (i + 1)).round(4) for v in fields.values()), strict=True)][7 * i :]
        head = [[name, *[""] * len(fields)], ["Date", *fields]] if above else [["Date", name]]
        parts.append([[*map(str, row), *[""] * gap] for row in [*head, *rows, *[["", *[""] * len(fields)]] * 7 * i]])
    return "\n".join(",".join(cell for part in line for cell in part) for line in zip(*parts, strict=True)) + "\n"


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("names", [["AAPL US Equity", "MSFT US Equity"], ["KO", "PEP", "LOW", "XOM", "HD"]])
@pytest.mark.parametrize("fields", [["Close"], ["Open", "High", "Low", "Close"], ["PX_LAST"]])
def test_tickers_side_by_side_may_have_dates_of_their_own(tmp_path, names, fields, gap):
    """As terminals give several tickers at once: rows beside each other are of other days, and blocks end where they end."""
    wanted = ("close",) if len(fields) == 1 else FOUR
    prices = read(tmp_path, blocks(names, {name: TABLE[role] for name, role in zip(fields, wanted, strict=True)}, gap, above=True))
    assert sorted(prices.table.ticker.unique()) == sorted(names)
    for i, name in enumerate(names):
        assert_same(prices, scaled(i + 1).iloc[7 * i :].reset_index(drop=True).round(4), wanted, ticker=name)
    assert "each ticker has dates of its own" in prices.readings[0].sureness


def test_columns_of_closes_may_each_have_dates_of_their_own(tmp_path):
    prices = read(tmp_path, blocks(["AAPL", "MSFT"], {"Close": TABLE.close}, 0, above=False))
    assert_same(prices, scaled(2).iloc[7:].reset_index(drop=True), ("close",), ticker="MSFT")
    assert kinds(prices)["assumed_close"] == 1


def test_dates_of_their_own_may_be_numbers_and_end_early(tmp_path):
    """In a workbook 20240102 is a number, and the cells below a block's end hold nothing."""
    days = [float(day.replace("-", "")) for day in DAYS]
    sides = {"AAPL": TABLE.close, "MSFT": [*(TABLE.close * 2)[:50], *[np.nan] * 10]}
    columns = {"Date": days, "AAPL": sides["AAPL"], "Date.1": [*days[:50], *[np.nan] * 10], "MSFT": sides["MSFT"]}
    path = tmp_path / "sides.parquet"
    pd.DataFrame(columns).to_parquet(path)
    prices = read(tmp_path, path.read_bytes(), "sides.parquet")
    assert_same(prices, scaled(2).iloc[:50], ("close",), ticker="MSFT")
    assert_same(prices, TABLE, ("close",), ticker="AAPL")


def test_dates_of_their_own_without_names_are_left_to_the_user(tmp_path):
    text = blocks(["A", "B"], {"Close": TABLE.close}, 0, above=True)
    assert "one close column" in refused(tmp_path, text.split("\n", 1)[1])


def test_the_standards_of_banks_and_funds_are_known(tmp_path):
    """Brazil's funds, Mexico's word for nothing, and CRSP's minus of a price between bid and ask."""
    funds = csv("CNPJ_FUNDO,DT_COMPTC,VL_TOTAL,VL_QUOTA", ["00.017/0001"] * 60, DAYS, TABLE.close * 1000, TABLE.close)
    crsp = csv("PERMNO,date,PRC", [14593] * 60, DAYS, TABLE.close * np.where(np.arange(60) % 9, 1, -1))
    for text in (funds, crsp):
        assert_same(read(tmp_path, text), TABLE, ("close",))
    for text, what in ((crsp, "signed_price"), (csv("Fecha,SF43718", [*DAYS, "2031-01-01"], [*TABLE.close, "N/E"]), "missing_close")):
        assert kinds(read(tmp_path, text))[what]


def test_a_turnover_after_the_prices_is_not_the_volume_that_it_is_worth(tmp_path):
    columns = [TABLE.open, TABLE.high, TABLE.low, TABLE.close, (TABLE.close * TABLE.volume).round(2), TABLE.volume]
    lines = "\n".join(",".join(map(str, row)) for row in zip(["PETR4"] * 60, DAYS, *columns, strict=True)) + "\n"
    assert_same(read(tmp_path, lines), TABLE, ticker="PETR4")


def test_a_line_about_the_columns_that_holds_a_date_is_no_row(tmp_path):
    """Australia's reserve bank writes ten lines about each series, the date of publication and the series' name among them."""
    about = ["Exchange rates,,", "Title,A$1=USD,A$1=EUR", "Frequency,Daily,Daily", "Units,USD,EUR", "Source,WM/Reuters,RBA"]
    about += ["Publication date,08-Mar-2024,08-Mar-2024", "Series ID,FXRUSD,FXREUR"]
    rows = [f"{day:%d-%b-%Y},{value},{value * 2}" for day, value in zip(TABLE.date, TABLE.close, strict=True)]
    assert_same(read(tmp_path, "\n".join([*about, *rows]) + "\n"), scaled(2), ("close",), ticker="FXREUR")


def test_numbers_name_columns_beside_a_word_for_the_dates(tmp_path):
    """As pandas writes columns without names, and a terminal that has not answered yet names none."""
    prices = read(tmp_path, csv("date,0,1", [f"{day} 00:00:00" for day in DAYS], TABLE.close, TABLE.close * 2))
    assert_same(prices, scaled(2), ("close",), ticker="1")
    text = csv("Dates,PX_LAST,PX_VOLUME", DAYS, TABLE.close, TABLE.volume)
    prices = read(tmp_path, "Security,NKY Index,#N/A Requesting Data...\n" + text, name="nky.csv")
    assert_same(prices, TABLE, ("close", "volume"), ticker="nky")
