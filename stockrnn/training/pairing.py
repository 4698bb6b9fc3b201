"""Memory shared by two processes of this machine, each of which computes one half of every update.

If the second one is lost, the first goes on alone. Linux on x86 only: there, a file without a name can be opened through /proc, and
one core sees another's writes in their order
(Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, section 10.2.2; AMD64 Architecture Programmer's Manual,
volume 2, section 7.2). Elsewhere there is no pair.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stockrnn.features.windows import aligned_zeros

_CLOSED, _LAID, _READY, _BEGUN, _EPOCH, _DONE = range(0, 48, 8)
"""Places of the marks, each on a cache line of its own: whether the pair is closed; the size of its memory; whether the second side is
ready; how many epochs were begun; the number of the last one; how many rows each side has shown."""
_HEAD_BYTES, _LINE_BYTES = 512, 64
_LOOKS, _NAP_S, _LONGEST_NAP_S = 2000, 50e-6, 5e-3
"""Looks at a mark, for about a millisecond, before this process sleeps between two looks; its first sleep, and its longest."""
PATIENCE_S = 5.0
"""How long the first side waits for the other's half before it goes on alone: the other may be stopped, or have no core."""


class PartedError(Exception):
    """Tells the second side of a pair that it is no longer needed."""


def can_pair() -> bool:
    """Whether this system has what a pair needs."""
    return hasattr(os, "memfd_create") and platform.machine() in {"x86_64", "AMD64"}


@dataclass(frozen=True)
class Address:
    """Where the second side finds the first: a path, and the identity of the file that must be there."""

    path: str
    identity: tuple[int, int]


class Pair:
    """One side of a pair.

    Attributes:
        half: which half of each batch it computes: 0 for the first side, which reports on the training and can do without the other.
        gone: tells whether the process of the second side is gone.
    """

    def __init__(self, handle: int, half: int) -> None:
        """Take the descriptor of a file without a name, which `first` and `second` open."""
        self.half, self._handle = half, handle
        self._begun = self._shown = 0
        self.gone: Callable[[], bool] = lambda: False
        self._marks = np.frombuffer(mmap.mmap(handle, _HEAD_BYTES), np.int64)

    @classmethod
    def first(cls) -> Pair | None:
        """The first side of a new pair; None where the system cannot have one."""
        with contextlib.suppress(OSError):
            if can_pair():
                handle = os.memfd_create("stockrnn", os.MFD_CLOEXEC)
                os.ftruncate(handle, _HEAD_BYTES)
                return cls(handle, 0)
        return None

    @classmethod
    def second(cls, address: Address) -> Pair:
        """The second side of the pair at an address. Raises PartedError where that is closed, and OSError."""
        try:
            handle = os.open(address.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise PartedError from error
        if _identity(handle) != address.identity:  # the number is another file's by now
            os.close(handle)
            raise PartedError
        return cls(handle, 1)

    @property
    def address(self) -> Address:
        """Where another process of this user finds this side."""
        return Address(f"/proc/{os.getpid()}/fd/{self._handle}", _identity(self._handle))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as None: a side means nothing in another process."""
        return _nobody, ()

    def share(self, row: int, state: int) -> None:
        """Lay out the memory, alike on both sides: two rows of so many float32 for each side, and so many bytes of state.

        If the system refuses the memory to the first side, the pair is closed. On a closed pair the second side raises PartedError.
        """
        row_bytes = -(-4 * row // _LINE_BYTES) * _LINE_BYTES
        size = _HEAD_BYTES + 4 * row_bytes + state
        try:
            memory = self._laid(size)
        except OSError:
            self._marks[_CLOSED] = 1
            if self.half:
                raise
            return
        self._marks = np.frombuffer(memory, np.int64, _HEAD_BYTES // 8)
        self._rows = np.frombuffer(memory, np.float32, row_bytes, _HEAD_BYTES).reshape(2, 2, -1)[:, :, :row]
        self._sum = aligned_zeros((row,), np.float32)
        self._state = np.frombuffer(memory, np.uint8, state, _HEAD_BYTES + 4 * row_bytes)

    def _laid(self, size: int) -> mmap.mmap:
        """The whole memory: the first side makes it so large, and the second waits for that."""
        if self.half == 0:
            os.ftruncate(self._handle, size)
            self._marks[_LAID] = size
        elif not self._wait(_LAID, size, math.inf):
            raise PartedError
        return mmap.mmap(self._handle, size)

    def close(self) -> None:
        """Close the pair, which the other side sees."""
        self._marks[_CLOSED] = 1
        os.close(self._handle)

    def is_ready(self) -> bool:
        """Whether the second side waits for an epoch."""
        return bool(self._marks[_READY]) and not self._marks[_CLOSED] and not self.gone()

    def begin(self, epoch: int, state: Sequence[np.ndarray]) -> None:
        """On the first side: begin an epoch from this state."""
        self._state[:] = np.concatenate([array.reshape(-1).view(np.uint8) for array in state])
        self._marks[_EPOCH] = epoch
        self._marks[_BEGUN] += 1

    def next_epoch(self) -> int:
        """On the second side: wait for the next epoch, and return its number. Raises PartedError when the pair is closed."""
        self._marks[_READY] = 1
        self._begun += 1
        if not self._wait(_BEGUN, self._begun, math.inf):
            raise PartedError
        return int(self._marks[_EPOCH])

    def state(self, like: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The state that the epoch begins from, as arrays like these."""
        ends = np.cumsum([array.nbytes for array in like])
        parts = np.split(self._state, ends[:-1])
        return [part.copy().view(array.dtype).reshape(array.shape) for part, array in zip(parts, like, strict=True)]

    def swap(self, own: np.ndarray) -> np.ndarray | None:
        """Show the other side this row, and return the sum of both, whose memory is used again at the next swap.

        None where the second side is gone. Raises PartedError where the first is.
        """
        self._shown += 1
        rows = self._rows[self._shown % 2]
        rows[self.half] = own
        self._marks[_DONE + 8 * self.half] = self._shown
        if self._wait(_DONE + 8 * (1 - self.half), self._shown, math.inf if self.half else PATIENCE_S):
            np.add(rows[0], rows[1], out=self._sum)
            return self._sum
        if self.half:
            raise PartedError
        self._marks[_CLOSED] = 1
        return None

    def _wait(self, mark: int, value: int, patience_s: float) -> bool:
        """Wait until a mark has reached a value; False if the pair, or this side's patience, ended before."""
        marks, looks, nap, until = self._marks, 0, _NAP_S, time.monotonic() + patience_s
        while marks[mark] < value:
            looks += 1
            if looks < _LOOKS:
                os.sched_yield()
            elif marks[_CLOSED] or self.gone() or time.monotonic() > until:
                return bool(marks[mark] >= value)
            else:
                time.sleep(nap)
                nap = min(1.2 * nap, _LONGEST_NAP_S)
        return True


def _identity(handle: int) -> tuple[int, int]:
    found = os.fstat(handle)
    return found.st_dev, found.st_ino


def _nobody() -> None:
    return None
