"""Errands: work that is begun early, taken by a worker that has nothing else to do, and asked for later."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal, TypeVar

from stockrnn.engines import POLL_S, Engine, Run, Tell
from stockrnn.interrupts import safe_place
from stockrnn.workers import Local

Result = TypeVar("Result")
_NOTHING = object()
"""What stands in the place of a result until it is there."""


def begin(engine: Engine, function: Callable[..., Result], *given: Any) -> Callable[[], Result]:
    """Begin an errand; what is returned waits for its result, and is to be called once.

    A worker does it as soon as one is free. If none has begun it by the time its result is asked for, it is done in this process.

    Args:
        engine: that of a command.
        function: gives the result; importable by name, and what it is given picklable.
        given: its arguments.
    """
    return engine.begin(function, *given) if isinstance(engine, Beside) else functools.partial(function, *given)


class Beside(Local):
    """Processes of this machine that run errands too."""

    def __init__(self, workers: int | Literal["auto"]) -> None:
        """Store how many processes work; none is started yet."""
        super().__init__(workers)
        self._errands = _Errands()

    def begin(self, function: Callable[..., Result], *given: Any) -> Callable[[], Result]:
        """As the function of this name."""
        if self._pool is None or self._busy:
            return functools.partial(function, *given)
        number = self._errands.add(function, *given)
        self._pool.serve(self._errands)
        return functools.partial(self._fetch, number)

    def close(self) -> None:
        """Stop the workers; errands that they had begun wait again."""
        super().close()
        self._errands.recall()

    def _fetch(self, number: int) -> Any:
        errands = self._errands
        while not errands.has(number):
            safe_place()
            if self._pool is None or errands.withdraw(number):
                errands.here(number, errands.report)
            else:
                self._attend(errands, POLL_S)
        result, errands.results[number] = errands.results[number], None
        return result

    def _attend(self, run: Run, wait_s: float = 0.0) -> None:
        super()._attend(run, wait_s)
        if self._pool is not None and not run.waiting:
            self._pool.serve(self._errands)

    def _land(self, run: Run, number: int | None, future: Future[Any]) -> bool:
        return super()._land(run if number is None or number >= 0 else self._errands, number, future)

    def _lose(self, run: Run, numbers: list[int]) -> None:
        super()._lose(run, [number for number in numbers if number >= 0])


class _Errands(Run):
    """All errands of a command. Their numbers are -1, -2 …, so that none is taken for a unit of another run."""

    def __init__(self) -> None:
        """Start with none."""
        self._calls: list[tuple[Any, ...]] = []
        super().__init__(_do, None, self._calls, None, None)

    def add(self, *call: Any) -> int:
        """Add an errand to those that wait, and return its number."""
        self._calls.insert(0, call)
        self.results.insert(0, _NOTHING)
        self.waiting.append(-len(self._calls))
        return -len(self._calls)

    def has(self, number: int) -> bool:
        """Whether there is a result."""
        return self.results[number] is not _NOTHING

    def withdraw(self, number: int) -> bool:
        """Take an errand back; False if it was begun already."""
        with contextlib.suppress(ValueError):
            self.waiting.remove(number)
            return True
        return False

    def recall(self) -> None:
        """Put all errands without a result back in the queue."""
        self.waiting = deque(number for number in range(-1, -len(self._calls) - 1, -1) if not self.has(number))


def _do(_: None, call: tuple[Any, ...], __: Tell) -> Any:
    function, *given = call
    return function(*given)
