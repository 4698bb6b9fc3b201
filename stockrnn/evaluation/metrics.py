"""Scores of a forecast: each a formula of its own. An undefined score is None, never NaN.

Where a score is the mean of a loss of every row, the loss has a function of its own, whose name ends in `_rows`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from stockrnn.errors import StockRNNError
from stockrnn.types import DATE, FILLED, QUANTILES, TICKER

ArrayLike = npt.ArrayLike
Score = float | None
Scores = dict[str, Score]

KEYS = [TICKER, "cutoff", "step"]
REFERENCE = "naive"
LEVELS = {50: ("q25", "q75"), 80: ("q10", "q90"), 90: ("q05", "q95")}
"""The central intervals that are scored: nominal level in percent, and its two quantile columns."""
ROUNDING = 1e-20
"""Share of a sum of squares up to which the squares around the mean are what rounding leaves of a constant."""


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
    return float(1 - np.sum((moved - expected) ** 2) / spread) if spread > ROUNDING * np.sum(moved**2) else None


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
    return float(np.mean(pinball_rows(a - q, level)))


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
    return np.asarray(2 * np.mean(quantile_losses(actual, quantiles), axis=-1))


def quantile_losses(actual: ArrayLike, quantiles: ArrayLike) -> np.ndarray:
    """The pinball loss of each of q05 … q95 in every row, shape (rows, 19), in currency; arguments as for `crps`."""
    a, q = np.asarray(actual, dtype=float), np.asarray(quantiles, dtype=float)
    _hold(q.shape == (*a.shape, len(QUANTILES)), "`quantiles` must have 19 columns, a row per actual", f"{q.shape} and {a.shape}")
    _equal_shapes(actual=np.broadcast_to(a[..., None], q.shape), quantiles=q)
    return pinball_rows(a[..., None] - q, np.array(QUANTILES))


def pinball_rows(residual: np.ndarray, level: float | np.ndarray) -> np.ndarray:
    """max(τ d, (τ - 1) d) of each residual d = actual - quantile, in currency."""
    return np.maximum(level * residual, (level - 1) * residual)


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
    return float(np.mean(winkler_rows(actual, lower, upper, level)))


def winkler_rows(actual: ArrayLike, lower: ArrayLike, upper: ArrayLike, level: float) -> np.ndarray:
    """The interval score of every row, shape (rows,), in currency; arguments as for `winkler`."""
    a, low, high = _equal_shapes(actual=actual, lower=lower, upper=upper)
    outside = np.maximum(low - a, 0) + np.maximum(a - high, 0)
    return np.asarray(high - low + 2 / (1 - level) * outside)


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
    levels, last = np.array(QUANTILES), len(QUANTILES) - 1
    row = np.arange(len(t))
    below, above = (q <= t[:, None]).sum(axis=1) - 1, (q < t[:, None]).sum(axis=1)
    left, right = np.clip(below, 0, last), np.clip(above, 0, last)
    gap_left, gap_right = (q[row, np.minimum(at + 1, last)] - q[row, np.maximum(at, 0)] for at in (below, above - 1))
    inside_left, inside_right = (below >= 0) & (below < last), (above > 0) & (above <= last)
    step = levels[1] - levels[0]
    up = np.where(inside_left, step * (t - q[row, left]) / np.where(inside_left, gap_left, 1.0), 0.0)
    down = np.where(inside_right, step * (q[row, right] - t) / np.where(inside_right, gap_right, 1.0), 0.0)
    return np.asarray(1 - (levels[left] + up + levels[right] - down) / 2)


def skill(score: Score, reference: Score) -> Score:
    """1 - score / reference: the share of the reference's loss that is saved; None where the reference is zero or undefined."""
    return None if score is None or not reference else 1 - score / reference


def mase_scales(prices: pd.DataFrame, train_end: pd.Timestamp, column: str) -> dict[str, float]:
    """Mean absolute one-session change of each ticker over its training span, in currency; filled rows are no observations."""
    seen = prices[(prices[DATE] <= train_end) & ~prices[FILLED] & prices[column].notna()]
    changes = seen.groupby(TICKER, sort=False)[column].diff().abs()
    scales = changes.groupby(seen[TICKER], sort=False).mean().dropna()
    return {str(ticker): float(scale) for ticker, scale in scales.items()}


def by_model(forecasts: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each model that have an actual, sorted alike, with the cutoff's price in a new column `last`.

    Raises:
        StockRNNError: no `naive`, no actual at all, or models that forecast different rows.
    """
    known = forecasts["actual"].notna().to_numpy()
    models, names = pd.factorize(forecasts["model"])
    rows, models = (forecasts, models) if known.all() else (forecasts[known], models[known])
    keys = np.array([pd.factorize(rows[key], sort=True)[0] for key in KEYS])
    order = np.lexsort([*keys[::-1], models])
    rows, keys = rows.take(order), keys[:, order]  # one sort for all models
    ends = np.bincount(models, minlength=len(names)).cumsum()
    spans = {str(name): slice(start, end) for name, start, end in zip(names, [0, *ends], ends, strict=False) if start < end}
    _hold(REFERENCE in spans, "The forecast table must hold rows of `naive` that have an actual", ", ".join(spans) or "no row")
    last, tables = rows["forecast"].to_numpy()[spans[REFERENCE]], {}
    for model, span in spans.items():
        same = np.array_equal(keys[:, span], keys[:, spans[REFERENCE]])
        _hold(same, "Every model must forecast the rows of `naive`", f"others from {model}")
        tables[model] = rows[span].reset_index(drop=True)
        tables[model]["last"] = last
    return tables


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
