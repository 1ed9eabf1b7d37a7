"""The pure measures, on sound that is made up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pocketquant.evaluate.measures import (
    MEL_RANGE,
    SILENCE,
    Samples,
    cosine,
    level_db,
    mel_distance,
    pause_floor,
    signal_and_noise,
    waveform_noise,
)

RATE = 24000


def speech(floor: float = 1e-4) -> Samples:
    """Half a second of a vowel, a pause, another vowel."""
    time = np.arange(RATE // 2) / RATE
    rng = np.random.default_rng(0)

    def vowel(pitch: float) -> Samples:
        waves = [np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 30)]
        sound: Samples = (0.2 * np.sum(waves, axis=0) * np.hanning(time.size)).astype(np.float32)
        return sound

    sound = np.concatenate([vowel(120), np.zeros(RATE // 2, np.float32), vowel(180)])
    noisy: Samples = sound + floor * rng.standard_normal(sound.size, dtype=np.float32)
    return noisy


def hiss(size: int, amplitude: float) -> Samples:
    return amplitude * np.random.default_rng(1).standard_normal(size, dtype=np.float32)


def snr(reference: Samples, other: Samples) -> float:
    signal, noise = waveform_noise(reference, other)
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


def test_hiss_moves_the_floor_and_little_else() -> None:
    clean = speech()
    noisy = clean + hiss(clean.size, 1e-3)
    assert pause_floor(noisy, RATE) - pause_floor(clean, RATE) == pytest.approx(20, abs=1)
    assert snr(clean, noisy) > 30
    assert mel_distance(clean, noisy, RATE) < 0.5
    assert abs(level_db(noisy) - level_db(clean)) < 0.05


@pytest.mark.parametrize("gain", [0.01, 0.5, 1.3, -1.0])
def test_gain_moves_the_level_only(gain: float) -> None:
    clean = speech()
    loud = (gain * clean).astype(np.float32)
    assert level_db(loud) - level_db(clean) == pytest.approx(20 * math.log10(abs(gain)), abs=1e-3)
    assert snr(clean, loud) > 120
    assert mel_distance(clean, loud, RATE) < 1e-3
    assert pause_floor(loud, RATE) == pytest.approx(pause_floor(clean, RATE), abs=1e-3)


def test_colour_is_seen_by_the_spectral_distance() -> None:
    clean = speech()
    dull = np.convolve(clean, np.ones(8) / 8, mode="same").astype(np.float32)
    assert mel_distance(clean, dull, RATE) > 2
    assert mel_distance(clean, clean, RATE) == 0


def test_the_floor_in_decibels_below_the_peak() -> None:
    sound = np.full(RATE, 1.0, np.float32)
    sound[: RATE // 5] = 0.01
    assert pause_floor(sound, RATE) == pytest.approx(-40, abs=1e-4)


def test_silence_has_values_too() -> None:
    silence = np.zeros(RATE, np.float32)
    assert pause_floor(silence, RATE) == pause_floor(silence[:3], RATE) == level_db(silence) == SILENCE
    assert level_db(silence[:0]) == SILENCE
    assert mel_distance(silence, silence, RATE) == 0
    assert mel_distance(speech(), silence[:1].repeat(3 * RATE // 2), RATE) == MEL_RANGE
    assert waveform_noise(speech(), np.zeros(3 * RATE // 2, np.float32))[1] == pytest.approx(
        waveform_noise(speech(), speech())[0]
    )


def test_a_gain_is_removed_from_the_waveform_before_it_is_compared() -> None:
    rng = np.random.default_rng(2)
    reference, noise = rng.standard_normal((2, 5000)).astype(np.float32)
    noise -= reference * (reference @ noise) / (reference @ reference)  # at right angles
    signal, left = waveform_noise(reference, 0.5 * (reference + 0.1 * noise))
    both = 0.01 * float(noise @ noise) / float(reference @ reference)
    assert left / signal == pytest.approx(both / (1 + both), rel=1e-4)


def test_rows_of_zeros_have_a_cosine() -> None:
    a = np.array([[0, 0], [1, 0], [1, 1]], np.float32)
    b = np.array([[0, 0], [0, 2], [3, 3]], np.float32)
    assert cosine(a, b) == pytest.approx((1 + 0 + 1) / 3)
    assert signal_and_noise(a, b) == (3.0, 13.0)
