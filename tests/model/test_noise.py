"""The noise that a latent starts from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pocketquant.model.noise import sample_noise


def test_temperature_0_is_silent_and_takes_no_randomness() -> None:
    rng = np.random.default_rng(1)
    assert not sample_noise(rng, 8, 0.0, 0.5).any()
    assert rng.random() == np.random.default_rng(1).random()


@pytest.mark.parametrize("clamp", [None, 1.0])
def test_a_seed_gives_the_same_noise(clamp: float | None) -> None:
    first, again = (sample_noise(np.random.default_rng(3), 32, 0.7, clamp) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (1, 32)
    assert first.dtype == np.float32


def test_temperature_is_the_variance() -> None:
    noise = sample_noise(np.random.default_rng(2), 40000, 0.3)
    assert noise.var() == pytest.approx(0.3, rel=0.03)
    assert abs(noise.mean()) < 0.01


@pytest.mark.parametrize(("temperature", "clamp"), [(0.49, 1.0), (0.3, 0.2), (1.0, 3.0), (1e-6, 1.0)])
def test_clamped_noise_is_the_truncated_normal(temperature: float, clamp: float) -> None:
    """Within the bounds, and distributed as the normal distribution cut off there."""
    noise = np.sort(sample_noise(np.random.default_rng(4), 20000, temperature, clamp)[0].astype(np.float64))
    assert np.abs(noise).max() <= clamp
    std = math.sqrt(temperature)
    cdf = np.array([0.5 * (1 + math.erf(x / std / math.sqrt(2))) for x in noise])
    below = 0.5 * (1 + math.erf(-clamp / std / math.sqrt(2)))
    expected = (cdf - below) / (1 - 2 * below)
    steps = np.arange(1, len(noise) + 1) / len(noise)
    assert np.abs(steps - expected).max() < 1.63 / math.sqrt(len(noise))  # Kolmogorov-Smirnov at 1%
