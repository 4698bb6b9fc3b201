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


def test_a_redenomination_by_a_million_is_listed(tmp_path):
    close = TABLE.close.where(TABLE.index < 30, TABLE.close / 1e6)
    assert kinds(read(tmp_path, csv("Date,Close", DAYS, close)))["hundredfold_jump"] == 1
