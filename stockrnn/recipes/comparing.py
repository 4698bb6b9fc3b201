"""`runs compare`: complete runs → how they did on the sessions they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stockrnn.errors import ConfigError, DataError
from stockrnn.evaluation.comparison import Comparison, compare
from stockrnn.evaluation.metrics import REFERENCE
from stockrnn.reports.comparing import comparison_figure
from stockrnn.reports.sheet import FORMATS, render_figures
from stockrnn.runs.directory import Run
from stockrnn.storage import write_bytes
from stockrnn.types import UNDATED


def compare_runs(runs: Sequence[Run], output: Path | None = None) -> Comparison:
    """Compare the networks of runs on the forecasts that all of them made, and draw a picture into a file.

    Args:
        runs: at least two, each once.
        output: a file whose ending is a picture format; None draws nothing.

    Raises:
        ConfigError: fewer than two runs, one of them twice, or another ending.
        DataError: no forecast in common, rows of other steps, or other prices.
        RunDamagedError: a run that cannot be read.
    """
    folders = [run.folder.resolve() for run in runs]
    if len(runs) < 2 or len(set(folders)) < len(runs):
        received = ", ".join(str(run.folder) for run in runs)
        raise ConfigError(f"`runs compare` needs two or more runs, each once. Received: {received}. Name two or more.")
    kind = None if output is None else output.suffix.lstrip(".")
    if kind is not None and kind not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(f"--output must end in one of {endings}. Received: {output}. Give it one of them.")
    names = [run.name for run in runs]
    if len({*names, REFERENCE}) <= len(names):  # two runs of one name, or one that is named like the reference
        names = [str(run.folder) for run in runs]
    found = compare({name: (run.forecasts(), network_of(run)) for name, run in zip(names, runs, strict=True)}, _one_step(runs))
    if output is not None and kind is not None:
        (data,) = render_figures({"comparison": comparison_figure(found)}, kind).values()
        write_bytes(output, data)
    return found


def _one_step(runs: Sequence[Run]) -> str:
    """What the rows of all runs are apart; empty where none says."""
    steps = {run.step: run.name for run in runs if run.step}
    if len(steps) > 1:
        told = ", ".join(f"{name} of {'rows without dates' if step == UNDATED else f'{step} rows'}" for step, name in steps.items())
        raise DataError(f"The runs must have learned from rows of one step. Received: {told}. Compare runs of one step.")
    return next(iter(steps), "")


def network_of(run: Run) -> str:
    """The name of a run's network in its forecast table."""
    return str(run.json("metrics.json")["network"])
