"""Rows → samples: which windows exist, and the (batch, timesteps, features) tensor when somebody wants it whole.

The flat series stays resident and a window is only the row number of its cutoff, so memory grows with rows, not with
rows × timesteps. Windows never cross tickers, and all labels of a window lie in one span.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from stockrnn.types import LabelArray, RowIndex, SeriesArray, TargetArray, WindowArray

LEAST_ROWS = 2048
"""The shared size of short series: their folds, whose compilation would take ten times their training, are one shape."""
ALIGNMENT = 64
"""Bytes that an array which TensorFlow is to use as it lies must begin at a multiple of."""


@dataclass(frozen=True)
class Windows:
    """Samples over a flat series.

    Attributes:
        series: scaled features of every row, float32, shape (rows, features).
        targets: scaled target of step 1 … horizon seen from every row, float32, shape (rows, horizon); NaN where unknown.
        ends: row of each window's cutoff, its last timestep, int32, shape (n,).
        lookback: timesteps of a window.
        beside: what a network is given beside a window, by the name of its input and in their order: float32 of shape (rows, …),
            of which a window has the row of its cutoff. `ahead`, of shape (rows, horizon, columns), is what is known of the steps;
            `ticker`, of shape (rows, 1), the number of the ticker from 1, or 0 for one that was not learned.
    """

    series: SeriesArray
    targets: TargetArray
    ends: RowIndex
    lookback: int
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ends)

    def pick(self, chosen: np.ndarray) -> Windows:
        """The windows at these positions (or under this mask); the series is shared, not copied."""
        return replace(self, ends=self.ends[chosen])

    def last(self, lookback: int) -> Windows:
        """The same windows, each cut to its last timesteps."""
        return replace(self, lookback=lookback)

    def tensors(self) -> tuple[WindowArray, LabelArray]:
        """The windows as tensors: x of shape (n, lookback, features) and y of shape (n, horizon), float32."""
        timesteps = np.arange(1 - self.lookback, 1)
        return self.series[self.ends[:, None] + timesteps], self.targets[self.ends]

    def inputs(self) -> list[np.ndarray]:
        """What a network is given: the windows, shape (n, lookback, features), and what stands beside each."""
        return [self.tensors()[0], *(array[self.ends] for array in self.beside.values())]

    def batches(self, size: int) -> Iterator[list[np.ndarray]]:
        """The inputs piece by piece, `size` windows at most at a time."""
        for first in range(0, len(self), size):
            yield self.pick(np.arange(first, min(first + size, len(self)))).inputs()


def places_after_padding(groups: np.ndarray, padding: int) -> RowIndex:
    """Where each row stands once `padding` rows are put before the first one of each group, int32, shape (rows,).

    Args:
        groups: group (ticker) of each row; equal neighbours belong together, shape (rows,).
        padding: rows put before each group.
    """
    first = np.ones(len(groups), dtype=bool)
    first[1:] = groups[1:] != groups[:-1]
    return np.asarray(np.arange(len(groups)) + padding * np.cumsum(first)).astype(np.int32)


def roomy(n: int, least: int = 1) -> int:
    """Round up so that nearby sizes share a compiled shape: four sizes an octave, a quarter too much at most, and `least` for the small."""
    step = 1 << max(0, n.bit_length() - 3)
    return max(least, -(-n // step) * step)


def aligned_zeros(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zeros that begin where TensorFlow can use them as they lie; their memory is not taken before it is written."""
    size, width = math.prod(shape), np.dtype(dtype).itemsize
    owner: np.ndarray = np.zeros(size + ALIGNMENT // width, dtype)
    first = -owner.ctypes.data % ALIGNMENT // width
    return owner[first : first + size].reshape(shape)


def with_room(shape: tuple[int, ...], fill: float) -> np.ndarray:
    """An array of rows, float32, in whose memory rows of zeros follow up to a shared size, so that `in_room` need not copy it."""
    rows = aligned_zeros((roomy(shape[0], LEAST_ROWS), *shape[1:]), np.float32)[: shape[0]]
    rows[...] = fill
    return rows


def in_room(array: np.ndarray) -> np.ndarray:
    """The rows of an array, then rows of zeros up to a shared size: the memory of `with_room`, else a copy."""
    shape = (roomy(len(array), LEAST_ROWS), *array.shape[1:])
    size, owner = math.prod(shape), array.base
    if isinstance(owner, np.ndarray) and owner.ndim == 1 and owner.dtype == array.dtype and array.flags.c_contiguous:
        first = (array.ctypes.data - owner.ctypes.data) // array.itemsize
        room = owner[first : first + size]
        placed = len(room) == size and array.ctypes.data % ALIGNMENT == 0 and owner.flags.writeable
        if placed and not room[array.size :].any():
            return room.reshape(shape)
    copy = aligned_zeros(shape, array.dtype.type)
    copy[: len(array)] = array
    return copy


def window_ends(usable: np.ndarray, groups: np.ndarray, lookback: int) -> RowIndex:
    """Rows that can end a window, int32: `lookback` usable rows of one group, without a break.

    Args:
        usable: whether a row may stand in a window, shape (rows,).
        groups: group (ticker) of each row; equal neighbours belong together, shape (rows,).
        lookback: timesteps of a window.
    """
    fresh = np.ones(len(usable), dtype=bool)
    fresh[1:] = (groups[1:] != groups[:-1]) | ~usable[:-1]
    position = np.arange(len(usable))
    run_start = np.maximum.accumulate(np.where(fresh | ~usable, position, 0))
    return np.flatnonzero(usable & (position - run_start + 1 >= lookback)).astype(np.int32)
