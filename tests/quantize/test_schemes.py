"""Every scheme by its properties: round trip, error bound, idempotence, exact zeros, any shape, honest sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pocketquant import QuantizedTensor, calculate_snr
from pocketquant.errors import PocketQuantError, QuantizationError, RecipeError
from pocketquant.quantize import schemes
from pocketquant.quantize.stored import FloatArray

ALL = sorted(schemes.SCHEMES)
INT4 = [name for name in ALL if name.startswith("int4")]
LINEAR = ["int8", "int8-tensor", *INT4]

shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=40).filter(
    lambda s: math.prod(s) <= 4096
)
magnitudes = st.sampled_from([1e-30, 1e-4, 0.02, 1.0, 300.0])


@st.composite
def tensors(draw: st.DrawFn) -> FloatArray:
    """Weights of any shape and size, with zeros, repeated values and outliers among them."""
    shape = draw(shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.standard_normal(shape) * draw(magnitudes)
    values[rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.9]))] = 0.0
    values[rng.random(shape) < draw(st.sampled_from([0.0, 0.01]))] *= 20
    return values.astype(np.float32)


@pytest.mark.parametrize("name", ALL)
@given(values=tensors())
@settings(max_examples=60, deadline=None)
def test_properties(name: str, values: FloatArray) -> None:
    scheme = schemes.get(name)
    stored = scheme.quantize(values)
    restored = stored.dequantize()

    assert (stored.scheme, stored.shape) == (name, values.shape)
    assert restored.dtype == np.float32
    assert restored.shape == values.shape
    assert stored.nbytes == scheme.nbytes(values.shape)
    assert scheme.bits_per_weight(values.shape) == pytest.approx(8 * stored.nbytes / values.size)
    assert np.all(restored[values == 0] == 0)

    steps = scheme.steps(stored)
    if steps is not None:
        error = np.abs(values - restored).reshape(stored.rows, steps.shape[1], -1)
        beyond = int(np.count_nonzero(error > 0.5001 * steps))
        assert beyond == scheme.clipped(values, restored, stored)
        if not name.startswith("int4"):
            assert beyond == 0

    again = scheme.quantize(restored).dequantize()
    if name == "int8-tensor":  # the origin's scale, max / 127, loses its last bit on the way
        np.testing.assert_allclose(again, restored, rtol=3e-7)
    else:
        np.testing.assert_array_equal(again, restored)


@pytest.mark.parametrize(("name", "bits"), [("f16", 11), ("bf16", 8)])
@given(values=tensors())
@settings(max_examples=40, deadline=None)
def test_floats_keep_their_significant_bits(name: str, bits: int, values: FloatArray) -> None:
    restored = schemes.get(name).quantize(values).dequantize()
    normal = np.abs(values) > 6.2e-5  # smallest normal float16
    relative = np.abs(restored[normal] - values[normal]) / np.abs(values[normal])
    assert np.all(relative <= 2.0**-bits)


@given(values=tensors())
@settings(max_examples=60, deadline=None)
def test_int8_tensor_is_the_origin_in_one_byte(values: FloatArray) -> None:
    stored = schemes.get("int8-tensor").quantize(values)
    assert stored.data.dtype == np.int8
    np.testing.assert_array_equal(stored.dequantize(), QuantizedTensor.quantize(values, 256).data)


@given(values=tensors())
@settings(max_examples=60, deadline=None)
def test_int8_products_are_exact(values: FloatArray) -> None:
    """level * scale needs no rounding in float32, so every implementation gets the same values."""
    stored = schemes.get("int8").quantize(values)
    assert stored.scale is not None
    exact = stored.data.reshape(stored.rows, -1).astype(np.float64) * stored.scale.astype(np.float64)
    np.testing.assert_array_equal(exact.astype(np.float32).astype(np.float64), exact)
    assert np.abs(stored.data.astype(int)).max() <= 127


@given(cols=st.integers(1, 700), size=st.sampled_from([32, 64, 128]))
def test_groups_divide_the_row(cols: int, size: int) -> None:
    group = schemes.Int4(size).group(cols)
    assert cols % group == 0
    assert (group <= size and group >= 8) or group == cols


@pytest.mark.parametrize(
    ("size", "cols", "group"),
    [(32, 1024, 32), (32, 112, 16), (32, 96, 32), (64, 96, 32), (128, 96, 32), (128, 112, 16), (32, 7, 7)],
)
def test_groups_of_real_widths(size: int, cols: int, group: int) -> None:
    assert schemes.Int4(size).group(cols) == group
    stored = schemes.Int4(size).quantize(np.ones((3, cols), dtype=np.float32))
    assert stored.group == group


@given(
    hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.integers(-8, 7))
)
def test_nibbles_round_trip(levels: np.ndarray) -> None:
    packed = schemes.pack_nibbles(levels)
    assert packed.shape == (levels.shape[0], -(-levels.shape[1] // 8))
    np.testing.assert_array_equal(schemes.unpack_nibbles(packed, levels.shape[1]), levels)


def test_nibbles_by_hand() -> None:
    """Lowest nibble first, value + 8: -8..-1 is 0x76543210."""
    packed = schemes.pack_nibbles(np.arange(-8, 0, dtype=np.int8)[None])
    assert packed.tolist() == [[0x76543210]]


@pytest.mark.parametrize("name", INT4)
def test_clip_search_beats_the_largest_value(name: str) -> None:
    """Against the plain symmetric scale max / 7, on weights like a trained layer's (heavy tails)."""
    rng = np.random.default_rng(1)
    weights = (rng.standard_t(5, (256, 512)) * 0.02).astype(np.float32)
    scheme = schemes.get(name)
    assert isinstance(scheme, schemes.Int4)
    groups = weights.reshape(-1, scheme.group(512))
    scale = np.abs(groups).max(axis=1, keepdims=True) / 7
    plain = (np.rint(groups / scale) * scale).reshape(weights.shape)
    searched = scheme.quantize(weights).dequantize()
    assert calculate_snr(weights, searched) > calculate_snr(weights, plain) + 1.0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite(name: str, bad: float) -> None:
    with pytest.raises(QuantizationError, match="NaN or infinite"):
        schemes.get(name).quantize(np.array([[1.0, bad]], dtype=np.float32))


@pytest.mark.parametrize(
    ("name", "value"), [("f16", 7e4), ("bf16", 3.4028e38), ("int8", 3.4028235e38), ("int4-g32", 1e7)]
)
def test_out_of_range(name: str, value: float) -> None:
    with pytest.raises(QuantizationError, match="f32"):
        schemes.get(name).quantize(np.full((2, 32), value, dtype=np.float32))


def test_unknown_scheme() -> None:
    with pytest.raises(RecipeError, match="int8"):
        schemes.get("int-8")
    with pytest.raises(PocketQuantError, match="known are"):
        schemes.get("zzz")


def test_empty_tensor_is_an_error() -> None:
    with pytest.raises(QuantizationError, match="no values"):
        schemes.get("int8").quantize(np.zeros((0, 4), dtype=np.float32))
