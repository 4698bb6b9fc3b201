"""The compiled epoch: a whole pass over the training windows is one XLA function, under Keras' own `fit`.

Series and targets stay resident and windows are gathered by the rows of their cutoffs. Networks of one spec share one
engine, and so one compilation, in a process: their weights are put in and taken out. The number of updates is an
argument of the compiled function and arrays are padded to steps of a quarter, so that folds share it too.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from stockrnn.config import LOSSES_OF_HEAD, TrainConfig
from stockrnn.errors import DivergedError, InterruptedRunError
from stockrnn.features.windows import Windows
from stockrnn.models.backend import HAS_GPU, keras, tf
from stockrnn.models.cells import layers_are_compiled
from stockrnn.models.heads import LOSSES
from stockrnn.models.networks import NetworkSpec, build_network, initial_weights, network_weights, set_network_weights
from stockrnn.models.seeds import derive_seed
from stockrnn.storage import sha256
from stockrnn.training.checkpoint import Checkpoint, TrainingState

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
"""The update rule of each `train.optimizer`, with Keras' defaults."""

FORECAST_BATCH = 256


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one member.

    Attributes:
        member: number of the network in its ensemble, from 0.
        epoch: number of the epoch, from 1.
        loss: mean training loss with its penalties, in scaled units.
        validation_loss: mean validation loss without penalties.
        learning_rate: step size used.
        gradient_norm: mean over the updates of the whole gradient's norm, before clipping.
        seconds: time the epoch took; the only number here that differs from run to run.
    """

    member: int
    epoch: int
    loss: float
    validation_loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class History:
    """A training, epoch by epoch.

    Attributes:
        epochs: the reports, in order.
        best_epoch: number of the epoch with the lowest validation loss.
        restored_epoch: number of the epoch whose weights the network has now.
    """

    epochs: tuple[EpochReport, ...]
    best_epoch: int
    restored_epoch: int

    def table(self) -> pd.DataFrame:
        """One row an epoch: member, epoch, loss, validation_loss, learning_rate, gradient_norm, restored. No seconds: it is reproducible."""
        rows = pd.DataFrame([asdict(report) for report in self.epochs], columns=list(EpochReport.__dataclass_fields__))
        return rows.drop(columns="seconds").assign(restored=rows["epoch"] == self.restored_epoch)


def train_network(
    network: Any,
    train: Windows,
    validation: Windows,
    *,
    train_config: TrainConfig,
    head: str,
    seed: int,
    member: int,
    on_epoch: Callable[[EpochReport], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> History:
    """Train a network of `build_network` in place, until `epochs` or early stopping; the best weights are put back.

    Args:
        network: receives the best weights; the weights to start from are drawn anew from `seed` and `member`.
        train: windows learned from.
        validation: windows that decide when to stop; must not be empty.
        train_config: the config's section.
        head: the config's `model.head`.
        seed: first weights, order and dropout derive from it, with `member` and the epoch.
        member: number of the network in its ensemble.
        on_epoch: called after each epoch; InterruptedRunError raised from it leaves a saved state.
        checkpoint: where the state is kept; if it holds one, training goes on from it.

    Raises:
        DivergedError: the loss of an epoch is not finite.
    """
    loss = LOSSES_OF_HEAD[head][0] if train_config.loss == "auto" else train_config.loss
    engine = _engine(network.spec, train_config.optimizer, loss, train_config.clip_norm, train_config.batch_size, layers_are_compiled())
    start = initial_weights(network.spec, derive_seed(seed, "weights", member))
    engine.start(start, train, validation, train_config.learning_rate)
    watch = _Watch(
        engine, train_config, seed, member, on_epoch, checkpoint, _job(network, train, validation, train_config, loss, seed, member)
    )
    watch.resume()
    if not watch.finished:
        engine.fit(
            engine.epochs_data(seed, member, watch.epoch),
            validation_data=engine.validation_data(),
            initial_epoch=watch.epoch,
            epochs=train_config.epochs,
            steps_per_epoch=1,
            validation_steps=1,
            shuffle=False,
            verbose=0,
            callbacks=[watch],
        )
        watch.finish()
    set_network_weights(network, watch.best_weights)
    return History(tuple(watch.reports), watch.best_epoch, watch.best_epoch)


def predict_windows(network: Any, windows: Windows, batch: int = FORECAST_BATCH) -> np.ndarray:
    """The network's output for each window, shape (n, horizon, params), in scaled units."""
    engine = _engine(network.spec, "sgd", LOSSES_OF_HEAD[network.spec.model.head][0], None, batch, layers_are_compiled())
    engine.set_weights_of(network_weights(network))
    series, ends = _padded(windows.series), _index(windows.ends, len(windows), batch)
    outputs = engine.forecast(tf.constant(series), tf.constant(ends.rows), tf.constant(ends.steps))
    return outputs.numpy().reshape(-1, *outputs.shape[2:])[: len(windows)]


