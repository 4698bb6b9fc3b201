"""A training from first weights to best ones: Keras' `fit` over compiled epochs, early stopping, reports, state to go on from."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from stockrnn.config import LOSSES_OF_HEAD, PLATEAU_PATIENCE, TeacherForcingConfig, TrainConfig
from stockrnn.errors import DivergedError, InterruptedRunError
from stockrnn.features.windows import Windows
from stockrnn.models.backend import HAS_GPU, keras, tf
from stockrnn.models.networks import NetworkSpec, network_weights, set_network_weights
from stockrnn.storage import sha256
from stockrnn.training.checkpoint import Checkpoint, TrainingState
from stockrnn.training.engine import TrainingEngine, TrainingSpec, predict_windows, training_engine
from stockrnn.training.pairing import Pair
from stockrnn.training.sizes import is_halved

__all__ = ["EpochReport", "History", "is_shared", "predict_windows", "train_beside", "train_network"]


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
        last: whether the training ends with it; said to those who are told of it, and not kept.
        parts: tickers that have an ensemble of their own; 1 where all share one.
        done: how many of them were learned before this was told.
    """

    member: int
    epoch: int
    loss: float
    validation_loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    last: bool = False
    parts: int = 1
    done: int = 0


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
    pair: Pair | None = None,
) -> History:
    """Train a network of `build_network` in place, until `epochs` or early stopping; it gets the weights that `restore` asks for.

    Args:
        network: gives the weights to start from, and receives those that stay.
        train: windows learned from; not empty.
        validation: windows that decide when to stop; not empty.
        train_config: the config's section.
        head: the config's `model.head`.
        seed: order and dropout derive from it, with `member` and the epoch.
        member: number of the network in its ensemble.
        on_epoch: called after each epoch; an InterruptedRunError from it leaves a saved state behind.
        checkpoint: where the state is kept; if it holds one, training goes on from it.
        pair: the first side of one, whose second calls `train_beside`.

    Raises:
        DivergedError: the loss of an epoch is not finite.
        RunDamagedError: the checkpoint is another training's.
    """
    config = train_config
    engine = _engine(network.spec, config, head)
    engine.borrow(network, train, validation, (seed, member), functools.partial(teaching_share, config.teacher_forcing), pair)
    keeper = None if checkpoint is None else _Keeper(checkpoint, _job(network, train, validation, config, seed, member))
    watch = _Watch(engine, config, member, on_epoch, keeper)
    try:
        watch.resume()
        if not watch.progress.finished:
            _fit(engine, watch, config.epochs)
    finally:
        engine.give_back()
    progress = watch.progress
    set_network_weights(network, progress.best_weights)
    restored = progress.best_epoch if config.restore == "best" else len(progress.reports)
    return History(tuple(progress.reports), progress.best_epoch, restored)


def train_beside(
    network: Any, train: Windows, validation: Windows, *, train_config: TrainConfig, head: str, seed: int, member: int, pair: Pair
) -> None:
    """Compute the second halves of what another process trains with these arguments, until PartedError says that it is over."""
    engine = _engine(network.spec, train_config, head)
    engine.borrow(network, train, validation, (seed, member), functools.partial(teaching_share, train_config.teacher_forcing), pair)
    try:
        engine.serve()
    finally:
        engine.give_back()


def is_shared(spec: NetworkSpec, config: TrainConfig) -> bool:
    """Whether two processes may train a network together."""
    return not HAS_GPU and is_halved(spec.model, spec.features, spec.lookback, config.batch_size, len(config.members))


def _engine(spec: NetworkSpec, config: TrainConfig, head: str) -> TrainingEngine:
    loss, halved = LOSSES_OF_HEAD[head][0] if config.loss == "auto" else config.loss, is_shared(spec, config)
    return training_engine(TrainingSpec(spec, config.optimizer, loss, config.batch_size, config.clip_norm, config.clip_value, halved))


