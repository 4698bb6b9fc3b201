"""The recurrent forecaster: pipeline, networks of one or more seeds, and the readout, behind the one contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.errors import DataError, NotFittedError
from stockrnn.features.pipeline import Pipeline, fit_pipeline
from stockrnn.features.splits import SPAN_NAMES, Spans, label_spans
from stockrnn.features.windows import Windows
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.models.networks import NetworkSpec, build_network, export_onnx, network_weights, set_network_weights
from stockrnn.models.seeds import derive_seed
from stockrnn.models.windowed import Readout, fit_readout, forecast_windows
from stockrnn.training.checkpoint import Checkpoint
from stockrnn.training.loop import EpochReport, History, predict_windows, train_network
from stockrnn.types import RowIndex


@dataclass(frozen=True)
class Fitted:
    """What `fit` learns.

    Attributes:
        pipeline: prices → windows and back.
        readout: raw outputs → quantiles.
        spec: shape of every member.
        members: weights of each network.
        histories: what happened in each epoch of each network.
        windows: number of windows of each learning span.
    """

    pipeline: Pipeline
    readout: Readout
    spec: NetworkSpec
    members: tuple[dict[str, np.ndarray], ...]
    histories: tuple[History, ...]
    windows: dict[str, int]


class RecurrentForecaster(Forecaster):
    """A SimpleRNN, LSTM or GRU network as the config describes it; `name` is its cell."""

    def __init__(
        self, config: Config, on_epoch: Callable[[EpochReport], None] | None = None, checkpoints: Path | None = None
    ) -> None:
        """Store the config, whom to tell about each epoch, and the folder where the state of an unfinished training is kept."""
        self.config = config
        self.on_epoch = on_epoch
        self.checkpoints = checkpoints
        self.name = config.model.cell
        self.horizon = config.window.horizon
        self.column = config.target.column
        self.fitted_: Fitted | None = None

    def fit(self, prices: pd.DataFrame, spans: Spans) -> RecurrentForecaster:
        """Train every member. Raises DataError (too little history) and DivergedError."""
        config = self.config
        pipeline = fit_pipeline(prices, spans, config)
        parts = split_windows(pipeline, prices, spans, config.split.calibration > 0)
        spec = NetworkSpec(len(pipeline.names), pipeline.lookback, self.horizon, config.model)
        members, histories = [], []
        for member in range(config.train.ensemble):
            network = build_network(**vars(spec), seed=derive_seed(config.train.seed, "member", member))
            histories.append(
                train_network(
                    network,
                    parts["train"],
                    parts["validation"],
                    train_config=config.train,
                    head=config.model.head,
                    seed=config.train.seed,
                    member=member,
                    on_epoch=self.on_epoch,
                    checkpoint=self.checkpoints and Checkpoint(self.checkpoints / f"member{member}"),
                )
            )
            members.append(network_weights(network))
        readout = Readout(config.model.head)
        if "calibration" in parts:
            windows = parts["calibration"]
            readout = fit_readout(config.model.head, mean_outputs(spec, members, windows), windows.targets[windows.ends])
        counts = {name: len(windows) for name, windows in parts.items()}
        self.fitted_ = Fitted(pipeline, readout, spec, tuple(members), tuple(histories), counts)
        return self

    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast from each cutoff row, averaging the members' outputs."""
        fitted = self.fitted
        return forecast_windows(fitted.pipeline, fitted.readout, self.outputs, prices, rows)

    def history_table(self) -> pd.DataFrame:
        """Each epoch of each member: member, epoch, loss, validation_loss, learning_rate, gradient_norm, restored."""
        names = ["member", "epoch", "loss", "validation_loss", "learning_rate", "gradient_norm"]
        tables = [
            pd.DataFrame([{name: getattr(report, name) for name in names} for report in history.epochs]).assign(
                restored=lambda table, best=history.restored_epoch: table["epoch"] == best
            )
            for history in self.fitted.histories
        ]
        return pd.concat(tables, ignore_index=True)

    def weights(self) -> bytes:
        """The members' weights as a safetensors file, named member<k>/<layer>/<weight>."""
        from safetensors.numpy import save  # noqa: PLC0415 (needed once, at the end)

        named = {f"member{k}/{name}": value for k, weights in enumerate(self.fitted.members) for name, value in weights.items()}
        return bytes(save({name: np.ascontiguousarray(named[name]) for name in sorted(named)}))

    def onnx(self) -> bytes:
        """The ensemble as one ONNX model, from windows to the mean of the members' raw outputs."""
        return export_onnx(**vars(self.fitted.spec), members=self.fitted.members)

    def outputs(self, windows: Windows) -> np.ndarray:
        """The mean of the members' raw outputs, shape (n, horizon, parameters)."""
        return mean_outputs(self.fitted.spec, self.fitted.members, windows)

    @property
    def fitted(self) -> Fitted:
        """What `fit` learnt. Raises NotFittedError before it."""
        if self.fitted_ is None:
            raise NotFittedError(f"{self.name} must be fitted before it forecasts. Received: no fit. Call `fit` first.")
        return self.fitted_


def restore(config: Config, state: Mapping[str, Any], weights: bytes) -> RecurrentForecaster:
    """The forecaster of a finished run, from its config, scaler.json and weights.safetensors. Raises RunDamagedError."""
    from safetensors.numpy import load  # noqa: PLC0415 (needed here and in `weights` only)

    pipeline, readout = Pipeline.from_dict(state["pipeline"]), Readout.from_dict(state["readout"])
    spec = NetworkSpec(len(pipeline.names), pipeline.lookback, pipeline.horizon, config.model)
    members: list[dict[str, np.ndarray]] = [{} for _ in range(config.train.ensemble)]
    for name, value in load(weights).items():
        member, _, weight = name.removeprefix("member").partition("/")
        members[int(member)][weight] = value
    forecaster = RecurrentForecaster(config)
    forecaster.fitted_ = Fitted(pipeline, readout, spec, tuple(members), (), {})
    return forecaster


def mean_outputs(spec: NetworkSpec, members: Sequence[dict[str, np.ndarray]], windows: Windows) -> np.ndarray:
    """The mean over the members of their raw outputs, float64, shape (n, horizon, parameters)."""
    network = build_network(**vars(spec), seed=0)
    total = np.zeros((len(windows), spec.horizon, 1))
    for weights in members:
        set_network_weights(network, weights)
        total = total + predict_windows(network, windows).astype(np.float64)
    return total / len(members)


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
