"""What the pictures of a run are drawn from: its forecast table and history, and how each model looks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import DataError
from stockrnn.evaluation.metrics import by_model, crps_rows
from stockrnn.prices.steps import dated, row_name
from stockrnn.reports.sheet import COLORS, MAX_TICKERS, SPARE, UNIT, inert, when
from stockrnn.types import DAILY, DATE, QUANTILE_COLUMNS, TICKER, UNDATED

NAIVE = "naive"


@dataclass(frozen=True)
class Subject:
    """What the pictures of one run share.

    Attributes:
        tables: the rows of each model that have an actual, sorted alike, with the cutoff's price in `last`.
        network: the name of the network among its models.
        title: the ticker or file, ready to be drawn.
        unit: the price that is forecast, and its unit.
        last: what `naive` repeats, in words.
        step: what the rows of the price file are apart, by a name in `STEPS`.
    """

    tables: dict[str, pd.DataFrame]
    history: pd.DataFrame
    network: str
    title: str
    unit: str
    last: str
    step: str = ""

    @functools.cached_property
    def tickers(self) -> list[str]:
        """The tickers whose first step is known, in the order of the table."""
        return list(self.rows(self.network)[TICKER].unique())

    @functools.cached_property
    def shown(self) -> list[str]:
        """The tickers with panels of their own: all, or of many the best and then the worst few by CRPS skill against naive."""
        if len(self.tickers) <= MAX_TICKERS:
            return self.tickers
        mine, naive = (_mean_crps(self.rows(model)) for model in (self.network, NAIVE))
        ranked = (mine / naive.where(naive > 0)).fillna(1.0).sort_values(kind="stable").index
        half = MAX_TICKERS // 2
        return [*ranked[:half], *ranked[half - MAX_TICKERS :]]

    @property
    def choice(self) -> str:
        """Which tickers are shown, as a phrase; empty where all are."""
        left = len(self.tickers) - len(self.shown)
        half = MAX_TICKERS // 2
        kinds = f"best {half} and worst {MAX_TICKERS - half} of {len(self.tickers)} tickers by CRPS skill, {left} not shown"
        return kinds if left else ""

    @property
    def models(self) -> list[str]:
        """The network, then the others in the order of the table."""
        return [self.network, *(name for name in self.tables if name != self.network)]

    @property
    def pooled(self) -> list[str]:
        """How many tickers are drawn as one, as a phrase, where there are several."""
        return [f"{len(self.tickers)} tickers pooled"] if len(self.tickers) > 1 else []

    @property
    def band(self) -> list[str]:
        """The same beside a band that counts every forecast: those of a day move together, so that a perfect one may leave it."""
        return [f"{phrase}, the band as if they were independent" for phrase in self.pooled]

    @property
    def horizon(self) -> int:
        """The last step that has an actual."""
        return int(self.tables[self.network]["step"].max())

    @property
    def dated(self) -> bool:
        """Whether the price file has dates."""
        return self.step != UNDATED

    @property
    def when(self) -> str:
        """The label of an axis of time."""
        return when(self.step)

    @property
    def row(self) -> str:
        """What a row is called."""
        return row_name(self.step)

    @property
    def many(self) -> str:
        """What rows are called."""
        return row_name(self.step, 2)

    @property
    def now(self) -> str:
        """What the row that is forecast is called."""
        return "today" if self.step in {"", DAILY} else f"this {self.row}"

    @property
    def before(self) -> str:
        """What the cutoff of a forecast one step ahead is called."""
        return "yesterday" if self.step in {"", DAILY} else f"the last {self.row}"

    def years(self, dates: pd.Series) -> pd.Series:
        """The year of each date; where the price file has no dates, one for all."""
        return dates.dt.year if self.dated else dates.map(lambda _: "all")

    @property
    def era(self) -> str:
        """The label of an axis of `years`."""
        return "Year" if self.dated else "Sessions"

    @property
    def ahead(self) -> str:
        """Which step is drawn, for a title; empty when there is only one."""
        return f", step 1 of {self.horizon}" if self.horizon > 1 else ""

    @functools.cached_property
    def _first_steps(self) -> dict[str, pd.DataFrame]:
        return {model: rows if self.horizon == 1 else rows[rows["step"] == 1] for model, rows in self.tables.items()}

    def rows(self, model: str, ticker: str | None = None, step: int | None = 1) -> pd.DataFrame:
        """The rows of a model: of one ticker or of all, of one step or of all."""
        tables = self._first_steps if step == 1 else self.tables
        table = tables[model] if model in tables else tables[self.network].iloc[:0]
        table = table if ticker is None else table[table[TICKER] == ticker]
        return table if step in {None, 1} else table[table["step"] == step]


def _mean_crps(rows: pd.DataFrame) -> pd.Series:
    """The mean CRPS of each ticker."""
    return pd.Series(crps_rows(rows["actual"], rows[list(QUANTILE_COLUMNS)])).groupby(rows[TICKER].to_numpy()).mean()


def make_subject(
    forecasts: pd.DataFrame,
    history: pd.DataFrame,
    network: str,
    title: str,
    *,
    column: str = "close",
    step: str = "",
) -> Subject:
    """What the functions of `FIGURES` draw, from the arguments of `run_figures`. Raises DataError."""
    known = forecasts["actual"].notna() & forecasts[DATE].notna()
    for model in (network, NAIVE):
        if model not in set(forecasts.loc[known & (forecasts["step"] == 1), "model"]):
            raise DataError(f"The forecast table must hold actuals for {model}. Received: none. Evaluate it before plotting.")
    tables = by_model(forecasts if known.all() else forecasts[known])
    return Subject(tables, history, network, inert(title), f"{column.capitalize()} ({UNIT})", f"last {column}", step)


def model_styles(subject: Subject) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each model with its line; the network's lies above the others."""
    spare = (model for model in subject.models[1:] if model not in COLORS)
    others = {model: SPARE[place % len(SPARE)] for place, model in enumerate(spare)}
    for model in subject.models:
        if model == subject.network:
            yield model, {"color": COLORS["network"], "lw": 2.2, "zorder": 4}
        else:
            color, dashes = others.get(model) or (COLORS[model], "--" if model == "drift" else "-")
            yield model, {"color": color, "ls": dashes, "lw": 1.3}