def _fit(engine: TrainingEngine, watch: _Watch, epochs: int) -> None:
    done = len(watch.progress.reports)
    engine.fit(
        tf.data.Dataset.range(done + 1, epochs + 1),  # the number of each epoch
        initial_epoch=done,
        epochs=epochs,
        steps_per_epoch=1,
        shuffle=False,
        verbose=0,
        callbacks=[watch],
    )
    watch.finish()


def learning_rate(config: TrainConfig, epoch: int, losses: Sequence[float]) -> float:
    """The step size of an epoch (from 1), given the validation losses of the epochs before it."""
    if epoch <= config.warmup:
        return config.learning_rate * epoch / config.warmup
    return config.learning_rate * SCHEDULES[config.schedule](config, epoch, losses)


def _cosine(config: TrainConfig, epoch: int, losses: Sequence[float]) -> float:
    """(1 + cos(π progress)) / 2 (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    del losses
    return 0.5 * (1.0 + math.cos(math.pi * (epoch - 1 - config.warmup) / (config.epochs - config.warmup)))


def _plateau(config: TrainConfig, epoch: int, losses: Sequence[float]) -> float:
    """One half for each `PLATEAU_PATIENCE` epochs in a row that did not improve on the best."""
    del epoch
    best, waited, halvings = math.inf, 0, 0
    for loss in losses[config.warmup :]:
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited == PLATEAU_PATIENCE:
            waited, halvings = 0, halvings + 1
    return float(0.5**halvings)


SCHEDULES: dict[str, Callable[[TrainConfig, int, Sequence[float]], float]] = {
    "constant": lambda *_: 1.0,
    "cosine": _cosine,
    "plateau": _plateau,
}
"""The factor on the step size of each `train.schedule`."""


def teaching_share(config: TeacherForcingConfig, epoch: int) -> float:
    """The share of a decoder's inputs that are actuals in an epoch (from 1) (Bengio et al. 2015, arXiv:1506.03099)."""
    return config.start * max(0.0, 1.0 - (epoch - 1) / config.epochs)


@dataclass
class _Progress:
    """What a training knows of itself besides weights and optimizer."""

    best_weights: dict[str, np.ndarray]
    best_loss: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    finished: bool = False
    reports: list[EpochReport] = field(default_factory=list)


class _Watch(keras.callbacks.Callback):
    """After each epoch: is the loss finite, is it the best, is it time to stop, to save, to tell."""

    def __init__(
        self,
        engine: TrainingEngine,
        config: TrainConfig,
        member: int,
        on_epoch: Callable[[EpochReport], None] | None,
        keeper: _Keeper | None,
    ) -> None:
        super().__init__()
        self.engine, self.config, self.member, self.on_epoch, self.keeper = engine, config, member, on_epoch, keeper
        self.progress = _Progress(network_weights(engine.network))

    def resume(self) -> None:
        """Take over the state in the checkpoint, if there is one."""
        if self.keeper is not None:
            self.progress = self.keeper.load(self.engine) or self.progress

    def finish(self) -> None:
        """Keep the end of the training, so that going on after it costs nothing."""
        self.progress.finished = True
        if self.keeper is not None:
            self.keeper.save(self.engine, self.progress)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the step size and start the clock."""
        del logs
        self.engine.optimizer.learning_rate = learning_rate(self.config, epoch + 1, [r.validation_loss for r in self.progress.reports])
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the epoch's means; what `on_epoch` raises ends the training."""
        means = {name: float(value) for name, value in (logs or {}).items()}
        report = EpochReport(
            member=self.member,
            epoch=epoch + 1,
            loss=means["loss"],
            validation_loss=means["val_loss"],
            learning_rate=float(self.engine.optimizer.learning_rate),
            gradient_norm=means["gradient_norm"],
            seconds=time.perf_counter() - self.started,
        )
        self._check(report)
        self._compare(report)
        if self.keeper is not None and self.keeper.checkpoint.due():
            self.keeper.save(self.engine, self.progress)
        self._tell(report)

    def _check(self, report: EpochReport) -> None:
        if not (math.isfinite(report.loss) and math.isfinite(report.validation_loss)):
            raise DivergedError(
                f"The loss of epoch {report.epoch} must be finite. Received: {report.loss} in training, "
                f"{report.validation_loss} in validation. {calmer(self.config)}"
            )

    def _compare(self, report: EpochReport) -> None:
        progress, stopping = self.progress, self.config.early_stopping
        progress.reports.append(report)
        progress.waited += 1
        better = report.validation_loss < progress.best_loss - (stopping.min_delta if progress.best_epoch else 0.0)
        if better:
            progress.best_loss, progress.best_epoch, progress.waited = report.validation_loss, report.epoch, 0
        if better or self.config.restore == "last":
            progress.best_weights = network_weights(self.engine.network)
        self.engine.stop_training = progress.waited >= stopping.patience

    def _tell(self, report: EpochReport) -> None:
        if self.on_epoch is None:
            return
        try:
            self.on_epoch(replace(report, last=self.engine.stop_training or report.epoch == self.config.epochs))
        except InterruptedRunError:
            if self.keeper is not None:
                self.keeper.save(self.engine, self.progress)
            raise


