"""The whole way from text to sound, with the small voice that comes with the package."""

from __future__ import annotations

import gc
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pocketquant.checkpoint import hub
from pocketquant.checkpoint.voice import VoiceState, read_voice
from pocketquant.config import catalog
from pocketquant.errors import (
    AudioError,
    CheckpointError,
    ConfigError,
    PocketQuantError,
    RecipeError,
    TextError,
    VoiceError,
)
from pocketquant.model.tts import TTSModel, export_model_state

SHORT = "The old clock."
LONG = "Her grandmother baked a warm apple pie. The train leaves in twenty minutes. Please wait here."
DEMO = catalog.demo_folder()


@pytest.fixture(scope="module")
def model() -> TTSModel:
    return TTSModel.load_model("demo", seed=1)


@pytest.fixture(scope="module")
def noisy() -> TTSModel:
    """The same with noise: the config in the box says temperature 0."""
    return TTSModel.load_model("demo", temp=0.5, seed=1)


@pytest.fixture(scope="module")
def voice(model: TTSModel) -> VoiceState:
    return model.get_state_for_audio_prompt("heart")


def test_the_voice_in_the_box_speaks(model: TTSModel, voice: VoiceState) -> None:
    assert (model.sample_rate, model.device, model.language) == (24000, "cpu", "demo")
    assert (model.temp, model.eos_threshold) == (0.0, 0.0)
    assert (model.default_voice, model.default_text[:3]) == ("heart", "The")
    audio = model.generate_audio(voice, SHORT)
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    assert audio.size % model.config.frame_size == 0
    assert 0.5 < audio.size / model.sample_rate < 4
    assert 0.05 < np.abs(audio).max() < 1.5
    assert abs(audio[0]) < 1e-6  # the first 5 ms fade in


def test_chunks_are_the_whole_bit_for_bit(model: TTSModel, voice: VoiceState) -> None:
    chunks = list(model.generate_audio_stream(voice, LONG))
    assert len(chunks) > 1
    np.testing.assert_array_equal(np.concatenate(chunks), model.generate_audio(voice, LONG))


def test_the_first_chunk_leaves_before_the_second_frame(
    voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TTSModel.load_model("demo")
    go_on = threading.Event()
    step = model.speech.flow_lm.step
    frames: list[int] = []

    def slow_step(*arguments: Any) -> Any:
        if frames:
            assert go_on.wait(30)
        frames.append(1)
        return step(*arguments)

    monkeypatch.setattr(model.speech.flow_lm, "step", slow_step)
    stream = model.generate_audio_stream(voice, SHORT)
    assert next(stream).size == model.config.frame_size
    assert len(frames) == 1
    go_on.set()
    assert sum(chunk.size for chunk in stream) > 0


def test_a_seed_decides(noisy: TTSModel, voice: VoiceState) -> None:
    first = noisy.generate_audio(voice, SHORT)
    np.testing.assert_array_equal(first, noisy.generate_audio(voice, SHORT))
    other = TTSModel.load_model("demo", temp=0.5, seed=2).generate_audio(voice, SHORT)
    assert first.size != other.size or not np.array_equal(first, other)


def test_without_a_seed_nothing_is_said_twice_the_same_way(voice: VoiceState) -> None:
    fresh = TTSModel.load_model("demo", temp=0.5)
    first, second = fresh.generate_audio(voice, SHORT), fresh.generate_audio(voice, SHORT)
    assert first.size != second.size or not np.array_equal(first, second)


def test_many_at_once_are_each_as_alone(noisy: TTSModel, voice: VoiceState) -> None:
    said = [SHORT, "Nobody knew.", "Please wait here.", SHORT]
    alone = [noisy.generate_audio(voice, text) for text in said]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: noisy.generate_audio(voice, text), said))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_can_be_kept_or_continued(model: TTSModel, voice: VoiceState) -> None:
    before = voice.copy()
    model.generate_audio(voice, SHORT)
    assert voice.positions == before.positions
    for old, new in zip(before.layers, voice.layers, strict=True):
        np.testing.assert_array_equal(old, new)
    continued = voice.copy()
    audio = model.generate_audio(continued, SHORT, copy_state=False)
    assert continued.positions > before.positions + audio.size // model.config.frame_size
    for old, new in zip(before.layers, continued.layers, strict=True):
        np.testing.assert_allclose(old, new[:, : before.positions], rtol=0, atol=1e-2)


