"""The scores of every model of a forecast table: over all rows, and by ticker, step and year.

Each is made of the losses of `metrics.py`, all groups at once, so that a panel of hundreds of tickers takes seconds. The
`naive` model's forecast in the table is the price at the cutoff, so returns and directions need no second source. An
undefined score is None, never NaN; `reason` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.evaluation.metrics import (
    LEVELS,
    REFERENCE,
    ROUNDING,
    Scores,
    by_model,
    log_loss_rows,
    probability_above,
    quantile_losses,
    skill,
    winkler_rows,
)
from stockrnn.types import DATE, QUANTILE_COLUMNS, TICKER

Table = dict[str, Scores]
"""Scores by model."""
LEAST_TICKERS = 5
"""Fewest tickers of a day whose order can be scored: two are always ordered perfectly, one way or the other."""
MOST_GROUPS = 100
"""Most steps, years and tickers that metrics.json holds; scores.csv holds all."""
EXTREMES = 5

UNDEFINED = {
    "mape": "an actual price is zero",
    "smape": "an actual and its forecast are both zero",
    "mase": "a ticker has no price change in its training span",
    "r2": "the actual returns do not vary, or a cutoff's price is zero",
    "directional_accuracy": "no row where both the forecast and the actual price differ from the cutoff's",
    "ic": f"no date on which {LEAST_TICKERS} tickers have forecast and actual returns that vary",
    "rank_ic": f"no date on which {LEAST_TICKERS} tickers have forecast and actual returns that vary",
    "icir": "fewer than two such dates, or an IC that never varies",
}
"""Why a score can be None; a skill can where naive's score is zero or undefined."""


def reason(metric: str) -> str:
    """Why a score of this name is None."""
    return UNDEFINED.get(metric) or f"naive's {metric.removeprefix('skill_')} is zero or undefined"


def reasons(tables: Iterable[Table]) -> dict[str, str]:
    """The metrics that are None anywhere in some tables, each with why."""
    lacking = {metric: None for table in tables for scores in table.values() for metric, value in scores.items() if value is None}
    return {metric: reason(metric) for metric in lacking}


def score_table(forecasts: pd.DataFrame, scales: Mapping[str, float]) -> Table:
    """The scores of every model over all rows that have an actual, pooled over tickers and steps.

    Args:
        forecasts: the forecast table; `naive` is in it, and every model has the same tickers, cutoffs and steps.
        scales: MASE scale of each ticker, from `metrics.mase_scales`.

    Returns:
        `{model: {"mae": …, "rmse": …, "mape": …, "smape": …, "mase": …, "r2": …, "directional_accuracy": …, "crps": …,
        "coverage_90": …, "width_90": …, "skill_mae": …, "skill_crps": …, …}}`, then coverage, width and Winkler score at 50, 80
        and 90 %, Brier score and log loss of P(up), for a panel IC, rank IC and ICIR of the first step, the pinball loss of
        each quantile, and the skill of each error against `naive`, whose own is 0.

    Raises:
        StockRNNError: no `naive`, no actual at all, or models that forecast different rows.
    """
    return _grouped(by_model(forecasts), scales, None)[""]


def score_groups(forecasts: pd.DataFrame, scales: Mapping[str, float], by: str) -> dict[str, Table]:
    """A score table for each `ticker`, `step` or `year` (of the session forecast); currency is shared within a ticker only."""
    return _grouped(by_model(forecasts), scales, by)


YEAR = "year"
GROUPS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "step": lambda forecasts: forecasts["step"],
    YEAR: lambda forecasts: pd.to_datetime(forecasts[DATE]).dt.year,
    "ticker": lambda forecasts: forecasts[TICKER],
}
"""What `score_groups` can group by."""


def score_rows(scores: Mapping[str, Any]) -> pd.DataFrame:
    """What scores.csv holds: one row for each model of each group, of `all`, then of every step, year and ticker.

    Args:
        scores: the scores of a span, as in metrics.json, with all groups.
    """
    tables = [("all", "", scores["models"])]
    tables += [(by, key, table) for by in GROUPS for key, table in scores.get(f"{by}s", {}).items()]
    return pd.DataFrame([{"by": by, "group": key, "model": model, **row} for by, key, table in tables for model, row in table.items()])


