"""The noise that a latent starts from."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import cast

import numpy as np

from pocketquant.ops.interface import F32

_NORMAL = NormalDist()


def sample_noise(rng: np.random.Generator, size: int, temperature: float, clamp: float | None = None) -> F32:
    """Normal noise with standard deviation sqrt(temperature), float32 `[1, size]`.

    With `clamp` the distribution is truncated to +-clamp by inverting its distribution function: with u
    uniform in 0..1 and p = Phi(-clamp / std), x = std * Phi^-1(p + u (1 - 2p)). (The official package uses
    torch's `trunc_normal_`, the same formula through erfinv.) Not the same numbers as torch's for a seed.

    Args:
        rng: the source of randomness; not touched at temperature 0.
        size: width of a latent.
        temperature: the variance; 0 gives zeros.
        clamp: largest magnitude, or None.
    """
    if temperature <= 0:
        return np.zeros((1, size), np.float32)
    std = math.sqrt(temperature)
    if clamp is None:
        return cast(F32, rng.standard_normal((1, size), dtype=np.float32) * np.float32(std))
    below = _NORMAL.cdf(-clamp / std)
    uniform = below + rng.random(size) * (1 - 2 * below)
    inside = np.clip(uniform, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    noise = np.array([_NORMAL.inv_cdf(p) for p in inside]) * std
    return np.clip(noise, -clamp, clamp).astype(np.float32)[None]
