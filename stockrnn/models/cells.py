"""The compiled recurrent layers: `SimpleRNN`, `LSTM` and `GRU` with the weights, names and config of Keras' own.

Their pass through time is written for XLA. The input projection of all timesteps is one matrix product before the
loop; the loop, time-major, computes only `h U` and the gates, and saves what the way back needs; the backward loop is
derived by hand (backpropagation through time: Werbos 1990, doi:10.1109/5.58337) and yields the gradients of the gates'
pre-activations, from which every weight gradient is one product after it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stockrnn.models.backend import HAS_GPU, keras, tf

_compiled = not HAS_GPU

Tensors = tuple[Any, ...]


@contextlib.contextmanager
def stock_layers() -> Iterator[None]:
    """Within the block, layers that are traced run Keras' own pass: for ONNX export, and for comparison."""
    global _compiled  # noqa: PLW0603  Keras layers have no other way to learn of a switch
    before, _compiled = _compiled, False
    try:
        yield
    finally:
        _compiled = before


def layers_are_compiled() -> bool:
    """Whether layers traced now run the compiled pass (on a GPU they do not: cuDNN's is used)."""
    return _compiled


@dataclass(frozen=True)
class CellMath:
    """One timestep of a cell, and its derivative.

    Attributes:
        gates: blocks of `units` columns in the kernels.
        apart: whether the input part and the recurrent part of the pre-activations have different gradients.
        forward: (input part, recurrent part, states) → (new states, saved); parts of shape (batch, gates · units).
        backward: (gradients of the new states, saved) → (gradient of the input part, of the recurrent part, of the old
            states except through the recurrent product).
    """

    gates: int
    apart: bool
    forward: Callable[[Any, Any, Tensors], tuple[Tensors, Tensors]]
    backward: Callable[[Tensors, Tensors], tuple[Any, Any, Tensors]]


