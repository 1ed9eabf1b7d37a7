"""The numerical operations that the model is made of: one interface, two implementations.

Everything heavy in this model is a product with a constant matrix, so the operations are few. Arrays are
float32 and channels-last, `[time, channels]`; in a batch of utterances the rows are theirs, one each.

`pocketquant.ops.reference` (NumPy) is the specification. `pocketquant.ops.native` is the compiled twin: its
integer products are equal to the reference's up to the last float32 rounding, its float products and its
attention up to the usual rounding, and up to that of float16 where a KV cache need not be exact.

An `Ops` object may be used from several threads at once; it keeps no state between calls. A `KVCache`
belongs to one utterance and to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Activation = Literal["gelu", "silu", "elu"]
Activations = Literal["float", "int8", "int16"]

INT8_LEVELS = 127
"""Largest magnitude of an 8-bit activation, and of an int8 weight."""


def int16_levels(k: int) -> int:
    """Largest magnitude of a 16-bit activation in a product of depth `k`: no int32 sum can overflow.

    A sum of k products of that magnitude with int8 weights (127) stays below 2**31; 16 bits cap it.
    """
    return min(32767, (2**31 - 1) // (INT8_LEVELS * k))


@dataclass(frozen=True, eq=False)
class LinearWeight:
    """A constant matrix `[n, k]` in the form that a file stores it: what `Ops.pack` takes.

    Attributes:
        n: rows, output channels.
        k: columns, input channels (kernel * channels for a convolution).
        values: float32 or float16 `[n, k]`; int8 `[n, k]` in +-127; or int32 `[n, ceil(k / 8)]`, eight
            4-bit values a word, the lowest nibble first, each stored as value + 8.
        scale: None for floats; float32 `[n]` for int8; float16 `[n, k / group]` for 4-bit values.
        group: how many neighbours along k share a scale (4-bit values only, else None).
        activations: precision of the input rows in the product: "float" multiplies the dequantized weight
            in float32; "int8" and "int16" quantize each row and multiply integers (see `Ops.linear`).
            Float weights always take "float".
    """

    n: int
    k: int
    values: NDArray[Any]
    scale: NDArray[Any] | None = None
    group: int | None = None
    activations: Activations = "float"

    def __post_init__(self) -> None:
        kind = self.values.dtype
        packed = kind == np.int32
        if kind not in (np.float32, np.float16, np.int8, np.int32):
            raise ValueError(f"a linear weight is float32, float16, int8 or packed int32, not {kind}")
        if self.values.shape != (self.n, -(-self.k // 8) if packed else self.k):
            raise ValueError(f"values of shape {self.values.shape} do not make a {self.n} x {self.k} weight")
        if kind in (np.float32, np.float16):
            if self.scale is not None or self.group is not None or self.activations != "float":
                raise ValueError("a float weight has no scales and takes float activations")
            return
        if packed and (self.group is None or self.group < 1 or self.k % self.group):
            raise ValueError(f"groups of {self.group} do not divide {self.k} columns")
        scales = (self.n, self.k // (self.group or 1)) if packed else (self.n,)
        dtype = np.float16 if packed else np.float32
        if self.scale is None or self.scale.shape != scales or self.scale.dtype != dtype:
            raise ValueError(f"a {kind} weight needs {np.dtype(dtype)} scales of shape {scales}")

    @property
    def exact(self) -> bool:
        """Whether the values are floats, not quantized."""
        return self.scale is None

    @property
    def nbytes(self) -> int:
        """Bytes of values and scales."""
        return self.values.nbytes + (0 if self.scale is None else self.scale.nbytes)


@runtime_checkable
class PackedWeight(Protocol):
    """A `LinearWeight` as an implementation's kernels want it. Opaque, immutable, shareable by threads."""

    @property
    def n(self) -> int:
        """Output channels."""
        ...

    @property
    def k(self) -> int:
        """Input channels."""
        ...

    @property
    def exact(self) -> bool:
        """Whether its values are floats, not quantized."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes it occupies."""
        ...


