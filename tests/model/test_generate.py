"""The pipeline of one utterance: streaming, its ends, its errors, its threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pocketquant.checkpoint.voice import VoiceState
from pocketquant.errors import CheckpointError, TextError, VoiceError
from pocketquant.model import generate
from pocketquant.model.generate import SpeechModel
from pocketquant.model.utterance import MIN_FRAMES_BEFORE_EOS, Sampling
from pocketquant.ops.interface import F32, LinearWeight
from pocketquant.ops.reference import ReferenceOps
from random_model import random_arrays, stored
from tiny_models import SEED, TINY, tiny_weights

CONFIG = TINY["lsd"]
TOKENS = np.array([3, 29, 0, 7, 7])
FRAMES = 46  # ceil((5 tokens / 3 + 2 s) * 12.5)
NEVER = Sampling(temperature=0, eos_threshold=float("inf"))
ALWAYS = Sampling(temperature=0, eos_threshold=-float("inf"))


@pytest.fixture
def model() -> SpeechModel:
    return SpeechModel(CONFIG, tiny_weights("lsd"), ReferenceOps(), threads=2)


@pytest.fixture
def alone() -> SpeechModel:
    """The same without threads."""
    return SpeechModel(CONFIG, tiny_weights("lsd"), ReferenceOps(), threads=1)


@pytest.fixture
def voice(model: SpeechModel) -> VoiceState:
    recording = np.random.default_rng(5).standard_normal(480, dtype=np.float32)
    return model.condition_on_voice(model.encode_voice(recording))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert workers() == []


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("pocketquant")]


def snapshot(state: VoiceState) -> F32:
    layers: F32 = np.stack(state.layers)
    return layers


def speech(stream: Iterator[F32]) -> F32:
    whole: F32 = np.concatenate(list(stream))
    return whole


def test_chunks_are_frames_and_the_length_is_limited(
    model: SpeechModel, voice: VoiceState, caplog: pytest.LogCaptureFixture
) -> None:
    before = snapshot(voice)
    chunks = list(model.generate(voice, TOKENS, NEVER))
    assert model.max_frames(len(TOKENS)) == FRAMES == len(chunks)
    assert all(chunk.shape == (96,) and chunk.dtype == np.float32 for chunk in chunks)
    assert "did not end" in caplog.text
    np.testing.assert_array_equal(snapshot(voice), before)


def test_the_first_chunk_leaves_before_the_second_frame_is_computed(
    model: SpeechModel, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = threading.Event()
    step = model.flow_lm.step
    calls = 0

    def second_step_waits(*args: Any) -> tuple[F32, float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            assert received.wait(20), "the second frame was asked for before the first chunk was out"
        return step(*args)

    monkeypatch.setattr(model.flow_lm, "step", second_step_waits)
    stream = model.generate(voice, TOKENS, NEVER)
    first = next(stream)
    assert calls <= 2
    received.set()
    assert len(first) + len(speech(stream)) == FRAMES * 96


@pytest.mark.parametrize("frames_after_eos", [0, 3])
def test_the_end_is_not_believed_in_the_first_frames(
    model: SpeechModel, voice: VoiceState, frames_after_eos: int
) -> None:
    sampling = Sampling(temperature=0, eos_threshold=-float("inf"), frames_after_eos=frames_after_eos)
    assert len(list(model.generate(voice, TOKENS, sampling))) == MIN_FRAMES_BEFORE_EOS + frames_after_eos


def test_the_first_5_ms_fade_in(model: SpeechModel, voice: VoiceState) -> None:
    rng = np.random.default_rng(0)
    caches = model.flow_lm.new_caches(64, voice.layers)
    latents = list(model.latents(caches, TOKENS, 8, ALWAYS, rng))
    plain = model.decoder.decode(model.flow_lm.to_codec(np.concatenate(latents)), model.decoder.new_state())
    faded = speech(model.generate(voice, TOKENS, Sampling(temperature=0, eos_threshold=-float("inf"))))
    np.testing.assert_allclose(faded[:6], plain[:6] * np.linspace(0, 1, 6), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(faded[6 : len(plain)], plain[6 : len(faded)])


def test_closing_early_ends_the_threads(model: SpeechModel, voice: VoiceState) -> None:
    stream = model.generate(voice, TOKENS, NEVER)
    next(stream)
    stream.close()
    assert workers() == []


def test_an_iterator_that_nobody_starts_starts_nothing(model: SpeechModel, voice: VoiceState) -> None:
    stream = model.generate(voice, TOKENS, NEVER)
    assert workers() == []
    del stream


@pytest.mark.parametrize("when", ["before", "during"])
def test_stop_ends_the_speech(model: SpeechModel, voice: VoiceState, when: str) -> None:
    stop = threading.Event()
    if when == "before":
        stop.set()
        assert list(model.generate(voice, TOKENS, NEVER, stop=stop)) == []
        return
    stream = model.generate(voice, TOKENS, NEVER, stop=stop)
    next(stream)
    stop.set()
    assert list(stream) == []


def test_an_end_of_ours_does_not_set_the_callers_event(model: SpeechModel, voice: VoiceState) -> None:
    stop = threading.Event()
    list(model.generate(voice, TOKENS, ALWAYS, stop=stop))
    assert not stop.is_set()


@pytest.mark.parametrize(
    ("part", "method"), [("flow_lm", "step"), ("decoder", "features"), ("decoder", "render")]
)
def test_errors_of_any_thread_reach_the_caller(
    model: SpeechModel, voice: VoiceState, monkeypatch: pytest.MonkeyPatch, part: str, method: str
) -> None:
    original = getattr(getattr(model, part), method)
    calls = 0

    def fails_at_the_third(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("broken")
        return original(*args)

    monkeypatch.setattr(getattr(model, part), method, fails_at_the_third)
    with pytest.raises(RuntimeError, match="broken"):
        list(model.generate(voice, TOKENS, NEVER))


def test_many_at_once_say_the_same_as_alone(model: SpeechModel, voice: VoiceState) -> None:
    sampling = Sampling(temperature=0.5, eos_threshold=-float("inf"), frames_after_eos=4, noise_clamp=1.0)

    def say(seed: int) -> F32:
        return speech(model.generate(voice, TOKENS, sampling, rng=np.random.default_rng(seed)))

    alone = [say(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(say, range(6)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(alone[0], alone[1])


def test_going_on_from_the_state(model: SpeechModel, voice: VoiceState) -> None:
    """With copy_state=False the state holds what was said: voice, text, and one position a frame."""
    positions, frames = voice.positions, len(list(model.generate(voice, TOKENS, ALWAYS, copy_state=False)))
    steps = frames + 1  # the step that found the end gave no frame
    assert voice.positions == positions + len(TOKENS) + steps
    fresh = model.condition_on_voice(
        model.encode_voice(np.random.default_rng(5).standard_normal(480, dtype=np.float32))
    )
    other = speech(model.generate(fresh, TOKENS, ALWAYS))
    assert not np.array_equal(speech(model.generate(voice, TOKENS, ALWAYS)), other)


def test_speaking_without_a_voice(model: SpeechModel) -> None:
    state = model.new_state()
    assert state.positions == 0
    assert np.isfinite(speech(model.generate(state, TOKENS, ALWAYS))).all()


def test_no_tokens_and_foreign_voices_are_refused_at_the_call(model: SpeechModel, voice: VoiceState) -> None:
    with pytest.raises(TextError, match="no tokens"):
        model.generate(voice, TOKENS[:0], NEVER)
    with pytest.raises(VoiceError, match="other weights"):
        model.generate(VoiceState(voice.layers[:1]), TOKENS, NEVER)


def test_weights_without_voice_cloning_say_so() -> None:
    weights = tiny_weights("lsd")
    del weights["flow_lm.speaker_proj_weight"]
    model = SpeechModel(CONFIG, weights, ReferenceOps())
    with pytest.raises(CheckpointError, match="cannot clone a voice"):
        model.condition_on_voice(np.zeros((3, 8), np.float32))


def test_the_encoder_is_built_when_it_is_needed(voice: VoiceState) -> None:
    weights = {k: v for k, v in tiny_weights("lsd").items() if ".encoder" not in k}
    model = SpeechModel(CONFIG, weights, ReferenceOps())
    assert len(list(model.generate(voice, TOKENS, ALWAYS))) > 0
    with pytest.raises(CheckpointError, match=r"mimi\.encoder"):
        model.encode_voice(np.zeros(96, np.float32))


class Recording(ReferenceOps):
    """Remembers what was packed."""

    def __init__(self) -> None:
        self.packed: list[LinearWeight] = []

    def pack(self, weight: LinearWeight) -> LinearWeight:
        self.packed.append(weight)
        return weight


@pytest.mark.parametrize("name", sorted(TINY))
@pytest.mark.parametrize("scheme", ["int8", "int8-tensor", "int4-g32", "f16", "bf16"])
def test_quantized_models_speak_without_float_copies(name: str, scheme: str) -> None:
    """Every matrix in the scheme: no float32 matrix is kept, and the speech is finite."""
    config, ops = TINY[name], Recording()
    weights = {
        key: stored(array, scheme if array.ndim > 1 and "bos" not in key else "f32")
        for key, array in random_arrays(config, SEED).items()
    }
    model = SpeechModel(config, weights, ops)
    encoded = model.encode_voice(np.random.default_rng(5).standard_normal(480, dtype=np.float32))
    audio = speech(model.generate(model.condition_on_voice(encoded), TOKENS, ALWAYS))
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() > 0
    kinds = {weight.values.dtype for weight in ops.packed}
    assert np.dtype(np.float32) not in kinds or scheme == "bf16"
    # 16 bits in the codec, except beside weights of four
    expected = {"int8": {"int8", "int16"}, "int4": {"int8"}}.get(scheme[:4], set())
    assert {w.activations for w in ops.packed} - {"float"} == expected


def test_the_pipeline_overlaps(
    model: SpeechModel, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps and both halves of frames, 10 ms each, take together about as long as one of them, not as all."""

    def slow(method: Any) -> Any:
        def wrapped(*args: Any) -> Any:
            time.sleep(0.01)
            return method(*args)

        return wrapped

    monkeypatch.setattr(model.flow_lm, "step", slow(model.flow_lm.step))
    monkeypatch.setattr(model.decoder, "features", slow(model.decoder.features))
    monkeypatch.setattr(model.decoder, "render", slow(model.decoder.render))
    spans: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        list(model.generate(voice, TOKENS, NEVER))
        spans.append(time.perf_counter() - start)
    assert min(spans) < 1.7 * FRAMES * 0.01