def test_frames_after_eos(model: TTSModel, voice: VoiceState) -> None:
    frame = model.config.frame_size
    sizes = [model.generate_audio(voice, SHORT, frames_after_eos=n).size for n in (0, 1, 6)]
    assert sizes[1] - sizes[0] == frame
    assert sizes[2] - sizes[0] == 6 * frame
    recommended = model.config.model_recommended_frames_after_eos
    assert recommended == 2
    assert model.generate_audio(voice, SHORT).size == sizes[0] + 2 * frame


def test_a_voice_that_never_ends_is_cut(voice: VoiceState, caplog: pytest.LogCaptureFixture) -> None:
    endless = TTSModel.load_model("demo", eos_threshold=1e9)
    tokens = len(endless.tokenizer.encode("the old clock."))
    frames = int(np.ceil((tokens / 3 + 2) * 12.5))
    assert endless.generate_audio(voice, SHORT).size == frames * endless.config.frame_size
    assert "end" in caplog.text


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def wait_for(before: set[threading.Thread]) -> None:
    deadline = time.monotonic() + 10
    while threads() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads() - before


@pytest.mark.parametrize("how", ["close", "garbage", "stop", "exception", "whole"])
def test_nothing_is_left_running(model: TTSModel, voice: VoiceState, how: str) -> None:
    before = threads()
    stop = threading.Event()
    stream = model.generate_audio_stream(voice, LONG, stop=stop)
    first = next(stream)
    assert first.size
    if how == "close":
        stream.close()  # type: ignore[attr-defined]
        assert not threads() - before
    elif how == "garbage":
        del stream
        gc.collect()
    elif how == "stop":
        stop.set()
        rest = sum(chunk.size for chunk in stream)
        assert rest < model.generate_audio(voice, LONG).size / 2
    elif how == "exception":
        with pytest.raises(RuntimeError):
            stream.throw(RuntimeError())  # type: ignore[attr-defined]
    else:
        list(stream)
    wait_for(before)


def test_a_stream_that_nobody_starts_costs_nothing(model: TTSModel, voice: VoiceState) -> None:
    before = threads()
    stream = model.generate_audio_stream(voice, LONG)
    assert not threads() - before
    del stream


@pytest.mark.parametrize("text", ["", "  \n\t", '"', "“”"])
def test_empty_texts_are_refused_at_once(model: TTSModel, voice: VoiceState, text: str) -> None:
    with pytest.raises(TextError, match="empty"):
        model.generate_audio_stream(voice, text)
    with pytest.raises(ValueError, match="empty"):  # as in the official package
        model.generate_audio(voice, text)


