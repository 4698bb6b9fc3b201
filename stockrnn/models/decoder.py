"""The decoder: from the encoder's last states to the horizon, one step after the other, each fed with the one before."""

from __future__ import annotations

from typing import Any

from stockrnn.models.attention import Attention
from stockrnn.models.backend import keras, tf
from stockrnn.models.cells import dropout_masks, one_step
from stockrnn.models.heads import HEADS

Tensors = tuple[Any, ...]


@keras.saving.register_keras_serializable(package="stockrnn")
class Decoder(keras.layers.Layer):
    """A stack of cells run over the horizon (Sutskever et al. 2014, arXiv:1409.3215; Cho et al. 2014, doi:10.3115/v1/D14-1179).

    The input of a step is what the step before forecast or, where `taught` says so, the actual of the step before: never
    that of the step itself or of a later one. The first step's input is zero. What is known ahead of a step stands beside it.
    """

    def __init__(
        self,
        cells: list[Any],
        norms: list[Any],
        attention: Attention | None,
        dense: Any,
        *,
        residual: bool,
        head: str,
        horizon: int,
        **kwargs: Any,
    ) -> None:
        """Take the stack's cells, what follows each (a normalisation or None), the attention, and the output's projection."""
        super().__init__(**kwargs)
        self.cells, self.norms, self.attention, self.dense = cells, norms, attention, dense
        self.residual, self.head, self.horizon = residual, head, horizon
        self.constrain = HEADS[head].constrain("output")

    def build(
        self, memory_shape: tuple[int, ...], states_shape: Any, taught_shape: Any = None, known_shape: Any = None, ahead_shape: Any = None
    ) -> None:
        """Build the cells for their inputs: the step before, the context and what is known ahead below, the cell under it above."""
        del states_shape, taught_shape, known_shape
        context = memory_shape[-1] if self.attention is not None else 0
        self.width = width = 1 + context + (0 if ahead_shape is None else ahead_shape[-1])
        for cell, norm in zip(self.cells, self.norms, strict=True):
            cell.build((None, width))
            width = cell.units
            if norm is not None:
                norm.build((None, width))
        if self.attention is not None:
            self.attention.build((None, width), memory_shape)
        self.dense.build((None, width + context))

    def call(self, memory: Any, states: Any, taught: Any = None, known: Any = None, ahead: Any = None, training: bool = False) -> Any:
        """Outputs of shape (batch, horizon, params).

        Args:
            memory: the encoder's states, shape (batch, timesteps, width), for attention.
            states: first states of each cell.
            taught: the actual of the step before each step, and 1 where it is used, shape (batch, horizon, 2).
            known: which timesteps of the memory count, bool of shape (batch, timesteps); all where it is None.
            ahead: what is known of each step, shape (batch, horizon, columns).
            training: whether dropout acts.
        """
        states = tuple(tuple(each) for each in states)
        keys = None if self.attention is None else self.attention.keys(memory)
        masks = self._masks(memory, states, training)

        def body(step: Any, before: Any, states: Tensors, outputs: Any) -> Tensors:
            fed = before if taught is None else _choose(taught, step, before)
            beside = [] if ahead is None else [tf.gather(ahead, step, axis=1)]
            states, features = self._step(fed, beside, states, (keys, memory, known), masks)
            output = self.constrain(keras.ops.reshape(self.dense(features), (-1, 1, HEADS[self.head].params)))[:, 0]
            return step + 1, HEADS[self.head].feedback(output)[:, None], states, outputs.write(step, output)

        start = tf.zeros_like(memory[:, 0, :1])
        outputs = tf.TensorArray(start.dtype, size=self.horizon, element_shape=(start.shape[0], HEADS[self.head].params))
        loop = tf.while_loop(lambda step, *_: step < self.horizon, body, (0, start, states, outputs), maximum_iterations=self.horizon)
        for cell in self.cells:
            cell.reset_dropout_mask()
            cell.reset_recurrent_dropout_mask()
        return tf.transpose(loop[3].stack(), (1, 0, 2))

    def _step(self, fed: Any, beside: list[Any], states: Tensors, heard: Tensors, masks: Tensors) -> tuple[Tensors, Any]:
        context = [] if self.attention is None else [self.attention.attend(states[-1][0], *heard)]
        x, new = tf.concat([fed, *context, *beside], axis=-1), []
        for depth, (cell, state, drop) in enumerate(zip(self.cells, states, masks, strict=True)):
            after = one_step(cell, x, state, drop)
            x = self._after(x, after[0], depth)
            new.append(after)
        return tuple(new), tf.concat([x, *context], axis=-1)

    def _after(self, before: Any, x: Any, depth: int) -> Any:
        x = x if self.norms[depth] is None else self.norms[depth](x)
        return x + before if self.residual and depth > 0 and before.shape[-1] == x.shape[-1] else x

    def _masks(self, memory: Any, states: Tensors, training: bool) -> Tensors:
        """Each cell's dropout masks: the same at every step, so they are drawn outside of the loop."""
        widths = [self.width, *(cell.units for cell in self.cells[:-1])]
        likes = [tf.ones((tf.shape(memory)[0], width), memory.dtype) for width in widths]
        return tuple(dropout_masks(cell, x, state[0], training) for cell, x, state in zip(self.cells, likes, states, strict=True))


def _choose(taught: Any, step: Any, before: Any) -> Any:
    actual, used = tf.split(tf.gather(taught, step, axis=1), 2, axis=-1)
    return used * actual + (1.0 - used) * before
