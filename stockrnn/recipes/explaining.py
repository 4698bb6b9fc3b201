"""`explain`: a run → what its network listens to, as numbers and pictures. Gradients need TensorFlow, which loads here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.evaluation.conformal import Calibration
from stockrnn.evaluation.explaining import Explanation, Subject, explain
from stockrnn.evaluation.learning import table_of
from stockrnn.features.pipeline import Pipeline
from stockrnn.prices.known import Known
from stockrnn.prices.loading import load_prices
from stockrnn.prices.steps import dated, instant, row_name
from stockrnn.recipes.drawing import keep_pictures
from stockrnn.recipes.prediction import known_tickers
from stockrnn.reports.insight import insight_figures
from stockrnn.reports.tables import titled
from stockrnn.runs.directory import Run
from stockrnn.runs.files import read_history
from stockrnn.runs.origin import prices_of_run
from stockrnn.runs.vetting import hold
from stockrnn.types import DATE, TICKER


@dataclass(frozen=True)
class Explained:
    """What `explain` found.

    Attributes:
        found: the numbers.
        pictures: their files.
        title: the tickers that were looked at.
    """

    found: Explanation
    pictures: list[Path]
    title: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of the command: shares of the CRPS, norms by lag, weights by query and lag, and what the anchor's parts add."""
        found = self.found
        rows = found.importance.assign(features=found.importance["features"].map(list)).to_dict("records")
        memory = [(each["member"].iloc[0], each["cell"].iloc[0], each["norm"]) for _, each in found.memory.groupby("member")]
        return {
            "format": 1,
            "windows": found.windows,
            "crps": found.crps,
            "importance": [{str(key): value for key, value in row.items()} for row in rows],
            "features": list(found.names),
            "reliance": {said: values[::-1].tolist() for said, values in found.reliance.items()},
            "memory": [{"member": int(member), "cell": cell, "norm": list(norms)} for member, cell, norms in memory],
            "attention": None if found.attention is None else found.attention[:, ::-1].tolist(),
            "anchor": found.anchor,
            "pictures": [str(path) for path in self.pictures],
        }


def explain_run(
    run: Run, output: Path | None, picture_format: str, data: str | None = None, tell: Callable[[int, int], Any] = lambda *_: None
) -> Explained:
    """Look into a run's networks on its test span, and draw what is seen into the run's plots/ (and its manifest), or into another folder.

    Of a backtest the last refit is looked at, on the sessions it has not learned from.

    Raises:
        ConfigError: no `data`, and a run that was copied or made elsewhere.
        DataError: the data hold no session of the test span.
        RunDamagedError: the run cannot be read.
    """
    forecasts = run.forecasts()
    cutoffs = _cutoffs(run, forecasts)
    path = prices_of_run(run) if data is None else data
    prices = load_prices(run.config.data.model_copy(update={"path": path}), run.config.asked)
    subjects = list(_subjects(run, known_tickers(run, prices.table)[0], prices.known, cutoffs))
    if not subjects:
        first, last = (dated(cutoffs["cutoff"].agg(end), run.step) for end in ("min", "max"))
        what = f"{row_name(run.step, 2)} of the run's test span, {first} to {last}"
        raise DataError(f"The data must hold {what}. Received: none in {path}. Give data that hold them.")
    found = explain(subjects, run.config.train.seed, tell)
    title = titled(list(dict.fromkeys(str(ticker) for subject in subjects for ticker in subject.tickers)))
    figures = insight_figures(found, read_history(run.read("history.csv")), title, run.step)
    return Explained(found, keep_pictures(run, figures, output, picture_format), title)


def _cutoffs(run: Run, forecasts: pd.DataFrame) -> pd.DataFrame:
    """Ticker and date of each cutoff of the test span that the run's network has not learned from. Raises DataError without one."""
    rows = forecasts.loc[forecasts["model"] == run.config.model.cell, [TICKER, "cutoff"]].drop_duplicates()
    folds = run.json("metrics.json").get("folds")
    if folds is None:
        return rows
    try:
        end = instant(folds[-1]["calibration_end"])
    except (LookupError, TypeError, ValueError) as error:
        hold(False, run.folder / "metrics.json", "name the folds of a backtest", repr(error))
    if not (rows["cutoff"] >= end).any():
        raise DataError(
            f"The last refit of a backtest must have made a forecast to be explained. Received: none from {dated(end, run.step)} on, too "
            f"few {row_name(run.step, 2)} for all its steps. Walk with fewer --folds."
        )
    return rows[rows["cutoff"] >= end]


def _subjects(run: Run, prices: pd.DataFrame, known: Known, cutoffs: pd.DataFrame) -> Iterator[Subject]:
    from stockrnn.training.recurrent import parts_of, restore

    state = run.json("scaler.json")
    conformal = Calibration.from_list(state["conformal"])
    lone = prices[TICKER].nunique() == 1  # a run of one ticker takes a file of one, whatever its name
    pipeline_of = functools.partial(Pipeline.from_dict, known=known)
    wanted = pd.MultiIndex.from_frame(cutoffs[[TICKER, "cutoff"]])
    parts = parts_of(restore(run.config, state["parts"], run.read("weights.safetensors"), pipeline_of))
    for ticker, part in parts.items():
        table = prices if lone and len(parts) == 1 else table_of(prices, ticker)
        pipeline, steps = part.fitted.pipeline, np.arange(1, part.horizon + 1)
        if table.empty:
            continue
        prepared = pipeline.prepare(table)
        windows, rows = prepared.windows, prepared.rows
        dates = table[DATE].iloc[rows]
        inside = dates.isin(cutoffs["cutoff"]) if lone else pd.MultiIndex.from_arrays([table[TICKER].iloc[rows], dates]).isin(wanted)
        chosen = np.asarray(inside) & np.isfinite(windows.targets[windows.ends]).all(axis=1)
        if chosen.any():
            actual = table[pipeline.column].to_numpy()[rows[chosen][:, None] + steps]
            yield Subject(part, table, rows[chosen], windows.pick(chosen).inputs(), actual, conformal)
