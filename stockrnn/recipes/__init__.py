"""One function for each command: the Python API. Nothing is printed here: results are returned, progress goes to a callback.

A name is imported when it is first asked for, so that a forecast waits for nothing that trains, draws or audits.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stockrnn.evaluation.audit import Audited, audit
    from stockrnn.evaluation.backtest import Plan
    from stockrnn.recipes.assembly import Trained
    from stockrnn.recipes.backtesting import backtest, resume_backtest, unfinished_backtest
    from stockrnn.recipes.comparing import compare_runs
    from stockrnn.recipes.drawing import inspect, inspection_pictures, plot
    from stockrnn.recipes.explaining import Explained, explain_run
    from stockrnn.recipes.prediction import Predicted, predict
    from stockrnn.recipes.training import resume, train
    from stockrnn.recipes.tuning import Effort, Tuned, tune, unfinished_tune

__all__ = [
    "Audited",
    "Effort",
    "Explained",
    "Plan",
    "Predicted",
    "Trained",
    "Tuned",
    "audit",
    "backtest",
    "compare_runs",
    "explain_run",
    "inspect",
    "inspection_pictures",
    "plot",
    "predict",
    "resume",
    "resume_backtest",
    "train",
    "tune",
    "unfinished_backtest",
    "unfinished_tune",
]

_HOMES = {
    "stockrnn.evaluation.audit": ("Audited", "audit"),
    "stockrnn.evaluation.backtest": ("Plan",),
    "stockrnn.recipes.assembly": ("Trained",),
    "stockrnn.recipes.backtesting": ("backtest", "resume_backtest", "unfinished_backtest"),
    "stockrnn.recipes.comparing": ("compare_runs",),
    "stockrnn.recipes.drawing": ("inspect", "inspection_pictures", "plot"),
    "stockrnn.recipes.explaining": ("Explained", "explain_run"),
    "stockrnn.recipes.prediction": ("Predicted", "predict"),
    "stockrnn.recipes.training": ("resume", "train"),
    "stockrnn.recipes.tuning": ("Effort", "Tuned", "tune", "unfinished_tune"),
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
