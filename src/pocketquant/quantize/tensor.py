"""Simulated quantization: the origin's `QuantizedTensor`.

Values stay float32 but take only `num_levels` different ones, so that a model can be heard as it would sound
before anything about its storage is decided. The semantics are those of the `quantize` module of the Rust
port that this package grew from; `quantize.schemes` is where values really get smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pocketquant.errors import QuantizationError
from pocketquant.quantize.metrics import require_finite
from pocketquant.quantize.stored import FloatArray


def round_half_away(values: FloatArray) -> FloatArray:
    """Round to integers with halves away from zero (Rust's `round`), float32 in and out, any shape.

    NumPy's `rint` rounds halves to even. `floor(|x| + 0.5)` would be wrong for 0.49999997, where the sum
    already rounds up to 1.
    """
    magnitude = np.abs(values)
    whole = np.floor(magnitude)
    rounded: FloatArray = np.copysign(whole + (magnitude - whole >= 0.5), values).astype(
        np.float32, copy=False
    )
    return rounded


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A tensor restricted to `num_levels` values, symmetric around zero.

    Attributes:
        data: float32 of the original's shape; multiples of `scale` (or the untouched original when
            `num_levels` is 0).
        scale: step between two levels.
        zero_point: always 0.0, since the levels are symmetric.
        num_levels: number of levels, 0 for a tensor that was left alone.
    """

    data: FloatArray
    scale: float
    zero_point: float
    num_levels: int

    @classmethod
    def quantize(cls, array: ArrayLike, num_levels: int = 256) -> QuantizedTensor:
        """Symmetric quantization with one scale for the tensor.

        `scale = max|x| / (num_levels // 2 - 1)`, then `round(x / scale)` clamped to
        `+-(num_levels // 2 - 1)` and multiplied by `scale`, all in float32 with halves rounded away from
        zero (origin: `QuantizedTensor::quantize`). A tensor of zeros has scale 1.0.

        Args:
            array: floats of any shape; converted to float32.
            num_levels: 4 or more (the origin divides by zero below that).

        Raises:
            QuantizationError: fewer than 4 levels, or NaN or infinity in `array`.
        """
        check_num_levels(num_levels)
        values = np.asarray(array, dtype=np.float32)
        require_finite(values, "the tensor")
        top = np.float32(num_levels // 2 - 1)
        abs_max = np.max(np.abs(values), initial=np.float32(0.0))
        scale = np.float32(abs_max / top)
        if scale == 0.0:  # all zeros, or so small that float32 has no step for them
            scale = np.float32(1.0)
        levels = np.clip(round_half_away(values / scale), -top, top)
        return cls(data=levels * scale, scale=float(scale), zero_point=0.0, num_levels=num_levels)

    @classmethod
    def unchanged(cls, array: ArrayLike) -> QuantizedTensor:
        """A tensor that was left alone: the data as it is, scale 1.0, `num_levels` 0."""
        return cls(data=np.asarray(array), scale=1.0, zero_point=0.0, num_levels=0)

    def theoretical_memory_savings(self) -> float:
        """How many times smaller than float32 the levels could be stored: 4.0 for 256, 2.0 for 65536, else 1.0."""
        return {256: 4.0, 65536: 2.0}.get(self.num_levels, 1.0)


def check_num_levels(num_levels: int) -> None:
    """Raise QuantizationError for a number of levels that leaves none beside zero."""
    if num_levels < 4:
        raise QuantizationError(f"num_levels is {num_levels}; symmetric quantization needs 4 or more")
