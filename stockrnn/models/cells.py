"""The compiled recurrent layers: `SimpleRNN`, `LSTM` and `GRU` with the weights, names and config of Keras' own.

Their pass through time is written for XLA. The input projection of all timesteps is one matrix product before the
loop; the loop, time-major, computes only `h U` and the gates, and saves what the way back needs; the backward loop is
derived by hand (backpropagation through time: Werbos 1990, doi:10.1109/5.58337) and yields the gradients of the gates'
pre-activations, from which every weight gradient is one product after it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stockrnn.models.backend import HAS_GPU, keras, tf

_compiled = not HAS_GPU


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
        forward: (input part, recurrent part, states) → (new states, saved); parts of shape (batch, gates · units).
        backward: (gradient of new states, saved) → (gradient of the input part, of the recurrent part, of the old
            states except through the recurrent product).
    """

    gates: int
    forward: Callable[[Any, Any, tuple], tuple[tuple, tuple]]
    backward: Callable[[tuple, tuple], tuple[Any, Any, tuple]]


def _simple_forward(gx: Any, gh: Any, states: tuple) -> tuple[tuple, tuple]:
    """h = tanh(x W + b + h' U) (Elman 1990, doi:10.1207/s15516709cog1402_1)."""
    del states
    h = tf.tanh(gx + gh)
    return (h,), (h,)


def _simple_backward(gradients: tuple, saved: tuple) -> tuple[Any, Any, tuple]:
    """da = dh (1 - h²); the old state is reached through h' U alone."""
    (dh,), (h,) = gradients, saved
    da = dh * (1.0 - h * h)
    return da, da, (tf.zeros_like(dh),)


def _lstm_forward(gx: Any, gh: Any, states: tuple) -> tuple[tuple, tuple]:
    """i, f, o = σ(a_i), σ(a_f), σ(a_o); g = tanh(a_g); c = f c' + i g; h = o tanh(c), where a = x W + b + h' U.

    Source: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, with the forget gate of Gers et al. 2000.
    """
    _, c_old = states
    ai, af, ag, ao = tf.split(gx + gh, 4, axis=-1)
    i, f, g, o = tf.sigmoid(ai), tf.sigmoid(af), tf.tanh(ag), tf.sigmoid(ao)
    c = f * c_old + i * g
    t = tf.tanh(c)
    return (o * t, c), (i, f, g, o, t, c_old)


def _lstm_backward(gradients: tuple, saved: tuple) -> tuple[Any, Any, tuple]:
    """With t = tanh(c): dc += dh o (1 - t²); da = [dc g i(1-i), dc c' f(1-f), dc i (1-g²), dh t o(1-o)]; dc' = dc f."""
    (dh, dc), (i, f, g, o, t, c_old) = gradients, saved
    dc = dc + dh * o * (1.0 - t * t)
    blocks = (dc * g * i * (1.0 - i), dc * c_old * f * (1.0 - f), dc * i * (1.0 - g * g), dh * t * o * (1.0 - o))
    da = tf.concat(blocks, axis=-1)
    return da, da, (tf.zeros_like(dh), dc * f)


def _gru_forward(gx: Any, gh: Any, states: tuple) -> tuple[tuple, tuple]:
    """z, r = σ(x_z + h_z), σ(x_r + h_r); n = tanh(x_n + r h_n); h = z h' + (1 - z) n, where h_k = h' U_k + b_k.

    Source: Cho et al. 2014, doi:10.3115/v1/D14-1179, reset gate after the product (Keras' `reset_after`, cuDNN's GRU).
    """
    (h_old,) = states
    xz, xr, xn = tf.split(gx, 3, axis=-1)
    hz, hr, hn = tf.split(gh, 3, axis=-1)
    z, r = tf.sigmoid(xz + hz), tf.sigmoid(xr + hr)
    n = tf.tanh(xn + r * hn)
    return (n + z * (h_old - n),), (z, r, n, hn, h_old)


def _gru_backward(gradients: tuple, saved: tuple) -> tuple[Any, Any, tuple]:
    """dn = dh (1-z)(1-n²); da_z = dh (h'-n) z(1-z); da_r = dn h_n r(1-r); the recurrent part sees dn r; dh' = dh z."""
    (dh,), (z, r, n, hn, h_old) = gradients, saved
    dn = dh * (1.0 - z) * (1.0 - n * n)
    dz = dh * (h_old - n) * z * (1.0 - z)
    dr = dn * hn * r * (1.0 - r)
    return tf.concat((dz, dr, dn), axis=-1), tf.concat((dz, dr, dn * r), axis=-1), (dh * z,)


