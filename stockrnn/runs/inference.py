"""A finished run as a forecaster, without TensorFlow: the ONNX model with its pipeline and readout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stockrnn.errors import RunDamagedError
from stockrnn.features.pipeline import Pipeline
from stockrnn.features.splits import Spans
from stockrnn.features.windows import Windows
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.models.panel import SeparateForecaster
from stockrnn.models.windowed import Readout, forecast_windows
from stockrnn.runs.directory import Run
from stockrnn.types import RowIndex

BATCH = 1024
TOLERANCE = 1e-5
"""Largest relative difference between the exported model and Keras at which the exported one is trusted."""


def load_forecaster(run: Run) -> Forecaster:
    """The forecaster of a run, without TensorFlow. Raises RunDamagedError."""
    parts = {}
    for part in run.json("scaler.json")["parts"]:
        try:
            pipeline, readout = Pipeline.from_dict(part["pipeline"]), Readout.from_dict(part["readout"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunDamagedError(f"{run.folder / 'scaler.json'} must hold pipelines and readouts. Received: {error!r}.") from None
        parts[part["ticker"]] = OnnxForecaster(run.config.model.cell, pipeline, readout, run.read(part["model"]))
    return parts[""] if "" in parts else SeparateForecaster(lambda ticker: parts[ticker], parts)


class OnnxForecaster(Forecaster):
    """One exported network with its pipeline and readout; its learning is done."""

    def __init__(self, name: str, pipeline: Pipeline, readout: Readout, model: bytes) -> None:
        """Open the model. Raises RunDamagedError."""
        self.name, self.horizon, self.column = name, pipeline.horizon, pipeline.column
        self.pipeline, self.readout = pipeline, readout
        self._session = open_session(model)

    def fit(self, prices: pd.DataFrame, spans: Spans) -> OnnxForecaster:  # noqa: ARG002 (the contract's arguments)
        """Return self: the run was fitted when it was trained."""
        return self

    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast from each cutoff row."""
        return forecast_windows(self.pipeline, self.readout, self._outputs, prices, rows)

    def _outputs(self, windows: Windows) -> np.ndarray:
        return run_session(self._session, windows)


def open_session(model: bytes) -> Any:
    """An ONNX Runtime session on one thread, silent. Raises RunDamagedError for a model it refuses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except (
        onnxruntime.capi.onnxruntime_pybind11_state.Fail,
        onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
        onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
        onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    ) as error:
        raise RunDamagedError(f"model.onnx must be a model ONNX Runtime opens. Received: {str(error).splitlines()[0]}.") from None


def run_session(session: Any, windows: Windows) -> np.ndarray:
    """Raw outputs of every window, shape (n, horizon, parameters)."""
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x})[0] for x, _ in windows.batches(BATCH)])


def export_difference(model: bytes, windows: Windows, expected: np.ndarray) -> float:
    """Largest difference between an exported model and the network it came from, relative to the largest output."""
    got = run_session(open_session(model), windows)
    return float(np.max(np.abs(got - expected)) / max(float(np.max(np.abs(expected))), 1e-12))
