"""`TTSModel`: text and a voice in, speech out. Names and meaning are those of the official package.

    model = TTSModel.load_model()
    voice = model.get_state_for_audio_prompt("alba")
    audio = model.generate_audio(voice, "Hello world.")      # float32 [samples] at model.sample_rate

Where the official package has tensors there are NumPy arrays; `torch.from_numpy` makes tensors of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketquant.audio import Samples, check_samples, end_on_pause, read_audio, resample
from pocketquant.checkpoint import hub
from pocketquant.checkpoint.voice import VoiceState, is_voice_file, read_voice, write_voice
from pocketquant.config import catalog
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import AudioError, ConfigError, TextError, VoiceError, near_misses
from pocketquant.model.generate import Sampling, SpeechModel
from pocketquant.model.load import QuantizedOnTheFly, find_checkpoint
from pocketquant.model.text import PreparedText, TextRules, prepare, split
from pocketquant.model.tokenizer import Tokenizer, build_tokenizer
from pocketquant.ops import get_ops
from pocketquant.quantize.stored import StoredTensor

logger = logging.getLogger(__name__)

MAX_TOKENS = 50
"""Longest chunk of text that is spoken in one go, in tokens (the official default)."""

OFFICIAL_RECIPE = "int8-lm"
"""What `quantize=True` means: attention and feed-forward of the language model in int8, as officially."""

_PROMPT_SECONDS = 30.0
EXTRA_FRAMES = 2
"""Frames that every chunk goes on after its end, besides those that `prepare` says (the official figure)."""


class TTSModel:
    """A Pocket TTS model, ready to speak. Made by `TTSModel.load_model`.

    One model can serve many threads at once: weights are shared and never change, everything that changes
    belongs to one call. What a call says depends on its arguments and on `seed` only, not on what runs beside
    it.

    Attributes:
        config: the model's config.
        has_voice_cloning: whether recordings can be made into voices.
        language: name of the official model (or "demo") that the weights belong to; None for other models.
        temp: variance of the noise that each frame starts from; 0 is deterministic.
        sampler_decode_steps: steps of the flow head per frame.
        noise_clamp: bound on the noise, or None.
        eos_threshold: a frame whose end-of-speech logit is above it ends the chunk.
        seed: where the noise of every call starts; None: elsewhere in each call.
        tokenizer: text to token numbers.
        rules: what is done to a text before it is spoken.
        speech: the model itself, language model and codec.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        weights: Mapping[str, StoredTensor],
        *,
        temp: float | None = None,
        sampler_decode_steps: int = 1,
        noise_clamp: float | None = None,
        eos_threshold: float | None = None,
        has_voice_cloning: bool = True,
        language: str | None = None,
        origin: str = "",
        threads: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Build the model from its parts; `load_model` finds them."""
        self.config = config
        self.temp = config.default_temperature if temp is None else temp
        self.sampler_decode_steps = sampler_decode_steps
        self.noise_clamp = noise_clamp
        self.eos_threshold = config.default_eos_threshold if eos_threshold is None else eos_threshold
        self.has_voice_cloning = has_voice_cloning
        self.language = language
        self.origin = origin
        self.seed = seed
        self._check_sampling()
        self.tokenizer = tokenizer
        self.rules = TextRules.of(config)
        self.speech = SpeechModel(config, weights, get_ops(threads=threads))

    def _check_sampling(self) -> None:
        if not self.temp >= 0:
            raise ConfigError(f"temp {self.temp} is negative; give 0 (no noise) or more, such as 0.3")
        if self.sampler_decode_steps < 1:
            raise ConfigError(f"sampler_decode_steps {self.sampler_decode_steps}: give 1 or more")
        if self.noise_clamp is not None and not self.noise_clamp > 0:
            raise ConfigError(f"noise_clamp {self.noise_clamp}: give a positive bound, or None for no bound")

    @classmethod
    def load_model(
        cls,
        language: str | None = None,
        config: str | Path | None = None,
        temp: float | None = None,
        sampler_decode_steps: int = 1,
        noise_clamp: float | None = None,
        eos_threshold: float | None = None,
        quantize: bool | str = False,
        checkpoint: str | Path | None = None,
        lsd_decode_steps: int | None = None,
        *,
        weights: str | Path | None = None,
        threads: int | None = None,
        seed: int | None = None,
    ) -> TTSModel:
        """Load a model.

        Args:
            language: an official model by name ("english", "french_24l", ...), or "demo", the one in the box.
                Without `config` and `weights` it is "english".
            config: a model config (.yaml): a local path, an `https://` or `hf://` address. Not with
                `language`.
            temp: variance of the noise; None: what the config recommends.
            sampler_decode_steps: steps of the flow head per frame (16 and more for flow matching heads).
            noise_clamp: bound on the noise.
            eos_threshold: end-of-speech threshold; None: what the config recommends.
            quantize: True quantizes the language model to int8 as the official package does (recipe
                "int8-lm"); a string names another recipe. Tensor by tensor, while loading: the float model is
                never in memory as a whole. Speaking from a file that `pocketquant quantize` wrote starts
                faster.
            checkpoint: accepted for its official name only. Training checkpoints (.pt) are pickles, which can
                run code, so they are never opened.
            lsd_decode_steps: deprecated name of `sampler_decode_steps`.
            weights: a file that `pocketquant quantize` wrote (it needs nothing else), or any other checkpoint
                of the model; then `config`, or `language`, says which model that is.
            threads: CPU threads that one operation of the compiled core may use.
            seed: let every call start from the same noise, so that the same text gives the same speech. None:
                fresh noise each time.

        Raises:
            ConfigError: both `language` and `config`, an unknown language, a config that is none, sampling
                options out of range.
            CheckpointError: weights that are missing, damaged or of another model.
            DownloadError: a file that cannot be had.
            RecipeError: an unknown recipe, or `quantize` for weights that are quantized already.
        """
        if lsd_decode_steps is not None:
            logger.warning("lsd_decode_steps is deprecated, use sampler_decode_steps")
            sampler_decode_steps = lsd_decode_steps
        source = find_checkpoint(language, config, weights, checkpoint)
        tensors = source.weights
        if quantize:
            tensors = QuantizedOnTheFly(source, OFFICIAL_RECIPE if quantize is True else quantize)
        table = source.config.flow_lm.lookup_table
        return cls(
            source.config,
            build_tokenizer(
                source.tokenizer.kind, source.tokenizer.data, table.n_bins, name=f"{source.origin}: tokenizer"
            ),
            tensors,
            temp=temp,
            sampler_decode_steps=sampler_decode_steps,
            noise_clamp=noise_clamp,
            eos_threshold=eos_threshold,
            has_voice_cloning=source.has_voice_cloning,
            language=source.language,
            origin=source.origin,
            threads=threads,
            seed=seed,
        )

    @property
    def sample_rate(self) -> int:
        """Samples per second of all speech in and out, in Hz."""
        return self.config.sample_rate

    @property
    def device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    @property
    def default_voice(self) -> str:
        """The voice to use where the user picks none: a predefined one, or a recording that any model can clone."""
        return catalog.default_voice(self.language, custom=self.language is None)

    @property
    def default_text(self) -> str:
        """Something to say where the user gives no text."""
        return catalog.default_text(self.language)

    # Voices

    def get_state_for_audio_prompt(
        self, audio_conditioning: str | Path | NDArray[Any], truncate: bool = False
    ) -> VoiceState:
        """A voice, ready for `generate_audio`.

        Args:
            audio_conditioning: one of
                - the name of a predefined voice ("alba"; "heart" for the demo model);
                - a voice file (.safetensors) or a recording (wav, flac, mp3, ogg): a path, an `https://` or
                an
                  `hf://owner/repo/path@revision` address;
                - the samples of a recording at `sample_rate`, `[samples]` or `[channels, samples]`.
            truncate: take no more than the first 30 seconds of a recording.

        Raises:
            VoiceError: an unknown voice, a voice of other weights, a predefined voice for weights that are
                not the released ones, or a recording for weights without voice cloning.
            AudioError: a recording that cannot be read or shows no voice.
            DownloadError: a file that cannot be had.
        """
        if isinstance(audio_conditioning, (str, Path)):
            if is_voice_file(audio_conditioning):
                return self._read_voice(audio_conditioning)
            if isinstance(audio_conditioning, str) and self._is_predefined(audio_conditioning):
                return self._read_voice(self._predefined(audio_conditioning))
            self._require_source(audio_conditioning)
            self._require_cloning()
            samples = self._read_recording(audio_conditioning, truncate)
        else:
            self._require_cloning()
            samples = self._take_samples(audio_conditioning, truncate)
        encoded = self.speech.encode_voice(end_on_pause(samples, self.sample_rate))
        return self.speech.condition_on_voice(encoded)

    def _read_voice(self, source: str | Path) -> VoiceState:
        voice = read_voice(hub.resolve(str(source)))
        voice.check(self.config.flow_lm.transformer, str(source))
        return voice

    def _is_predefined(self, name: str) -> bool:
        return name in catalog.voices() or name == catalog.DEMO_VOICE

    def _predefined(self, name: str) -> str:
        if self.language is None:
            raise VoiceError(
                f"the predefined voice {name!r} only fits the released weights of a language, and {self.origin} is "
                "not known to be one; pass the voice as a recording, or say which model it is with language="
            )
        return catalog.get_predefined_voice(self.language, name)

    def _require_cloning(self) -> None:
        if self.has_voice_cloning:
            return
        if self.language == catalog.DEMO:
            raise VoiceError(
                f"the model in the box has one voice, {catalog.DEMO_VOICE!r}, and cannot clone others; "
                "load an official model for that"
            )
        raise VoiceError(
            f"{self.origin}: these weights have no voice cloning; take one of the predefined voices "
            f"({', '.join(catalog.voices())}), or get the weights that can: accept the terms at "
            "https://huggingface.co/kyutai/pocket-tts and log in with `hf auth login`"
        )

    def _require_source(self, source: str | Path) -> None:
        """Take a misspelt name for what it is, not for a file that is missing."""
        if (
            isinstance(source, str)
            and not Path(source).exists()
            and not Path(source).suffix
            and "/" not in source
        ):
            known = (catalog.DEMO_VOICE,) if self.language == catalog.DEMO else tuple(catalog.voices())
            hint = near_misses(source, known) or f"; predefined are {', '.join(known)}"
            raise VoiceError(f"{source}: neither a predefined voice nor a file{hint}")

    def _read_recording(self, source: str | Path, truncate: bool) -> Samples:
        samples, rate = read_audio(hub.resolve(str(source)), seconds=_PROMPT_SECONDS if truncate else None)
        return resample(samples, rate, self.sample_rate)

    def _take_samples(self, recording: NDArray[Any], truncate: bool) -> Samples:
        samples = np.asarray(recording)
        if samples.ndim not in (1, 2) or samples.dtype.kind != "f":
            raise AudioError(
                f"a recording is an array of floats, [samples] or [channels, samples], "
                f"not {samples.dtype} {list(samples.shape)}"
            )
        mono = samples.astype(np.float32) if samples.ndim == 1 else samples.mean(axis=0, dtype=np.float32)
        check_samples(mono, self.sample_rate, "the array")
        return mono[: int(_PROMPT_SECONDS * self.sample_rate)] if truncate else mono

    # Speech

    def generate_audio(
        self,
        model_state: VoiceState,
        text_to_generate: str,
        max_tokens: int = MAX_TOKENS,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
    ) -> Samples:
        """Say a text; the arguments are those of `generate_audio_stream`.

        Returns:
            float32 `[samples]` at `sample_rate`: the chunks of the stream, one behind the other.
        """
        stream = self.generate_audio_stream(
            model_state, text_to_generate, max_tokens, frames_after_eos, copy_state
        )
        return np.concatenate([np.zeros(0, np.float32), *stream])

    def generate_audio_stream(
        self,
        model_state: VoiceState,
        text_to_generate: str,
        max_tokens: int = MAX_TOKENS,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
        stop: threading.Event | None = None,
    ) -> Iterator[Samples]:
        """Say a text, chunk by chunk, each as soon as it exists.

        The text may have any length: it is split into sentences, which are spoken one after the other.
        Closing the generator early (`close()`, `break`, garbage collection) ends all work and its threads.

        Args:
            model_state: the voice, from `get_state_for_audio_prompt`.
            text_to_generate: the text; capital letters and full stops are put where the model wants them.
            max_tokens: longest piece that is spoken in one go, in tokens.
            frames_after_eos: frames of 80 ms to go on after the end of speech; None: what the model
                recommends, else 5 for up to four words and 3 for more.
            copy_state: leave `model_state` as it is (then it can serve many calls, also at the same time).
                False continues from it: it afterwards holds what was said, which the next chunk goes on from.
            stop: set it, from any thread, to end the speech after the current frame.

        Yields:
            float32 `[samples]` at `sample_rate`.

        Raises:
            TextError: nothing to be spoken. Raised by this call, before the first chunk is asked for.
            VoiceError: the voice was made for other weights.
        """
        model_state.check(self.config.flow_lm.transformer)
        chunks = split(text_to_generate, self.tokenizer, max_tokens, self.rules)
        prepared = [prepare(chunk, self.rules) for chunk in chunks if chunk.strip()]
        if not prepared:
            raise TextError("the text is empty: the tokenizer knows none of its characters")
        return self._stream(model_state, prepared, frames_after_eos, copy_state, stop or threading.Event())

    def _stream(
        self,
        state: VoiceState,
        chunks: list[PreparedText],
        frames_after_eos: int | None,
        copy_state: bool,
        stop: threading.Event,
    ) -> Iterator[Samples]:
        """The chunks of a text, one utterance after the other."""
        rng = np.random.default_rng(self.seed)  # a call's own, so that calls beside it change nothing
        for chunk in chunks:
            if stop.is_set():
                return
            tokens = np.array(self.tokenizer.encode(chunk.text), np.int64)
            sampling = self._sampling(chunk, frames_after_eos)
            yield from self.speech.generate(
                state, tokens, sampling, rng=rng, stop=stop, copy_state=copy_state
            )

    def _sampling(self, chunk: PreparedText, frames_after_eos: int | None) -> Sampling:
        if frames_after_eos is None:
            frames_after_eos = self.config.model_recommended_frames_after_eos
        if frames_after_eos is None:
            frames_after_eos = chunk.frames_after_eos + EXTRA_FRAMES
        return Sampling(
            self.temp, self.sampler_decode_steps, self.noise_clamp, self.eos_threshold, frames_after_eos
        )


def export_model_state(model_state: VoiceState, dest: str | Path) -> None:
    """Write a voice to a file, which `get_state_for_audio_prompt` (and the official package) reads at once.

    Raises:
        PocketQuantError: the file cannot be written.
    """
    write_voice(model_state.layers, dest)
