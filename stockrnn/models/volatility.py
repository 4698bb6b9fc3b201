"""Volatility models: how wide the next days are, from the size of the last ones.

They make no claim of direction: their point forecast is the last price.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from stockrnn.models.rules import TINY, Baseline, BaselineWarning, Changes, Rule, Series
from stockrnn.types import QUANTILES

MOST_SHOCK = 1000.0
"""A fit is refused if the mean square of the past's shocks reaches this, as it may for a price that hardly ever moves."""
MOST_USUAL = 2.0
"""The same without the largest 1 % of squares, which typing errors make: below 1 where the model fits (0.72 to 0.90 on twelve series)."""
MOST_LOSS = 1.1
"""A fit is refused if its pinball loss on the past is over so many times that of a constant variance: 0.95 to 1 times on the twelve series,
up to 1.04 with a price ten times too large in them, and 1.2 to 9,000 times where a price seldom moves."""


class Ewma(Baseline):
    """RiskMetrics volatility around the last price: v[t] = 0.94 v[t-1] + 0.06 r[t]².

    The quantiles of step h are those of the training span's h-step changes divided by the volatility at their cutoff.
    Residuals of each step, not sqrt(h) times those of one: the growth of variance with h and the thinner tails of
    longer changes are then measured, not assumed.

    Source: J.P. Morgan/Reuters, RiskMetrics Technical Document, 4th ed. 1996.
    """

    name = "ewma"
    decay: ClassVar[float] = 0.94

    def _learn(self, past: Series) -> Rule:
        start = float(np.mean(past.returns()[1:] ** 2))

        def volatility(series: Series) -> np.ndarray:
            variance = decayed(series.returns() ** 2, self.decay, start)
            return np.repeat(np.sqrt(variance)[:, None], self.horizon, axis=1)

        return self._scaled(past, volatility)


class Har(Baseline):
    """HAR: the log variance of the next h sessions, regressed on its last 1, 5 and 22 sessions.

    The variance of a session is Parkinson's, log(high/low)² / (4 log 2); its squared return in a file whose highs and lows are
    missing, or repeat the close, in more than a tenth of the sessions. Each step has its own ordinary least squares; the
    quantiles are those of the changes divided by the forecast volatility, both over the past up to the calibration end.

    Sources: Corsi 2009, doi:10.1093/jjfinec/nbp001; Parkinson 1980, doi:10.1086/296071.
    """

    name = "har"
    span = "calibration"
    terms: ClassVar[tuple[int, ...]] = (1, 5, 22)

    def _learn(self, past: Series) -> Rule:
        has_range = bool(np.mean((past.high > past.low) | ((past.high == past.low) & (past.returns() == 0.0))) >= 0.9)
        seen = _session_variance(past, has_range)
        floor = max(0.01 * _usual(seen), TINY**2)
        weights = [
            _least_squares(self._regressors(past, has_range, floor), _mean_ahead(past, has_range, floor, step)) for step in self._steps()
        ]

        def volatility(series: Series) -> np.ndarray:
            regressors = self._regressors(series, has_range, floor)
            return np.stack([np.exp(0.5 * sum(w * x for w, x in zip(ws, regressors, strict=True))) for ws in weights], axis=1)

        return self._scaled(past, volatility)

    def _regressors(self, series: Series, has_range: bool, floor: float) -> list[np.ndarray]:
        """One, and the mean log variance of the last 1, 5 and 22 sessions: four arrays of shape (sessions,)."""
        logs = _log_variance(series, has_range, floor)
        return [np.ones(len(logs)), *(logs.rolling(term, min_periods=1).mean().to_numpy() for term in self.terms)]


class Garch(Baseline):
    """GJR-GARCH(1,1) with Student-t likelihood and filtered historical simulation.

    r = m + e, e = sqrt(v) z, v' = w + (a + g [e < 0]) e² + b v. Parameters are fitted once on the past up to the
    calibration end, then the variance is filtered forward. The shocks z of the simulation are the past's own: their
    quantiles, in an order drawn once from a fixed seed, the same for every cutoff. A ticker whose fit does not converge, leaves
    shocks far from unit size, or tells less of the past than a constant variance gets RiskMetrics' (a = 0.06, b = 0.94), or a
    constant one where that does so too, and a `BaselineWarning` says so.

    Sources: Glosten, Jagannathan and Runkle 1993, doi:10.1111/j.1540-6261.1993.tb05128.x; Barone-Adesi, Giannopoulos
    and Vosper 1999, doi:10.1002/(SICI)1096-9934(199908)19:5<583::AID-FUT5>3.0.CO;2-S.
    """

    name = "garch"
    span = "calibration"
    paths: ClassVar[int] = 2001
    """A multiple of 20 and one more: then the one-step quantiles are those of the shocks exactly."""

    def _learn(self, past: Series) -> Rule:
        model = fit_gjr(past)
        residuals = past.returns()[1:] - model.mean
        pool = np.quantile(residuals / np.sqrt(model.next_variance(past)[:-1]), np.linspace(0, 1, self.paths))
        shocks = np.stack([np.random.default_rng(step).permutation(pool) for step in self._steps()], axis=1)

        def rule(series: Series, at: np.ndarray) -> Changes:
            start = model.next_variance(series)[at]
            pieces = [model.simulate(start[first : first + 256], shocks) for first in range(0, len(at), 256)]
            return np.zeros((len(at), self.horizon)), np.concatenate(pieces)

        return rule


