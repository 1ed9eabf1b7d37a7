"""Seeded random weights with the spread of trained ones, for any config: each tensor from its name and a seed."""

from __future__ import annotations

import math
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pocketquant.checkpoint.layout import expected_shapes
from pocketquant.config.schema import ModelConfig
from pocketquant.quantize import schemes
from pocketquant.quantize.stored import StoredTensor

F32 = NDArray[np.float32]


def random_array(name: str, shape: tuple[int, ...], seed: int) -> F32:
    """The tensor `name`: norms near 1, matrices that keep the size of what they multiply."""
    if name.endswith(".freqs"):
        return np.exp(-math.log(10000) * np.arange(shape[0]) / shape[0]).astype(np.float32)
    noise = np.random.default_rng([seed, crc32(name.encode())]).random(shape, np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(math.sqrt(12) * _spread(name, shape))
    if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "in_ln.weight", "alpha", "emb_std")):
        noise += 1
    if name.endswith(".scale"):
        noise += np.float32(0.3)
    return noise


def _spread(name: str, shape: tuple[int, ...]) -> float:
    """The standard deviation."""
    if "upsample" in name or "bos_" in name or name.endswith("embed.weight"):
        return 1.0
    if name.endswith("convtr.weight"):
        return 1.2 / math.sqrt(2 * shape[0])
    if len(shape) == 3:
        return 1.2 / math.sqrt(shape[1] * shape[2])
    return 1 / math.sqrt(shape[1]) if len(shape) == 2 else 0.1


def random_arrays(config: ModelConfig, seed: int) -> dict[str, F32]:
    """All tensors of a model."""
    return {name: random_array(name, shape, seed) for name, shape in expected_shapes(config).items()}


def stored(array: NDArray[Any], scheme: str = "f32") -> StoredTensor:
    """An array in a scheme; f32 takes no copy."""
    if scheme == "f32":
        return StoredTensor("f32", array.shape, array)
    return schemes.get(scheme).quantize(array)


def random_weights(config: ModelConfig, seed: int) -> dict[str, StoredTensor]:
    """All tensors of a model, as float32 checkpoints store them."""
    return {name: stored(array) for name, array in random_arrays(config, seed).items()}
