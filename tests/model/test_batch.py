"""Many utterances together: each as alone, the weights read once, every thread busy, nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pocketquant.checkpoint.voice import VoiceState
from pocketquant.errors import ConfigError, PocketQuantError, TextError, VoiceError
from pocketquant.model.batch import Job, generate_batch
from pocketquant.model.generate import SpeechModel
from pocketquant.model.tts import TTSModel
from pocketquant.model.utterance import Sampling
from pocketquant.ops import get_ops
from pocketquant.ops.interface import F32, Ops
from pocketquant.ops.reference import ReferenceOps
from random_model import random_arrays, stored
from tiny_models import SEED, TINY, tiny_weights

LENGTHS = (5, 2, 9, 1, 4, 7)


def jobs(model: SpeechModel, *, lengths: tuple[int, ...] = LENGTHS, steps: int = 1) -> list[Job]:
    """Utterances of several lengths, voices and ends, with noise."""
    rng = np.random.default_rng(1)
    sizes = model.config.flow_lm.transformer
    made = []
    for number, tokens in enumerate(lengths):
        shape = (2, 3 + number, sizes.kv_heads, sizes.head_dim)
        voice = VoiceState([rng.standard_normal(shape, dtype=np.float32) for _ in range(sizes.num_layers)])
        sampling = Sampling(0.5, steps, eos_threshold=-float("inf"), frames_after_eos=number % 3)
        made.append(Job(voice, rng.integers(0, 30, tokens), sampling, np.random.default_rng(number)))
    return made


def one_by_one(model: SpeechModel, **options: Any) -> list[F32]:
    return generate_batch(model, jobs(model, **options), 1)


def assert_same(ops: Ops, found: list[F32], wanted: list[F32]) -> None:
    """Bit for bit where a row's result does not depend on the other rows; BLAS gives no such promise."""
    assert [len(one) for one in found] == [len(one) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        if ops.name == "native":
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-3 * np.abs(other).max())


def native() -> Ops:
    try:
        return get_ops("native", threads=1)
    except PocketQuantError as error:
        pytest.skip(str(error))


@pytest.fixture
def model() -> SpeechModel:
    return SpeechModel(TINY["lsd"], tiny_weights("lsd"), ReferenceOps(), threads=2)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert workers() == []


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("pocketquant")]


@pytest.mark.parametrize("name", sorted(TINY))
def test_as_alone_on_the_reference(name: str) -> None:
    model = SpeechModel(TINY[name], tiny_weights(name), ReferenceOps(), threads=2)
    assert_same(model.ops, generate_batch(model, jobs(model, steps=2), 4), one_by_one(model, steps=2))


@pytest.mark.parametrize("name", sorted(TINY))
@pytest.mark.parametrize("scheme", ["f32", "f16", "int8", "int4-g32"])
def test_as_alone_bit_for_bit_on_the_compiled_core(name: str, scheme: str) -> None:
    weights = {
        key: stored(array, scheme if array.ndim > 1 and "bos" not in key else "f32")
        for key, array in random_arrays(TINY[name], SEED).items()
    }
    model = SpeechModel(TINY[name], weights, native())
    wanted = one_by_one(model)
    for threads, size in ((1, 2), (2, 3), (3, 16)):
        model.threads = threads
        assert_same(model.ops, generate_batch(model, jobs(model), size), wanted)


def test_the_order_of_the_jobs_does_not_matter(model: SpeechModel) -> None:
    wanted = one_by_one(model)
    backwards = generate_batch(model, jobs(model)[::-1], 3)
    assert_same(model.ops, backwards[::-1], wanted)


class Counting(ReferenceOps):
    """Counts the products and the rows of each, and the attentions."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.attentions = 0

    def linear(self, x: F32, *args: Any, **options: Any) -> F32:
        self.rows.append(len(x))
        return super().linear(x, *args, **options)

    def attention(self, *args: Any, **options: Any) -> F32:
        self.attentions += 1
        return super().attention(*args, **options)


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_step_multiplies_each_weight_once(name: str) -> None:
    ops = Counting()
    lm = SpeechModel(TINY[name], tiny_weights(name), ops).flow_lm
    schedule = lm.flow_net.schedule(2)
    products = []
    for n in (1, 5):
        caches = [lm.new_caches(4) for _ in range(n)]
        ops.rows, ops.attentions = [], 0
        nothing = np.full((n, lm.latent_dim), np.nan, np.float32)
        latents, eos = lm.step_together(nothing, caches, np.zeros_like(nothing), schedule)
        assert latents.shape == nothing.shape
        assert len(eos) == n
        assert set(ops.rows) == {n}
        assert ops.attentions == n * len(lm.transformer.layers)
        products.append(len(ops.rows))
    assert products[0] == products[1]


def test_the_next_one_takes_the_place_of_the_one_that_ended(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three at a time, from the longest text to the shortest; only the last steps have fewer."""
    model.threads = 1
    together = model.flow_lm.step_together
    running: list[list[int]] = []

    def noting(latents: F32, caches: Any, *args: Any) -> Any:
        running.append([id(one) for one in caches])
        return together(latents, caches, *args)

    begun: list[int] = []
    embed = model.flow_lm.embed_text

    def beginning(tokens: Any) -> Any:
        begun.append(len(tokens))
        return embed(tokens)

    monkeypatch.setattr(model.flow_lm, "step_together", noting)
    monkeypatch.setattr(model.flow_lm, "embed_text", beginning)
    sounds = generate_batch(model, jobs(model), 3)
    assert begun == sorted(LENGTHS, reverse=True)
    sizes = [len(step) for step in running]
    assert set(sizes) == {3, 2, 1}
    assert sizes == sorted(sizes, reverse=True)
    frames = sum(len(sound) for sound in sounds) // model.config.frame_size
    assert sum(sizes) == frames + len(LENGTHS)  # each has one more step, which finds the end


