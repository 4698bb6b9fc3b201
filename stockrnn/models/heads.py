"""What a network says of each step ahead, and how it is scored in training.

A head turns the network's last features into (batch, horizon, params) in the scaled space of the target:
`point` one value; `quantile` q05 … q95; `student_t` location, scale and degrees of freedom; `direction` the logit of
"actual > 0", so its targets must be scaled without an offset.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from stockrnn.models.backend import keras
from stockrnn.models.outputs import resting_quantiles
from stockrnn.models.shapes import PARAMETERS
from stockrnn.types import QUANTILES

LEAST_SCALE = 1e-4
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


def raw_quantiles(quantiles: np.ndarray) -> np.ndarray:
    """The free outputs at which `OrderedQuantiles` gives these quantiles: its inverse, shape (…, 19) to (…, 19)."""
    gaps = np.maximum(np.diff(quantiles, axis=-1), LEAST_SCALE)
    below, above = gaps[..., :_MEDIAN][..., ::-1], gaps[..., _MEDIAN:]
    down, up = (np.log(np.expm1(side)) - _OFFSETS for side in (below, above))
    return np.concatenate([down[..., ::-1], quantiles[..., _MEDIAN : _MEDIAN + 1], up], axis=-1)


@keras.saving.register_keras_serializable(package="stockrnn")
class StudentParameters(keras.layers.Layer):
    """Free outputs → location, scale and degrees of freedom of a Student-t distribution.

    The scale is positive and the freedom lies in (2, 102), so that the variance is finite and the loss is well
    conditioned; raw = 0 means location 0, scale 1 and 8 degrees of freedom, where training starts.
    """

    def call(self, raw: Any) -> Any:
        """Parameters of shape (batch, horizon, 3) from free outputs of the same shape."""
        ops = keras.ops
        scale = ops.softplus(raw[..., 1:2] + math.log(math.expm1(1.0))) + LEAST_SCALE
        freedom = 2.0 + 100.0 * ops.sigmoid(raw[..., 2:3] + math.log(0.06 / 0.94))
        return ops.concatenate([raw[..., :1], scale, freedom], axis=-1)


@dataclass(frozen=True)
class Head:
    """A kind of output.

    Attributes:
        params: numbers a step needs.
        constrain: makes the layer, named so, that gives them their meaning.
        feedback: output of a step (batch, params) → the forecast that a decoder's next step starts from, shape (batch,).
        teach: actuals → what `feedback` should have been, the same shape.
        rest: scaled targets (n, horizon) → free outputs that say their distribution, (horizon, params) or for all the same.
    """

    params: int
    constrain: Callable[[str], Any]
    feedback: Callable[[Any], Any]
    teach: Callable[[Any], Any] = lambda actual: actual
    rest: Callable[[np.ndarray], np.ndarray] = lambda targets: np.zeros((targets.shape[1], 1))


HEADS = {
    "point": Head(PARAMETERS["point"], lambda name: keras.layers.Activation("linear", name=name), lambda output: output[..., 0]),
    "quantile": Head(
        PARAMETERS["quantile"],
        lambda name: OrderedQuantiles(name=name),
        lambda output: output[..., _MEDIAN],
        rest=lambda targets: raw_quantiles(resting_quantiles(targets)),
    ),
    "student_t": Head(PARAMETERS["student_t"], lambda name: StudentParameters(name=name), lambda output: output[..., 0]),
    "direction": Head(
        PARAMETERS["direction"],
        lambda name: keras.layers.Activation("linear", name=name),
        lambda output: keras.ops.tanh(0.5 * output[..., 0]),  # 2 P(up) - 1
        keras.ops.sign,
    ),
}
"""The head of each `model.head`."""


def mse(actual: Any, output: Any) -> Any:
    """Squared error."""
    return keras.ops.square(actual - output[..., 0])


def mae(actual: Any, output: Any) -> Any:
    """Absolute error."""
    return keras.ops.abs(actual - output[..., 0])


def huber(actual: Any, output: Any) -> Any:
    """Huber's loss with its bend at 1: e²/2 within, |e| - 1/2 beyond (doi:10.1214/aoms/1177703732)."""
    error = keras.ops.abs(actual - output[..., 0])
    bent = keras.ops.minimum(error, 1.0)
    return bent * (error - 0.5 * bent)


def pinball(actual: Any, output: Any) -> Any:
    """Mean pinball loss over q05 … q95: max(q e, (q - 1) e), e = actual - quantile (doi:10.2307/1913643)."""
    levels = keras.ops.cast(np.array(QUANTILES), output.dtype)
    error = actual[..., None] - output
    return keras.ops.mean(keras.ops.maximum(levels * error, (levels - 1.0) * error), axis=-1)


def nll(actual: Any, output: Any) -> Any:
    """Negative log density of a Student-t: log(s √(v π)) - D(v/2) + (v+1)/2 log(1 + z²/v), z = (actual - location)/s."""
    ops = keras.ops
    location, scale, freedom = output[..., 0], output[..., 1], output[..., 2]
    z = (actual - location) / scale
    return (
        ops.log(scale) + 0.5 * ops.log(math.pi * freedom) - _half_step(0.5 * freedom) + 0.5 * (freedom + 1.0) * ops.log1p(z * z / freedom)
    )


def _half_step(x: Any) -> Any:
    """D(x) = log Γ(x + 1/2) - log Γ(x) without the cancellation of the two.

    D(x) = D(x + 6) - Σ log(1 + 1/(2 (x + k))) over k = 0 … 5, and Stirling's series for the rest, good to 1e-9 from x = 7.
    """
    ops = keras.ops
    shift = sum(ops.log1p(0.5 / (x + k)) for k in range(6))
    y = 1.0 / (x + 6.0)
    return -0.5 * ops.log(y) - y * (0.125 - y * y * (1 / 192 - y * y * (1 / 640 - y * y * (17 / 14336)))) - shift


def cross_entropy(actual: Any, output: Any) -> Any:
    """Cross-entropy of the event "actual > 0", from its logit l: log(1 + exp(l)) - l up."""
    logit = output[..., 0]
    return keras.ops.softplus(logit) - logit * keras.ops.cast(actual > 0, logit.dtype)


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "pinball": pinball,
    "nll": nll,
    "cross_entropy": cross_entropy,
}
"""The loss of each `train.loss`: (actual (…, horizon), output (…, horizon, params)) → loss of each step (…, horizon)."""
