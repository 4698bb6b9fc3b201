"""The compiled recurrent layers: `SimpleRNN`, `LSTM` and `GRU` with the weights, names and config of Keras' own.

Their pass through time is written for XLA. The input projection of all timesteps is one matrix product before the
loop; the loop, time-major, computes only `h U` and the gates, and saves what the way back needs; the backward loop is
derived by hand (backpropagation through time: Werbos 1990, doi:10.1109/5.58337) and yields the gradients of the gates'
pre-activations, from which every weight gradient is one product after it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stockrnn.models.backend import HAS_GPU, keras, tf
from stockrnn.models.products import RecurrentProduct, joined_rows, wide_product, widened
from stockrnn.models.shapes import GATES

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

    States are flat, shape (batch · units,): XLA's loops over one long axis are the fastest. Gradients are not, as they are read from wide
    products; nor is what is saved and made of a part of the pre-activations.

    Attributes:
        gates: blocks of `units` columns in the kernels.
        forward: (input part, recurrent part, states) → (new states, saved); parts of shape (batch, gates · units).
        backward: (gradients of the new states, saved, old h) → (gradients of the recurrent part, one a gate; of the input part's last
            gate, none where the two parts have the same; of the old states except through the recurrent product, None where there is no
            other way); all of shape (batch, units).
    """

    gates: int
    forward: Callable[[Any, Any, Tensors], tuple[Tensors, Tensors]]
    backward: Callable[[Tensors, Tensors, Any], tuple[Tensors, Tensors, Tensors]]


def _flat(x: Any) -> Any:
    return tf.reshape(x, (-1,))


def _gates(a: Any, gates: int) -> Any:
    return tf.split(a, gates, axis=-1)