SIMPLE_RNN = CellMath(1, _simple_forward, _simple_backward)
LSTM_CELL = CellMath(4, _lstm_forward, _lstm_backward)
GRU_CELL = CellMath(3, _gru_forward, _gru_backward)


def recur(math: CellMath, gx: Any, kernel: Any, bias: Any, states: tuple, *, drop: list[Any] | None = None, keep: Any = None) -> tuple:
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
    product = _Product(math.gates, kernel, drop)

    @tf.custom_gradient
    def run(gx: Any, kernel: Any, bias: Any, *states: Any) -> tuple:
        del kernel
        outputs, saved, finals = _forward(math, product, gx, bias, states, keep)

        def gradient(d_outputs: Any, *d_finals: Any) -> tuple:
            dgx, dgh, d_states = _backward(math, product, d_outputs, d_finals, saved, keep)
            before = tf.concat((states[0][None], outputs[:-1]), axis=0)
            return dgx, product.kernel_gradient(before, dgh), tf.reduce_sum(dgh, axis=(0, 1)), *d_states

        return (outputs, *finals), gradient

    zero = tf.zeros(gx.shape[-1:], gx.dtype)
    return run(gx, kernel, zero if bias is None else bias, *states)


class _Product:
    """h' U with its dropout, the way back, and the gradient of U."""

    def __init__(self, gates: int, kernel: Any, drop: list[Any] | None) -> None:
        self.drop = drop or []
        self.kernel, self.transposed = kernel, tf.transpose(kernel)
        self.blocks = tf.split(kernel, gates, axis=1) if len(self.drop) > 1 else [kernel]

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


def _flat(sequence: Any) -> Any:
    return tf.reshape(sequence, (-1, sequence.shape[-1]))


def _arrays(like: tuple, length: Any) -> tuple:
    return tuple(tf.TensorArray(x.dtype, size=length, element_shape=x.shape) for x in like)


def _forward(math: CellMath, product: _Product, gx: Any, bias: Any, states: tuple, keep: Any) -> tuple[Any, tuple, tuple]:
    length = tf.shape(gx)[0]

    def step(gx_t: Any, keep_t: Any, states: tuple) -> tuple[tuple, tuple]:
        new, saved = math.forward(gx_t, product.forward(states[0]) + bias, states)
        return new if keep_t is None else tuple(tf.where(keep_t, a, b) for a, b in zip(new, states, strict=True)), saved

    inputs = _readable(gx, keep)
    like = step(*(None if x is None else x[0] for x in (gx, keep)), states)

    def body(t: Any, states: tuple, outputs: Any, saved: tuple) -> tuple:
        new, kept = step(*_read(inputs, t), states)
        return t + 1, new, outputs.write(t, new[0]), tuple(array.write(t, x) for array, x in zip(saved, kept, strict=True))

    start = (tf.constant(0), states, _arrays(like[0][:1], length)[0], _arrays(like[1], length))
    _, finals, outputs, saved = tf.while_loop(lambda t, *_: t < length, body, start)
    return outputs.stack(), tuple(array.stack() for array in saved), finals


def _backward(math: CellMath, product: _Product, d_outputs: Any, d_finals: tuple, saved: tuple, keep: Any) -> tuple[Any, Any, tuple]:
    length = tf.shape(d_outputs)[0]

    def step(d_out: Any, keep_t: Any, saved_t: tuple, gradients: tuple) -> tuple[Any, Any, tuple]:
        gradients = (gradients[0] + d_out, *gradients[1:])
        through = gradients if keep_t is None else tuple(tf.where(keep_t, d, tf.zeros_like(d)) for d in gradients)
        dgx, dgh, old = math.backward(through, saved_t)
        old = (old[0] + product.backward(dgh), *old[1:])
        if keep_t is not None:
            old = tuple(tf.where(keep_t, d, d_still) for d, d_still in zip(old, gradients, strict=True))
        return dgx, dgh, old

    inputs = _readable(d_outputs, keep, *saved)
    like = step(d_outputs[0], None if keep is None else keep[0], tuple(x[0] for x in saved), d_finals)

    def body(t: Any, gradients: tuple, dgx: Any, dgh: Any) -> tuple:
        d_out, keep_t, *saved_t = _read(inputs, t)
        gx_t, gh_t, old = step(d_out, keep_t, tuple(saved_t), gradients)
        return t - 1, old, dgx.write(t, gx_t), dgh.write(t, gh_t)

    start = (length - 1, d_finals, *_arrays(like[:2], length))
    _, gradients, dgx, dgh = tf.while_loop(lambda t, *_: t >= 0, body, start)
    return dgx.stack(), dgh.stack(), gradients


