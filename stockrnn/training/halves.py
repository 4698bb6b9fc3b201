"""The epoch of a large network: every batch is computed in two halves, one after the other, or by two processes at once.

XLA's loop over time runs on one core, as its products are too small to be split at every step. The two halves of a batch meet
only where their gradients are added. One compiled function computes both, in whatever process, so that the bytes are the same
with and without a second one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from stockrnn.models.backend import keras, tf
from stockrnn.training.compiling import Program, as_it_lies
from stockrnn.training.pairing import Pair
from stockrnn.training.vector import WeightVector

_DRAWS = 1 << 20
"""Random numbers that a layer may draw in a half."""
_FACTS = 3
"""Numbers after the gradients in a row: the summed loss, how many steps are known, how many windows there are."""


class Learner(Protocol):
    """What `HalvedEpoch` needs of an engine: a network with its optimizer and seeds of dropout, and the loss of a batch."""

    spec: Any
    network: Any
    optimizer: Any
    randomness: list[Any]
    vector: WeightVector

    def touched(self) -> list[Any]:
        """All variables that compiled functions read or change."""

    def loss_of(self, *batch: Any) -> tuple[Any, Any]:
        """The loss, summed, and how many steps are known."""

    def penalty(self) -> Any:
        """The penalties of the weights."""

    def learn_from(self, gradients: list[Any]) -> Any:
        """Update the weights: the norm of the gradients."""

    def score_of(self, *span: Any) -> Any:
        """The validation losses of some batches, summed."""


class HalvedEpoch:
    """What an engine calls for an epoch in place of one program: (lesson, validation) → means.

    An epoch is made of turns: turn 2 k + h computes half h of batch k, and the update is made at the beginning of the turn after both.

    Attributes:
        pair: the other process, where there is one.
    """

    def __init__(self, engine: Learner) -> None:
        """Take the engine whose network learns; nothing is compiled yet."""
        self.engine, self.vector = engine, engine.vector
        self.pair: Pair | None = None
        self._turns, self._end = (Program(function, engine.spec, engine.touched) for function in (self.turns, self.end))

    def share(self, pair: Pair | None) -> None:
        """Work with another process from now on, or alone."""
        if pair is not None:
            pair.share(self.vector.size + _FACTS, sum(array.nbytes for array in self._state()))
        self.pair = pair

    def serve(self, run_epoch: Callable[[int], object]) -> None:
        """Be the second: run each epoch that the first begins, until PartedError says that it is over."""
        while self.pair is not None:
            epoch = self.pair.next_epoch()
            for variable, value in zip(self._variables(), self.pair.state(self._state()), strict=True):
                variable.assign(value)
            run_epoch(epoch)

    def __call__(self, epoch: int, lesson: tuple[Any, ...], validation: tuple[Any, ...]) -> dict[str, Any]:
        """Run an epoch's updates, and the validation after them; without updates, only compile."""
        turns, batches = 2 * int(lesson[4]), int(validation[4])
        pair = self._begin(epoch, turns > 0)
        pair, held, told = self._learn(pair, turns, lesson)
        told, total = self._score(pair, held, told, turns > 0, batches, validation)
        self.vector.give()
        loss, norm = told[0] / tf.reduce_sum(lesson[3]), told[1] / tf.cast(lesson[4], tf.float32)
        return {"loss": loss, "gradient_norm": norm, "val_loss": total / tf.reduce_sum(validation[3])}

    def _begin(self, epoch: int, learns: bool) -> Pair | None:
        """Take the network's weights, and begin with the other process if that is ready; the second side has its state from the first."""
        pair = self.pair if learns else None
        if pair is None or pair.half == 0:
            self.vector.take()
            pair = pair if pair is not None and pair.is_ready() else None
            if pair is not None:
                pair.begin(epoch, self._state())
        return pair

    def _learn(self, pair: Pair | None, turns: int, lesson: tuple[Any, ...]) -> tuple[Pair | None, Any, Any]:
        """Compute all turns: the pair if it still is one, the row that the last update is made from, and the sums of those before it."""
        held, told, done, due, fresh = tf.zeros((self.vector.size + _FACTS,)), tf.zeros((2,)), 0, False, True
        while pair is not None and done < turns:
            own = done + pair.half
            held, told = self._turns(held, told, _span(own, own + 1, due, True), *lesson)
            both = pair.swap(held.numpy())
            if both is None:
                pair, done, due, fresh = None, own + 1, False, False
            else:
                held, done, due = as_it_lies(both), done + 2, True
        if pair is None:
            held, told = self._turns(held, told, _span(done, turns, due, fresh), *lesson)
        return pair, held, told

    def _score(self, pair: Pair | None, held: Any, told: Any, due: bool, batches: int, validation: tuple[Any, ...]) -> tuple[Any, Any]:
        """Make the last update: the sums of all updates, and the validation losses summed over both halves of the batches."""
        spans, own = ((0, batches // 2), (batches // 2, batches)), 0 if pair is None else pair.half
        told, total = self._end(held, told, tf.constant((*spans[own], due)), *validation)
        both = None if pair is None else pair.swap(np.full(held.shape, total, np.float32))
        if both is not None:
            return told, both[0]
        told, other = self._end(held, told, tf.constant((*spans[1 - own], False)), *validation)
        return told, total + other

    def _variables(self) -> list[Any]:
        return [self.vector.variable, *self.engine.optimizer.variables]

    def _state(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._variables()]

    def turns(self, held: Any, told: Any, span: Any, *lesson: Any) -> Any:
        """Some turns; compiled.

        Args:
            held: gradients and facts of the half before, or the sum of both, shape (weights + 3,).
            told: loss × windows and gradient norm, summed over the updates made, shape (2,).
            span: the first turn; the turn after the last; whether an update is due before the first; whether the first begins a new row.
            lesson: as the engine's.

        Returns:
            `held` and `told` after them.
        """
        given, targets, rows, weights, _, share, seed = lesson
        first, end, due, fresh = tf.unstack(span)

        def body(turn: Any, held: Any, told: Any) -> tuple[Any, ...]:
            begins = turn % 2 == 0
            told = self._updated(tf.where(turn == first, due > 0, begins), held, told)
            half = (tf.reshape(each[turn // 2], (2, -1))[turn % 2] for each in (rows, weights))
            row = self._row(turn, given, targets, *half, share, tf.stack([seed, tf.cast(turn, tf.uint32)]))
            return turn + 1, tf.where(tf.where(turn == first, fresh > 0, begins), row, held + row), told

        return tf.while_loop(lambda turn, *_: turn < end, body, (first, held, told))[1:]

    def end(self, held: Any, told: Any, span: Any, *validation: Any) -> Any:
        """The last update, where it is due, and the losses of validation batches from one to before another; compiled, as `turns`."""
        given, targets, rows, weights, _ = validation
        told = self._updated(span[2] > 0, held, told)
        with keras.StatelessScope(state_mapping=[*zip(self.vector.weights, self.vector.apart(), strict=True)]):
            return told, self.engine.score_of(given, targets, rows, weights, span[0], span[1])

    def _updated(self, due: Any, held: Any, told: Any) -> Any:
        """Make the update from `held` if one is due; `told` with it added."""

        def update() -> Any:
            total, known, windows = tf.unstack(held[-_FACTS:])
            norm = self.engine.learn_from([held[:-_FACTS] / known])
            return told + tf.stack([total / known * windows, norm])

        return tf.cond(due, update, lambda: told)

    def _row(self, turn: Any, *batch: Any) -> Any:
        """Gradients of a half's summed loss, and the facts: shape (weights + 3,). `batch` is what the engine's `loss_of` takes."""
        apart, randomness = self.vector.apart(), self.engine.randomness
        drawn = [tf.stack([each.value[0], tf.cast(turn, each.dtype) * _DRAWS]) for each in randomness]
        mapping = [*zip(self.vector.weights, apart, strict=True), *zip(randomness, drawn, strict=True)]
        with tf.GradientTape() as tape, keras.StatelessScope(state_mapping=mapping):
            tape.watch(apart)
            total, known = self.engine.loss_of(*batch)
            total += known * self.engine.penalty()
        facts = tf.stack([total, known, tf.reduce_sum(batch[3])])
        return self.vector.joined([*tape.gradient(total, apart), facts])


@functools.lru_cache(maxsize=1 << 14)
def _span(*numbers: int) -> Any:
    """What `turns` takes as `span`; each epoch asks for the same, and making one takes 30 µs."""
    return tf.constant(numbers)
