"""How a network's forecast moves with each number it sees: gradients by feature and timestep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stockrnn.models.attention import attention_weights
from stockrnn.models.backend import tf
from stockrnn.models.networks import NetworkSpec, call_network, set_network_weights, shared_network
from stockrnn.types import QUANTILES

BATCH = 256
_MEDIAN = QUANTILES.index(0.5)

SAYINGS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "point": {"centre": lambda output: output[..., 0]},
    "quantile": {"centre": lambda output: output[..., _MEDIAN], "width": lambda output: output[..., -1] - output[..., 0]},
    "student_t": {"centre": lambda output: output[..., 0], "width": lambda output: output[..., 1]},
    "direction": {"centre": lambda output: output[..., 0]},
}
"""What each head says, from its output (n, horizon, params) to (n, horizon): the value, median, location or logit as its `centre`, and
the distance from q05 to q95 or the scale as its `width`."""


@dataclass(frozen=True)
class Sensitivity:
    """How one network reads its windows.

    Attributes:
        gradients: of each of its head's `SAYINGS`, mean over the steps ahead, with respect to every number of a window:
            shape (n, timesteps, features), scaled target by scaled feature.
        attention: weights over the timesteps, shape (n, queries, timesteps), or None where it has no attention.
    """

    gradients: dict[str, np.ndarray]
    attention: np.ndarray | None


def sensitivities(
    specs: Sequence[NetworkSpec],
    members: Sequence[Mapping[str, np.ndarray]],
    windows: np.ndarray,
    batch: int = BATCH,
    beside: Sequence[np.ndarray] = (),
) -> list[Sensitivity]:
    """How each network of an ensemble reads the windows, of which it sees the last timesteps of its lookback.

    Args:
        specs: shape of each network.
        members: weights of each network.
        windows: shape (n, timesteps, features); NaN where a masked network's window begins before its first session.
        batch: windows at a time.
        beside: what the networks are given beside the windows, each of shape (n, …).
    """
    networks = {spec: shared_network(spec) for spec in specs}
    functions = {spec: _gradient_function(network) for spec, network in networks.items()}
    found = []
    for spec, weights in zip(specs, members, strict=True):
        set_network_weights(networks[spec], weights)
        seen = np.ascontiguousarray(windows[:, -spec.lookback :])
        full = [np.concatenate([each, np.repeat(each[:1], -len(seen) % batch, axis=0)]) for each in (seen, *beside)]  # one shape, one trace
        pieces = [functions[spec](*(tf.constant(each[first : first + batch]) for each in full)) for first in range(0, len(full[0]), batch)]
        gradients = {name: np.concatenate([piece[name].numpy() for piece in pieces])[: len(seen)] for name in pieces[0]}
        found.append(Sensitivity(gradients, attention_weights(networks[spec], seen, batch, beside)))
    return found


def _gradient_function(network: Any) -> Callable[[Any], dict[str, Any]]:
    sayings = SAYINGS[network.spec.model.head]

    def gradients(x: Any, *beside: Any) -> dict[str, Any]:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            output = call_network(network, [x, *beside])
            means = {name: tf.reduce_mean(say(output), axis=-1) for name, say in sayings.items()}
        return {name: tape.gradient(mean, x) for name, mean in means.items()}

    return tf.function(gradients)  # type: ignore[no-any-return]
