"""The measures themselves: arrays in, numbers out.

Each looks at one kind of damage and is blind to the others: a change of level moves `level_db` and leaves
the waveform SNR, the spectral distance and the noise floor alone; noise between the words moves the noise floor
and leaves the spectral distance of the words alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Float64 = NDArray[np.float64]

PAUSE_WINDOW = 0.020
"""Seconds."""
SILENCE = -120.0
"""dB: what digital silence counts as."""
MEL_BANDS = 80
MEL_RANGE = 40.0
"""dB below the loudest band of the reference: what lies deeper is not looked at, and neither are frames all
below it. Pauses are the business of `pause_floor`."""


def energy(values: NDArray[Any]) -> float:
    """Sum of squares, in float64."""
    flat = np.asarray(values, np.float64).reshape(-1)
    return float(flat @ flat)


def decibels(power_ratio: float) -> float:
    """10 log10 of a ratio of powers; minus infinity for zero."""
    return 10 * math.log10(power_ratio) if power_ratio > 0 else -math.inf


def cosine(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Mean cosine between the rows of two arrays `[T, channels]`; two rows of zeros agree."""
    a, b = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.einsum("tc,tc->t", a, b)
    same = (a == b).all(axis=1).astype(np.float64)
    return float(np.mean(np.divide(products, lengths, out=same, where=lengths > 0)))


def signal_and_noise(reference: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """Energy of the reference, and of the difference: an SNR whose parts add up over sentences."""
    difference = np.asarray(other, np.float64) - np.asarray(reference, np.float64)
    return energy(reference), energy(difference)


def waveform_noise(reference: Samples, other: Samples) -> tuple[float, float]:
    """Energy of the reference, and of what the best gain on `other` leaves different from it.

    The scale-invariant SNR of Le Roux et al. (arXiv:1811.02508), with its parts apart.

    Args:
        reference, other: `[samples]`, of one length.
    """
    a, b = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    loudness = float(b @ b)
    gain = float(a @ b) / loudness if loudness > 0 else 0.0
    noise = energy(a - gain * b)
    # What float64 leaves of a pure gain is not noise (-200 dB).
    return energy(a), 0.0 if noise < 1e-20 * energy(a) else noise


def level_db(samples: Samples) -> float:
    """Root mean square in dB of full scale."""
    return max(SILENCE, decibels(energy(samples) / max(1, samples.size)))


def pause_floor(samples: Samples, rate: int) -> float:
    """Level of the quietest tenth of 20 ms windows relative to the peak, in dB (-60: 60 dB below it).

    Where speech pauses, a codec's own noise is all there is to hear. Independent of the level.

    Args:
        samples: `[samples]`. Less than one window, or silence, gives `SILENCE`.
        rate: samples per second.
    """
    window = max(1, round(PAUSE_WINDOW * rate))
    count = samples.size // window
    peak = float(np.abs(samples).max(initial=0.0))
    if count == 0 or peak == 0:
        return SILENCE
    windows = np.asarray(samples[: count * window], np.float64).reshape(count, window)
    powers = np.sort(np.square(windows).mean(axis=1))
    quietest = float(powers[: max(1, count // 10)].mean())
    return max(SILENCE, decibels(quietest / peak**2))


def mel_distance(reference: Samples, other: Samples, rate: int) -> float:
    """How different two sounds of one length are in colour: dB, 0 for equal ones.

    Root mean square over the bands of the difference of log-mel spectra (40 ms Hann windows every 10 ms, 80
    bands), averaged over the frames where the reference speaks. Both are brought to one level first.
    """
    loudness, other_loudness = energy(reference), energy(other)
    if loudness == 0 or other_loudness == 0:
        return 0.0 if loudness == other_loudness else MEL_RANGE
    one = mel_power(reference, rate)
    two = mel_power(other, rate) * (loudness / other_loudness)
    floor = float(one.max()) * 10 ** (-MEL_RANGE / 10)
    speaking = one.max(axis=1) > floor
    difference = 10 * np.log10(np.maximum(one, floor) / np.maximum(two, floor))
    return float(np.sqrt(np.square(difference[speaking]).mean(axis=1)).mean())


def mel_power(samples: Samples, rate: int) -> Float64:
    """Mel spectrogram `[frames, MEL_BANDS]`, powers."""
    power = spectrogram(samples, rate)
    return power @ _mel_filters(power.shape[1], rate)


def spectrogram(samples: Samples, rate: int, window: float = 0.04, hop: float = 0.01) -> Float64:
    """Power spectrogram `[frames, bins]`: Hann windows of `window` seconds, one every `hop` seconds."""
    length, step = max(16, round(window * rate)), max(1, round(hop * rate))
    padded = np.pad(np.asarray(samples, np.float64), (length // 2, length // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::step]
    return np.square(np.abs(np.fft.rfft(frames * np.hanning(length), axis=1)))


def _mel_filters(bins: int, rate: int) -> Float64:
    """Triangles `[bins, MEL_BANDS]` on the scale mel = 2595 log10(1 + f / 700), 0 Hz to half the rate."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, MEL_BANDS + 2) / 2595) - 1)
    frequency = np.linspace(0, rate / 2, bins)[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    return np.maximum(0.0, np.minimum(rising, falling))
