"""Scores of a forecast: each a formula of its own, and the tables that pool them.

Every table reads the forecast table alone. The `naive` model's forecast in it is the price at the cutoff, so returns
and directions need no second source. An undefined score is None, never NaN; `UNDEFINED` holds the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from stockrnn.errors import StockRNNError
from stockrnn.types import DATE, FILLED, QUANTILE_COLUMNS, QUANTILES, TICKER

ArrayLike = npt.ArrayLike
Score = float | None
Scores = dict[str, Score]

KEYS = [TICKER, "cutoff", "step"]
REFERENCE = "naive"
LEVELS = {50: ("q25", "q75"), 80: ("q10", "q90"), 90: ("q05", "q95")}
"""The central intervals that are scored: nominal level in percent, and its two quantile columns."""

UNDEFINED = {
    "mape": "an actual price is zero",
    "smape": "an actual and its forecast are both zero",
    "mase": "a ticker has no price change in its training span",
    "r2": "the actual returns do not vary",
    "directional_accuracy": "no row where both the forecast and the actual price differ from the cutoff's",
    "ic": "no date on which three tickers have forecast and actual returns that vary",
    "rank_ic": "as for ic",
    "icir": "fewer than two such dates, or an IC that never varies",
    "skill_mae": "naive's error is zero",
    "skill_crps": "naive's CRPS is zero",
}
"""Why a score can be None."""


def mae(actual: ArrayLike, forecast: ArrayLike) -> float:
    """Mean absolute error, mean |a - f|, in currency. Arrays of one shape."""
    a, f = _equal_shapes(actual=actual, forecast=forecast)
    return float(np.mean(np.abs(a - f)))


def rmse(actual: ArrayLike, forecast: ArrayLike) -> float:
    """Root mean squared error, sqrt(mean (a - f)²), in currency. Arrays of one shape."""
    a, f = _equal_shapes(actual=actual, forecast=forecast)
    return float(np.sqrt(np.mean((a - f) ** 2)))


def mape(actual: ArrayLike, forecast: ArrayLike) -> Score:
    """Mean absolute percentage error, 100 mean |a - f| / |a|, in percent; None where an actual is zero."""
    a, f = _equal_shapes(actual=actual, forecast=forecast)
    return None if np.any(a == 0) else float(100 * np.mean(np.abs(a - f) / np.abs(a)))


def smape(actual: ArrayLike, forecast: ArrayLike) -> Score:
    """Symmetric MAPE, 200 mean |a - f| / (|a| + |f|), in percent, 0 … 200; None where both are zero.

    Source: Makridakis, Spiliotis and Assimakopoulos 2020 (the M4 competition), doi:10.1016/j.ijforecast.2019.04.014.
    """
    a, f = _equal_shapes(actual=actual, forecast=forecast)
    size = np.abs(a) + np.abs(f)
    return None if np.any(size == 0) else float(200 * np.mean(np.abs(a - f) / size))


def mase(actual: ArrayLike, forecast: ArrayLike, scale: ArrayLike) -> Score:
    """Mean absolute scaled error, mean |a - f| / s, without unit; below 1 beats the training span's one-step naive error.

    `scale` has the shape of the others: s of each row's ticker, from `mase_scales`. None where a scale is not above zero.
    Source: Hyndman and Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001.
    """
    a, f = _equal_shapes(actual=actual, forecast=forecast)
    s = np.asarray(scale, dtype=float)
    _hold(s.shape == a.shape, "`scale` must have the shape of `actual`", f"{s.shape} and {a.shape}")
    return float(np.mean(np.abs(a - f) / s)) if np.all(s > 0) else None


def r2(actual: ArrayLike, forecast: ArrayLike, last: ArrayLike) -> Score:
    """R² of returns since the cutoff, 1 - Σ(r - r̂)² / Σ(r - r̄)² with r = a/p - 1 and r̂ = f/p - 1; None where r is constant.

    R² of price *levels* is near 1 for every model, a copy of yesterday included, and is therefore not offered.

    Args:
        actual: prices, shape (rows,).
        forecast: forecast prices, shape (rows,).
        last: price p at each row's cutoff, shape (rows,).
    """
    a, f, p = _equal_shapes(actual=actual, forecast=forecast, last=last)
    moved, expected = a / p - 1, f / p - 1
    spread = np.sum((moved - moved.mean()) ** 2)
    return float(1 - np.sum((moved - expected) ** 2) / spread) if spread > 0 else None


def directional_accuracy(actual: ArrayLike, forecast: ArrayLike, last: ArrayLike) -> Score:
    """Share of rows where sign(f - p) = sign(a - p), 0 … 1; rows where either change is zero are left out; None if none is left.

    Arguments as for `r2`.
    """
    a, f, p = _equal_shapes(actual=actual, forecast=forecast, last=last)
    actual_sign, forecast_sign = np.sign(a - p), np.sign(f - p)
    moved = (actual_sign != 0) & (forecast_sign != 0)
    return float(np.mean(actual_sign[moved] == forecast_sign[moved])) if moved.any() else None


def pinball(actual: ArrayLike, quantile: ArrayLike, level: float) -> float:
    """Mean pinball loss of one quantile, mean max(τ(a - q), (τ - 1)(a - q)), in currency.

    Source: Koenker and Bassett 1978, doi:10.2307/1913643.
    """
    a, q = _equal_shapes(actual=actual, quantile=quantile)
    return float(np.mean(_pinball(a - q, level)))


def crps(actual: ArrayLike, quantiles: ArrayLike) -> float:
    """Continuous ranked probability score from q05 … q95: mean over rows and the 19 levels of twice the pinball loss, in currency.

    Source: Gneiting and Ranjan 2011, doi:10.1198/jbes.2010.08110 (the quantile-weighted form on a grid of levels).

    Args:
        actual: prices, shape (rows,).
        quantiles: q05 … q95, shape (rows, 19).
    """
    return float(np.mean(crps_rows(actual, quantiles)))


def crps_rows(actual: ArrayLike, quantiles: ArrayLike) -> np.ndarray:
    """The CRPS of every row, shape (rows,), in currency; arguments as for `crps`."""
    a, q = np.asarray(actual, dtype=float), np.asarray(quantiles, dtype=float)
    _hold(q.shape == (*a.shape, len(QUANTILES)), "`quantiles` must have 19 columns, a row per actual", f"{q.shape} and {a.shape}")
    _equal_shapes(actual=np.broadcast_to(a[..., None], q.shape), quantiles=q)
    return np.asarray(np.mean(2 * _pinball(a[..., None] - q, np.array(QUANTILES)), axis=-1))


def coverage(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> float:
    """Share of actuals in [lower, upper], 0 … 1."""
    a, low, high = _equal_shapes(actual=actual, lower=lower, upper=upper)
    return float(np.mean((low <= a) & (a <= high)))


def width(lower: ArrayLike, upper: ArrayLike) -> float:
    """Mean of upper - lower, in currency."""
    low, high = _equal_shapes(lower=lower, upper=upper)
    return float(np.mean(high - low))


def winkler(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike, level: float) -> float:
    """Interval score of a central interval: its width plus 2/(1 - level) times the distance to an actual outside it, in currency.

    Source: Gneiting and Raftery 2007, doi:10.1198/016214506000001437.
    """
    a, low, high = _equal_shapes(actual=actual, lower=lower, upper=upper)
    outside = np.maximum(low - a, 0) + np.maximum(a - high, 0)
    return float(np.mean(high - low + 2 / (1 - level) * outside))


def brier(happened: ArrayLike, probability: ArrayLike) -> float:
    """Mean of (probability - happened)², happened being 0 or 1; 0.25 is a coin's.

    Source: Gneiting and Raftery 2007, section 3.1, doi:10.1198/016214506000001437.
    """
    h, p = _equal_shapes(happened=happened, probability=probability)
    return float(np.mean((p - h) ** 2))


def log_loss(happened: ArrayLike, probability: ArrayLike) -> float:
    """Mean of -log(the probability given to what happened), in nats; happened is 0 or 1; 0.693 is a coin's.

    Source: Good 1952, doi:10.1111/j.2517-6161.1952.tb00104.x. Probabilities lie strictly between 0 and 1.
    """
    return float(np.mean(log_loss_rows(happened, probability)))


def log_loss_rows(happened: ArrayLike, probability: ArrayLike) -> np.ndarray:
    """The log loss of every row, shape (rows,), in nats; arguments as for `log_loss`."""
    h, p = _equal_shapes(happened=happened, probability=probability)
    _hold(bool(np.all((p > 0) & (p < 1))), "`probability` must lie strictly between 0 and 1", f"{p.min():g} to {p.max():g}")
    return np.asarray(-np.log(np.where(h > 0, p, 1 - p)))


def probability_above(quantiles: ArrayLike, threshold: ArrayLike) -> np.ndarray:
    """P(price > threshold), linear between the quantiles; outside them the nearest level counts, so 0.05 … 0.95.

    Args:
        quantiles: q05 … q95, non-decreasing, shape (rows, 19), in currency.
        threshold: price of each row, shape (rows,).

    Returns:
        Probabilities, shape (rows,). Where quantiles tie with the threshold, the middle of their levels counts.
    """
    q, t = np.asarray(quantiles, dtype=float), np.asarray(threshold, dtype=float)
    _hold(q.shape == (*t.shape, len(QUANTILES)), "`quantiles` must have 19 columns, a row per threshold", f"{q.shape} and {t.shape}")
    from_left = [np.interp(x, row, QUANTILES) for row, x in zip(q, t, strict=True)]
    from_right = [-np.interp(-x, -row[::-1], np.negative(QUANTILES[::-1])) for row, x in zip(q, t, strict=True)]
    return np.asarray(1 - (np.array(from_left) + np.array(from_right)) / 2)


def skill(score: Score, reference: Score) -> Score:
    """1 - score / reference: the share of the reference's loss that is saved; None where the reference is zero or undefined."""
    return None if score is None or not reference else 1 - score / reference