def _readable(*sequences: Any) -> tuple:
    return tuple(
        None if x is None else tf.TensorArray(x.dtype, size=tf.shape(x)[0], clear_after_read=False, element_shape=x.shape[1:]).unstack(x)
        for x in sequences
    )


def _read(arrays: tuple, t: Any) -> list[Any]:
    return [None if array is None else array.read(t) for array in arrays]


class _Compiled:
    """Mixed into a Keras recurrent layer: its loop over time is `recur`, everything around it stays Keras' own."""

    math: CellMath
    cell: Any

    def _maybe_config_dropout_masks(self, cell: Any, input_sequence: Any, input_state: Any) -> None:
        """Keras draws the masks here even for a forecast; `inner_loop` draws them when they are used."""

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> tuple:
        """Keras' hook for the loop: (last output, outputs, states)."""
        if training:
            super()._maybe_config_dropout_masks(self.cell, sequences[:, 0, :], list(initial_state))  # type: ignore[misc]
        if not _compiled or stock_reason(self) is not None:
            return super().inner_loop(sequences, initial_state, mask=mask, training=training)  # type: ignore[misc]
        states = tuple(keras.tree.flatten(initial_state))
        gx = _input_projection(self.cell, self.math.gates, sequences, training)
        keep = None if mask is None else tf.transpose(tf.cast(keras.tree.flatten(mask)[0], tf.bool))[..., None]
        if self.go_backwards:  # type: ignore[attr-defined]
            gx, keep = tf.reverse(gx, [0]), None if keep is None else tf.reverse(keep, [0])
        bias = self.cell.bias[1] if self.cell.bias is not None and len(self.cell.bias.shape) == 2 else None
        drop = _masks(self.cell.get_recurrent_dropout_mask(states[0])) if training and self.cell.recurrent_dropout > 0 else None
        kernel = tf.convert_to_tensor(self.cell.recurrent_kernel)
        outputs, *finals = recur(self.math, gx, kernel, bias, states, drop=drop, keep=keep)
        outputs = _masked_outputs(outputs, keep, self.zero_output_for_mask)  # type: ignore[attr-defined]
        return outputs[-1], tf.transpose(outputs, (1, 0, 2)), finals


def _masks(masks: Any) -> list[Any]:
    return list(masks) if isinstance(masks, list | tuple) else [masks]


def _input_projection(cell: Any, gates: int, sequences: Any, training: bool) -> Any:
    """x W + b of all timesteps, time-major: shape (timesteps, batch, gates · units)."""
    x = tf.transpose(sequences, (1, 0, 2))
    kernel = tf.convert_to_tensor(cell.kernel)
    blocks = [(x, kernel)]
    if training and cell.dropout > 0:
        masks = _masks(cell.get_dropout_mask(sequences[:, 0, :]))
        kernels = tf.split(kernel, gates, axis=1) if len(masks) > 1 else [kernel]
        blocks = [(x * mask, block) for mask, block in zip(masks, kernels, strict=True)]
    products = tf.concat([tf.matmul(_flat(inputs), block) for inputs, block in blocks], axis=-1)
    if cell.bias is not None:
        products += cell.bias[0] if len(cell.bias.shape) == 2 else cell.bias
    return tf.reshape(products, (tf.shape(x)[0], tf.shape(x)[1], kernel.shape[-1]))


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


def _warn_of_stock(layer: Any) -> None:
    reason = stock_reason(layer)
    if reason is not None:
        warnings.warn(f"{layer.name} runs Keras' own, slower pass: {reason}.", RuntimeWarning, stacklevel=3)


@keras.saving.register_keras_serializable(package="stockrnn")
class SimpleRNN(_Compiled, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` with the compiled pass."""

    math = SIMPLE_RNN

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take Keras' arguments."""
        super().__init__(*args, **kwargs)
        _warn_of_stock(self)


@keras.saving.register_keras_serializable(package="stockrnn")
class LSTM(_Compiled, keras.layers.LSTM):
    """`keras.layers.LSTM` with the compiled pass."""

    math = LSTM_CELL

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take Keras' arguments."""
        super().__init__(*args, **kwargs)
        _warn_of_stock(self)


@keras.saving.register_keras_serializable(package="stockrnn")
class GRU(_Compiled, keras.layers.GRU):
    """`keras.layers.GRU` with the compiled pass."""

    math = GRU_CELL

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take Keras' arguments."""
        super().__init__(*args, **kwargs)
        _warn_of_stock(self)


CELLS = {"simple_rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}
"""The recurrent layer of each `model.cell`."""
