"""How many numbers a network's parts hold, by their names in the config: known without TensorFlow."""

from __future__ import annotations

from stockrnn.types import QUANTILES

GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4}
"""Blocks of `units` columns in the kernels of each `model.cell`."""
PARAMETERS = {"point": 1, "quantile": len(QUANTILES), "student_t": 3, "direction": 1}
"""Numbers that each `model.head` gives for a step."""
