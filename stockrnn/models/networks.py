"""The config's `model` section → a Keras network, and its weights by name. Knows no prices."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stockrnn.config import ModelConfig
from stockrnn.errors import RunDamagedError
from stockrnn.models.architectures import ARCHITECTURES, KnownTimesteps, Layers, TickerEmbedding, Wiring
from stockrnn.models.backend import keras
from stockrnn.models.heads import HEADS
from stockrnn.types import AHEAD, TICKER

_CELL_IN_PATH = re.compile(r"/(simple_rnn|lstm|gru)_cell(_\d+)?(?=/)")


@dataclass(frozen=True)
class NetworkSpec:
    """All that fixes a network besides its weights: what `build_network` was given, without the seed."""

    features: int
    lookback: int
    horizon: int
    model: ModelConfig
    masked: bool = False
    ahead: int = 0
    tickers: int = 0

    @property
    def beside(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each input beside the window, in their order, without the batch."""
        shapes = {AHEAD: (self.horizon, self.ahead), TICKER: (1,)}
        return {name: shapes[name] for name, size in ((AHEAD, self.ahead), (TICKER, self.tickers)) if size}


@dataclass(frozen=True)
class Learning:
    """How a network is trained.

    Attributes:
        model: what is called in training, over the same weights: windows, what stands beside them (with `every_timestep` what is known
            ahead of each of their timesteps), and with `taught` what teaches → outputs.
        every_timestep: whether its outputs are (batch, lookback, horizon, params), scored at every timestep.
        taught: whether it takes (batch, horizon, 2): the actual of the step before, and 1 where it is used.
    """

    model: Any
    every_timestep: bool = False
    taught: bool = False


def build_network(
    *,
    features: int,
    lookback: int,
    horizon: int,
    model: ModelConfig,
    seed: int,
    masked: bool = False,
    ahead: int = 0,
    tickers: int = 0,
) -> Any:
    """A Keras model from windows (batch, lookback, features) to the head's output (batch, horizon, params).

    Where something is known ahead, it has an input `ahead` (batch, horizon, columns) too, and with an embedding of tickers an input
    `ticker` (batch, 1): the number of the window's ticker from 1, or 0 for one that was not learned.

    Args:
        features: columns of a window.
        lookback: timesteps of a window.
        horizon: steps ahead.
        model: the config's section.
        seed: the initial weights derive from it and each weight's name.
        masked: whether windows may begin with timesteps of NaN, before their ticker's first session; they are left out.
        ahead: columns known of each step ahead.
        tickers: how many tickers an embedding tells apart; 0 without one.
    """
    spec = NetworkSpec(features, lookback, horizon, model, masked, ahead, tickers)
    window = keras.Input((lookback, features), name="window")
    beside = {name: keras.Input(shape, name=name) for name, shape in spec.beside.items()}
    seen, known = KnownTimesteps(name="known")(window) if masked else (window, None)
    seen = TickerEmbedding(tickers, model.ticker_embedding, seed, name="embedding")(seen, beside[TICKER]) if tickers else seen
    wiring = ARCHITECTURES[model.architecture](Layers(model, seed, known, beside.get(AHEAD)), seen, horizon)
    network = keras.Model(_one_or_all([window, *beside.values()]), wiring.outputs, name=model.cell)
    network.spec = spec
    network.learning = _learning(window, beside, wiring, network)
    return network


_shared: dict[NetworkSpec, Any] = {}
_MOST_SHARED = 16


def shared_network(spec: NetworkSpec) -> Any:
    """The one network of a spec that a process keeps, as building takes 0.1 s: whoever borrows it puts weights of its own into it."""
    return _shared[spec] if spec in _shared else _share(spec, build_network(**vars(spec), seed=0))


@functools.lru_cache(maxsize=_MOST_SHARED)
def first_weights(spec: NetworkSpec, seed: int) -> Mapping[str, np.ndarray]:
    """The weights before the first epoch, by name; folds and tickers begin with the same."""
    return network_weights(_share(spec, build_network(**vars(spec), seed=seed)))


def _share(spec: NetworkSpec, network: Any) -> Any:
    if spec not in _shared and len(_shared) == _MOST_SHARED:
        del _shared[next(iter(_shared))]
    _shared.setdefault(spec, network)
    return network


def _learning(window: Any, beside: Mapping[str, Any], wiring: Wiring, network: Any) -> Learning:
    if wiring.learned is None:
        return Learning(network)
    inputs = _one_or_all([window, *(beside if wiring.ahead is None else {**beside, AHEAD: wiring.ahead}).values(), wiring.taught])
    return Learning(keras.Model(inputs, wiring.learned, name="learner"), wiring.every_timestep, wiring.taught is not None)


def _one_or_all(inputs: Sequence[Any]) -> Any:
    """What Keras takes for a model's inputs, of those that there are: one, or a list."""
    there = [each for each in inputs if each is not None]
    return there if len(there) > 1 else there[0]


def call_network(network: Any, inputs: Sequence[Any], *, training: bool = False) -> Any:
    """A network's output for its inputs, in their order: windows, and what stands beside them."""
    return network(_one_or_all(inputs), training=training)


def network_weights(network: Any) -> dict[str, np.ndarray]:
    """The weights by name, such as `recurrent_1/kernel`; the names depend on the spec alone."""
    return {name: variable.numpy() for name, variable in _named(network).items()}


def set_network_weights(network: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Put weights back.

    Raises:
        RunDamagedError: a name or a shape differs from the network's.
    """
    variables = _named(network)
    if set(variables) != set(weights):
        difference = ", ".join(sorted(set(variables) ^ set(weights)))
        raise RunDamagedError(f"The weights must be those of the config's network. Received: a difference in {difference}. Train again.")
    for name, variable in variables.items():
        if tuple(variable.shape) != weights[name].shape:
            raise RunDamagedError(f"{name} must have shape {tuple(variable.shape)}. Received: {weights[name].shape}. Train again.")
    for name, variable in variables.items():
        variable.assign(weights[name])


def rest_network(network: Any, targets: np.ndarray) -> None:
    """Make a network forecast the distribution of its targets, whatever it sees: where one with an anchor starts to learn.

    Args:
        network: of `build_network`.
        targets: scaled targets of the training windows, shape (n, horizon).
    """
    outputs = HEADS[network.spec.model.head].rest(targets)
    for name, variable in _named(network).items():
        if name.endswith("head/kernel"):
            variable.assign(np.zeros(variable.shape, np.float32))
        elif name.endswith("head/bias"):  # of all steps, or of one step after the other
            steps = variable.shape[0] // HEADS[network.spec.model.head].params
            full = np.broadcast_to(outputs, (targets.shape[1], variable.shape[0] // steps))
            variable.assign((full if steps > 1 else full.mean(axis=0)).reshape(-1).astype(np.float32))


def _named(network: Any) -> dict[str, Any]:
    return {_CELL_IN_PATH.sub("", variable.path): variable for variable in network.weights}
