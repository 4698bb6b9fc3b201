"""Tables inside documents and rarer containers: JSON of programs and services, pages, feather, ORC, old workbooks."""

from __future__ import annotations

import io
import json
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from stockrnn.errors import MissingExtraError
from tests.test_dialects import assert_same, read
from tests.test_redteam import refused
from tests.writing import bars

TABLE = bars(60)
BAR = ("open", "high", "low", "close", "volume")
INDEXED = TABLE.set_index("date")
RECORDS = [{"date": f"{r.date:%Y-%m-%d}", **{name: getattr(r, name) for name in BAR}} for r in TABLE.itertuples()]
SECONDS = [int(day.timestamp()) for day in TABLE.date]
DAILY = {r["date"]: {f"{i}. {name}": str(r[name]) for i, name in enumerate(BAR, 1)} for r in RECORDS[::-1]}
QUOTE = {"quote": [{name: list(TABLE[name]) for name in BAR}], "adjclose": [{"adjclose": list(TABLE.close)}]}
CHART = {"meta": {"symbol": "AAPL", "validRanges": ["1d", "5d"]}, "timestamp": [s + 52_200 for s in SECONDS], "indicators": QUOTE}
AGGREGATES = [{name[0]: r[name] for name in BAR} | {"t": 1000 * (s + 18_000)} for s, r in zip(SECONDS, RECORDS, strict=True)]
ROWS = [list(record.values()) for record in RECORDS]
CANDLES = [{"time": f"{r['date']}T00:00:00Z", "volume": r["volume"], "mid": {name[0]: r[name] for name in BAR[:4]}} for r in RECORDS]
WRITTEN = {
    "records": json.dumps(RECORDS),
    "records indented": json.dumps(RECORDS, indent=2),
    "records by line": "\n".join(map(json.dumps, RECORDS)) + "\n",
    "pandas split": INDEXED.to_json(orient="split"),
    "pandas columns": INDEXED.to_json(),
    "pandas columns, rows counted": TABLE.to_json(),
    "pandas index": INDEXED.to_json(orient="index"),
    "pandas table": INDEXED.to_json(orient="table"),
    "Alpha Vantage": json.dumps({"Meta Data": {"2. Symbol": "IBM"}, "Time Series (Daily)": DAILY}),
    "Alpha Vantage, dates beside what is about them": json.dumps({"Meta Data": {"2. Symbol": "IBM"}, **DAILY}),
    "Yahoo's chart": json.dumps({"chart": {"result": [CHART], "error": None}}),
    "records under a key": json.dumps({"symbol": "AAPL", "historical": RECORDS[::-1]}),
    "Polygon": json.dumps({"ticker": "AAPL", "results": AGGREGATES}),
    "lists of Finnhub": json.dumps({name[0]: list(TABLE[name]) for name in BAR} | {"s": "ok", "t": SECONDS}),
    "rows of Binance": json.dumps(
        [[1000 * s, *(str(r[name]) for name in BAR), 1000 * s + 1] for s, r in zip(SECONDS, RECORDS, strict=True)]
    ),
    "Nasdaq Data Link": json.dumps({"dataset_data": {"column_names": ["Date", *BAR], "data": ROWS[::-1], "collapse": None}}),
    "its tables": json.dumps({"datatable": {"data": ROWS, "columns": [{"name": name, "type": "x"} for name in ("date", *BAR)]}}),
    "Taiwan's exchange": json.dumps({"stat": "OK", "fields": ["日期", "開盤價", "最高價", "最低價", "收盤價", "成交股數"], "data": ROWS}),
    "OANDA's candles": json.dumps({"granularity": "D", "candles": CANDLES}),
    "Naver's list": "[['날짜', '시가', '고가', '저가', '종가', '거래량'],\n"
    + ",\n".join(f'["{r.date:%Y%m%d}", {r.open}, {r.high}, {r.low}, {r.close}, {r.volume}]' for r in TABLE.itertuples())
    + "\n]\n",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_a_table_in_json_is_read_however_it_is_laid_out(tmp_path, text):
    prices = read(tmp_path, text, name="AAPL.json")
    assert_same(prices, TABLE)
    assert set(prices.table.ticker) == {"AAPL"}
    assert "JSON" in prices.readings[0].sureness


def test_a_chart_s_seconds_are_of_the_exchange_s_own_day(tmp_path):
    """Sydney opens at 23:00 UTC of the day before in summer, and at 00:00 UTC in winter."""
    table = bars(250)
    seconds = [int(day.timestamp()) - 3600 * (day.month in (10, 11, 12, 1, 2, 3)) for day in table.date]
    chart = {"meta": {"gmtoffset": 39_600}, "timestamp": seconds, "indicators": {"quote": [{"close": list(table.close)}]}}
    assert_same(read(tmp_path, json.dumps({"chart": {"result": [chart]}})), table, ("close",))


def test_of_several_lists_the_prices_are_read_and_of_several_tickers_none(tmp_path):
    pairs = [[1000 * second, value] for second, value in zip(SECONDS, TABLE.close, strict=True)]
    assert_same(read(tmp_path, json.dumps({"prices": pairs, "market_caps": pairs, "total_volumes": pairs})), TABLE, ("close",))
    for other in (RECORDS, RECORDS[:20]):
        assert "several, 'AAPL, MSFT'" in refused(tmp_path, json.dumps({"AAPL": RECORDS, "MSFT": other}))
    columns = {name: {"t": SECONDS, "c": list(TABLE.close)} for name in ("AAPL", "MSFT")}
    assert "several, 'AAPL, MSFT'" in refused(tmp_path, json.dumps(columns))


def test_two_bars_in_a_candle_are_not_mixed(tmp_path):
    both = [{**candle, "ask": candle["mid"]} for candle in CANDLES]
    assert "price column" in refused(tmp_path, json.dumps({"candles": both}))


def test_records_of_several_tickers_are_a_panel_and_findings_count_records_from_one(tmp_path):
    both = [{**record, "symbol": name} for name in ("AAPL", "MSFT") for record in RECORDS]
    both[3]["close"] = None
    prices = read(tmp_path, json.dumps(both))
    assert_same(prices, TABLE, ticker="MSFT")
    (missing,) = [finding for finding in prices.findings if finding.kind == "missing_close"]
    assert missing.places[0].row == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps(RECORDS)[:-9], "must be intact JSON"),
        ("[" * 100_000, "must be intact JSON"),
        (json.dumps({"name": "x", "sizes": [1, 2, 3]}), "one table: a list of records, of rows or of columns. Received: none"),
        ("[\n  []\n]", "one table"),
        ("<!DOCTYPE html><html><p>No table</p></html>", "a web page. Export it as CSV"),
        ("<table><tr><td rowspan=2>2020-01-02<td>1</tr><tr><td>2</tr></table>", "several rows"),
        ("<table><tr><td colspan=1000000000>2020-01-02</table>", "several rows"),
    ],
)
def test_a_document_without_a_table_is_refused(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def cells(values, tag="td"):
    return "<tr>" + "".join(f"<{tag}>{value}</{tag}>" for value in values) + "</tr>"


def test_a_page_and_a_workbook_in_xml_that_call_themselves_xls_are_read(tmp_path):
    rows = [[f"{r.date:%Y/%m/%d}", f"{r.close:,}", r.open, r.high, r.low, f"{r.volume:,.0f}"] for r in TABLE.itertuples()]
    table = f"<table>{cells(['일자', '종가', '시가', '고가', '저가', '거래량'], 'th')}{''.join(map(cells, rows))}</table>"
    page = f"<html><meta charset=utf-8><body><table><tr><td>menu</td><td>{table}</td></tr></table></body></html>"
    prices = read(tmp_path, page, name="005930.xls")
    assert_same(prices, TABLE)
    assert set(prices.table.ticker) == {"005930"}
    assert prices.readings[0].sureness == "the longest of a web page's 2 tables"
    names = ["Date", *(name.title() for name in BAR)]
    values = [[f"{r.date:%Y-%m-%d}T00:00:00.000", *(getattr(r, name) for name in BAR)] for r in TABLE.itertuples()]
    sheet = "".join(
        "<Row>" + "".join(f'<Cell><Data ss:Type="String">{x}</Data></Cell>' for x in row) + "</Row>" for row in [names, *values]
    )
    book = f'<?xml version="1.0"?>\n<Workbook><Worksheet ss:Name="A"><Table>{sheet}</Table></Worksheet></Workbook>'
    assert_same(read(tmp_path, book, name="b.xls"), TABLE)


@pytest.mark.parametrize("kind", ["feather", "orc", "parquet"])
def test_columns_of_pyarrow_s_containers_are_read(tmp_path, kind):
    out = io.BytesIO()
    getattr(TABLE, f"to_{kind}")(out)
    assert_same(read(tmp_path, out.getvalue(), name=f"AAPL.{kind}"), TABLE, ticker="AAPL")
    assert f"intact {kind} file" in refused(tmp_path, out.getvalue()[:-40])


OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600


def test_an_old_workbook_names_the_package_that_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'stockrnn\[sheets\]'.*or save the workbook as xlsx or CSV"):
        read(tmp_path, OLD, name="a.xls")


def test_an_open_document_is_read_and_a_damaged_workbook_refused(tmp_path):
    assert_same(read(tmp_path, open_document(TABLE), name="a.ods"), TABLE, ("close",))
    assert "intact workbook" in refused(tmp_path, OLD, name="a.xls")


def open_document(table: pd.DataFrame) -> bytes:
    """A spreadsheet of dates and closes, as small as the format allows."""
    cell = "<table:table-cell office:value-type="
    row = cell + '"date" office:date-value="{0:%Y-%m-%d}"/>' + cell + '"float" office:value="{1}"/>'
    head = "".join(f'<table:table-cell office:value-type="string"><text:p>{name}</text:p></table:table-cell>' for name in ("Date", "Close"))
    body = "".join(f"<table:table-row>{row.format(r.date, r.close)}</table:table-row>" for r in table.itertuples())
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text"))
    content = f"""<?xml version="1.0"?><office:document-content {spaces}><office:body><office:spreadsheet><table:table table:name="A">
        <table:table-row>{head}</table:table-row>{body}</table:table></office:spreadsheet></office:body></office:document-content>"""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
    return out.getvalue()


def test_nanoseconds_in_whole_numbers_keep_their_day(tmp_path):
    out = io.BytesIO()
    table = TABLE.assign(window_start=np.array(SECONDS) * 10**9).drop(columns="date")
    table.to_parquet(out)
    assert_same(read(tmp_path, out.getvalue(), name="a.parquet"), TABLE)


def test_a_number_of_json_that_no_float_can_be_is_refused(tmp_path):
    huge = [{**record, "close": 10**400} if place == 7 else record for place, record in enumerate(RECORDS)]
    assert "row 8, column 'close': must be a number" in refused(tmp_path, json.dumps(huge), name="a.json")


@pytest.mark.parametrize("seconds", [False, True])
def test_values_by_their_dates_are_closes(tmp_path, seconds):
    """As pandas writes a series, and as services give a price index."""
    closes = dict(zip(SECONDS if seconds else [r["date"] for r in RECORDS], TABLE.close.tolist(), strict=True))
    for value in (closes, {"bpi": closes, "disclaimer": "none", "time": {"updated": "2020-01-01"}}):
        assert_same(read(tmp_path, json.dumps(value), name="a.json"), TABLE, ("close",))
