"""The operations on the compiled core: the twin of `pocketquant.ops.reference`.

Importing this module raises ImportError where the core is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np

from pocketquant import _core
from pocketquant.errors import PocketQuantError
from pocketquant.ops.interface import (
    F32,
    Activation,
    KVCache,
    LinearWeight,
    PackedLayer,
    PackedWeight,
    TransformerLayerWeights,
)
from pocketquant.ops.isa import active_isa

ACTIVATION_CODES: dict[Activation | None, int] = {None: 0, "gelu": 1, "silu": 2, "elu": 3}
"""As native/kernels.h numbers them."""


class NativeOps:
    """`Ops` in C++ with the instruction set of `active_isa`, or one that is named.

    A row's result depends neither on the rows computed in the same call nor on the number of threads: audio
    decoded in chunks is bit for bit the audio decoded at once.

    Args:
        threads: how many threads one call may use. The default is 1, since the two halves of the model run
            side by side; see `splitting` for the moments when nothing runs beside.
        isa: an instruction set of `available_isas`, for tests and benchmarks.

    Raises:
        PocketQuantError: the instruction set is not available on this machine.
    """

    name = "native"

    def __init__(self, *, threads: int | None = None, isa: str | None = None) -> None:
        self.threads = max(1, threads or 1)
        try:
            self._kernels = _core.kernels(isa or active_isa())
        except ValueError as error:
            raise PocketQuantError(str(error)) from None

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._kernels.name

    @contextmanager
    def splitting(self, threads: int) -> Iterator[None]:
        """Lets the calls of the current thread use up to `threads` threads: for a prompt, a first frame."""
        before = _core.set_call_threads(threads)
        try:
            yield
        finally:
            _core.set_call_threads(before)

    def pack(self, weight: LinearWeight) -> PackedWeight:
        """See `Ops.pack`. The result belongs to this instruction set; `weight` is copied, not kept."""
        values = np.ascontiguousarray(weight.values)
        scale = None if weight.scale is None else np.ascontiguousarray(weight.scale)
        form = values.dtype.char if values.dtype != np.int32 else "i"
        return self._kernels.pack(
            values, scale, weight.n, weight.k, weight.group or 0, form, weight.activations
        )

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
        w = cast(_core.Weights, weight)
        y = np.empty((x.shape[0], w.n), np.float32)
        _core.linear(x, w, bias, ACTIVATION_CODES[activation], gain, residual, y, self.threads)
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
        past = cast(NativeCache, cache).past
        y = np.empty((qkv.shape[0], heads * past.head_dim), np.float32)
        self._kernels.attention(qkv, past, heads, kv_heads, max_period, context or 0, y, self.threads)
        return y

    def new_cache(
        self,
        capacity: int,
        kv_heads: int,
        head_dim: int,
        *,
        window: int | None = None,
        exact: bool = False,
    ) -> NativeCache:
        """See `Ops.new_cache`."""
        return NativeCache(self._kernels, _core.Cache(capacity, kv_heads, head_dim, window or 0, exact))

    def pack_layer(self, layer: TransformerLayerWeights) -> PackedLayer:
        """See `Ops.pack_layer`. It holds the packed matrices and copies of the rest."""
        return self._kernels.pack_layer(
            (layer.in_proj, layer.out_proj, layer.linear1, layer.linear2),
            (*layer.norm1, *layer.norm2),
            (layer.scale1, layer.scale2),
            layer.eps,
            layer.heads,
            layer.kv_heads,
            layer.head_dim,
            layer.max_period,
            layer.context or 0,
        )

    def transformer_layer(self, x: F32, layer: PackedLayer, caches: Sequence[KVCache]) -> F32:
        """See `Ops.transformer_layer`."""
        y = np.empty(x.shape, np.float32)
        pasts = [cast(NativeCache, cache).past for cache in caches]
        _core.transformer_layer(cast(_core.Layer, layer), x, pasts, y, self.threads)
        return y

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
        """See `Ops.convolve`."""
        w = cast(_core.Weights, weight)
        y = np.empty((x.shape[0] // stride, w.n), np.float32)
        x = np.ascontiguousarray(x)
        codes = ACTIVATION_CODES[before], ACTIVATION_CODES[activation]
        _core.convolve(x, past, w, bias, stride, dilation, *codes, residual, y, self.threads)
        return y

    def layer_norm(self, x: F32, weight: F32 | None, bias: F32 | None, eps: float) -> F32:
        """See `Ops.layer_norm`."""
        x = np.ascontiguousarray(x)
        y = np.empty_like(x)
        self._kernels.layer_norm(x, weight, bias, eps, y)
        return y

    def modulate(self, x: F32, shift: F32, scale: F32) -> F32:
        """See `Ops.modulate`."""
        y = np.empty(x.shape, np.float32)
        contiguous = np.ascontiguousarray
        self._kernels.modulate(contiguous(x), contiguous(shift), contiguous(scale), y)
        return y

    def activate(self, x: F32, activation: Activation) -> F32:
        """See `Ops.activate`."""
        y = np.empty(x.shape, np.float32)
        self._kernels.activate(
            np.ascontiguousarray(x).reshape(-1), ACTIVATION_CODES[activation], y.reshape(-1)
        )
        return y


class NativeCache:
    """`KVCache` over memory of the core. Unless it is exact, what it gives back is rounded to float16."""

    def __init__(self, kernels: _core.Kernels, past: _core.Cache) -> None:
        self._kernels = kernels
        self.past = past

    @property
    def length(self) -> int:
        """See `KVCache.length`."""
        return self.past.length

    @property
    def nbytes(self) -> int:
        """Bytes it occupies."""
        return self.past.nbytes

    def append(self, k: F32, v: F32) -> None:
        """See `KVCache.append`."""
        self._kernels.cache_append(self.past, np.ascontiguousarray(k), np.ascontiguousarray(v))

    def export(self) -> F32:
        """See `KVCache.export`."""
        kv = np.empty((2, self.past.stored, self.past.kv_heads, self.past.head_dim), np.float32)
        self._kernels.cache_export(self.past, kv)
        return kv

    def load(self, kv: F32) -> None:
        """See `KVCache.load`."""
        self.past.clear()
        self.append(kv[0], kv[1])
