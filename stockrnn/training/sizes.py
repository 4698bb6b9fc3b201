"""How much work an update is, from the config alone, before TensorFlow is loaded."""

from __future__ import annotations

from stockrnn.config import Config, ModelConfig
from stockrnn.models.shapes import GATES

LARGE = 12_000_000
"""Multiply-adds of an update's forward pass from which on two processes share it: some 0.8 ms of one core. Below ten million, exchanging
results takes longer than half an update."""


def is_halved(model: ModelConfig, features: int, lookback: int, batch: int, members: int) -> bool:
    """Whether the batches of a network are halved, so that a second process may take a half: a large one that is alone.

    It does not depend on cores, processes or time, as halves give other last digits than the whole.

    Args:
        model: the network's section of the config.
        features: columns of a window.
        lookback: timesteps of a window.
        batch: windows an update.
        members: networks of the ensemble; several keep the processes busy by themselves.
    """
    return members == 1 and batch % 2 == 0 and batch * lookback * _recurrent_weights(model, features) >= LARGE


def trainers(config: Config) -> int:
    """How many processes the networks of one ticker, or of a panel together, can keep busy."""
    (model, lookback), *more = config.networks()
    features = len(config.features.columns) + len(config.features.indicators)
    return 1 + max(len(more), is_halved(model, features, lookback, config.train.batch_size, 1 + len(more)))


def _recurrent_weights(model: ModelConfig, features: int) -> int:
    """Weights of the layers that read the window, without biases."""
    directions = 2 if model.bidirectional else 1
    widths = [features, *(directions * units for units in model.units)]
    return sum(directions * GATES[model.cell] * units * (width + units) for width, units in zip(widths, model.units, strict=False))
