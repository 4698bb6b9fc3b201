"""The forecasters a network must beat: the last price, and the volatility models.

Each learns and forecasts every ticker by itself, in log changes from the cutoff's price, so that scaling a series
scales its forecasts. Rows marked `filled`, and rows without a price, are no observations: neither learning nor a
forecast looks at them. Volatility models make no claim of direction: their point forecast is the last price.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from stockrnn.errors import DataError, NotFittedError
from stockrnn.features.splits import Spans
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.types import CLOSE, DATE, FILLED, HIGH, LOW, QUANTILES, TICKER, RowIndex

LEAST_CHANGES = 10
"""Fewest changes a baseline learns from."""
TINY = 1e-12
"""Least volatility a change is divided by: a constant series has none."""


@dataclass(frozen=True)
class Series:
    """The observed sessions of one ticker.

    Attributes:
        ticker: its name.
        rows: row of each session in the price table, increasing, shape (sessions,).
        price: the forecast price column, in currency, shape (sessions,).
        high: session high, NaN where unknown, shape (sessions,).
        low: session low, NaN where unknown, shape (sessions,).
    """

    ticker: str
    rows: np.ndarray
    price: np.ndarray
    high: np.ndarray
    low: np.ndarray

    def changes(self, step: int) -> np.ndarray:
        """log(p[t+step] / p[t]) of every session t, NaN where the future is unknown, shape (sessions,)."""
        changes = np.full(len(self.price), np.nan)
        changes[:-step] = np.log(self.price[step:] / self.price[:-step])
        return changes

    def returns(self) -> np.ndarray:
        """log(p[t] / p[t-1]) of every session t, 0 for the first, shape (sessions,)."""
        return np.asarray(np.log(self.price / np.concatenate([self.price[:1], self.price[:-1]])))


Changes = tuple[np.ndarray, np.ndarray]
Rule = Callable[[Series, np.ndarray], Changes]
"""From a series and positions in it to log changes: point (n, horizon), and quantiles (n, horizon, 19)."""


class Baseline(Forecaster):
    """What the baselines share: one learned rule a ticker, applied to the observed sessions up to each cutoff."""

    span: ClassVar[str] = "train"
    """The last span it learns from."""

    def __init__(self, horizon: int = 1, column: str = CLOSE) -> None:
        """Forecast `horizon` sessions of the price `column`."""
        self.horizon = horizon
        self.column = column
        self._rules: dict[str, Rule] | None = None

    def fit(self, prices: pd.DataFrame, spans: Spans) -> Baseline:
        """Learn one rule for each ticker with at least horizon + 10 observed sessions up to the end of `span`."""
        past = prices[(prices[DATE] <= dict(spans.ends())[self.span]).to_numpy()]
        enough = (series for series in _observed(past, self.column) if len(series.price) >= self.horizon + LEAST_CHANGES)
        self._rules = {series.ticker: self._learn(series) for series in enough}
        return self

    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast from cutoff rows, in any order.

        Raises:
            NotFittedError: before `fit`.
            DataError: a cutoff's ticker had too little history to learn from.
        """
        if self._rules is None:
            raise NotFittedError(f"`{self.name}` must be fitted before it forecasts. Received: no `fit` yet. Call `fit` first.")
        point = np.empty((len(rows), self.horizon))
        quantiles = np.empty((len(rows), self.horizon, len(QUANTILES)))
        tickers = prices[TICKER].to_numpy()[rows]
        for series in _observed(prices[prices[TICKER].isin(np.unique(tickers))], self.column):
            mine = tickers == series.ticker
            at = np.searchsorted(series.rows, rows[mine], side="right") - 1
            change, spread = self._rule_of(series.ticker)(series, at)
            last = series.price[at]
            point[mine] = last[:, None] * np.exp(change)
            quantiles[mine] = np.maximum.accumulate(last[:, None, None] * np.exp(spread), axis=-1)
        return Forecast(rows, point, quantiles)

    @abc.abstractmethod
    def _learn(self, past: Series) -> Rule:
        """The rule learned from one ticker's past."""

    def _rule_of(self, ticker: str) -> Rule:
        rules = self._rules or {}
        if ticker not in rules:
            raise DataError(
                f"`{self.name}` needs {self.horizon + LEAST_CHANGES} observed sessions in the {self.span} span. "
                f"Received: fewer for {ticker}. Give more history or leave the ticker out."
            )
        return rules[ticker]

    def _scaled(self, past: Series, volatility: Callable[[Series], np.ndarray]) -> Rule:
        """The rule whose quantiles are a volatility, shape (sessions, horizon), times the past's standardised changes."""
        scale = np.maximum(volatility(past), TINY)
        spread = _step_quantiles([past.changes(step) / scale[:, step - 1] for step in self._steps()])

        def rule(series: Series, at: np.ndarray) -> Changes:
            ahead = np.maximum(volatility(series)[at], TINY)
            return np.zeros((len(at), self.horizon)), ahead[:, :, None] * spread

        return rule

    def _steps(self) -> range:
        return range(1, self.horizon + 1)


