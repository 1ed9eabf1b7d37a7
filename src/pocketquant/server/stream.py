"""An answer that begins with its first sound, and ends its work when nobody listens any more."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator

from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from pocketquant.audio import Samples
from pocketquant.checkpoint.voice import VoiceState
from pocketquant.model.tts import TTSModel

Encoder = Callable[[Iterator[Samples], int], Iterator[bytes]]
"""Sound as it comes, and its rate in Hz, to bytes as they come."""


def spoken(
    model: TTSModel, voice: VoiceState, text: str, encode: Encoder, media_type: str, filename: str
) -> StreamingResponse:
    """A text as sound, encoded as it is made.

    Raises:
        TextError: nothing to be spoken.
    """
    stop = threading.Event()
    sound = model.generate_audio_stream(voice, text, stop=stop)
    return StreamingResponse(
        until_left(encode(sound, model.sample_rate), stop),
        media_type=media_type,
        headers={"Content-Disposition": f"attachment; filename={filename}"},
    )


async def until_left(pieces: Iterator[bytes], stop: threading.Event) -> AsyncIterator[bytes]:
    """The pieces, each made in a thread when it is asked for; `stop` is set when nobody asks any more."""
    try:
        async for piece in iterate_in_threadpool(pieces):
            yield piece
    finally:
        stop.set()
