"""Min-max, standard and robust scaling: fitted on the training span as scikit-learn does, to the bit, and kept as JSON.

Loading scikit-learn itself, for these sums, would take half a second of every training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Scaler:
    """scaled = (value − offset) / scale, a pair for each column.

    Attributes:
        kind: name in `FITS`.
        offset: shape (columns,), in the unit of the column.
        scale: shape (columns,), in the unit of the column, never zero.
    """

    kind: str
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Scale values of shape (…, columns)."""
        return np.asarray((values - np.array(self.offset)) / np.array(self.scale))

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Undo `transform`."""
        return np.asarray(scaled * np.array(self.scale) + np.array(self.offset))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able state; floats keep every bit."""
        return {"kind": self.kind, "offset": list(self.offset), "scale": list(self.scale)}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Scaler:
        """The scaler of a state written by `to_dict`."""
        return cls(str(state["kind"]), tuple(map(float, state["offset"])), tuple(map(float, state["scale"])))


def fit_scaler(values: np.ndarray, kind: str) -> Scaler:
    """Learn offset and scale of each column from training rows alone.

    A column whose interquartile range is zero (a price that seldom moves) is scaled by its standard deviation instead,
    and a constant column is only shifted.

    Args:
        values: finite training values, float64, shape (rows, columns).
        kind: `minmax` maps to [0, 1], `standard` to mean 0 and variance 1, `robust` to median 0 and interquartile range 1.

    Source: https://scikit-learn.org/stable/modules/preprocessing.html
    """
    offset, spread = FITS[kind](values)
    return Scaler(kind, tuple(map(float, offset)), tuple(map(float, np.where(spread == 0.0, 1.0, spread))))


def _minmax(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least value and range."""
    least = values.min(axis=0)
    return least, values.max(axis=0) - least


def _standard(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, by two passes; a deviation that rounding may have made is that of a constant, 0.

    Source: Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115.
    """
    n = len(values)
    mean = values.sum(axis=0) / n
    apart = values - mean
    correction = apart.sum(axis=0) ** 2 / n
    variance = ((apart**2).sum(axis=0) - correction) / n
    constant = variance <= n * EPSILON * variance + (n * mean * EPSILON) ** 2
    return mean, np.where(constant, 0.0, np.sqrt(variance))


def _robust(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and interquartile range; the standard deviation where that is zero, whatever the column's unit."""
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    spread = np.where(high - low < 10 * EPSILON, 1.0, high - low)
    return np.median(values, axis=0), np.where(high == low, values.std(axis=0), spread)


FITS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {"minmax": _minmax, "standard": _standard, "robust": _robust}
"""What gives the offset and the scale of each column, 0 for a constant one, by the config's name."""
