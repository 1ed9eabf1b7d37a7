"""The origin's API: its own tests, its defaults, and values computed by hand from its semantics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketquant import (
    PocketQuantError,
    QuantizeConfig,
    QuantizedTensor,
    calculate_snr,
    quantize_weights,
    should_skip_layer,
)
from pocketquant.quantize.tensor import round_half_away


class TestTheOriginsOwnTests:
    def test_quantize_tensor(self) -> None:
        tensor = np.array([1.0, 2.0, -3.0, 4.5, -2.1], dtype=np.float32)
        quantized = QuantizedTensor.quantize(tensor, 256)
        assert calculate_snr(tensor, quantized.data) > 30.0

    def test_quantize_large_tensor(self) -> None:
        values = (np.sin(np.arange(10000, dtype=np.float32) * np.float32(0.01)) * 10).astype(np.float32)
        assert calculate_snr(values, QuantizedTensor.quantize(values, 256).data) > 30.0

    def test_quantize_config_skip_layers(self) -> None:
        config = QuantizeConfig()
        assert should_skip_layer("model.embed_tokens", config)
        assert should_skip_layer("decoder.out_proj", config)
        assert not should_skip_layer("encoder.layers.0.linear", config)

    def test_theoretical_savings(self) -> None:
        quantized = QuantizedTensor.quantize(np.array([1.0, 2.0, 3.0]), 256)
        assert quantized.theoretical_memory_savings() == 4.0


def test_defaults() -> None:
    config = QuantizeConfig()
    assert config.skip_layers == ["embed", "lut", "out_proj", "eos_head"]
    assert (config.min_size, config.num_levels) == (1024, 256)


def test_values_by_hand_at_16_levels() -> None:
    """half = 8, so scale = 7 / (8 - 1) = 1: the levels are the integers -7..7, halves away from zero."""
    quantized = QuantizedTensor.quantize([0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 7.0, -6.4], 16)
    assert quantized.scale == 1.0
    np.testing.assert_array_equal(quantized.data, [1, -1, 2, 3, -3, 0, 7, -6])


def test_values_by_hand_at_256_levels() -> None:
    """half = 128, so scale = 254 / 127 = 2."""
    quantized = QuantizedTensor.quantize([254.0, -254.0, 1.0, -3.0, 0.99, 0.0], 256)
    assert quantized.scale == 2.0
    np.testing.assert_array_equal(quantized.data, [254, -254, 2, -4, 0, 0])
    assert quantized.zero_point == 0.0
    assert quantized.num_levels == 256


def test_arithmetic_is_float32() -> None:
    """0.3 / 127 in float32, not in float64 rounded at the end of the computation."""
    quantized = QuantizedTensor.quantize(np.array([0.1, 0.2, 0.3]), 256)
    scale = np.float32(0.3) / np.float32(127)
    assert quantized.scale == float(scale)
    assert quantized.data.dtype == np.float32
    np.testing.assert_array_equal(quantized.data, np.array([42, 85, 127], dtype=np.float32) * scale)


def test_odd_levels_halve_downwards() -> None:
    """num_levels / 2 is an integer division in the origin: 5 levels give half = 2 and scale = max."""
    assert QuantizedTensor.quantize([3.0, 1.0], 5).scale == 3.0


def test_zeros_have_scale_one() -> None:
    quantized = QuantizedTensor.quantize(np.zeros((3, 4)), 256)
    assert quantized.scale == 1.0
    np.testing.assert_array_equal(quantized.data, np.zeros((3, 4)))


@pytest.mark.parametrize(("levels", "savings"), [(256, 4.0), (65536, 2.0), (16, 1.0), (255, 1.0)])
def test_savings(levels: int, savings: float) -> None:
    assert QuantizedTensor.quantize([1.0, -2.0], levels).theoretical_memory_savings() == savings


@pytest.mark.parametrize("levels", [-1, 0, 1, 2, 3])
def test_too_few_levels(levels: int) -> None:
    with pytest.raises(PocketQuantError, match="num_levels"):
        QuantizedTensor.quantize([1.0], levels)
    with pytest.raises(PocketQuantError, match="num_levels"):
        quantize_weights({}, QuantizeConfig(num_levels=levels))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite(bad: float) -> None:
    with pytest.raises(PocketQuantError, match="NaN or infinite"):
        QuantizedTensor.quantize([1.0, bad], 256)
    with pytest.raises(PocketQuantError, match=r"layer\.weight"):
        quantize_weights({"layer.weight": np.full(2048, bad)})


def test_quantize_weights() -> None:
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {
        "layer.weight": rng.standard_normal((64, 64)).astype(np.float32),
        "text_embed.weight": rng.standard_normal((64, 64)).astype(np.float32),
        "tiny.weight": rng.standard_normal(1023).astype(np.float16),
        "enough.weight": rng.standard_normal(1024).astype(np.float32),
    }
    result = quantize_weights(weights, QuantizeConfig())
    assert list(result) == list(weights)
    for name in ("text_embed.weight", "tiny.weight"):
        assert (result[name].num_levels, result[name].scale, result[name].zero_point) == (0, 1.0, 0.0)
        assert result[name].data.dtype == weights[name].dtype
        np.testing.assert_array_equal(result[name].data, weights[name])
        assert result[name].theoretical_memory_savings() == 1.0
    for name in ("layer.weight", "enough.weight"):
        assert result[name].num_levels == 256
        assert 0 < np.abs(result[name].data - weights[name]).max() <= result[name].scale / 2 * 1.0001
    assert len(np.unique(result["layer.weight"].data)) <= 255


def test_snr_by_hand() -> None:
    """Signal power (9 + 16) / 2, noise power (0 + 1) / 2: 10 log10(25)."""
    assert calculate_snr([3.0, 4.0], [3.0, 5.0]) == pytest.approx(10 * math.log10(25), abs=1e-12)


def test_snr_edges() -> None:
    assert calculate_snr([1.0, 2.0], [1.0, 2.0]) == math.inf
    assert calculate_snr([0.0], [1.0]) == -math.inf
    with pytest.raises(PocketQuantError, match="shapes"):
        calculate_snr([1.0, 2.0], [1.0])


@given(st.integers(-(2**20), 2**20))
def test_rounding_takes_halves_away_from_zero(n: int) -> None:
    half = np.array([n / 2], dtype=np.float32)
    expected = math.copysign(math.floor(abs(n) / 2 + 0.5), n)
    assert float(round_half_away(half)[0]) == expected
