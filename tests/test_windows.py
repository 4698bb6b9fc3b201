"""Windows hold exactly the source rows, never cross a ticker or a gap, and share one series."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockrnn.features.windows import ALIGNMENT, LEAST_ROWS, Windows, in_room, roomy, window_ends, with_room


@settings(max_examples=200)
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


def test_windows_are_cut_to_their_last_timesteps():
    w = windows()
    np.testing.assert_array_equal(w.last(3).tensors()[0], w.tensors()[0][:, -3:])


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 100, 1000, 12345])
def test_shared_sizes_are_at_most_a_quarter_too_large(n):
    assert n <= roomy(n) <= max(1, 1.25 * n)
    assert roomy(n, 100) == max(100, roomy(n))
    assert len({roomy(k) for k in range(2**10, 2**11)}) <= 5


def arrays_and_whether_they_have_room():
    rng = np.random.default_rng(3)
    roomed = with_room((2500, 3), 0.0)
    roomed[:] = rng.normal(size=roomed.shape)
    steps = with_room((3, 2, 4), np.nan)
    half = with_room((2500, 3), 0.0)
    half[2400:2450] = 1.0
    plain = rng.normal(size=(2500, 3)).astype(np.float32)
    frozen = with_room((40, 2), 1.0)
    frozen.base.flags.writeable = False
    return {
        "made with room": (roomed, True),
        "of three axes": (steps, True),
        "without rows": (with_room((0, 3), 0.0), True),
        "of another's": (plain, False),
        "the first rows, before others": (roomed[:2100], False),
        "the last rows": (roomed[400:], False),
        "some rows, before some of zeros": (half[:2400], False),
        "not in a row": (roomed[:, ::2], False),
        "read only": (frozen, False),
        "flat, of a larger one": (np.arange(9000, dtype=np.float32)[:2500], False),
    }


@pytest.mark.parametrize("kind", arrays_and_whether_they_have_room())
def test_rows_of_zeros_follow_up_to_a_shared_size_and_what_has_room_is_not_copied(kind):
    array, has_room = arrays_and_whether_they_have_room()[kind]
    room = in_room(array)
    assert room.shape == (roomy(len(array), LEAST_ROWS), *array.shape[1:])
    np.testing.assert_array_equal(room[: len(array)], array)
    assert not room[len(array) :].any()
    assert room.ctypes.data % ALIGNMENT == 0
    assert (room.ctypes.data == array.ctypes.data) is has_room
