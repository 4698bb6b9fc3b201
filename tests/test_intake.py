"""How files are read: evidence for dates and columns, what is refused and why, and the oracle of real files."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import math
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockrnn.dataconfig import DataConfig
from stockrnn.errors import ConfigError, DataError, StorageError
from stockrnn.prices.decoding import decode
from stockrnn.prices.loading import find_files, inspect_document, load_prices, table_hash
from stockrnn.prices.numerals import decimal_mark, to_numbers
from tests.test_dialects import assert_same, read
from tests.writing import BY_NAME, bars, write

OPEN_FILES = Path(__file__).resolve().parents[2] / "shared/data/open"
HEADER = "Date,Open,High,Low,Close,Volume\n"


def lines(table: pd.DataFrame, date_format: str = "%Y-%m-%d") -> list[str]:
    return [f"{r.date.strftime(date_format)},{r.open},{r.high},{r.low},{r.close},{r.volume:.0f}\n" for r in table.itertuples()]


def refusal(folder, content, **data) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, content, **data)
    message = str(caught.value)
    assert message.isprintable()
    return message


def same(a, b) -> bool:
    return a is None or b is None or math.isclose(float(a), float(b), rel_tol=1e-6, abs_tol=1e-9)


def difference(want, got) -> str:
    """The oracle's own rule: number of tickers and rows, first and last bar."""
    count = want.get("n_tickers", len(want["tickers"]))
    if len(got["tickers"]) != count:
        return f"{len(got['tickers'])} tickers"
    for name, expected in want["tickers"].items():
        found = got["tickers"].get(name) or (next(iter(got["tickers"].values())) if count == 1 else None)
        if found is None:
            return f"no ticker {name}"
        for end in ("first", "last"):
            a, b = expected[end], found[end]
            if a.get("date") and a["date"][:10] != str(b["date"])[:10]:
                return f"{end} date {b['date']}"
            for key in ("open", "high", "low", "close"):
                if key in a and not same(a[key], b[key]):
                    return f"{end} {key} {b[key]}"
            accepted = [a.get("volume"), *want.get("volume_accept", {}).get(end, [])]
            if b["volume"] and not any(same(value, b["volume"]) for value in accepted):
                return f"{end} volume {b['volume']}"
        if found["rows"] not in want.get("rows_accept", [expected["rows"]]) and found["rows"] != expected["rows"]:
            return f"{found['rows']} rows"
    return ""


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="the real files are not part of the repository")
def test_every_real_file_is_read_as_the_oracle_says():
    oracle = json.loads((OPEN_FILES / "expected.json").read_text())
    wrong = {}
    for name, want in oracle.items():
        prices = load_prices(DataConfig(path=str(OPEN_FILES / name), adjust="none"))
        document = json.loads(json.dumps(inspect_document(prices, name), allow_nan=False))
        note = difference(want, document)
        if note or document["step"] != want["step"] or document["order"] != want["order"]:
            wrong[name] = note or (document["step"], document["order"])
    assert wrong == {}


def test_a_day_above_twelve_proves_the_day_first_order(tmp_path):
    table = bars(30)
    prices = read(tmp_path, HEADER + "".join(lines(table, "%d/%m/%Y")))
    assert_same(prices, table)
    assert "fits every row" in prices.readings[0].sureness


def test_the_order_of_rows_decides_between_two_digit_years(tmp_path):
    table = bars(60)
    prices = read(tmp_path, HEADER + "".join(lines(table, "%y/%m/%d")))
    assert_same(prices, table)


def test_weekdays_decide_a_week_whose_days_are_all_below_thirteen(tmp_path):
    table = bars(7, start="2020-01-02")
    prices = read(tmp_path, HEADER + "".join(lines(table, "%m/%d/%Y")))
    assert_same(prices, table)
    assert "weekdays" in prices.readings[0].sureness


def test_a_monthly_file_s_even_steps_decide_its_order(tmp_path):
    table = bars(36).assign(date=pd.date_range("2017-01-01", periods=36, freq="MS"))
    prices = read(tmp_path, HEADER + "".join(lines(table, "%d/%m/%Y")))
    assert_same(prices, table)
    assert prices.step == "monthly"


def test_dates_without_evidence_are_refused_and_the_option_settles_them(tmp_path):
    table = bars(6).assign(date=[pd.Timestamp(2020, month, month) for month in range(1, 7)])
    text = HEADER + "".join(lines(table, "%d/%m/%Y"))
    assert "data.date_format" in refusal(tmp_path, text)
    assert_same(read(tmp_path, text, date_format="%d/%m/%Y"), table)


