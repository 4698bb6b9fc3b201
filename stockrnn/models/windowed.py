"""From windows to a forecast in currency, whoever runs the network: Keras in training, ONNX Runtime afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import ModelConfig
from stockrnn.features.history import recent_quantiles
from stockrnn.features.pipeline import Pipeline
from stockrnn.features.windows import Windows
from stockrnn.models.forecaster import Forecast
from stockrnn.models.outputs import direction_quantiles, move_sizes, probability_up, quantiles_of, resting_quantiles
from stockrnn.types import QUANTILES, RowIndex

Network = Callable[[Windows], np.ndarray]
"""Windows → raw outputs of every member, shape (n, members, horizon, parameters of the head), in scaled target space."""

MEDIAN = QUANTILES.index(0.5)


@dataclass(frozen=True)
class Readout:
    """How the members' raw outputs become quantiles: each member's are read by its head, then averaged by quantile.

    Attributes:
        head: the networks' head.
        residuals: for `point`, which has no other source of spread: q05 … q95 of the calibration residuals of each step
            in scaled target space, shape (horizon, 19). Else None.
        moves: for `direction`: sizes of past falls and rises, `outputs.move_sizes`, shape (2, horizon, 100). Else None.
        resting: with `model.location_shrinkage`: mean quantile of each step where the networks started, shape (horizon,). Else None.
        shrinkage: share of the way back there that the mean quantile of a forecast is taken.
    """

    head: str
    residuals: np.ndarray | None = None
    moves: np.ndarray | None = None
    resting: np.ndarray | None = None
    shrinkage: float = 0.0

    def quantiles(self, raw: np.ndarray) -> np.ndarray:
        """q05 … q95 of each step, shape (n, horizon, 19), scaled."""
        if self.moves is not None:
            return direction_quantiles(probability_up(raw).mean(axis=1), *self.moves)
        mean = quantiles_of(self.head, raw).mean(axis=1)
        if self.resting is not None:
            mean = mean - self.shrinkage * (mean.mean(axis=-1) - self.resting)[..., None]
        ordered: np.ndarray = np.maximum.accumulate(mean, axis=-1)  # a mean of ordered floats may cross by its last bit
        return ordered if self.residuals is None else ordered + self.residuals

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able state."""
        arrays = {"residuals": self.residuals, "moves": self.moves}
        state = {"head": self.head, **{name: None if value is None else value.tolist() for name, value in arrays.items()}}
        return state if self.resting is None else {**state, "resting": self.resting.tolist(), "shrinkage": self.shrinkage}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Readout:
        """The readout of a state written by `to_dict`, or before there was shrinkage."""
        names = ("residuals", "moves", "resting")
        arrays = {name: np.array(state[name], dtype=np.float64) for name in names if state.get(name) is not None}
        return cls(str(state["head"]), **arrays, shrinkage=float(state.get("shrinkage", 0.0)))


def fit_readout(model: ModelConfig, train: np.ndarray, raw: np.ndarray, targets: np.ndarray) -> Readout:
    """Learn the spread that a head does not forecast itself, and the location that one that does is drawn to.

    Args:
        model: the config's section.
        train: scaled targets of the training windows, shape (windows, horizon).
        raw: the members' outputs on the calibration windows, shape (n, members, horizon, parameters).
        targets: their scaled targets, shape (n, horizon).
    """
    head = model.head
    if head == "direction":
        return Readout(head, moves=np.stack(move_sizes(train)))
    if head == "point":
        residuals = targets.astype(np.float64) - raw[..., 0].mean(axis=1)
        return Readout(head, np.quantile(residuals, QUANTILES, axis=0).T)
    if model.location_shrinkage:
        resting = resting_quantiles(train.astype(np.float64)).mean(axis=-1)
        return Readout(head, resting=resting, shrinkage=model.location_shrinkage)
    return Readout(head)


def forecast_windows(
    pipeline: Pipeline, readout: Readout, network: Network, prices: pd.DataFrame, rows: RowIndex, model: ModelConfig
) -> Forecast:
    """Forecast from cutoff rows: prices → windows → network → quantiles → prices. Raises DataError for too little history.

    Args:
        pipeline: prices → windows and back.
        readout: raw outputs → quantiles.
        network: windows → raw outputs.
        prices: the price table that holds the cutoffs.
        rows: row of each cutoff, shape (n,).
        model: the config's section, which says how much history to average with.
    """
    raw = network(pipeline.windows_at(prices, rows)).astype(np.float64)
    quantiles = with_history(readout.quantiles(raw), pipeline, prices, rows, model)
    point = quantiles_of("point", raw).mean(axis=1)[..., :1] if readout.head == "point" else quantiles[..., [MEDIAN]]
    return Forecast(rows, pipeline.to_prices(point, prices, rows)[..., 0], pipeline.to_prices(quantiles, prices, rows))


def with_history(quantiles: np.ndarray, pipeline: Pipeline, prices: pd.DataFrame, rows: RowIndex, model: ModelConfig) -> np.ndarray:
    """Average a network's scaled quantiles with those of the last changes; a short history counts for less. Shape (n, horizon, 19)."""
    if model.filtered_history == 0:
        return quantiles
    recent, known = recent_quantiles(pipeline, prices, rows, model.filtered_sessions)
    weight = model.filtered_history / len(model.filtered_sessions) * known[..., None]
    mixed = (1.0 - weight.sum(axis=1)) * quantiles + (weight * recent).sum(axis=1)
    return np.asarray(np.maximum.accumulate(mixed, axis=-1))
