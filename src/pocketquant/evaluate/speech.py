"""Free running: each model says the sentences on its own, all from the same noise.

The loop is chaotic, so two takes of a sentence differ in every sample even where both are fine: only what a
listener cares about is compared (length, an end, words, speaker).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketquant.checkpoint.voice import VoiceState
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import TextError
from pocketquant.model.generate import Sampling, SpeechModel
from pocketquant.model.noise import sample_noise
from pocketquant.model.script import read
from pocketquant.model.text import TextRules
from pocketquant.model.tokenizer import Tokenizer
from pocketquant.model.tts import EXTRA_FRAMES, MAX_TOKENS
from pocketquant.ops.interface import F32


@dataclass(frozen=True)
class Chunk:
    """What is spoken in one go: tokens `[T]`, how, and where its noise comes from."""

    tokens: NDArray[np.int64]
    sampling: Sampling
    seed: tuple[int, ...]

    def noise(self, frames: int, size: int) -> F32:
        """The noise of its first frames, `[frames, size]`: the same for every model."""
        rng = np.random.default_rng(self.seed)
        rows = [
            sample_noise(rng, size, self.sampling.temperature, self.sampling.noise_clamp)
            for _ in range(frames)
        ]
        return np.concatenate(rows) if rows else np.zeros((0, size), np.float32)


@dataclass(frozen=True)
class Take:
    """A sentence as one model said it.

    Attributes:
        latents: per chunk, `[frames, latent_dim]`.
        audio: `[samples]`.
        ended: whether every chunk found its end before the limit.
    """

    latents: Sequence[F32]
    audio: F32
    ended: bool

    @property
    def frames(self) -> int:
        """Length in frames of the codec."""
        return sum(len(latents) for latents in self.latents)


def chunks_of(
    text: str, seed: tuple[int, ...], config: ModelConfig, tokenizer: Tokenizer, temperature: float | None
) -> list[Chunk]:
    """A sentence as `TTSModel` would speak it, with noise of its own for each chunk.

    Raises:
        TextError: the text has nothing to be spoken.
    """
    try:
        script = read(text, tokenizer, MAX_TOKENS, TextRules.of(config))
    except TextError as error:
        raise TextError(f"'{text}': {error}; take the sentence out") from error
    chunks = []
    for number, chunk in enumerate(line.text for line in script.lines):
        after = config.model_recommended_frames_after_eos
        sampling = Sampling(
            temperature=config.default_temperature if temperature is None else temperature,
            eos_threshold=config.default_eos_threshold,
            frames_after_eos=chunk.frames_after_eos + EXTRA_FRAMES if after is None else after,
        )
        chunks.append(Chunk(np.array(tokenizer.encode(chunk.text), np.int64), sampling, (*seed, number)))
    return chunks


def speak(speech: SpeechModel, voice: VoiceState, chunks: Sequence[Chunk]) -> Take:
    """Let a model say the chunks of a sentence."""
    spoken: list[F32] = []
    ended = True
    for chunk in chunks:
        limit = speech.max_frames(len(chunk.tokens))
        caches = speech.flow_lm.new_caches(voice.positions + len(chunk.tokens) + limit, voice.layers)
        rng = np.random.default_rng(chunk.seed)
        with _without_warnings():
            latents = list(speech.latents(caches, chunk.tokens, limit, chunk.sampling, rng))
        spoken.append(_stack(latents, speech.flow_lm.latent_dim))
        ended = ended and len(latents) < limit
    return Take(spoken, decode(speech, spoken), ended)


def decode(speech: SpeechModel, latents: Sequence[F32]) -> F32:
    """The sound of the latents of each chunk, one behind the other: `[samples]`."""
    pieces = [piece for chunk in latents for piece in speech.audio(row[None] for row in chunk)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _stack(rows: Sequence[F32], size: int) -> F32:
    return np.concatenate(rows) if rows else np.zeros((0, size), np.float32)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Speech without an end is counted here, not warned of a hundred times."""
    logger = logging.getLogger("pocketquant.model")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