def test_mixed_date_orders_of_a_spreadsheet_are_refused(tmp_path):
    table = bars(40)
    text = HEADER + "".join(lines(table[table.date.dt.day > 12], "%d-%m-%Y")) + "".join(lines(table[table.date.dt.day <= 12], "%m/%d/%Y"))
    assert "row" in refusal(tmp_path, text)


def test_files_without_a_header_are_read_by_what_prices_must_satisfy(tmp_path):
    table = bars(60)
    orders = {"ohlc": "open high low close", "coinbase": "low high open close", "bitfinex": "open close high low"}
    for columns in orders.values():
        names = columns.split()
        text = "".join(
            f"{r.date:%Y-%m-%d}," + ",".join(str(getattr(r, n)) for n in names) + f",{r.volume:.0f}\n" for r in table.itertuples()
        )
        for content in (text, "".join(reversed(text.splitlines(keepends=True)))):
            assert_same(read(tmp_path, content), table)


def test_a_headerless_column_that_follows_the_close_is_not_taken_for_volume(tmp_path):
    text = "".join(f"{r.date:%Y-%m-%d},{r.open},{r.high},{r.low},{r.close},{r.close * 0.9:.4f},7\n" for r in bars().itertuples())
    assert "data.columns" in refusal(tmp_path, text)


def test_the_lecture_s_file_without_dates_is_put_in_order_by_its_opens(tmp_path):
    table = bars(120)
    body = "".join(f"{r.open},{r.high},{r.low},{r.volume:.0f},{r.close}\n" for r in table.iloc[::-1].itertuples())
    prices = read(tmp_path, "# http://example.com\n# Open,High,Low,Volume,Close\n" + body)
    assert prices.step == "none"
    np.testing.assert_allclose(prices.table.close, table.close)
    assert inspect_document(prices, "x")["tickers"]["prices"]["first"]["date"] is None
    assert "data.order" in refusal(tmp_path, "Close\n" + "".join(f"{c}\n" for c in table.close))
    np.testing.assert_allclose(
        read(tmp_path, "Close\n" + "".join(f"{c}\n" for c in table.close), order="descending").table.close, table.close[::-1]
    )


def test_columns_can_be_named_by_header_or_position(tmp_path):
    table = bars()
    text = "a,b,c,d,e,f\n" + "".join(lines(table))
    assert "data.columns.close" in refusal(tmp_path, text)
    columns = {"date": 1, "open": "b", "high": "c", "low": "d", "close": "5", "volume": "f"}
    assert_same(read(tmp_path, text, columns=columns), table)
    assert "Did you mean" in refusal(tmp_path, HEADER + "".join(lines(table)), columns={"close": "Clsoe"})
    assert "1 to 6" in refusal(tmp_path, HEADER + "".join(lines(table)), columns={"close": 9})


def test_encoding_and_separator_can_be_set(tmp_path):
    written = write(BY_NAME["krx"], bars(), encoding="cp949")
    assert_same(read(tmp_path, written.content, encoding="cp949", separator=","), written.table)
    assert "data.encoding" in refusal(tmp_path, written.content, encoding="utf-8")
    assert "known encoding" in refusal(tmp_path, written.content, encoding="klingon")
    assert "data.separator" in refusal(tmp_path, written.content, separator="%%")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("\n \n\n", "empty"),
        (HEADER, "header only"),
        ("Date,Volume\n2020-01-02,5\n2020-01-03,6\n", "price column"),
        ("<html><body></body></html>", "web page"),
        ('[{"date": "2020-01-02", "volume": 1}]', "price column"),
        ("Date,Close\n2020-01-02,1\0\n", "NUL"),
        ("hello world\nthis is no table\n", "prices"),
        (b"%PDF-1.7", "PDF"),
        (b"\x80\x05", "pickle"),
        (b"r\0\0\0" * 99 + b"\0", "none of these"),
        (b"PK\x03\x04 broken", "intact archive"),
        (b"\x1f\x8b broken", "intact archive"),
        (b"PAR1 broken PAR1", "parquet"),
    ],
)
def test_files_that_hold_no_prices_are_refused_in_one_line(tmp_path, content, said):
    assert said in refusal(tmp_path, content)


