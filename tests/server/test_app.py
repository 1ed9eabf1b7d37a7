"""The server's answers, with the voice in the box."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pocketquant.audio import write_audio
from pocketquant.config import catalog
from pocketquant.server.stream import until_left


def test_health(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "healthy"}


def test_the_sound_is_that_of_generate(client: TestClient, spoken: bytes, text: str) -> None:
    answer = client.post("/tts", data={"text": text})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.content == spoken


def test_a_voice_by_name_or_as_a_file(client: TestClient, spoken: bytes, text: str) -> None:
    assert client.post("/tts", data={"text": text, "voice_url": "heart"}).content == spoken
    file = catalog.demo_folder() / "heart.safetensors"
    with file.open("rb") as opened:
        assert client.post("/tts", data={"text": text}, files={"voice_wav": opened}).content == spoken


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"text": " \n"}, "Text cannot be empty"),
        ({"text": "Hi.", "voice_url": "/etc/passwd"}, "unknown voice '/etc/passwd'; give a predefined voice"),
        ({"text": "Hi.", "voice_url": "albaa"}, "did you mean alba"),
        ({"text": "Hi.", "voice_url": "alba"}, "no predefined voice 'alba'"),
    ],
)
def test_what_cannot_be_said(client: TestClient, fields: dict[str, str], words: str) -> None:
    answer = client.post("/tts", data=fields)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


def test_no_text_at_all(client: TestClient) -> None:
    assert client.post("/tts", data={}).status_code == 422


def test_uploads_that_are_no_voice(client: TestClient, tmp_path: Path, text: str) -> None:
    write_audio(tmp_path / "me.wav", [np.zeros(2400, np.float32)], 24000)
    (tmp_path / "empty.safetensors").touch()

    def upload(name: str, **fields: str) -> str:
        with (tmp_path / name).open("rb") as file:
            answer = client.post("/tts", data={"text": text, **fields}, files={"voice_wav": file})
        assert answer.status_code == 400
        return str(answer.json()["detail"])

    assert "has one voice, 'heart', and cannot clone others" in upload("me.wav")
    assert upload("empty.safetensors").startswith("empty.safetensors: is empty")  # its own name, not ours
    assert upload("me.wav", voice_url="heart") == "Cannot provide both voice_url and voice_wav"


def test_only_named_pages_from_elsewhere(client: TestClient, origin: str) -> None:
    allowed = "access-control-allow-origin"
    assert client.get("/health", headers={"Origin": origin}).headers[allowed] == origin
    assert allowed not in client.get("/health", headers={"Origin": "http://elsewhere"}).headers


def test_the_page_says_which_voice_speaks_and_loads_nothing(client: TestClient) -> None:
    page = client.get("/").text
    assert catalog.DEMO_NOTE in page
    assert "voice_wav" not in re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)  # it cannot clone
    assert not re.search(r"(src|href)=", page)


def test_who_leaves_ends_the_work() -> None:
    stop, made = threading.Event(), []

    def pieces() -> Iterator[bytes]:
        for number in range(100):
            made.append(number)
            yield b"x"

    async def listen() -> None:
        stream = until_left(pieces(), stop)
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(listen())
    assert stop.is_set()
    assert made == [0]


def test_many_at_once(client: TestClient, spoken: bytes, text: str) -> None:
    heard: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: heard.append(client.post("/tts", data={"text": text}).content))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [spoken] * 4