def test_voices_in_and_out(model: TTSModel, voice: VoiceState, tmp_path: Path) -> None:
    export_model_state(voice, tmp_path / "mine.safetensors")
    back = model.get_state_for_audio_prompt(tmp_path / "mine.safetensors")
    for old, new in zip(voice.layers, back.layers, strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.get_state_for_audio_prompt(str(tmp_path / "mine.safetensors")).positions == voice.positions


def test_voices_that_do_not_fit(model: TTSModel, voice: VoiceState, tmp_path: Path) -> None:
    other = VoiceState([np.zeros((2, 3, 16, 64), np.float32)] * 6)
    export_model_state(other, tmp_path / "other.safetensors")
    with pytest.raises(
        VoiceError, match=r"other\.safetensors: made for other weights: .* 16 x 64, the model"
    ):
        model.get_state_for_audio_prompt(tmp_path / "other.safetensors")
    with pytest.raises(VoiceError, match="made for other weights"):
        model.generate_audio_stream(other, SHORT)
    with pytest.raises(VoiceError, match="did you mean heart"):
        model.get_state_for_audio_prompt("hart")
    with pytest.raises(VoiceError, match="no predefined voice 'alba'"):
        model.get_state_for_audio_prompt("alba")
    with pytest.raises(VoiceError, match="no such file"):
        model.get_state_for_audio_prompt(tmp_path / "nothing.safetensors")


def test_predefined_voices_are_those_of_the_language(
    model: TTSModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    french = TTSModel.load_model("demo")
    french.language = "french"
    assert french.default_voice == "estelle"
    assert french.default_text.startswith("Bonjour")
    asked: list[str] = []

    def resolve(uri: str) -> Path:
        asked.append(uri)
        return DEMO / "heart.safetensors"

    monkeypatch.setattr(hub, "resolve", resolve)
    assert french.get_state_for_audio_prompt("alba").positions == 1
    assert asked == [catalog.get_predefined_voice("french", "alba")]
    assert "/french/" in asked[0]
    assert "/alba.safetensors" in asked[0]
    with pytest.raises(VoiceError, match=r"no voice cloning.*accept the terms.*hf auth login"):
        french.get_state_for_audio_prompt("me.wav")


def test_the_voice_in_the_box_cannot_clone(model: TTSModel, tmp_path: Path) -> None:
    assert not model.has_voice_cloning
    recording = tmp_path / "me.wav"
    soundfile.write(recording, np.zeros(24000, np.float32), 24000)
    for prompt in (recording, str(recording), np.zeros(24000, np.float32)):
        with pytest.raises(VoiceError, match="cannot clone"):
            model.get_state_for_audio_prompt(prompt)


class TestCloning:
    """The demo's weights do not know other voices, but the way through encoder and projection is the same."""

    @pytest.fixture
    def cloning(self) -> TTSModel:
        model = TTSModel.load_model("demo", temp=0.0)
        model.has_voice_cloning = True
        return model

    def recording(self, seconds: float = 1.0, rate: int = 24000) -> Any:
        time = np.arange(int(seconds * rate)) / rate
        return (0.3 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * 3 * time)).astype(np.float32)

    def test_file_array_and_channels_agree(self, cloning: TTSModel, tmp_path: Path) -> None:
        samples = self.recording()
        soundfile.write(tmp_path / "me.wav", samples, 24000, subtype="FLOAT")
        from_file = cloning.get_state_for_audio_prompt(tmp_path / "me.wav")
        for same in (samples, samples[None], np.stack([samples, samples])):
            state = cloning.get_state_for_audio_prompt(same)
            for one, other in zip(from_file.layers, state.layers, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-6)
        assert cloning.generate_audio(from_file, SHORT).size

    def test_positions(self, cloning: TTSModel) -> None:
        # 1 s ends on a pause of 80 ms: 14 frames of 80 ms, and one position before the voice.
        assert cloning.get_state_for_audio_prompt(self.recording()).positions == 15

    def test_truncation(self, cloning: TTSModel, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "long.wav", self.recording(32.0, 8000), 8000)
        state = cloning.get_state_for_audio_prompt(tmp_path / "long.wav", truncate=True)
        whole = cloning.get_state_for_audio_prompt(tmp_path / "long.wav")
        assert state.positions == 1 + int(np.ceil(30.08 * 12.5))
        assert whole.positions > state.positions

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            (np.zeros(0, np.float32), "is empty"),
            (np.zeros(100, np.float32), "lasts only 4 ms"),
            (np.full(24000, np.nan, np.float32), "NaN"),
            (np.zeros(24000, np.int16), "an array of floats"),
            (np.zeros((2, 2, 24000), np.float32), "an array of floats"),
        ],
    )
    def test_arrays_that_are_no_recording(self, cloning: TTSModel, prompt: Any, message: str) -> None:
        with pytest.raises(AudioError, match=message):
            cloning.get_state_for_audio_prompt(prompt)

    def test_no_recording(self, cloning: TTSModel, tmp_path: Path) -> None:
        (tmp_path / "text.wav").write_text("hello")
        with pytest.raises(AudioError, match="cannot be read as a recording"):
            cloning.get_state_for_audio_prompt(tmp_path / "text.wav")
        with pytest.raises(AudioError, match="no such file"):
            cloning.get_state_for_audio_prompt(tmp_path / "nothing.wav")


