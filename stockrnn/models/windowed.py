"""From windows to a forecast in currency, whoever runs the network: Keras in training, ONNX Runtime afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.features.pipeline import Pipeline
from stockrnn.features.windows import Windows
from stockrnn.models.forecaster import Forecast
from stockrnn.types import QUANTILES, RowIndex

Network = Callable[[Windows], np.ndarray]
"""Windows → raw outputs of the network, shape (n, horizon, parameters of the head), in scaled target space."""


@dataclass(frozen=True)
class Readout:
    """How raw outputs become a point and quantiles.

    Attributes:
        head: the network's head.
        residuals: q05 … q95 of the calibration residuals of each step in scaled target space, shape (horizon, 19); a
            `point` head has no other source of spread. None for a head that forecasts its own distribution.
    """

    head: str
    residuals: np.ndarray | None = None

    def point(self, raw: np.ndarray) -> np.ndarray:
        """The forecast of each step, shape (n, horizon, 1), scaled: the value itself, or the median."""
        return raw if self.residuals is not None else raw[..., [QUANTILES.index(0.5)]]

    def quantiles(self, raw: np.ndarray) -> np.ndarray:
        """q05 … q95 of each step, shape (n, horizon, 19), scaled."""
        return raw if self.residuals is None else raw + self.residuals

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able state."""
        return {"head": self.head, "residuals": None if self.residuals is None else self.residuals.tolist()}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Readout:
        """The readout of a state written by `to_dict`."""
        return cls(str(state["head"]), None if state["residuals"] is None else np.array(state["residuals"], dtype=np.float64))


def fit_readout(head: str, raw: np.ndarray, targets: np.ndarray) -> Readout:
    """Learn the spread of a `point` head from calibration windows; other heads need none.

    Args:
        head: name of the head.
        raw: the network's outputs on the calibration windows, shape (n, horizon, parameters).
        targets: their scaled targets, shape (n, horizon).
    """
    if head != "point":
        return Readout(head)
    residuals = targets.astype(np.float64) - raw[..., 0]
    return Readout(head, np.quantile(residuals, QUANTILES, axis=0).T)


def forecast_windows(pipeline: Pipeline, readout: Readout, network: Network, prices: pd.DataFrame, rows: RowIndex) -> Forecast:
    """Forecast from cutoff rows: prices → windows → network → quantiles → prices. Raises DataError for too little history."""
    raw = network(pipeline.windows_at(prices, rows)).astype(np.float64)
    point = pipeline.to_prices(readout.point(raw), prices, rows)[..., 0]
    return Forecast(rows, point, pipeline.to_prices(readout.quantiles(raw), prices, rows))
