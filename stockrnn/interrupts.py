"""SIGINT and SIGTERM: the work in hand ends at the next safe place, and the exit code says which signal it was.

Python runs its signal handlers between bytecodes only, so a compiled epoch or an import would delay them; a thread that
reads the wake-up descriptor notices at once. Source: https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from stockrnn.errors import InterruptedRunError, inert

PATIENCE_S = 2.5
"""How long a compiled epoch may go on after a signal; then the process leaves with what is on disk."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Signals:
    """The signals received, and the pipe that Python writes their numbers to."""

    def __init__(self, how_to_go_on: str, begun: Callable[[], bool]) -> None:
        self.how_to_go_on, self.begun = how_to_go_on, begun
        self.received: list[int] = []
        self.reader, self.writer = os.pipe()
        self.stderr = os.dup(2)  # descriptor 2 is turned away while TensorFlow loads
        os.set_blocking(self.writer, False)

    def watch(self) -> None:
        """Wait for a first signal, and then for a second one or the end of patience."""
        first = os.read(self.reader, 1)
        if not first:
            return
        self.received.append(first[0])
        for tell in tuple(at_signal):
            tell()
        if select.select([self.reader], [], [], PATIENCE_S)[0] and not os.read(self.reader, 1):
            return
        self._leave()

    def check(self) -> None:
        """Raise what came."""
        if self.received:
            raise InterruptedRunError(self._message(), 128 + self.received[0])

    def _leave(self) -> NoReturn:
        try:
            os.write(self.stderr, f"stockrnn: {inert(self._message())}\n".encode())
        finally:
            os._exit(128 + self.received[0])

    def _message(self) -> str:
        return f"Interrupted. {self.how_to_go_on}" if self.begun() else "Interrupted."


_now: list[_Signals] = []
at_signal: list[Callable[[], None]] = []
"""What is called at once, in another thread, when a first signal comes inside `interruptible`: those that stop other processes."""


def safe_place() -> None:
    """Say that all is on disk that must be: raises InterruptedRunError once a signal came inside `interruptible`."""
    for signals in _now:
        signals.check()


@contextlib.contextmanager
def interruptible(how_to_go_on: str, begun: Callable[[], bool] = lambda: True) -> Iterator[Callable[[], None]]:
    """Turn signals into InterruptedRunError at safe places.

    Args:
        how_to_go_on: what the user is told.
        begun: whether there is anything to go on with, asked when a signal came.

    Yields:
        `safe_place`: it raises InterruptedRunError (exit code 130 or 143) once a signal came. A second signal, or
        `PATIENCE_S` without a safe place, ends the process at once.
    """
    signals = _Signals(how_to_go_on, begun)
    thread = threading.Thread(target=signals.watch, daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(signals.writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _noticed) for number in SIGNALS}
    _now.append(signals)
    try:
        yield safe_place
        safe_place()
    finally:
        _now.remove(signals)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(signals.writer)
        thread.join()
        os.close(signals.reader)
        os.close(signals.stderr)


def leave_on_signals() -> None:
    """Let a signal end a command that keeps no state: one line, the signal's exit code, and nothing half-written."""
    for number in SIGNALS:
        signal.signal(number, _leave)


def _noticed(number: int, _: FrameType | None) -> None:
    """Do nothing here: Python has written the number to the wake-up descriptor."""


def _leave(number: int, _: FrameType | None) -> NoReturn:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # what follows is the end
    os.write(2, b"stockrnn: Interrupted.\n")
    raise SystemExit(128 + number)
