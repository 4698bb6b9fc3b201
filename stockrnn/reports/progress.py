"""The progress of a walk-forward or an audit on a terminal, and the time that is left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stockrnn.reports.tables import make_console

if TYPE_CHECKING:
    from rich.progress import Progress

    from stockrnn.evaluation.folds import Fold
    from stockrnn.training.loop import EpochReport


class WalkProgress:
    """What is told of a walk: each epoch and each fold. Shows nothing without a bar."""

    def __init__(self, folds: int, refit: int, bar: Progress | None) -> None:
        """Store how many folds there are, how many share a refit, and what shows them."""
        self.folds, self.refits, self.bar = folds, -(-folds // refit), bar
        self.done = self.begun = self.learnt = 0
        self.started: float | None = None
        self.task = None if bar is None else bar.add_task("fold", total=folds, facts="preparing")

    def epoch(self, report: EpochReport) -> None:
        """Show a fold that is learning."""
        self.started = time.monotonic() if self.started is None else self.started
        self._show(f"epoch {report.epoch}")

    def fold(self, fold: Fold) -> None:
        """Show that a fold is done, in any order; those that were done before cost no time and count for none."""
        self.done += 1
        if fold.refits:
            self.begun += 1
            self.learnt += self.started is not None
        self._show("")

    def text(self, now: float) -> str:
        """The time left, from the mean of the refits so far; empty before the first."""
        if self.started is None or not self.learnt:
            return ""
        minutes, seconds = divmod(round((now - self.started) / self.learnt * (self.refits - self.begun)), 60)
        return f"about {minutes}:{seconds:02d} left"

    def _show(self, doing: str) -> None:
        if self.bar is not None and self.task is not None:
            name = f"fold {min(self.done + 1, self.folds)}/{self.folds}"
            self.bar.update(self.task, completed=self.done, description=name, facts=f"{doing}  {self.text(time.monotonic())}".strip())


@contextlib.contextmanager
def walk_progress(folds: int, refit: int, stream: Any = None) -> Iterator[WalkProgress]:
    """Show on a terminal how a walk goes.

    Args:
        folds: how many there are.
        refit: how many of them share what was learnt.
        stream: the text stream to show it on; stderr when None. Nothing is written where it is no terminal.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    console = make_console(sys.stderr if stream is None else stream)
    if not console.is_terminal:
        yield WalkProgress(folds, refit, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}"))
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, refresh_per_second=4) as progress:
        yield WalkProgress(folds, refit, progress)


@contextlib.contextmanager
def step_progress(doing: str, stream: Any = None) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how many of some steps are done, and the time that is left.

    Args:
        doing: what is shown beside the bar.
        stream: the text stream to show it on; stderr when None. Nothing is written where it is no terminal.

    Yields:
        What is called with the number of steps done and of all.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = make_console(sys.stderr if stream is None else stream)
    if not console.is_terminal:
        yield lambda _, __: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, refresh_per_second=4) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
