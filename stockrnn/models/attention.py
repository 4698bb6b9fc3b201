"""Attention over the timesteps of a window: which sessions a forecast listens to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stockrnn.models.backend import keras
from stockrnn.models.seeds import derive_seed


@keras.saving.register_keras_serializable(package="stockrnn")
class Attention(keras.layers.Layer):
    """A weighted mean of states, with weights softmax(score(query, state)) over the timesteps.

    `additive`: score = v · tanh(W q + U s) (Bahdanau et al. 2015, arXiv:1409.0473).
    `dot`: score = q · s (Luong et al. 2015, doi:10.18653/v1/D15-1166).
    """

    def __init__(self, kind: str, seed: int, **kwargs: Any) -> None:
        """Take the config's `model.attention` and the seed of the weights."""
        super().__init__(**kwargs)
        self.kind, self.seed = kind, seed
        self.heard: list[np.ndarray] | None = None

    def build(self, query_shape: tuple[int | None, ...], states_shape: tuple[int | None, ...], known_shape: Any = None) -> None:
        """Make the weights of the additive score; the dot product has none."""
        del known_shape
        units = query_shape[-1]
        shapes = {"query": (units, units), "key": (states_shape[-1], units), "score": (1, units)} if self.kind == "additive" else {}
        for name, shape in shapes.items():
            initializer = keras.initializers.GlorotUniform(seed=derive_seed(self.seed, "weights", self.name, name))
            setattr(self, name, self.add_weight(shape=shape, initializer=initializer, name=name))

    def keys(self, states: Any) -> Any:
        """What the queries are compared with, shape (batch, timesteps, units); the same for every query."""
        return keras.ops.matmul(states, self.key) if self.kind == "additive" else states

    def weights_of(self, query: Any, keys: Any, known: Any = None) -> Any:
        """The weight of each timestep, shape (batch, timesteps); they sum to 1, and are 0 where `known` is false."""
        ops = keras.ops
        if self.kind == "additive":
            raw = ops.sum(ops.tanh(ops.matmul(query, self.query)[:, None] + keys) * self.score, axis=-1)
        else:
            raw = ops.sum(query[:, None] * keys, axis=-1)
        return ops.softmax(raw if known is None else ops.where(known, raw, -1e9), axis=-1)

    def attend(self, query: Any, keys: Any, states: Any, known: Any = None) -> Any:
        """The weighted mean of the states, shape (batch, width of a state)."""
        weights = self.weights_of(query, keys, known)
        if self.heard is not None:
            self.heard.append(keras.ops.convert_to_numpy(weights))
        return keras.ops.sum(weights[..., None] * states, axis=1)

    def call(self, query: Any, states: Any, known: Any = None) -> Any:
        """The context of a query (batch, units) in states (batch, timesteps, width), of which `known` (batch, timesteps) count."""
        return self.attend(query, self.keys(states), states, known)


def attention_weights(network: Any, windows: np.ndarray, batch: int = 256, beside: Sequence[np.ndarray] = ()) -> np.ndarray | None:
    """Which timesteps a network listens to, or None where it has no attention.

    Args:
        network: of `build_network`, with its weights.
        windows: shape (n, timesteps, features).
        batch: windows at a time.
        beside: what the network is given beside the windows, each of shape (n, …).

    Returns:
        Shape (n, queries, timesteps), summing to 1 over the timesteps: a query for each step of a decoder, else one.
    """
    layers = [layer if isinstance(layer, Attention) else getattr(layer, "attention", None) for layer in network.layers]
    attention = next((layer for layer in layers if isinstance(layer, Attention)), None)
    if attention is None:
        return None
    pieces = []
    for first in range(0, len(windows), batch):
        with _listening(attention) as heard:
            inputs = [each[first : first + batch] for each in (windows, *beside)]
            network(inputs if beside else inputs[0], training=False)
        pieces.append(np.stack(heard, axis=1))
    return np.concatenate(pieces)


@contextlib.contextmanager
def _listening(attention: Attention) -> Iterator[list[np.ndarray]]:
    """Keep every weight the layer gives within the block; nothing may be traced in it."""
    attention.heard = []
    try:
        yield attention.heard
    finally:
        attention.heard = None
