"""The progress of a training, a walk-forward or an audit on a terminal, and the time that is left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stockrnn.reports.tables import make_console, on_terminal

if TYPE_CHECKING:
    from rich.progress import Progress

    from stockrnn.evaluation.folds import Fold
    from stockrnn.training.loop import EpochReport


class WalkProgress:
    """What is told of a walk: each epoch and each fold. Shows nothing without a bar."""

    def __init__(self, folds: int, refit: int, bar: Progress | None) -> None:
        """Store how many folds there are, how many share a refit, and what shows them."""
        self.folds, self.refits, self.bar = folds, -(-folds // refit), bar
        self.done = self.begun = self.learned = 0
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
            self.learned += self.started is not None
        self._show("")

    def text(self, now: float) -> str:
        """The time left, from the mean of the refits so far; empty before the first."""
        if self.started is None or not self.learned:
            return ""
        return f"about {clock((now - self.started) / self.learned * (self.refits - self.begun))} left"

    def _show(self, doing: str) -> None:
        if self.bar is not None and self.task is not None:
            name = f"fold {min(self.done + 1, self.folds)}/{self.folds}"
            self.bar.update(self.task, completed=self.done, description=name, facts=f"{doing}  {self.text(time.monotonic())}".strip())


@contextlib.contextmanager
def walk_progress(folds: int, refit: int, stream: Any = None) -> Iterator[WalkProgress]:
    """Show on a terminal how a walk goes.

    Args:
        folds: how many there are.
        refit: how many of them share what was learned.
        stream: the text stream to show it on; stderr when None. Nothing is written where it is no terminal.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    console = make_console(sys.stderr if stream is None else stream)
    if not on_terminal(console):
        yield WalkProgress(folds, refit, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}"))
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, refresh_per_second=4) as progress:
        yield WalkProgress(folds, refit, progress)


@contextlib.contextmanager
def step_progress(doing: str, stream: Any = None) -> Iterator[Callable[[int, int | None], None]]:
    """Show on a terminal how many of some steps are done, and the time that is left.

    Args:
        doing: what is shown beside the bar.
        stream: the text stream to show it on; stderr when None. Nothing is written where it is no terminal.

    Yields:
        What is called with the number of steps done and of all, None where nobody knows.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = make_console(sys.stderr if stream is None else stream)
    if not on_terminal(console):
        yield lambda _, __: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, refresh_per_second=4) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextlib.contextmanager
def training_progress(total_epochs: int, members: int, stream: Any = None) -> Iterator[Callable[[EpochReport], None]]:
    """Show on a terminal how training goes: network, epoch, loss, validation loss, the longest it can still take.

    Args:
        total_epochs: most epochs of one network.
        members: networks of the ensemble, some of them at the same time.
        stream: the text stream to show it on; stderr when None. Nothing is written where it is no terminal.

    Yields:
        What is called with the report of each epoch.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    console = make_console(sys.stderr if stream is None else stream)
    if not on_terminal(console):
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[facts]}"))
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, refresh_per_second=4) as progress:
        task = progress.add_task("training", total=None, facts="preparing")
        started = time.monotonic()
        epochs, tickers = EpochCount(total_epochs, members, started), TickerCount(started)

        def show(report: EpochReport) -> None:
            count = epochs if report.parts == 1 else tickers
            name, done, total = count.add(report)
            left = count.left(time.monotonic())
            progress.update(task, completed=done, total=total, description=name, facts=f"{progress_text(report, total_epochs)}  {left}")

        yield show


class EpochCount:
    """How many epochs are done, of networks that learn one after the other or at the same time."""

    def __init__(self, total_epochs: int, members: int, started: float) -> None:
        """Store what the count is of, and when it began."""
        self.total_epochs, self.members, self.started = total_epochs, members, started
        self.running: dict[int, int] = {}
        self.begun = self.seen = self.done = 0

    def add(self, report: EpochReport) -> tuple[str, int, int]:
        """Count an epoch; what is being done, the epochs that need not be done any more, and all."""
        self.seen += 1
        self.begun = max(self.begun, report.member + 1)
        self.running[report.member] = report.epoch
        if report.last:
            del self.running[report.member]
        self.done = (self.begun - len(self.running)) * self.total_epochs + sum(self.running.values())
        name = f"network {report.member + 1}/{self.members}" if self.members > 1 else "training"
        return name, self.done, self.total_epochs * self.members

    def left(self, now: float) -> str:
        """The longest the rest can take; early stopping may end it sooner."""
        return f"at most {clock((self.total_epochs * self.members - self.done) * (now - self.started) / self.seen)} left"


class TickerCount:
    """How many tickers are done, where each has an ensemble of its own; those that were done before cost no time."""

    def __init__(self, started: float) -> None:
        """Store when the count began."""
        self.started, self.before, self.done, self.parts = started, -1, 0, 0

    def add(self, report: EpochReport) -> tuple[str, int, int]:
        """Count an epoch; what is being done, the tickers that are done, and all."""
        self.done, self.parts = report.done, report.parts
        self.before = self.done if self.before < 0 else self.before
        return f"ticker {min(self.done + 1, self.parts)}/{self.parts}", self.done, self.parts

    def left(self, now: float) -> str:
        """The time left, from the mean of the tickers so far; empty before the first."""
        learned = self.done - self.before
        return f"about {clock((self.parts - self.done) * (now - self.started) / learned)} left" if learned else ""


def progress_text(report: EpochReport, total_epochs: int) -> str:
    """One line of progress: epoch, loss, validation loss."""
    return f"epoch {report.epoch}/{total_epochs}  loss {report.loss:.4g}  validation {report.validation_loss:.4g}"


def clock(seconds: float) -> str:
    """Minutes and seconds, such as 1:05."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"
