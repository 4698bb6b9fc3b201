"""How a window becomes the steps ahead: one function for each `model.architecture`, over layers made from the config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stockrnn.config import ModelConfig
from stockrnn.models.attention import Attention
from stockrnn.models.backend import keras, tf
from stockrnn.models.cells import CELLS
from stockrnn.models.decoder import Decoder
from stockrnn.models.heads import HEADS
from stockrnn.models.seeds import derive_seed

DECODER_CELLS = {"simple_rnn": keras.layers.SimpleRNNCell, "lstm": keras.layers.LSTMCell, "gru": keras.layers.GRUCell}


@dataclass(frozen=True)
class Wiring:
    """The tensors of a network.

    Attributes:
        outputs: of a forecast, shape (batch, horizon, params).
        learned: of training, where it differs: (batch, horizon, params), or with `every_timestep` (batch, lookback, horizon, params).
        taught: input (batch, horizon, 2) of training alone: the actual of the step before, and 1 where it is used.
        ahead: input (batch, lookback, horizon, columns) of training alone: what is known ahead at each timestep.
        every_timestep: whether each timestep of a window is scored against the targets seen from it.
    """

    outputs: Any
    learned: Any = None
    taught: Any = None
    ahead: Any = None
    every_timestep: bool = False


@keras.saving.register_keras_serializable(package="stockrnn")
class KnownTimesteps(keras.layers.Layer):
    """A window that may begin before its ticker's first session → zeros at those timesteps, and which timesteps are known.

    A timestep is unknown where its features are NaN. The recurrent states stand still there and attention does not hear
    it, so that the window gives what the shorter window gives.
    """

    def call(self, window: Any) -> tuple[Any, Any]:
        """The window and the mask (batch, timesteps), true where known."""
        missing = keras.ops.isnan(window)
        return keras.ops.where(missing, 0.0, window), keras.ops.logical_not(keras.ops.any(missing, axis=-1))


@keras.saving.register_keras_serializable(package="stockrnn")
class TickerEmbedding(keras.layers.Layer):
    """A learned vector of each ticker beside every timestep of its window: the mean of all vectors for a ticker without one.

    Source: Guo and Berkhahn 2016, Entity Embeddings of Categorical Variables, arXiv:1604.06737.
    """

    def __init__(self, tickers: int, width: int, seed: int, **kwargs: Any) -> None:
        """Take the number of tickers, the width of a vector and the seed of the first ones."""
        super().__init__(**kwargs)
        self.tickers, self.width, self.seed = tickers, width, seed

    def build(self, window_shape: tuple[int | None, ...], number_shape: tuple[int | None, ...]) -> None:
        """Make the vectors."""
        del window_shape, number_shape
        initializer = keras.initializers.RandomUniform(-0.05, 0.05, seed=derive_seed(self.seed, "weights", self.name))
        self.vectors = self.add_weight(shape=(self.tickers, self.width), initializer=initializer, name="vectors")

    def call(self, window: Any, number: Any) -> Any:
        """The window (batch, timesteps, features) with the vector of its ticker, whose number (batch, 1) counts from 1; 0 has none."""
        ops = keras.ops
        mine = ops.cast(ops.equal(number, ops.arange(1.0, self.tickers + 1.0)), window.dtype)
        shares = ops.where(number < 0.5, 1.0 / self.tickers, mine)  # a mean of weights alone would be a constant to the export
        vectors = ops.matmul(shares, self.vectors)[:, None]
        return ops.concatenate([window, ops.repeat(vectors, window.shape[1], axis=1)], axis=-1)


@keras.saving.register_keras_serializable(package="stockrnn")
class Unmasked(keras.layers.Layer):
    """The same tensor without the mask that Keras attaches to it: masks are handed over by hand here."""

    supports_masking = True

    def call(self, x: Any) -> Any:
        """The tensor; a copy to Keras, as the mask hangs on the object."""
        return tf.identity(x)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """No mask."""
        del inputs, mask


class Layers:
    """Makes the layers of one network; every first weight derives from the seed and the layer's name.

    `known` is the mask of the timesteps that count, where some may not; `ahead` what is known of the steps, where something is.
    """

    def __init__(self, model: ModelConfig, seed: int, known: Any = None, ahead: Any = None) -> None:
        """Store the config's section, the seed, the mask and what is known ahead."""
        self.model, self.seed, self.known, self.ahead = model, seed, known, ahead

    def stack(self, x: Any, *, sequences: bool) -> Any:
        """All recurrent layers; the last state (batch, width), or with `sequences` all of them."""
        for depth in range(1, len(self.model.units) + 1):
            layer = self.recurrent(depth, sequences=sequences or depth < len(self.model.units))
            x = self.after(x, layer(x, **self.masked()), depth)
        return x

    def masked(self) -> dict[str, Any]:
        """What recurrent layers take beside their input."""
        return {} if self.known is None else {"mask": self.known}

    @staticmethod
    def told(x: Any, ahead: Any, name: str) -> Any:
        """Features (…, width) and beside them what is known of all steps, from (…, horizon, columns); alone where nothing is."""
        if ahead is None:
            return x
        flat = keras.layers.Reshape((*x.shape[1:-1], ahead.shape[-2] * ahead.shape[-1]), name=f"flat_{name}")(ahead)
        return keras.layers.Concatenate(name=f"told_{name}")([x, flat])

    def recurrent(self, depth: int, *, sequences: bool, state: bool = False) -> Any:
        """One recurrent layer, in both directions if the config says so."""
        name = f"recurrent_{depth}"
        options = {"return_sequences": sequences, "return_state": state}
        if not self.model.bidirectional:
            return CELLS[self.model.cell](**self.arguments(name, depth), **options)
        forward = CELLS[self.model.cell](**self.arguments(f"{name}/forward", depth, name="cell"), **options)
        backward = CELLS[self.model.cell](**self.arguments(f"{name}/backward", depth, name="backward_cell"), **options, go_backwards=True)
        return keras.layers.Bidirectional(forward, backward_layer=backward, name=name)

    def arguments(self, place: str, depth: int, *, name: str | None = None, widening: int = 1) -> dict[str, Any]:
        """What Keras' recurrent layers and cells take; `place` names the weights' seeds."""
        model = self.model
        penalty = keras.regularizers.L1L2(model.l1, model.l2) if model.l1 or model.l2 else None
        return {
            "units": model.units[depth - 1] * widening,
            "dropout": model.dropout,
            "recurrent_dropout": model.recurrent_dropout,
            "kernel_initializer": self.glorot(place),
            "recurrent_initializer": keras.initializers.Orthogonal(seed=derive_seed(self.seed, "weights", place, "recurrent")),
            "kernel_regularizer": penalty,
            "recurrent_regularizer": penalty,
            "seed": derive_seed(self.seed, "dropout", place),
            "name": name or place,
        }

    def after(self, before: Any, x: Any, depth: int) -> Any:
        """What follows a recurrent layer: normalisation, and its input added where the widths agree."""
        x = self.unmasked(x, depth)
        if self.model.layer_norm:
            x = keras.layers.LayerNormalization(name=f"norm_{depth}")(x)
        if self.model.residual and before.shape[-1] == x.shape[-1] and depth > 1:
            x = keras.layers.Add(name=f"residual_{depth}")([before if len(x.shape) == 3 else before[:, -1], x])
        return x

    def unmasked(self, x: Any, depth: int) -> Any:
        """The states of a recurrent layer without the mask of its input."""
        return x if self.known is None else Unmasked(name=f"unmasked_{depth}")(x)

    def dense(self, units: int, name: str, activation: str | None = None) -> Any:
        """A dense layer."""
        return keras.layers.Dense(units, activation=activation, kernel_initializer=self.glorot(name), name=name)

    def attention(self) -> Attention | None:
        """The attention of the config, or None."""
        return None if self.model.attention == "none" else Attention(self.model.attention, self.seed, name="attention")

    def glorot(self, place: str) -> Any:
        """Keras' default initializer of kernels, with its own seed."""
        return keras.initializers.GlorotUniform(seed=derive_seed(self.seed, "weights", place))


