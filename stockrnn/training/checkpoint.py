"""The state of a training, so that a killed one goes on where it was: one safetensors file, two generations kept.

Generations are written in turn to two files, so the newest whole one always survives a write that fails. A write is due once
it takes no more than a small share of the time since the last one, and after half a minute at the latest: a kill costs one
epoch where epochs are long, and a moment where they are short.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stockrnn.errors import RunDamagedError
from stockrnn.storage import sha256, storage_errors, write_bytes

FORMAT = 1


@dataclass(frozen=True)
class TrainingState:
    """All that the rest of a training depends on.

    Attributes:
        epoch: epochs done.
        arrays: weights, best weights and optimizer variables by name.
        facts: numbers and words of the loop (best loss, patience used, history), as JSON holds them.
    """

    epoch: int
    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with `prefix`, by the rest of the name."""
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}


@dataclass
class Checkpoint:
    """Where and how often a training's state is kept.

    Attributes:
        path: the file's name without its generation; `state` becomes `state.0.safetensors` and `state.1.safetensors`.
        every_s: most seconds between two writes, where epochs are shorter; 0 writes after each epoch.
        share: of the time, that writing may take.
    """

    path: Path
    every_s: float = 30.0
    share: float = 0.05
    _took: float = field(default=0.0, init=False)
    _written: float = field(default=-float("inf"), init=False)
    _generation: int = field(default=0, init=False)

    def due(self) -> bool:
        """Whether the last write is long enough ago."""
        return time.monotonic() - self._written >= min(self.every_s, self._took / self.share)

    def save(self, state: TrainingState, job: str) -> None:
        """Write the next generation. `job` names what is trained. Raises StorageError; the generation before stays."""
        started = time.monotonic()
        write_bytes(self._files()[self._generation % 2], _encode(state, job, self._generation))
        self._generation += 1
        self._written = time.monotonic()
        self._took = self._written - started

    def load(self, job: str) -> TrainingState | None:
        """The newest whole generation, or None where there is none.

        Raises:
            RunDamagedError: it belongs to another job (other data, config or seed).
        """
        found = [state for state in map(_decode, self._files()) if state is not None]
        if not found:
            return None
        generation, written_for, state = max(found, key=lambda each: each[0])
        if written_for != job:
            raise RunDamagedError(
                f"{self.path} must hold the state of this training. Received: that of another. Remove it or choose another run."
            )
        self._generation = generation + 1
        return state

    def remove(self) -> None:
        """Delete both generations."""
        with storage_errors(self.path.parent, "writable"):
            for file in self._files():
                file.unlink(missing_ok=True)

    def _files(self) -> tuple[Path, Path]:
        first, second = (self.path.with_name(f"{self.path.name}.{k}.safetensors") for k in range(2))
        return first, second


def _encode(state: TrainingState, job: str, generation: int) -> bytes:
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
    facts = json.dumps({"format": FORMAT, "generation": generation, "job": job, "epoch": state.epoch, "facts": state.facts})
    return bytes(save(arrays, {"facts": facts, "sha256": _digest(arrays, facts)}))


def _decode(path: Path) -> tuple[int, str, TrainingState] | None:
    """The content of a whole file; None when it is absent, cut short, altered or of another format."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    with contextlib.suppress(SafetensorError, KeyError, ValueError, TypeError), safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        facts = json.loads(metadata["facts"])
        if metadata["sha256"] == _digest(arrays, metadata["facts"]) and facts["format"] == FORMAT:
            return facts["generation"], facts["job"], TrainingState(facts["epoch"], arrays, facts["facts"])
    return None


def _digest(arrays: Mapping[str, np.ndarray], facts: str) -> str:
    parts = (f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode() + arrays[name].tobytes() for name in sorted(arrays))
    return sha256(facts.encode() + b"".join(parts))
