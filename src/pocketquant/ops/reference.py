"""The operations in NumPy: the specification of the compiled core, and the fallback where there is none.

Written to be checked by eye first. Integer products are exact: they run on float BLAS only where every
partial sum is an integer that the float type holds exactly (2**24 for float32, 2**53 for float64).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pocketquant.ops import composed
from pocketquant.ops.interface import (
    F32,
    INT8_LEVELS,
    Activation,
    KVCache,
    LinearWeight,
    PackedLayer,
    PackedWeight,
    TransformerLayerWeights,
    int16_levels,
)

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

ROW_BLOCK = 2048
"""Rows of one product: bounds the copy that BLAS needs of overlapping windows."""
QUERY_BLOCK = 128
"""Queries of one attention product: bounds the score matrix of a long recording."""


class ReferenceOps:
    """`Ops` in NumPy. A packed weight is the `LinearWeight` itself, the KV cache is float32."""

    name = "reference"

    def splitting(self, threads: int) -> AbstractContextManager[None]:
        """Nothing: the threads of NumPy's BLAS are for its user to set."""
        return nullcontext()

    def pack(self, weight: LinearWeight) -> PackedWeight:
        """The weight as it is."""
        return weight

    def linear(
        self,
        x: F32,
        weight: PackedWeight,
        bias: F32 | None = None,
        *,
        activation: Activation | None = None,
        gain: F32 | None = None,
        residual: F32 | None = None,
    ) -> F32:
        """See `Ops.linear`."""
        w = cast(LinearWeight, weight)
        y = np.empty((x.shape[0], w.n), np.float32)
        for start in range(0, x.shape[0], ROW_BLOCK):
            rows = np.ascontiguousarray(x[start : start + ROW_BLOCK])
            y[start : start + ROW_BLOCK] = _product(rows, w)
        if bias is not None:
            y += bias
        if activation is not None:
            y = ACTIVATIONS[activation](y)
        if gain is not None:
            y *= gain
        if residual is not None:
            y += residual
        return y

    def attention(
        self,
        qkv: F32,
        cache: KVCache,
        *,
        heads: int,
        kv_heads: int,
        max_period: float,
        context: int | None = None,
    ) -> F32:
        """See `Ops.attention`."""
        past = cast(ReferenceCache, cache)
        t, width = qkv.shape
        d = width // (heads + 2 * kv_heads)
        if context is not None and past.window is not None and context > past.window:
            raise ValueError(f"a cache of {past.window} positions cannot serve a context of {context}")
        first = past.length
        rows = qkv.reshape(t, heads + 2 * kv_heads, d)
        turned = rope(rows[:, : heads + kv_heads], first, max_period)
        past.append(turned[:, heads:], rows[:, heads + kv_heads :])
        shared = heads // kv_heads
        q = turned[:, :heads].reshape(t, kv_heads, shared, d) * np.float32(1 / math.sqrt(d))
        out = np.empty((t, kv_heads, shared, d), np.float32)
        for start in range(0, t, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, t)
            positions = np.arange(first + start, first + stop)
            oldest = 0 if context is None else max(0, first + start - context + 1)
            k, v, at = past.between(oldest, first + stop)
            ahead = positions[:, None] - at
            hidden = ahead < 0 if context is None else (ahead < 0) | (ahead >= context)
            block = q[start:stop].transpose(1, 2, 0, 3)  # [kv_heads, shared, queries, d]
            scores = block @ k[:, None].swapaxes(-1, -2)
            scores[..., hidden] = -np.inf
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            mixed = (scores @ v[:, None]) / scores.sum(axis=-1, keepdims=True)
            out[start:stop] = mixed.transpose(2, 0, 1, 3)
        return out.reshape(t, heads * d)

    def new_cache(
        self,
        capacity: int,
        kv_heads: int,
        head_dim: int,
        *,
        window: int | None = None,
        exact: bool = False,
    ) -> ReferenceCache:
        """See `Ops.new_cache`. Every cache is float32 here, `exact` or not."""
        return ReferenceCache(capacity, kv_heads, head_dim, window)

    def pack_layer(self, layer: TransformerLayerWeights) -> PackedLayer:
        """The layer as it is."""
        return layer

    def transformer_layer(self, x: F32, layer: PackedLayer, caches: Sequence[KVCache]) -> F32:
        """See `Ops.transformer_layer`."""
        return composed.transformer_layer(self, x, cast(TransformerLayerWeights, layer), caches)

    convolve = composed.convolve

    def layer_norm(self, x: F32, weight: F32 | None, bias: F32 | None, eps: float) -> F32:
        """See `Ops.layer_norm`."""
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        y = centred / np.sqrt(variance + np.float32(eps))
        if weight is not None and bias is not None:
            y = y * weight + bias
        return cast(F32, y)

    def modulate(self, x: F32, shift: F32, scale: F32) -> F32:
        """See `Ops.modulate`."""
        return x * (1 + scale) + shift

    def activate(self, x: F32, activation: Activation) -> F32:
        """See `Ops.activate`."""
        return ACTIVATIONS[activation](x)


