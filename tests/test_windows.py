"""Windows hold exactly the source rows, never cross a ticker or a gap, and share one series."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.features.windows import Windows, window_ends


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_a_window_ends_wherever_enough_usable_rows_of_one_group_precede(data):
    n = data.draw(st.integers(1, 40))
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    groups = np.sort(np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))))
    lookback = data.draw(st.integers(1, 6))
    expected = [
        end
        for end in range(lookback - 1, n)
        if usable[end - lookback + 1 : end + 1].all() and len(set(groups[end - lookback + 1 : end + 1])) == 1
    ]
    assert window_ends(usable, groups, lookback).tolist() == expected


def windows(rows=50, features=3, horizon=2, lookback=7):
    rng = np.random.default_rng(1)
    series = rng.normal(size=(rows, features)).astype(np.float32)
    targets = rng.normal(size=(rows, horizon)).astype(np.float32)
    return Windows(series, targets, np.arange(lookback - 1, rows), lookback)


def test_the_tensor_is_batch_timesteps_features_and_ends_at_the_cutoff():
    w = windows()
    x, y = w.tensors()
    assert x.shape == (44, 7, 3)
    assert x.dtype == np.float32
    assert y.shape == (44, 2)
    np.testing.assert_array_equal(x[:, -1], w.series[w.ends])
    np.testing.assert_array_equal(x[5], w.series[5:12])


@pytest.mark.parametrize("size", [1, 10, 44, 100])
def test_batches_are_the_tensor_in_pieces(size):
    w = windows()
    pieces = list(w.batches(size))
    np.testing.assert_array_equal(np.concatenate([x for (x,) in pieces]), w.tensors()[0])
    assert max(len(x) for (x,) in pieces) <= size


def test_picking_windows_copies_no_rows():
    w = windows()
    assert w.pick(np.arange(3)).series is w.series