def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), written as (1 + tanh(x/2)) / 2: XLA has a fast tanh."""
    return 0.5 * _flat(tf.tanh(0.5 * x)) + 0.5


def _simple_forward(gx: Any, gh: Any, states: Tensors) -> tuple[Tensors, Tensors]:
    """New state h = tanh(x W + b + h' U) (Elman 1990, doi:10.1207/s15516709cog1402_1). Saved: dh/da = 1 - h²."""
    del states
    h = _flat(tf.tanh(gx + gh))
    return (h,), (1.0 - h * h,)


def _simple_backward(gradients: Tensors, saved: Tensors, h_old: Any) -> tuple[Tensors, Tensors, Tensors]:
    """Pre-activation: da = dh (1 - h²). The old state is reached through h' U alone."""
    del h_old
    (dh,), (slope,) = gradients, saved
    return (dh * slope,), (), (None,)


def _lstm_forward(gx: Any, gh: Any, states: Tensors) -> tuple[Tensors, Tensors]:
    """Gates i, f, o = sigmoid(a_i, a_f, a_o), g = tanh(a_g); c = f c' + i g; h = o tanh(c), where a = x W + b + h' U.

    With t = tanh(c), saved: dc/da = [g i(1-i), c' f(1-f), i (1-g²)], dh/da_o = t o(1-o), dh/dc = o (1-t²), dc/dc' = f.
    Source: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gate: Gers et al. 2000,
    doi:10.1162/089976600300015015.
    """
    _, c_old = states
    ai, af, ag, ao = _gates(gx + gh, 4)
    i, f, g, o = _sigmoid(ai), _sigmoid(af), _flat(tf.tanh(ag)), _sigmoid(ao)
    c = f * c_old + i * g
    t = tf.tanh(c)
    saved = (g * (i * (1.0 - i)), c_old * (f * (1.0 - f)), i * (1.0 - g * g), t * (o * (1.0 - o)), o * (1.0 - t * t), f)
    return (o * t, c), saved


def _lstm_backward(gradients: Tensors, saved: Tensors, h_old: Any) -> tuple[Tensors, Tensors, Tensors]:
    """With the saved slopes s and t = tanh(c): dc += dh o (1-t²); da = [dc s_i, dc s_f, dc s_g, dh s_o]; dc' = dc f."""
    del h_old
    (dh, dc), (si, sf, sg, so, through, f) = gradients, saved
    dc = dc + dh * through
    return (dc * si, dc * sf, dc * sg, dh * so), (), (None, dc * f)


def _gru_forward(gx: Any, gh: Any, states: Tensors) -> tuple[Tensors, Tensors]:
    """Gates z, r = sigmoid(x_z + h_z, x_r + h_r); n = tanh(x_n + r h_n); h = z h' + (1 - z) n, where h_k = h' U_k + b_k.

    Saved: z, r, n, h_n r(1-r).

    Source: Cho et al. 2014, doi:10.3115/v1/D14-1179, reset gate after the product (Keras' `reset_after`, cuDNN's GRU).
    """
    (h_old,) = states
    xz, xr, xn = _gates(gx, 3)
    hz, hr, hn = _gates(gh, 3)
    z, r = _sigmoid(xz + hz), _sigmoid(xr + hr)
    r = tf.reshape(r, (-1, hn.shape[-1]))
    n = _flat(tf.tanh(xn + r * hn))
    return (n + z * (h_old - n),), (z, r, n, hn * (r * (1.0 - r)))


def _gru_backward(gradients: Tensors, saved: Tensors, h_old: Any) -> tuple[Tensors, Tensors, Tensors]:
    """With a_n's gradient dn = dh (1-z)(1-n²): da_z = dh (h'-n) z(1-z); da_r = dn h_n r(1-r); dh_n = dn r; dh' = dh z."""
    (dh,), (z, r, n, slope) = gradients, saved
    dn = dh * (1.0 - z) * (1.0 - n * n)
    dz = dh * (h_old - n) * z * (1.0 - z)
    dr = dn * slope
    return (dz, dr, dn * r), (dn,), (dh * z,)


MATH = {
    keras.layers.SimpleRNNCell: CellMath(GATES["simple_rnn"], _simple_forward, _simple_backward),
    keras.layers.LSTMCell: CellMath(GATES["lstm"], _lstm_forward, _lstm_backward),
    keras.layers.GRUCell: CellMath(GATES["gru"], _gru_forward, _gru_backward),
}
"""The equations of each of Keras' cells."""


def recur(math: CellMath, gx: Any, kernel: Any, biases: Tensors, states: Tensors, *, drop: Sequence[Any] = (), keep: Any = None) -> Tensors:
    """Run a cell over all timesteps, with the hand-derived gradient.

    Args:
        math: the cell.
        gx: input projection without its bias, shape (timesteps, batch, gates · units or more): what is more is left aside.
        kernel: recurrent kernel, shape (units, gates · units).
        biases: of the input part and of the recurrent part, each of shape (gates · units,), or None.
        states: initial states, each of shape (batch, units).
        drop: masks of recurrent dropout, one for all gates or one a gate, each of shape (batch, units).
        keep: which timesteps count, bool of shape (timesteps, batch, 1); at the others the states stand still.

    Returns:
        The outputs, shape (timesteps, batch, units), then the final states.
    """

    @tf.custom_gradient
    def run(gx: Any, kernel: Any, *rest: Any) -> Tensors:
        given = iter(rest[len(states) :])
        sweep = _Sweep(
            math,
            RecurrentProduct(math.gates, kernel, drop, states[0].shape[0]),
            tuple(bias if bias is None else next(given) for bias in biases),
            keep,
        )
        outputs, before, saved, finals = sweep.forward(gx, rest[: len(states)])

        def gradient(d_outputs: Any, *d_finals: Any) -> Tensors:
            dgx, dgh, d_states = sweep.backward(d_outputs, d_finals, before, saved)
            d_biases = [tf.reduce_sum(d, axis=(0, 1)) for d, bias in zip((dgx, dgh), biases, strict=True) if bias is not None]
            wide = tf.reshape(widened(joined_rows(dgx), gx.shape[-1]), tf.shape(gx))
            return wide, sweep.product.kernel_gradient(before, dgh), *d_states, *d_biases

        return (outputs, *finals), gradient

    return tuple(run(gx, kernel, *states, *(bias for bias in biases if bias is not None)))


@dataclass(frozen=True)
class _Sweep:
    """The two loops over time, forward and backward."""

    math: CellMath
    product: RecurrentProduct
    biases: Tensors
    keep: Any

    def forward(self, gx: Any, states: Tensors) -> tuple[Any, Any, Tensors, Tensors]:
        """Outputs and the states h before them (timesteps, batch, units), what the way back needs, and the final states."""
        length, states = tf.shape(gx)[0], tuple(map(_flat, states))
        inputs = _readable(gx, self.keep)

        def body(t: Any, states: Tensors, shown: Tensors, saved: Tensors) -> Tensors:
            gx_t, keep_t = _read(inputs, t)
            new, kept = self._step(gx_t, keep_t, states)
            return t + 1, new, _written(shown, t, map(self._square, (new[0], states[0]))), _written(saved, t, kept)

        _, kept = _sketched(lambda: self._step(gx[0], None, states))
        start = (tf.constant(0), states, _arrays((self._square(states[0]),) * 2, length), _arrays(kept, length))
        _, finals, (outputs, before), saved = tf.while_loop(lambda t, *_: t < length, body, start)
        return outputs.stack(), before.stack(), tuple(array.stack() for array in saved), tuple(map(self._square, finals))

    def _square(self, flat: Any) -> Any:
        return tf.reshape(flat, (-1, self.product.units))

    def _step(self, gx: Any, keep: Any, states: Tensors) -> tuple[Tensors, Tensors]:
        gh = self.product.forward(self._square(states[0]))
        gx, gh = _biased((gx[:, : gh.shape[1]], gh), self.biases)
        new, saved = self.math.forward(gx, gh, states)
        return tuple(_flat(_where(keep, self._square(a), self._square(b))) for a, b in zip(new, states, strict=True)), saved

    def backward(self, d_outputs: Any, d_finals: Tensors, before: Any, saved: Tensors) -> tuple[Any, Any, Tensors]:
        """Gradients of the input part and of the recurrent part of all timesteps, and of the initial states."""
        length = tf.shape(d_outputs)[0]
        inputs = _readable(d_outputs, self.keep, before, *saved)

        def body(t: Any, gradients: Tensors, written: Tensors) -> Tensors:
            d_out, keep, h_old, *saved_t = _read(inputs, t)
            parts, old = self._step_back(d_out, keep, h_old, tuple(map(self._square, saved_t)), gradients)
            return t - 1, old, _written(written, t, parts)

        dh, *others = d_finals
        start = self.product.as_wide(dh), (), tuple(others)
        first = None if self.keep is None else self.keep[0]
        saved_0 = tuple(self._square(x[0]) for x in saved)
        like, old = _sketched(lambda: self._step_back(d_outputs[0], first, before[0], saved_0, start))
        start = start[0], tuple(tf.zeros_like(dh) for _ in old[1]), start[2]
        _, gradients, written = tf.while_loop(lambda t, *_: t >= 0, body, (length - 1, start, _arrays(like, length)))
        dgh, *last = [array.stack() for array in written]
        dgx = tf.concat([dgh[..., : -self.product.units], *last], axis=-1) if last else dgh
        return dgx, dgh, (self._whole(*gradients[:2]), *gradients[2])

    def _whole(self, through: Any, straight: Tensors, *more: Any) -> Any:
        """A gradient of h: what came through the recurrent product, in its first columns, and what came otherwise."""
        return tf.add_n([through[:, : self.product.units], *straight, *more])

    def _step_back(self, d_out: Any, keep: Any, h_old: Any, saved: Tensors, gradients: Tensors) -> tuple[Tensors, Tensors]:
        """Gradients of the recurrent part and, where it differs, of the input part's last gate; and of the old states.

        Gradients of states are (of h through the recurrent product, wide; of h otherwise, if at all; of the other states).
        """
        through, straight, others = gradients
        gradients = (self._whole(through, straight, d_out), *others)
        counted = tuple(_where(keep, each, tf.zeros_like(each)) for each in gradients)
        parts, last, (dh, *others) = self.math.backward(counted, saved, h_old)
        dgh = tf.concat(parts, axis=-1)
        if dh is not None or keep is not None:
            straight = (_where(keep, tf.zeros_like(h_old) if dh is None else dh, gradients[0]),)
        others = tuple(_where(keep, each, given) for each, given in zip(others, gradients[1:], strict=True))
        return (dgh, *last), (self.product.backward(dgh), straight, others)


def _where(keep: Any, some: Any, others: Any) -> Any:
    """The first where a timestep counts, else the second, of shape (batch, units); `keep` of shape (batch, 1), or None if all count."""
    return some if keep is None else tf.where(keep, some, others)


def _biased(parts: Tensors, biases: Tensors) -> Tensors:
    return tuple(part if bias is None else part + bias for part, bias in zip(parts, biases, strict=True))


def _sketched(step: Callable[[], Tensors]) -> Tensors:
    """What a timestep gives, made in a graph that is thrown away: types and shapes can be read from it, and nothing is computed.

    In the graph itself it would be compiled, unused as it is: each `tf.tanh` takes 5 ms there, also where the program was kept.
    """
    with tf.__internal__.FuncGraph("sketch").as_default():
        return step()


def _arrays(like: Tensors, length: Any) -> Tensors:
    return tuple(tf.TensorArray(x.dtype, size=length, element_shape=x.shape) for x in like)


def _written(arrays: Tensors, t: Any, values: Iterable[Any]) -> Tensors:
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
        kernel = tf.convert_to_tensor(self.cell.recurrent_kernel)
        outputs, *finals = recur(math, gx, kernel, _biases(self.cell), states, drop=drop, keep=keep)
        last = finals[0]  # so that the others need not be kept where nobody asks for them
        if keep is not None:
            outputs = _masked_outputs(outputs, keep, self.zero_output_for_mask)  # type: ignore[attr-defined]
            last = outputs[-1]
        return last, tf.transpose(outputs, (1, 0, 2)), finals


def _masks(masks: Any) -> Sequence[Any]:
    return masks if isinstance(masks, list | tuple) else [masks]


def _biases(cell: Any) -> Tensors:
    """The biases of the input part and of the recurrent part, which a GRU alone has."""
    if cell.bias is None:
        return None, None
    bias = tf.convert_to_tensor(cell.bias)
    return (bias, None) if len(bias.shape) == 1 else (bias[0], bias[1])


def project(cell: Any, gates: int, x: Any, masks: Sequence[Any] = ()) -> Any:
    """The projection x W, shape (…, batch, gates · units or more), of inputs (…, batch, features) under dropout masks (batch, features)."""
    kernel = tf.convert_to_tensor(cell.kernel)
    if len(masks) > 1:
        parts = zip(masks, _gates(kernel, gates), strict=True)
        products = tf.concat([wide_product(joined_rows(x * mask), block)[:, : cell.units] for mask, block in parts], axis=-1)
    else:
        products = wide_product(joined_rows(x * masks[0] if masks else x), kernel)
    return tf.reshape(products, tf.concat((tf.shape(x)[:-1], (products.shape[-1],)), axis=0))


def dropout_masks(cell: Any, x: Any, h: Any, training: bool) -> tuple[Sequence[Any], Sequence[Any]]:
    """The masks of inputs like `x` and of the recurrent state, one or one a gate, as Keras draws them; none for a forecast."""
    drop_inputs = _masks(cell.get_dropout_mask(x)) if training and cell.dropout > 0 else ()
    drop_states = _masks(cell.get_recurrent_dropout_mask(h)) if training and cell.recurrent_dropout > 0 else ()
    return drop_inputs, drop_states


def one_step(cell: Any, x: Any, states: Tensors, masks: tuple[Sequence[Any], Sequence[Any]]) -> Tensors:
    """The new states of a Keras cell after one input of shape (batch, features)."""
    math = MATH[type(cell)]
    product = RecurrentProduct(math.gates, tf.convert_to_tensor(cell.recurrent_kernel), masks[1], x.shape[0])
    gh = product.forward(states[0])
    gx, gh = _biased((project(cell, math.gates, x, masks[0])[:, : gh.shape[1]], gh), _biases(cell))
    new, _ = math.forward(gx, gh, tuple(map(_flat, states)))
    return tuple(tf.reshape(state, (-1, product.units)) for state in new)


def _masked_outputs(outputs: Any, keep: Any, zero: bool) -> Any:
    """What Keras shows at a masked timestep: zero, or the last output, which is zero before the first."""
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
