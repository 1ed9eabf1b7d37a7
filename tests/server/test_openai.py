"""The addresses of OpenAI's speech API."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from pocketquant.audio import Samples

SPEECH = "/v1/audio/speech"


def decoded(content: bytes, rate: int = 24000) -> Samples:
    samples, found = soundfile.read(io.BytesIO(content), dtype="float32")
    assert found == rate
    return np.asarray(samples)


def test_wav_is_that_of_generate(client: TestClient, spoken: bytes, text: str) -> None:
    body = {"model": "tts-1", "input": text, "voice": "heart", "response_format": "wav", "speed": 1.0}
    answer = client.post(SPEECH, json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.content == spoken


@pytest.mark.parametrize("named", [{}, {"voice": ""}, {"voice": "alloy"}, {"voice": "shimmer"}])
def test_names_of_other_voices_stand_for_the_default_one(
    client: TestClient, spoken: bytes, text: str, named: dict[str, str]
) -> None:
    answer = client.post(SPEECH, json={"input": text, "response_format": "pcm", **named})
    assert answer.headers["content-type"] == "audio/pcm"
    silence = 2 * int(0.2 * 24000)
    assert answer.content == spoken[44:-silence]


@pytest.mark.parametrize(
    ("wanted", "media_type", "container"),
    [
        ({}, "audio/mpeg", "MP3"),
        ({"response_format": "opus"}, "audio/ogg", "OGG"),
        ({"response_format": "flac"}, "audio/flac", "FLAC"),
    ],
)
def test_compressed(
    client: TestClient, spoken: bytes, text: str, wanted: dict[str, str], media_type: str, container: str
) -> None:
    answer = client.post(SPEECH, json={"input": text, **wanted})
    assert answer.headers["content-type"] == media_type
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert file.format == container
    heard, true = decoded(answer.content), np.frombuffer(spoken[44:], "<i2") / np.float32(32768)
    assert abs(len(heard) - len(true)) < 3000  # mp3 pads at both ends
    assert abs(10 * np.log10(np.sum(heard**2) / np.sum(true**2))) < 0.6  # dB; mp3 is 0.4 dB softer


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input: Field required"),
        ({"input": ""}, "input: String should have at least 1 character"),
        ({"input": " "}, "the text is empty"),
        ({"input": "Hi.", "voice": "albaa"}, "did you mean alba"),
        ({"input": "Hi.", "voice": "/etc/passwd"}, "unknown voice '/etc/passwd'"),
        (
            {"input": "Hi.", "response_format": "aac"},
            "response_format: Input should be 'mp3', 'opus', 'flac'",
        ),
        ({"input": "Hi.", "speed": 1.5}, "speed: Input should be less than or equal to 1"),
        ({"input": "Hi.", "stream_format": "sse"}, "stream_format: Input should be 'audio'"),
    ],
)
def test_errors_are_as_their_clients_read_them(
    client: TestClient, body: dict[str, object], words: str
) -> None:
    answer = client.post(SPEECH, json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "words"),
    [("{bad", "body: JSON decode error"), ("[]", "body: Input should be a valid dictionary"), ("", "body: ")],
)
def test_what_is_no_json(client: TestClient, content: str, words: str) -> None:
    answer = client.post(SPEECH, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_what_there_is_to_choose_from(client: TestClient) -> None:
    assert client.get("/v1/audio/voices").json() == {"voices": [{"id": "heart", "name": "heart"}]}
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["demo"]
