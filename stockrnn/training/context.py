"""What a training is given besides a config and prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stockrnn.engines import ALONE, Engine
from stockrnn.features.pipeline import Pipeline
from stockrnn.prices.known import NOTHING_KNOWN, Known

if TYPE_CHECKING:  # these load TensorFlow
    from stockrnn.training.fitted import Start
    from stockrnn.training.loop import EpochReport


@dataclass(frozen=True)
class TrainingContext:
    """Where networks are trained, from what they go on, and who is told.

    Attributes:
        on_epoch: called after each epoch of each network; what it raises ends the training after its state was saved.
        checkpoints: folder for the state of an unfinished training.
        starts: where the network of each ticker goes on from; one that all tickers share stands under the empty name.
        engine: where tickers, or else members, are trained.
        known: what the price file tells of days before they come.
        pipeline: waits for the fitted pipeline of a network that all tickers share, where that was begun already; called once.
    """

    on_epoch: Callable[[EpochReport], None] | None = None
    checkpoints: Path | None = None
    starts: Mapping[str, Start] = field(default_factory=dict)
    engine: Engine = ALONE
    known: Known = NOTHING_KNOWN
    pipeline: Callable[[], Pipeline] | None = None


NO_CONTEXT = TrainingContext()
"""Of those who have no other."""
