"""Teacher forcing says what the model would say, and finds what differs where it differs."""

from __future__ import annotations

import numpy as np
import pytest

from pocketquant.evaluate.speech import Chunk, chunks_of, speak
from pocketquant.evaluate.teacher import compare_forced, find_flips, forced_pass, merge
from pocketquant.model.generate import SpeechModel
from pocketquant.model.tts import TTSModel


@pytest.fixture(scope="module")
def model() -> TTSModel:
    return TTSModel.load_model("demo")


def chunk(model: TTSModel, temperature: float) -> Chunk:
    return chunks_of("The old clock.", (3, 0), model.config, model.tokenizer, temperature)[0]


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_a_model_forced_with_its_own_latents_says_them_again(model: TTSModel, temperature: float) -> None:
    one, voice = chunk(model, temperature), model.get_state_for_audio_prompt("heart")
    take = speak(model.speech, voice, [one])
    forced = forced_pass(model.speech, voice, one, take.latents[0])
    np.testing.assert_allclose(forced.latents, take.latents[0], atol=2e-4)
    assert take.ended
    # The end that the take found is the first one that the forced logits show.
    ends = np.flatnonzero(forced.eos > one.sampling.eos_threshold)
    assert ends[ends >= 6][0] + one.sampling.frames_after_eos == take.frames
    assert len(forced.depths) == model.config.flow_lm.transformer.num_layers + 1


def test_a_take_is_what_the_model_generates(model: TTSModel) -> None:
    one, voice = chunk(model, 0.4), model.get_state_for_audio_prompt("heart")
    speech: SpeechModel = model.speech
    rng = np.random.default_rng(one.seed)
    said = list(speech.generate(voice, one.tokens, one.sampling, rng=rng))
    take = speak(speech, voice, [one])
    np.testing.assert_array_equal(take.audio, np.concatenate(said))
    assert take.frames == len(said)


def test_flips_are_found_where_they_are() -> None:
    reference = np.full(20, -2, np.float32)
    reference[16:] = 2
    other = reference.copy()
    other[:3] = 5  # too early to be believed
    other[8] = 0.5
    other[16] = -0.5
    flips = find_flips(reference, other, 0.0)
    assert [(flip.place, flip.ends) for flip in flips] == [(0.5, True), (1.0, False)]
    assert find_flips(reference, reference, 0.0) == []


def test_columns_add_up(model: TTSModel) -> None:
    one, voice = chunk(model, 0.0), model.get_state_for_audio_prompt("heart")
    latents = speak(model.speech, voice, [one]).latents[0]
    forced = forced_pass(model.speech, voice, one, latents)
    columns, flips = compare_forced(forced, forced, 0.0)
    assert flips == []
    twice = merge([columns, columns | {"eos_error_max": 2.0}])
    assert twice["eos_frames"] == 2 * len(latents)
    assert twice["eos_error_max"] == 2
    assert twice["hidden_cosine"] == pytest.approx(1)
    assert twice["hidden_noise"] == 0
    assert twice["hidden_signal"] == pytest.approx(2 * columns["hidden_signal"])
