"""Speak one utterance: the pipeline of language model and codec.

    tokens -> [LM thread: prompt, then one latent per frame] -> queue -> [decoder thread] -> queue -> caller

Both threads run at their own speed, so a frame leaves as soon as it is decoded, while the language model is
at one of the next. Official: `models/tts_model.py`.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from pocketquant.checkpoint.voice import VoiceState
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import TextError
from pocketquant.model.flow_lm import FlowLM
from pocketquant.model.layers import Layers
from pocketquant.model.mimi import MimiDecoder, MimiEncoder
from pocketquant.model.noise import sample_noise
from pocketquant.model.transformer import Caches
from pocketquant.ops import get_ops
from pocketquant.ops.interface import F32, Ops
from pocketquant.quantize.stored import StoredTensor

logger = logging.getLogger(__name__)

MIN_FRAMES_BEFORE_EOS = 6
"""EOS is not believed on the first frames: some voices cross the threshold before they speak."""
TOKENS_PER_SECOND = 3.0
SECONDS_OF_PADDING = 2.0
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


class SpeechModel:
    """Language model and codec of one checkpoint.

    Holds weights only, so any number of threads may generate with one model at the same time.

    Attributes:
        config: the model's config.
        ops: the numerical operations it runs on.
        flow_lm: the language model.
        decoder: the codec's decoder.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, StoredTensor],
        ops: Ops | None = None,
        *,
        prompt_threads: int | None = None,
    ) -> None:
        """Build the model.

        Args:
            config: the model's config.
            weights: stored tensors under the official names (`flow_lm.*`, `mimi.*`); may be lazy. The
                encoder's are looked up on first use, for who takes ready voices never needs them.
            ops: default: `get_ops()`.
            prompt_threads: threads for what has nothing running beside it: a voice, a prompt, the first
                frame. Default: the machine's, at most 4. Afterwards language model and codec take one each.

        Raises:
            CheckpointError: a tensor is missing or has a shape other than the config asks for.
            ConfigError: a config that cannot be spoken with.
        """
        self.config = config
        self.ops = get_ops() if ops is None else ops
        self.prompt_threads = prompt_threads or min(4, os.cpu_count() or 1)
        self._layers = Layers(weights, self.ops)
        self.flow_lm = FlowLM(config, self._layers.at("flow_lm"))
        self.decoder = MimiDecoder(config.mimi, self._layers.at("mimi"))
        self._encoder: MimiEncoder | None = None
        self._encoder_lock = threading.Lock()

    @property
    def encoder(self) -> MimiEncoder:
        """The codec's encoder, built on first use."""
        with self._encoder_lock:
            if self._encoder is None:
                self._encoder = MimiEncoder(self.config.mimi, self._layers.at("mimi"))
            return self._encoder

    def new_state(self) -> VoiceState:
        """The state of no voice at all."""
        transformer = self.config.flow_lm.transformer
        empty = np.zeros((2, 0, transformer.kv_heads, transformer.head_dim), np.float32)
        return VoiceState([empty.copy() for _ in range(transformer.num_layers)])

    def encode_voice(self, audio: F32) -> F32:
        """A recording, mono float32 `[samples]` at the model's rate, to codec rows `[T, encoded_dim]`."""
        with self.ops.splitting(self.prompt_threads):
            return self.encoder.encode(audio)

    def condition_on_voice(self, encoded: F32) -> VoiceState:
        """Codec rows `[T, encoded_dim]` of a recording to the state of its voice.

        Raises:
            CheckpointError: the weights came without voice cloning.
        """
        prompt = self.flow_lm.embed_voice(encoded)
        caches = self.flow_lm.new_caches(len(prompt))
        with self.ops.splitting(self.prompt_threads):
            self.flow_lm.prompt(prompt, caches)
        return VoiceState([cache.export() for cache in caches])

    def max_frames(self, tokens: int) -> int:
        """Longest utterance for a number of tokens: three a second, and two seconds."""
        seconds = tokens / TOKENS_PER_SECOND + SECONDS_OF_PADDING
        return math.ceil(seconds * self.config.mimi.frame_rate)

    def generate(
        self,
        state: VoiceState,
        tokens: NDArray[np.int64],
        sampling: Sampling,
        *,
        rng: np.random.Generator | None = None,
        stop: threading.Event | None = None,
        copy_state: bool = True,
    ) -> Iterator[F32]:
        """Speak one utterance.

        Args:
            state: the voice, or where a generation before it ended. Never changed while generating.
            tokens: ids `[T]`, T > 0.
            sampling: how to draw latents, and when to end.
            rng: source of the noise; default: a fresh one, seeded by the system.
            stop: set it to end early: the frame in work is dropped, the iterator ends.
            copy_state: False writes the state after this utterance back into `state` when the iterator ends
                or is closed.

        Yields:
            float32 `[frame_size]`, one chunk a frame, as soon as it is decoded.

        Raises:
            TextError: there are no tokens.
            VoiceError: the voice was made for other weights.
            Exception: whatever happened in one of the two threads. Closing the iterator early ends both
                threads before `close` returns.
        """
        if len(tokens) == 0:
            raise TextError("there is nothing to speak: the text has no tokens")
        state.check(self.config.flow_lm.transformer)
        return self._run(state, tokens, sampling, rng or np.random.default_rng(), stop, copy_state)

    def _run(
        self,
        state: VoiceState,
        tokens: NDArray[np.int64],
        sampling: Sampling,
        rng: np.random.Generator,
        stop: threading.Event | None,
        copy_state: bool,
    ) -> Iterator[F32]:
        frames = self.max_frames(len(tokens))
        caches = self.flow_lm.new_caches(state.positions + len(tokens) + frames, state.layers)
        latents: SimpleQueue[F32 | None] = SimpleQueue()
        chunks: SimpleQueue[F32 | BaseException | None] = SimpleQueue()
        closed = threading.Event()

        def stopped() -> bool:
            return closed.is_set() or (stop is not None and stop.is_set())

        def write_latents() -> None:
            try:
                for latent in self.latents(caches, tokens, frames, sampling, rng):
                    if stopped():
                        break
                    latents.put(latent)
            except BaseException as error:  # the caller's thread raises it
                chunks.put(error)
            latents.put(None)

        def write_audio() -> None:
            try:
                for chunk in self.audio(_drain(latents)):
                    if stopped():
                        break
                    chunks.put(chunk)
            except BaseException as error:
                closed.set()
                chunks.put(error)
            chunks.put(None)

        threads = [
            threading.Thread(target=work, name=f"pocketquant-{work.__name__}", daemon=True)
            for work in (write_latents, write_audio)
        ]
        for thread in threads:
            thread.start()
        try:
            while (chunk := chunks.get()) is not None:
                if isinstance(chunk, BaseException):
                    raise chunk
                if stop is not None and stop.is_set():  # not `closed`: an error may be on its way
                    break
                yield chunk
        finally:
            closed.set()
            for thread in threads:
                thread.join()
            if not copy_state:
                state.layers[:] = [cache.export() for cache in caches]

    def latents(
        self,
        caches: Caches,
        tokens: NDArray[np.int64],
        frames: int,
        sampling: Sampling,
        rng: np.random.Generator,
    ) -> Iterator[F32]:
        """The language model's half: read the text, then yield a latent `[1, latent_dim]` per frame."""
        lm = self.flow_lm
        schedule = lm.flow_net.schedule(sampling.steps)
        with self.ops.splitting(self.prompt_threads):
            lm.prompt(lm.embed_text(tokens), caches)
        latent = np.full((1, lm.latent_dim), np.nan, np.float32)
        last = None
        for frame in range(frames):
            noise = sample_noise(rng, lm.latent_dim, sampling.temperature, sampling.noise_clamp)
            with self.ops.splitting(self.prompt_threads) if frame == 0 else nullcontext():
                latent, eos = lm.step(latent, caches, noise, schedule)
            if last is None and frame >= MIN_FRAMES_BEFORE_EOS and eos > sampling.eos_threshold:
                last = frame + sampling.frames_after_eos
            if last is not None and frame >= last:
                return
            yield latent
        logger.warning("the speech did not end within %d frames: often a sign of an error", frames)

    def audio(self, latents: Iterator[F32]) -> Iterator[F32]:
        """The codec's half: a chunk `[frame_size]` for each latent, the first one faded in."""
        state = self.decoder.new_state()
        fade = np.linspace(0, 1, self.config.sample_rate // FADES_PER_SECOND, dtype=np.float32)
        for latent in latents:
            chunk = self.decoder.decode_frame(self.flow_lm.to_codec(latent), state)
            if len(fade):
                n = min(len(fade), len(chunk))
                chunk[:n] *= fade[:n]
                fade = fade[:0]
            yield chunk


def _drain(queue: SimpleQueue[F32 | None]) -> Iterator[F32]:
    """What arrives in the queue, until None."""
    while (item := queue.get()) is not None:
        yield item