def mase_scales(prices: pd.DataFrame, train_end: pd.Timestamp, column: str) -> dict[str, float]:
    """Mean absolute one-session change of each ticker over its training span, in currency; filled rows are no observations."""
    seen = prices[(prices[DATE] <= train_end) & ~prices[FILLED] & prices[column].notna()]
    changes = seen.groupby(TICKER, sort=False)[column].diff().abs()
    scales = changes.groupby(seen[TICKER], sort=False).mean().dropna()
    return {str(ticker): float(scale) for ticker, scale in scales.items()}


def score_table(forecasts: pd.DataFrame, scales: Mapping[str, float]) -> dict[str, Scores]:
    """The scores of every model over all rows that have an actual, pooled over tickers and steps.

    Args:
        forecasts: the forecast table; `naive` is in it, and every model has the same tickers, cutoffs and steps.
        scales: MASE scale of each ticker, from `mase_scales`.

    Returns:
        `{model: {"mae": …, "rmse": …, "mape": …, "smape": …, "mase": …, "r2": …, "directional_accuracy": …, "crps": …,
        "coverage_90": …, "width_90": …, "skill_mae": …, "skill_crps": …}}`; skills are against `naive`, whose own are 0.

    Raises:
        StockRNNError: no `naive`, no actual at all, or models that forecast different rows.
    """
    table = {model: _scores(rows, scales) for model, rows in by_model(forecasts).items()}
    reference = table[REFERENCE]
    for scores in table.values():
        scores["skill_mae"] = skill(scores["mae"], reference["mae"])
        scores["skill_crps"] = skill(scores["crps"], reference["crps"])
    return table