class ReferenceCache:
    """Keys and values `[kv_heads, capacity, head_dim]`, float32, contiguous along time.

    A windowed cache moves its last `window - 1` positions to the front when it is full, instead of growing.
    """

    def __init__(self, capacity: int, kv_heads: int, head_dim: int, window: int | None = None) -> None:
        self.window = window
        self.length = 0
        self._start = 0  # position of the first row that is held
        room = max(1, capacity if window is None else min(capacity, 2 * window))
        self._kv = np.empty((2, kv_heads, room, head_dim), np.float32)

    def append(self, k: F32, v: F32) -> None:
        """See `KVCache.append`."""
        t = k.shape[0]
        held = self.length - self._start
        if held + t > self._kv.shape[2]:
            keep = held if self.window is None else min(held, self.window - 1)
            kept = self._kv[:, :, held - keep : held].copy()
            if keep + t > self._kv.shape[2]:
                self._kv = np.empty((*self._kv.shape[:2], 2 * (keep + t), self._kv.shape[3]), np.float32)
            self._kv[:, :, :keep] = kept
            self._start, held = self.length - keep, keep
        self._kv[0, :, held : held + t] = k.transpose(1, 0, 2)
        self._kv[1, :, held : held + t] = v.transpose(1, 0, 2)
        self.length += t

    def between(self, first: int, stop: int) -> tuple[F32, F32, I64]:
        """Keys and values `[kv_heads, S, head_dim]` held for `first ... stop - 1`, and the positions."""
        first = max(first, self._start)
        held = self._kv[:, :, first - self._start : stop - self._start]
        return held[0], held[1], np.arange(first, stop)

    def export(self) -> F32:
        """See `KVCache.export`."""
        held = self._kv[:, :, : self.length - self._start]
        return np.ascontiguousarray(held.transpose(0, 2, 1, 3))

    def load(self, kv: F32) -> None:
        """See `KVCache.load`."""
        self.length = self._start = 0
        self.append(kv[0], kv[1])


def rope(x: F32, first: int, max_period: float) -> F32:
    """Rotate the pairs of `x` `[T, heads, D]` at the positions `first ...` (see `Ops.attention`)."""
    t, _, d = x.shape
    frequency = np.exp(np.arange(d // 2) * (-2 * math.log(max_period) / d)).astype(np.float32)
    angle = np.arange(first, first + t, dtype=np.float32)[:, None] * frequency
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.empty(x.shape, np.float32)
    turned[..., 0::2] = even * cos - odd * sin
    turned[..., 1::2] = even * sin + odd * cos
    return turned


def gelu(x: F32) -> F32:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the tanh form (arXiv:1606.08415)."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return cast(F32, np.float32(0.5) * x * (1 + np.tanh(inner)))


def silu(x: F32) -> F32:
    """x / (1 + exp(-x))."""
    with np.errstate(over="ignore"):  # exp(-x) = inf gives the right 0
        return cast(F32, x / (1 + np.exp(-x)))


def elu(x: F32) -> F32:
    """x where x > 0, else exp(x) - 1."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


ACTIVATIONS = {"gelu": gelu, "silu": silu, "elu": elu}


def quantize_rows(x: F32, levels: int) -> tuple[F32, F32]:
    """Integers q (held as float32) in +-levels and the scale a `[T, 1]` of each row: x ~ a * q."""
    a = np.abs(x).max(axis=1, keepdims=True, initial=0) / np.float32(levels)
    q = np.rint(np.divide(x, a, out=np.zeros_like(x), where=a > 0))
    return np.clip(q, -levels, levels, out=q), a


def unpack_int4(words: I32, k: int) -> F32:
    """4-bit values, eight a word, lowest nibble first, stored as value + 8: float32 `[n, k]`."""
    nibbles = words[:, :, None] >> np.arange(0, 32, 4, dtype=np.int32)
    return ((nibbles & 15) - 8).reshape(words.shape[0], -1)[:, :k].astype(np.float32)


def dequantize(weight: LinearWeight) -> F32:
    """The values that a weight stands for, float32 `[n, k]`."""
    if weight.scale is None:
        return weight.values.astype(np.float32, copy=False)
    scale = weight.scale.astype(np.float32)
    if weight.group is None:
        return weight.values * scale[:, None]
    groups = unpack_int4(weight.values, weight.k).reshape(weight.n, -1, weight.group)
    return (groups * scale[:, :, None]).reshape(weight.n, weight.k)


def _product(x: F32, w: LinearWeight) -> F32:
    """x W^T for contiguous rows `[T, k]`, before bias and activation."""
    if w.activations == "float" or w.scale is None:
        return cast(F32, np.matmul(x, dequantize(w).T))
    levels = INT8_LEVELS if w.activations == "int8" else int16_levels(w.k)
    q, a = quantize_rows(x, levels)
    if w.group is None:
        acc = np.zeros((x.shape[0], w.n), np.float64)
        for columns, dtype in _exact_blocks(w.k, levels * INT8_LEVELS):
            acc += q[:, columns].astype(dtype, copy=False) @ w.values[:, columns].astype(dtype).T
        return cast(F32, acc.astype(np.float32) * (a * w.scale))
    groups = w.k // w.group
    dtype = np.float32 if w.group * levels * 8 <= 2**24 else np.float64
    q_g = q.reshape(-1, groups, w.group).transpose(1, 0, 2).astype(dtype, copy=False)
    w_g = (
        unpack_int4(w.values, w.k).reshape(w.n, groups, w.group).transpose(1, 2, 0).astype(dtype, copy=False)
    )
    sums = (q_g @ w_g).astype(np.float32)  # [groups, T, n], exact before the cast
    sums *= w.scale.astype(np.float32).T[:, None]
    return cast(F32, a * sums.sum(axis=0))


def _exact_blocks(k: int, largest: int) -> Iterator[tuple[slice, type[np.float32] | type[np.float64]]]:
    """Columns and float type of BLAS products whose sums of terms up to `largest` are exact."""
    width = 2**24 // largest
    if width < 256:  # short blocks cost more than double precision
        yield slice(0, k), np.float64
        return
    for start in range(0, k, width):
        yield slice(start, min(start + width, k)), np.float32
