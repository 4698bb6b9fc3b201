"""Worker processes of this machine, by joblib's loky: new interpreters, so that no thread or lock of TensorFlow is inherited."""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal

from stockrnn.engines import POLL_S, Engine, Run, Unit, environment
from stockrnn.errors import InterruptedRunError
from stockrnn.garbage import uncollected
from stockrnn.interrupts import SIGNALS, at_signal, safe_place
from stockrnn.wear import Wear, is_worn

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

WORTH_S = 15.0
"""Seconds of work that must be left for `auto` to start workers: each takes 4 to 6 s to load TensorFlow and 2 to 4 s to compile. A first
one that was prepared loads it while this process does."""
MOST_LOSSES = 3
"""Workers lost in a row, without a finished unit in between, after which this process goes on alone."""
MANY = 4
"""With more units waiting for each worker than this, a worker gets its next one in advance: short ones would else wait for this process."""
_LENT = 1 << 62  # in place of a unit's number: a worker is lent to the unit of this process
GRACE_S = 1.5
"""How long a worker that is told to stop may take to save its state."""


class Local(Engine):
    """This process and worker processes beside it take units from one queue.

    This process works from the start, so that starting workers can only save time. A worker that dies takes the others with it
    (joblib's loky cannot know what state their queues are in); the units they were running are run again.
    """

    def __init__(self, workers: int | Literal["auto"]) -> None:
        """Store how many processes work; none is started yet."""
        super().__init__()
        self.workers, self._losses, self._began, self._wear, self._lent = workers, 0, 0.0, Wear(), False
        self._pool: _Pool | None = None

    def prepare(self, units: int, modules: Sequence[str]) -> None:
        """Start one worker, or as many as the config asks for, where there is a core for it."""
        size = min(2 if self.workers == "auto" else self.workers, units) - 1
        if self._pool is None and size > 0 and self._losses < MOST_LOSSES and (self.workers != "auto" or _cores() > 1):
            self._start(size, modules)

    @contextlib.contextmanager
    def beside(self, function: Unit, shared: Any) -> Iterator[Callable[[], bool]]:
        """As `Engine.beside`, on the first worker; on none if this process is running a unit, or leaves all units to workers."""
        if not (alone := self._busy or self._worn()):
            self.prepare(2, ())
        if alone or self._pool is None:
            yield lambda: True
            return
        lent, self._lent = self._pool.lend(function, shared), True
        try:
            yield lent.done
        finally:
            self._lent = False
            if not lent.cancel() and lent.done():
                self._take_back(lent)

    def _take_back(self, lent: Future[Any]) -> None:
        """Note how a lent worker ended; if it died, all are stopped, and new ones start when they are needed."""
        if isinstance(error := lent.exception(), _lost_errors()):
            self.close()
            self._lost("A worker process died while it helped to train, which went on without it.")
        elif error is None:  # one of another kind is raised where results are taken
            self._losses = 0
            self.notes += filter(None, [lent.result()])

    def close(self) -> None:
        """Stop the workers."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _run(self, run: Run) -> None:
        self._began = time.monotonic()
        try:
            if self._pool is not None and (self._pool.worn() or (self.workers == "auto" and self.crowded)):
                self.close()
            self._attend(run)
            while run.done < len(run.units):
                number = None if self._spares else run.take()
                if number is None:
                    safe_place()
                    self._attend(run, POLL_S)
                else:
                    run.here(number, functools.partial(self._tell, run))
                    self._worn()
                    self._attend(run)
        except BaseException:
            self.close()
            raise

    def _tell(self, run: Run, report: Any) -> None:
        run.report(report)
        self._attend(run)

    def _attend(self, run: Run, wait_s: float = 0.0) -> None:
        """Give work to the workers and take their reports and results, waiting at most so long for one."""
        if self._worth(run):
            self._start(self._size(run))
        pool = self._pool
        if pool is None:
            return
        pool.serve(run)
        for report in pool.reports():
            run.report(report)
        lost = [number for number, future in pool.landed(wait_s) if not self._land(run, number, future)]
        if lost:
            self.close()
            lost += [number for number, future in pool.landed() if not self._land(run, number, future)]
            self._lose(run, [number for number in lost if number is not None])

    def _start(self, size: int, modules: Sequence[str] = ()) -> None:
        """Grow to so many workers; if the system refuses what they need (/dev/shm is full, too many open files), no more are tried."""
        try:
            self._pool = self._pool or _Pool(modules)
            self._pool.grow(size)
        except (OSError, UnboundLocalError) as error:  # the second is loky's, where it gets no pipe
            if self._pool is not None and self._pool.size == 0:
                self.close()
            self._losses = MOST_LOSSES
            reason = getattr(error, "strerror", None) or "Too many open files"
            self.notes.append(f"No worker process could be started ({reason}): this process goes on alone. `train.workers: 1` starts none.")

    def _land(self, run: Run, number: int | None, future: Future[Any]) -> bool:
        """Keep the result of a unit; whether there is one."""
        try:
            result = future.result()
        except _lost_errors():
            safe_place()  # a worker stops at a signal too
            return False
        if number is not None:
            self._losses = 0
            run.keep(number, result)
        return True

    def _lose(self, run: Run, numbers: list[int]) -> None:
        run.waiting.extendleft(reversed(numbers))
        units = " and ".join(str(number + 1) for number in numbers)
        self._lost(units and f"A worker process died with unit {units} of {len(run.units)} in hand, which is run again.")

    def _lost(self, said: str) -> None:
        """Count a loss, and say of it what a user should know."""
        self._losses += 1
        if self._losses == MOST_LOSSES:
            said += f" {MOST_LOSSES} died in a row: this process goes on alone. Is there enough memory? `train.workers: 1` starts none."
        self.notes += [said.strip()] if said else []

    def _worth(self, run: Run) -> bool:
        """Whether starting workers pays, if the units that wait take as long as the mean of those done."""
        there = 0 if self._pool is None else self._pool.size
        if not run.waiting or self._losses >= MOST_LOSSES or self._size(run) <= there:
            return False
        if self._spares:
            return True
        if self.workers != "auto":
            return there == 0
        return not self.crowded and len(run.waiting) * (time.monotonic() - self._began) / max(run.done, 1) >= WORTH_S

    def _size(self, run: Run) -> int:
        """How many workers to start beside this process, and in its place where it is worn."""
        return min(_cores() if self.workers == "auto" else self.workers, len(run.units)) - (not self._spares)

    def _worn(self) -> bool:
        self._wear.look()
        return self._spares

    @property
    def _spares(self) -> bool:
        """Whether this process leaves all units to workers."""
        return self._wear.full and self._losses < MOST_LOSSES and not self._lent


@functools.cache
def _cores() -> int:
    """The cores that this process may use, by its affinity and its control group."""
    from joblib.externals.loky import cpu_count

    return int(cpu_count())


@functools.cache
def _lost_errors() -> tuple[type[BaseException], ...]:
    """What comes instead of a result where a worker was killed, could not start or was told to stop."""
    from joblib.externals.loky.process_executor import BrokenProcessPool, ShutdownExecutorError

    return BrokenProcessPool, ShutdownExecutorError, InterruptedRunError


class _Pool:
    """Worker processes, each with one unit at a time, and one more in advance while `MANY` wait.

    One pipe carries their reports, each short enough to be written in one piece: that needs no lock, which a killed worker could
    keep. The end of another pipe tells them to stop; the kernel closes it when this process dies, however it dies.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        """Start no worker yet; they will load what this process has loaded of the package, and these modules."""
        from multiprocessing import Pipe

        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        self._lock, self._landed = threading.RLock(), queue.SimpleQueue[tuple[int | None, Future[Any]]]()
        self.size, self._ready, self._idle, self._flying = 0, 0, 0, set[Future[Any]]()
        self._run: Run | None = None
        self._reports, self._writer = Pipe(duplex=False)
        self._alive, self._life = Pipe(duplex=False)
        loaded = sorted(name for name in sys.modules if name.startswith("stockrnn.") and not name.endswith("__main__"))
        at_signal.append(self.stop)
        self._executor: Any = None
        given = [*loaded, *modules], self._writer, self._alive
        try:
            with _handing_down():  # its tracker starts here
                self._executor = ProcessPoolExecutor(_cores(), initializer=_begin_worker, initargs=given)
        except BaseException:
            self.close()
            raise

    def grow(self, size: int) -> None:
        """Start workers until there are so many."""
        with _handing_down():
            self._executor._max_workers = size  # noqa: SLF001  loky grows so too, where an executor is asked for again
            for _ in range(size - self.size):
                self._submit(None, _ready)
        self.size = size

    def serve(self, run: Run) -> None:
        """Give workers the units of this run, now and whenever one is done."""
        with self._lock:
            self._run = run
            while self._free(run) and (number := run.take()) is not None:
                self._idle -= 1
                self._submit(number, _work, run.function, run.shared, run.units[number])

    def _free(self, run: Run) -> bool:
        """Whether to hand out a unit: a worker is idle, or will be while many still wait."""
        return self._idle > (-self._ready if len(run.waiting) > MANY * self._ready else 0)

    def lend(self, function: Unit, shared: Any) -> Future[Any]:
        """Let a worker run this, the first that is idle."""
        with self._lock:
            self._idle -= 1
            return self._submit(_LENT, _work, function, shared, None)

    def worn(self) -> bool:
        """Whether a worker should get no more units."""
        return any(is_worn(each.pid) for each in self._processes())

    def _processes(self) -> list[Any]:
        return list(self._executor._processes.values())  # noqa: SLF001  loky tells them nowhere else

    def _kill(self) -> None:
        """Kill all workers, and close the pipe of results: else loky's thread waits for the rest of a message."""
        for each in self._processes():
            if each.exitcode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._executor._result_queue._writer.close()  # noqa: SLF001  of loky's, which starts no worker any more

    def reports(self) -> Iterator[Any]:
        """What the workers told since the last time."""
        while self._reports.poll():
            yield self._reports.recv()

    def landed(self, wait_s: float = 0.0) -> list[tuple[int | None, Future[Any]]]:
        """The units that came back since the last time, with or without a result; None for a worker that was to start."""
        found: list[tuple[int | None, Future[Any]]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._landed.get(block=wait_s > 0 and not found, timeout=wait_s or None))
        if not found and not self._life.closed and any(each.exitcode is not None for each in self._processes()):
            self._kill()
        return found

    def stop(self) -> None:
        """Tell the workers to save their state and leave; a signal's thread may do so while this process does."""
        with self._lock:
            self._life.close()

    def close(self) -> None:
        """Stop the workers and wait for their end, which comes within `GRACE_S`."""
        with self._lock:
            self._run = None
        at_signal.remove(self.stop)
        self.stop()
        futures.wait(set(self._flying), GRACE_S)
        if self._executor is not None:
            self._kill()
            self._executor.shutdown(wait=True, kill_workers=True)
        for pipe in (self._reports, self._writer, self._alive):
            pipe.close()

    def _submit(self, number: int | None, *call: Any) -> Future[Any]:
        future: Future[Any]
        try:
            future = self._executor.submit(*call)
        except _lost_errors() as error:
            future = Future()
            future.set_exception(error)
        self._flying.add(future)
        future.add_done_callback(functools.partial(self._land, number))
        return future

    def _land(self, number: int | None, future: Future[Any]) -> None:
        """Called in a thread of loky's when a worker is idle again, or gone."""
        with self._lock:
            self._flying.discard(future)
            whole = future.cancelled() or future.exception() is None
            self._idle += whole
            self._ready += whole and number is None
            if not whole or number not in {None, _LENT}:
                self._landed.put((None if number == _LENT else number, future))
            if whole and self._run is not None:
                self.serve(self._run)