@dataclass(frozen=True, eq=False)
class TransformerLayerWeights:
    """One pre-norm transformer layer: what `Ops.pack_layer` takes. Its matrices are packed by the same Ops.

    Attributes:
        norm1, norm2: weight and bias `[dim]` of the layer norms before the attention and the feed-forward part.
        in_proj, out_proj: attention: `[(heads + 2 * kv_heads) * head_dim, dim]` and back.
        linear1, linear2: feed-forward: `[hidden, dim]` and back.
        scale1, scale2: layer scales `[dim]`, or None.
        eps: of the norms.
        heads, kv_heads, head_dim, max_period, context: see `Ops.attention`.
    """

    norm1: tuple[F32, F32]
    in_proj: PackedWeight
    out_proj: PackedWeight
    scale1: F32 | None
    norm2: tuple[F32, F32]
    linear1: PackedWeight
    linear2: PackedWeight
    scale2: F32 | None
    eps: float
    heads: int
    kv_heads: int
    head_dim: int
    max_period: float
    context: int | None


class PackedLayer(Protocol):
    """A `TransformerLayerWeights` as an implementation wants it. Opaque, immutable, shareable by threads."""


class KVCache(Protocol):
    """Keys (already rotated) and values of the past, for one layer of one utterance.

    A cache grows when full. With a `window` it may forget positions that a query `window` or more
    positions later would ask for; positions keep counting from the start of the utterance.
    """

    @property
    def length(self) -> int:
        """Number of positions seen, the forgotten ones included: the position of the next token."""
        ...

    def append(self, k: F32, v: F32) -> None:
        """Append rotated keys and values `[T, kv_heads, head_dim]`; `length` grows by T."""
        ...

    def export(self) -> F32:
        """A copy `[2, S, kv_heads, head_dim]` of the positions still held (all, without a window)."""
        ...

    def load(self, kv: F32) -> None:
        """Replace the content by keys and values `[2, T, kv_heads, head_dim]`; `length` becomes T."""
        ...


