"""Pauses in a text."""

from __future__ import annotations

import numpy as np
import pytest

from pocketquant.checkpoint.voice import VoiceState
from pocketquant.errors import TextError
from pocketquant.model.script import LONGEST_PAUSE, PAUSE_SECONDS, Script, read
from pocketquant.model.tts import MAX_TOKENS, TTSModel

TEXT = "[pause:0.3] The old clock stopped. <break time='250ms'/> It was <break/> late. [pause:1] [PAUSE: 2 s]"


@pytest.fixture(scope="module")
def model() -> TTSModel:
    return TTSModel.load_model("demo", seed=3)


@pytest.fixture(scope="module")
def voice(model: TTSModel) -> VoiceState:
    return model.get_state_for_audio_prompt("heart")


def script(model: TTSModel, text: str) -> Script:
    return read(text, model.tokenizer, MAX_TOKENS, model.rules)


def test_what_is_said_and_when(model: TTSModel) -> None:
    found = script(model, TEXT)
    assert [line.pause for line in found.lines] == [0.3, 0.25, PAUSE_SECONDS]
    assert [len(line.text.text.split()) for line in found.lines] == [4, 2, 1]
    assert found.end == 3.0
    assert [silence.size for silence in found.silences(24000)] == [7200, 6000, 12000, 72000]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("[pause]", 0.5),
        ("[pause:2]", 2),
        ("[ pause ]", None),
        ("[Pause: 1.25s]", 1.25),
        ("[pause:80ms]", 0.08),
        ("[pause:0]", 0),
        ("<break/>", 0.5),
        ('<BREAK time="1.5s" />', 1.5),
        ('<break time="1.5"/>', None),  # SSML wants a unit
        ("[paused]", None),
        ("pause", None),
    ],
)
def test_how_a_pause_is_written(model: TTSModel, written: str, seconds: float | None) -> None:
    lines = script(model, f"One. {written} Two.").lines
    assert [line.pause for line in lines] == ([0] if seconds is None else [0, seconds])


def test_a_pause_is_silence_and_changes_nothing_else(model: TTSModel, voice: VoiceState) -> None:
    both = model.generate_audio(voice, "One. [pause:0.1] Two.")
    one = model.generate_audio(voice, "One.")
    assert not both[one.size : one.size + 2400].any()
    np.testing.assert_array_equal(both[: one.size], one)


def test_streams_and_batches_pause_alike(model: TTSModel, voice: VoiceState) -> None:
    pieces = list(model.generate_audio_stream(voice, TEXT))
    whole = model.generate_audio(voice, TEXT)
    assert not whole[:7200].any()
    assert whole[7200 : 7200 + 4800].any()
    assert not whole[-72000:].any()
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(model.generate_audio(voice, TEXT, batch=4), whole)
    others = model.generate_audio_batch(voice, ["One.", TEXT])
    np.testing.assert_array_equal(others[1], whole)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[pause]", "the text is empty"),
        (" . <break/> ", "the text is empty"),
        ("One. [pause:500] Two.", rf"\[pause:500\]: a pause of 500 seconds; give at most {LONGEST_PAUSE:g}"),
    ],
)
def test_what_cannot_be_performed(model: TTSModel, text: str, words: str) -> None:
    with pytest.raises(TextError, match=words):
        script(model, text)
