"""Text in by HTTP, speech out as a WAV stream.

    GET  /         a page to try it with
    GET  /health   {"status": "healthy"}
    POST /tts      form fields `text` and, if wanted, `voice_url` or the file `voice_wav`; answers with audio/wav

Addresses, fields and answers are those of the official server (`pocket_tts/main.py`), so its clients need no change.
A request gets its first sound as soon as it exists; a listener who leaves ends the work on what he would have heard.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import python_multipart  # noqa: F401  # FastAPI wants it for forms, and says so late
from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from pocketquant.audio import wav_stream
from pocketquant.checkpoint import hub
from pocketquant.checkpoint.voice import VoiceState
from pocketquant.config import catalog
from pocketquant.errors import PocketQuantError, VoiceError, near_misses
from pocketquant.model.tts import TTSModel
from pocketquant.server.page import page
from pocketquant.version import __version__

KEPT_VOICES = 16
"""Voices that stay ready after a request, the latest ones; a full-size one takes about 6 MB per 10 s of recording."""


def create_app(model: TTSModel, default_voice: VoiceState, *, origins: Sequence[str] = ()) -> FastAPI:
    """The application.

    Args:
        model: what speaks; requests share it.
        default_voice: speaks where a request names no voice.
        origins: web pages from elsewhere that may use the server (CORS), such as "http://localhost:3000".

    Returns:
        A FastAPI application. Errors of ours are answers with status 400 and the line as `detail`.
    """
    app = FastAPI(title="pocketquant", description="Pocket TTS in 8 or 4 bits.", version=__version__)
    app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"])
    named = lru_cache(KEPT_VOICES)(model.get_state_for_audio_prompt)

    @app.exception_handler(PocketQuantError)
    def refuse(_: Request, error: PocketQuantError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=400)

    @app.get("/", response_class=HTMLResponse)
    def root() -> str:
        return page(model)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.post("/tts", response_class=StreamingResponse)
    def text_to_speech(
        text: Annotated[str, Form(description="What to say.")],
        voice_url: Annotated[
            str | None,
            Form(description="A predefined voice by name, or an http://, https:// or hf:// address."),
        ] = None,
        voice_wav: Annotated[
            UploadFile | None, File(description="A recording to clone, or an exported voice (.safetensors).")
        ] = None,
    ) -> StreamingResponse:
        """Say a text: a WAV stream (16 bits, mono) that begins with the first 80 ms."""
        if not text.strip():
            raise HTTPException(400, "Text cannot be empty")
        if voice_url is not None and voice_wav is not None:
            raise HTTPException(400, "Cannot provide both voice_url and voice_wav")
        voice = default_voice
        if voice_url is not None:
            voice = named(_not_local(voice_url))
        elif voice_wav is not None:
            voice = _uploaded(model, voice_wav)
        stop = threading.Event()
        sound = model.generate_audio_stream(voice, text, stop=stop)
        return StreamingResponse(
            _until_left(wav_stream(sound, model.sample_rate), stop),
            media_type="audio/wav",
            headers={"Content-Disposition": "attachment; filename=generated_speech.wav"},
        )

    return app


def _not_local(voice: str) -> str:
    """A voice that a stranger may name; files of this machine are none of his business."""
    if hub.is_remote(voice) or catalog.is_voice(voice):
        return voice
    remedy = (
        near_misses(voice, catalog.voices())
        or "; give a predefined voice, or an http://, https:// or hf:// address"
    )
    raise VoiceError(f"unknown voice {voice!r}{remedy}")


def _uploaded(model: TTSModel, upload: UploadFile) -> VoiceState:
    """The voice in an uploaded file, whose ending says what it is."""
    name = Path(upload.filename or "").name or "voice.wav"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"voice{Path(name).suffix}"
        path.write_bytes(upload.file.read())
        try:
            return model.get_state_for_audio_prompt(path, truncate=True)
        except PocketQuantError as error:
            raise VoiceError(str(error).replace(str(path), name)) from error


async def _until_left(pieces: Iterator[bytes], stop: threading.Event) -> AsyncIterator[bytes]:
    """The pieces, each made in a thread when it is asked for; `stop` is set when nobody asks any more."""
    try:
        async for piece in iterate_in_threadpool(pieces):
            yield piece
    finally:
        stop.set()