class Naive(Baseline):
    """The random walk: the last price; its quantiles are the training span's empirical changes of each step."""

    name = "naive"

    def _learn(self, past: Series) -> Rule:
        spread = _step_quantiles([past.changes(step) for step in self._steps()])
        return lambda _, at: (np.zeros((len(at), self.horizon)), np.broadcast_to(spread, (len(at), *spread.shape)))


class Drift(Baseline):
    """The last price grown by the training span's mean log change per session.

    Its quantiles are those of `naive`: empirical changes hold their mean already.
    """

    name = "drift"

    def _learn(self, past: Series) -> Rule:
        growth = past.returns()[1:].mean() * np.array(self._steps())
        spread = _step_quantiles([past.changes(step) for step in self._steps()])
        return lambda _, at: (np.broadcast_to(growth, (len(at), self.horizon)), np.broadcast_to(spread, (len(at), *spread.shape)))


class MovingAverage(Baseline):
    """The mean of the last 5 prices; its quantiles are the training span's empirical changes from that mean."""

    name = "moving_average"
    sessions: ClassVar[int] = 5

    def _learn(self, past: Series) -> Rule:
        spread = _step_quantiles([past.changes(step) - self._offset(past) for step in self._steps()])

        def rule(series: Series, at: np.ndarray) -> Changes:
            offset = self._offset(series)[at]
            return np.repeat(offset[:, None], self.horizon, axis=1), offset[:, None, None] + spread

        return rule

    def _offset(self, series: Series) -> np.ndarray:
        """log(mean of the last prices / last price) of every session."""
        mean = pd.Series(series.price).rolling(self.sessions, min_periods=1).mean().to_numpy()
        return np.asarray(np.log(mean / series.price))


class Rolling(Baseline):
    """Around the last price, the empirical quantiles of the last 250 changes of each step known at the cutoff.

    It learns nothing: a cutoff early in the file uses the changes there are, and without any has no width.
    """

    name = "rolling"
    sessions: ClassVar[int] = 250

    def _learn(self, past: Series) -> Rule:  # noqa: ARG002 - the contract's argument; nothing is learned
        def rule(series: Series, at: np.ndarray) -> Changes:
            spread = np.stack([self._quantiles(series, step)[at] for step in self._steps()], axis=1)
            return np.zeros((len(at), self.horizon)), spread

        return rule

    def _quantiles(self, series: Series, step: int) -> np.ndarray:
        """Quantiles of the changes that ended at or before each session, shape (sessions, 19)."""
        ended = pd.Series(series.changes(step)).shift(step).rolling(self.sessions, min_periods=1)
        return np.stack([ended.quantile(level).fillna(0.0).to_numpy() for level in QUANTILES], axis=-1)


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
            variance = _decayed(series.returns() ** 2, self.decay, start)
            return np.repeat(np.sqrt(variance)[:, None], self.horizon, axis=1)

        return self._scaled(past, volatility)


