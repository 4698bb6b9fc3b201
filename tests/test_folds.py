"""Folds partition the test span, learn from the past alone, and refit when asked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from factories import panel, random_walk
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.errors import DataError
from stockrnn.evaluation.folds import Fold, walk_forward
from stockrnn.features.splits import split_time
from stockrnn.types import DATE

DATES = pd.Series(pd.bdate_range("2020-01-01", periods=200))
SHARES = {"validation": 0.15, "calibration": 0.1, "test": 0.15}
modest = settings(max_examples=60)


def walk(**options: object) -> list[Fold]:
    return list(walk_forward(DATES, **{"folds": 6, **SHARES, **options}))


def position(date: pd.Timestamp) -> int:
    return int(np.flatnonzero(date == DATES)[0])


def test_one_fold_is_the_single_split():
    (fold,) = walk(folds=1)
    spans = split_time(DATES, **SHARES)
    assert fold == Fold(0, 0, DATES[0], spans, DATES[170], DATES[199])


def test_folds_by_hand():
    folds = walk(folds=3, gap=2, refit=2, window="rolling")
    assert [(position(f.first), position(f.last)) for f in folds] == [(170, 179), (180, 189), (190, 199)]
    assert [(f.learned, f.refits) for f in folds] == [(0, True), (0, False), (2, True)]
    assert [(position(f.start), position(f.spans.calibration_end)) for f in folds] == [(0, 167), (0, 167), (20, 187)]
    assert [f.spans.test_end for f in folds] == [f.last for f in folds]
    shares = np.cumsum([0.6 / 0.85, 0.15 / 0.85]) * 168
    assert [position(folds[0].spans.train_end), position(folds[0].spans.validation_end)] == [round(s) - 1 for s in shares]


@modest
@given(
    st.integers(1, 30),
    st.integers(0, 20),
    st.integers(1, 7),
    st.sampled_from(["expanding", "rolling"]),
    st.sampled_from([0.0, 0.1]),
)
def test_every_fold_learns_from_the_past_alone_and_the_folds_partition_the_test_span(folds, gap, refit, window, calibration):
    made = walk(folds=folds, gap=gap, refit=refit, window=window, calibration=calibration)
    test = DATES[split_time(DATES, **{**SHARES, "calibration": calibration}).calibration_end < DATES]
    covered = [DATES[position(f.first) : position(f.last)] for f in made]
    scored = [date for f in made for date in DATES[position(f.first) : position(f.last) + 1]]
    assert scored == test.tolist()
    assert len(covered) == folds
    sizes = [position(f.last) - position(f.first) + 1 for f in made]
    assert max(sizes) - min(sizes) <= 1
    for number, fold in enumerate(made):
        fitted = made[fold.learned]
        assert (fold.number, fold.learned) == (number, number - number % refit)
        assert position(fitted.first) - position(fold.spans.calibration_end) == gap + 1
        assert fold.start <= fold.spans.train_end < fold.spans.validation_end <= fold.spans.calibration_end < fold.first
        assert (fold.spans.validation_end == fold.spans.calibration_end) == (calibration == 0)
        assert (fold.start, fold.spans.train_end) == (fitted.start, fitted.spans.train_end)


def test_expanding_windows_grow_and_rolling_ones_keep_their_length():
    def lengths(window: str) -> list[int]:
        return [position(f.spans.calibration_end) - position(f.start) + 1 for f in walk(window=window)]

    assert lengths("expanding") == [170, 175, 180, 185, 190, 195]
    assert lengths("rolling") == [170] * 6


@pytest.mark.parametrize("start", [DATES[150], DATES[150] - pd.Timedelta(hours=5)])
def test_the_test_span_may_start_at_a_date(start):
    folds = walk(start=start, folds=5)
    assert [position(f.first) for f in folds] == [150, 160, 170, 180, 190]
    assert position(folds[0].spans.train_end) + 1 == round(150 * 0.6 / 0.85)


@pytest.mark.parametrize("options", [{"folds": 31}, {"gap": 170}, {"start": DATES[0]}, {"start": DATES[199] + pd.Timedelta(days=9)}])
def test_a_walk_that_does_not_fit_is_refused(options):
    with pytest.raises(DataError, match="The walk needs history"):
        walk(**options)


def test_the_refusal_says_what_there_is():
    with pytest.raises(DataError, match=r"each of 31 folds\. Received: 165 rows of history, 30 to test"):
        walk(folds=31, gap=5)


def test_the_longest_gap_leaves_too_little_to_split():
    with pytest.raises(DataError, match="split"):
        walk(gap=169)
    assert len(walk(folds=30)) == 30


def test_the_order_of_dates_and_repeats_do_not_matter():
    shuffled = pd.concat([DATES, DATES]).sample(frac=1, random_state=0)
    assert list(walk_forward(shuffled, folds=4, **SHARES)) == walk(folds=4)


def late_panel() -> pd.DataFrame:
    """A panel whose second ticker begins inside the test span, on a date that the first one's fold scores."""
    prices = panel(200)
    return prices.drop(prices.index[200:330]).reset_index(drop=True)


@pytest.mark.parametrize("prices", [random_walk(200), panel(200), late_panel()], ids=["one", "panel", "late"])
def test_each_cutoff_belongs_to_the_fold_of_its_next_session(prices):
    folds = list(walk_forward(prices[DATE], folds=4, **SHARES))
    cutoffs = np.arange(len(prices))
    parts = [fold.rows(prices, cutoffs) for fold in folds]
    together = np.concatenate(parts)
    same = prices["ticker"].shift(-1) == prices["ticker"]
    expected = np.flatnonzero(same & (prices[DATE].shift(-1) >= folds[0].first))
    assert sorted(together.tolist()) == expected.tolist()
    for fold, rows in zip(folds, parts, strict=True):
        ahead = prices[DATE].to_numpy()[rows + 1]
        assert ahead.min() == fold.first.to_datetime64()
        assert ahead.max() == fold.last.to_datetime64()


def test_only_the_given_cutoffs_are_picked():
    prices = random_walk(200)
    fold = next(walk_forward(prices[DATE], folds=3, **SHARES))
    assert fold.rows(prices, np.array([3, 169, 171, 178, 179, 199])).tolist() == [169, 171, 178]


def test_history_runs_from_the_start_to_the_calibration_end_numbered_afresh():
    prices = panel(200)
    fold = list(walk_forward(prices[DATE], folds=4, window="rolling", gap=3, **SHARES))[2]
    past = fold.history(prices)
    assert past.index.tolist() == list(range(len(past)))
    assert (past[DATE].min(), past[DATE].max()) == (fold.start, fold.spans.calibration_end)
    assert past["ticker"].nunique() == 2
    assert list(past) == list(prices)


def test_a_fold_is_a_value():
    (fold,) = walk(folds=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        fold.number = 3
