"""The recurrent forecaster: pipeline, networks of one or more seeds, and the readout, behind the one contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.errors import DataError, NotFittedError
from stockrnn.features.pipeline import Pipeline, fit_pipeline
from stockrnn.features.splits import SPAN_NAMES, Spans, label_spans
from stockrnn.features.windows import Windows
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.models.networks import build_network, export_onnx, network_weights, set_network_weights
from stockrnn.models.windowed import Readout, fit_readout, forecast_windows
from stockrnn.training.loop import EpochReport, History, predict_windows, train_network
from stockrnn.types import RowIndex


@dataclass(frozen=True)
class Fitted:
    """What `fit` learns.

    Attributes:
        pipeline: prices → windows and back.
        readout: raw outputs → quantiles.
        members: weights of each network.
        histories: what happened in each epoch of each network.
        windows: number of windows of each learning span.
    """

    pipeline: Pipeline
    readout: Readout
    members: tuple[dict[str, np.ndarray], ...]
    histories: tuple[History, ...]
    windows: dict[str, int]


class RecurrentForecaster(Forecaster):
    """A SimpleRNN, LSTM or GRU network as the config describes it; `name` is its cell."""

    def __init__(self, config: Config, on_epoch: Callable[[EpochReport], None] | None = None) -> None:
        """Store the config and whom to tell about each epoch."""
        self.config = config
        self.on_epoch = on_epoch
        self.name = config.model.cell
        self.horizon = config.window.horizon
        self.column = config.target.column
        self.fitted_: Fitted | None = None
        self._network: Any = None

    def fit(self, prices: pd.DataFrame, spans: Spans) -> Self:
        """Train every member. Raises DataError (too little history) and DivergedError."""
        config = self.config
        pipeline = fit_pipeline(prices, spans, config)
        parts = split_windows(pipeline, prices, spans, config.split.calibration > 0)
        self._network = build_network(
            features=len(pipeline.names),
            lookback=pipeline.lookback,
            horizon=self.horizon,
            model=config.model,
            seed=config.train.seed,
        )
        members, histories = [], []
        for member in range(config.train.ensemble):
            history = train_network(
                self._network,
                parts["train"],
                parts["validation"],
                train_config=config.train,
                head=config.model.head,
                seed=config.train.seed,
                member=member,
                on_epoch=self.on_epoch,
            )
            members.append(network_weights(self._network))
            histories.append(history)
        calibration = parts.get("calibration")
        readout = Readout(config.model.head)
        if calibration is not None:
            readout = fit_readout(config.model.head, self._outputs(calibration, members), calibration.targets[calibration.ends])
        counts = {name: len(windows) for name, windows in parts.items()}
        self.fitted_ = Fitted(pipeline, readout, tuple(members), tuple(histories), counts)
        return self

    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast from each cutoff row, averaging the members' outputs."""
        fitted = self.fitted
        return forecast_windows(fitted.pipeline, fitted.readout, lambda w: self._outputs(w, fitted.members), prices, rows)

    def history_table(self) -> pd.DataFrame:
        """Each epoch of each member: member, epoch, loss, validation_loss, learning_rate, gradient_norm, restored."""
        return pd.concat([history.table() for history in self.fitted.histories], ignore_index=True)

    def weights(self) -> bytes:
        """The members' weights as a safetensors file, named member<k>/<layer>/<weight>."""
        from safetensors.numpy import save  # noqa: PLC0415 (needed once, at the end)

        named = {f"member{k}/{name}": value for k, weights in enumerate(self.fitted.members) for name, value in weights.items()}
        return bytes(save({name: np.ascontiguousarray(named[name]) for name in sorted(named)}))

    def onnx(self) -> bytes:
        """The ensemble as one ONNX model, from windows to the mean of the members' raw outputs."""
        fitted = self.fitted
        return export_onnx(
            features=len(fitted.pipeline.names),
            lookback=fitted.pipeline.lookback,
            horizon=self.horizon,
            model=self.config.model,
            members=fitted.members,
        )

    def outputs(self, windows: Windows) -> np.ndarray:
        """The mean of the members' raw outputs, shape (n, horizon, parameters)."""
        return self._outputs(windows, self.fitted.members)

    @property
    def fitted(self) -> Fitted:
        """What `fit` learnt. Raises NotFittedError before it."""
        if self.fitted_ is None:
            raise NotFittedError(f"{self.name} must be fitted before it forecasts. Received: no fit. Call `fit` first.")
        return self.fitted_

    def _outputs(self, windows: Windows, members: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        total = 0.0
        for weights in members:
            set_network_weights(self._network, weights)
            total = total + predict_windows(self._network, windows).astype(np.float64)
        return np.asarray(total) / len(members)


def split_windows(pipeline: Pipeline, prices: pd.DataFrame, spans: Spans, calibrate: bool) -> dict[str, Windows]:
    """The windows of each learning span: all labels of a window lie in it. Raises DataError where a span has none."""
    prepared = pipeline.prepare(prices)
    windows = prepared.windows
    complete = np.isfinite(windows.targets[windows.ends]).all(axis=1)
    numbers = np.where(complete, label_spans(prepared.cleaned, spans, pipeline.horizon)[windows.ends], -1)
    parts = {}
    for number, name in enumerate(SPAN_NAMES[: 3 if calibrate else 2]):
        parts[name] = windows.pick(numbers == number)
        if len(parts[name]) == 0:
            sessions = int((spans.numbers(prices["date"]) == number).sum())
            raise DataError(
                f"The {name} span must hold a whole window: `window.lookback` {pipeline.lookback} + `window.horizon` {pipeline.horizon} sessions. "
                f"Received: {sessions} sessions. Shorten the window, or give more history."
            )
    return parts
