"""Missing closes, halted sessions and outliers: what is altered, what is reported, and that nothing looks ahead."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.dataconfig import Asked, DataConfig
from stockrnn.errors import DataError
from stockrnn.evaluation.evidence import same_past
from stockrnn.prices.cleaning import IQR_TO_SD, MAD_TO_SD, OutlierLimits, clean, fit_outliers, returns_log
from stockrnn.prices.loading import load_prices
from stockrnn.prices.quality import Sources
from stockrnn.types import FILLED, PRICE_TABLE, PRICES, TICKER, VOLUME
from tests.factories import random_walk
from tests.test_dialects import read

METHODS, ACTIONS = ("hampel", "iqr", "zscore", "none"), ("flag", "clip", "replace", "drop")
DAYS = pd.bdate_range("2020-01-01", periods=12)


def closes(values) -> str:
    return "Date,Open,High,Low,Close,Volume\n" + "".join(
        f"{day:%Y-%m-%d},{'' if v is None else v},{'' if v is None else v + 1},{'' if v is None else v - 1},{'' if v is None else v},5\n"
        for day, v in zip(DAYS, values, strict=False)
    )


DAYS_OF_40 = random_walk(40)["date"]
GAPS = [None, 10, 11, None, None, 14, 15, None, None, None, 19, None]


def load(folder, text=None, **data):
    return read(folder, closes(GAPS) if text is None else text, **data)


def kinds(prices) -> dict[tuple[str, str], int]:
    return {(finding.kind, finding.action): finding.count for finding in prices.findings}


def test_by_default_rows_without_a_close_are_dropped_and_counted(tmp_path):
    prices = load(tmp_path)
    assert prices.table.close.tolist() == [10, 11, 14, 15, 19]
    assert not prices.table[FILLED].any()
    assert kinds(prices)["missing_close", "left out"] == 7
    place = next(f for f in prices.findings if f.kind == "missing_close").places[0]
    assert (place.row, place.date, place.column) == (2, "2020-01-01", "Close")


def test_error_policy_names_the_first_row(tmp_path):
    with pytest.raises(DataError, match=r"prices\.csv row 2.*data\.missing"):
        load(tmp_path, missing="error")


def test_ffill_repeats_the_close_flat_up_to_the_limit_and_marks_the_rows(tmp_path):
    prices = load(tmp_path, missing={"policy": "ffill", "limit": 2})
    assert prices.table.close.tolist() == [10, 11, 11, 11, 14, 15, 19]
    assert prices.table[FILLED].tolist() == [False, False, True, True, False, False, False]
    filled = prices.table[prices.table[FILLED]]
    assert (filled[["open", "high", "low"]].to_numpy() == 11).all()
    assert filled.volume.isna().all()
    assert kinds(prices)["missing_close", "filled (ffill)"] == 2
    assert kinds(prices)["missing_close", "left out"] == 5


def test_interpolate_draws_a_line_inside_gaps_only(tmp_path):
    prices = load(tmp_path, missing={"policy": "interpolate", "limit": 5})
    assert prices.table.close.tolist() == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    assert prices.table[FILLED].sum() == 5


def test_gaps_of_one_ticker_are_never_filled_from_another(tmp_path):
    rows = [("A", DAYS[0], 1), ("A", DAYS[1], ""), ("B", DAYS[0], ""), ("B", DAYS[1], 2)]
    text = "Date,Close,Name\n" + "".join(f"{day:%Y-%m-%d},{close},{name}\n" for name, day, close in rows)
    prices = read(tmp_path, text, missing="ffill")
    assert prices.table[["ticker", "close"]].to_numpy().tolist() == [["A", 1.0], ["B", 2.0]]


def test_a_halted_session_is_kept_flat_at_its_close(tmp_path):
    text = (
        "Date,Open,High,Low,Close,Volume\n2020-01-01,9,11,8,10,5\n2020-01-02,0,0,0,10,0\n2020-01-03,,12,9,11,5\n2020-01-06,10,12,9,11,0\n"
    )
    prices = read(tmp_path, text)
    assert prices.table.drop(index=2)[list(PRICES)].to_numpy().tolist() == [[9, 11, 8, 10], [10, 10, 10, 10], [10, 12, 9, 11]]
    assert kinds(prices)["halted_session", "missing prices set to the close"] == 1
    assert np.isnan(prices.table.volume.iloc[3])
    assert prices.table.volume.iloc[1] == 0
    assert kinds(prices)["zero_volume_with_move", "volume taken as missing"] == 1


def bars_of(rows) -> str:
    """Rows as a file has them; a day is a number, and what is not given empty."""
    lines = [",".join([f"{DAYS[day]:%Y-%m-%d}", *("" if cell is None else str(cell) for cell in cells)]) for day, *cells in rows]
    return "\n".join(["Date,Name,Open,High,Low,Close", *lines]) + "\n"


def test_a_session_before_any_open_high_or_low_is_not_halted_but_has_none(tmp_path):
    rows = [(0, "A", None, None, None, 10), (1, "A", 0, 0, 0, 11), (2, "A", None, 12, 9, 11), (3, "A", None, None, None, 12)]
    rows += [(4, "A", 12, 13, 11, 12), (5, "A", None, None, None, 13)]
    prices = read(tmp_path, bars_of(rows))
    bars = [[None, None, None, 10], [None, None, None, 11], [None, 12, 9, 11], [None, 12, 12, 12], [12, 13, 11, 12], [13, 13, 13, 13]]
    np.testing.assert_array_equal(prices.table[list(PRICES)].to_numpy(), np.array(bars, float))
    counts = {kind: count for (kind, _), count in kinds(prices).items()}
    assert counts == {"halted_session": 2, "missing_open": 4, "missing_high": 2, "missing_low": 2}


def test_what_other_tickers_have_does_not_make_a_session_halted(tmp_path):
    rows = [(day, name, *((9, 11, 8, 10) if name == "B" else (None, None, None, 10 + day))) for name in "ABC" for day in range(4)]
    prices = read(tmp_path, bars_of(rows), missing="ffill")
    held = prices.table.groupby("ticker")[["open", "high", "low"]].agg(lambda column: column.notna().sum())
    assert held.to_numpy().tolist() == [[0, 0, 0], [4, 4, 4], [0, 0, 0]]
    assert kinds(prices)["missing_high", "kept as missing"] == 8
    assert "halted_session" not in {kind for kind, _ in kinds(prices)}


def test_a_filled_row_has_no_high_before_its_ticker_has_one(tmp_path):
    rows = [(0, "A", None, None, None, 10), (1, "A", None, None, None, None), (2, "A", None, 12, 9, 11), (3, "A", None, None, None, None)]
    rows += [(4, "A", 12, 13, 11, 12), (5, "A", None, None, None, None), (6, "A", 12, 13, 11, 12)]
    table = read(tmp_path, bars_of(rows), missing="ffill").table
    filled = [[None, None, None, 10], [None, 11, 11, 11], [12, 12, 12, 12]]
    np.testing.assert_array_equal(table.loc[table[FILLED], list(PRICES)].to_numpy(), np.array(filled, float))


@pytest.mark.parametrize("policy", ["drop", "ffill", "interpolate"])
def test_rows_that_come_later_change_no_earlier_one(policy):
    """Of two tickers with holes everywhere, what is deleted is where highs begin, where a column ends, or where a ticker does."""
    random = np.random.default_rng(0)
    sources = Sources(("A", "B"), ("f.csv",), ({},), ({},))
    for _ in range(60):
        table = pd.concat(
            [random_walk(40, seed=int(seed), ticker=name) for name, seed in zip("AB", random.integers(99, size=2), strict=True)]
        )
        frame = table.drop(columns=[TICKER, FILLED]).assign(code=np.repeat([0, 1], 40), row=np.arange(80), file=0).reset_index(drop=True)
        for name in (*PRICES, VOLUME):
            lost = random.random(80) < random.choice([0.05, 0.5, 0.95] if name != "close" else [0.05, 0.3])
            frame.loc[lost, name] = random.choice([0.0, np.nan])
        for ticker in (0, 1):
            frame.loc[(frame["code"] == ticker) & (frame["date"] < DAYS_OF_40[random.integers(40)]), ["open", "high", "low"]] = np.nan
        whole = clean(frame, sources, policy=policy, limit=3)[0]
        for cutoff in DAYS_OF_40[[0, 5, 20, 38]]:
            past = clean(frame[frame["date"] <= cutoff].reset_index(drop=True), sources, policy=policy, limit=3)[0]
            assert same_past(whole, past, cutoff, policy)


def test_an_open_that_alone_is_missing_is_never_invented(tmp_path):
    text = "Date,Open,High,Low,Close\n2020-01-01,9,11,8,10\n2020-01-02,,12,9,11\n2020-01-03,0,12,9,10\n2020-01-06,10,12,9,11\n"
    prices = read(tmp_path, text)
    assert np.isnan(prices.table.open).tolist() == [False, True, True, False]
    assert prices.table.high.tolist() == [11, 12, 12, 12]
    assert kinds(prices)["missing_open", "kept as missing"] == 2
    assert "halted_session" not in {kind for kind, _ in kinds(prices)}


def test_a_column_that_is_always_zero_is_missing_as_one_that_is_not_there(tmp_path):
    rows = [f"2020-01-0{day},0,{10 + day},{8 + day},{9 + day}" for day in range(1, 6)]
    prices = read(tmp_path, "\n".join(["Date,Open,High,Low,Close", *rows]))
    assert prices.table.open.isna().all()
    assert kinds(prices)["missing_open", "kept as missing"] == 5
    without = read(tmp_path, "\n".join(["Date,High,Low,Close", *(row.replace(",0,", ",", 1) for row in rows)]))
    pd.testing.assert_frame_equal(prices.table, without.table)
    assert "halted_session" not in {kind for kind, _ in kinds(prices)}


def test_a_price_that_is_forecast_and_unknown_is_neither_a_cutoff_nor_an_actual(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("Date,Open,High,Low,Close\n2020-01-01,9,11,8,10\n2020-01-02,,12,9,11\n2020-01-03,10,12,9,10\n2020-01-06,10,12,9,11\n")
    data = DataConfig(path=str(path))
    for target, unknown in (("open", [False, True, False, False]), ("close", [False] * 4)):
        prices = load_prices(data, Asked(target=target))
        assert prices.table[FILLED].tolist() == unknown
    assert prices.data_hash == load_prices(data, Asked(target="open")).data_hash
    path.write_text("Date,Close\n2020-01-01,9\n2020-01-02,11\n")
    with pytest.raises(
        DataError, match=r"prices\.csv must hold the price of `target\.column: high`\. Received: none\. Set it to another one"
    ):
        load_prices(data, Asked(target="high"))


def test_a_zero_close_is_missing(tmp_path):
    prices = read(tmp_path, "Date,Close\n2020-01-01,5\n2020-01-02,0\n2020-01-03,6\n")
    assert prices.table.close.tolist() == [5, 6]
    assert kinds(prices)["zero_close", "taken as missing"] == 1


def test_the_table_keeps_the_contract(tmp_path):
    prices = load(tmp_path, missing="ffill")
    assert tuple(prices.table.columns) == PRICE_TABLE
    assert prices.table.index.tolist() == list(range(len(prices.table)))
    assert prices.table[list(PRICES)].dtypes.eq(float).all()
    assert prices.table[FILLED].dtype == bool


def planted(size: float = 0.5, at: int = 200, rows: int = 300) -> pd.DataFrame:
    table = random_walk(rows, seed=1)
    factor = np.where(np.arange(rows) >= at, np.exp(size), 1.0)
    return table.assign(**{name: table[name] * factor for name in PRICES})


def fit(table, train_rows=150, **given):
    options = {"method": "hampel", "action": "flag", "threshold": 8.0, "window": 63, **given}
    return fit_outliers(table, table.date.iloc[train_rows - 1], **options)


@pytest.mark.parametrize("method", ["hampel", "iqr", "zscore"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_planted_jump_is_found_reported_and_treated(method, action):
    table = planted()
    limits = fit(table, method=method, action=action)
    result, touched = limits.apply(table)
    pd.testing.assert_frame_equal(limits.altered(table), result)
    assert touched.index.tolist() == [200]
    row = touched.iloc[0]
    assert row.return_log == pytest.approx(returns_log(table)[200])
    assert row.action == ("flag" if action == "drop" else action)
    assert 0 < row.limit < row.return_log
    assert result.index.tolist() == table.index.tolist()
    changed = np.flatnonzero((result[list(PRICES)] != table[list(PRICES)]).any(axis=1))
    assert changed.tolist() == ([200] if action in ("clip", "replace") else [])
    if action == "clip":
        assert np.log(result.close[200] / table.close[199]) == pytest.approx(row.limit)
        assert result.high[200] / result.close[200] == pytest.approx(table.high[200] / table.close[200])


def test_drop_leaves_out_training_rows_and_only_flags_later_ones():
    table = planted(at=100)
    result, touched = fit(table, method="iqr", action="drop").apply(table)
    assert touched.action.tolist() == ["drop"]
    assert sorted(set(table.index) - set(result.index)) == [100]


def test_limits_equal_hand_arithmetic():
    table = random_walk(200, seed=2)
    past = returns_log(table)[1:100]
    low, middle, high = np.percentile(past, [25, 50, 75])
    assert fit(table, 100, method="iqr").fitted["WALK"] == pytest.approx((middle, (high - low) * IQR_TO_SD))
    assert fit(table, 100, method="zscore").fitted["WALK"] == pytest.approx((past.mean(), past.std(ddof=1)))
    result, touched = fit(table, 100, threshold=1.0, action="replace", window=20).apply(table)
    row = int(touched.index[3])
    window = returns_log(table)[row - 20 : row]
    median = np.median(window)
    assert abs(returns_log(table)[row] - median) > MAD_TO_SD * np.median(np.abs(window - median))
    assert np.log(result.close[row] / table.close[row - 1]) == pytest.approx(median)


def test_limits_survive_json_and_know_only_their_tickers():
    table = pd.concat([random_walk(100, ticker="A"), random_walk(100, seed=3, ticker="B", volatility=0.03)], ignore_index=True)
    limits = fit(table, method="zscore")
    again = OutlierLimits.from_dict(json.loads(json.dumps(limits.to_dict())))
    assert again == limits
    assert limits.fitted["B"][1] > 2 * limits.fitted["A"][1]
    stranger = random_walk(100, ticker="C")
    assert len(again.apply(planted().assign(ticker="C"))[1]) == 0
    assert len(again.apply(stranger)[1]) == 0


def test_the_limits_of_a_lone_ticker_hold_whatever_a_later_file_calls_it():
    table = planted()
    limits = fit(table, method="zscore", action="clip")
    clipped, touched = limits.apply(table)
    assert len(touched)
    again = limits.apply(table.assign(ticker="RENAMED"))[0]
    pd.testing.assert_frame_equal(again.assign(ticker=table["ticker"]), clipped)


def test_rows_after_the_training_end_do_not_move_the_limits():
    table = random_walk(200, seed=4)
    garbage = table.copy()
    garbage.loc[100:, list(PRICES)] *= 7
    for method in ("iqr", "zscore"):
        assert fit(table, 100, method=method) == fit(garbage, 100, method=method)


@settings(max_examples=60)
@given(
    method=st.sampled_from(METHODS),
    action=st.sampled_from(ACTIONS),
    cutoff=st.integers(20, 250),
    factor=st.floats(0.01, 50.0),
    seed=st.integers(0, 5),
)
def test_no_later_row_changes_an_earlier_result(method, action, cutoff, factor, seed):
    table = planted(0.3, at=180, rows=260).assign(volume=1.0)
    changed = table.copy()
    noise = factor * np.exp(np.random.default_rng(seed).normal(0, 0.2, len(table) - cutoff - 1))
    for name in PRICES:
        changed.loc[cutoff + 1 :, name] = changed.loc[cutoff + 1 :, name] * noise
    limits = fit(table, 15, method=method, action=action, threshold=3.0, window=10)
    for one, two in zip(limits.apply(table), limits.apply(changed), strict=True):
        pd.testing.assert_frame_equal(one[one.index <= cutoff], two[two.index <= cutoff])


def test_a_stretch_without_movement_judges_nothing():
    table = random_walk(200).assign(close=100.0)
    table.loc[180:, "close"] = 101.0
    assert len(fit(table).apply(table)[1]) == 0


def test_constants_are_the_normal_variable_s():
    draws = np.random.default_rng(0).standard_normal(400_000)
    low, high = np.percentile(draws, [25, 75])
    assert (high - low) * IQR_TO_SD == pytest.approx(1, abs=0.01)
    assert np.median(np.abs(draws)) * MAD_TO_SD == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("method", ["iqr", "zscore"])
def test_limits_learn_nothing_from_a_line_drawn_to_a_later_price(method):
    tables = []
    for far_end in (1.0, 50.0):
        table = random_walk(100)
        table.loc[60:, "close"] *= far_end
        gap = np.linspace(np.log(table["close"][54]), np.log(table["close"][60]), 7)[1:-1]
        table.loc[55:59, "close"] = np.exp(gap)
        tables.append(table.assign(filled=table.index.isin(range(55, 60))))
    limits = [fit_outliers(t, t["date"][57], method=method, action="flag", threshold=8.0, window=63) for t in tables]
    assert limits[0] == limits[1]