@dataclass(frozen=True)
class _Index:
    """Batches of cutoff rows: `rows` (padded steps, batch) int32, `weights` 1 for a window and 0 for padding, `steps` in use."""

    rows: np.ndarray
    weights: np.ndarray
    steps: np.ndarray


def _index(ends: np.ndarray, n: int, batch: int) -> _Index:
    steps = math.ceil(n / batch)
    size = _roomy(steps) * batch
    rows = np.full(size, ends[0] if n else 0, np.int32)
    rows[:n] = ends
    weights = (np.arange(size) < n).astype(np.float32)
    return _Index(rows.reshape(-1, batch), weights.reshape(-1, batch), np.int32(steps))


def _roomy(n: int) -> int:
    """`n` rounded up so that nearby sizes share a compiled shape: four sizes an octave, a quarter too much at most."""
    step = 2 ** max(0, max(n, 1).bit_length() - 3)
    return max(1, -(-n // step) * step)


def _padded(series: np.ndarray) -> np.ndarray:
    """The series with rows of zeros at its end, up to a shared size."""
    return np.pad(series, ((0, _roomy(len(series)) - len(series)), (0, 0)))


@functools.lru_cache(maxsize=16)
def _engine(spec: NetworkSpec, optimizer: str, loss: str, clip_norm: float | None, batch: int, compiled: bool) -> _Engine:
    del compiled  # part of the key: a traced function keeps the pass it was traced with
    return _Engine(spec, optimizer, loss, clip_norm, batch)


class _Engine(keras.Model):
    """A network of one spec with its optimizer and compiled functions; trainings borrow it one after the other."""

    def __init__(self, spec: NetworkSpec, optimizer: str, loss: str, clip_norm: float | None, batch: int) -> None:
        super().__init__(name="engine")
        model = spec.model
        self.network = build_network(features=spec.features, lookback=spec.lookback, horizon=spec.horizon, model=model, seed=0)
        self.lookback, self.batch, self.clip_norm, self.window_loss = spec.lookback, batch, clip_norm, LOSSES[loss]
        self.built = True
        self.compile(optimizer=OPTIMIZERS[optimizer](), jit_compile=False)
        self.optimizer.build(self.network.trainable_variables)
        self.randomness = [v for v in self.network.non_trainable_variables if v.path.endswith("seed_generator_state")]
        self.epoch = tf.function(self._epoch, jit_compile=not HAS_GPU)
        self.score = tf.function(self._score, jit_compile=not HAS_GPU)
        self.forecast = tf.function(self._forecast, jit_compile=not HAS_GPU)

    def start(self, weights: dict[str, np.ndarray], train: Windows, validation: Windows, learning_rate: float) -> None:
        """Forget the training before: these weights, a fresh optimizer, these data."""
        self.set_weights_of(weights)
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros(variable.shape, variable.dtype))
        self.optimizer.learning_rate = learning_rate
        self.train_ends = train.ends
        self.data = {id(w.series): (tf.constant(_padded(w.series)), tf.constant(_padded(w.targets))) for w in (train, validation)}
        self.train_data, self.score_data = self.data[id(train.series)], self.data[id(validation.series)]
        self.score_index = _index(validation.ends, len(validation), self.batch)

    def set_weights_of(self, weights: dict[str, np.ndarray]) -> None:
        set_network_weights(self.network, weights)

    @property
    def metrics(self) -> list[Any]:
        """None: an epoch returns its own means."""
        return []

    def epochs_data(self, seed: int, member: int, done: int) -> Any:
        """One element an epoch: the rows of its batches in that epoch's order."""

        def orders() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            epoch = done
            while True:
                epoch += 1
                order = np.random.default_rng(derive_seed(seed, "order", member, epoch)).permutation(len(self.train_ends))
                index = _index(self.train_ends[order], len(order), self.batch)
                yield index.rows, index.weights, index.steps

        shape = (_roomy(math.ceil(len(self.train_ends) / self.batch)), self.batch)
        signature = (tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape, tf.float32), tf.TensorSpec((), tf.int32))
        return tf.data.Dataset.from_generator(orders, output_signature=signature)

    def validation_data(self) -> Any:
        """One element: the rows of the validation batches."""
        index = self.score_index
        return tf.data.Dataset.from_tensors((index.rows, index.weights, index.steps))

    def make_train_function(self, force: bool = False) -> None:
        """Keras' hook: what `fit` calls for a batch is here a whole epoch."""
        del force
        self.train_function = lambda iterator: self.epoch(*self.train_data, *next(iterator))

    def make_test_function(self, force: bool = False) -> None:
        """Keras' hook: the whole validation set at once."""
        del force
        self.test_function = lambda iterator: self.score(*self.score_data, *next(iterator))

    def _windows(self, series: Any, rows: Any) -> Any:
        return tf.gather(series, rows[:, None] + tf.range(1 - self.lookback, 1))

    def _epoch(self, series: Any, targets: Any, rows: Any, weights: Any, steps: Any) -> dict[str, Any]:
        def body(step: Any, total: Any, norms: Any) -> tuple:
            loss, norm = self._update(self._windows(series, rows[step]), tf.gather(targets, rows[step]), weights[step])
            return step + 1, total + loss * tf.reduce_sum(weights[step]), norms + norm

        _, total, norms = tf.while_loop(lambda step, *_: step < steps, body, (0, 0.0, 0.0))
        return {"loss": total / tf.reduce_sum(weights), "gradient_norm": norms / tf.cast(steps, tf.float32)}

    def _update(self, x: Any, y: Any, weights: Any) -> tuple[Any, Any]:
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            output = self.network(x, training=True)
            loss = self._mean(y, output, weights) + tf.add_n([tf.zeros(()), *self.network.losses])
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        norm = tf.linalg.global_norm(gradients)
        if self.clip_norm is not None:
            gradients = [gradient * tf.minimum(1.0, self.clip_norm / tf.maximum(norm, 1e-30)) for gradient in gradients]
        self.optimizer.apply(gradients, variables)
        return loss, norm

    def _mean(self, y: Any, output: Any, weights: Any) -> Any:
        losses = tf.where(weights > 0, self.window_loss(y, output), 0.0)
        return tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)

    def _score(self, series: Any, targets: Any, rows: Any, weights: Any, steps: Any) -> dict[str, Any]:
        def body(step: Any, total: Any) -> tuple:
            output = self.network(self._windows(series, rows[step]), training=False)
            return step + 1, total + self._mean(tf.gather(targets, rows[step]), output, weights[step]) * tf.reduce_sum(weights[step])

        _, total = tf.while_loop(lambda step, *_: step < steps, body, (0, 0.0))
        return {"loss": total / tf.reduce_sum(weights)}

    def _forecast(self, series: Any, rows: Any, steps: Any) -> Any:
        def body(step: Any, outputs: Any) -> tuple:
            return step + 1, outputs.write(step, self.network(self._windows(series, rows[step]), training=False))

        outputs = tf.TensorArray(tf.float32, size=rows.shape[0], element_shape=(rows.shape[1], *self.network.output_shape[1:]))
        return tf.while_loop(lambda step, *_: step < steps, body, (0, outputs))[1].stack()


