"""Dropout at forecast time, without drawing anything while forecasting: a network thinned by fixed masks is a network.

A mask that stays the same at all timesteps scales rows of a kernel: (x ∘ m) W = x (diag(m) W). So a dropout sample of a
trained network is the same network with other weights, which ONNX Runtime computes as it does any other.

Source: Gal and Ghahramani 2016, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks, arXiv:1512.05287.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stockrnn.config import ModelConfig
from stockrnn.models.networks import NetworkSpec
from stockrnn.models.seeds import derive_seed

Weights = Mapping[str, np.ndarray]
KERNEL, RECURRENT = "/kernel", "/recurrent_kernel"


def thinned_members(
    specs: Sequence[NetworkSpec], members: Sequence[Weights], samples: int, seed: int
) -> tuple[tuple[NetworkSpec, ...], tuple[Weights, ...]]:
    """Each trained network as `samples` thinned ones, side by side; the networks themselves where `samples` is 0.

    Args:
        specs: shape of each trained network.
        members: weights of each trained network.
        samples: `train.mc_dropout`.
        seed: `train.seed`; the masks of a sample derive from it, the member and the sample.
    """
    if samples == 0:
        return tuple(specs), tuple(members)
    drawn = [
        (spec, thinned(weights, masks_of(weights, spec.model, seed, member, sample)))
        for member, (spec, weights) in enumerate(zip(specs, members, strict=True))
        for sample in range(samples)
    ]
    return tuple(spec for spec, _ in drawn), tuple(weights for _, weights in drawn)


def masks_of(weights: Weights, model: ModelConfig, seed: int, member: int, sample: int) -> dict[str, np.ndarray]:
    """The masks of one sample, by the name of the kernel they act on: shape (gates or 1, rows of the kernel).

    As Keras draws them in training: an entry is 0 with the probability of dropout, else 1 / (1 - probability), one mask for
    all gates, and with recurrent dropout one a gate. Cells are found by their recurrent kernels, so those of both
    directions and of a decoder are among them.
    """
    masks = {}
    for cell in (name.removesuffix(RECURRENT) for name in weights if name.endswith(RECURRENT)):
        units, width = weights[cell + RECURRENT].shape
        apart = width // units if model.recurrent_dropout > 0 else 1
        for kernel, share in ((cell + KERNEL, model.dropout), (cell + RECURRENT, model.recurrent_dropout)):
            if share > 0:
                generator = np.random.default_rng(derive_seed(seed, "mc_dropout", member, sample, kernel))
                kept = generator.random((apart, weights[kernel].shape[0])) >= share
                masks[kernel] = (kept / (1.0 - share)).astype(np.float32)
    return masks


def thinned(weights: Weights, masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with every row of a kernel scaled by its mask, gate by gate."""
    return {name: _scaled(weight, masks[name]) if name in masks else weight for name, weight in weights.items()}


def _scaled(kernel: np.ndarray, mask: np.ndarray) -> np.ndarray:
    blocks = np.split(kernel, len(mask), axis=1)
    return np.concatenate([row[:, None] * block for row, block in zip(mask, blocks, strict=True)], axis=1)
