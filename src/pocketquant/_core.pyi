"""The compiled core (src/pocketquant/native/module.cpp). Arrays are C-contiguous float32 unless said."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

class Weights:
    """A weight repacked for the kernels that packed it."""

    @property
    def n(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def exact(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...

class Cache:
    """Keys and values, float32 if `exact`, else float16; window 0 keeps everything."""

    def __init__(
        self, capacity: int, kv_heads: int, head_dim: int, window: int, exact: bool = False
    ) -> None: ...
    @property
    def length(self) -> int: ...
    @property
    def stored(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def exact(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...
    def clear(self) -> None: ...

class Layer:
    """A transformer layer: holds its weights."""

class Kernels:
    """The kernels of one instruction set. Results go into `y`."""

    @property
    def name(self) -> str: ...
    def pack(
        self, values: Array, scale: Array | None, n: int, k: int, group: int, format: str, activations: str
    ) -> Weights: ...
    def attention(
        self,
        qkv: Array,
        cache: Cache,
        heads: int,
        kv_heads: int,
        max_period: float,
        context: int,
        y: Array,
        threads: int,
    ) -> None: ...
    def pack_layer(
        self,
        matrices: Sequence[object],
        norms: Sequence[Array],
        scales: Sequence[Array | None],
        eps: float,
        heads: int,
        kv_heads: int,
        head_dim: int,
        max_period: float,
        context: int,
    ) -> Layer:
        """matrices: `Weights` in_proj, out_proj, linear1, linear2; norms: weight, bias, weight, bias."""

    def layer_norm(
        self, x: Array, weight: Array | None, bias: Array | None, eps: float, y: Array
    ) -> None: ...
    def modulate(self, x: Array, shift: Array, scale: Array, y: Array) -> None: ...
    def activate(self, x: Array, activation: int, y: Array) -> None: ...
    def cache_append(self, cache: Cache, k: Array, v: Array) -> None: ...
    def cache_export(self, cache: Cache, out: Array) -> None: ...

def linear(
    x: Array,
    weight: Weights,
    bias: Array | None,
    activation: int,
    gain: Array | None,
    residual: Array | None,
    y: Array,
    threads: int,
) -> None:
    """The rows of x and residual may have any stride."""

def transformer_layer(layer: Layer, x: Array, caches: Sequence[Cache], y: Array, threads: int) -> None:
    """x and y: rows of each cache's utterance, one utterance after the other."""

def convolve(
    x: Array,
    past: Array,
    weight: Weights,
    bias: Array | None,
    stride: int,
    dilation: int,
    before: int,
    activation: int,
    residual: Array | None,
    y: Array,
    threads: int,
) -> None:
    """`past` is replaced by the last rows."""

def kernels(name: str) -> Kernels:
    """By name, or the best ones for ""; ValueError lists the available names."""

def available_isas() -> list[str]: ...
def set_call_threads(threads: int) -> int: ...
