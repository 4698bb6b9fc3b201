"""What is learned: a price at step 1 … horizon as level, difference or log return, each with its inverse.

`base` is the price at the cutoff. Knows arrays only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Transform:
    """A change of variable and its inverse, elementwise and increasing, so that quantiles map to quantiles.

    Attributes:
        forward: (price, base) → target.
        inverse: (target, base) → price.
    """

    forward: Callable[[np.ndarray, np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray, np.ndarray], np.ndarray]


TRANSFORMS: dict[str, Transform] = {
    "level": Transform(lambda price, base: price + 0.0 * base, lambda target, base: target + 0.0 * base),
    "difference": Transform(lambda price, base: price - base, lambda target, base: target + base),
    "log_return": Transform(lambda price, base: np.log(price / base), lambda target, base: base * np.exp(target)),
}
"""Name → transform, as in `target.transform`."""


def make_targets(price: np.ndarray, usable: np.ndarray, groups: np.ndarray, horizon: int, transform: str) -> np.ndarray:
    """The target of every row and step, float64, shape (rows, horizon); NaN where a step is unknown.

    A step is unknown when its row lies beyond the ticker's last one, or when its price or the cutoff's is not an observation.

    Args:
        price: the target price of every row, shape (rows,).
        usable: whether that price is an observation, shape (rows,).
        groups: ticker of each row; equal neighbours belong together, shape (rows,).
        horizon: steps ahead.
        transform: a name in `TRANSFORMS`.
    """
    rows, observed = np.arange(len(price)), np.where(usable, price, np.nan)
    lasts = np.flatnonzero(np.append(groups[1:] != groups[:-1], True))
    ahead = rows[:, None] + np.arange(1, horizon + 1)
    changes = TRANSFORMS[transform].forward(observed[np.minimum(ahead, len(price) - 1)], observed[:, None])
    return np.where(ahead <= lasts[np.searchsorted(lasts, rows)][:, None], changes, np.nan)
