"""A finished run as a forecaster, without TensorFlow: the ONNX model with its pipeline and readout."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import Config
from stockrnn.errors import RunDamagedError
from stockrnn.features.pipeline import Pipeline
from stockrnn.features.splits import Spans
from stockrnn.features.windows import Windows
from stockrnn.models.forecaster import Forecast, Forecaster
from stockrnn.models.panel import SeparateForecaster
from stockrnn.models.shapes import PARAMETERS
from stockrnn.models.windowed import Readout, forecast_windows
from stockrnn.runs.directory import Run
from stockrnn.runs.graphs import check_model
from stockrnn.runs.vetting import LEAST_S, MIB, hold, most_seconds
from stockrnn.types import AHEAD, TICKER, RowIndex

BATCH = 1024
TOLERANCE = 1e-5
"""Largest relative difference between the exported model and Keras at which the exported one is trusted."""
ARENA_BYTES = 40 * MIB
LOOK_S = 0.05
"""How often a model that runs is looked at."""


def load_forecaster(run: Run, pipeline_of: Callable[[dict[str, Any]], Pipeline] = Pipeline.from_dict) -> Forecaster:
    """The forecaster of a run, without TensorFlow.

    Args:
        run: a run.
        pipeline_of: makes a pipeline of its state.

    Raises:
        RunDamagedError: it does not hold what it must.
    """
    config, parts = run.config, {}
    for part in run.json("scaler.json")["parts"]:
        try:
            pipeline, readout = pipeline_of(part["pipeline"]), Readout.from_dict(part["readout"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunDamagedError(
                f"{run.folder / 'scaler.json'} must hold pipelines and readouts. Received: {error!r}. Train again."
            ) from None
        model, origin = run.read(part["model"]), run.folder / part["model"]
        check_model(model, origin, max(config.window.lookback, config.window.horizon))
        parts[part["ticker"]] = OnnxForecaster(config, pipeline, readout, model, origin)
    return parts[""] if "" in parts else SeparateForecaster(lambda ticker: parts[ticker], parts)


class OnnxForecaster(Forecaster):
    """One exported network with its pipeline and readout; its learning is done."""

    def __init__(self, config: Config, pipeline: Pipeline, readout: Readout, model: bytes, origin: Path) -> None:
        """Open the model. Raises RunDamagedError."""
        self.name, self.horizon, self.column = config.model.cell, pipeline.horizon, pipeline.column
        self.pipeline, self.readout, self.origin = pipeline, readout, origin
        self._model = config.model
        networks = len(config.train.members) * config.samples
        states = 32 * max(sum(model.units) for model, _ in config.networks())
        ahead = len(pipeline.ahead.columns)
        numbers = pipeline.lookback * (len(pipeline.names) + states) + pipeline.horizon * ahead * (1 + networks)
        window = 4 * numbers  # bytes of one window's states and gates, and of what is known ahead
        self._batch = min(BATCH, max(1, ARENA_BYTES // 2 // window))
        self._session = open_session(model, ARENA_BYTES + 4 * len(model) + 4 * window, LEAST_S * (1 + networks / 10))
        self._shape = (networks, pipeline.horizon, PARAMETERS[readout.head])
        self._seconds = functools.partial(most_seconds, config)
        beside = {AHEAD: (pipeline.horizon, ahead), TICKER: (1,)}
        shapes = [(pipeline.lookback, len(pipeline.names)), *(beside[name] for name in pipeline.beside)]
        found = [(each.type, *each.shape[1:]) for each in self._session.get_inputs()]
        hold(found == [("tensor(float)", *shape) for shape in shapes], origin, f"take windows of {shapes}", found)

    def fit(self, prices: pd.DataFrame, spans: Spans) -> OnnxForecaster:  # noqa: ARG002 (the contract's arguments)
        """Return self: the run was fitted when it was trained."""
        return self

    def forecast(self, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
        """Forecast from each cutoff row. Raises RunDamagedError where the model does not give finite numbers of the right shape."""
        return forecast_windows(self.pipeline, self.readout, self._outputs, prices, rows, self._model)

    def _outputs(self, windows: Windows) -> np.ndarray:
        most = self._seconds(len(windows))
        try:
            outputs = run_session(self._session, windows, self._batch, most)
        except _refusals() as error:
            received = str(error).splitlines()[0][:200]
            raise RunDamagedError(f"{self.origin} must run, in {most:.1f} s at most. Received: {received}. Train again.") from None
        wanted = (len(windows), *self._shape)
        hold(outputs.shape == wanted, self.origin, f"give members × steps × numbers {wanted[1:]} for each window", outputs.shape)
        hold(outputs.dtype == np.float32 and bool(np.isfinite(outputs).all()), self.origin, "give finite numbers", "others")
        return outputs


def open_session(model: bytes, most: int | None = None, seconds: float = LEAST_S) -> Any:
    """An ONNX Runtime session on one thread, silent.

    Args:
        model: the bytes of a model.
        most: bytes its tensors may take; None for a model of one's own.
        seconds: within which a stranger's is loaded; it computes nothing before it runs.

    Raises:
        RunDamagedError: a model that ONNX Runtime refuses.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if most is not None:  # the session takes the allocator that was registered last; the one before lives on with its own sessions
        memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": 1}))
        options.add_session_config_entry("session.use_env_allocators", "1")
    optimizers = [] if most is None else ["ConstantFolding"]
    try:
        with _stopped_after(seconds if most is not None else None, functools.partial(options.set_load_cancellation_flag, True)):
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=optimizers)
    except _refusals() as error:
        raise RunDamagedError(
            f"model.onnx must be a model that ONNX Runtime opens. Received: {str(error).splitlines()[0][:200]}. Train again."
        ) from None


def run_session(session: Any, windows: Windows, batch: int = BATCH, seconds: float | None = None) -> np.ndarray:
    """Raw outputs of every window, shape (n, members, horizon, parameters), within so many seconds of the processor."""
    import onnxruntime as ort

    names, options = [each.name for each in session.get_inputs()], ort.RunOptions()
    with _stopped_after(seconds, functools.partial(setattr, options, "terminate", True)):
        pieces = (dict(zip(names, inputs, strict=True)) for inputs in windows.batches(batch))
        return np.concatenate([session.run(None, piece, options)[0] for piece in pieces])


@contextlib.contextmanager
def _stopped_after(seconds: float | None, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` once the block has taken more of the processor than this: a busy machine stops nothing, an idle one waits for nothing."""
    if seconds is None:
        yield
        return
    done, until = threading.Event(), time.process_time() + seconds

    def watch() -> None:
        while not done.wait(LOOK_S):
            if time.process_time() > until:
                stop()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@functools.cache
def _refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a model it cannot open or run; it has no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented", "RuntimeException", "EPFail")
    return (*(getattr(state, name) for name in names), RuntimeError, ValueError)


def export_difference(model: bytes, windows: Windows, expected: np.ndarray) -> float:
    """Largest difference between an exported model and the network it came from, relative to the largest output."""
    got = run_session(open_session(model), windows)
    return float(np.max(np.abs(got - expected)) / max(float(np.max(np.abs(expected))), 1e-12))
