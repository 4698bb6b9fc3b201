"""Each defect, planted, is found with its count and place; a sound file has no finding."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from stockrnn.prices.loading import inspect_document
from stockrnn.prices.quality import date_text, shown
from tests.test_dialects import read
from tests.writing import bars


def text_of(table: pd.DataFrame) -> str:
    rows = (f"{r.date},{r.open},{r.high},{r.low},{r.close},{r.volume}\n" for r in table.assign(date=table.date.astype(str)).itertuples())
    return "Date,Open,High,Low,Close,Volume\n" + "".join(rows)


def findings(folder, table: pd.DataFrame) -> dict[str, tuple[int, int | None, str | None, str]]:
    prices = read(folder, text_of(table))
    return {f.kind: (f.count, f.places[0].row, f.places[0].date, f.action) for f in prices.findings}


def scaled(table: pd.DataFrame, rows: slice, factor: float) -> pd.DataFrame:
    table = table.copy()
    table.loc[rows, ["open", "high", "low", "close"]] *= factor
    return table


def test_a_sound_file_has_no_finding(tmp_path):
    assert findings(tmp_path, bars(100)) == {}


def halted(table: pd.DataFrame) -> pd.DataFrame:
    """Row 50 flat at the close before, without volume."""
    table = table.copy()
    table.loc[50, ["open", "high", "low", "close"]] = table.close[49]
    table.loc[50, "volume"] = 0
    return table


def at(table: pd.DataFrame, row: int, name: str, value: object) -> pd.DataFrame:
    return table.assign(**{name: table[name].where(table.index != row, value)})


@pytest.mark.parametrize(
    ("kind", "spoil", "count", "row"),
    [
        ("split_like_jump", lambda t: scaled(t, slice(50, None), 0.5), 1, 52),
        ("hundredfold_jump", lambda t: scaled(t, slice(50, 50), 100), 2, 52),
        ("stale_run", lambda t: t.assign(close=t.close.where(~t.index.isin(range(50, 57)), 100.0)), 1, 52),
        ("long_gap", lambda t: t.drop(index=range(50, 70)), 1, 52),
        ("zero_volume", halted, 1, 52),
        ("high_below_low", lambda t: at(t, 50, "high", t.low[50] - 1), 1, 52),
        ("close_outside_range", lambda t: at(t, 50, "close", t.high[50] + 1), 1, 52),
        ("open_outside_range", lambda t: at(t, 50, "open", t.low[50] - 1), 1, 52),
        ("weekend", lambda t: at(t, 52, "date", pd.Timestamp("2019-03-16")), 1, 54),
        ("thin_last_session", lambda t: at(t, 99, "volume", 100.0), 1, 101),
        ("future", lambda t: at(t, 99, "date", pd.Timestamp.now().normalize() + pd.Timedelta(days=10)), 1, 101),
    ],
)
def test_a_planted_defect_is_found_where_it_is_and_kept(tmp_path, kind, spoil, count, row):
    found = findings(tmp_path, spoil(bars(100)))
    assert kind in found, found
    assert found[kind][0] == count
    assert row is None or found[kind][1] == row
    assert found[kind][3] == "kept"


def test_unsorted_rows_are_sorted_counted_and_placed(tmp_path):
    table = bars(60)
    order = [*range(10), 12, 10, 11, *range(13, 60)]
    prices = read(tmp_path, text_of(table.iloc[order]))
    (finding,) = (f for f in prices.findings if f.kind == "unsorted")
    assert (finding.count, finding.places[0].row) == (1, 13)
    assert prices.table.date.is_monotonic_increasing


def test_the_document_is_json_without_nan_and_shows_absent_values_as_null(tmp_path):
    text = "Date,Close\n" + "".join(f"{r.date:%Y-%m-%d},{r.close}\n" for r in bars(30).itertuples()) + "2019-02-13,\n"
    document = inspect_document(read(tmp_path, text), "x")
    again = json.loads(json.dumps(document, allow_nan=False))
    bar = again["tickers"]["prices"]["last"]
    assert bar["open"] is None
    assert bar["volume"] is None
    assert {
        "format",
        "path",
        "dialect",
        "encoding",
        "separator",
        "decimal",
        "date_format",
        "order",
        "step",
        "columns",
        "tickers",
        "findings",
    } <= again.keys()
    assert again["findings"][0].keys() == {"kind", "count", "places", "action"}
    assert again["findings"][0]["places"][0].keys() == {"file", "row", "date", "column", "value"}


def test_many_places_are_cut_but_all_are_counted(tmp_path):
    table = bars(100)
    table.loc[10:80, "high"] = table.loc[10:80, "low"] - 0.01
    text = text_of(table.assign(high=np.where(table.index.isin(range(10, 18)), table.low - 0.01, bars(100).high)))
    (finding,) = (f for f in read(tmp_path, text).findings if f.kind == "high_below_low")
    assert (finding.count, len(finding.places)) == (8, 5)


def test_values_go_to_the_terminal_escaped_and_cut():
    assert shown("\x1b[2J\u202e") == "'\\x1b[2J\\u202e'"
    assert len(shown("x" * 500)) <= 60
    assert date_text(pd.NaT) is None
    assert date_text(pd.Timestamp("2020-01-02 09:30")) == "2020-01-02T09:30:00"
