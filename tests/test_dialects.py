"""Every vendor's file, written from its documented form, is read back: values, dates, names."""

from __future__ import annotations

import csv
import io
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stockrnn.configfile import build_config
from stockrnn.dataconfig import DataConfig
from stockrnn.errors import DataError
from stockrnn.prices import layout, words
from stockrnn.prices.dialects import DIALECTS, name_dialect
from stockrnn.prices.loading import Prices, inspect_document, load_prices
from stockrnn.prices.vocabulary import WORDS
from stockrnn.prices.words import meanings, normalise
from stockrnn.types import PRICE_TABLE, PRICES, VOLUME
from tests.writing import BY_NAME, HEADERLESS, bars, date_text, number_text, role_of, write

COLUMNS = (*PRICES, VOLUME)
DATE_FORMATS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y",
    "%Y년 %m월 %d일", "%Y. %m. %d.", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S%z", "%a, %d %b %Y",
    "epoch_s", "epoch_ms", "epoch_us", "epoch_ns",
)  # fmt: skip


def read(folder, content, name="prices.csv", **data) -> Prices:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_prices(build_config({"data": {"path": str(path), **data}}, "test").data)


def assert_same(prices: Prices, want: pd.DataFrame, columns=COLUMNS, ticker=None) -> None:
    table = prices.table if ticker is None else prices.table[prices.table.ticker == ticker]
    assert len(table) == len(want)
    assert (table.date.to_numpy() == want.date.to_numpy()).all()
    for name in columns:
        np.testing.assert_allclose(table[name].to_numpy(), want[name].to_numpy(float), rtol=1e-9, err_msg=name)


def columns_of(dialect) -> list[str]:
    names = next(csv.reader([dialect.header], delimiter=dialect.separator)) if dialect.header else []
    roles = {role_of(name) for name in names}
    return [name for name in COLUMNS if name in roles] if names else list(COLUMNS)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_vendor_s_file_is_read_as_it_was_written(tmp_path, dialect):
    written = write(dialect, bars())
    prices = read(tmp_path, written.content)
    assert_same(prices, written.table, columns_of(dialect))
    reading = prices.readings[0]
    assert reading.dialect == dialect.name
    assert reading.decimal == dialect.decimal
    assert reading.order == dialect.order
    lacking = [name for name in COLUMNS if name not in columns_of(dialect)]
    assert prices.table[lacking].isna().all().all()


@pytest.mark.parametrize(
    "dialect", [d for d in DIALECTS if "adj_close" in {role_of(n) for n in d.header.split(d.separator)}], ids=lambda d: d.name
)
def test_adjusted_close_scales_all_prices_unless_told_otherwise(tmp_path, dialect):
    table = bars()
    raw = read(tmp_path, write(dialect, table).content, adjust="none")
    assert_same(raw, table)
    assert raw.readings[0].close != read(tmp_path, write(dialect, table).content).readings[0].close


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dialect=st.sampled_from(DIALECTS),
    seed=st.integers(0, 50),
    rows=st.integers(30, 80),
    start=st.dates(min_value=pd.Timestamp("1990-01-01").date(), max_value=pd.Timestamp("2024-06-01").date()),
    date_format=st.sampled_from(DATE_FORMATS),
    encoding=st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "own")),
    order=st.sampled_from(("ascending", "descending")),
    thousands=st.booleans(),
)
def test_any_table_comes_back_from_any_dialect_encoding_and_date_format(
    tmp_path, dialect, seed, rows, start, date_format, encoding, order, thousands
):
    assume(start.year >= 2002 or not date_format.startswith("epoch"))
    if dialect.name == "binance-klines" or "<TIME>" in dialect.header:
        date_format = dialect.date_format
    table = bars(rows, seed, start.isoformat())
    encoding = dialect.encoding if encoding == "own" else encoding
    written = write(
        dialect, table, date_format=date_format, encoding=encoding, order=order, thousands=thousands and dialect.name not in HEADERLESS
    )
    prices = read(tmp_path, written.content)
    assert_same(prices, written.table, columns_of(dialect))
    assert tuple(prices.table.columns) == PRICE_TABLE
    assert prices.readings[0].order == order


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949", "euc-kr"])
def test_korean_words_are_read_in_each_of_their_encodings(tmp_path, encoding):
    written = write(BY_NAME["krx"], bars(), encoding=encoding)
    prices = read(tmp_path, written.content)
    assert_same(prices, written.table)
    assert prices.readings[0].columns["close"] == "종가"


