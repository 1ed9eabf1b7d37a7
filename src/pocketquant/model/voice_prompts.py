"""What a user may give as a voice, and what it is: a voice file, a predefined voice, or a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketquant.audio import Samples, check_samples, read_audio, resample
from pocketquant.checkpoint import hub
from pocketquant.checkpoint.voice import VoiceState, is_voice_file, read_voice
from pocketquant.config import catalog
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import AudioError, VoiceError, near_misses

PROMPT_SECONDS = 30.0
"""What `truncate` leaves of a recording."""


@dataclass(frozen=True)
class VoicePrompts:
    """Reads voices for one set of weights.

    Attributes:
        config: the model's config.
        language: name of the official model that the weights belong to, or None.
        origin: where the weights come from, for messages.
        has_voice_cloning: whether recordings can be made into voices.
    """

    config: ModelConfig
    language: str | None
    origin: str
    has_voice_cloning: bool

    def read(self, prompt: str | Path | NDArray[Any], truncate: bool) -> VoiceState | Samples:
        """A finished voice, or the samples of a recording to clone; see `TTSModel.get_state_for_audio_prompt`.

        Returns:
            A `VoiceState` of the model, or mono float32 `[samples]` at the model's rate.
        """
        if not isinstance(prompt, (str, Path)):
            self._require_cloning()
            return self._take_samples(prompt, truncate)
        if is_voice_file(prompt):
            return self._read_voice(prompt)
        if isinstance(prompt, str) and catalog.is_voice(prompt):
            return self._read_voice(self._predefined(prompt))
        self._require_source(prompt)
        self._require_cloning()
        samples, rate = read_audio(hub.resolve(str(prompt)), seconds=PROMPT_SECONDS if truncate else None)
        return resample(samples, rate, self.config.sample_rate)

    def _read_voice(self, source: str | Path) -> VoiceState:
        voice = read_voice(hub.resolve(str(source)))
        voice.check(self.config.flow_lm.transformer, str(source))
        return voice

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
            known = catalog.voices_of(self.language)
            hint = near_misses(source, known) or f"; predefined are {', '.join(known)}"
            raise VoiceError(f"{source}: neither a predefined voice nor a file{hint}")

    def _take_samples(self, recording: NDArray[Any], truncate: bool) -> Samples:
        samples = np.asarray(recording)
        if samples.ndim not in (1, 2) or samples.dtype.kind != "f":
            raise AudioError(
                f"a recording is an array of floats, [samples] or [channels, samples], "
                f"not {samples.dtype} {list(samples.shape)}"
            )
        mono = samples.astype(np.float32) if samples.ndim == 1 else samples.mean(axis=0, dtype=np.float32)
        check_samples(mono, self.config.sample_rate, "the array")
        return mono[: int(PROMPT_SECONDS * self.config.sample_rate)] if truncate else mono
