"""A tensor as a scheme stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FloatArray = NDArray[np.float32]


def release(weights: Mapping[str, StoredTensor], name: str) -> None:
    """Let the memory behind a tensor go, where `weights` are mapped from a file; it is read again when used."""
    let_go = getattr(weights, "release", None)
    if let_go is not None:
        let_go(name)


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """One tensor in the form that a scheme gave it; `schemes.get(scheme)` knows what the arrays mean.

    Attributes:
        scheme: name of the scheme: "f32", "f16", "bf16", "int8", "int8-tensor" or "int4-gN".
        shape: shape of the tensor, as in the official checkpoint.
        data: the stored values. f32 float32, f16 float16, bf16 uint16 (the bit pattern), int8 and
            int8-tensor int8, all of `shape`; int4 int32 `[rows, ceil(cols / 8)]`, eight values a word,
            the lowest nibble first, each stored as value + 8. `rows` is shape[0], `cols` the product of
            the rest; a vector is one row.
        scale: None for floats; float32 `[rows, 1]` for int8, float32 `[1]` for int8-tensor, float16
            `[rows, cols / group]` for int4.
    """

    scheme: str
    shape: tuple[int, ...]
    data: Array
    scale: Array | None = None

    @property
    def rows(self) -> int:
        """Output channels: the first axis. A vector is one row."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def cols(self) -> int:
        """Values in one row: the product of all axes but the first; all values of a vector."""
        return prod(self.shape[1:] if len(self.shape) > 1 else self.shape)

    @property
    def group(self) -> int | None:
        """How many neighbours in a row share a scale (int4 only)."""
        if not self.scheme.startswith("int4") or self.scale is None:
            return None
        return self.cols // int(self.scale.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the values and their scales."""
        return self.data.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def dequantize(self) -> FloatArray:
        """The values that this tensor stands for, float32 `[*shape]`."""
        from pocketquant.quantize import schemes  # schemes builds StoredTensors, so it comes later

        return schemes.get(self.scheme).dequantize(self)
