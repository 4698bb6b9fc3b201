"""SIGINT and SIGTERM: the work in hand ends at the next safe place, and the exit code says which signal it was."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from stockrnn.errors import InterruptedRunError

PATIENCE_S = 4.0
"""How long a compiled epoch may go on after a signal; then the process leaves with what is on disk."""


@contextlib.contextmanager
def interruptible(how_to_go_on: str) -> Iterator[Callable[[], None]]:
    """Turn signals into InterruptedRunError at safe places.

    Yields:
        What is called at each safe place: it raises InterruptedRunError (exit code 130 or 143) once a signal came. A second
        signal, or `PATIENCE_S` without a safe place, ends the process at once.
    """
    received: list[int] = []

    def leave_at_once() -> None:
        os.write(2, f"stockrnn: Interrupted. {how_to_go_on}\n".encode())
        os._exit(128 + received[0])

    def receive(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            leave_at_once()
        timer = threading.Timer(PATIENCE_S, leave_at_once)
        timer.daemon = True
        timer.start()
        timers.append(timer)

    def check() -> None:
        if received:
            raise InterruptedRunError(f"Interrupted. {how_to_go_on}", 128 + received[0])

    timers: list[threading.Timer] = []
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
        check()
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
