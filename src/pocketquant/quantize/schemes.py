"""The schemes: how a tensor's values become bits, one small class each.

Every scheme sees a tensor as `[rows, cols]`: rows are the first axis (the output channels of a linear or a
convolution), cols the product of the others; a vector is one row. `quantize` is deterministic, refuses NaN
and infinity, and keeps zeros exactly zero. Quantizing what a scheme itself produced changes nothing (except
the last bit of float32 for `int8-tensor`, whose scale is the origin's).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import numpy as np

from pocketquant.errors import QuantizationError, RecipeError, near_misses
from pocketquant.quantize.clip_search import search_group_scales
from pocketquant.quantize.metrics import require_finite
from pocketquant.quantize.stored import Array, FloatArray, StoredTensor
from pocketquant.quantize.tensor import QuantizedTensor

INT8_MAX = 127
SMALLEST_GROUP = 8
VALUES_PER_WORD = 8
FLOAT16_MAX = 65504.0


class Scheme(ABC):
    """One way to store a tensor.

    Attributes:
        name: as recipes and files write it.
        bits: bits of one stored value, scales not included.
    """

    name: str
    bits: int

    @abstractmethod
    def quantize(self, values: FloatArray) -> StoredTensor:
        """Store float32 `values` of any shape.

        Raises:
            QuantizationError: NaN or infinity, or values out of the scheme's range.
        """

    @abstractmethod
    def dequantize(self, stored: StoredTensor) -> FloatArray:
        """The float32 values that `stored` stands for, of its shape."""

    @abstractmethod
    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a stored tensor of `shape`, scales included, known before anything is computed."""

    def bits_per_weight(self, shape: tuple[int, ...]) -> float:
        """Bits per value of a tensor of `shape`, scales and padding included."""
        return 8.0 * self.nbytes(shape) / max(1, prod(shape))

    def steps(self, stored: StoredTensor) -> Array | None:
        """Distance between two levels, float32, broadcastable to `[rows, groups, cols per group]`.

        None for floats, whose levels are not evenly spaced.
        """
        return None

    def clipped(self, values: FloatArray, restored: FloatArray, stored: StoredTensor) -> int:
        """How many values lie so far beyond the outermost level that their error exceeds half a step.

        Args:
            values: the original, float32.
            restored: `dequantize(stored)`.
            stored: what `quantize` made of `values`.
        """
        steps = self.steps(stored)
        if steps is None or not values.size:
            return 0
        error = np.abs(values - restored).reshape(stored.rows, steps.shape[1], -1)
        return int(np.count_nonzero(error > 0.5001 * steps))


class Float32(Scheme):
    """float32, as the official checkpoints come."""

    name, bits = "f32", 32

    def quantize(self, values: FloatArray) -> StoredTensor:
        require_finite(values, "the tensor")
        return StoredTensor(self.name, values.shape, values.astype(np.float32, copy=False))

    def dequantize(self, stored: StoredTensor) -> FloatArray:
        return stored.data.astype(np.float32, copy=False)

    def nbytes(self, shape: tuple[int, ...]) -> int:
        return 4 * prod(shape)


class Float16(Scheme):
    """IEEE half precision, rounded to nearest even; 11 significant bits, up to 65504."""

    name, bits = "f16", 16

    def quantize(self, values: FloatArray) -> StoredTensor:
        require_finite(values, "the tensor")
        largest = float(np.max(np.abs(values), initial=0.0))
        if largest > FLOAT16_MAX:
            raise QuantizationError(
                f"a value of {largest:g} does not fit into f16; use bf16 or f32 for this tensor"
            )
        return StoredTensor(self.name, values.shape, values.astype(np.float16))

    def dequantize(self, stored: StoredTensor) -> FloatArray:
        return stored.data.astype(np.float32)

    def nbytes(self, shape: tuple[int, ...]) -> int:
        return 2 * prod(shape)