def score_groups(forecasts: pd.DataFrame, scales: Mapping[str, float], by: str) -> dict[str, dict[str, Scores]]:
    """A score table for each `ticker`, `step` or `year` (of the session forecast); currency is shared within a ticker only."""
    known = forecasts[forecasts["actual"].notna()]
    return {str(key): score_table(rows, scales) for key, rows in known.groupby(GROUPS[by](known), sort=True)}


def distribution_table(forecasts: pd.DataFrame) -> dict[str, Scores]:
    """The scores of every model's intervals and quantiles over all rows that have an actual.

    Returns:
        `{model: {"coverage_50": …, "width_50": …, "winkler_50": …, (80, 90 likewise), "brier": …, "pinball_q05": … "pinball_q95": …}}`;
        `brier` scores P(price above the cutoff's).
    """
    return {model: _distribution_scores(rows) for model, rows in by_model(forecasts).items()}


def panel_table(forecasts: pd.DataFrame, step: int = 1) -> dict[str, Scores]:
    """How well each model orders the tickers of a panel by their return since the cutoff, date by date.

    Returns:
        `{model: {"ic": …, "rank_ic": …, "icir": …}}`: the mean over dates of the correlation between forecast and actual
        returns across tickers, of the correlation of their ranks, and the mean of the former over its standard deviation.
        Source: Grinold and Kahn 1999, Active Portfolio Management, 2nd ed., chapter 6.
    """
    return {model: _information(rows[rows["step"] == step]) for model, rows in by_model(forecasts).items()}


