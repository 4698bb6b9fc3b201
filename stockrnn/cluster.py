"""A Ray cluster: the same units of work on many machines, any of which may die. This file alone knows Ray."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from stockrnn.engines import POLL_S, Engine, Run, Unit, in_turn, one_thread
from stockrnn.errors import ConfigError, MissingExtraError
from stockrnn.interrupts import SIGNALS, safe_place
from stockrnn.wear import Wear

MOST_LOSSES = 5
"""Times that a unit may go down with its node before it is run in this process."""

MOST_CALLS = 10_000
"""Units after which a process of a node is replaced at the latest; sooner once TensorFlow's compiled programs have worn it."""

ANSWER_S = 5.0
"""How long a cluster may take to answer."""

NO_NODE_S = 30.0
"""How long a cluster without a core is waited for, before this process goes on alone until one comes."""


class Cluster(Engine):
    """One unit a core, on whatever nodes there are. What all units share is put once into Ray's object store.

    Nodes see none of this process's files: units keep no state there, and this process alone writes.
    """

    shares_files = False

    def __init__(self, address: str | None) -> None:
        """Join the cluster at an address, or start one on this machine.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: no cluster answers there.
        """
        super().__init__()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report home
        try:
            import ray
        except ImportError:
            raise MissingExtraError(
                "`--engine ray` needs the package ray. Received: it is not installed. Install it: pip install 'stockrnn[ray]'"
            ) from None
        self.ray: Any = ray
        self._joined = not ray.is_initialized()
        if self._joined:
            with _own_signals():
                _join(ray, address)
        self._task = ray.remote(num_cpus=1, max_retries=0, max_calls=MOST_CALLS)(_on_node)
        ray._private.worker._worker_logs_enabled = False  # noqa: SLF001  it prints to standard output, where results go

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._joined:
            self.ray.shutdown()

    def _run(self, run: Run) -> None:
        shared = self.ray.put((run.function, run.shared))
        under_way: dict[Any, int] = {}
        losses: collections.Counter[int] = collections.Counter()
        heard = time.monotonic()
        try:
            while run.done < len(run.units):
                for number in iter(run.take, None):
                    under_way[self._task.remote(shared, run.units[number])] = number
                ready, _ = self.ray.wait(list(under_way), timeout=POLL_S)
                safe_place()
                for reference in ready:
                    self._land(run, under_way.pop(reference), reference, losses)
                if ready or (time.monotonic() - heard > NO_NODE_S and self.ray.cluster_resources().get("CPU", 0) >= 1):
                    heard = time.monotonic()
                elif time.monotonic() - heard > NO_NODE_S:
                    self._work_alone(run, *under_way.popitem())
        finally:
            for reference in under_way:
                self.ray.cancel(reference, force=True)

    def _work_alone(self, run: Run, reference: Any, number: int) -> None:
        self.ray.cancel(reference, force=True)
        said = "The cluster had no core left: this process went on alone."
        self.notes += [] if said in self.notes else [said]
        run.here(number, run.report)

    def _land(self, run: Run, number: int, reference: Any, losses: collections.Counter[int]) -> None:
        errors = self.ray.exceptions
        try:
            result, report = self.ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, errors.RaySystemError):
                said = str(error.cause).splitlines()[0]
                raise ConfigError(f"Every node must have this version of stockrnn. Received: {said} Install it there.") from error
            raise error.cause from error
        except errors.RayError as error:
            losses[number] += 1
            where = "on another node" if losses[number] < MOST_LOSSES else "here"
            self.notes.append(f"Unit {number + 1} of {len(run.units)} was lost ({type(error).__name__}) and is run again, {where}.")
            if losses[number] < MOST_LOSSES:
                run.waiting.append(number)
            else:
                run.here(number, run.report)
            return
        run.keep(number, result)
        if report is not None:
            run.report(report)


def _join(ray: Any, address: str | None) -> None:
    must = f"--address must be that of a running Ray cluster, as `ray start --head` prints it. Received: {address}:"
    if address and not _answers(address):  # Ray itself would try for minutes
        raise ConfigError(f"{must} nobody answers there. Start one, or correct it.")
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    try:
        ray.init(address=address, **quiet) if address else ray.init(include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{must} {' '.join(str(error).split())[:200]} Correct it.") from error


def _answers(address: str) -> bool:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return address == "auto"
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), ANSWER_S):
        return True
    return False


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Take the signals back from Ray, which answers SIGTERM itself where it starts a node."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


_settled = contextlib.ExitStack()
_wear = Wear()


@functools.cache
def _settle() -> None:
    """Make this a process of a node, once: that takes milliseconds."""
    for setting in (one_thread(), in_turn()):
        _settled.enter_context(setting)


def _on_node(shared: tuple[Unit, Any], unit: Any) -> tuple[Any, Any]:
    """The result of a unit, and the last that it told."""
    function, common = shared
    told = collections.deque[Any]([None], maxlen=1)
    _settle()
    result = function(common, unit, told.append)
    if _wear.look():
        _end_after_this()
    return result, told[0]


def _end_after_this() -> None:
    """Let Ray replace this process after the unit under way, as it does after `MOST_CALLS`: it has no other way that loses no result."""
    import ray

    with contextlib.suppress(AttributeError):  # a Ray that counts otherwise: then its next death is made good as any other
        counts = ray._private.worker.global_worker.function_actor_manager._num_task_executions  # noqa: SLF001
        counts.update(dict.fromkeys(counts, MOST_CALLS - 1))
