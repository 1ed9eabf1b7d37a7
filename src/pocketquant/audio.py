"""Sound files in, sound files out; everything in between is mono float32 at one sample rate.

Reading goes through soundfile (wav, flac, mp3, ogg and whatever else its libsndfile knows), resampling
through soxr. The official package resamples with SciPy's polyphase filter instead: the two differ below -60
dB of the signal away from the band edge, which no voice prompt can tell. Everything else (mixing down, the
pause at a prompt's end, 16-bit rounding, the silence at a file's end) is as in the official package
(`data/audio.py`, `data/audio_utils.py`).
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from pocketquant.errors import AudioError, PocketQuantError
from pocketquant.files import atomic_path

Samples = NDArray[np.float32]

TRAILING_SILENCE = 0.2
"""Seconds of silence behind what was spoken: some players swallow the end of a file."""

MIN_SECONDS = 0.1
"""A recording shorter than this cannot show a voice."""

UNKNOWN_LENGTH = 2_000_000_000
"""Bytes of sound that the header of a WAV stream promises, as nobody knows yet (the official figure)."""

# suffix -> (container, encoding) in libsndfile's names
FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}

STREAM_OPTIONS: dict[str, dict[str, Any]] = {
    # Players take the length of a stream from its size, so every second must have as many bytes (80 kbit/s).
    ".mp3": {"bitrate_mode": "CONSTANT", "compression_level": 0.5},
}


def read_audio(path: str | Path, *, seconds: float | None = None) -> tuple[Samples, int]:
    """Read a recording.

    Args:
        path: a wav, flac, mp3 or ogg file.
        seconds: read no more than the first so many.

    Returns:
        The samples, float32 `[samples]` within about +-1, channels averaged; and the sample rate in Hz.

    Raises:
        AudioError: there is no such file, it is no recording, or `check_samples` refuses what it holds.
    """
    import soundfile

    path = Path(path)
    if not path.is_file():
        problem = "is a folder, not a recording" if path.is_dir() else "no such file"
        raise AudioError(f"{path}: {problem}; give the path of a wav, flac, mp3 or ogg file")
    try:
        with soundfile.SoundFile(path) as file:
            rate = int(file.samplerate)
            frames = -1 if seconds is None else int(seconds * rate)
            data = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise AudioError(
            f"{path}: cannot be read as a recording ({_reason(error)}); convert it to wav, flac, mp3 or ogg"
        ) from error
    samples = data[:, 0] if data.shape[1] == 1 else data.mean(axis=1, dtype=np.float32)
    check_samples(samples, rate, str(path))
    return np.ascontiguousarray(samples), rate


def check_samples(samples: Samples, rate: int, name: str) -> None:
    """Refuse a recording that is empty, too short to show a voice, or holds NaN or infinity.

    Raises:
        AudioError: the line says which, and what to do.
    """
    if samples.size == 0:
        raise AudioError(f"{name}: the recording is empty; give one of a few seconds of speech")
    if samples.size < MIN_SECONDS * rate:
        raise AudioError(
            f"{name}: lasts only {1000 * samples.size / rate:.0f} ms; give a recording of a few seconds"
        )
    if not np.isfinite(samples).all():
        raise AudioError(
            f"{name}: the recording holds NaN or infinite samples; export it again as 16-bit wav"
        )


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """The same sound at another sample rate: float32 `[samples * to_rate / from_rate]`."""
    if from_rate == to_rate:
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, from_rate, to_rate, quality="HQ"), np.float32)


def end_on_pause(
    samples: Samples,
    sample_rate: int,
    *,
    pause: float = 0.08,
    fade: float = 0.02,
    floor_db: float = 35.0,
) -> Samples:
    """Let a voice prompt end in the pause between two words, as the prompts of the training did.

    A prompt that stops amid a word makes the model finish that word first; a long silence delays its first
    one. So the silent end is cut (20 ms frames more than `floor_db` below the loudest one), the last `fade`
    seconds of the rest are faded out, and `pause` seconds of silence follow.

    Source: `end_on_pause` of the official package.

    Args:
        samples: float32 `[samples]`; it is not changed. Less than one 20 ms frame comes back as it is.
    """
    frame = max(1, int(0.02 * sample_rate))
    count = samples.shape[-1] // frame
    if count == 0:
        return samples
    power = np.square(samples[: count * frame]).reshape(count, frame).mean(axis=1, dtype=np.float32)
    level = 20 * np.log10(np.sqrt(power) + np.float32(1e-12))
    end = (int(np.flatnonzero(level > level.max() - floor_db)[-1]) + 1) * frame
    faded = min(int(fade * sample_rate), end)
    result = np.zeros(end + int(pause * sample_rate), np.float32)
    result[:end] = samples[:end]
    result[end - faded : end] *= np.linspace(1, 0, faded, dtype=np.float32)
    return result


def to_pcm16(samples: Samples) -> NDArray[np.int16]:
    """float32 samples as 16-bit integers: clipped to +-1, times 32767, rounded towards zero."""
    scaled: Samples = np.clip(samples, -1, 1) * np.float32(32767)
    return scaled.astype("<i2")


def wav_header(sample_rate: int, data_bytes: int = UNKNOWN_LENGTH) -> bytes:
    """The 44 bytes that make 16-bit mono samples a WAV file; `data_bytes` follow."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + data_bytes, b"WAVE",
        b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16,
        b"data", data_bytes,
    )  # fmt: skip