def many_to_one(layers: Layers, window: Any, horizon: int) -> Wiring:
    """The last state, or with attention the states it listens to, gives the whole horizon at once."""
    attention, head = layers.attention(), HEADS[layers.model.head]
    x = layers.stack(window, sequences=attention is not None)
    if attention is not None:
        last = _last_states(x, layers)
        context = attention(last, x, known=layers.known)
        x = layers.dense(last.shape[-1], "attended", "tanh")(keras.layers.Concatenate(name="heard")([context, last]))
    x = layers.dense(horizon * head.params, "head")(layers.told(x, layers.ahead, "ahead"))
    return Wiring(head.constrain("output")(keras.layers.Reshape((horizon, head.params), name="steps")(x)))


def _last_states(x: Any, layers: Layers) -> Any:
    """The last state of each direction: that of the backward one stands at the first known timestep."""
    if not layers.model.bidirectional:
        return x[:, -1]
    half, known, first = layers.model.units[-1], layers.known, x[:, 0]
    if known is not None:
        is_first = keras.ops.equal(keras.ops.cumsum(keras.ops.cast(known, "int32"), axis=1), 1) & known
        first = keras.ops.sum(keras.ops.where(is_first[..., None], x, 0.0), axis=1)
    return keras.layers.Concatenate(name="ends")([x[:, -1, :half], first[:, half:]])


