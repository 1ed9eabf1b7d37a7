"""How far quantized values are from the originals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pocketquant.errors import QuantizationError
from pocketquant.quantize.stored import Array


def calculate_snr(original: ArrayLike, quantized: ArrayLike) -> float:
    """Signal-to-noise ratio in dB: `10 log10(mean(x^2) / mean((x - q)^2))` (origin: `calculate_snr`).

    Args:
        original, quantized: floats of one shape.

    Returns:
        The ratio in dB; infinity where both are equal, minus infinity where a silent original got noise.

    Raises:
        QuantizationError: the shapes differ.
    """
    return Distortion.between(original, quantized).snr_db


def require_finite(values: Array, what: str) -> None:
    """Raise QuantizationError when `values` hold NaN or infinity; `what` names them in the message."""
    # A sum is NaN or infinite as soon as one value is; it needs no array of flags as large as the tensor.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(np.sum(values, dtype=np.float64))
    if suspicious:
        bad = int(values.size - np.count_nonzero(np.isfinite(values)))
        raise QuantizationError(
            f"{what} holds {bad} NaN or infinite values of {values.size}; mend the weights first"
        )


@dataclass(frozen=True)
class Distortion:
    """Energies of a signal and of what quantization added to it; adds up over tensors.

    Attributes:
        signal: sum of squares of the original.
        noise: sum of squares of the difference.
        max_error: largest absolute difference.
        count: number of values.
    """

    signal: float = 0.0
    noise: float = 0.0
    max_error: float = 0.0
    count: int = 0

    @classmethod
    def between(cls, original: ArrayLike, quantized: ArrayLike) -> Distortion:
        """Measure two arrays of one shape, in float32 differences summed in float64."""
        first = np.asarray(original, dtype=np.float32)
        second = np.asarray(quantized, dtype=np.float32)
        if first.shape != second.shape:
            raise QuantizationError(f"cannot compare shapes {first.shape} and {second.shape}")
        error = first - second
        return cls(
            signal=_energy(first),
            noise=_energy(error),
            max_error=float(np.max(np.abs(error), initial=0.0)),
            count=first.size,
        )

    def __add__(self, other: Distortion) -> Distortion:
        return Distortion(
            self.signal + other.signal,
            self.noise + other.noise,
            max(self.max_error, other.max_error),
            self.count + other.count,
        )

    @property
    def snr_db(self) -> float:
        """`10 log10(signal / noise)`; infinity without noise, minus infinity without a signal."""
        if self.noise <= 0.0:
            return math.inf
        if self.signal <= 0.0:
            return -math.inf
        return 10.0 * math.log10(self.signal / self.noise)


def _energy(values: Array) -> float:
    flat = values.reshape(-1)
    return float(np.einsum("i,i->", flat, flat, dtype=np.float64))
