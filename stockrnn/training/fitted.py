"""What a recurrent forecaster has learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stockrnn.features.pipeline import Pipeline
from stockrnn.models.networks import NetworkSpec
from stockrnn.models.windowed import Readout
from stockrnn.training.loop import History


@dataclass(frozen=True)
class Fitted:
    """What `fit` learns.

    Attributes:
        pipeline: prices → windows and back.
        readout: raw outputs → quantiles.
        specs: shape of each member.
        members: weights of each network.
        histories: what happened in each epoch of each network.
        windows: number of windows of each learning span.
    """

    pipeline: Pipeline
    readout: Readout
    specs: tuple[NetworkSpec, ...]
    members: tuple[dict[str, np.ndarray], ...]
    histories: tuple[History, ...]
    windows: dict[str, int]


@dataclass(frozen=True)
class Start:
    """Where a training goes on from.

    Attributes:
        fitted: an earlier fit, whose members' weights are the first weights where its networks have the same shape and features.
        epochs: most passes over the training windows from there.
    """

    fitted: Fitted
    epochs: int
