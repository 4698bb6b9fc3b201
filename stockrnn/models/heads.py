"""What a network says of each step ahead, and how it is scored in training.

A head turns the network's last features into (batch, horizon, params) in the scaled space of the target:
`point` one value; `quantile` q05 … q95.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from stockrnn.models.backend import keras
from stockrnn.types import QUANTILES

_MEDIAN = len(QUANTILES) // 2


@keras.saving.register_keras_serializable(package="stockrnn")
class OrderedQuantiles(keras.layers.Layer):
    """Free outputs → quantiles that cannot cross: a median, and steps away from it that are never negative.

    q[median + k] = median + Σ softplus(raw + offset) over the k steps above it, and likewise below; a sum of
    non-negative numbers added one by one never decreases, in floating point either. The offsets make raw = 0 the quantiles
    of a standard normal, where training starts.
    """

    def call(self, raw: Any) -> Any:
        """Quantiles of shape (batch, horizon, 19) from free outputs of the same shape."""
        ops = keras.ops
        median = raw[..., _MEDIAN : _MEDIAN + 1]
        below, above = raw[..., :_MEDIAN][..., ::-1], raw[..., _MEDIAN + 1 :]
        steps_down = ops.softplus(below + ops.cast(_OFFSETS, raw.dtype))
        steps_up = ops.softplus(above + ops.cast(_OFFSETS, raw.dtype))
        down = median - ops.cumsum(steps_down, axis=-1)
        up = median + ops.cumsum(steps_up, axis=-1)
        return ops.concatenate([down[..., ::-1], median, up], axis=-1)


def _normal_offsets() -> np.ndarray:
    """The inverse softplus of a normal's distances between neighbouring quantiles, from the median outwards."""
    quantiles = np.array([NormalDist().inv_cdf(q) for q in QUANTILES[_MEDIAN:]])
    return np.log(np.expm1(np.diff(quantiles)))


_OFFSETS = _normal_offsets()


@dataclass(frozen=True)
class Head:
    """A kind of output.

    Attributes:
        params: numbers a step needs.
        constrain: the layer that gives them their meaning.
    """

    params: int
    constrain: Callable[..., Any]


HEADS = {
    "point": Head(1, lambda name: keras.layers.Activation("linear", name=name)),
    "quantile": Head(len(QUANTILES), lambda name: OrderedQuantiles(name=name)),
}
"""The head of each `model.head`."""


def mse(actual: Any, output: Any) -> Any:
    """Mean squared error of each window, shape (batch,)."""
    return keras.ops.mean(keras.ops.square(actual - output[..., 0]), axis=-1)


def mae(actual: Any, output: Any) -> Any:
    """Mean absolute error of each window, shape (batch,)."""
    return keras.ops.mean(keras.ops.abs(actual - output[..., 0]), axis=-1)


def huber(actual: Any, output: Any) -> Any:
    """Huber's loss with its bend at 1, shape (batch,): e²/2 within, |e| - 1/2 beyond (doi:10.1214/aoms/1177703732)."""
    error = keras.ops.abs(actual - output[..., 0])
    bent = keras.ops.minimum(error, 1.0)
    return keras.ops.mean(bent * (error - 0.5 * bent), axis=-1)


def pinball(actual: Any, output: Any) -> Any:
    """Mean pinball loss over q05 … q95, shape (batch,): max(q e, (q - 1) e), e = actual - quantile (doi:10.2307/1913643)."""
    levels = keras.ops.cast(np.array(QUANTILES), output.dtype)
    error = actual[..., None] - output
    return keras.ops.mean(keras.ops.maximum(levels * error, (levels - 1.0) * error), axis=(-2, -1))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {"mse": mse, "mae": mae, "huber": huber, "pinball": pinball}
"""The loss of each `train.loss`: (actual (batch, horizon), output (batch, horizon, params)) → (batch,)."""
