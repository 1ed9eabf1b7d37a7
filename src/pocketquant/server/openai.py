"""The same speech for clients of OpenAI's speech API (Open WebUI, Home Assistant, OpenAI's own libraries).

    POST /v1/audio/speech   JSON `input` and, if wanted, `voice`, `response_format`; answers with sound as it is made
    GET  /v1/audio/voices   the predefined voices, for clients that let their user choose
    GET  /v1/models         the one model there is

Fields, formats and error answers are those of https://platform.openai.com/docs/api-reference/audio/createSpeech. Any
`model` is taken, as clients insist on sending one, and `instructions` are not followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from pocketquant.audio import Samples, encoded_stream, to_pcm16
from pocketquant.config import catalog
from pocketquant.errors import PocketQuantError
from pocketquant.model.tts import TTSModel
from pocketquant.server.stream import Encoder, spoken
from pocketquant.server.voices import Voices

PREFIX = "/v1/"

# fmt: off
FOREIGN_VOICES = frozenset((
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
))
# fmt: on
"""OpenAI's own voices. Many clients know no others, so these names stand for the server's default voice."""

PCM_RATE = 24000
"""Hz of `pcm`, which has no header to say so."""


def _pcm(chunks: Iterator[Samples], sample_rate: int) -> Iterator[bytes]:
    if sample_rate != PCM_RATE:
        raise PocketQuantError(
            f"response_format: pcm is {PCM_RATE} Hz, this model speaks at {sample_rate} Hz; ask for wav"
        )
    return (to_pcm16(chunk).tobytes() for chunk in chunks)


# response_format -> media type, how it is encoded
FORMATS: dict[str, tuple[str, Encoder]] = {
    "mp3": ("audio/mpeg", partial(encoded_stream, suffix=".mp3")),
    "opus": ("audio/ogg", partial(encoded_stream, suffix=".opus")),
    "flac": ("audio/flac", partial(encoded_stream, suffix=".flac")),
    "wav": ("audio/wav", partial(encoded_stream, suffix=".wav")),
    "pcm": ("audio/pcm", _pcm),
}


class Speech(BaseModel):
    """The body of a request for speech."""

    input: str = Field(min_length=1, description="What to say.")
    model: str = Field("", description="Anything: there is one model.")
    voice: str = Field(
        "", description="A predefined voice by name, or an http://, https:// or hf:// address."
    )
    response_format: Literal["mp3", "opus", "flac", "wav", "pcm"] = Field(
        "mp3", description="wav and pcm (16 bits, mono, 24 kHz, no header) have the first sound soonest."
    )
    speed: float = Field(1, ge=1, le=1, description="The model has one speed.")
    stream_format: Literal["audio"] = Field("audio", description="Events (sse) are not sent.")


def router(model: TTSModel, voices: Voices) -> APIRouter:
    """The addresses above for a model."""
    routes = APIRouter()

    @routes.post(f"{PREFIX}audio/speech", response_class=StreamingResponse)
    def speech(request: Speech) -> StreamingResponse:
        """Say a text."""
        own = request.voice and (catalog.is_voice(request.voice) or request.voice not in FOREIGN_VOICES)
        voice = voices.named(request.voice) if own else voices.default
        media_type, encode = FORMATS[request.response_format]
        return spoken(model, voice, request.input, encode, media_type, f"speech.{request.response_format}")

    @routes.get(f"{PREFIX}audio/voices")
    def voices_to_choose_from() -> dict[str, list[dict[str, str]]]:
        names = () if model.language is None else catalog.voices_of(model.language)
        return {"voices": [{"id": name, "name": name} for name in names]}

    @routes.get(f"{PREFIX}models")
    def models() -> dict[str, object]:
        name = model.language or "pocket-tts"
        return {
            "object": "list",
            "data": [{"id": name, "object": "model", "created": 0, "owned_by": "pocketquant"}],
        }

    return routes


def field_error(error: Mapping[str, Any]) -> str:
    """What pydantic found wrong, in one line that begins with the field's name (or "body" for the whole)."""
    names = [part for part in error["loc"] if isinstance(part, str)]
    return f"{names[-1]}: {error['msg']}"


def refusal(message: str) -> JSONResponse:
    """An error as OpenAI's clients read it: status 400."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=400)
