"""Transformer layers and convolutions of the compiled core: one call against the composition of its small ones,
bit for bit, and against the NumPy reference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_examples import ISAS

from pocketquant.ops import composed
from pocketquant.ops.interface import F32, Activation, LinearWeight, Ops, TransformerLayerWeights
from pocketquant.ops.reference import ReferenceOps

if TYPE_CHECKING:
    from pocketquant.ops.native import NativeOps

pytestmark = pytest.mark.parametrize("isa", ISAS)
REFERENCE = ReferenceOps()
SEEDS = st.integers(0, 2**32 - 1)
ROUNDING = 2e-2
"""Of the largest value: keys and values are rounded to float16."""


@cache
def ops_of(isa: str) -> NativeOps:
    from pocketquant.ops.native import NativeOps

    return NativeOps(isa=isa)


def matrix(rng: np.random.Generator, n: int, k: int, form: str) -> LinearWeight:
    """Of a norm that keeps values at about 1."""
    values = rng.standard_normal((n, k)).astype(np.float32) / np.float32(np.sqrt(k))
    if form == "f32":
        return LinearWeight(n, k, values)
    scale = np.maximum(np.abs(values).max(axis=1), 1e-6).astype(np.float32) / np.float32(127)
    levels = np.rint(values / scale[:, None]).astype(np.int8)
    return LinearWeight(n, k, levels, scale, activations="int16" if form == "int16" else "int8")


def arrays(seed: int, *shapes: tuple[int, ...]) -> Iterator[F32]:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape).astype(np.float32) for shape in shapes)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.tuples(
        st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 50)
    ),
    utterances=st.integers(1, 3),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    context=st.one_of(st.none(), st.integers(1, 8)),
    form=st.sampled_from(["f32", "int8", "int16"]),
    scaled=st.booleans(),
    seed=SEEDS,
)
def test_transformer_layer(
    isa: str,
    sizes: tuple[int, int, int, int, int],
    utterances: int,
    chunks: list[int],
    context: int | None,
    form: str,
    scaled: bool,
    seed: int,
) -> None:
    dim, kv_heads, shared, half_dim, hidden = sizes
    heads, head_dim = kv_heads * shared, 2 * half_dim
    rng = np.random.default_rng(seed)
    native = ops_of(isa)
    shapes = {
        "in_proj": ((heads + 2 * kv_heads) * head_dim, dim),
        "out_proj": (dim, heads * head_dim),
        "linear1": (hidden, dim),
        "linear2": (dim, hidden),
    }
    matrices = {name: matrix(rng, *shape, form) for name, shape in shapes.items()}
    rows = rng.standard_normal((6, dim)).astype(np.float32)

    def layer(ops: Ops) -> TransformerLayerWeights:
        packed: dict[str, Any] = {name: ops.pack(weight) for name, weight in matrices.items()}
        return TransformerLayerWeights(
            norm1=(rows[0], rows[1]),
            norm2=(rows[2], rows[3]),
            scale1=rows[4] if scaled else None,
            scale2=rows[5] if scaled else None,
            eps=1e-5,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            max_period=1e4,
            context=context,
            **packed,
        )

    parts, whole = layer(native), native.pack_layer(layer(native))
    specified = layer(REFERENCE)
    exact = form == "f32"
    caches, others, split, expected = (
        [ops.new_cache(4, kv_heads, head_dim, window=context, exact=exact) for _ in range(utterances)]
        for ops in (native, native, native, REFERENCE)
    )
    for count in chunks:
        x = rng.standard_normal((utterances * count, dim)).astype(np.float32)
        before = x.copy()
        y = native.transformer_layer(x, whole, caches)
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(y, composed.transformer_layer(native, x, parts, others))
        with native.splitting(2):
            np.testing.assert_array_equal(native.transformer_layer(x, whole, split), y)
        wanted = REFERENCE.transformer_layer(x, specified, expected)
        if form != "int8":  # a level of an 8-bit row that tips is no rounding error
            atol = (2e-4 if exact else ROUNDING) * max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(y, wanted, rtol=0, atol=atol)
        assert [c.length for c in caches] == [c.length for c in expected]


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    channels=st.integers(1, 20),
    n=st.integers(1, 40),
    chunks=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    before=st.sampled_from([None, "elu"]),
    activation=st.sampled_from([None, "elu"]),
    residual=st.booleans(),
    form=st.sampled_from(["f32", "int16"]),
    seed=SEEDS,
)
def test_convolution(
    isa: str,
    kernel: int,
    stride: int,
    dilation: int,
    channels: int,
    n: int,
    chunks: list[int],
    before: Activation | None,
    activation: Activation | None,
    residual: bool,
    form: str,
    seed: int,
) -> None:
    span = (kernel - 1) * dilation + 1
    stride = min(stride, span)
    rng = np.random.default_rng(seed)
    native = ops_of(isa)
    weight = matrix(rng, n, kernel * channels, form)
    packed, bias = native.pack(weight), rng.standard_normal(n).astype(np.float32)
    pasts = [np.zeros((span - stride, channels), np.float32) for _ in range(3)]
    for count in chunks:
        x, added = arrays(seed + count, (count * stride, channels), (count, n))
        how: dict[str, Any] = {
            "stride": stride,
            "dilation": dilation,
            "before": before,
            "activation": activation,
        }
        how["residual"] = added if residual else None
        y = native.convolve(x, pasts[0], packed, bias, **how)
        np.testing.assert_array_equal(y, composed.convolve(native, x, pasts[1], packed, bias, **how))
        wanted = REFERENCE.convolve(x, pasts[2], REFERENCE.pack(weight), bias, **how)
        np.testing.assert_allclose(y, wanted, rtol=0, atol=2e-3 if form == "int16" else 2e-5)
        np.testing.assert_array_equal(pasts[0], pasts[1])
        np.testing.assert_allclose(pasts[0], pasts[2], rtol=1e-5, atol=1e-6)


def test_convolution_refuses_what_does_not_fit(isa: str) -> None:
    native = ops_of(isa)
    packed = native.pack(LinearWeight(3, 8, np.zeros((3, 8), np.float32)))
    x, past = np.zeros((4, 4), np.float32), np.zeros((1, 4), np.float32)
    assert native.convolve(x, past, packed).shape == (4, 3)
    for wrong in (np.zeros((2, 4), np.float32), np.zeros((1, 3), np.float32)):
        with pytest.raises(ValueError, match="past has"):
            native.convolve(x, wrong, packed)
    with pytest.raises(ValueError, match="sizes of a convolution"):
        native.convolve(x[:, :3].copy(), past, packed)
    with pytest.raises(ValueError, match="sizes of a convolution"):
        native.convolve(x[:3], past, packed, stride=2)


def test_layer_refuses_what_does_not_fit(isa: str) -> None:
    native = ops_of(isa)

    def layer(hidden: int, heads: int) -> TransformerLayerWeights:
        def packed(n: int, k: int) -> Any:
            return native.pack(LinearWeight(n, k, np.zeros((n, k), np.float32)))

        norm = (np.ones(8, np.float32), np.zeros(8, np.float32))
        return TransformerLayerWeights(
            norm1=norm,
            in_proj=packed(24, 8),
            out_proj=packed(8, 8),
            scale1=None,
            norm2=norm,
            linear1=packed(16, 8),
            linear2=packed(8, hidden),
            scale2=None,
            eps=1e-5,
            heads=heads,
            kv_heads=2,
            head_dim=4,
            max_period=1e4,
            context=None,
        )

    whole = native.pack_layer(layer(16, 2))
    x = np.zeros((3, 8), np.float32)
    assert native.transformer_layer(x, whole, [native.new_cache(3, 2, 4)]).shape == (3, 8)
    with pytest.raises(ValueError, match="do not fit each other"):
        native.pack_layer(layer(17, 2))
    with pytest.raises(ValueError, match="sizes of a layer's attention"):
        native.pack_layer(layer(16, 3))
    with pytest.raises(ValueError, match="heads of another width"):
        native.transformer_layer(x, whole, [native.new_cache(3, 2, 6)])
    with pytest.raises(ValueError, match="do not fit the KV cache"):
        native.transformer_layer(x, whole, [native.new_cache(3, 1, 4)])
    with pytest.raises(ValueError, match="do not divide among the caches"):
        native.transformer_layer(x, whole, [native.new_cache(3, 2, 4) for _ in range(2)])