class BFloat16(Scheme):
    """The upper half of float32, rounded to nearest even; 8 significant bits, the range of float32."""

    name, bits = "bf16", 16

    def quantize(self, values: FloatArray) -> StoredTensor:
        require_finite(values, "the tensor")
        pattern = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        # Adding just under half of the dropped part, or half where the kept part is odd, rounds to even.
        rounded = (pattern + np.uint32(0x7FFF) + ((pattern >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        if np.any((rounded & 0x7F80) == 0x7F80):
            raise QuantizationError(
                "a value near the end of float32 rounds to infinity in bf16; use f32 for this tensor"
            )
        return StoredTensor(self.name, values.shape, rounded.astype(np.uint16).reshape(values.shape))

    def dequantize(self, stored: StoredTensor) -> FloatArray:
        wide: FloatArray = (stored.data.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return wide.reshape(stored.shape)

    def nbytes(self, shape: tuple[int, ...]) -> int:
        return 2 * prod(shape)


class Int8Tensor(Scheme):
    """The origin's quantization in one byte a value: one scale, 255 levels, halves rounded away from zero.

    `dequantize` gives exactly the `data` of `QuantizedTensor.quantize(values, 256)`.
    """

    name, bits = "int8-tensor", 8

    def quantize(self, values: FloatArray) -> StoredTensor:
        simulated = QuantizedTensor.quantize(values, 256)
        scale = np.float32(simulated.scale)
        levels = np.rint(simulated.data / scale).astype(np.int8)
        return StoredTensor(self.name, values.shape, levels, np.array([scale], dtype=np.float32))

    def dequantize(self, stored: StoredTensor) -> FloatArray:
        return stored.data.astype(np.float32) * _scale(stored)

    def nbytes(self, shape: tuple[int, ...]) -> int:
        return prod(shape) + 4

    def steps(self, stored: StoredTensor) -> Array:
        return _scale(stored).reshape(1, 1, 1)


class Int8(Scheme):
    """One byte a value, one scale a row (output channel), levels +-127.

    The scale is `max|row| / 127`, rounded up to 16 significant bits: then every `level * scale` is exact in
    float32, whoever computes it, and nothing is clipped.
    """

    name, bits = "int8", 8

    def quantize(self, values: FloatArray) -> StoredTensor:
        require_finite(values, "the tensor")
        matrix = _as_matrix(values)
        largest = np.max(np.abs(matrix), axis=1, keepdims=True, initial=0.0)
        scale = _round_up_to_16_bits(largest / np.float32(INT8_MAX))
        scale[scale < np.finfo(np.float32).tiny] = 1.0  # rows of zeros, and rows too faint for a scale
        if np.any(scale > np.finfo(np.float32).max / INT8_MAX):
            raise QuantizationError(
                "values near the end of float32 leave no room for a scale; use f32 for this tensor"
            )
        levels = np.rint(matrix / scale).astype(np.int8)
        return StoredTensor(self.name, values.shape, levels.reshape(values.shape), scale)

    def dequantize(self, stored: StoredTensor) -> FloatArray:
        matrix = stored.data.reshape(stored.rows, -1).astype(np.float32)
        matrix *= _scale(stored)
        return matrix.reshape(stored.shape)

    def nbytes(self, shape: tuple[int, ...]) -> int:
        return prod(shape) + 4 * rows_cols(shape)[0]

    def steps(self, stored: StoredTensor) -> Array:
        return _scale(stored)[:, :, None]


class Int4(Scheme):
    """Four bits a value, a float16 scale for each group of neighbours in a row, levels -8..7.

    The scale of a group is searched (`clip_search`), not just taken from its largest value; it may be negative.

    Groups always have one size within a tensor: the named one, halved until it divides the row (a row of 112
    in groups of 32 gets groups of 16); where that would fall under 8, the row is one group.
    """

    bits = 4

    def __init__(self, group_size: int) -> None:
        self.group_size = group_size
        self.name = f"int4-g{group_size}"

    def group(self, cols: int) -> int:
        """The size of the groups in rows of `cols` values."""
        size = self.group_size
        while size >= SMALLEST_GROUP:
            if cols % size == 0:
                return size
            size //= 2
        return max(1, cols)

    def quantize(self, values: FloatArray) -> StoredTensor:
        require_finite(values, "the tensor")
        matrix = _as_matrix(values)
        rows, cols = matrix.shape
        scale, levels = search_group_scales(matrix.reshape(-1, self.group(cols)))
        if not np.all(np.isfinite(scale)):
            raise QuantizationError("values too large for a float16 scale; use int8 or f32 for this tensor")
        return StoredTensor(
            self.name, values.shape, pack_nibbles(levels.reshape(rows, cols)), scale.reshape(rows, -1)
        )

    def dequantize(self, stored: StoredTensor) -> FloatArray:
        levels = unpack_nibbles(stored.data, stored.cols).astype(np.float32)
        scale = _scale(stored).astype(np.float32)
        grouped = levels.reshape(stored.rows, scale.shape[1], -1)
        grouped *= scale[:, :, None]
        return grouped.reshape(stored.shape)

    def nbytes(self, shape: tuple[int, ...]) -> int:
        rows, cols = rows_cols(shape)
        return rows * (4 * -(-cols // VALUES_PER_WORD) + 2 * (cols // self.group(cols)))

    def steps(self, stored: StoredTensor) -> Array:
        return np.abs(_scale(stored).astype(np.float32))[:, :, None]


def pack_nibbles(levels: Array) -> Array:
    """int8 `[rows, cols]` in -8..7 -> int32 `[rows, ceil(cols / 8)]`, lowest nibble first, value + 8.

    The layout of `pack-quantized` in compressed-tensors; the last word of a row is filled with zeros.
    """
    rows, cols = levels.shape
    words = -(-cols // VALUES_PER_WORD)
    nibbles = np.zeros((rows, words * VALUES_PER_WORD), dtype=np.uint8)
    np.add(levels, 8, out=nibbles[:, :cols], casting="unsafe")
    packed = nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)
    return np.ascontiguousarray(packed).view("<i4").astype(np.int32, copy=False)


def unpack_nibbles(packed: Array, cols: int) -> Array:
    """The inverse of `pack_nibbles`: int32 `[rows, words]` -> int8 `[rows, cols]`."""
    pairs = np.ascontiguousarray(packed).astype("<i4", copy=False).view(np.uint8)
    nibbles = np.empty((pairs.shape[0], pairs.shape[1] * 2), dtype=np.int8)
    nibbles[:, 0::2] = pairs & 0xF
    nibbles[:, 1::2] = pairs >> 4
    nibbles -= 8
    return nibbles[:, :cols]


def rows_cols(shape: tuple[int, ...]) -> tuple[int, int]:
    """The matrix that a tensor of `shape` is seen as: first axis by the others; a vector is one row."""
    return (shape[0], prod(shape[1:])) if len(shape) > 1 else (1, prod(shape))


def _as_matrix(values: FloatArray) -> FloatArray:
    if not values.size:
        raise QuantizationError("the tensor has no values")
    return values.reshape(rows_cols(values.shape))


def _scale(stored: StoredTensor) -> Array:
    assert stored.scale is not None, stored.scheme
    return stored.scale


def _round_up_to_16_bits(values: FloatArray) -> FloatArray:
    mantissa, exponent = np.frexp(values)
    rounded: FloatArray = np.ldexp(np.ceil(np.ldexp(mantissa, 16)), exponent - 16)
    return rounded


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (Float32(), Float16(), BFloat16(), Int8Tensor(), Int8(), Int4(32), Int4(64), Int4(128))
}
FLOAT_SCHEMES: frozenset[str] = frozenset({"f32", "f16", "bf16"})


def get(name: str) -> Scheme:
    """The scheme called `name`.

    Raises:
        RecipeError: there is none; the message lists the known ones.
    """
    try:
        return SCHEMES[name]
    except KeyError:
        hint = near_misses(name, SCHEMES) or f"; known are {', '.join(SCHEMES)}"
        raise RecipeError(f"unknown scheme '{name}'{hint}") from None
