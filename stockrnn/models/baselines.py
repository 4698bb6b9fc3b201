"""The forecasters a network must beat: the last price and its kin, classical time-series models, volatility models."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from stockrnn.errors import MissingExtraError
from stockrnn.models.forecaster import Forecaster
from stockrnn.models.rules import LEAST_CHANGES, Baseline, BaselineWarning, Changes, Rule, Series, step_quantiles
from stockrnn.models.volatility import Ewma, Garch, Har
from stockrnn.types import CLOSE, QUANTILES

__all__ = ["BASELINES", "Baseline", "BaselineWarning", "default_baselines"]


class Naive(Baseline):
    """The random walk: the last price; its quantiles are the training span's empirical changes of each step."""

    name = "naive"

    def _learn(self, past: Series) -> Rule:
        spread = step_quantiles([past.changes(step) for step in self._steps()])
        return lambda _, at: (np.zeros((len(at), self.horizon)), np.broadcast_to(spread, (len(at), *spread.shape)))


class Drift(Baseline):
    """The last price grown by the training span's mean log change per session.

    Its quantiles are those of `naive`: empirical changes hold their mean already.
    """

    name = "drift"

    def _learn(self, past: Series) -> Rule:
        growth = past.returns()[1:].mean() * np.array(self._steps())
        spread = step_quantiles([past.changes(step) for step in self._steps()])
        return lambda _, at: (np.broadcast_to(growth, (len(at), self.horizon)), np.broadcast_to(spread, (len(at), *spread.shape)))


class MovingAverage(Baseline):
    """The mean of the last 5 prices; its quantiles are the training span's empirical changes from that mean."""

    name = "moving_average"
    sessions: ClassVar[int] = 5

    def _learn(self, past: Series) -> Rule:
        spread = step_quantiles([past.changes(step) - self._offset(past) for step in self._steps()])

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


class Statistical(Baseline):
    """A model of `statsforecast` on log prices, its order and parameters learned once on the past up to the calibration end.

    Every forecast starts from the last 500 observed sessions. The quantiles of a step are those of the errors of the
    forecasts from the past's own last 500 sessions, around the point forecast.
    """

    span = "calibration"
    sessions: ClassVar[int] = 500

    @abc.abstractmethod
    def _model(self) -> Any:
        """The unfitted model."""

    def _learn(self, past: Series) -> Rule:
        model = self._model().fit(np.log(past.price / past.price[0]))
        count = len(past.price)
        at = np.arange(min(max(count - self.sessions, 20), count - self.horizon - LEAST_CHANGES), count)  # some changes must be known
        ahead = self._ahead(model, past, at)
        spread = step_quantiles([past.changes(step)[at] - ahead[:, step - 1] for step in self._steps()])

        def rule(series: Series, at: np.ndarray) -> Changes:
            change = self._ahead(model, series, at)
            return change, change[:, :, None] + spread

        return rule

    def _ahead(self, model: Any, series: Series, at: np.ndarray) -> np.ndarray:
        """Forecast log changes from each position, shape (n, horizon)."""
        changes = np.empty((len(at), self.horizon))
        for row, end in enumerate(at):
            seen = series.price[max(0, end + 1 - self.sessions) : end + 1]
            changes[row] = model.forward(np.log(seen / seen[-1]), h=self.horizon)["mean"]
        return changes


class Arima(Statistical):
    """ARIMA with the order of least AICc. Source: Hyndman and Khandakar 2008, doi:10.18637/jss.v027.i03."""

    name = "arima"

    def _model(self) -> Any:
        return _statsforecast().AutoARIMA(season_length=1)


class Theta(Statistical):
    """The Theta method. Source: Assimakopoulos and Nikolopoulos 2000, doi:10.1016/S0169-2070(00)00066-2."""

    name = "theta"

    def _model(self) -> Any:
        return _statsforecast().Theta(season_length=1)


BASELINES: dict[str, type[Baseline]] = {kind.name: kind for kind in (Naive, Drift, MovingAverage, Rolling, Ewma, Garch, Har, Arima, Theta)}
"""Every baseline by its name."""


def default_baselines(column: str = CLOSE, horizon: int = 1) -> list[Forecaster]:
    """The baselines that stand beside the network in every `train`: the last price, and what is known of volatility."""
    return [BASELINES[name](horizon=horizon, column=column) for name in ("naive", "drift", "ewma", "garch", "har")]


def _statsforecast() -> Any:
    try:
        from statsforecast import models
    except ImportError as error:
        raise MissingExtraError(
            "`arima` and `theta` need the package statsforecast. Received: it is not installed. Install it: pip install 'stockrnn[arima]'"
        ) from error
    return models