class Har(Baseline):
    """HAR: the log variance of the next h sessions, regressed on its last 1, 5 and 22 sessions.

    The variance of a session is Parkinson's, log(high/low)² / (4 log 2); its squared return in a file without high and
    low. Each step has its own ordinary least squares; the quantiles are those of the changes divided by the forecast
    volatility, both over the past up to the calibration end.

    Sources: Corsi 2009, doi:10.1093/jjfinec/nbp001; Parkinson 1980, doi:10.1086/296071.
    """

    name = "har"
    span = "calibration"
    terms: ClassVar[tuple[int, ...]] = (1, 5, 22)

    def _learn(self, past: Series) -> Rule:
        has_range = bool(np.mean(np.isfinite(past.high) & np.isfinite(past.low)) >= 0.9)
        seen = _session_variance(past, has_range)
        floor = max(0.01 * float(np.nanmedian(seen)), TINY**2)
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
    quantiles, in an order drawn once from a fixed seed, the same for every cutoff. A ticker whose fit does not converge
    gets RiskMetrics' variance (a = 0.06, b = 0.94), and a `BaselineWarning` says so.

    Sources: Glosten, Jagannathan and Runkle 1993, doi:10.1111/j.1540-6261.1993.tb05128.x; Barone-Adesi, Giannopoulos
    and Vosper 1999, doi:10.1002/(SICI)1096-9934(199908)19:5<583::AID-FUT5>3.0.CO;2-S.
    """

    name = "garch"
    span = "calibration"
    paths: ClassVar[int] = 2001
    """A multiple of 20 and one more: then the one-step quantiles are those of the shocks exactly."""

    def _learn(self, past: Series) -> Rule:
        model = _fit_gjr(past)
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
        return _decayed(self.after(series.returns() - self.mean) / (1 - self.beta), self.beta, self.start)

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


class BaselineWarning(UserWarning):
    """A baseline could not be fitted as described; the message says what stands in its place."""


BASELINES: dict[str, type[Baseline]] = {kind.name: kind for kind in (Naive, Drift, Ewma, MovingAverage, Rolling, Garch, Har)}
"""Every baseline by its name."""


def default_baselines(column: str = CLOSE, horizon: int = 1) -> list[Forecaster]:
    """The baselines that stand beside the network in every `train`."""
    return [BASELINES[name](horizon=horizon, column=column) for name in ("naive", "drift", "ewma")]


def _observed(prices: pd.DataFrame, column: str) -> Iterator[Series]:
    """The observed sessions of each ticker; a table without rows has none."""
    rows = np.flatnonzero(~prices[FILLED].to_numpy(bool) & prices[column].notna().to_numpy())
    numbers, tickers = prices.index.to_numpy(), prices[TICKER].to_numpy()[rows]
    values = {name: prices[name].to_numpy(float) for name in {column, HIGH, LOW}}
    for part in np.split(rows, np.flatnonzero(tickers[1:] != tickers[:-1]) + 1):
        if len(part):
            ticker = str(prices[TICKER].to_numpy()[part[0]])
            yield Series(ticker, numbers[part], values[column][part], values[HIGH][part], values[LOW][part])


def _step_quantiles(changes: list[np.ndarray]) -> np.ndarray:
    """q05 … q95 of the known changes of each step, shape (horizon, 19)."""
    return np.stack([np.quantile(change[np.isfinite(change)], QUANTILES) for change in changes])


def _decayed(values: np.ndarray, decay: float, start: float) -> np.ndarray:
    """y[t] = decay y[t-1] + (1 - decay) values[t], with y[0] = start, shape (sessions,)."""
    begun = np.concatenate([[start], values[1:]])
    return pd.Series(begun).ewm(alpha=1 - decay, adjust=False).mean().to_numpy()


def _session_variance(series: Series, has_range: bool) -> np.ndarray:
    """Variance of each session's log return, shape (sessions,); NaN where the range is unknown, or the first return."""
    if has_range:
        return np.asarray(np.log(series.high / series.low) ** 2 / (4 * np.log(2)))
    return np.concatenate([[np.nan], series.returns()[1:] ** 2])


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


def _fit_gjr(past: Series) -> Gjr:
    """Fit `garch` on one ticker's past; RiskMetrics' variance where that fails. Returns are fitted in units of their deviation."""
    from arch import arch_model  # noqa: PLC0415 - statsmodels and its numba come only where a GARCH is fitted

    returns = past.returns()[1:]
    unit = float(returns.std())
    if unit > TINY:
        fitted = arch_model(returns / unit, vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False).fit(disp="off", show_warning=False)
        mean, omega, alpha, gamma, beta, _ = (float(value) for value in fitted.params)
        if fitted.convergence_flag == 0 and np.isfinite([mean, omega, alpha, gamma, beta]).all() and beta < 1:
            return Gjr(mean * unit, omega * unit**2, alpha, gamma, beta, unit**2)
    message = f"garch did not converge on {past.ticker}; its variance there is RiskMetrics' (0.06, 0.94)."
    warnings.warn(message, BaselineWarning, stacklevel=2)
    return Gjr(0.0, 0.0, 0.06, 0.0, 0.94, max(unit, TINY) ** 2)