def many_to_many(layers: Layers, window: Any, horizon: int) -> Wiring:
    """Every timestep gives the horizon after it; in a forecast the last one counts."""
    head, timesteps = HEADS[layers.model.head], window.shape[1]
    x = layers.stack(window, sequences=True)
    dense, constrain = layers.dense(horizon * head.params, "head"), head.constrain("output")
    coming = None if layers.ahead is None else keras.Input((timesteps, *layers.ahead.shape[1:]), name="every_ahead")
    learned = dense(layers.told(x, coming, "every_ahead"))
    learned = constrain(keras.layers.Reshape((timesteps, horizon, head.params), name="all_steps")(learned))
    outputs = dense(layers.told(x[:, -1], layers.ahead, "ahead"))
    outputs = constrain(keras.layers.Reshape((horizon, head.params), name="steps")(outputs))
    return Wiring(outputs, learned, ahead=coming, every_timestep=True)


def one_to_many(layers: Layers, window: Any, horizon: int) -> Wiring:
    """The features of one session, repeated, and what is known of each step drive the recurrence over the steps ahead."""
    head = HEADS[layers.model.head]
    unmasked = Layers(layers.model, layers.seed)
    x = keras.layers.RepeatVector(horizon, name="repeated")(window[:, -1])
    x = x if layers.ahead is None else keras.layers.Concatenate(name="told_ahead")([x, layers.ahead])
    x = unmasked.stack(x, sequences=True)
    return Wiring(head.constrain("output")(layers.dense(head.params, "head")(x)))


def encoder_decoder(layers: Layers, window: Any, horizon: int) -> Wiring:
    """The encoder's last states start a decoder over the horizon, which feeds on its own forecasts (in training, on actuals).

    What is known ahead of a step enters the decoder at that step.
    """
    model, x, states = layers.model, window, []
    for depth in range(1, len(model.units) + 1):
        out, *ends = layers.recurrent(depth, sequences=True, state=True)(x, **layers.masked())
        heard = depth < len(model.units) or model.attention != "none"
        x = layers.after(x, out, depth) if heard else layers.unmasked(out, depth)  # what nobody hears could not be learned
        states.append(_joined(ends, depth) if model.bidirectional else ends)
    taught = keras.Input((horizon, 2), name="taught")
    decoder = _decoder(layers, horizon)
    beside = {name: given for name, given in {"known": layers.known, "ahead": layers.ahead}.items() if given is not None}
    return Wiring(decoder(x, states, **beside), decoder(x, states, taught, **beside), taught)


def _joined(ends: list[Any], depth: int) -> list[Any]:
    """The states of both directions side by side."""
    half = len(ends) // 2
    pairs = zip(ends[:half], ends[half:], strict=True)
    return [keras.layers.Concatenate(name=f"state_{depth}_{k}")(list(pair)) for k, pair in enumerate(pairs, start=1)]


def _decoder(layers: Layers, horizon: int) -> Decoder:
    model, cells, norms = layers.model, [], []
    for depth in range(1, len(model.units) + 1):
        arguments = layers.arguments(f"decoder_{depth}", depth, name=f"cell_{depth}", widening=2 if model.bidirectional else 1)
        cells.append(DECODER_CELLS[model.cell](**arguments))
        norms.append(keras.layers.LayerNormalization(name=f"norm_{depth}") if model.layer_norm else None)
    dense = layers.dense(HEADS[model.head].params, "head")
    return Decoder(cells, norms, layers.attention(), dense, residual=model.residual, head=model.head, horizon=horizon, name="decoder")


ARCHITECTURES: dict[str, Callable[[Layers, Any, int], Wiring]] = {
    "many_to_one": many_to_one,
    "many_to_many": many_to_many,
    "encoder_decoder": encoder_decoder,
    "one_to_many": one_to_many,
}
"""The wiring of each `model.architecture`."""
