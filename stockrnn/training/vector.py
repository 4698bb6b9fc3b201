"""The weights that a network learns, as one vector, so that an update takes a few kernels and not a few for each weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from stockrnn.models.backend import keras, tf


class WeightVector:
    """What an optimizer updates in place of the weights themselves: each kernel takes a microsecond to run, and 5 to 50 ms to compile.

    Attributes:
        weights: the variables that are joined.
        variable: the vector, shape (size,); it holds what they do from `take` to `give` alone.
        size: of how many numbers.
    """

    def __init__(self, weights: Sequence[Any]) -> None:
        """Make room for these variables."""
        self.weights = weights
        self._sizes = [int(weight.shape.num_elements()) for weight in weights]
        self.size = sum(self._sizes)
        self.variable = keras.Variable(np.zeros(self.size, np.float32), name="weights")

    def take(self) -> None:
        """Let the vector hold what the variables do."""
        self.variable.assign(self.joined(weight.value for weight in self.weights))

    def give(self) -> None:
        """Let the variables hold what the vector does."""
        for weight, value in zip(self.weights, self.apart(), strict=True):
            weight.assign(value)

    def apart(self) -> list[Any]:
        """What the vector holds, as tensors of the variables' shapes."""
        parts = zip(tf.split(self.variable.value, self._sizes), self.weights, strict=True)
        return [tf.reshape(part, weight.shape) for part, weight in parts]

    @staticmethod
    def joined(tensors: Iterable[Any]) -> Any:
        """Tensors as one of shape (size,)."""
        return tf.concat([tf.reshape(tensor, (-1,)) for tensor in tensors], axis=0)
