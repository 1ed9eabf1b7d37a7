"""The page for people: everything is there, nothing is loaded, nothing gets out of its place."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from pocketquant.evaluate.page import html_page
from pocketquant.evaluate.pictures import flac, spectrogram_png
from pocketquant.evaluate.result import Depth, Evaluation, Result
from pocketquant.evaluate.sensitivity import Group
from pocketquant.evaluate.statistics import Estimate
from pocketquant.evaluate.teacher import Flip
from pocketquant.evaluate.verdict import judge
from pocketquant.ops.interface import F32

RATE = 24000
EVIL = '<script>alert("x")</script>'


def tone(seconds: float = 0.5) -> F32:
    sound: F32 = (0.3 * np.sin(2 * np.pi * 3000 * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)
    return sound


def evaluation() -> Evaluation:
    reference = Result(
        "float", {"pause_floor": Estimate(-60.0), "wer": Estimate(0.1, 0.05, 0.2)}, audio=[tone()]
    )
    hissing = Result(
        "int4",
        {
            "pause_floor_delta": Estimate(8.0, 6.5, 9.1),
            "wave_snr": Estimate(float("inf"), float("inf"), float("inf")),
            "wer": Estimate(0.12, 0.05, 0.2),
            "wer_delta": Estimate(0.02, -0.02, 0.08),
            "duration_ratio": Estimate(1.01, 0.98, 1.04),
        },
        depths=[Depth("layer 1", 30.0, 1.0), Depth("output", float("inf"), 1.0)],
        flips=[Flip(0.4, True), Flip(3.0, False)],
        heard=[EVIL],
        audio=[tone(0.4)],
    )
    return Evaluation(
        model=f"demo {EVIL}",
        voice="heart",
        temperature=0.0,
        seeds=1,
        sentences=[f"Say {EVIL}"],
        results=[reference, hissing],
        facts={"machine": EVIL},
        sample_rate=RATE,
    )


class Page(HTMLParser):
    """Tags and attributes of a page; complains where they do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def page() -> Page:
    ranking = {"int4": [Group(f"layer {EVIL}", ["x"], 1000, 1e-4, 0.1)]}
    return Page(html_page(evaluation(), ranking))


def test_nothing_runs_and_nothing_is_loaded(page: Page) -> None:
    assert not any(tag in ("script", "link", "iframe") for tag, _ in page.seen)
    for _, attributes in page.seen:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    policy = next(a["content"] for t, a in page.seen if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_the_verdict_is_a_sentence(page: Page) -> None:
    words = " ".join(page.words)
    assert (
        "Audible: pauses hiss, 8.0 dB louder than before. More sentences would be needed to rule out" in words
    )
    assert "exact" in words
    assert "-60.0" in words


def test_every_take_can_be_heard_and_seen(page: Page) -> None:
    sounds = [attributes["src"] for tag, attributes in page.seen if tag == "audio"]
    pictures = [attributes["src"] for tag, attributes in page.seen if tag == "img"]
    assert len(sounds) == len(pictures) == 2
    for uri, seconds in zip(sounds, (0.5, 0.4), strict=True):
        assert uri is not None
        found, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.split(",")[1])), dtype="float32")
        assert rate == RATE
        np.testing.assert_allclose(found, tone(seconds), atol=1e-4)


def test_the_spectrogram_is_a_picture_of_the_sound() -> None:
    data = spectrogram_png(tone(), RATE, seconds=1.0)
    width, height = struct.unpack(">II", data[16:24])
    compressed = re.search(rb"IDAT(.*)....\x00\x00\x00\x00IEND", data, re.DOTALL)
    assert compressed is not None
    pixels = np.frombuffer(zlib.decompress(compressed[1]), np.uint8).reshape(height, width + 1)[:, 1:]
    assert width == 100
    assert not pixels[:, 60:].any()  # after the end
    loudest = pixels[:, 25].argmax()
    assert 1 - (loudest + 0.5) / height == pytest.approx(3000 / (RATE / 2), abs=0.02)


def test_flac_keeps_16_bits() -> None:
    sound = np.array([0, 2, -2, 1 / 32768], np.float32)
    found, _ = soundfile.read(io.BytesIO(flac(sound, RATE)), dtype="int16")
    assert found.tolist() == [0, 32767, -32768, 1]


def test_verdicts() -> None:
    def level(**measures: Estimate) -> str:
        return judge(Result("x", measures)).level

    assert level() == "safe"
    assert level(pause_floor_delta=Estimate(4.0, 3.0, 5.0)) == "careful"
    assert level(wer_delta=Estimate(0.05, -0.01, 0.1)) == "safe"  # chance
    assert level(wer_delta=Estimate(0.05, 0.01, 0.1)) == "audible"
    assert level(duration_ratio=Estimate(0.8, 0.7, 0.9)) == "audible"
    assert level(latent_snr=Estimate(19.0)) == "careful"
    assert level(level_delta=Estimate(-3.0, -3.1, -2.9), eos_flips=Estimate(0.02)) == "audible"
    sentence = judge(Result("x", {"eos_early": Estimate(0.1)})).sentence
    assert sentence == "Audible: 10.0 % of the sentences would end too early. Word errors were not measured."
