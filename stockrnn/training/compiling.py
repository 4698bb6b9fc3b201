"""A function of tensors as one XLA program, compiled once for its shapes on this machine."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stockrnn.models.backend import HAS_GPU, PROGRAMS, tf
from stockrnn.models.programs import Programs
from stockrnn.storage import sha256

_traced: collections.Counter[str] = collections.Counter()


class Program:
    """A function as one XLA program a shape; on a GPU a graph, whose layers are cuDNN's. Its loops are `tf.while_loop`s already."""

    def __init__(self, function: Callable[..., Any], key: Any) -> None:
        """Store; nothing is compiled before the first call.

        Args:
            function: takes tensors, changes nothing else than variables, and those to the same values when called again.
            key: what tells it from other functions, printed.
        """
        self._python = function
        self.function = self._new()
        self.key = f"{function.__name__} {key!r}"
        self._ready: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Call it, compiled for these shapes; looking these up in TensorFlow's way would take 0.2 ms more."""
        shapes = tuple((tuple(each.shape), each.dtype) for each in tf.nest.flatten(arguments))
        if shapes in self._ready:
            return self._ready[shapes](*arguments)
        result = self.function(*arguments) if PROGRAMS is None else self._first_call(PROGRAMS, shapes, arguments)
        self._ready[shapes] = self.function.get_concrete_function(*arguments)
        return result

    def _first_call(self, programs: Programs, shapes: Any, arguments: tuple[Any, ...]) -> Any:
        name = f"{self.key} {shapes!r}"
        name = f"{name} {_traced[name]}"
        _traced[name] += 1

        def call() -> Any:
            with steady_names(name):
                self.function.get_concrete_function(*arguments)
            return self.function(*arguments)

        def again() -> Any:
            self.function = self._new()
            return self.function(*arguments)

        return programs.first_call(name, call, again)

    def _new(self) -> Any:
        return tf.function(self._python, autograph=False, jit_compile=not HAS_GPU)


def as_it_lies(array: np.ndarray) -> Any:
    """An aligned array that nobody will write to as a tensor of the same memory; a GPU gets a copy."""
    tensor = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.identity(tensor) if HAS_GPU else tensor


@contextlib.contextmanager
def steady_names(name: str) -> Iterator[None]:
    """Let what is traced get names that depend on this one alone.

    TensorFlow numbers functions and tensors as they come, and XLA knows a program by its names. Where a TensorFlow numbers
    otherwise, programs are compiled again in each process, and nothing else changes.
    """
    from tensorflow.python.framework import ops

    _trace_nothing()
    first = (1 << 62) + (int(sha256(name.encode())[:10], 16) << 20)
    numbers, before = itertools.count(first), ops.uid
    ops.uid = functools.partial(next, numbers)
    try:
        yield
    finally:
        ops.uid = before


@functools.cache
def _trace_nothing() -> None:
    """The first trace of a process numbers one thing more: a graph that is made once."""
    tf.function(lambda: tf.zeros(()), autograph=False).get_concrete_function()