@dataclass(frozen=True)
class _Keeper:
    """A checkpoint for one training."""

    checkpoint: Checkpoint
    job: str

    def save(self, engine: TrainingEngine, progress: _Progress) -> None:
        """Write weights, optimizer and progress."""
        arrays = {f"weights/{name}": array for name, array in network_weights(engine.network).items()}
        arrays |= {f"best/{name}": array for name, array in progress.best_weights.items()}
        arrays |= {f"optimizer/{number:04d}": variable.numpy() for number, variable in enumerate(engine.optimizer.variables)}
        facts = {name: value for name, value in vars(progress).items() if name not in {"best_weights", "reports"}}
        facts["reports"] = [asdict(report) for report in progress.reports]
        self.checkpoint.save(TrainingState(len(progress.reports), arrays, facts), self.job)

    def load(self, engine: TrainingEngine) -> _Progress | None:
        """Put weights and optimizer back and return the progress; None where nothing was saved."""
        state = self.checkpoint.load(self.job)
        if state is None:
            return None
        set_network_weights(engine.network, state.part("weights/"))
        kept = state.part("optimizer/")
        for variable, value in zip(engine.optimizer.variables, _slots([kept[name] for name in sorted(kept)], engine), strict=True):
            variable.assign(value)
        reports = [EpochReport(**report) for report in state.facts["reports"]]
        return _Progress(state.part("best/"), **{**state.facts, "reports": reports})


def _slots(kept: Sequence[np.ndarray], engine: TrainingEngine) -> list[np.ndarray]:
    """What an optimizer's variables held: the number of updates, the step size, and vectors as long as that of the weights.

    In a state that version 0.1.0 kept, the parts of the vectors follow each other instead, weight by weight.
    """
    vectors = len(engine.optimizer.variables) - 2
    return [*kept[:2], *(np.concatenate([part.reshape(-1) for part in kept[2 + k :: vectors]]) for k in range(vectors))]


def _job(network: Any, train: Windows, validation: Windows, config: TrainConfig, *seeds: int) -> str:
    """What is trained, in 64 characters: spec, settings, seeds, first weights and data."""
    arrays = [*network_weights(network).values()]
    for windows in (train, validation):
        arrays += [windows.series, windows.targets, windows.ends.astype(np.int64), *windows.beside.values()]
    digests = [sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data) for array in arrays]
    settings = config.model_dump(exclude={"workers"})  # whoever trains it, it is the same training
    halved = ["in halves"] if is_shared(network.spec, config) else []  # whose gradients are sums of two
    return sha256(repr((network.spec, settings, seeds, digests, *halved)).encode())


def calmer(config: TrainConfig) -> str:
    """What to do about a training that diverged, a sentence."""
    clip = "set `train.clip_norm`, such as 1" if config.clip_norm is None else f"set a smaller `train.clip_norm` ({config.clip_norm:g})"
    return f"Lower `train.learning_rate` ({config.learning_rate:g}), or {clip}."