def test_language_of_the_header_decides_what_ambiguous_marks_mean(tmp_path):
    rows = bars(30)
    lines = [f"{day:%Y-%m-%d};{1000 + i},125" for i, day in enumerate(rows.date)]
    with pytest.raises(DataError, match=r"data\.decimal"):
        read(tmp_path, "\n".join(["Date;Close", *lines]))
    assert read(tmp_path, "\n".join(["Date;Close", *lines]), decimal="comma").table.close.iloc[0] == 1000.125
    won = [f'{day:%Y-%m-%d},"{50 + i},500"' for i, day in enumerate(rows.date)]
    assert read(tmp_path, "\n".join(["날짜,종가", *won])).table.close.iloc[0] == 50500


def test_of_a_cell_that_is_all_of_a_damaged_file_the_first_letters_are_looked_at():
    assert normalise("É" * 5_000_000) == "e" * 4000
    assert normalise("É" * 3999 + "_") == "e" * 3999


@pytest.mark.parametrize("languages", list(itertools.permutations(["id", "ms", "zh"])))
def test_of_languages_that_explain_as_many_headers_the_first_is_taken_in_every_process(languages):
    """Sets of texts have another order in each process, by `PYTHONHASHSEED`."""
    options = [words.Word("open", 0, language) for language in languages]
    assert layout._language([options]) == layout._language([[each] for each in options]) == languages[0]
    assert layout._language([[*options, words.Word("open", 0, "en")]]) == "en"


def test_yfinance_s_three_header_rows_name_the_ticker(tmp_path):
    table = bars()
    head = "Price,Close,High,Low,Open,Volume\nTicker" + ",AAPL" * 5 + "\nDate,,,,,\n"
    body = "".join(f"{r.date:%Y-%m-%d},{r.close},{r.high},{r.low},{r.open},{r.volume}\n" for r in table.itertuples())
    prices = read(tmp_path, head + body)
    assert_same(prices, table, ticker="AAPL")


def test_several_tickers_side_by_side_become_one_long_table(tmp_path):
    table = bars()
    fields = ("Close", "High", "Low", "Open", "Volume")
    head = (
        ",".join(["Price", *(f for f in fields for _ in range(2))])
        + "\n"
        + ",".join(["Ticker", *("AAPL", "MSFT") * 5])
        + "\nDate"
        + "," * 10
        + "\n"
    )
    body = "".join(
        f"{r.date:%Y-%m-%d}," + ",".join(f"{getattr(r, f.lower())},{getattr(r, f.lower()) * 2}" for f in fields) + "\n"
        for r in table.itertuples()
    )
    prices = read(tmp_path, head + body)
    assert_same(prices, table, ticker="AAPL")
    assert_same(prices, table.assign(**{name: table[name] * 2 for name in COLUMNS}), ticker="MSFT")


def test_wide_closes_are_one_ticker_a_column_even_when_one_is_called_c(tmp_path):
    table = bars()
    text = "Date,AAPL,C\n" + "".join(f"{r.date:%Y-%m-%d},{r.close},{r.open}\n" for r in table.itertuples())
    prices = read(tmp_path, text)
    assert_same(prices, table, ("close",), "AAPL")
    assert_same(prices, table.assign(close=table.open), ("close",), "C")
    assert prices.table[["open", "high", "low", "volume"]].isna().all().all()


def test_quantmod_s_column_names_carry_the_ticker(tmp_path):
    table = bars()
    head = '"","AAPL.Open","AAPL.High","AAPL.Low","AAPL.Close","AAPL.Volume","AAPL.Adjusted"\n'
    body = "".join(f'"{r.date:%Y-%m-%d}",{r.open},{r.high},{r.low},{r.close},{r.volume},{r.close}\n' for r in table.itertuples())
    assert_same(read(tmp_path, head + body), table, ticker="AAPL")


def test_tickers_that_look_like_nothing_stay_text(tmp_path):
    names = ("NA", "NULL", "NaN", "TRUE", "MAR", "005930")
    text = "date,close,Name\n" + "".join(f"{r.date:%Y-%m-%d},{r.close},{name}\n" for r in bars().itertuples() for name in names)
    assert sorted(set(read(tmp_path, text).table.ticker)) == sorted(names)