def returns_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every price as its change from the cutoff's price: log return in percent, missing where a price is not above zero."""
    columns = ["actual", "forecast", *QUANTILE_COLUMNS]
    logs = np.log(rows[[*columns, "last"]].where(rows[[*columns, "last"]] > 0))
    return rows.assign(**{name: 100 * (logs[name] - logs["last"]) for name in columns})


def trainings_of(history: pd.DataFrame) -> list[pd.DataFrame]:
    """The epochs of each training, in order: one training for each network and, in a backtest, each refit."""
    keys = [name for name in ("fold", "member") if name in history]
    return [rows.sort_values("epoch") for _, rows in history.groupby(keys)]


def is_log_scaled(values: np.ndarray) -> bool:
    """Whether an axis of these values should be logarithmic: all are above 0, and the largest is over five times the smallest."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 5 * finite.min())


def binomial_band(levels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Between which shares of `count` independent sessions 95 % of the time lie, where each happens at its level, between 0 and 1."""
    return _least(0.025, count, levels) / count, _least(0.975, count, levels) / count


def _least(probability: float, count: int, levels: np.ndarray) -> np.ndarray:
    """The least number of sessions that is not exceeded with this probability: `binom.ppf` of scipy.stats, which takes long to load."""
    from scipy.special import bdtr, bdtrik

    number = np.ceil(bdtrik(probability, count, levels))
    below = np.maximum(number - 1, 0)
    return np.asarray(np.where(bdtr(below, count, levels) >= probability, below, number))


def notes_of(subject: Subject, what: str, last: int = 0) -> list[str]:
    """What is drawn, from when to when (the last sessions only, where `last` is given), and how many tickers are not."""
    dates = np.sort(subject.rows(subject.network)[DATE].unique())[-last:]
    span = f"{dated(pd.Timestamp(dates[0]), subject.step)} to {dated(pd.Timestamp(dates[-1]), subject.step)}, {len(dates):,} {subject.many}"
    return [what, span, subject.choice]