def broken(table: pd.DataFrame, row: int, column: int, value: str) -> str:
    rows = lines(table)
    cells = rows[row].strip().split(",")
    cells[column] = value
    rows[row] = ",".join(cells) + "\n"
    return HEADER + "".join(rows)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (4, "abc", ("row 12", "'Close'", "'abc'")),
        (1, "\x1b[31mred", ("row 12", "'Open'", "\\x1b")),
        (5, "many", ("row 12", "'Volume'", "'many'")),
        (4, "-5", ("row 12", "'Close'", "negative")),
        (4, "1e400", ("row 12", "'Close'")),
        (0, "2019-02-30", ("row 12", "'Date'", "2019-02-30")),
        (0, "soon", ("row 12", "'Date'")),
    ],
)
def test_a_bad_cell_is_named_by_file_row_column_and_value(tmp_path, column, value, said):
    message = refusal(tmp_path, broken(bars(), 10, column, value))
    assert "prices.csv" in message
    assert all(part in message for part in said), message


def test_duplicated_dates_name_both_rows(tmp_path):
    rows = lines(bars())
    message = refusal(tmp_path, HEADER + "".join([*rows, rows[10]]))
    assert "rows 12 and 62" in message


def test_unquoted_thousands_do_not_shift_columns(tmp_path):
    text = "Date,Open,High,Low,Close\n" + "".join(
        f"{r.date:%Y-%m-%d},1,{r.open:.0f},1,{r.high:.0f},1,{r.low:.0f},1,{r.close:.0f}\n" for r in bars().itertuples()
    )
    assert "cells" in refusal(tmp_path, text)


def test_a_lost_cell_in_a_row_is_found_by_its_close(tmp_path):
    rows = lines(bars())
    cells = rows[20].split(",")
    rows[20] = ",".join([cells[0], *cells[2:]])
    assert "row 22" in refusal(tmp_path, HEADER + "".join(rows))


def test_a_row_cut_off_by_a_broken_download_is_left_out_and_reported(tmp_path):
    table = bars()
    prices = read(tmp_path, (HEADER + "".join(lines(table)))[:-30])
    assert_same(prices, table[:-1])
    assert "cut_row" in {finding.kind for finding in prices.findings} or "short_row" in {finding.kind for finding in prices.findings}


def test_two_columns_of_one_meaning_are_refused_unless_they_are_equal(tmp_path):
    table = bars()
    one = "Date,Close,Close\n" + "".join(f"{r.date:%Y-%m-%d},{r.close},{r.open}\n" for r in table.itertuples())
    assert "one close column" in refusal(tmp_path, one)
    assert_same(read(tmp_path, one, columns={"close": 2}), table, ("close",))
    assert_same(
        read(tmp_path, "Date,Close,Close\n" + "".join(f"{r.date:%Y-%m-%d},{r.close},{r.close}\n" for r in table.itertuples())),
        table,
        ("close",),
    )
    assert "price column" in refusal(tmp_path, one.replace("Close,Close", "Close_x,Close_y"))


def test_prices_that_do_not_fit_each_other_are_refused(tmp_path):
    text = "Date,Open,High,Low,Close\n" + "".join(f"{r.date:%Y-%m-%d},{r.open},{r.low},{r.high},{r.close}\n" for r in bars().itertuples())
    assert "fit each other" in refusal(tmp_path, text)


def test_an_adjusted_close_alone_beside_unadjusted_prices_is_refused(tmp_path):
    text = "Date,Open,High,Low,Adj Close\n" + "".join(
        f"{r.date:%Y-%m-%d},{r.open},{r.high},{r.low},{r.close / 2}\n" for r in bars().itertuples()
    )
    assert "data.columns.close" in refusal(tmp_path, text)


def test_signed_prices_of_korean_brokers_lose_their_sign_with_a_finding(tmp_path):
    table = bars()
    text = "일자,현재가,거래량,시가,고가,저가\n" + "".join(
        f"{r.date:%Y%m%d},-{r.close},{r.volume:.0f},+{r.open},+{r.high},-{r.low}\n" for r in table.itertuples()
    )
    prices = read(tmp_path, text)
    assert_same(prices, table)
    assert "signed_price" in {finding.kind for finding in prices.findings}


