"""The compiled functions: a whole epoch with its validation, and a whole forecast, each one XLA program.

Series and targets stay resident and windows are gathered by the rows of their cutoffs, so memory grows with rows alone.
Networks of one spec share one engine, and so one compilation, in a process: weights are put in and taken out. The number
of updates is an argument and arrays are padded to shared sizes with windows of weight zero, so that folds share it too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stockrnn.features.windows import Windows, aligned_zeros, in_room, roomy
from stockrnn.models.backend import keras, spare_memory, tf
from stockrnn.models.cells import layers_are_compiled
from stockrnn.models.heads import HEADS, LOSSES
from stockrnn.models.networks import NetworkSpec, call_network, network_weights, set_network_weights, shared_network
from stockrnn.models.seeds import derive_seed
from stockrnn.training.compiling import Program, as_it_lies
from stockrnn.training.halves import HalvedEpoch
from stockrnn.training.pairing import Pair
from stockrnn.training.vector import WeightVector
from stockrnn.types import AHEAD

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
"""The update rule of each `train.optimizer`, with Keras' defaults."""

FORECAST_BATCH = 256
LEAST_STEPS, LEAST_FORECAST_STEPS = 32, 4
"""Least numbers of batches that arrays are padded to, in training and in a forecast: short series then share a compiled shape."""


@dataclass(frozen=True)
class Batches:
    """Windows in batches, padded.

    Attributes:
        rows: row of each window's cutoff, int32, shape (padded steps, batch).
        weights: 1 for a window and 0 for padding, float32, the same shape.
        steps: batches in use.
    """

    rows: np.ndarray
    weights: np.ndarray
    steps: int

    def tensors(self) -> tuple[Any, Any, Any]:
        """What the compiled functions take."""
        return as_it_lies(self.rows), as_it_lies(self.weights), tf.constant(self.steps)


def no_batches(n: int, batch: int, least: int = LEAST_STEPS) -> Batches:
    """Batches with room for so many windows, `least` or more, and none in use; their memory is not taken before it is written."""
    shape = (roomy(math.ceil(n / batch), least), batch)
    return Batches(aligned_zeros(shape, np.int32), aligned_zeros(shape, np.float32), 0)


def in_batches(ends: np.ndarray, batch: int, least: int = LEAST_STEPS) -> Batches:
    """Cut windows into batches, `least` or more; the last ones are filled up with repetitions of weight zero."""
    n = len(ends)
    batches = no_batches(n, batch, least)
    rows, weights = batches.rows.reshape(-1), batches.weights.reshape(-1)
    rows[:n], rows[n:], weights[:n] = ends, ends[0], 1.0
    return replace(batches, steps=math.ceil(n / batch))


def resident(array: np.ndarray) -> Any:
    """An array of the series as a tensor, with rows of zeros at its end up to a shared size."""
    return as_it_lies(in_room(array))


def _given(windows: Windows) -> tuple[Any, ...]:
    """What a network is given of every row, resident: the series, and what stands beside it."""
    return tuple(resident(array) for array in (windows.series, *windows.beside.values()))


def _windows(series: Any, rows: Any, lookback: int) -> Any:
    """The windows that end at these rows, shape (batch, lookback, features)."""
    return tf.gather(series, rows[:, None] + tf.range(1 - lookback, 1))


def _inputs(spec: NetworkSpec, given: tuple[Any, ...], rows: Any, seen_from: Any = None) -> list[Any]:
    """What a network is given for the windows that end at these rows; what is known ahead as seen from there, or from other rows."""
    series, *beside = given
    places = {AHEAD: rows if seen_from is None else seen_from}
    return [
        _windows(series, rows, spec.lookback),
        *(tf.gather(each, places.get(name, rows)) for name, each in zip(spec.beside, beside, strict=True)),
    ]


@dataclass(frozen=True)
class TrainingSpec:
    """All that fixes a compiled epoch besides array shapes."""

    network: NetworkSpec
    optimizer: str
    loss: str
    batch_size: int
    clip_norm: float | None = None
    clip_value: float | None = None
    halved: bool = False
    compiled: bool = field(default_factory=layers_are_compiled)


