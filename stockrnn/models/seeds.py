"""Where every random number comes from: the run's seed and the purpose it is for. Nothing is drawn in sequence."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed of 32 bits for one purpose, such as ("dropout", member, epoch); other purposes give unrelated seeds."""
    text = "/".join(f"{len(str(part))}:{part}" for part in (seed, *purpose))
    entropy = int.from_bytes(hashlib.sha256(text.encode()).digest())
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
