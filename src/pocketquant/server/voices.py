"""Voices that a request may ask for."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from fastapi import UploadFile

from pocketquant.checkpoint import hub
from pocketquant.checkpoint.voice import VoiceState
from pocketquant.config import catalog
from pocketquant.errors import PocketQuantError, VoiceError, near_misses
from pocketquant.model.tts import TTSModel

KEPT = 16
"""Voices that stay ready after a request, the latest ones; a full-size one takes about 6 MB per 10 s of recording."""


class Voices:
    """Voice states by name, address or upload; `default` is for requests that name none."""

    def __init__(self, model: TTSModel, default: VoiceState) -> None:
        self.model, self.default = model, default
        self._state = lru_cache(KEPT)(model.get_state_for_audio_prompt)

    def named(self, voice: str) -> VoiceState:
        """A predefined voice, or an address; files of this machine are none of a stranger's business.

        Raises:
            VoiceError: neither, or the model has no such voice.
            DownloadError: what cannot be had.
        """
        if hub.is_remote(voice) or catalog.is_voice(voice):
            return self._state(voice)
        remedy = (
            near_misses(voice, catalog.voices())
            or "; give a predefined voice, or an http://, https:// or hf:// address"
        )
        raise VoiceError(f"unknown voice {voice!r}{remedy}")

    def uploaded(self, upload: UploadFile) -> VoiceState:
        """The voice in an uploaded file, whose ending says what it is.

        Raises:
            PocketQuantError: it holds no voice; the line names it as its owner does.
        """
        name = Path(upload.filename or "").name or "voice.wav"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"voice{Path(name).suffix}"
            path.write_bytes(upload.file.read())
            try:
                return self.model.get_state_for_audio_prompt(path, truncate=True)
            except PocketQuantError as error:
                raise VoiceError(str(error).replace(str(path), name)) from error