def wav_stream(chunks: Iterable[Samples], sample_rate: int) -> Iterator[bytes]:
    """A WAV file of unknown length, piece by piece: a header, each chunk as it comes, the closing silence."""
    yield wav_header(sample_rate)
    for chunk in chunks:
        yield to_pcm16(chunk).tobytes()
    yield bytes(2 * int(TRAILING_SILENCE * sample_rate))


def encoded_stream(chunks: Iterable[Samples], sample_rate: int, suffix: str) -> Iterator[bytes]:
    """A file of one of FORMATS, piece by piece as its sound is made, with the closing silence; `.wav` is `wav_stream`.

    What an encoder would put at the beginning in the end, the length, stays unknown. The headers of flac cannot do
    without, so flac comes in one piece.

    Raises:
        AudioError: this libsndfile cannot write the format; raised by this call, before the first piece is asked for.
    """
    if suffix == ".wav":
        return wav_stream(chunks, sample_rate)
    _check_format(Path(f"stream{suffix}"))
    return _encoded(chunks, sample_rate, suffix)


def _encoded(chunks: Iterable[Samples], sample_rate: int, suffix: str) -> Iterator[bytes]:
    buffer, sent = io.BytesIO(), 0
    with _sound_file(buffer, Path(f"stream{suffix}"), sample_rate, STREAM_OPTIONS.get(suffix)) as sink:
        for chunk in chunks:
            sink.write(chunk)
            piece = b"" if suffix == ".flac" else bytes(buffer.getbuffer()[sent:])
            if piece:
                yield piece
                sent += len(piece)
        sink.write(np.zeros(int(TRAILING_SILENCE * sample_rate), np.float32))
    yield bytes(buffer.getbuffer()[sent:])


class _Sink(Protocol):
    def write(self, samples: Samples) -> None: ...


def check_destination(path: str | Path) -> Path:
    """Refuse a file that `write_audio` could not write, before the work that leads up to it.

    Raises:
        AudioError: an unknown suffix, a folder that does not exist, or `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise AudioError(f"{path}: is a folder; give the name of a file in it")
    if path.suffix.lower() not in FORMATS:
        suffix = path.suffix or "a file without suffix"
        raise AudioError(f"{path}: cannot write {suffix}; use {', '.join(FORMATS)} (or - for a stream)")
    if not path.parent.is_dir():
        raise AudioError(f"{path}: the folder {path.parent} does not exist; create it first")
    return path


def write_audio(path: str | Path, chunks: Iterable[Samples], sample_rate: int) -> int:
    """Write sound to a file as it is made; the suffix says how: .wav, .flac, .ogg, .opus or .mp3.

    The file has its name only when it is whole: an error in `chunks`, Ctrl-C or a full disk leave nothing
    behind (or the older file). 200 ms of silence are added at the end.

    Returns:
        The number of samples that `chunks` gave, the silence not counted.

    Raises:
        AudioError: an unknown suffix, no such folder.
        PocketQuantError: the file cannot be written.
    """
    path = check_destination(path)
    written = 0
    with atomic_path(path) as temporary, _sound_file(temporary, path, sample_rate) as sink:
        for chunk in chunks:
            sink.write(chunk)
            written += chunk.size
        sink.write(np.zeros(int(TRAILING_SILENCE * sample_rate), np.float32))
    return written


def _check_format(path: Path) -> tuple[str, str]:
    """Container and encoding of a file name, if they can be written."""
    import soundfile

    container, encoding = FORMATS[path.suffix.lower()]
    if encoding not in soundfile.available_subtypes(container):
        raise AudioError(f"{path}: this libsndfile cannot write {container}; update soundfile, or write .wav")
    return container, encoding


@contextmanager
def _sound_file(
    target: Path | BinaryIO, path: Path, sample_rate: int, options: Mapping[str, Any] | None = None
) -> Iterator[_Sink]:
    """A sink that encodes into `target`; the suffix of `path`, which errors name, says how, `options` how well."""
    import soundfile

    container, encoding = _check_format(path)

    class Sink:
        def write(self, samples: Samples) -> None:
            data = to_pcm16(samples) if encoding == "PCM_16" else np.clip(samples, -1, 1)
            try:
                # libsndfile's Vorbis encoder overflows its stack on long blocks.
                for start in range(0, len(data), 4096):
                    file.write(data[start : start + 4096])
            except soundfile.SoundFileError as error:
                raise PocketQuantError(
                    f"{path}: cannot be written ({_reason(error)}); is the disk full?"
                ) from error

    try:
        file = soundfile.SoundFile(
            target,
            "w",
            samplerate=sample_rate,
            channels=1,
            format=container,
            subtype=encoding,
            **options or {},
        )
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{path}: cannot be written as {container} at {sample_rate} Hz ({_reason(error)})"
        ) from error
    with file:
        yield Sink()


def stream_wav(chunks: Iterable[Samples], sample_rate: int, output: BinaryIO | None = None) -> int:
    """Write sound as a WAV stream, each chunk at once; to standard output unless `output` says otherwise.

    Returns:
        The number of samples that `chunks` gave.
    """
    output = sys.stdout.buffer if output is None else output
    written = 0

    def counted() -> Iterator[Samples]:
        nonlocal written
        for chunk in chunks:
            written += chunk.size
            yield chunk

    for data in wav_stream(counted(), sample_rate):
        output.write(data)
        output.flush()
    return written


def _reason(error: Exception) -> str:
    text = str(error)
    return text.rsplit("': ", 1)[-1].rstrip(".") if text else type(error).__name__
