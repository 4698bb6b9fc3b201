"""Spans in time: nothing straddles a border, and every session belongs to exactly one span."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.errors import DataError
from stockrnn.features.splits import SPAN_NAMES, cutoff_rows, label_spans, split_time
from tests.factories import panel, random_walk

FRACTIONS = st.sampled_from([0.1, 0.15, 0.2])


def test_spans_are_named_in_time_order():
    spans = split_time(random_walk(100)["date"], 0.2, 0.1, 0.2)
    assert [name for name, _ in spans.ends()] == ["train", "validation", "calibration", "test"] == list(SPAN_NAMES)
    assert [end for _, end in spans.ends()] == sorted(end for _, end in spans.ends())


@settings(max_examples=50)
@given(st.integers(40, 200), FRACTIONS, st.sampled_from([0.0, 0.1]), FRACTIONS)
def test_each_session_is_in_one_span_in_time_order(sessions, validation, calibration, test):
    dates = random_walk(sessions)["date"]
    spans = split_time(dates, validation, calibration, test)
    numbers = spans.numbers(dates)
    assert (np.diff(numbers) >= 0).all()
    shares = [np.mean(numbers == k) for k in range(4)]
    assert np.allclose(shares, [1 - validation - calibration - test, validation, calibration, test], atol=1 / sessions)


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(0, 10_000))
def test_all_labels_of_a_cutoff_lie_in_one_span_of_its_ticker(horizon, seed):
    prices = panel(90, seed)
    filled = np.random.default_rng(seed).random(len(prices)) < 0.05
    prices = prices.assign(filled=filled)
    spans = split_time(prices["date"], 0.15, 0.1, 0.15)
    numbers, found = spans.numbers(prices["date"]), label_spans(prices, spans, horizon)
    for row in range(len(prices)):
        labels = np.arange(row + 1, row + horizon + 1)
        whole = labels[-1] < len(prices) and (prices["ticker"][labels] == prices["ticker"][row]).all()
        whole = whole and not filled[labels].any() and not filled[row] and len(set(numbers[labels])) == 1
        assert found[row] == (numbers[labels[0]] if whole else -1)


def test_scored_cutoffs_reach_the_first_and_last_session_of_a_span():
    prices = random_walk(100)
    spans = split_time(prices["date"], 0.2, 0.1, 0.2)
    rows = {name: cutoff_rows(prices, spans, name, 1) for name in SPAN_NAMES}
    assert (rows["validation"].min() + 1, rows["validation"].max() + 1) == (50, 69)
    assert (rows["test"].min() + 1, rows["test"].max() + 1) == (80, 99)


def test_an_empty_calibration_span_ends_with_validation():
    spans = split_time(random_walk(100)["date"], 0.2, 0.0, 0.2)
    assert spans.calibration_end == spans.validation_end


def test_a_span_may_hold_one_session():
    dates = random_walk(4)["date"]
    assert [end for _, end in split_time(dates, 0.25, 0.25, 0.25).ends()] == dates.tolist()


def test_a_span_without_a_session_is_refused():
    with pytest.raises(DataError, match="at least one row"):
        split_time(random_walk(3)["date"], 0.3, 0.3, 0.3)
    with pytest.raises(DataError, match=r"at least one row.* Received: none for calibration, 0\.1 of 4 rows"):
        split_time(random_walk(4)["date"], 0.15, 0.1, 0.15)
    with pytest.raises(DataError, match="0 rows"):
        split_time(pd.Series([], dtype="datetime64[ns]"), 0.15, 0.1, 0.15)
