"""A server on the voice in the box, and what it has to say."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from pocketquant.audio import wav_stream
from pocketquant.checkpoint.voice import VoiceState
from pocketquant.model.tts import TTSModel
from pocketquant.server.app import create_app


@pytest.fixture(scope="session")
def text() -> str:
    return "Hello there."


@pytest.fixture(scope="session")
def origin() -> str:
    """A page from elsewhere that may use the server."""
    return "http://localhost:3000"


@pytest.fixture(scope="session")
def model() -> TTSModel:
    return TTSModel.load_model("demo", seed=1)


@pytest.fixture(scope="session")
def voice(model: TTSModel) -> VoiceState:
    return model.get_state_for_audio_prompt(model.default_voice)


@pytest.fixture(scope="session")
def client(model: TTSModel, voice: VoiceState, origin: str) -> TestClient:
    return TestClient(create_app(model, voice, origins=[origin]))


@pytest.fixture(scope="session")
def spoken(model: TTSModel, voice: VoiceState, text: str) -> bytes:
    """What has to come: the stream of `generate`."""
    return b"".join(wav_stream(model.generate_audio_stream(voice, text), model.sample_rate))