def by_model(forecasts: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each model that have an actual, sorted alike, with the cutoff's price in a new column `last`.

    Raises:
        StockRNNError: no `naive`, no actual at all, or models that forecast different rows.
    """
    known = forecasts[forecasts["actual"].notna()].sort_values(KEYS, kind="stable")
    tables = {str(model): rows.reset_index(drop=True) for model, rows in known.groupby("model", sort=False)}
    _hold(REFERENCE in tables, "The forecast table must hold rows of `naive` that have an actual", ", ".join(tables) or "no row")
    keys, last = tables[REFERENCE][KEYS], tables[REFERENCE]["forecast"]
    for model, rows in tables.items():
        _hold(rows[KEYS].equals(keys), "Every model must forecast the rows of `naive`", f"others from {model}")
    return {model: rows.assign(last=last) for model, rows in tables.items()}


GROUPS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "ticker": lambda forecasts: forecasts[TICKER],
    "step": lambda forecasts: forecasts["step"],
    "year": lambda forecasts: pd.to_datetime(forecasts[DATE]).dt.year,
}
"""What `score_groups` can group by."""


def _scores(rows: pd.DataFrame, scales: Mapping[str, float]) -> Scores:
    actual, forecast, last = (rows[name].to_numpy(float) for name in ("actual", "forecast", "last"))
    low, high = (rows[name].to_numpy(float) for name in LEVELS[90])
    return {
        "mae": mae(actual, forecast),
        "rmse": rmse(actual, forecast),
        "mape": mape(actual, forecast),
        "smape": smape(actual, forecast),
        "mase": mase(actual, forecast, rows[TICKER].map(scales).to_numpy(float)),
        "r2": r2(actual, forecast, last),
        "directional_accuracy": directional_accuracy(actual, forecast, last),
        "crps": crps(actual, rows[list(QUANTILE_COLUMNS)].to_numpy(float)),
        "coverage_90": coverage(actual, low, high),
        "width_90": width(low, high),
    }


def _distribution_scores(rows: pd.DataFrame) -> Scores:
    actual, last = rows["actual"].to_numpy(float), rows["last"].to_numpy(float)
    scores: Scores = {}
    for percent, columns in LEVELS.items():
        low, high = (rows[name].to_numpy(float) for name in columns)
        scores[f"coverage_{percent}"] = coverage(actual, low, high)
        scores[f"width_{percent}"] = width(low, high)
        scores[f"winkler_{percent}"] = winkler(actual, low, high, percent / 100)
    scores["brier"] = brier(actual > last, probability_above(rows[list(QUANTILE_COLUMNS)].to_numpy(float), last))
    for name, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True):
        scores[f"pinball_{name}"] = pinball(actual, rows[name].to_numpy(float), level)
    return scores


def _information(rows: pd.DataFrame) -> Scores:
    returns = pd.DataFrame({"actual": rows["actual"] / rows["last"] - 1, "forecast": rows["forecast"] / rows["last"] - 1})
    pairs = [pair for _, pair in returns.groupby(rows["cutoff"]) if len(pair) >= 3 and (pair.nunique() > 1).all()]
    if not pairs:
        return {"ic": None, "rank_ic": None, "icir": None}
    daily = np.array([np.corrcoef(pair.to_numpy().T)[0, 1] for pair in pairs])
    ranked = [np.corrcoef(pair.rank().to_numpy().T)[0, 1] for pair in pairs]
    varies = len(daily) > 1 and np.ptp(daily) > 0
    icir = float(daily.mean() / daily.std(ddof=1)) if varies else None
    return {"ic": float(daily.mean()), "rank_ic": float(np.mean(ranked)), "icir": icir}


def _pinball(residual: np.ndarray, level: float | np.ndarray) -> np.ndarray:
    return np.maximum(level * residual, (level - 1) * residual)


def _equal_shapes(**arrays: ArrayLike) -> list[np.ndarray]:
    values = [np.asarray(array, dtype=float) for array in arrays.values()]
    names = ", ".join(f"`{name}`" for name in arrays)
    _hold(all(v.shape == values[0].shape for v in values), f"{names} must have one shape", ", ".join(str(v.shape) for v in values))
    _hold(values[0].size > 0, f"{names} must hold at least one value", "none")
    _hold(all(np.isfinite(v).all() for v in values), f"{names} must be finite", "NaN or infinity")
    return values


def _hold(holds: bool, rule: str, received: str) -> None:
    if not holds:
        raise StockRNNError(f"{rule}. Received: {received}. This is a bug: please report it with the command that shows it.")
