"""Teacher forcing: both models read the float model's own latents, so every frame can be compared.

What a model would say next is not fed back to it. Errors therefore do not build up, and what is left is what
quantization does to one step, with a past that is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pocketquant.checkpoint.voice import VoiceState
from pocketquant.evaluate.measures import cosine, signal_and_noise
from pocketquant.evaluate.speech import Chunk
from pocketquant.model.generate import MIN_FRAMES_BEFORE_EOS, SpeechModel
from pocketquant.ops.interface import F32


@dataclass(frozen=True)
class Forced:
    """What a model makes of given latents, frame by frame.

    Attributes:
        depths: hidden state `[T, dim]` after each layer, and last what the heads see.
        latents: the next latents `[T, latent_dim]`.
        eos: end-of-speech logits `[T]`.
    """

    depths: Sequence[F32]
    latents: F32
    eos: F32


@dataclass(frozen=True)
class Flip:
    """A frame whose end-of-speech decision is another one than the float model's.

    Attributes:
        place: frame over the frame where the float model ends: below 1 inside the sentence, from 1 on behind it.
        ends: whether the other model wants to end here (else the float model does).
    """

    place: float
    ends: bool


def forced_pass(speech: SpeechModel, voice: VoiceState, chunk: Chunk, latents: F32) -> Forced:
    """Feed a model the latents `[T, latent_dim]` of a chunk, all at once.

    The frame t sees the latents before it, as while speaking; the head starts from the noise of that frame.
    """
    lm = speech.flow_lm
    frames = len(latents)
    caches = lm.new_caches(voice.positions + len(chunk.tokens) + frames, voice.layers)
    lm.prompt(lm.embed_text(chunk.tokens), caches)
    beginning = np.full((1, lm.latent_dim), np.nan, np.float32)
    x = lm.embed_latents(np.concatenate([beginning, latents[:-1]]))
    depths = []
    for layer, cache in zip(lm.transformer.layers, caches, strict=True):
        x = layer(x, cache)
        depths.append(x)
    z = lm.condition(x)
    noise = chunk.noise(frames, lm.latent_dim)
    schedule = lm.flow_net.schedule(chunk.sampling.steps)
    return Forced([*depths, z], lm.flow_net.sample(z, noise, schedule), lm.out_eos(z)[:, 0])


def compare_forced(reference: Forced, other: Forced, threshold: float) -> tuple[dict[str, float], list[Flip]]:
    """The columns of one chunk, and its flipped decisions.

    Columns: `hidden_*` of the heads' input, `depth<i>_*` after layer i, `latent_*`, `eos_*`; cosines are
    sums over frames (see `merge`).
    """
    frames = len(reference.eos)
    columns: dict[str, float] = {"frames_forced": frames}
    names = [*(f"depth{i}" for i in range(len(reference.depths) - 1)), "hidden"]
    pairs = [
        *zip(names, reference.depths, other.depths, strict=True),
        ("latent", reference.latents, other.latents),
    ]
    for name, one, two in pairs:
        columns[f"{name}_signal"], columns[f"{name}_noise"] = signal_and_noise(one, two)
        columns[f"{name}_cosine_sum"] = frames * cosine(one, two)
    error = np.abs(other.eos.astype(np.float64) - reference.eos)
    flips = find_flips(reference.eos, other.eos, threshold)
    columns |= {
        "eos_error_sum": float(error.sum()),
        "eos_error_max": float(error.max(initial=0.0)),
        "eos_frames": frames,
        "eos_flips": len(flips),
        "eos_decisions": max(0, frames - MIN_FRAMES_BEFORE_EOS),
        "eos_early": float(any(flip.ends and flip.place < 1 for flip in flips)),
    }
    return columns, flips


def find_flips(reference: F32, other: F32, threshold: float) -> list[Flip]:
    """Frames `[T]` of logits where one model sees the end and the other does not.

    The first frames decide nothing (`MIN_FRAMES_BEFORE_EOS`).
    """
    ends, wants = reference > threshold, other > threshold
    ends[:MIN_FRAMES_BEFORE_EOS] = wants[:MIN_FRAMES_BEFORE_EOS] = False
    end = int(np.argmax(ends)) if ends.any() else len(ends)
    return [Flip(int(frame) / max(1, end), bool(wants[frame])) for frame in np.flatnonzero(ends != wants)]


def merge(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The columns of a sentence from those of its chunks and takes: sums, but for what is a maximum."""
    merged: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            before = merged.get(name, 0.0)
            merged[name] = max(before, value) if name == "eos_error_max" else before + value
    for name in [name for name in merged if name.endswith("_cosine_sum")]:
        merged[name.removesuffix("_sum")] = merged[name] / max(1.0, merged["frames_forced"])
    return merged
