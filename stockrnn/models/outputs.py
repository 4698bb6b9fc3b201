"""What the numbers of each head mean, in NumPy: prediction without TensorFlow reads a network's output here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stockrnn.types import QUANTILES

MOVE_LEVELS = np.linspace(0.005, 0.995, 100)
"""Levels at which the sizes of falls and rises are kept."""


_BELOW = (-2.059, -1.542, -1.212, -0.957, -0.756, -0.575, -0.412, -0.256, -0.109)
USUAL_SHAPE = np.array([*_BELOW, 0.021, 0.159, 0.312, 0.462, 0.632, 0.819, 1.031, 1.288, 1.645, 2.183])
"""q05 … q95 of a daily change, in units of its mean size and of the volatility forecast: the mean of twelve daily series (first 70 %)."""
USUAL_TRUST = 2000
"""Windows of evidence that the usual shape counts as."""


def resting_quantiles(targets: np.ndarray) -> np.ndarray:
    """The targets' quantiles, drawn towards the usual shape, as those of a short history are noisy: shape (horizon, 19).

    Args:
        targets: scaled without an offset, so that no change is zero, shape (n, horizon).
    """
    trust = USUAL_TRUST / (USUAL_TRUST + len(targets))
    usual = np.abs(targets).mean(axis=0)[:, None] * USUAL_SHAPE
    return np.asarray((1 - trust) * np.quantile(targets, QUANTILES, axis=0).T + trust * usual)


def quantiles_of(head: str, raw: np.ndarray) -> np.ndarray:
    """The quantiles q05 … q95 that an output says, without calibration.

    Args:
        head: the config's `model.head`. A `point` says a value, given at every level; a `direction` says no quantile:
            see `direction_quantiles`.
        raw: output of the network or the mean of several, shape (n, horizon, params), scaled.

    Returns:
        Shape (n, horizon, 19), non-decreasing, scaled.

    Raises:
        KeyError: a head without quantiles.
    """
    return QUANTILES_OF[head](np.asarray(raw, np.float64))


def probability_up(raw: np.ndarray) -> np.ndarray:
    """P(up) of a `direction` head, shape (n, horizon), from its logits (n, horizon, 1)."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * np.asarray(raw, np.float64)[..., 0]))


def move_sizes(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the target fell and rose in the past: quantiles at `MOVE_LEVELS`, each of shape (horizon, 100).

    Args:
        targets: past targets scaled without offset, shape (n, horizon); up is above 0. A direction never seen counts as 0.
    """
    down, up = ([column[(column > 0) == side] for column in np.asarray(targets, np.float64).T] for side in (False, True))
    sizes = [np.stack([np.quantile(moves, MOVE_LEVELS) if len(moves) else np.zeros(100) for moves in side]) for side in (down, up)]
    return sizes[0], sizes[1]


def direction_quantiles(probability: np.ndarray, falls: np.ndarray, rises: np.ndarray) -> np.ndarray:
    """The quantiles q05 … q95 of a mixture: with P(up) a rise and otherwise a fall, each of the sizes seen in the past.

    The level q of the mixture is the level q / (1 - p) of the falls where q <= 1 - p, else (q - 1 + p) / p of the rises.

    Args:
        probability: P(up), shape (n, horizon).
        falls: from `move_sizes`, shape (horizon, 100).
        rises: the same.

    Returns:
        Shape (n, horizon, 19), non-decreasing, in the unit of the sizes.
    """
    levels = np.array(QUANTILES)
    p = np.clip(probability, 1e-12, 1.0 - 1e-12)[..., None]
    fall_levels, rise_levels = np.minimum(levels / (1.0 - p), 1.0), np.maximum((levels - 1.0 + p) / p, 0.0)
    result = np.empty(rise_levels.shape)
    for step in range(result.shape[1]):
        fallen = np.interp(fall_levels[:, step], MOVE_LEVELS, falls[step])
        risen = np.interp(rise_levels[:, step], MOVE_LEVELS, rises[step])
        result[:, step] = np.where(levels <= 1.0 - p[:, step], fallen, risen)
    return result


def _student_quantiles(raw: np.ndarray) -> np.ndarray:
    """Location + scale · t quantile; the mean of several members' parameters gives the mean of their quantiles if their freedom agrees."""
    from scipy.special import stdtrit

    location, scale, freedom = (raw[..., k : k + 1] for k in range(3))
    return np.asarray(location + scale * stdtrit(freedom, np.array(QUANTILES)))


QUANTILES_OF: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "point": lambda raw: np.repeat(raw, len(QUANTILES), axis=-1),
    "quantile": lambda raw: raw,
    "student_t": _student_quantiles,
}
"""The quantiles of each head that says them."""