@functools.lru_cache(maxsize=16)
def training_engine(spec: TrainingSpec) -> TrainingEngine:
    """The engine of a spec; the same one each time in a process, as a traced function keeps its layers."""
    return TrainingEngine(spec)


class TrainingEngine(keras.Model):
    """A network with its optimizer and compiled functions; trainings borrow it one after the other.

    To Keras it is a model whose one batch is a whole epoch: `fit` hands `train_function` the number of the epoch, and gets the means
    of training and validation.
    """

    def __init__(self, spec: TrainingSpec) -> None:
        """Build network and optimizer; nothing is compiled before the first epoch."""
        super().__init__(name="engine")
        self.spec, self.lookback = spec, spec.network.lookback
        self.network = shared_network(spec.network)
        self.learning, self.head = self.network.learning, HEADS[spec.network.model.head]
        self.window_loss = LOSSES[spec.loss]
        self.built = True
        self.compile(optimizer=OPTIMIZERS[spec.optimizer](name="optimizer"), jit_compile=False)
        self.randomness = [v for v in self.network.non_trainable_variables if v.path.endswith("seed_generator_state")]
        self.vector = WeightVector(self.network.trainable_variables)
        self.optimizer.build([self.vector.variable])
        self.compiled_epoch = Program(self._epoch, spec, self.touched)
        self.halves = HalvedEpoch(self) if spec.halved else None
        self.compiled_shapes: set[tuple[Any, ...]] = set()

    def borrow(
        self,
        network: Any,
        train: Windows,
        validation: Windows,
        seeds: tuple[int, int],
        teaching: Callable[[int], float] = lambda _: 0.0,
        pair: Pair | None = None,
    ) -> None:
        """Begin a training: take these weights and data, and reset the optimizer.

        Args:
            network: gives the weights.
            train: windows learned from.
            validation: windows scored.
            seeds: seed and member, from which order, dropout and teaching derive.
            teaching: epoch → share of the decoder's inputs that are actuals.
            pair: another process, for halves.
        """
        set_network_weights(self.network, network_weights(network))
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros(variable.shape, variable.dtype))
        self.seeds, self.ends, self.teaching = seeds, train.ends, teaching
        self.train_data = _given(train), resident(train.targets)
        shared = validation.series is train.series and validation.targets is train.targets
        self.score_data = self.train_data if shared else (_given(validation), resident(validation.targets))
        self.score_batches = in_batches(validation.ends, self.spec.batch_size).tensors()
        if self.halves is not None:
            self.halves.share(pair)

    def give_back(self) -> None:
        """Let go of the data, so that another training can borrow the engine."""
        del self.train_data, self.score_data, self.score_batches, self.ends
        if self.halves is not None:
            self.halves.share(None)

    @property
    def metrics(self) -> list[Any]:
        """None: an epoch returns its own means."""
        return []

    def make_train_function(self, force: bool = False) -> None:
        """Keras' hook: what `fit` calls with a batch is called with the number of an epoch."""
        del force
        self.train_function = lambda iterator: self.run_epoch(int(next(iterator)))

    def run_epoch(self, epoch: int) -> dict[str, Any]:
        """Derive the epoch's order and dropout from (seed, member, epoch), and run it: the means."""
        self.prepare(epoch)
        seed, member = self.seeds
        ends = np.random.default_rng(derive_seed(seed, "order", member, epoch)).permutation(self.ends)
        lesson = *self.train_data, *in_batches(ends, self.spec.batch_size).tensors(), *self._teaching(epoch)
        return self._run(epoch, lesson, (*self.score_data, *self.score_batches))

    def serve(self) -> None:
        """Compute the second halves of each epoch that another process begins, until PartedError ends it."""
        if self.halves is not None:
            self.prepare(1)
            self.halves.serve(self.run_epoch)

    def prepare(self, epoch: int) -> None:
        """Seed dropout, and compile for these shapes with an epoch of no updates: compiling takes more memory than all that follows."""
        seed, member = self.seeds
        for number, variable in enumerate(self.randomness):
            variable.assign([derive_seed(seed, "dropout", member, epoch, number), 0])
        rows, weights, steps = self.score_batches
        lesson = *self.train_data, *no_batches(len(self.ends), self.spec.batch_size).tensors(), *self._teaching(epoch)
        scored = *self.score_data, rows, weights, tf.zeros_like(steps)
        shapes = tuple(array.shape for array in tf.nest.flatten((lesson, scored)))
        if shapes not in self.compiled_shapes:
            self._run(epoch, lesson, scored)
            self.compiled_shapes.add(shapes)
            spare_memory()

    def _teaching(self, epoch: int) -> tuple[Any, Any]:
        seed, member = self.seeds
        return tf.constant(self.teaching(epoch)), tf.constant(derive_seed(seed, "teaching", member, epoch), tf.uint32)

    def _run(self, epoch: int, lesson: tuple[Any, ...], validation: tuple[Any, ...]) -> dict[str, Any]:
        means: dict[str, Any] = self.compiled_epoch(lesson, validation) if self.halves is None else self.halves(epoch, lesson, validation)
        return means

    def touched(self) -> list[Any]:
        """All variables that compiled functions read or change."""
        return [self.vector.variable, *self.optimizer.variables, *self.network.variables]

    def _epoch(self, lesson: tuple[Any, ...], validation: tuple[Any, ...]) -> dict[str, Any]:
        """An epoch's updates, and the validation loss after them."""
        return {**self._learn(*lesson), "val_loss": self._score(*validation)}

    def _learn(self, given: tuple[Any, ...], targets: Any, rows: Any, weights: Any, steps: Any, share: Any, seed: Any) -> dict[str, Any]:
        """One update a batch, in order; the means of loss and gradient norm."""

        def body(step: Any, total: Any, norms: Any) -> tuple[Any, ...]:
            apart = self.vector.apart()
            mapping = [*zip(self.vector.weights, apart, strict=True), *((each, each.value) for each in self.randomness)]
            with tf.GradientTape() as tape, keras.StatelessScope(state_mapping=mapping) as scope:
                tape.watch(apart)
                summed, count = self.loss_of(given, targets, rows[step], weights[step], share, tf.stack([seed, tf.cast(step, tf.uint32)]))
                loss = summed / count + self.penalty()
            for each in self.randomness:  # the scope keeps what was drawn from them
                each.assign(scope.get_current_value(each))
            norm = self.learn_from(tape.gradient(loss, apart))
            return step + 1, total + loss * tf.reduce_sum(weights[step]), norms + norm

        self.vector.take()
        _, total, norms = tf.while_loop(lambda step, *_: step < steps, body, (0, 0.0, 0.0))
        self.vector.give()
        return {"loss": total / tf.reduce_sum(weights), "gradient_norm": norms / tf.cast(steps, tf.float32)}

    def _taught(self, y: Any, share: Any, seed: Any) -> Any:
        """The actual of the step before each step, and 1 for a share of them drawn at random: shape (batch, horizon, 2)."""
        before = tf.pad(self.head.teach(y)[:, :-1], ((0, 0), (1, 0)))
        used = tf.cast(tf.random.stateless_uniform(before.shape, tf.bitcast(seed, tf.int32)) < share, before.dtype)
        return tf.stack([before, used], axis=-1)

    def loss_of(self, given: tuple[Any, ...], targets: Any, rows: Any, weights: Any, share: Any, seed: Any) -> tuple[Any, Any]:
        """The loss of a batch without penalties: its sum over all known steps, and how many those are. `seed` draws what is taught."""
        seen_from = rows[:, None] + tf.range(1 - self.lookback, 1) if self.learning.every_timestep else rows
        inputs = _inputs(self.network.spec, given, rows, seen_from)
        if self.learning.taught:
            inputs.append(self._taught(tf.gather(targets, rows), share, seed))
        return self._summed_loss(tf.gather(targets, seen_from), call_network(self.learning.model, inputs, training=True), weights)

    def penalty(self) -> Any:
        """The L1 and L2 penalties of the weights, as of the last batch."""
        return tf.add_n([tf.zeros(()), *self.learning.model.losses])

    def learn_from(self, gradients: list[Any]) -> Any:
        """Update the vector of weights; the norm of the gradients, one or more that join to one of its size, before they are clipped."""
        norm = tf.linalg.global_norm(gradients)
        self.optimizer.apply([self.vector.joined(self._clipped(gradients, norm))], [self.vector.variable])
        return norm

    def _clipped(self, gradients: list[Any], norm: Any) -> list[Any]:
        if self.spec.clip_value is not None:
            gradients = [tf.clip_by_value(gradient, -self.spec.clip_value, self.spec.clip_value) for gradient in gradients]
            norm = tf.linalg.global_norm(gradients)
        if self.spec.clip_norm is not None:
            shrink = tf.minimum(1.0, self.spec.clip_norm / tf.maximum(norm, 1e-30))
            gradients = [gradient * shrink for gradient in gradients]
        return gradients

    def _summed_loss(self, y: Any, output: Any, weights: Any) -> tuple[Any, Any]:
        """The sum over the windows' steps, those of unknown target left out, and how many there are."""
        known = tf.math.is_finite(y)
        losses = self.window_loss(tf.where(known, y, 0.0), output)
        counts = tf.cast(known, losses.dtype) * tf.reshape(weights, (-1,) + (1,) * (len(y.shape) - 1))
        return tf.reduce_sum(losses * counts), tf.reduce_sum(counts)

    def _score(self, given: tuple[Any, ...], targets: Any, rows: Any, weights: Any, steps: Any) -> Any:
        """The mean loss of all windows, without penalties and dropout."""
        return self.score_of(given, targets, rows, weights, 0, steps) / tf.reduce_sum(weights)

    def score_of(self, given: tuple[Any, ...], targets: Any, rows: Any, weights: Any, first: Any, end: Any) -> Any:
        """The losses of the windows of these batches, each the mean of its batch's, summed."""

        def body(step: Any, total: Any) -> tuple[Any, ...]:
            output = call_network(self.network, _inputs(self.network.spec, given, rows[step]))
            summed, count = self._summed_loss(tf.gather(targets, rows[step]), output, weights[step])
            return step + 1, total + summed / count * tf.reduce_sum(weights[step])

        return tf.while_loop(lambda step, *_: step < end, body, (first, 0.0))[1]


