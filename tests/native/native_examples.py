"""What the native tests share: the instruction sets of this machine and random inputs for them."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pocketquant.ops.interface import F32, LinearWeight
from pocketquant.ops.isa import available_isas

ISAS: list[Any] = [*available_isas()] or [
    pytest.param("none", marks=pytest.mark.skip(reason="the compiled core is not installed"))
]

Activations = Literal["float", "int8", "int16"]
FORMATS = ("f32", "f16", "int8", "int4")


def words_of(values: NDArray[Any]) -> NDArray[np.int32]:
    """4-bit values [n, k] in -8..7 as int32 words, eight a word, lowest nibble first, value + 8."""
    n, k = values.shape
    padded = np.zeros((n, -(-k // 8) * 8), np.uint32)
    padded[:, :k] = (values + 8).astype(np.uint32)
    shifted = padded.reshape(n, -1, 8) << np.arange(0, 32, 4, dtype=np.uint32)
    return cast(NDArray[np.int32], np.bitwise_or.reduce(shifted, axis=-1).view(np.int32))


def weight_of(
    rng: np.random.Generator, form: str, n: int, k: int, group: int, activations: str
) -> LinearWeight:
    """A random weight; extremes of the integer range are frequent."""
    kind = cast(Activations, activations)
    if form == "int8":
        values = np.clip(rng.integers(-160, 161, (n, k)), -127, 127).astype(np.int8)
        return LinearWeight(n, k, values, rng.uniform(1e-3, 1, n).astype(np.float32), None, kind)
    if form == "int4":
        words = words_of(np.clip(rng.integers(-10, 10, (n, k)), -8, 7))
        scale = rng.uniform(1e-3, 1, (n, k // group)).astype(np.float16)
        return LinearWeight(n, k, words, scale, group, kind)
    dtype = np.float16 if form == "f16" else np.float32
    return LinearWeight(n, k, rng.standard_normal((n, k)).astype(dtype))


def rows_of(rng: np.random.Generator, kind: str, rows: int, k: int, stride: int) -> F32:
    """Rows of k values, `stride` values apart in memory: overlapping windows when stride < k."""
    size = (rows - 1) * stride + k
    if kind == "normal":
        flat = rng.standard_normal(size)
    elif kind == "zeros":
        flat = np.zeros(size)
    elif kind == "subnormal":
        flat = rng.standard_normal(size) * 1e-39
    elif kind == "halves":  # q between two integers: rounds to even
        flat = rng.integers(-254, 255, size) / 2
    elif kind == "saturated":
        flat = rng.choice([-3.0, 3.0], size)
    else:
        flat = rng.standard_normal(size) * (rng.random(size) < 0.1)
    shape, strides = (rows, k), (4 * stride, 4)
    return as_strided(flat.astype(np.float32), shape, strides, writeable=False)


ROW_KINDS = ("normal", "zeros", "subnormal", "halves", "saturated", "some zero")


@st.composite
def linear_cases(
    draw: st.DrawFn, forms: tuple[str, ...], activations: tuple[str, ...]
) -> tuple[LinearWeight, F32]:
    """A weight and rows that fit it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    form = draw(st.sampled_from(forms))
    group = draw(st.one_of(st.sampled_from((8, 16, 32, 64, 128)), st.integers(1, 100)))
    k = group * draw(st.integers(1, 5)) if form == "int4" else draw(st.integers(1, 400))
    n, rows = draw(st.integers(1, 70)), draw(st.integers(1, 20))
    x = rows_of(rng, draw(st.sampled_from(ROW_KINDS)), rows, k, draw(st.integers(1, k + 3)))
    return weight_of(rng, form, n, k, group, draw(st.sampled_from(activations))), x
