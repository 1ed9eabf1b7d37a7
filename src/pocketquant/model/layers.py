"""From named, stored tensors to the layers that compute with them.

A quantized matrix stays as it is stored: it goes to `Ops.pack` in 8 or 4 bits, and float32 values of it exist
only inside a product. Dense float16 stays float16. NumPy has no bfloat16, so a bfloat16 matrix becomes
float16 where every value has one, and float32 otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pocketquant.errors import CheckpointError
from pocketquant.ops.interface import (
    F32,
    Activation,
    Activations,
    LinearWeight,
    Ops,
    PackedWeight,
)
from pocketquant.quantize.stored import StoredTensor, release

Permutation = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A product with a constant matrix, and its bias."""

    ops: Ops
    weight: PackedWeight
    bias: F32 | None = None

    def __call__(
        self,
        x: F32,
        *,
        activation: Activation | None = None,
        gain: F32 | None = None,
        residual: F32 | None = None,
    ) -> F32:
        """`residual + gain * activation(x W^T + bias)`: `[T, k]` to `[T, n]` (see `Ops.linear`)."""
        return self.ops.linear(x, self.weight, self.bias, activation=activation, gain=gain, residual=residual)


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """Layer normalization with a weight and a bias, or (flow head, last layer) without."""

    ops: Ops
    weight: F32 | None
    bias: F32 | None
    eps: float

    def __call__(self, x: F32) -> F32:
        """`[T, channels]` to the same."""
        return self.ops.layer_norm(x, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A table of rows that stays as it is stored; only the rows asked for become floats."""

    table: StoredTensor

    def __call__(self, ids: NDArray[np.int64]) -> F32:
        """Rows `[T]` of the table: float32 `[T, columns]`."""
        scale = self.table.scale
        if scale is not None and self.table.scheme != "int8-tensor":
            scale = scale[ids]
        picked = StoredTensor(self.table.scheme, (len(ids), self.table.cols), self.table.data[ids], scale)
        return picked.dequantize()


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Builds layers from the tensors whose names begin with `prefix`."""

    weights: Mapping[str, StoredTensor]
    ops: Ops
    prefix: str = ""

    def at(self, name: str) -> Layers:
        """The layers below `name`."""
        return Layers(self.weights, self.ops, f"{self.prefix}{name}.")

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in list(self.weights)  # asking the mapping itself may load the tensor

    def stored(self, name: str, *shape: int) -> StoredTensor:
        """The tensor as it is stored.

        Raises:
            CheckpointError: it is missing, or its shape is not the one that the config asks for.
        """
        full = self.prefix + name
        try:
            tensor = self.weights[full]
        except KeyError:
            raise CheckpointError(
                f"tensor {full!r} is missing: the weights do not belong to this config"
            ) from None
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"tensor {full!r} has shape {list(tensor.shape)}, the config asks for {list(shape)}: "
                "the weights do not belong to this config"
            )
        return tensor

    def array(self, name: str, *shape: int) -> F32:
        """A small tensor (norm, bias, scale) as float32 of its shape."""
        return np.ascontiguousarray(self.stored(name, *shape).dequantize(), dtype=np.float32)

    def linear(
        self,
        name: str,
        n: int,
        k: int,
        activations: Activations,
        *,
        bias: bool = False,
        tensor: str | None = None,
    ) -> Linear:
        """`name.weight` `[n, k]`, and `name.bias` `[n]` if asked for.

        Args:
            name: name of the layer.
            n: output channels.
            k: input channels.
            activations: precision of the input where the weight has 8 bits, see `linear_weight`.
            bias: whether the layer has one.
            tensor: name of the matrix where it is not `name.weight`.
        """
        name_of_matrix = tensor or f"{name}.weight"
        matrix = linear_weight(self.stored(name_of_matrix, n, k), activations)
        packed = self.pack(name_of_matrix, matrix)
        return Linear(self.ops, packed, self.array(f"{name}.bias", n) if bias else None)

    def pack(self, name: str, matrix: LinearWeight) -> PackedWeight:
        """`matrix`, made of the tensor `name`, packed; the file's pages behind the tensor are let go."""
        packed = self.ops.pack(matrix)
        release(self.weights, self.prefix + name)
        return packed

    def layer_norm(self, name: str, channels: int, eps: float) -> LayerNorm:
        """`name.weight` and `name.bias` `[channels]`."""
        return LayerNorm(
            self.ops, self.array(f"{name}.weight", channels), self.array(f"{name}.bias", channels), eps
        )


def linear_weight(tensor: StoredTensor, activations: Activations) -> LinearWeight:
    """A stored matrix `[n, k]` (or `[n, k, 1]`) as what `Ops.pack` takes, without changing its precision.

    `activations` is for 8-bit weights. With 4-bit weights they have 8 bits everywhere: next to what 4 bits cost, what 8
    bits add is not seen (docs/QUALITY.md).
    """
    n, k = tensor.rows, tensor.cols
    if tensor.scale is None:
        return LinearWeight(n, k, _floats(tensor).reshape(n, k))
    if tensor.group is not None:
        return LinearWeight(n, k, tensor.data, tensor.scale, tensor.group, "int8")
    return LinearWeight(n, k, tensor.data.reshape(n, k), _row_scales(tensor, n), None, activations)


def window_weight(tensor: StoredTensor, permute: Permutation, *, rows_are_outputs: bool) -> LinearWeight:
    """A convolution's weight as the matrix that multiplies a window of its input.

    8-bit weights stay 8-bit, with 16-bit activations, where one scale serves a whole output channel: with one
    scale for the tensor, or one per row if the first axis is the output channel. In any other quantized
    form the permutation would tear the groups apart: those become dense float16.

    Args:
        tensor: `[out, in, kernel]`, or `[in, out, kernel]` for a transposed convolution.
        permute: the axes as a matrix `[n, k]`.
        rows_are_outputs: whether `tensor` has the output channel first.
    """
    if tensor.scale is None:
        values = permute(_floats(tensor))
    elif tensor.scheme == "int8-tensor" or (tensor.scheme == "int8" and rows_are_outputs):
        values = np.ascontiguousarray(permute(tensor.data))
        n, k = values.shape
        return LinearWeight(n, k, values, _row_scales(tensor, n), None, "int16")
    else:
        values = permute(tensor.dequantize()).astype(np.float16)
    n, k = values.shape
    return LinearWeight(n, k, np.ascontiguousarray(values))


def _row_scales(tensor: StoredTensor, n: int) -> F32:
    """float32 `[n]`: the scale of each output row."""
    scale = cast(F32, tensor.scale)
    return np.full(n, scale.reshape(-1)[0]) if tensor.scheme == "int8-tensor" else scale.reshape(n)


def _floats(tensor: StoredTensor) -> NDArray[Any]:
    """Dense values as float32 or float16, exactly."""
    if tensor.scheme != "bf16":
        return tensor.data
    wide = tensor.dequantize()
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float16)
    return narrow if np.array_equal(narrow.astype(np.float32), wide) else wide