def predict_windows(network: Any, windows: Windows, batch: int = FORECAST_BATCH) -> np.ndarray:
    """The network's output for each window, shape (n, horizon, params), in scaled units."""
    if len(windows) == 0:
        return np.empty((0, *network.output_shape[1:]), np.float32)
    engine = _forecast_engine(network.spec, layers_are_compiled())
    set_network_weights(engine.network, network_weights(network))
    rows, _, steps = in_batches(windows.ends, batch, LEAST_FORECAST_STEPS).tensors()
    outputs = engine.compiled(_given(windows), rows, steps).numpy()
    return np.asarray(outputs.reshape(-1, *outputs.shape[2:])[: len(windows)])


@functools.lru_cache(maxsize=16)
def _forecast_engine(spec: NetworkSpec, compiled: bool) -> _ForecastEngine:
    return _ForecastEngine(shared_network(spec), compiled)  # a traced function keeps the pass it was traced with


class _ForecastEngine:
    """A network and its compiled forecast of all windows."""

    def __init__(self, network: Any, compiled: bool) -> None:
        self.network = network
        self.compiled = Program(self._forecast, (network.spec, compiled), lambda: network.variables)

    def _forecast(self, given: tuple[Any, ...], rows: Any, steps: Any) -> Any:
        def body(step: Any, outputs: Any) -> tuple[Any, Any]:
            return step + 1, outputs.write(step, call_network(self.network, _inputs(self.network.spec, given, rows[step])))

        empty = tf.TensorArray(tf.float32, size=rows.shape[0], element_shape=(rows.shape[1], *self.network.output_shape[1:]))
        return tf.while_loop(lambda step, *_: step < steps, body, (0, empty))[1].stack()
