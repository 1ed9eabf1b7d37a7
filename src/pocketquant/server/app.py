"""Text in by HTTP, speech out as a WAV stream.

    GET  /         a page to try it with
    GET  /health   {"status": "healthy"}
    POST /tts      form fields `text` and, if wanted, `voice_url` or the file `voice_wav`; answers with audio/wav

Addresses, fields and answers are those of the official server (`pocket_tts/main.py`), so its clients need no change.
A request gets its first sound as soon as it exists; a listener who leaves ends the work on what he would have heard.
`openai.py` has the addresses of OpenAI's speech API beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import python_multipart  # noqa: F401  # FastAPI wants it for forms, and says so late
from fastapi import FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from pocketquant.audio import wav_stream
from pocketquant.checkpoint.voice import VoiceState
from pocketquant.errors import PocketQuantError
from pocketquant.model.tts import TTSModel
from pocketquant.server import openai
from pocketquant.server.page import page
from pocketquant.server.stream import spoken
from pocketquant.server.voices import Voices
from pocketquant.version import __version__


def create_app(model: TTSModel, default_voice: VoiceState, *, origins: Sequence[str] = ()) -> FastAPI:
    """The application.

    Args:
        model: what speaks; requests share it.
        default_voice: speaks where a request names no voice.
        origins: web pages from elsewhere that may use the server (CORS), such as "http://localhost:3000".

    Returns:
        A FastAPI application. Errors of ours are answers with status 400 and the line as `detail` (under
        /v1 as `error.message`).
    """
    app = FastAPI(title="pocketquant", description="Pocket TTS in 8 or 4 bits.", version=__version__)
    app.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"])
    voices = Voices(model, default_voice)
    app.include_router(openai.router(model, voices))

    @app.exception_handler(PocketQuantError)
    def refuse(request: Request, error: PocketQuantError) -> JSONResponse:
        if request.url.path.startswith(openai.PREFIX):
            return openai.refusal(str(error))
        return JSONResponse({"detail": str(error)}, status_code=400)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(request: Request, error: RequestValidationError) -> Response:
        if request.url.path.startswith(openai.PREFIX):
            return openai.refusal("; ".join(map(openai.field_error, error.errors())))
        return await request_validation_exception_handler(request, error)

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
        voice = voices.default
        if voice_url is not None:
            voice = voices.named(voice_url)
        elif voice_wav is not None:
            voice = voices.uploaded(voice_wav)
        return spoken(model, voice, text, wav_stream, "audio/wav", "generated_speech.wav")

    return app
