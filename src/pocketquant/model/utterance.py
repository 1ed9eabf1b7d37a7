"""One utterance on its way: how its latents are drawn, when it ends, what they sound like.

The two halves know nothing of each other and may live in two threads: `Utterance` belongs to the language
model, `Sound` to the codec. Official: `models/tts_model.py`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from pocketquant.model.mimi import MimiDecoder
from pocketquant.model.noise import sample_noise
from pocketquant.model.transformer import Caches
from pocketquant.ops.interface import F32

logger = logging.getLogger(__name__)

MIN_FRAMES_BEFORE_EOS = 6
"""EOS is not believed on the first frames: some voices cross the threshold before they speak."""
FADES_PER_SECOND = 200
"""The first 5 ms fade in: a fresh decoder starts with a small step."""


@dataclass(frozen=True)
class Sampling:
    """How latents are drawn and when an utterance ends.

    Attributes:
        temperature: variance of the noise; 0 is deterministic.
        steps: steps of the flow head (lsd, flow_matching).
        noise_clamp: largest magnitude of the noise, or None.
        eos_threshold: the speech has ended where the EOS logit exceeds it.
        frames_after_eos: frames that still follow.
    """

    temperature: float = 0.3
    steps: int = 1
    noise_clamp: float | None = None
    eos_threshold: float = -4.0
    frames_after_eos: int = 1


class Utterance:
    """What the language model needs to know of an utterance from one frame to the next.

    Attributes:
        caches: its past, in the transformer.
        latent: the latest latent `[1, latent_dim]`; NaN before the first one.
        frame: number of frames computed.
        ended: whether the latest frame was the last, or already one behind the end.
    """

    def __init__(
        self, caches: Caches, latent_dim: int, frames: int, sampling: Sampling, rng: np.random.Generator
    ) -> None:
        """Before its first frame.

        Args:
            caches: the voice, and the text once the model has read it.
            latent_dim: width of a latent.
            frames: how many it may have at most.
            sampling: how to draw latents, and when to end.
            rng: source of its noise, its own.
        """
        self.caches = caches
        self.latent = np.full((1, latent_dim), np.nan, np.float32)
        self.frame = 0
        self.ended = False
        self._frames, self._sampling, self._rng = frames, sampling, rng
        self._last: int | None = None

    def noise(self) -> F32:
        """What the next latent starts from, `[1, latent_dim]`. Ask once a frame."""
        return sample_noise(
            self._rng, self.latent.shape[1], self._sampling.temperature, self._sampling.noise_clamp
        )

    def advance(self, latent: F32, eos: float) -> bool:
        """Take a frame of the model: its latent `[1, latent_dim]` and its EOS logit.

        Returns:
            Whether the latent is spoken. It is not if the speech was over before it.
        """
        if self._last is None and self.frame >= MIN_FRAMES_BEFORE_EOS and eos > self._sampling.eos_threshold:
            self._last = self.frame + self._sampling.frames_after_eos
        self.ended = self._last is not None and self.frame >= self._last
        if self.ended:
            return False
        self.latent = latent
        self.frame += 1
        if self.frame >= self._frames:
            self.ended = True
            logger.warning("the speech did not end within %d frames: often a sign of an error", self._frames)
        return True


class Sound:
    """An utterance in the codec: latents to chunks of sound, the first one faded in."""

    def __init__(self, decoder: MimiDecoder, sample_rate: int) -> None:
        self._decoder = decoder
        self._state = decoder.new_state()
        self._fade = np.linspace(0, 1, sample_rate // FADES_PER_SECOND, dtype=np.float32)

    def decode(self, latent: F32) -> F32:
        """The next latent `[1, dimension]` (see `FlowLM.to_codec`) to a chunk `[frame_size]`."""
        return self.render(self.features(latent))

    def features(self, latent: F32) -> F32:
        """The first half of `decode` (see `MimiDecoder.features`)."""
        return self._decoder.features(latent, self._state)

    def render(self, features: F32) -> F32:
        """The second half."""
        chunk = self._decoder.render(features, self._state)
        n = min(len(self._fade), len(chunk))
        chunk[:n] *= self._fade[:n]
        self._fade = self._fade[:0]
        return chunk