def test_one_thread_starts_none(model: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.threads = 1
    decode = model.decoder.features

    def watching(*args: Any) -> Any:
        assert workers() == []
        return decode(*args)

    monkeypatch.setattr(model.decoder, "features", watching)
    generate_batch(model, jobs(model), 4)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_few_latents_lie_ready(model: SpeechModel, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    model.threads, size = threads, 4
    together, decode = model.flow_lm.step_together, model.decoder.features
    lock = threading.Lock()
    ready, most = 0, 0

    def stepping(latents: F32, *args: Any) -> Any:
        nonlocal ready, most
        result = together(latents, *args)
        with lock:
            ready += len(latents)
            most = max(most, ready)
        return result

    def decoding(*args: Any) -> Any:
        nonlocal ready
        with lock:
            ready -= 1
        return decode(*args)

    monkeypatch.setattr(model.flow_lm, "step_together", stepping)
    monkeypatch.setattr(model.decoder, "features", decoding)
    never = Sampling(eos_threshold=float("inf"))
    made = [Job(job.state, job.tokens, never, job.rng) for job in jobs(model)]
    generate_batch(model, made, size)
    assert ready == 0
    assert size <= most < 2 * size + threads


def test_two_utterances_are_decoded_at_the_same_time(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The language model needs no thread of its own: while it has enough latents ready, both threads decode."""
    decode = model.decoder.features
    both = threading.Barrier(2, timeout=20)
    met = threading.Event()

    def meeting(*args: Any) -> Any:
        if not met.is_set():
            both.wait()
            met.set()
        return decode(*args)

    monkeypatch.setattr(model.decoder, "features", meeting)
    generate_batch(model, jobs(model), 4)
    assert met.is_set()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    ("part", "method"), [("flow_lm", "prompt"), ("flow_lm", "step_together"), ("decoder", "features")]
)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_errors_of_every_stage_reach_the_caller(
    model: SpeechModel,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    part: str,
    method: str,
    error: type[BaseException],
) -> None:
    model.threads = threads
    original = getattr(getattr(model, part), method)
    calls = 0

    def fails_at_the_third(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error("broken")
        return original(*args)

    monkeypatch.setattr(getattr(model, part), method, fails_at_the_third)
    with pytest.raises(error, match="broken"):
        generate_batch(model, jobs(model), 3)
    assert workers() == []


def test_what_cannot_be_spoken_is_refused_before_anything_is_said(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate_batch(model, [], 4) == []
    monkeypatch.setattr(model.flow_lm, "prompt", None)
    good = jobs(model)
    job = good[0]
    with pytest.raises(ConfigError, match="batch 0"):
        generate_batch(model, good, 0)
    with pytest.raises(ValueError, match="same number of steps"):
        generate_batch(model, [*good, *jobs(model, steps=2)], 4)
    with pytest.raises(TextError, match="no tokens"):
        generate_batch(model, [*good, Job(job.state, job.tokens[:0], job.sampling, job.rng)], 4)
    with pytest.raises(VoiceError, match="other weights"):
        generate_batch(
            model, [*good, Job(VoiceState(job.state.layers[:1]), job.tokens, job.sampling, job.rng)], 4
        )


# With the voice in the box

SENTENCES = ("Please wait here.", "Nobody knew.", "The old clock.")
TEXT = " ".join(SENTENCES)
SHORT_CHUNKS = 8
"""Tokens: every sentence is a chunk of its own."""


@pytest.fixture(scope="module")
def tts() -> TTSModel:
    return TTSModel.load_model("demo", temp=0.5, seed=1)


@pytest.fixture(scope="module")
def voice(tts: TTSModel) -> VoiceState:
    return tts.get_state_for_audio_prompt("heart")


@pytest.fixture(scope="module")
def wanted(tts: TTSModel, voice: VoiceState) -> F32:
    return tts.generate_audio(voice, TEXT, SHORT_CHUNKS)


@pytest.mark.parametrize("batch", [2, 3])
def test_a_long_text_in_a_batch_is_the_same(
    tts: TTSModel, voice: VoiceState, wanted: F32, batch: int
) -> None:
    before = voice.copy()
    assert_same(tts.speech.ops, [tts.generate_audio(voice, TEXT, SHORT_CHUNKS, batch=batch)], [wanted])
    np.testing.assert_array_equal(np.stack(voice.layers), np.stack(before.layers))


def test_any_number_of_threads_says_the_same(voice: VoiceState, wanted: F32) -> None:
    for threads in (1, 3):
        model = TTSModel.load_model("demo", temp=0.5, seed=1, threads=threads)
        np.testing.assert_array_equal(model.generate_audio(voice, TEXT, SHORT_CHUNKS), wanted)
        assert_same(model.speech.ops, [model.generate_audio(voice, TEXT, SHORT_CHUNKS, batch=4)], [wanted])


def test_a_chunks_noise_depends_on_the_seed_and_its_number_only(
    tts: TTSModel, voice: VoiceState, wanted: F32
) -> None:
    shorter = tts.generate_audio(voice, " ".join(("Not yet.", *SENTENCES[1:])), SHORT_CHUNKS)
    rest = wanted[tts.generate_audio(voice, SENTENCES[0]).size :]
    first = tts.generate_audio(voice, "Not yet.").size
    np.testing.assert_array_equal(shorter[first:], rest)
    twice = tts.generate_audio(voice, "Nobody knew. Nobody knew.", 5)
    once = tts.generate_audio(voice, "Nobody knew.")
    np.testing.assert_array_equal(twice[: once.size], once)
    assert twice.size != 2 * once.size or not np.array_equal(twice[once.size :], once)


def test_many_texts_are_each_as_alone(tts: TTSModel, voice: VoiceState) -> None:
    texts = [*SENTENCES[1:], TEXT]
    alone = [tts.generate_audio(voice, text, SHORT_CHUNKS) for text in texts]
    assert_same(tts.speech.ops, tts.generate_audio_batch(voice, texts, SHORT_CHUNKS, batch=3), alone)
    assert_same(tts.speech.ops, tts.generate_audio_batch(voice, texts, SHORT_CHUNKS, batch=1), alone)


def test_a_voice_for_each_text(tts: TTSModel, voice: VoiceState) -> None:
    other = voice.copy()
    tts.generate_audio(other, "Not yet.", copy_state=False)
    voices = [voice, other, voice]
    alone = [tts.generate_audio(one, "Please wait here.", frames_after_eos=1) for one in voices]
    together = tts.generate_audio_batch(voices, ["Please wait here."] * 3, frames_after_eos=1)
    assert_same(tts.speech.ops, together, alone)
    assert together[0].size != together[1].size or not np.array_equal(together[0], together[1])


def test_without_a_seed_no_two_texts_have_the_same_noise(voice: VoiceState) -> None:
    fresh = TTSModel.load_model("demo", temp=0.5)
    first, second = fresh.generate_audio_batch(voice, ["Nobody knew."] * 2)
    assert first.size != second.size or not np.array_equal(first, second)


def test_a_text_that_goes_on_from_its_state_is_not_batched(tts: TTSModel, voice: VoiceState) -> None:
    one, other = voice.copy(), voice.copy()
    alone = tts.generate_audio(one, TEXT, SHORT_CHUNKS, copy_state=False)
    batched = tts.generate_audio(other, TEXT, SHORT_CHUNKS, copy_state=False, batch=4)
    np.testing.assert_array_equal(alone, batched)
    np.testing.assert_array_equal(np.stack(one.layers), np.stack(other.layers))
    assert one.positions > voice.positions


def test_batches_and_streams_at_once(tts: TTSModel, voice: VoiceState, wanted: F32) -> None:
    def say(batch: int) -> F32:
        if batch == 0:
            return np.concatenate(list(tts.generate_audio_stream(voice, TEXT, SHORT_CHUNKS)))
        return tts.generate_audio(voice, TEXT, SHORT_CHUNKS, batch=batch)

    with ThreadPoolExecutor(3) as pool:
        assert_same(tts.speech.ops, list(pool.map(say, [0, 2, 8])), [wanted] * 3)


def test_bad_arguments(tts: TTSModel, voice: VoiceState) -> None:
    with pytest.raises(ConfigError, match="batch 0"):
        tts.generate_audio(voice, "a", batch=0)
    with pytest.raises(ConfigError, match="batch 0"):
        tts.generate_audio(voice, "a", copy_state=False, batch=0)
    with pytest.raises(ConfigError, match="batch -1"):
        tts.generate_audio_batch(voice, ["a"], batch=-1)
    with pytest.raises(TextError, match="empty"):
        tts.generate_audio(voice, " ", batch=4)
    with pytest.raises(TextError, match=r"text 1 .*empty"):
        tts.generate_audio_batch(voice, ["a", " "])
    with pytest.raises(VoiceError, match="2 voices for 1 texts"):
        tts.generate_audio_batch([voice, voice], ["a"])
    with pytest.raises(VoiceError, match="made for other weights"):
        tts.generate_audio_batch([voice, VoiceState(voice.layers[:1])], ["a", "b"])
    assert tts.generate_audio_batch(voice, []) == []