def test_offsets_keep_the_local_date_and_utc_evenings_belong_to_the_next(tmp_path):
    table = bars()
    local = "".join(f"{r.date:%Y-%m-%d} 00:00:00{'-05:00' if i % 2 else '-04:00'},{r.close}\n" for i, r in enumerate(table.itertuples()))
    assert_same(read(tmp_path, "Date,Close\n" + local), table, ("close",))
    korea = "".join(f"{r.date - pd.Timedelta(hours=9):%Y-%m-%d %H:%M:%S}+00:00,{r.close}\n" for r in table.itertuples())
    assert_same(read(tmp_path, "Date,Close\n" + korea), table, ("close",))


def test_intraday_rows_keep_their_times(tmp_path):
    stamps = pd.date_range("2020-01-02 09:30", periods=50, freq="5min")
    prices = read(tmp_path, "<DATE>;<TIME>;<CLOSE>\n" + "".join(f"{s:%Y%m%d};{s:%H%M%S};{100 + i}\n" for i, s in enumerate(stamps)))
    assert prices.step == "intraday"
    assert (prices.table.date.to_numpy() == stamps.to_numpy()).all()


def test_packed_files_are_read_and_several_in_one_are_a_panel(tmp_path):
    table, text = bars(), (HEADER + "".join(lines(bars()))).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data/prices.csv", text)
        archive.writestr("__MACOSX/._prices.csv", b"x")
    assert_same(read(tmp_path, out.getvalue(), "a.zip"), table)
    for suffix, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        assert_same(read(tmp_path, pack(text), f"a.csv.{suffix}"), table, ticker="a")
        assert "intact archive" in refusal(tmp_path, pack(text)[:-20])
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("Stocks/a.us.csv", text)
        archive.writestr("b.csv", text)
        archive.writestr("note.json", "{}")
        archive.writestr("README.md", "of two stocks")
    prices = read(tmp_path, out.getvalue(), "two.zip")
    assert set(prices.table.ticker) == {"a.us", "b"}
    assert_same(prices, table, ticker="b")
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("c.csv", "Date,Volume\n2020-01-02,5\n2020-01-03,6\n")
    with pytest.raises(DataError, match=r"two\.zip/c\.csv: the file must have a price column"):
        read(tmp_path, out.getvalue(), "two.zip")
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.md", text)
        archive.writestr("b.md", text)
    assert "price files" in refusal(tmp_path, out.getvalue())


def test_a_member_of_an_archive_without_a_name_is_none(tmp_path):
    nameless, out = zipfile.ZipInfo("a.csv"), io.BytesIO()
    nameless.filename = ""
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(nameless, HEADER + "".join(lines(bars())))
    with pytest.raises(DataError, match="must hold price files"):
        read(tmp_path, out.getvalue(), "nameless.zip")


def test_a_folder_or_glob_is_one_panel_named_by_files(tmp_path):
    table, text = bars(), HEADER + "".join(lines(bars()))
    for name in ("bb.us.txt", "aa.csv"):
        (tmp_path / name).write_text(text)
    (tmp_path / "notes.md").write_text("no prices")
    prices = load_prices(DataConfig(path=str(tmp_path)))
    assert list(prices.table.ticker.unique()) == ["aa", "bb.us"]
    assert_same(prices, table, ticker="bb.us")
    assert len(prices.readings) == 2
    assert load_prices(DataConfig(path=str(tmp_path / "*.csv"))).table.ticker.unique().tolist() == ["aa"]
    assert load_prices(DataConfig(path=str(tmp_path), ticker="aa")).table.ticker.unique().tolist() == ["aa"]
    with pytest.raises(DataError, match="'aa'"):
        load_prices(DataConfig(path=str(tmp_path), ticker="a"))


def test_files_of_one_ticker_join_and_overlaps_name_both_files(tmp_path):
    table = bars()
    text = "Date,Close,Name\n", [f"{r.date:%Y-%m-%d},{r.close},X\n" for r in table.itertuples()]
    (tmp_path / "1.csv").write_text(text[0] + "".join(text[1][30:]))
    (tmp_path / "2.csv").write_text(text[0] + "".join(text[1][:30]))
    assert_same(load_prices(DataConfig(path=str(tmp_path))), table, ("close",))
    (tmp_path / "2.csv").write_text(text[0] + "".join(text[1][:31]))
    with pytest.raises(DataError, match=r"1\.csv.*2\.csv|2\.csv.*1\.csv"):
        load_prices(DataConfig(path=str(tmp_path)))


def cut(folder, names, overlap=0):
    """The bars in as many files of these names, each beginning so many rows before the end of the one before."""
    table, each = lines(bars()), len(bars()) // len(names)
    for k, name in enumerate(names):
        stop = len(table) if k + 1 == len(names) else (k + 1) * each
        (folder / name).write_text(HEADER + "".join(table[max(0, k * each - overlap) : stop]))
    return load_prices(DataConfig(path=str(folder)))


