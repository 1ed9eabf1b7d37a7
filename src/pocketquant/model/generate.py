"""The speech model: a voice and tokens in, the sound of one utterance out.

    tokens -> [LM: prompt, then one latent per frame] -> [decoder: one chunk per latent] -> caller

With two threads or more the language model and both halves of the decoder run at their own speed (`ahead`), so a
frame leaves as soon as it is decoded, while the language model is at one of the next. Three parts, because two
never take the same time: whoever has to wait leaves the processor to the others. Many utterances at once:
`batch`. Official: `models/tts_model.py`.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, nullcontext

import numpy as np
from numpy.typing import NDArray

from pocketquant.checkpoint.voice import VoiceState
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import TextError
from pocketquant.model.ahead import ahead
from pocketquant.model.flow_lm import FlowLM
from pocketquant.model.layers import Layers
from pocketquant.model.mimi import MimiDecoder, MimiEncoder
from pocketquant.model.transformer import Caches
from pocketquant.model.utterance import MIN_FRAMES_BEFORE_EOS, Sampling, Sound, Utterance
from pocketquant.ops import get_ops
from pocketquant.ops.interface import F32, Ops
from pocketquant.quantize.stored import StoredTensor

__all__ = ["MIN_FRAMES_BEFORE_EOS", "Sampling", "SpeechModel"]

TOKENS_PER_SECOND = 3.0
SECONDS_OF_PADDING = 2.0
FRAMES_AHEAD = 25
"""How far the language model may be ahead of the decoder, and the decoder of the listener: 2 s each. Enough
for any hiccup of a neighbour; a listener who leaves has not had a whole paragraph computed for nothing."""
FEATURES_AHEAD = 4
"""How far the first half of the decoder may be ahead of the second."""


class SpeechModel:
    """Language model and codec of one checkpoint.

    Holds weights only, so any number of threads may generate with one model at the same time.

    Attributes:
        config: the model's config.
        ops: the numerical operations it runs on.
        threads: how many threads one generation uses.
        flow_lm: the language model.
        decoder: the codec's decoder.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, StoredTensor],
        ops: Ops | None = None,
        *,
        threads: int | None = None,
        codec_ops: Ops | None = None,
    ) -> None:
        """Build the model.

        Args:
            config: the model's config.
            weights: stored tensors under the official names (`flow_lm.*`, `mimi.*`); may be lazy. The
                encoder's are looked up on first use, for who takes ready voices never needs them.
            ops: default: `get_ops(threads=1)`.
            threads: how many threads one generation uses, at least 1; default: 2, or 1 on a machine with one
                processor. The sound is the same with any number.
                1: none is started: language model and decoder take turns in the caller's thread, a frame each.
                2: language model and decoder run side by side, the decoder in two halves, so that whichever part is
                behind gets the time. Two threads work on the same product only where nothing runs beside: a
                voice, a prompt, the first frame.
                More: they help with these, and with batches.
            codec_ops: what the codec runs on; default: `ops`.

        Raises:
            CheckpointError: a tensor is missing or has a shape other than the config asks for.
            ConfigError: a config that cannot be spoken with.
        """
        self.config = config
        self.ops = get_ops(threads=1) if ops is None else ops
        self.threads = min(2, _processors()) if threads is None else max(1, threads)
        self.flow_lm = FlowLM(config, Layers(weights, self.ops).at("flow_lm"))
        self._codec_layers = Layers(weights, codec_ops or self.ops).at("mimi")
        self.decoder = MimiDecoder(config.mimi, self._codec_layers)
        self._encoder: MimiEncoder | None = None
        self._encoder_lock = threading.Lock()

    @property
    def encoder(self) -> MimiEncoder:
        """The codec's encoder, built on first use."""
        with self._encoder_lock:
            if self._encoder is None:
                self._encoder = MimiEncoder(self.config.mimi, self._codec_layers)
            return self._encoder

    def new_state(self) -> VoiceState:
        """The state of no voice at all."""
        transformer = self.config.flow_lm.transformer
        empty = np.zeros((2, 0, transformer.kv_heads, transformer.head_dim), np.float32)
        return VoiceState([empty.copy() for _ in range(transformer.num_layers)])

    def encode_voice(self, audio: F32) -> F32:
        """A recording, mono float32 `[samples]` at the model's rate, to codec rows `[T, encoded_dim]`."""
        with self.ops.splitting(self.threads):
            return self.encoder.encode(audio)

    def condition_on_voice(self, encoded: F32) -> VoiceState:
        """Codec rows `[T, encoded_dim]` of a recording to the state of its voice.

        Raises:
            CheckpointError: the weights came without voice cloning.
        """
        prompt = self.flow_lm.embed_voice(encoded)
        caches = self.flow_lm.new_caches(len(prompt))
        with self.ops.splitting(self.threads):
            self.flow_lm.prompt(prompt, caches)
        return VoiceState([cache.export() for cache in caches])

    def max_frames(self, tokens: int) -> int:
        """Longest utterance for a number of tokens: three a second, and two seconds."""
        seconds = tokens / TOKENS_PER_SECOND + SECONDS_OF_PADDING
        return math.ceil(seconds * self.config.mimi.frame_rate)

    def check(self, state: VoiceState, tokens: NDArray[np.int64]) -> None:
        """Refuse what cannot be spoken.

        Raises:
            TextError: there are no tokens.
            VoiceError: the voice was made for other weights.
        """
        if len(tokens) == 0:
            raise TextError("there is nothing to speak: the text has no tokens")
        state.check(self.config.flow_lm.transformer)

    def generate(
        self,
        state: VoiceState,
        tokens: NDArray[np.int64],
        sampling: Sampling,
        *,
        rng: np.random.Generator | None = None,
        stop: threading.Event | None = None,
        copy_state: bool = True,
    ) -> Generator[F32, None, None]:
        """Speak one utterance.

        Args:
            state: the voice, or where a generation before it ended. Never changed while generating.
            tokens: ids `[T]`, T > 0.
            sampling: how to draw latents, and when to end.
            rng: source of the noise; default: a fresh one, seeded by the system.
            stop: set it to end early: the frame in work is dropped, the iterator ends.
            copy_state: False writes the state after this utterance back into `state` when the iterator ends;
                if it is closed early, the state after the frames that it gave.

        Yields:
            float32 `[frame_size]`, one chunk a frame, as soon as it is decoded. A slow caller holds the work
            back: it is never more than `FRAMES_AHEAD` frames ahead at either end of the decoder.

        Raises:
            TextError: there are no tokens.
            VoiceError: the voice was made for other weights.
            Exception: whatever happened in one of the threads. Closing the iterator early ends them before
                `close` returns.
        """
        self.check(state, tokens)
        return self._run(state, tokens, sampling, rng or np.random.default_rng(), stop, copy_state)

    def _run(
        self,
        state: VoiceState,
        tokens: NDArray[np.int64],
        sampling: Sampling,
        rng: np.random.Generator,
        stop: threading.Event | None,
        copy_state: bool,
    ) -> Generator[F32, None, None]:
        if stop is not None and stop.is_set():
            return
        frames = self.max_frames(len(tokens))
        caches = self.new_caches(state, len(tokens))
        latents = self.latents(caches, tokens, frames, sampling, rng)
        if self.threads > 1:
            latents = ahead(latents, FRAMES_AHEAD, "pocketquant-lm")
        chunks = self.audio(latents)
        if self.threads > 1:
            chunks = ahead(chunks, FRAMES_AHEAD, "pocketquant-decoder")
        positions: int | None = state.positions + len(tokens)
        given = 0
        try:
            with closing(latents), closing(chunks):  # the decoder first: it reads the latents
                for chunk in chunks:
                    if stop is not None and stop.is_set():
                        return
                    given += 1
                    yield chunk
                positions = None  # all of them, the frame that found the end included
        finally:
            if not copy_state:
                end = None if positions is None else positions + given
                state.layers[:] = [cache.export()[:, :end] for cache in caches]

    def new_caches(self, state: VoiceState, tokens: int) -> Caches:
        """Caches that hold a voice, with room for a number of tokens and the longest speech they may give."""
        return self.flow_lm.new_caches(state.positions + tokens + self.max_frames(tokens), state.layers)

    def latents(
        self,
        caches: Caches,
        tokens: NDArray[np.int64],
        frames: int,
        sampling: Sampling,
        rng: np.random.Generator,
    ) -> Generator[F32, None, None]:
        """The language model's half: read the text, then yield a latent `[1, latent_dim]` per frame."""
        lm = self.flow_lm
        schedule = lm.flow_net.schedule(sampling.steps)
        utterance = Utterance(caches, lm.latent_dim, frames, sampling, rng)
        with self.ops.splitting(self.threads):
            lm.prompt(lm.embed_text(tokens), caches)
        while not utterance.ended:
            with self.ops.splitting(self.threads) if utterance.frame == 0 else nullcontext():
                latent, eos = lm.step(utterance.latent, caches, utterance.noise(), schedule)
            if utterance.advance(latent, eos):
                yield latent

    def audio(self, latents: Iterable[F32]) -> Generator[F32, None, None]:
        """The codec's half: a chunk `[frame_size]` for each latent, the first one faded in."""
        sound = self.new_sound()
        features = (sound.features(self.flow_lm.to_codec(latent)) for latent in latents)
        if self.threads > 1:
            features = ahead(features, FEATURES_AHEAD, "pocketquant-features")
        with closing(features):
            for each in features:
                yield sound.render(each)

    def new_sound(self) -> Sound:
        """The codec at the beginning of an utterance."""
        return Sound(self.decoder, self.config.sample_rate)


def _processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
