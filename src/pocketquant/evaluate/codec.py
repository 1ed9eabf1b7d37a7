"""The codec: the same latents through both decoders, compared sample by sample."""

from __future__ import annotations

from pocketquant.evaluate.measures import (
    Samples,
    level_db,
    mel_distance,
    pause_floor,
    waveform_noise,
)


def compare_decoded(reference: Samples, other: Samples, rate: int) -> dict[str, float]:
    """The columns of one take: two sounds `[samples]` of one length from the same latents."""
    signal, noise = waveform_noise(reference, other)
    floor = pause_floor(other, rate)
    return {
        "wave_signal": signal,
        "wave_noise": noise,
        "mel_distance": mel_distance(reference, other, rate),
        "level_delta": level_db(other) - level_db(reference),
        "pause_floor": floor,
        "pause_floor_delta": floor - pause_floor(reference, rate),
    }
