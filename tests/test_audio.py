from __future__ import annotations

import io
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pocketquant.audio import (
    FORMATS,
    Samples,
    encoded_stream,
    end_on_pause,
    read_audio,
    resample,
    stream_wav,
    to_pcm16,
    wav_header,
    write_audio,
)
from pocketquant.errors import AudioError, PocketQuantError

RATE = 24000


def tone(seconds: float = 1.0, rate: int = RATE, pitch: float = 440.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix", FORMATS)
def test_written_and_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sound{suffix}"
    samples = tone(2.0)
    assert write_audio(path, np.array_split(samples, 25), RATE) == samples.size
    back, rate = read_audio(path)
    assert rate == RATE
    # A fifth of a second of silence follows; mp3 adds its own padding at both ends.
    assert abs(back.size - 1.1 * samples.size) < (3000 if suffix == ".mp3" else 1)
    if suffix in (".wav", ".flac"):
        np.testing.assert_array_equal(np.rint(back * 32768)[: samples.size], to_pcm16(samples))
        assert not back[samples.size :].any()
    else:
        middle = back[RATE // 2 : RATE]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
        assert abs(np.argmax(spectrum) * RATE / middle.size - 440) < 4
        assert 0.4 < np.abs(middle).max() < 0.6


@pytest.mark.parametrize("suffix", FORMATS)
def test_encoded_while_it_is_made(suffix: str) -> None:
    """Pieces come before the sound is over (flac in one), and together they are a file that can be read."""
    samples, made = tone(4.0), 0

    def chunks() -> Iterator[Samples]:
        nonlocal made
        for chunk in np.array_split(samples, 50):
            made += 1
            yield chunk

    stream = encoded_stream(chunks(), RATE, suffix)
    first = next(stream)
    assert first
    assert made < 50 or suffix == ".flac"
    back, rate = soundfile.read(io.BytesIO(b"".join([first, *stream])), dtype="float32")
    assert rate == RATE
    assert abs(back.size - 1.05 * samples.size) < 3000
    if suffix in (".wav", ".flac"):
        np.testing.assert_array_equal(np.rint(back * 32768)[: samples.size], to_pcm16(samples))


def test_an_old_libsndfile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(soundfile, "available_subtypes", lambda _: {})
    with pytest.raises(AudioError, match="this libsndfile cannot write MP3; update soundfile"):
        encoded_stream([], RATE, ".mp3")  # before anything is asked for
    with pytest.raises(AudioError, match="this libsndfile cannot write OGG"):
        write_audio(tmp_path / "sound.opus", [tone()], RATE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_long_chunk(tmp_path: Path, suffix: str) -> None:
    """libsndfile's Vorbis encoder breaks down on very long blocks."""
    path = tmp_path / f"sound{suffix}"
    write_audio(path, [tone(60.0)], RATE)
    assert abs(soundfile.info(path).duration - 60.2) < 0.2


def test_sixteen_bits_are_clipped_and_cut_towards_zero() -> None:
    samples = np.array([0, 1, -1, 1.5, -2, 0.99999, 0.5, -0.5, 1e-9], np.float32)
    assert to_pcm16(samples).tolist() == [0, 32767, -32767, 32767, -32767, 32766, 16383, -16383, 0]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("suffix", FORMATS)
def test_no_half_file(tmp_path: Path, failure: type[BaseException], suffix: str) -> None:
    def chunks() -> Iterator[Samples]:
        yield tone(0.5)
        assert len(list(tmp_path.iterdir())) == 1  # a temporary file, growing
        raise failure

    path = tmp_path / f"sound{suffix}"
    with pytest.raises(failure):
        write_audio(path, chunks(), RATE)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"older")
    with pytest.raises(failure):
        write_audio(path, iter_failing(failure), RATE)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def iter_failing(failure: type[BaseException]) -> Iterator[Samples]:
    yield tone(0.5)
    raise failure


def test_chunks_are_written_as_they_come(tmp_path: Path) -> None:
    sizes: list[int] = []

    def chunks() -> Iterator[Samples]:
        for _ in range(3):
            yield tone(1.0)
            (temporary,) = tmp_path.iterdir()
            sizes.append(temporary.stat().st_size)

    write_audio(tmp_path / "sound.wav", chunks(), RATE)
    assert sizes[0] < sizes[1] < sizes[2]


def test_bad_destinations(tmp_path: Path) -> None:
    for name in ("sound", "sound.aac"):
        with pytest.raises(
            AudioError, match=r"use \.wav, \.flac, \.ogg, \.opus, \.mp3 \(or - for a stream\)"
        ):
            write_audio(tmp_path / name, [tone()], RATE)
    with pytest.raises(PocketQuantError, match="does not exist"):
        write_audio(tmp_path / "nowhere/sound.wav", [tone()], RATE)
    with pytest.raises(PocketQuantError, match="is a folder"):
        write_audio(tmp_path, [tone()], RATE)


class Recorder(io.BytesIO):
    """Notes how much there was at each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[int] = []

    def flush(self) -> None:
        self.flushed.append(len(self.getvalue()))


def test_stream() -> None:
    output = Recorder()
    assert stream_wav(np.array_split(tone(1.0), 2), RATE, output) == RATE
    data = output.getvalue()
    assert output.flushed == [44, 44 + RATE, 44 + 2 * RATE, 44 + 2 * RATE + RATE // 5 * 2]
    assert data[:44] == wav_header(RATE)
    assert struct.unpack("<I", data[40:44])[0] == 2_000_000_000
    np.testing.assert_array_equal(np.frombuffer(data[44 : 44 + 2 * RATE], "<i2"), to_pcm16(tone(1.0)))


def test_header_with_a_known_length() -> None:
    data = to_pcm16(tone(0.1)).tobytes()
    with wave.open(io.BytesIO(wav_header(RATE, len(data)) + data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        assert file.readframes(10**6) == data


def test_channels_are_averaged_and_length_can_be_limited(tmp_path: Path) -> None:
    path = tmp_path / "stereo.flac"
    soundfile.write(path, np.stack([tone(), np.zeros(RATE, np.float32)], axis=1), RATE, subtype="PCM_24")
    samples, _ = read_audio(path)
    assert samples.shape == (RATE,)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone() / 2, atol=1e-6)
    assert read_audio(path, seconds=0.25)[0].shape == (RATE // 4,)


def write(path: Path, samples: Any, **options: Any) -> None:
    soundfile.write(path, samples, RATE, **options)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "is empty"),
        (tone(0.05), "lasts only 50 ms"),
        (np.full(RATE, np.nan, np.float32), "NaN or infinite"),
        (np.full(RATE, np.inf, np.float32), "NaN or infinite"),
    ],
)
def test_recordings_that_show_no_voice(tmp_path: Path, samples: Samples, message: str) -> None:
    path = tmp_path / "recording.wav"
    write(path, samples, subtype="FLOAT")
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)


def test_no_recording(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        read_audio(tmp_path / "nothing.wav")
    with pytest.raises(AudioError, match="is a folder"):
        read_audio(tmp_path)
    for name, content in {
        "empty.wav": b"",
        "text.mp3": b"hello " * 100,
        "cut.wav": b"RIFF\x24\0\0\0WAVEfmt ",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match="cannot be read as a recording") as caught:
            read_audio(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_resampling_keeps_length_and_pitch(rate: int) -> None:
    result = resample(tone(1.0, rate), rate, RATE)
    assert result.dtype == np.float32
    assert abs(result.size - RATE) <= 1
    inner = slice(2000, -2000)
    np.testing.assert_allclose(result[:RATE][inner], tone(1.0)[: result.size][inner], atol=2e-3)
    assert resample(result, RATE, RATE) is result


def test_a_prompt_ends_in_a_pause() -> None:
    quiet = (np.random.default_rng(0).standard_normal(RATE) * 1e-4).astype(np.float32)
    prompt = np.concatenate([tone(1.0), quiet])
    result = end_on_pause(prompt, RATE)
    assert result.size == RATE + int(0.08 * RATE)
    assert not result[RATE:].any()
    fade = int(0.02 * RATE)
    np.testing.assert_array_equal(result[: RATE - fade], prompt[: RATE - fade])
    assert abs(result[RATE - 1]) < 1e-6
    np.testing.assert_array_equal(prompt[:RATE], tone(1.0))  # the argument is left alone


def test_a_prompt_that_ends_on_speech_gets_a_pause() -> None:
    result = end_on_pause(tone(0.5), RATE)
    assert result.size == RATE // 2 + int(0.08 * RATE)


def test_silence_and_snippets() -> None:
    assert end_on_pause(np.zeros(RATE, np.float32), RATE).size == RATE + int(0.08 * RATE)
    snippet = tone(0.01)
    assert end_on_pause(snippet, RATE) is snippet