class _Watch(keras.callbacks.Callback):
    """After each epoch: is the loss finite, is it the best, is it time to stop, to save, to tell."""

    def __init__(
        self,
        engine: _Engine,
        config: TrainConfig,
        seed: int,
        member: int,
        on_epoch: Callable[[EpochReport], None] | None,
        checkpoint: Checkpoint | None,
        job: str,
    ) -> None:
        super().__init__()
        self.engine, self.config, self.seed, self.member = engine, config, seed, member
        self.on_epoch, self.checkpoint, self.job = on_epoch, checkpoint, job
        self.epoch, self.waited, self.finished = 0, 0, False
        self.best_loss, self.best_epoch = math.inf, 0
        self.best_weights = network_weights(engine.network)
        self.reports: list[EpochReport] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Derive the epoch's dropout from seed, member and epoch."""
        del logs
        for number, variable in enumerate(self.engine.randomness):
            variable.assign([derive_seed(self.seed, "dropout", self.member, epoch + 1, number), 0])
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the epoch's means."""
        seconds = time.perf_counter() - self.started
        means = {name: float(value) for name, value in (logs or {}).items()}
        report = EpochReport(
            member=self.member,
            epoch=epoch + 1,
            loss=means["loss"],
            validation_loss=means["val_loss"],
            learning_rate=float(self.engine.optimizer.learning_rate),
            gradient_norm=means["gradient_norm"],
            seconds=seconds,
        )
        self._check(report)
        self.epoch = epoch + 1
        self.reports.append(report)
        self._compare(report)
        if self.checkpoint is not None and self.checkpoint.due():
            self._save()
        self._tell(report)

    def _check(self, report: EpochReport) -> None:
        if not (math.isfinite(report.loss) and math.isfinite(report.validation_loss)):
            raise DivergedError(
                f"The loss of epoch {report.epoch} must be finite. Received: {report.loss} in training, {report.validation_loss} in validation. "
                f"Lower `train.learning_rate` ({self.config.learning_rate}), or set `train.clip_norm` ({self.config.clip_norm})."
            )

    def _compare(self, report: EpochReport) -> None:
        stopping = self.config.early_stopping
        if report.validation_loss < self.best_loss - (stopping.min_delta if self.best_epoch else 0.0):
            self.best_loss, self.best_epoch, self.waited = report.validation_loss, report.epoch, 0
            self.best_weights = network_weights(self.engine.network)
            return
        self.waited += 1
        if self.waited >= stopping.patience:
            self.engine.stop_training = True

    def _tell(self, report: EpochReport) -> None:
        if self.on_epoch is None:
            return
        try:
            self.on_epoch(report)
        except InterruptedRunError:
            if self.checkpoint is not None:
                self._save()
            raise

    def finish(self) -> None:
        """Keep the end of the training, so that resuming it again costs nothing."""
        self.finished = True
        if self.checkpoint is not None:
            self._save()

    def _save(self) -> None:
        arrays = {f"weights/{name}": array for name, array in network_weights(self.engine.network).items()}
        arrays |= {f"best/{name}": array for name, array in self.best_weights.items()}
        arrays |= {f"optimizer/{number:04d}": variable.numpy() for number, variable in enumerate(self.engine.optimizer.variables)}
        facts = {
            "waited": self.waited,
            "finished": self.finished,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "reports": [asdict(report) for report in self.reports],
        }
        self.checkpoint.save(TrainingState(self.epoch, arrays, facts), self.job)  # type: ignore[union-attr]

    def resume(self) -> None:
        """Take over the state in the checkpoint, if there is one."""
        state = None if self.checkpoint is None else self.checkpoint.load(self.job)
        if state is None:
            return
        facts = state.facts
        self.epoch, self.waited, self.finished = state.epoch, facts["waited"], facts["finished"] or state.epoch >= self.config.epochs
        self.best_loss, self.best_epoch = facts["best_loss"], facts["best_epoch"]
        self.reports = [EpochReport(**report) for report in facts["reports"]]
        self.best_weights = _part(state, "best/")
        self.engine.set_weights_of(_part(state, "weights/"))
        for variable, array in zip(self.engine.optimizer.variables, _part(state, "optimizer/").values(), strict=True):
            variable.assign(array)
        self.finished = self.finished or self.waited >= self.config.early_stopping.patience


def _part(state: TrainingState, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): state.arrays[name] for name in sorted(state.arrays) if name.startswith(prefix)}


def _job(spec: NetworkSpec, train: Windows, validation: Windows, config: TrainConfig, loss: str, seed: int, member: int) -> str:
    """What is trained, in 64 characters: spec, settings, seeds and data."""
    data = [w.series for w in (train, validation)] + [w.targets for w in (train, validation)] + [w.ends for w in (train, validation)]
    digests = [sha256(np.ascontiguousarray(array).tobytes()) for array in data]
    return sha256(repr((spec, config.model_dump(), loss, seed, member, digests)).encode())
