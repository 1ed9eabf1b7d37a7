"""Attention and the KV cache of the compiled core against the NumPy reference."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_examples import ISAS

from pocketquant.ops.reference import ReferenceOps

if TYPE_CHECKING:
    from pocketquant.ops.native import NativeOps

pytestmark = pytest.mark.parametrize("isa", ISAS)
REFERENCE = ReferenceOps()

HALF_ROUNDING = 2e-3
"""Keys and values below 4 rounded to float16 are off by at most 2**-10; the softmax keeps the mean of such
errors below that, and the scores' errors, of the same origin, move it by as much again."""
FLOAT_ROUNDING = 2e-5
"""Of an exact cache: sums of up to 80 products of values up to 2, in another order."""


@cache
def ops_of(isa: str) -> NativeOps:
    from pocketquant.ops.native import NativeOps

    return NativeOps(isa=isa)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int, int | None, int | None, list[int], int]:
    """heads, kv_heads, head_dim, context, window, rows of each call, seed"""
    kv_heads = draw(st.integers(1, 3))
    context = draw(st.one_of(st.none(), st.integers(1, 12)))
    window = None if context is None else context + draw(st.integers(0, 3))
    rows = draw(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    heads = kv_heads * draw(st.integers(1, 3))
    return (
        heads,
        kv_heads,
        2 * draw(st.integers(1, 40)),
        context,
        window,
        rows,
        draw(st.integers(0, 2**32 - 1)),
    )


@settings(max_examples=60, deadline=None)
@given(shape=shapes(), capacity=st.integers(1, 40), exact=st.booleans())
def test_attention(
    isa: str, shape: tuple[int, int, int, int | None, int | None, list[int], int], capacity: int, exact: bool
) -> None:
    """The same as the reference call after call, and bit for bit the same token by token."""
    heads, kv_heads, dim, context, window, chunks, seed = shape
    rng = np.random.default_rng(seed)
    ops = ops_of(isa)
    expected = REFERENCE.new_cache(capacity, kv_heads, dim, window=window)
    cache, single, split = (
        ops.new_cache(capacity, kv_heads, dim, window=window, exact=exact) for _ in range(3)
    )
    tolerance = FLOAT_ROUNDING if exact else HALF_ROUNDING
    how = {"heads": heads, "kv_heads": kv_heads, "max_period": 1e4, "context": context}
    for rows in chunks:
        qkv = np.clip(rng.standard_normal((rows, (heads + 2 * kv_heads) * dim)), -2, 2).astype(np.float32)
        y = ops.attention(qkv, cache, **how)  # type: ignore[arg-type]
        reference = REFERENCE.attention(qkv, expected, **how)  # type: ignore[arg-type]
        np.testing.assert_allclose(y, reference, atol=tolerance * 2, rtol=0)
        one = [ops.attention(qkv[t : t + 1], single, **how) for t in range(rows)]  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.concatenate(one), y)
        with ops.splitting(2):
            np.testing.assert_array_equal(ops.attention(qkv, split, **how), y)  # type: ignore[arg-type]
        assert cache.length == expected.length
    np.testing.assert_allclose(cache.export(), expected.export(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("exact", [False, True])
def test_cache_round_trip(isa: str, exact: bool) -> None:
    """What `export` gives, `load` takes: values survive exactly, and attention goes on from there."""
    rng = np.random.default_rng(0)
    ops = ops_of(isa)
    kv = rng.standard_normal((2, 7, 2, 10)).astype(np.float32)
    if not exact:
        kv = kv.astype(np.float16).astype(np.float32)
    cache = ops.new_cache(3, 2, 10, exact=exact)
    cache.load(kv)
    assert cache.length == 7
    np.testing.assert_array_equal(cache.export(), kv)
    cache.append(kv[0, :2], kv[1, :2])
    again = ops.new_cache(100, 2, 10, exact=exact)
    again.load(cache.export())
    qkv = rng.standard_normal((3, 80)).astype(np.float32)
    first, second = (ops.attention(qkv, c, heads=4, kv_heads=2, max_period=1e4) for c in (cache, again))
    np.testing.assert_array_equal(first, second)


def test_large_scores_do_not_overflow(isa: str) -> None:
    ops = ops_of(isa)
    qkv = np.full((4, 3 * 16), 200.0, np.float32)
    y = ops.attention(qkv, ops.new_cache(4, 1, 16), heads=1, kv_heads=1, max_period=1e4)
    np.testing.assert_allclose(y, 200.0, rtol=1e-6)


def test_arguments_are_checked(isa: str) -> None:
    ops = ops_of(isa)
    qkv = np.ones((1, 3 * 16), np.float32)
    with pytest.raises(ValueError, match="keeps fewer positions"):
        ops.attention(qkv, ops.new_cache(4, 1, 16, window=3), heads=1, kv_heads=1, max_period=1e4, context=4)
    with pytest.raises(ValueError, match="heads do not fit"):
        ops.attention(qkv, ops.new_cache(4, 2, 16), heads=1, kv_heads=1, max_period=1e4)
    with pytest.raises(ValueError, match="even head_dim"):
        ops.new_cache(4, 1, 15)