def test_quantized_while_loading(voice: VoiceState, model: TTSModel) -> None:
    for quantize in (True, "int8"):
        quantized = TTSModel.load_model("demo", quantize=quantize)
        audio = quantized.generate_audio(voice, SHORT)
        assert 0.5 < audio.size / 24000 < 4
        assert not np.array_equal(audio, model.generate_audio(voice, SHORT))
    with pytest.raises(RecipeError, match="did you mean int8"):
        TTSModel.load_model("demo", quantize="int9")


def test_from_one_of_our_files(tmp_path: Path, voice: VoiceState) -> None:
    from pocketquant.pipeline import quantize_checkpoint

    path = tmp_path / "demo-int8.safetensors"
    quantize_checkpoint("demo", path, "int8")
    on_the_fly = TTSModel.load_model("demo", quantize="int8")
    for language in (None, "demo"):
        stored = TTSModel.load_model(language, weights=path)
        assert stored.language == "demo"
        assert stored.default_voice == "heart"
        np.testing.assert_array_equal(
            stored.generate_audio(stored.get_state_for_audio_prompt("heart"), SHORT),
            on_the_fly.generate_audio(voice, SHORT),
        )
    with pytest.raises(RecipeError, match="already"):
        TTSModel.load_model(weights=path, quantize=True)


def test_a_custom_config(tmp_path: Path) -> None:
    """The demo's files as somebody's own model: the same weights, but no released ones."""
    for name, copy in {"demo.safetensors": "", "demo.yaml": "mine.yaml", "tokenizer.model": ""}.items():
        (tmp_path / (copy or name)).write_bytes((DEMO / name).read_bytes())
    model = TTSModel.load_model(config=tmp_path / "mine.yaml", temp=0.25, eos_threshold=1.5)
    assert model.language is None
    assert (model.temp, model.eos_threshold) == (0.25, 1.5)
    assert model.default_voice.startswith("hf://")  # a recording: predefined states do not fit
    with pytest.raises(VoiceError, match=r"'alba' only fits the released weights.*mine\.yaml"):
        model.get_state_for_audio_prompt("alba")
    heart = read_voice(DEMO / "heart.safetensors")
    assert model.generate_audio(heart, SHORT).size


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"language": "english", "config": "a.yaml"},
            ConfigError,
            "both language 'english' and config a.yaml",
        ),
        ({"language": "englsh"}, ConfigError, "did you mean english"),
        ({"config": "model.json"}, ConfigError, "ends in .yaml"),
        ({"config": "hf://owner/repo/model.json@main"}, ConfigError, "ends in .yaml"),
        ({"config": "nowhere.yaml"}, PocketQuantError, "nowhere.yaml"),
        ({"language": "demo", "checkpoint": "run.pt"}, CheckpointError, "never opened"),
        ({"language": "demo", "temp": -1.0}, ConfigError, "temp -1.0"),
        ({"language": "demo", "temp": float("nan")}, ConfigError, "temp nan"),
        ({"language": "demo", "sampler_decode_steps": 0}, ConfigError, "sampler_decode_steps 0"),
        ({"language": "demo", "noise_clamp": 0.0}, ConfigError, "noise_clamp 0"),
        ({"weights": "nowhere.safetensors"}, PocketQuantError, "nowhere.safetensors"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        TTSModel.load_model(**options)
    assert "\n" not in str(caught.value)


def test_old_name_of_the_steps(caplog: pytest.LogCaptureFixture) -> None:
    assert TTSModel.load_model("demo", lsd_decode_steps=3).sampler_decode_steps == 3
    assert "deprecated" in caplog.text


def test_sampling_options_change_the_speech(noisy: TTSModel, voice: VoiceState) -> None:
    plain = noisy.generate_audio(voice, SHORT)
    for options in ({"sampler_decode_steps": 2}, {"noise_clamp": 0.1}, {"temp": 0.1}):
        changed = TTSModel.load_model("demo", **({"temp": 0.5, "seed": 1} | options))
        audio = changed.generate_audio(voice, SHORT)
        assert audio.size != plain.size or not np.array_equal(audio, plain)