@pytest.mark.parametrize(
    ("names", "ticker"),
    [
        (["AAPL_2018.csv", "AAPL_2019.csv", "AAPL_2020.csv"], "AAPL"),
        (["BTCUSDT-1d-2019-01.csv", "BTCUSDT-1d-2019-02.csv"], "BTCUSDT-1d"),
        (["BTCUSDT-1d-2019-01-30.csv", "BTCUSDT-1d-2019-01-31.csv"], "BTCUSDT-1d"),
        (["005930_20190101_20191231.csv", "005930_20200101_20201231.csv"], "005930"),
        (["gold 2018-2019.txt", "gold 2020 to 2021.txt"], "gold"),
        (["spy Q1 2019.csv", "spy Q2 2019.csv"], "spy"),
        (["spy2019.csv", "spy2020.csv"], "spy"),
        (["2019_spy.csv", "2020_spy.csv"], "spy"),
        (["2020.csv", "2019.csv"], "prices"),
    ],
)
def test_files_of_a_series_cut_by_date_are_joined_under_what_their_names_share(tmp_path, names, ticker):
    (tmp_path / "prices").mkdir()
    order = sorted(names) if names[0] != "2020.csv" else names
    prices = cut(tmp_path / "prices", order)
    assert_same(prices, bars(), ticker=ticker)
    (found,) = [finding for finding in prices.findings if finding.kind == "joined_files"]
    assert (found.count, [Path(place.file).name for place in found.places]) == (len(names), order)
    assert ticker in found.action


@pytest.mark.parametrize(
    ("names", "overlap", "tickers"),
    [
        (["CL_2019.csv", "CL_2020.csv"], 5, ["CL_2019", "CL_2020"]),  # contracts: their days meet
        (["CL_2019.csv", "CL_2020.csv"], 1, ["CL_2019", "CL_2020"]),
        (["CL_2021-01.csv", "CL_2021-02.csv"], 0, ["CL_2021-01", "CL_2021-02"]),  # no year of these prices
        (["AAPL_2019.csv", "MSFT_2020.csv"], 0, ["AAPL_2019", "MSFT_2020"]),
        (["RUT1000.csv", "RUT3000.csv"], 0, ["RUT1000", "RUT3000"]),
        (["7203.csv", "6758.csv"], 0, ["6758", "7203"]),
        (["1925.csv", "2002.csv"], 0, ["1925", "2002"]),  # tickers of Tokyo's, no years of these prices
        (["200010.csv", "201001.csv"], 0, ["200010", "201001"]),
        (["120190.csv", "120191.csv"], 0, ["120190", "120191"]),
    ],
)
def test_files_whose_days_meet_or_whose_names_differ_otherwise_stay_series_of_their_own(tmp_path, names, overlap, tickers):
    prices = cut(tmp_path, names, overlap)
    assert sorted(prices.table.ticker.unique()) == tickers
    assert "joined_files" not in {finding.kind for finding in prices.findings}


def test_of_many_parts_the_first_are_shown(tmp_path):
    prices = cut(tmp_path, [f"spy-2019-{month:02d}.csv" for month in range(1, 8)])
    (found,) = [finding for finding in prices.findings if finding.kind == "joined_files"]
    assert (found.count, [Path(place.file).stem[-2:] for place in found.places]) == (7, ["01", "02", "03", "04", "05"])


def test_files_that_name_their_tickers_keep_these_whatever_they_are_called(tmp_path):
    rows = [f"{r.date:%Y-%m-%d},{r.close}," for r in bars().itertuples()]
    for year, part, ticker in ((2019, rows[:30], "A"), (2020, rows[30:], "B")):
        (tmp_path / f"spy_{year}.csv").write_text("Date,Close,Name\n" + "".join(f"{row}{ticker}\n" for row in part))
    prices = load_prices(DataConfig(path=str(tmp_path)))
    assert prices.table.groupby("ticker").size().to_dict() == {"A": 30, "B": 30}


def test_files_of_unlike_steps_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "".join(lines(bars())))
    (tmp_path / "b.csv").write_text(HEADER + "".join(lines(bars().assign(date=pd.date_range("2000-01-03", periods=60, freq="7D")))))
    with pytest.raises(DataError, match="one step"):
        load_prices(DataConfig(path=str(tmp_path)))