@dataclass(frozen=True)
class Gjr:
    """Parameters of `garch`, for log returns."""

    mean: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    start: float
    """Variance before the first return."""

    def after(self, shock: np.ndarray) -> np.ndarray:
        """What a shock adds to the next variance."""
        return np.asarray(self.omega + (self.alpha + self.gamma * (shock < 0)) * shock**2)

    def next_variance(self, series: Series) -> np.ndarray:
        """Variance of the session after each, shape (sessions,)."""
        return decayed(self.after(series.returns() - self.mean) / (1 - self.beta), self.beta, self.start)

    def fits(self, past: Series) -> bool:
        """Whether the past's shocks (returns in units of their expected deviation) are near unit size, and their quantiles useful."""
        residuals = past.returns()[1:] - self.mean
        with np.errstate(all="ignore"):  # of a variance that is none, nothing is near or of use
            deviation = np.sqrt(self.next_variance(past)[:-1])
            squares = np.sort((residuals / deviation) ** 2)
            loss, constant = (_pinball_loss(residuals, each) for each in (deviation, np.ones(len(residuals))))
        usual = squares[: len(squares) - len(squares) // 100]
        return bool(squares.mean() < MOST_SHOCK and usual.mean() < MOST_USUAL and loss <= MOST_LOSS * constant)

    def simulate(self, variance: np.ndarray, shocks: np.ndarray) -> np.ndarray:
        """Quantiles of the summed log returns. From (n,) variances and (paths, horizon) shocks: shape (n, horizon, 19)."""
        ahead = np.repeat(variance[:, None], len(shocks), axis=1)
        total = np.zeros_like(ahead)
        quantiles = []
        for shock in shocks.T:
            moved = np.sqrt(ahead) * shock
            total = total + self.mean + moved
            ahead = self.after(moved) + self.beta * ahead
            quantiles.append(np.quantile(total, QUANTILES, axis=1).T)
        return np.stack(quantiles, axis=1)


def decayed(values: np.ndarray, decay: float, start: float) -> np.ndarray:
    """y[t] = decay y[t-1] + (1 - decay) values[t], with y[0] = start, shape (sessions,)."""
    begun = np.concatenate([[start], values[1:]])
    return pd.Series(begun).ewm(alpha=1 - decay, adjust=False).mean().to_numpy()


def _pinball_loss(residuals: np.ndarray, deviation: np.ndarray) -> float:
    """Mean pinball loss of q05 … q95 of the shocks, residuals in units of their deviation, both of shape (sessions,)."""
    shocks, levels = residuals / deviation, np.array(QUANTILES)
    error = shocks[:, None] - np.quantile(shocks, levels)
    return float(np.mean(deviation[:, None] * np.maximum(levels * error, (levels - 1.0) * error)))


def _session_variance(series: Series, has_range: bool) -> np.ndarray:
    """Variance of each session's log return, shape (sessions,); NaN where the range is unknown, or the first return."""
    if has_range:
        return np.asarray(np.log(series.high / series.low) ** 2 / (4 * np.log(2)))
    return np.concatenate([[np.nan], series.returns()[1:] ** 2])


def _usual(variance: np.ndarray) -> float:
    """The median of the sessions' variance; of those that moved where most did not, 0 where none did."""
    moved = variance[variance > 0.0]
    return float(np.nanmedian(variance) or (np.median(moved) if len(moved) else 0.0))


def _log_variance(series: Series, has_range: bool, floor: float) -> pd.Series:
    """Log variance of each session; an unknown one repeats the last, a leading one is the floor's."""
    known = pd.Series(_session_variance(series, has_range)).ffill().fillna(floor)
    return known.clip(lower=floor).apply(np.log)


def _mean_ahead(series: Series, has_range: bool, floor: float, step: int) -> np.ndarray:
    """Log of the mean variance of the next `step` sessions, NaN where unknown, shape (sessions,)."""
    variance = _log_variance(series, has_range, floor).apply(np.exp)
    ahead = variance.rolling(step).mean().shift(-step).clip(lower=floor)
    return np.asarray(np.log(ahead.to_numpy()))


def _least_squares(regressors: list[np.ndarray], target: np.ndarray) -> np.ndarray:
    """Weights of the regressors where the target is known, shape (regressors,)."""
    known = np.isfinite(target)
    return np.asarray(np.linalg.lstsq(np.stack(regressors, axis=1)[known], target[known])[0])


def fit_gjr(past: Series) -> Gjr:
    """Fit `garch` on one ticker's past, in units of its deviation; where that fails, RiskMetrics' variance or a constant one."""
    from arch import arch_model

    returns = past.returns()[1:]
    unit = float(returns.std())
    if unit > TINY:
        fitted = arch_model(returns / unit, vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False).fit(disp="off", show_warning=False)
        mean, omega, alpha, gamma, beta, _ = (float(value) for value in fitted.params)
        if fitted.convergence_flag == 0 and np.isfinite([mean, omega, alpha, gamma, beta]).all() and beta < 1:
            model = Gjr(mean * unit, omega * unit**2, alpha, gamma, beta, unit**2)
            if model.fits(past):
                return model
    start = max(unit, TINY) ** 2
    model, its = Gjr(0.0, 0.0, 0.06, 0.0, 0.94, start), "RiskMetrics' (0.06, 0.94)"
    if not model.fits(past):
        model, its = Gjr(0.0, start, 0.0, 0.0, 0.0, start), "that of its past"
    warnings.warn(f"garch did not converge on {past.ticker}; its variance there is {its}.", BaselineWarning, stacklevel=2)
    return model
