"""What each command does between its arguments and the terminal: config in, recipe run, result printed."""

from __future__ import annotations

import datetime as dt
import json as jsonlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockrnn.errors import ConfigError

if TYPE_CHECKING:
    from stockrnn.config import Config
    from stockrnn.runs.directory import Run


def train(config: str, data: str | None, overrides: Sequence[str], run: str | None, resume: bool, json: bool) -> None:
    """`stockrnn train`."""
    from stockrnn import recipes
    from stockrnn.reports.tables import training_progress
    from stockrnn.runs.directory import new_run_folder

    settings = _config(config, data, overrides)
    folder = new_run_folder(run, Path(config).stem, dt.datetime.now().astimezone().date())
    with training_progress(settings.train.epochs, settings.train.ensemble) as on_epoch:
        trained = recipes.train(settings, folder, on_epoch)
    _tell(trained.notes)
    if json:
        _print_json({"run": str(folder), **trained.metrics})
        return
    _show_scores(trained.run, trained.metrics)
