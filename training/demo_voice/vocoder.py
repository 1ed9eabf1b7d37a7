"""The frame-locked vocoder: the teacher's pitch and spectral envelopes made audible without a free phase.

Every latent frame (80 ms) holds a whole number of pitch periods, the harmonic filter has minimum phase and the
noise excitation repeats each frame. So the waveform is a function of a few frames of pitch and envelope, and a
small decoder learns it by plain regression, without a discriminator. The price: a frame's mean pitch is a
multiple of 12.5 Hz.

Teacher frames are HOP samples, latent frames FRAME samples long; spectra have NFFT // 2 + 1 bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

Array = NDArray[np.float32]

SAMPLE_RATE, FRAME, HOP, NFFT = 24000, 1920, 300, 1200
HOPS = FRAME / HOP  # teacher frames of a latent frame: 6.4
PITCH_POINTS = 16  # of a latent frame, for its mean pitch
LOWEST_PERIODS, HIGHEST_PERIODS = 9, 27  # pitch periods of a latent frame: 112.5 to 337.5 Hz
VOICED_HZ, VOICED_ENERGY = 110, 1e-4
WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(NFFT) / NFFT)).astype(np.float32)
# One frame of noise, scaled so that its windowed spectrum has unit power: sum of WINDOW squared is 450.
NOISE = np.random.default_rng(1234).standard_normal(FRAME).astype(np.float32) / np.sqrt(450.0)


def mel_bands(count: int, low: float, high: float) -> Array:
    """[count, bins] triangles spaced evenly in mel between two frequencies in Hz, each of unit sum."""
    edges = 700 * np.expm1(np.linspace(np.log1p(low / 700), np.log1p(high / 700), count + 2))
    bins = np.arange(NFFT // 2 + 1) * SAMPLE_RATE / NFFT
    narrowest = SAMPLE_RATE / NFFT
    up = (bins - edges[:-2, None]) / np.maximum(edges[1:-1] - edges[:-2], narrowest)[:, None]
    down = (edges[2:, None] - bins) / np.maximum(edges[2:] - edges[1:-1], narrowest)[:, None]
    weights = np.maximum(0, np.minimum(up, down))
    # A band narrower than a bin would be empty.
    weights[np.arange(count), np.argmin(np.abs(edges[1:-1, None] - bins), 1)] += 1e-3
    bands: Array = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return bands


def _stft(x: Array, frames: int) -> NDArray[np.complex64]:
    """[samples] to [frames, bins], frames centred on multiples of HOP."""
    x = np.pad(x, (NFFT // 2, NFFT // 2 + max(0, frames * HOP - len(x))))
    view = np.lib.stride_tricks.sliding_window_view(x, NFFT)[::HOP][:frames]
    spectrum: NDArray[np.complex64] = rfft(view * WINDOW, axis=1).astype(np.complex64, copy=False)
    return spectrum


def _istft(spectrum: NDArray[np.complex64]) -> Array:
    """[frames, bins] to [frames * HOP samples], the inverse of `_stft`."""
    pieces = irfft(spectrum, NFFT, axis=1).astype(np.float32, copy=False) * WINDOW
    n = len(pieces)
    sums, weights = np.zeros((n + 3, HOP), np.float32), np.zeros((n + 3, HOP), np.float32)
    for i in range(NFFT // HOP):
        part = slice(i * HOP, (i + 1) * HOP)
        sums[i : i + n] += pieces[:, part]
        weights[i : i + n] += (WINDOW**2)[part]
    sums /= np.maximum(weights, 1e-3)
    return sums.reshape(-1)[NFFT // 2 : NFFT // 2 + n * HOP]


def _minimum_phase(log_magnitude: Array) -> Array:
    """Phase of the minimum-phase filter with this log magnitude, [frames, bins], by folding its cepstrum."""
    cepstrum = irfft(log_magnitude, NFFT, axis=1)
    cepstrum[:, 1 : NFFT // 2] *= 2
    cepstrum[:, NFFT // 2 + 1 :] = 0
    phase: Array = rfft(cepstrum, axis=1).imag.astype(np.float32, copy=False)
    return phase


def _pulses(phase: NDArray[np.float64], pitch: NDArray[np.float64]) -> Array:
    """Sum of unit cosines at all harmonics below 11 kHz (a Dirichlet kernel); phase in periods, pitch in Hz."""
    theta = 2 * np.pi * (phase % 1.0)
    order = np.floor(11000 / pitch) + 0.5
    divisor = 2 * np.sin(theta / 2)
    at_pulse = np.abs(divisor) < 2e-3
    summed = np.where(at_pulse, order, np.sin(order * theta) / np.where(at_pulse, 1, divisor))
    pulses: Array = summed.astype(np.float32) - np.float32(0.5)
    return pulses


def lock_pitch(f0: Array, energy: Array, frames: int) -> NDArray[np.float64]:
    """Pitch of latent frames, [frames, 3]: periods in the frame, and how far its first and last pitch are off.

    f0 (Hz) and energy are the teacher's, one per HOP. The whole numbers of periods minimise, by dynamic
    programming, the distance from the teacher's mean pitch (where it is voiced) and from its change."""
    at = (np.arange(len(f0)) + 0.5) / HOPS
    voiced = (f0 > VOICED_HZ) & (energy > VOICED_ENERGY)
    if voiced.sum() < 2:
        voiced, f0 = np.ones_like(voiced), np.full_like(f0, 190.0)
    points = (np.arange(frames * PITCH_POINTS) + 0.5) / PITCH_POINTS
    wanted = (
        np.interp(points, at[voiced], f0[voiced]).reshape(frames, PITCH_POINTS).mean(1) * FRAME / SAMPLE_RATE
    )
    weight = np.interp(points, at, voiced.astype(float)).reshape(frames, PITCH_POINTS).mean(1)
    choices = np.arange(LOWEST_PERIODS, HIGHEST_PERIODS + 1)
    cost = (0.05 + weight[0]) * (choices - wanted[0]) ** 2
    origins: list[NDArray[Any]] = []
    for i in range(1, frames):
        change = (choices[None] - choices[:, None]) - (wanted[i] - wanted[i - 1])
        step = cost[:, None] + 0.4 * change**2
        origins.append(step.argmin(0))
        cost = step.min(0) + (0.05 + weight[i]) * (choices - wanted[i]) ** 2
    path = [int(cost.argmin())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    periods = choices[path[::-1]].astype(np.float64)
    before, after = np.r_[periods[0], periods[:-1]], np.r_[periods[1:], periods[-1]]
    return np.stack([periods, (before - periods) / 2, (after - periods) / 2], 1)


def _phase_and_pitch(pitch: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Phase (periods, whole at every frame's start) and pitch (Hz) per sample of [frames, 3] from lock_pitch.

    The pitch is the parabola with the given mean and ends, so it runs on smoothly into the next frame."""
    k, a, b = pitch[:, :, None].transpose(1, 0, 2)
    t = ((np.arange(FRAME) + 0.5) / FRAME)[None]
    phase = k * t + a * (t - 2 * t**2 + t**3) + b * (t**3 - t**2)
    periods = k + a * (1 - 4 * t + 3 * t**2) + b * (3 * t**2 - 2 * t)
    return phase.reshape(-1), np.maximum(periods, 4).reshape(-1) * SAMPLE_RATE / FRAME


def synthesize(harmonic: Array, noise: Array, pitch: NDArray[np.float64]) -> Array:
    """[frames * FRAME samples] of sound from power envelopes [teacher frames, bins] and [frames, 3] pitch."""
    frames, hops = len(pitch), len(harmonic)
    angle = _minimum_phase(0.5 * np.log(harmonic + np.float32(1e-8)))
    spectrum = _stft(_pulses(*_phase_and_pitch(pitch)), hops) * (np.sqrt(harmonic) / (NFFT / 4))
    spectrum *= np.cos(angle) + 1j * np.sin(angle)
    spectrum += _stft(np.tile(NOISE, frames), hops) * np.sqrt(noise)
    audio = _istft(spectrum)[: frames * FRAME]
    return np.pad(audio, (0, frames * FRAME - len(audio)))