def without_crowds(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of a span as metrics.json holds them: the groupings, of steps, years and tickers, that fit into `MOST_GROUPS`."""
    kept, room = dict(scores), MOST_GROUPS
    for by in GROUPS:
        count = len(scores.get(f"{by}s", {}))
        if count > room:
            del kept[f"{by}s"]
        else:
            room -= count
    return kept


def extremes(tickers: Mapping[str, Table], network: str) -> dict[str, Any]:
    """How a network's CRPS skill against naive spreads over tickers: of how many, how many above 0, the median, best and worst."""
    known = {ticker: table[network]["skill_crps"] for ticker, table in tickers.items()}
    ranked = sorted(((value, ticker) for ticker, value in known.items() if value is not None), reverse=True)
    several = min(EXTREMES, max(1, len(ranked) // 2))
    return {
        "metric": "skill_crps",
        "tickers": len(ranked),
        "above_0": sum(value > 0 for value, _ in ranked),
        "median": float(np.median([value for value, _ in ranked])) if ranked else None,
        "best": {ticker: value for value, ticker in ranked[:several]},
        "worst": {ticker: value for value, ticker in ranked[::-1][:several]},
    }


class _Groups:
    """Rows in groups: which each belongs to, and means over them."""

    def __init__(self, keys: pd.Series) -> None:
        """Number the groups in order."""
        self.codes, names = pd.factorize(keys, sort=True)
        self.names = [str(name) for name in names]
        self.sizes = np.bincount(self.codes, minlength=len(names))

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum of each group, shape (groups,)."""
        return np.bincount(self.codes, weights=values, minlength=len(self.names))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean of each group, shape (groups,); NaN where a value is."""
        return np.asarray(self.total(values) / self.sizes)


def _grouped(tables: Mapping[str, pd.DataFrame], scales: Mapping[str, float], by: str | None) -> dict[str, Table]:
    reference = tables[REFERENCE]
    groups = _Groups(GROUPS[by](reference) if by else pd.Series("", index=reference.index))
    panel = reference[TICKER].nunique() > 1 and by != "ticker"
    found = {model: _scores(rows, scales, groups) for model, rows in tables.items()}
    if panel:
        information = {model: _information(rows, groups, every_step=by == "step") for model, rows in tables.items()}
        found = {model: scores | information[model] for model, scores in found.items()}
    columns = {model: {name: _plain(values) for name, values in scores.items()} for model, scores in found.items()}
    grouped = {}
    for place, key in enumerate(groups.names):
        table = {model: {name: values[place] for name, values in scores.items()} for model, scores in columns.items()}
        grouped[key] = {model: _ordered(scores, table[REFERENCE]) for model, scores in table.items()}
    return grouped


def _scores(rows: pd.DataFrame, scales: Mapping[str, float], groups: _Groups) -> dict[str, np.ndarray]:
    """Each metric of each group, shape (groups,); NaN where it is undefined."""
    actual, forecast, last = (rows[name].to_numpy(float) for name in ("actual", "forecast", "last"))
    quantiles = rows[list(QUANTILE_COLUMNS)].to_numpy(float)
    error, pinballs = np.abs(actual - forecast), quantile_losses(actual, quantiles)
    up, said = (actual > last).astype(float), probability_above(quantiles, last)
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = {
            "mae": error,
            "mse": error**2,
            "mape": 100 * error / np.where(actual == 0, np.nan, np.abs(actual)),
            "smape": 200 * error / (np.abs(actual) + np.abs(forecast)),
            "mase": error / _positive(rows[TICKER].map(scales).to_numpy(float)),
            "crps": 2 * pinballs.mean(axis=1),
            "brier": (said - up) ** 2,
            "log_loss": log_loss_rows(up, said),
        }
        means = {name: groups.mean(values) for name, values in losses.items()}
        means |= {"r2": _r2(actual, forecast, last, groups), "directional_accuracy": _right_way(actual, forecast, last, groups)}
    means["rmse"] = np.sqrt(means.pop("mse"))
    for percent, columns in LEVELS.items():
        low, high = (rows[name].to_numpy(float) for name in columns)
        means[f"coverage_{percent}"] = groups.mean(((low <= actual) & (actual <= high)).astype(float))
        means[f"width_{percent}"] = groups.mean(high - low)
        means[f"winkler_{percent}"] = groups.mean(winkler_rows(actual, low, high, percent / 100))
    return means | {f"pinball_{name}": groups.mean(values) for name, values in zip(QUANTILE_COLUMNS, pinballs.T, strict=True)}


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def _r2(actual: np.ndarray, forecast: np.ndarray, last: np.ndarray, groups: _Groups) -> np.ndarray:
    """As `metrics.r2`, of each group."""
    moved, expected = actual / last - 1, forecast / last - 1
    spread = groups.total((moved - groups.mean(moved)[groups.codes]) ** 2)
    varied = np.where(spread > ROUNDING * groups.total(moved**2), spread, np.nan)
    return np.asarray(1 - groups.total((moved - expected) ** 2) / varied)


def _right_way(actual: np.ndarray, forecast: np.ndarray, last: np.ndarray, groups: _Groups) -> np.ndarray:
    """As `metrics.directional_accuracy`, of each group."""
    actual_sign, forecast_sign = np.sign(actual - last), np.sign(forecast - last)
    moved = (actual_sign != 0) & (forecast_sign != 0)
    return np.asarray(groups.total((moved & (actual_sign == forecast_sign)).astype(float)) / _positive(groups.total(moved.astype(float))))


def _information(rows: pd.DataFrame, groups: _Groups, *, every_step: bool) -> dict[str, np.ndarray]:
    """How well a model orders the tickers by their return since the cutoff, day by day; of the first step, or of each.

    The mean over days of the correlation between forecast and actual returns across tickers (IC), of that of their ranks,
    and the mean IC over its standard deviation (ICIR).
    Source: Grinold and Kahn 1999, Active Portfolio Management, 2nd ed., chapter 6.
    """
    chosen = np.ones(len(rows), dtype=bool) if every_step else (rows["step"] == 1).to_numpy()
    group = groups.codes[chosen]
    table = pd.DataFrame({name: (rows[name] / rows["last"] - 1)[chosen].to_numpy(float) for name in ("actual", "forecast")})
    days = table.groupby([group, rows["cutoff"].to_numpy()[chosen]], sort=True)
    scored = days["actual"].transform("size").to_numpy() >= LEAST_TICKERS
    scored &= ((days.transform("max") - days.transform("min") > ROUNDING**0.5).all(axis=1)).to_numpy()
    products = {"ic": _products(table, days), "rank_ic": _products(days.rank(), days)}
    daily = pd.DataFrame({"group": group, "day": days.ngroup(), **products})[scored]
    by_day = daily.groupby("day").agg({"group": "first", "ic": "sum", "rank_ic": "sum"})
    means = by_day.groupby("group")[["ic", "rank_ic"]].mean().reindex(range(len(groups.names)))
    spread = by_day.groupby("group")["ic"].std(ddof=1).reindex(range(len(groups.names))).to_numpy(float)
    found: dict[str, np.ndarray] = {name: means[name].to_numpy(float) for name in ("ic", "rank_ic")}
    return found | {"icir": found["ic"] / np.where(spread > ROUNDING**0.5, spread, np.nan)}


def _products(table: pd.DataFrame, days: Any) -> np.ndarray:
    """What each row adds to the correlation of its day's two columns, shape (rows,)."""
    keys = days.ngroup()
    centred = {name: (table[name] - table[name].groupby(keys).transform("mean")).to_numpy() for name in table}
    sums = [pd.Series(values**2).groupby(keys).transform("sum").to_numpy() for values in centred.values()]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(centred["actual"] * centred["forecast"] / np.sqrt(sums[0] * sums[1]))


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


FIRST = ("mae", "rmse", "mape", "smape", "mase", "r2", "directional_accuracy", "crps", "coverage_90", "width_90", "skill_mae", "skill_crps")
"""The scores that come first, in this order."""
ERRORS = (
    *("mae", "rmse", "mape", "smape", "mase", "crps"),
    *(f"winkler_{percent}" for percent in LEVELS),
    *(f"pinball_{name}" for name in QUANTILE_COLUMNS),
)
"""The scores whose skill is given: below naive's is better."""


def _ordered(scores: Scores, reference: Scores) -> Scores:
    """The scores with their skills against naive's, those of `FIRST` first."""
    skills = {f"skill_{name}": skill(scores[name], reference[name]) for name in ERRORS}
    every = scores | skills
    return {name: every[name] for name in FIRST} | every
