"""Min-max, standard and robust scaling: fitted by scikit-learn on the training span, kept as JSON, applied without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SCALERS = {"minmax": "MinMaxScaler", "standard": "StandardScaler", "robust": "RobustScaler"}
"""Config name → class in `sklearn.preprocessing`."""


@dataclass(frozen=True)
class Scaler:
    """scaled = (value − offset) / scale, a pair for each column.

    Attributes:
        kind: name in `SCALERS`.
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
        values: finite training values, shape (rows, columns).
        kind: `minmax` maps to [0, 1], `standard` to mean 0 and variance 1, `robust` to median 0 and interquartile range 1.

    Source: https://scikit-learn.org/stable/modules/preprocessing.html
    """
    from sklearn import preprocessing

    fitted = getattr(preprocessing, SCALERS[kind])().fit(values)
    offset = {"minmax": "data_min_", "standard": "mean_", "robust": "center_"}[kind]
    scale = {"minmax": "data_range_", "standard": "scale_", "robust": "scale_"}[kind]
    spread = getattr(fitted, scale)
    if kind == "robust":  # scikit-learn puts 1 for a zero range, whatever the column's unit
        spread = np.where(np.ptp(np.quantile(values, (0.25, 0.75), axis=0), axis=0) == 0.0, values.std(axis=0), spread)
    spread = np.where(spread == 0.0, 1.0, spread)
    return Scaler(kind, tuple(map(float, getattr(fitted, offset))), tuple(map(float, spread)))