def test_one_thread_takes_turns_and_starts_none(
    alone: SpeechModel, model: SpeechModel, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noting(what: str, method: Any) -> Any:
        def wrapped(*args: Any) -> Any:
            assert workers() == []
            done.append(what)
            return method(*args)

        return wrapped

    monkeypatch.setattr(alone.flow_lm, "step", noting("step", alone.flow_lm.step))
    monkeypatch.setattr(alone.decoder, "render", noting("decode", alone.decoder.render))
    stream = alone.generate(voice, TOKENS, NEVER)
    first = next(stream)
    assert done == ["step", "decode"]
    np.testing.assert_array_equal(
        np.concatenate([first, *stream]), speech(model.generate(voice, TOKENS, NEVER))
    )
    assert done == ["step", "decode"] * FRAMES


@pytest.mark.parametrize("end", ["close", "stop"])
def test_one_thread_ends_early_too(alone: SpeechModel, voice: VoiceState, end: str) -> None:
    stop = threading.Event()
    stream = alone.generate(voice, TOKENS, NEVER, stop=stop)
    next(stream)
    if end == "close":
        stream.close()
    stop.set()
    assert list(stream) == []


def test_a_slow_listener_holds_the_work_back(
    model: SpeechModel, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "FRAMES_AHEAD", 3)
    monkeypatch.setattr(generate, "FEATURES_AHEAD", 2)
    step, calls = model.flow_lm.step, 0

    def counting(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return step(*args)

    monkeypatch.setattr(model.flow_lm, "step", counting)
    stream = model.generate(voice, TOKENS, NEVER)
    chunks = [next(stream)]
    # Given: 1. Ready for the listener: 3. In anybody's hands: none. Ready for the halves of the decoder: 3 and 2.
    deadline = time.monotonic() + 20
    while calls < 9 and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.05)
    assert calls == 9
    chunks += list(stream)
    assert (len(chunks), calls) == (FRAMES, FRAMES)


def test_closing_wakes_threads_that_wait_for_the_listener(
    model: SpeechModel, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "FRAMES_AHEAD", 1)
    stream = model.generate(voice, TOKENS, NEVER)
    next(stream)
    time.sleep(0.05)
    stream.close()
    assert workers() == []


@pytest.mark.parametrize("threads", [1, 2])
def test_closed_early_the_state_holds_what_was_given(
    model: SpeechModel, voice: VoiceState, threads: int
) -> None:
    model.threads = threads
    positions = voice.positions
    whole = voice.copy()
    list(model.generate(whole, TOKENS, NEVER, copy_state=False))
    stream = model.generate(voice, TOKENS, NEVER, copy_state=False)
    for _ in range(5):
        next(stream)
    stream.close()
    assert voice.positions == positions + len(TOKENS) + 5
    np.testing.assert_array_equal(snapshot(voice), snapshot(whole)[:, :, : voice.positions])