def test_start_and_end_are_inclusive_and_must_leave_rows(tmp_path):
    table = bars()
    text = HEADER + "".join(lines(table))
    prices = read(tmp_path, text, start=table.date[5].date(), end=table.date[20].date())
    assert_same(prices, table[5:21])
    assert refusal(tmp_path, text, start="2050-01-01").startswith("`data.start: 2050-01-01` must leave rows. Received: data from ")


@pytest.mark.parametrize("days", [1, 7])
def test_a_calendar_that_is_none_is_refused_with_the_data(tmp_path, days):
    """Whatever the step: a network of weeks would be learnt, and every forecast of it refused."""
    dates = pd.date_range("2000-01-03", periods=60, freq=f"{days}D")
    (tmp_path / "a.csv").write_text(HEADER + "".join(lines(bars().assign(date=dates))))
    with pytest.raises(ConfigError, match=r"`data\.calendar` must be .* Received: 'XXXX'"):
        load_prices(DataConfig(path=str(tmp_path / "a.csv"), calendar="XXXX"))
    assert len(load_prices(DataConfig(path=str(tmp_path / "a.csv"), calendar="XKRX")).table) == 60


def test_missing_and_unreadable_files_say_so(tmp_path):
    for path, why in (
        (tmp_path / "none.csv", "which is not there"),
        (tmp_path / "*.csv", "which names no file"),
        (tmp_path, "a folder without"),
    ):
        with pytest.raises(DataError, match=rf"`data\.path` must be .* Received: {re.escape(str(path))}, {why}"):
            find_files(str(path))
    locked = tmp_path / "locked.csv"
    locked.write_text(HEADER)
    locked.chmod(0)
    if not os.access(locked, os.R_OK):
        with pytest.raises(StorageError):
            load_prices(DataConfig(path=str(locked)))
    assert find_files("goog.csv")[0].is_file()


def test_the_hash_follows_the_content_and_not_the_way_it_was_written(tmp_path):
    table = bars()
    one = read(tmp_path, HEADER + "".join(lines(table)))
    two = read(tmp_path, HEADER + "".join(reversed(lines(table, "%d/%m/%Y"))))
    other = read(tmp_path, HEADER + "".join(lines(table.assign(close=table.close + 0.01))))
    assert one.data_hash == two.data_hash == table_hash(one.table)
    assert other.data_hash != one.data_hash


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["1,234"], ",?"), (["1.234"], ".?"), (["1,234.5"], "."), (["25,12"], ","), (["19,749,457"], "."), (["0,123"], ","),
        (["1.5", "2,5"], "both"),
        (["1.234.567"], ","), (["1,23,456"], "."), (["12"], "none"), (["1.31908"], "."),
    ],
)  # fmt: skip
def test_the_decimal_mark_is_proved_by_cells(cells, mark):
    import pyarrow as pa

    assert decimal_mark([pa.array(cells)]) == mark


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("12.3M", ".", 12.3e6), ("1,2K", ",", 1200), ("$1,234.50", ".", 1234.5), ("₩ 5,000원", ".", 5000), ("R$ 12,5", ",", 12.5),
        ("1,23,456.78", ".", 123456.78), ("7.1만", ".", 71000), ("1\xa0234,5", ",", 1234.5), ("(3.2)", ".", -3.2), ("-", ".", None),
        ("N/A", ".", None), ("1.2.3", ".", "bad"), ("12,34", ".", "bad"), ("inf", ".", "bad"), ("٣", ".", "bad"), ("0x10", ".", "bad"),
    ],
)  # fmt: skip
def test_cells_become_numbers_as_they_were_meant(cell, decimal, value):
    import pyarrow as pa

    values, bad = to_numbers(pa.array([cell, "1"]), decimal)
    assert bad[0] == (value == "bad")
    assert np.isnan(values[0]) if value in (None, "bad") else values[0] == pytest.approx(value)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp949", "날짜,종가"),
        ("cp932", "日付,終値"),
        ("gb18030", "日期,收盘"),
        ("big5", "日期,收盤價"),
        ("cp1251", "Дата,Цена"),
        ("cp1252", "Máxima,Mínima"),
    ],
)
def test_old_encodings_are_told_by_the_words_they_give(encoding, text):
    decoded, name = decode((text + "\n1,2\n").encode(encoding), Path("x"))
    assert name == encoding
    assert decoded.decode().startswith(text)