@contextlib.contextmanager
def _handing_down() -> Iterator[None]:
    """Let processes that start in the block leave signals to this one; loky's tracker does not list what it cleans up."""
    warnings = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with environment({"PYTHONWARNINGS": warnings}):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_to_parent: Connection | None = None
_stopping = threading.Event()


def _begin_worker(modules: Sequence[str], reports: Connection, alive: Connection) -> None:
    """Make a process a worker: it leaves with its parent, and loads the modules that the parent has loaded."""
    from joblib.externals.loky import process_executor

    global _to_parent  # noqa: PLW0603  a process has one parent
    _to_parent = reports
    os.set_blocking(reports.fileno(), False)
    threading.Thread(target=_leave_with_parent, args=(alive, os.getppid()), daemon=True).start()
    process_executor._USE_PSUTIL = False  # noqa: SLF001  it takes compiled programs for a leak, and ends the worker
    process_executor._MEMORY_LEAK_CHECK_DELAY = math.inf  # noqa: SLF001  a collection takes 0.3 s, and one a second would be made
    with uncollected(lasting=True):
        for name in modules:
            importlib.import_module(name)


def _leave_with_parent(alive: Connection, parent: int) -> None:
    """When the pipe ends, let the unit under way save its state, and wait to be stopped by the parent, or leave after it.

    A worker that left by itself would take the others with it, also those that are still saving: loky stops all once one is gone.
    """
    alive.poll(None)
    _stopping.set()
    until = time.monotonic() + GRACE_S
    while os.getppid() == parent and time.monotonic() < until:
        time.sleep(0.01)
    os._exit(0)


def _ready() -> None:
    """What a worker does first."""


def _work(function: Unit, shared: Any, unit: Any) -> Any:
    return function(shared, unit, _tell_parent)


def _tell_parent(report: Any) -> None:
    if _to_parent is not None:
        with contextlib.suppress(OSError):  # the pipe is full: a report may be lost
            _to_parent.send(report)
    if _stopping.is_set():
        raise InterruptedRunError("A worker was told to stop.")
