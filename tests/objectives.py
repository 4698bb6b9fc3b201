"""Units of work that stand for trials in the tests of searches: importable by name in every process, and quick."""

import math
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from stockrnn.evaluation.metrics import REFERENCE
from stockrnn.evaluation.scoring import forecast_span
from stockrnn.evaluation.tuning import config_digest
from stockrnn.models.baselines import BASELINES
from stockrnn.storage import sha256
from stockrnn.types import DATE, QUANTILE_COLUMNS

MARKS = "STOCKRNN_TEST_MARKS"
"""The variable that names a folder where each unit leaves a mark a time it is run."""


def score(arena, unit, tell):
    """A result that depends on every byte that a trial is given."""
    config, fold = unit
    tell(fold)
    if MARKS in os.environ:
        mark = Path(os.environ[MARKS]) / f"{config_digest(config)}.{fold}"
        mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
    given = f"{arena.digest}{arena.folds}{arena.scales}{config_digest(config)}"
    rate = abs(math.log(config.train.learning_rate / 0.003))
    crps = 2 + rate + config.model.dropout + 0.3 * int(sha256(given.encode())[:6], 16) / 16**6 + 0.1 * fold
    return {"crps": crps, "n": 9, "epochs": 5 + fold, "curves": [[0.5, 0.4, 0.3 + rate]]}


def score_slowly(arena, unit, tell):
    time.sleep(0.05)
    return score(arena, unit, tell)


def score_low_rates(arena, unit, tell):
    """Settings with a high rate cannot learn."""
    return {"failed": "It diverged."} if unit[0].train.learning_rate > 0.004 else score(arena, unit, tell)


def forecast(arena, config, tell):
    """What `check_fold` gives, from a rule instead of a network: naive quantiles, the wider the higher the dropout."""
    fold = arena.folds[0]
    naive = BASELINES[REFERENCE](horizon=config.window.horizon, column=config.target.column)
    naive.fit(fold.history(arena.prices), fold.spans)
    rows = np.flatnonzero((arena.prices[DATE] >= fold.first) & (arena.prices[DATE] < fold.last))
    table = forecast_span([naive], arena.prices, rows)
    mine, names = table.assign(model=config.model.cell), list(QUANTILE_COLUMNS)
    mine[names] = mine[names].sub(mine["forecast"], axis=0).mul(1 + config.model.dropout).add(mine["forecast"], axis=0)
    return pd.concat([mine, table], ignore_index=True)


def forecast_high_rates(arena, config, tell):
    """Of `check_fold`: settings with a low rate cannot learn."""
    return "It diverged." if config.train.learning_rate < 0.01 else forecast(arena, config, tell)
