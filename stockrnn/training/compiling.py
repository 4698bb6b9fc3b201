"""A function of tensors as one XLA program, compiled once for its shapes on this machine."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from stockrnn.models.backend import HAS_GPU, PROGRAMS, tf
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
        self._ready: set[Any] = set()

    def __call__(self, *arguments: Any) -> Any:
        """Call it, compiled for these shapes."""
        shapes = tuple((tuple(each.shape), each.dtype) for each in tf.nest.flatten(arguments))
        if PROGRAMS is None or shapes in self._ready:
            return self.function(*arguments)
        self._ready.add(shapes)
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

        return PROGRAMS.first_call(name, call, again)

    def _new(self) -> Any:
        return tf.function(self._python, autograph=False, jit_compile=not HAS_GPU)


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
