"""Where units of work run: in this process, in worker processes of this machine beside it, or on a Ray cluster.

A unit (a member, a ticker, a fold, a trial) is a pure function of what it is given: `function(shared, unit, tell)`, importable by
name, its arguments and its result picklable. So where it runs, in which order and how often changes no byte of its result.
`workers.py` alone knows joblib, and `cluster.py` Ray.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Tell = Callable[[Any], None]
"""What a unit calls with a small report, such as that of an epoch; also a safe place for a unit to stop."""
Unit = Callable[[Any, Any, Tell], Any]
"""What runs a unit: (what all units share, the unit, whom to tell) → its result."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
"""Every process computes on one thread: a sum split over threads has other last digits."""

POLL_S = 0.05
"""How often a process that has no unit of its own looks at those of others, and for a signal."""


class Engine(abc.ABC):
    """Runs units. A unit that runs units of its own runs them in its own process: a pickled engine arrives there as `ALONE`.

    Attributes:
        notes: what a user should know of units that were run again, a sentence each.
        shares_files: whether units see the files of this process.
        crowded: whether processes on this machine would share one accelerator; then `auto` starts none.
    """

    shares_files = True

    def __init__(self) -> None:
        """Start with nothing to say."""
        self.notes: list[str] = []
        self.crowded = False
        self._busy = False

    def run(
        self,
        function: Unit,
        shared: Any,
        units: Sequence[Any],
        on_done: Callable[[int, Any], None] | None = None,
        on_report: Tell | None = None,
    ) -> list[Any]:
        """Run every unit, and return the results in the order of the units.

        Args:
            function: what runs one.
            shared: what every unit is given.
            units: what each is given.
            on_done: called here with the number and the result of each unit as it is done, in any order, once each.
            on_report: called here with what a unit tells; reports of other processes may be lost, never results.

        Raises:
            InterruptedRunError: a signal came; units under way have saved their state.
            Exception: what a unit or a callback raised; the others are stopped.
        """
        run = Run(function, shared, units, on_done, on_report)
        if self._busy or (len(units) < 2 and not self._worn()):
            run.alone()
            return run.results
        self._busy = True
        try:
            self._run(run)
        finally:
            self._busy = False
        return run.results

    @abc.abstractmethod
    def _run(self, run: Run) -> None:
        """Run units that other processes may run too."""

    def _worn(self) -> bool:
        """Whether this process should run no more units."""
        return False

    def prepare(self, units: int, modules: Sequence[str]) -> None:  # noqa: B027  most start nothing
        """Start workers early, for so many units that are sure to come, and let them load these modules meanwhile."""

    @contextlib.contextmanager
    def beside(self, function: Unit, shared: Any) -> Iterator[Callable[[], bool]]:
        """Let another process of this machine run a function while the block runs.

        Args:
            function: called there with `shared`, None and whom to tell; it must end by itself, and returns what a user should know, or "".
            shared: what it is given.

        Yields:
            What tells whether no process runs it: because none could, or because it has ended.
        """
        del function, shared
        yield lambda: True

    def close(self) -> None:  # noqa: B027  as above
        """Stop what was started."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as `ALONE`."""
        return _alone, ()


class Alone(Engine):
    """Every unit in this process, one after the other."""

    def _run(self, run: Run) -> None:
        run.alone()


ALONE = Alone()
"""The engine of those who have no other."""


def _alone() -> Engine:
    return ALONE


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let the libraries that are loaded, and those to come, compute on one thread."""
    from threadpoolctl import threadpool_limits

    with environment(ONE_THREAD), threadpool_limits(1):
        yield


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """Let the threads of this process, and those that it starts, wait for their turn on a core (SCHED_BATCH); Linux alone knows it.

    TensorFlow hands the work of an update from thread to thread, and each one that wakes up would push another process off its
    core: two processes on two cores made 1.79 times the units per second of one, and make 1.94 so.
    Source: https://man7.org/linux/man-pages/man7/sched.7.html
    """
    if not sys.platform.startswith("linux") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    _schedule(os.SCHED_OTHER, os.SCHED_BATCH)
    try:
        yield
    finally:
        _schedule(os.SCHED_BATCH, os.SCHED_OTHER)


def _schedule(before: int, after: int) -> None:
    """Give the threads of this process that wait for a core in one way another; what the system refuses stays."""
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            if os.sched_getscheduler(int(thread.name)) == before:
                os.sched_setscheduler(int(thread.name), after, os.sched_param(0))


@contextlib.contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Give the processes and libraries that start meanwhile these variables."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Run:
    """The units of one run: those that wait, and the results of those that are done."""

    def __init__(
        self, function: Unit, shared: Any, units: Sequence[Any], on_done: Callable[[int, Any], None] | None, on_report: Tell | None
    ) -> None:
        """Store; see `Engine.run`."""
        self.function, self.shared, self.units, self.on_done = function, shared, units, on_done
        self.report: Tell = on_report or (lambda _: None)
        self.waiting = collections.deque(range(len(units)))
        self.results: list[Any] = [None] * len(units)
        self.done = 0

    def take(self) -> int | None:
        """The number of the next unit that waits."""
        with contextlib.suppress(IndexError):
            return self.waiting.popleft()
        return None

    def keep(self, number: int, result: Any) -> None:
        """Count a unit as done."""
        self.results[number] = result
        self.done += 1
        if self.on_done is not None:
            self.on_done(number, result)

    def here(self, number: int, tell: Tell) -> None:
        """Run one unit in this process."""
        self.keep(number, self.function(self.shared, self.units[number], tell))

    def alone(self) -> None:
        """Run what waits in this process, in order."""
        while (number := self.take()) is not None:
            self.here(number, self.report)
