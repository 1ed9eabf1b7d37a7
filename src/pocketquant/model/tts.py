"""`TTSModel`: text and a voice in, speech out. Names and meaning are those of the official package.

    model = TTSModel.load_model()
    voice = model.get_state_for_audio_prompt("alba")
    audio = model.generate_audio(voice, "Hello world.")      # float32 [samples] at model.sample_rate

Where the official package has tensors there are NumPy arrays; `torch.from_numpy` makes tensors of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketquant.audio import Samples, end_on_pause
from pocketquant.checkpoint.voice import VoiceState, write_voice
from pocketquant.config import catalog
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import ConfigError, TextError, VoiceError
from pocketquant.model.batch import Job, generate_batch
from pocketquant.model.generate import SpeechModel
from pocketquant.model.load import QuantizedOnTheFly, find_checkpoint
from pocketquant.model.script import Script, read
from pocketquant.model.text import TextRules
from pocketquant.model.tokenizer import Tokenizer, build_tokenizer
from pocketquant.model.utterance import Sampling
from pocketquant.model.voice_prompts import VoicePrompts
from pocketquant.quantize.stored import StoredTensor

logger = logging.getLogger(__name__)

MAX_TOKENS = 50
"""Longest chunk of text that is spoken in one go, in tokens (the official default)."""

OFFICIAL_RECIPE = "int8-lm"
"""What `quantize=True` means: attention and feed-forward of the language model in int8, as officially."""

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
        self.speech = SpeechModel(config, weights, threads=threads)

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
            threads: how many threads one generation uses; what it says is the same with any number.
                None: 2, or 1 on a machine with one processor.
                1: none is started; language model and decoder take turns in the caller's thread.
                2: language model and decoder run side by side, and share the work on a voice and a prompt.
                More: they help with voices, prompts and batches.
            seed: let every call start from the same noise, so that the same text gives the same speech. The
                noise of a chunk of the text depends on the seed and the chunk's number. None: fresh noise each
                time.

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
                - a voice file (.safetensors) or a recording (wav, flac, mp3, ogg): a path, an `https://` or an
                  `hf://owner/repo/path@revision` address;
                - the samples of a recording at `sample_rate`, `[samples]` or `[channels, samples]`.
            truncate: take no more than the first 30 seconds of a recording.

        Raises:
            VoiceError: an unknown voice, a voice of other weights, a predefined voice for weights that are
                not the released ones, or a recording for weights without voice cloning.
            AudioError: a recording that cannot be read or shows no voice.
            DownloadError: a file that cannot be had.
        """
        prompts = VoicePrompts(self.config, self.language, self.origin, self.has_voice_cloning)
        voice = prompts.read(audio_conditioning, truncate)
        if isinstance(voice, VoiceState):
            return voice
        encoded = self.speech.encode_voice(end_on_pause(voice, self.sample_rate))
        return self.speech.condition_on_voice(encoded)

    # Speech

    def generate_audio(
        self,
        model_state: VoiceState,
        text_to_generate: str,
        max_tokens: int = MAX_TOKENS,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
        *,
        batch: int = 1,
    ) -> Samples:
        """Say a text; the arguments are those of `generate_audio_stream`, and `batch`.

        Args:
            batch: how many chunks of the text are spoken at the same time. A long text is done sooner with 4
                or 8, and takes more memory; it sounds the same. Without effect with `copy_state=False`, where
                each chunk goes on from the one before.

        Returns:
            float32 `[samples]` at `sample_rate`: the chunks of the stream, one behind the other.

        Raises:
            ConfigError: `batch` is below 1; else as `generate_audio_stream`.
        """
        if batch == 1 or (batch > 1 and not copy_state):
            stream = self.generate_audio_stream(
                model_state, text_to_generate, max_tokens, frames_after_eos, copy_state
            )
            return np.concatenate([np.zeros(0, np.float32), *stream])
        script = read(text_to_generate, self.tokenizer, max_tokens, self.rules)
        return self._together([model_state], [script], frames_after_eos, batch)[0]

    def generate_audio_batch(
        self,
        model_states: VoiceState | Sequence[VoiceState],
        texts_to_generate: Sequence[str],
        max_tokens: int = MAX_TOKENS,
        frames_after_eos: int | None = None,
        *,
        batch: int = 8,
    ) -> list[Samples]:
        """Say many texts; each sounds as `generate_audio` says it alone.

        Args:
            model_states: one voice for all texts, or a voice for each. They stay as they are.
            texts_to_generate: the texts, of any length; their chunks are spoken together.
            max_tokens: longest piece that is spoken in one go, in tokens.
            frames_after_eos: as in `generate_audio_stream`.
            batch: how many chunks are spoken at the same time.

        Returns:
            float32 `[samples]` at `sample_rate` for each text.

        Raises:
            TextError: nothing to be spoken in one of the texts, before anything is said.
            VoiceError: a voice was made for other weights, or there are not as many voices as texts.
            ConfigError: `batch` is below 1.
        """
        states = model_states
        if isinstance(states, VoiceState):
            states = [states] * len(texts_to_generate)
        if len(states) != len(texts_to_generate):
            raise VoiceError(
                f"{len(states)} voices for {len(texts_to_generate)} texts: give one voice, or one for each text"
            )
        scripts: list[Script] = []
        for number, text in enumerate(texts_to_generate):
            try:
                script = read(text, self.tokenizer, max_tokens, self.rules)
            except TextError as error:
                raise TextError(f"text {number} (counted from 0): {error}") from None
            scripts.append(script)
        return self._together(states, scripts, frames_after_eos, batch)

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

        The text may have any length: it is split into sentences, which are spoken one after the other. `[pause]`,
        `[pause:1.5]` or `<break time="500ms"/>` in it are silence.
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
        script = read(text_to_generate, self.tokenizer, max_tokens, self.rules)
        return self._stream(model_state, script, frames_after_eos, copy_state, stop or threading.Event())

    def _stream(
        self,
        state: VoiceState,
        script: Script,
        frames_after_eos: int | None,
        copy_state: bool,
        stop: threading.Event,
    ) -> Iterator[Samples]:
        """The lines of a text, one utterance after the other, and its pauses."""
        *before, end = script.silences(self.sample_rate)
        for silence, job in zip(before, self._jobs(state, script, frames_after_eos), strict=True):
            if stop.is_set():
                return
            if silence.size:
                yield silence
            yield from self.speech.generate(
                job.state, job.tokens, job.sampling, rng=job.rng, stop=stop, copy_state=copy_state
            )
        if end.size and not stop.is_set():
            yield end

    def _jobs(self, state: VoiceState, script: Script, frames_after_eos: int | None) -> Iterator[Job]:
        """The utterances of a text. Each has noise of its own, so it matters not which of them run together."""
        seeds = np.random.SeedSequence(self.seed).spawn(len(script.lines))
        for line, seed in zip(script.lines, seeds, strict=True):
            tokens = np.array(self.tokenizer.encode(line.text.text), np.int64)
            sampling = self._sampling(line.text.frames_after_eos, frames_after_eos)
            yield Job(state, tokens, sampling, np.random.default_rng(seed))

    def _together(
        self,
        states: Sequence[VoiceState],
        scripts: Sequence[Script],
        frames_after_eos: int | None,
        batch: int,
    ) -> list[Samples]:
        """The sound of each script, `batch` lines of them at the same time."""
        jobs: list[Job] = []
        for state, script in zip(states, scripts, strict=True):
            jobs += self._jobs(state, script, frames_after_eos)
        sounds = iter(generate_batch(self.speech, jobs, batch))
        return [script.joined(islice(sounds, len(script.lines)), self.sample_rate) for script in scripts]

    def _sampling(self, frames_of_text: int, frames_after_eos: int | None) -> Sampling:
        if frames_after_eos is None:
            frames_after_eos = self.config.model_recommended_frames_after_eos
        if frames_after_eos is None:
            frames_after_eos = frames_of_text + EXTRA_FRAMES
        return Sampling(
            self.temp, self.sampler_decode_steps, self.noise_clamp, self.eos_threshold, frames_after_eos
        )


def export_model_state(model_state: VoiceState, dest: str | Path) -> None:
    """Write a voice to a file, which `get_state_for_audio_prompt` (and the official package) reads at once.

    Raises:
        PocketQuantError: the file cannot be written.
    """
    write_voice(model_state.layers, dest)