def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), written as (1 + tanh(x/2)) / 2: XLA has a fast tanh."""
    return 0.5 * tf.tanh(0.5 * x) + 0.5


def _simple_forward(gx: Any, gh: Any, states: Tensors) -> tuple[Tensors, Tensors]:
    """New state h = tanh(x W + b + h' U) (Elman 1990, doi:10.1207/s15516709cog1402_1)."""
    del states
    h = tf.tanh(gx + gh)
    return (h,), (h,)


def _simple_backward(gradients: Tensors, saved: Tensors) -> tuple[Any, Any, Tensors]:
    """Pre-activation: da = dh (1 - h²). The old state is reached through h' U alone."""
    (dh,), (h,) = gradients, saved
    da = dh * (1.0 - h * h)
    return da, da, (tf.zeros_like(dh),)


def _lstm_forward(gx: Any, gh: Any, states: Tensors) -> tuple[Tensors, Tensors]:
    """Gates i, f, o = sigmoid(a_i, a_f, a_o), g = tanh(a_g); c = f c' + i g; h = o tanh(c), where a = x W + b + h' U.

    Source: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate: Gers et al. 2000,
    doi:10.1162/089976600300015015.
    """
    _, c_old = states
    ai, af, ag, ao = tf.split(gx + gh, 4, axis=-1)
    i, f, g, o = _sigmoid(ai), _sigmoid(af), tf.tanh(ag), _sigmoid(ao)
    c = f * c_old + i * g
    t = tf.tanh(c)
    return (o * t, c), (i, f, g, o, t, c_old)


def _lstm_backward(gradients: Tensors, saved: Tensors) -> tuple[Any, Any, Tensors]:
    """With t = tanh(c): dc += dh o (1 - t²); da = [dc g i(1-i), dc c' f(1-f), dc i (1-g²), dh t o(1-o)]; dc' = dc f."""
    (dh, dc), (i, f, g, o, t, c_old) = gradients, saved
    dc = dc + dh * o * (1.0 - t * t)
    blocks = (dc * g * i * (1.0 - i), dc * c_old * f * (1.0 - f), dc * i * (1.0 - g * g), dh * t * o * (1.0 - o))
    da = tf.concat(blocks, axis=-1)
    return da, da, (tf.zeros_like(dh), dc * f)


def _gru_forward(gx: Any, gh: Any, states: Tensors) -> tuple[Tensors, Tensors]:
    """Gates z, r = sigmoid(x_z + h_z, x_r + h_r); n = tanh(x_n + r h_n); h = z h' + (1 - z) n, where h_k = h' U_k + b_k.

    Source: Cho et al. 2014, doi:10.3115/v1/D14-1179, reset gate after the product (Keras' `reset_after`, cuDNN's GRU).
    """
    (h_old,) = states
    xz, xr, xn = tf.split(gx, 3, axis=-1)
    hz, hr, hn = tf.split(gh, 3, axis=-1)
    z, r = _sigmoid(xz + hz), _sigmoid(xr + hr)
    n = tf.tanh(xn + r * hn)
    return (n + z * (h_old - n),), (z, r, n, hn, h_old)


def _gru_backward(gradients: Tensors, saved: Tensors) -> tuple[Any, Any, Tensors]:
    """With a_n's gradient dn = dh (1-z)(1-n²): da_z = dh (h'-n) z(1-z); da_r = dn h_n r(1-r); dh_n = dn r; dh' = dh z."""
    (dh,), (z, r, n, hn, h_old) = gradients, saved
    dn = dh * (1.0 - z) * (1.0 - n * n)
    dz = dh * (h_old - n) * z * (1.0 - z)
    dr = dn * hn * r * (1.0 - r)
    return tf.concat((dz, dr, dn), axis=-1), tf.concat((dz, dr, dn * r), axis=-1), (dh * z,)


MATH = {
    keras.layers.SimpleRNNCell: CellMath(1, False, _simple_forward, _simple_backward),
    keras.layers.LSTMCell: CellMath(4, False, _lstm_forward, _lstm_backward),
    keras.layers.GRUCell: CellMath(3, True, _gru_forward, _gru_backward),
}
"""The equations of each of Keras' cells."""


def recur(math: CellMath, gx: Any, kernel: Any, bias: Any, states: Tensors, *, drop: Sequence[Any] = (), keep: Any = None) -> Tensors:
    """Run a cell over all timesteps, with the hand-derived gradient.

    Args:
        math: the cell.
        gx: input projection with its bias, shape (timesteps, batch, gates · units).
        kernel: recurrent kernel, shape (units, gates · units).
        bias: recurrent bias, shape (gates · units,), or None.
        states: initial states, each of shape (batch, units).
        drop: masks of recurrent dropout, one for all gates or one a gate, each of shape (batch, units).
        keep: which timesteps count, bool of shape (timesteps, batch, 1); at the others the states stand still.

    Returns:
        The outputs, shape (timesteps, batch, units), then the final states.
    """

    @tf.custom_gradient
    def run(gx: Any, kernel: Any, *rest: Any) -> Tensors:
        states, bias = rest[: len(rest) - biased], rest[-1] if biased else None
        sweep = _Sweep(math, _Product(math.gates, kernel, drop), bias, keep)
        outputs, saved, finals = sweep.forward(gx, states)

        def gradient(d_outputs: Any, *d_finals: Any) -> Tensors:
            dgx, dgh, d_states = sweep.backward(d_outputs, d_finals, saved)
            before = tf.concat((states[0][None], outputs[:-1]), axis=0)
            d_bias = (tf.reduce_sum(dgh, axis=(0, 1)),) if biased else ()
            return dgx, sweep.product.kernel_gradient(before, dgh), *d_states, *d_bias

        return (outputs, *finals), gradient

    biased = bias is not None
    return tuple(run(gx, kernel, *states, *((bias,) if biased else ())))


class _Product:
    """The product h' U with its dropout, the way back, and the gradient of U."""

    def __init__(self, gates: int, kernel: Any, drop: Sequence[Any]) -> None:
        self.kernel, self.transposed, self.drop = kernel, tf.transpose(kernel), drop
        self.blocks = tf.split(kernel, gates, axis=1) if len(drop) > 1 else [kernel]

    def forward(self, h: Any) -> Any:
        if not self.drop:
            return tf.matmul(h, self.kernel)
        return tf.concat([tf.matmul(h * mask, block) for mask, block in zip(self.drop, self.blocks, strict=True)], axis=-1)

    def backward(self, dgh: Any) -> Any:
        if not self.drop:
            return tf.matmul(dgh, self.transposed)
        parts = zip(self.drop, self.blocks, tf.split(dgh, len(self.blocks), axis=-1), strict=True)
        return tf.add_n([mask * tf.matmul(part, block, transpose_b=True) for mask, block, part in parts])

    def kernel_gradient(self, before: Any, dgh: Any) -> Any:
        if not self.drop:
            return tf.matmul(_flat(before), _flat(dgh), transpose_a=True)
        parts = zip(self.drop, tf.split(dgh, len(self.blocks), axis=-1), strict=True)
        return tf.concat([tf.matmul(_flat(before * mask), _flat(part), transpose_a=True) for mask, part in parts], axis=-1)


@dataclass(frozen=True)
class _Sweep:
    """The two loops over time, forward and backward."""

    math: CellMath
    product: _Product
    bias: Any
    keep: Any

    def forward(self, gx: Any, states: Tensors) -> tuple[Any, Tensors, Tensors]:
        """Outputs (timesteps, batch, units), what the way back needs, and the final states."""
        length = tf.shape(gx)[0]
        inputs = _readable(gx, self.keep)

        def body(t: Any, states: Tensors, outputs: Any, saved: Tensors) -> Tensors:
            gx_t, keep_t = _read(inputs, t)
            new, kept = self._step(gx_t, keep_t, states)
            return t + 1, new, outputs.write(t, new[0]), _written(saved, t, kept)

        new, kept = self._step(gx[0], None, states)
        start = (tf.constant(0), states, _arrays(new[:1], length)[0], _arrays(kept, length))
        _, finals, outputs, saved = tf.while_loop(lambda t, *_: t < length, body, start)
        return outputs.stack(), tuple(array.stack() for array in saved), finals

    def _step(self, gx: Any, keep: Any, states: Tensors) -> tuple[Tensors, Tensors]:
        gh = self.product.forward(states[0])
        new, saved = self.math.forward(gx, gh if self.bias is None else gh + self.bias, states)
        return new if keep is None else tuple(tf.where(keep, a, b) for a, b in zip(new, states, strict=True)), saved

    def backward(self, d_outputs: Any, d_finals: Tensors, saved: Tensors) -> tuple[Any, Any, Tensors]:
        """Gradients of the input part and of the recurrent part of all timesteps, and of the initial states."""
        length = tf.shape(d_outputs)[0]
        inputs = _readable(d_outputs, self.keep, *saved)
        parts = 2 if self.math.apart else 1

        def body(t: Any, gradients: Tensors, written: Tensors) -> Tensors:
            d_out, keep, *saved_t = _read(inputs, t)
            *parts_t, old = self._step_back(d_out, keep, tuple(saved_t), gradients)
            return t - 1, old, _written(written, t, parts_t[:parts])

        like = self._step_back(d_outputs[0], None, tuple(x[0] for x in saved), d_finals)[:parts]
        _, gradients, written = tf.while_loop(lambda t, *_: t >= 0, body, (length - 1, d_finals, _arrays(like, length)))
        stacked = [array.stack() for array in written]
        return stacked[0], stacked[-1], gradients

    def _step_back(self, d_out: Any, keep: Any, saved: Tensors, gradients: Tensors) -> tuple[Any, Any, Tensors]:
        gradients = (gradients[0] + d_out, *gradients[1:])
        through = gradients if keep is None else tuple(tf.where(keep, d, tf.zeros_like(d)) for d in gradients)
        dgx, dgh, old = self.math.backward(through, saved)
        old = (old[0] + self.product.backward(dgh), *old[1:])
        if keep is not None:
            old = tuple(tf.where(keep, d, d_still) for d, d_still in zip(old, gradients, strict=True))
        return dgx, dgh, old


def _flat(sequence: Any) -> Any:
    return tf.reshape(sequence, (-1, sequence.shape[-1]))


def _arrays(like: Tensors, length: Any) -> Tensors:
    return tuple(tf.TensorArray(x.dtype, size=length, element_shape=x.shape) for x in like)


def _written(arrays: Tensors, t: Any, values: Sequence[Any]) -> Tensors:
    return tuple(array.write(t, value) for array, value in zip(arrays, values, strict=True))


def _readable(*sequences: Any) -> Tensors:
    return tuple(
        None if x is None else tf.TensorArray(x.dtype, size=tf.shape(x)[0], clear_after_read=False, element_shape=x.shape[1:]).unstack(x)
        for x in sequences
    )


def _read(arrays: Tensors, t: Any) -> list[Any]:
    return [None if array is None else array.read(t) for array in arrays]


class _Compiled:
    """Mixed into a Keras recurrent layer: its loop over time is `recur`, everything around it stays Keras' own."""

    cell: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take Keras' arguments; warn if they need Keras' own pass."""
        super().__init__(*args, **kwargs)
        reason = stock_reason(self)
        if reason is not None:
            warnings.warn(f"{self.name} runs Keras' own, slower pass: {reason}.", RuntimeWarning, stacklevel=2)  # type: ignore[attr-defined]

    def _maybe_config_dropout_masks(self, cell: Any, input_sequence: Any, input_state: Any) -> None:
        """Keras draws the masks here even for a forecast; `inner_loop` draws them when they are used."""

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Tensors:
        """Keras' hook for the loop: (last output, outputs, states)."""
        if training:
            super()._maybe_config_dropout_masks(self.cell, sequences[:, 0, :], list(initial_state))  # type: ignore[misc]
        if not _compiled or stock_reason(self) is not None:
            return super().inner_loop(sequences, initial_state, mask=mask, training=training)  # type: ignore[misc, no-any-return]
        math, states = MATH[type(self.cell)], tuple(keras.tree.flatten(initial_state))
        drop_inputs, drop = dropout_masks(self.cell, sequences[:, 0, :], states[0], training)
        gx = project(self.cell, math.gates, tf.transpose(sequences, (1, 0, 2)), drop_inputs)
        keep = None if mask is None else tf.transpose(tf.cast(keras.tree.flatten(mask)[0], tf.bool))[..., None]
        if self.go_backwards:  # type: ignore[attr-defined]
            gx, keep = tf.reverse(gx, [0]), None if keep is None else tf.reverse(keep, [0])
        bias = self.cell.bias[1] if self.cell.bias is not None and len(self.cell.bias.shape) == 2 else None
        kernel = tf.convert_to_tensor(self.cell.recurrent_kernel)
        outputs, *finals = recur(math, gx, kernel, bias, states, drop=drop, keep=keep)
        outputs = _masked_outputs(outputs, keep, self.zero_output_for_mask)  # type: ignore[attr-defined]
        return outputs[-1], tf.transpose(outputs, (1, 0, 2)), finals


def _masks(masks: Any) -> Sequence[Any]:
    return masks if isinstance(masks, list | tuple) else [masks]


def project(cell: Any, gates: int, x: Any, masks: Sequence[Any] = ()) -> Any:
    """The projection x W + b, shape (…, batch, gates · units), of inputs (…, batch, features) under dropout masks (batch, features)."""
    kernel = tf.convert_to_tensor(cell.kernel)
    kernels = tf.split(kernel, gates, axis=1) if len(masks) > 1 else [kernel]
    inputs = [x * mask for mask in masks] or [x]
    products = tf.concat([tf.matmul(_flat(each), block) for each, block in zip(inputs, kernels, strict=True)], axis=-1)
    if cell.bias is not None:
        products += cell.bias[0] if len(cell.bias.shape) == 2 else cell.bias
    return tf.reshape(products, tf.concat((tf.shape(x)[:-1], (kernel.shape[-1],)), axis=0))


def dropout_masks(cell: Any, x: Any, h: Any, training: bool) -> tuple[Sequence[Any], Sequence[Any]]:
    """The masks of inputs like `x` and of the recurrent state, one or one a gate, as Keras draws them; none for a forecast."""
    drop_inputs = _masks(cell.get_dropout_mask(x)) if training and cell.dropout > 0 else ()
    drop_states = _masks(cell.get_recurrent_dropout_mask(h)) if training and cell.recurrent_dropout > 0 else ()
    return drop_inputs, drop_states


def one_step(cell: Any, x: Any, states: Tensors, masks: tuple[Sequence[Any], Sequence[Any]]) -> Tensors:
    """The new states of a Keras cell after one input of shape (batch, features)."""
    math = MATH[type(cell)]
    gh = _Product(math.gates, tf.convert_to_tensor(cell.recurrent_kernel), masks[1]).forward(states[0])
    if cell.bias is not None and len(cell.bias.shape) == 2:
        gh += cell.bias[1]
    return math.forward(project(cell, math.gates, x, masks[0]), gh, states)[0]


def _masked_outputs(outputs: Any, keep: Any, zero: bool) -> Any:
    """What Keras shows at a masked timestep: zero, or the last output, which is zero before the first."""
    if keep is None:
        return outputs
    seen = keep if zero else tf.cumsum(tf.cast(keep, tf.int32), axis=0) > 0
    return tf.where(seen, outputs, tf.zeros_like(outputs))


def stock_reason(layer: Any) -> str | None:
    """Why a layer must run Keras' own pass, or None when it runs the compiled one."""
    cell = layer.cell
    checks = {
        "`activation` is not tanh": cell.activation is keras.activations.tanh,
        "`recurrent_activation` is not sigmoid": getattr(cell, "recurrent_activation", keras.activations.sigmoid)
        is keras.activations.sigmoid,
        "`reset_after` is False": getattr(cell, "reset_after", True),
        "`unroll` is True": not layer.unroll,
    }
    return next((reason for reason, holds in checks.items() if not holds), None)


@keras.saving.register_keras_serializable(package="stockrnn")
class SimpleRNN(_Compiled, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` with the compiled pass."""


@keras.saving.register_keras_serializable(package="stockrnn")
class LSTM(_Compiled, keras.layers.LSTM):
    """`keras.layers.LSTM` with the compiled pass."""


@keras.saving.register_keras_serializable(package="stockrnn")
class GRU(_Compiled, keras.layers.GRU):
    """`keras.layers.GRU` with the compiled pass."""


CELLS = {"simple_rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}
"""The recurrent layer of each `model.cell`."""
