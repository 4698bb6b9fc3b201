"""One function for each command: the Python API. Nothing is printed here: results are returned, progress goes to a callback."""

from stockrnn.evaluation.audit import Audited, audit
from stockrnn.evaluation.backtest import Plan
from stockrnn.recipes.assembly import Trained
from stockrnn.recipes.backtesting import backtest, resume_backtest, unfinished_backtest
from stockrnn.recipes.comparing import compare_runs
from stockrnn.recipes.drawing import inspect, inspection_pictures, plot
from stockrnn.recipes.explaining import Explained, explain_run
from stockrnn.recipes.prediction import Predicted, predict
from stockrnn.recipes.training import resume, train

__all__ = [
    "Audited",
    "Explained",
    "Plan",
    "Predicted",
    "Trained",
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
    "unfinished_backtest",
]