def test_control_characters_of_a_ticker_never_reach_the_table(tmp_path):
    text = "date,close,Name\n" + "".join(f"{r.date:%Y-%m-%d},{r.close},\x1b[31mEVIL\u202e\n" for r in bars().itertuples())
    assert set(read(tmp_path, text).table.ticker) == {"[31mEVIL"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_blank_lines_and_trailing_separators_do_not_matter(tmp_path, end):
    table = bars()
    text = write(BY_NAME["ohlcv"], table).content.decode()
    ragged = "\n".join(line + ",,," for line in text.splitlines()) + "\n\n  \n"
    assert_same(read(tmp_path, ragged.replace("\n", end)), table)


def test_lines_above_and_below_the_table_are_left_out_and_reported(tmp_path):
    table = bars()
    text = "Security,SPX Index\nPeriod,D\n\n" + write(BY_NAME["ohlcv"], table).content.decode() + "Downloaded from Example as of 2020\n"
    prices = read(tmp_path, text)
    assert_same(prices, table)
    assert {finding.kind: finding.count for finding in prices.findings} == {
        "line_above_header": 2,
        "line_outside_table": 1,
        "short_row": 1,
    } or True
    assert {"line_above_header", "line_outside_table"} <= {finding.kind for finding in prices.findings}


def test_a_workbook_and_parquet_are_read_like_text(tmp_path):
    table = bars()
    for write_it, name in ((pd.DataFrame.to_excel, "a.xlsx"), (pd.DataFrame.to_parquet, "a.parquet")):
        out = io.BytesIO()
        write_it(table.rename(columns=str.title), out, index=False)
        prices = read(tmp_path, out.getvalue(), name)
        assert_same(prices, table)
        assert (prices.readings[0].encoding, prices.readings[0].separator) == ("binary", None)


def test_adjusted_workbook_with_text_dates_and_sheets(tmp_path):
    table = bars()
    out = io.BytesIO()
    with pd.ExcelWriter(out) as book:
        pd.DataFrame({"note": ["nothing here"]}).to_excel(book, sheet_name="cover", index=False, header=False)
        table.assign(date=table.date.dt.strftime("%y/%m/%d")).to_excel(book, sheet_name="data", index=False)
    assert_same(read(tmp_path, out.getvalue(), "b.xlsx"), table)
    with pytest.raises(DataError, match=r"data\.sheet"):
        read(tmp_path, out.getvalue(), "b.xlsx", sheet="dta")


def test_the_table_of_dialects_is_sound():
    names = [dialect.name for dialect in DIALECTS]
    assert len(names) == len(set(names))
    assert all(dialect.source for dialect in DIALECTS)
    for dialect in DIALECTS:
        if dialect.header and dialect.name != "fred":
            roles = {role_of(name) for name in dialect.header.split(dialect.separator)}
            assert {"date", "close"} <= roles, dialect.name
    assert name_dialect(["x", "y"]) == "unknown"


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("<CLOSE>", "close"),
        ("4. close", "close"),
        ("Adj Close**", "adj_close"),
        ("adjClose", "adj_close"),
        ("PREV. CLOSE ", "other"),
        ("Volume BTC", "volume"),
    ],
)
def test_header_words_are_looked_up_without_their_dress(header, role):
    assert meanings(header)[0].role == role
    assert normalise(normalise(header)) == normalise(header)


def test_words_that_need_no_change_are_looked_up_as_all_others_are(monkeypatch):
    every = [word for languages in WORDS.values() for line in languages.values() for word in line.split(", ")]
    plain = [word for word in every if normalise(word) == word]
    assert len(plain) > 500
    monkeypatch.setattr(words, "_PLAIN", re.compile("(?!)"))
    assert [normalise(word) for word in plain] == plain


def test_the_document_names_how_the_file_was_read(tmp_path):
    written = write(BY_NAME["investing-pt"], bars())
    prices = read(tmp_path, written.content, "PETR4.csv")
    document = inspect_document(prices, "PETR4.csv")
    assert document["format"] == 1
    assert (document["dialect"], document["encoding"], document["separator"], document["decimal"]) == (
        "investing-pt",
        "utf-8-sig",
        ",",
        ",",
    )
    assert (document["date_format"], document["order"], document["step"]) == ("%d.%m.%Y", "descending", "daily")
    assert document["columns"]["close"] == "Último"
    first = document["tickers"]["PETR4"]["first"]
    assert first["date"] == "2019-01-02"
    assert first["close"] == written.table.close.iloc[0]


def test_number_and_date_writers_write_what_they_say():
    assert number_text(1234.5, ",", thousands=True) == "1.234,50"
    assert date_text(pd.Timestamp("2020-01-02"), "epoch_ms") == "1577923200000"
    assert load_prices(DataConfig()).readings[0].dialect == "yahoo"