class Ops(Protocol):
    """The operations. `x` is float32 `[T, channels]`; results are new float32 arrays."""

    name: str

    def splitting(self, threads: int) -> AbstractContextManager[None]:
        """Let the calls of the current thread use up to `threads` threads while nothing else runs beside:
        for a voice, a prompt, a first frame. Results do not change. Without effect on the reference."""
        ...

    def pack(self, weight: LinearWeight) -> PackedWeight:
        """Repack a weight once, at load, for the kernels. The argument may be dropped afterwards."""
        ...

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
        """`residual + gain * activation(x W^T + bias)`, float32 `[T, n]`.

        Args:
            x: `[T, k]` with contiguous columns; the rows may have any stride, so that the overlapping
                windows of a causal convolution need no copy.
            weight: `[n, k]`, packed by the same Ops.
            bias: `[n]`.
            activation: "gelu" is the tanh form 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))),
                "silu" x / (1 + exp(-x)), "elu" x for x > 0, else exp(x) - 1.
            gain: `[n]`, the layer scale.
            residual: `[T, n]`.

        Integer semantics. With activations "int8" let L = 127, with "int16" L = `int16_levels(k)`. For each
        row of x, in float32: a = max|x| / L, q = x / a rounded half to even and kept within +-L;
        a row whose a is zero has q = 0. Rows with NaN or infinity are outside this specification.
        int8 weights: acc[n] = sum_k q[k] w[n, k], exact (int32); y[n] = float32(acc[n]) * (a * scale[n]).
        4-bit weights: exact sums acc[n, g] over each group;
        y[n] = a * sum_g float32(acc[n, g]) * scale[n, g], the float32 sum over g in any order.
        Bias, activation, gain and residual follow in float32.
        """
        ...

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
        """Causal attention of T new positions over the past and each other, float32 `[T, heads * D]`.

        Rotates queries and keys (RoPE, interleaved pairs: Su et al., arXiv:2104.09864) at the positions
        `cache.length ...`: the pair (2j, 2j+1) turns by position * max_period ** (-2j / D), the frequency
        rounded to float32 and the angle a float32 product. Appends keys and values to the cache, then each
        query takes softmax(q k^T / sqrt(D)) v over the keys at its position and before; with `context`
        only the last `context` of them, itself included.

        Args:
            qkv: `[T, (heads + 2 * kv_heads) * D]`: queries, keys, values.
            cache: this layer's past, made by the same Ops; a windowed one needs `context <= window`.
            heads: query heads. Query head h reads key/value head h // (heads // kv_heads).
            kv_heads: key/value heads, a divisor of `heads`.
            max_period: the longest rotation period, in positions over 2 pi.
            context: how far back a query sees; None for everything.
        """
        ...

    def new_cache(
        self,
        capacity: int,
        kv_heads: int,
        head_dim: int,
        *,
        window: int | None = None,
        exact: bool = False,
    ) -> KVCache:
        """An empty cache with room for `capacity` positions before it has to grow.

        Args:
            capacity: positions.
            kv_heads: key/value heads.
            head_dim: width of a head.
            window: how many positions back a query may ask for; None for everything.
            exact: keep keys and values as float32, for a model that computes in floats. Otherwise an
                implementation may round them to float16, whose error is far below that of quantized weights.
        """
        ...

    def pack_layer(self, layer: TransformerLayerWeights) -> PackedLayer:
        """Get a transformer layer ready, once, at load."""
        ...

    def transformer_layer(self, x: F32, layer: PackedLayer, caches: Sequence[KVCache]) -> F32:
        """x + scale1 * attention(norm1(x)), then x + scale2 * linear2(gelu(linear1(norm2(x)))).

        The composition of `layer_norm`, `linear` and `attention` (see `ops.composed`), in one call.

        Args:
            x: `[N * T, dim]`, T new positions for each of N utterances, one utterance after the other.
            layer: from `pack_layer`.
            caches: the past of each of the N utterances in this layer; each grows by T.

        Returns:
            float32 `[N * T, dim]`.
        """
        ...

    def convolve(
        self,
        x: F32,
        past: F32,
        weight: PackedWeight,
        bias: F32 | None = None,
        *,
        stride: int = 1,
        dilation: int = 1,
        before: Activation | None = None,
        activation: Activation | None = None,
        residual: F32 | None = None,
    ) -> F32:
        """A causal convolution as a product: `residual + activation(windows W^T + bias)`, `[T / stride, n]`.

        The input rows are those of `past`, then those of `before(x)`; a window holds `kernel` of them, `dilation`
        apart, and the next one begins `stride` rows later.

        Args:
            x: `[T, C]`; T is a multiple of the stride.
            past: `[(kernel - 1) * dilation + 1 - stride, C]`, contiguous: the rows before x, already through
                `before`. It is overwritten with the last rows, for the next call.
            weight: `[n, kernel * C]`.
            bias: `[n]`.
            stride: input rows per output row.
            dilation: input rows between two of a window.
            before: activation of the input.
            activation: of the output.
            residual: `[T / stride, n]`.
        """
        ...

    def layer_norm(self, x: F32, weight: F32 | None, bias: F32 | None, eps: float) -> F32:
        """(x - mean) / sqrt(var + eps) * weight + bias for each row, with the biased variance.

        `weight` and `bias` are `[channels]`, both or none.
        """
        ...

    def modulate(self, x: F32, shift: F32, scale: F32) -> F32:
        """x * (1 + scale) + shift, all `[T, channels]`."""
        ...

    def activate(self, x: F32, activation: Activation) -> F32:
        """An activation of every number: see `linear`."""
        ...
