"""Voice files and voice prompts against the official package."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from pocketquant.audio import end_on_pause, read_audio, stream_wav, to_pcm16, write_audio
from pocketquant.checkpoint.voice import read_voice, write_voice
from pocketquant.config import catalog
from pocketquant.model.tts import TTSModel

torch = pytest.importorskip("torch")
model_state = pytest.importorskip("pocket_tts.models.model_state")
official_audio = pytest.importorskip("pocket_tts.data.audio")
official_utils = pytest.importorskip("pocket_tts.data.audio_utils")


def test_our_file_in_the_official_package(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    layers = [rng.standard_normal((2, 5, 4, 8)).astype(np.float32) for _ in range(3)]
    write_voice(layers, tmp_path / "ours.safetensors")
    state = model_state._import_model_state(tmp_path / "ours.safetensors", torch.device("cpu"))
    assert list(state) == [f"transformer.layers.{i}.self_attn" for i in range(3)]
    for layer, part in zip(layers, state.values(), strict=True):
        assert part["offset"].dtype == part["pad"].dtype == torch.long
        assert (part["offset"].tolist(), part["pad"].tolist()) == ([5], [0])
        np.testing.assert_array_equal(part["cache"][:, 0].numpy(), layer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_their_file_here(tmp_path: Path, dtype: object) -> None:
    """As the official package leaves it: a cache larger than what is in use, NaN behind the end."""
    state = {}
    for i in range(3):
        cache = torch.full((2, 1, 9, 4, 8), float("nan"), dtype=dtype)
        cache[:, :, :5] = torch.randn(2, 1, 5, 4, 8).to(dtype)
        state[f"transformer.layers.{i}.self_attn"] = {
            "offset": torch.tensor([5]),
            "pad": torch.tensor([0]),
            "cache": cache,
        }
    model_state.export_model_state(state, tmp_path / "theirs.safetensors")
    voice = read_voice(tmp_path / "theirs.safetensors")
    for part, layer in zip(state.values(), voice.layers, strict=True):
        np.testing.assert_array_equal(part["cache"][:, 0, :5].float().numpy(), layer)


def test_end_on_pause_is_the_official_one() -> None:
    rng = np.random.default_rng(2)
    for number in range(300):
        rate = (24000, 16000, 8000, 44100)[number % 4]
        size = int(rng.integers(1, 3 * rate))
        samples = rng.standard_normal(size).astype(np.float32)
        # Loud, quiet and silent stretches, so that the end lies anywhere.
        for _ in range(6):
            start = int(rng.integers(0, size))
            samples[start:] *= np.float32(10.0 ** rng.uniform(-3, 1))
        if number % 5 == 0:
            samples[size // 2 :] = 0
        theirs = official_utils.end_on_pause(torch.from_numpy(samples)[None], rate)[0].numpy()
        ours = end_on_pause(samples, rate)
        assert ours.shape == theirs.shape, (number, size, rate)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(samples).max())


def test_sixteen_bits_are_the_official_ones() -> None:
    samples = np.concatenate(
        [np.linspace(-1.2, 1.2, 100_001), np.random.default_rng(3).uniform(-1, 1, 100_000)]
    ).astype(np.float32)
    theirs = (torch.from_numpy(samples).clamp(-1, 1) * 32767).short().numpy()
    np.testing.assert_array_equal(to_pcm16(samples), theirs)


def test_wav_files_are_byte_for_byte_the_official_ones(tmp_path: Path) -> None:
    samples = np.random.default_rng(4).uniform(-1, 1, 5000).astype(np.float32)
    chunks = np.array_split(samples, 3)
    official_audio.stream_audio_chunks(tmp_path / "theirs.wav", iter(map(torch.from_numpy, chunks)), 24000)
    write_audio(tmp_path / "ours.wav", chunks, 24000)
    assert (tmp_path / "ours.wav").read_bytes() == (tmp_path / "theirs.wav").read_bytes()


def test_the_stream_is_byte_for_byte_the_official_one(tmp_path: Path) -> None:
    class Pipe:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

        def flush(self) -> None:
            pass

        def close(self) -> None:
            pass

        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            return len(self.data)

        def __enter__(self) -> Pipe:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    chunks = np.array_split(np.random.default_rng(4).uniform(-1, 1, 5000).astype(np.float32), 3)
    theirs, ours = Pipe(), Pipe()
    official_audio.stream_audio_chunks(theirs, iter(map(torch.from_numpy, chunks)), 24000)
    stream_wav(chunks, 24000, ours)  # type: ignore[arg-type]
    assert ours.data == theirs.data


@pytest.mark.parametrize(("ops", "tolerance"), [("reference", 1e-4), ("native", 1e-4)])
def test_the_voice_in_the_box_says_the_same(
    monkeypatch: pytest.MonkeyPatch, ops: str, tolerance: float
) -> None:
    """From text to sound, at temperature 0. Long texts drift apart: each frame feeds the next one."""
    if ops == "native":
        pytest.importorskip("pocketquant.ops.native")
    monkeypatch.setenv("POCKETQUANT_OPS", ops)
    monkeypatch.chdir(catalog.demo_folder())  # the official package takes the config's paths from here
    official = importlib.import_module("pocket_tts").TTSModel.load_model(config="demo.yaml")
    model = TTSModel.load_model("demo")
    theirs_voice, our_voice = (m.get_state_for_audio_prompt("heart.safetensors") for m in (official, model))
    for text in ("The old clock.", "please wait here", "Nobody knew. The train leaves in twenty minutes!"):
        theirs = official.generate_audio(theirs_voice, text).numpy()
        ours = model.generate_audio(our_voice, text)
        assert ours.shape == theirs.shape
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(f"{ops}: {text!r}: {error:.1e} of the peak")
        assert error < tolerance


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_reading_is_the_official_one(tmp_path: Path, channels: int, suffix: str) -> None:
    import soundfile

    samples = np.random.default_rng(6).uniform(-1, 1, (5000, channels)).astype(np.float32)
    path = tmp_path / f"recording{suffix}"
    soundfile.write(path, samples, 22050, subtype="PCM_16")
    theirs, rate = official_audio.audio_read(path)
    ours, our_rate = read_audio(path)
    assert our_rate == rate
    np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=0, atol=1e-7)


def test_resampling_is_close_to_the_official_one() -> None:
    """soxr here, SciPy's polyphase filter there: the same below their different band edges."""
    from pocketquant.audio import resample

    rng = np.random.default_rng(7)
    time = np.arange(44100) / 44100
    tones = rng.uniform(100, 8000, 20)
    samples = sum(np.sin(2 * np.pi * tone * time) for tone in tones).astype(np.float32) / 20
    theirs = official_utils.convert_audio(torch.from_numpy(samples)[None], 44100, 24000, 1)[0].numpy()
    ours = resample(samples, 44100, 24000)
    assert ours.shape == theirs.shape
    inner = slice(1000, -1000)
    noise = float(np.mean((ours[inner] - theirs[inner]) ** 2) / np.mean(theirs[inner] ** 2))
    print(f"{10 * np.log10(noise):.1f} dB")
    assert 10 * np.log10(noise) < -50
