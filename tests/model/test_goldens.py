"""Every stage of the tiny models against what the official package made of the same weights and inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketquant.model.generate import Sampling, SpeechModel
from pocketquant.ops.reference import ReferenceOps
from tiny_models import TINY, inputs, tiny_weights

GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture(scope="module", params=TINY)
def case(request: pytest.FixtureRequest) -> tuple[SpeechModel, dict[str, Any]]:
    name: str = request.param
    with np.load(GOLDENS / f"{name}.npz") as file:
        golden = dict(file)
    return SpeechModel(TINY[name], tiny_weights(name), ReferenceOps()), golden


def close(ours: Any, theirs: Any, within: float = 1e-5) -> None:
    """Equal within a part of the peak."""
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= within * np.abs(theirs).max()


def test_encoder(case: tuple[SpeechModel, dict[str, Any]]) -> None:
    model, golden = case
    close(model.encode_voice(inputs(model.config).recording), golden["encoded"])


def test_voice(case: tuple[SpeechModel, dict[str, Any]]) -> None:
    model, golden = case
    close(np.stack(model.condition_on_voice(golden["encoded"]).layers), golden["voice"])


def test_text_embedding(case: tuple[SpeechModel, dict[str, Any]]) -> None:
    model, golden = case
    close(model.flow_lm.embed_text(inputs(model.config).tokens), golden["text"])


def test_language_model(case: tuple[SpeechModel, dict[str, Any]]) -> None:
    model, golden = case
    lm, given = model.flow_lm, inputs(model.config)
    caches = lm.new_caches(1, list(golden["voice"]))  # too small on purpose: it has to grow
    lm.prompt(lm.embed_text(given.tokens), caches)
    z = [lm.condition(lm.prompt(lm.embed_latents(latent[None]), caches)) for latent in given.latents]
    close(np.concatenate(z), golden["z"])
    close(np.array([lm.eos_logit(row) for row in z]), golden["eos"])


@pytest.mark.parametrize("steps", [1, 4])
def test_flow_head(case: tuple[SpeechModel, dict[str, Any]], steps: int) -> None:
    model, golden = case
    net, noise = model.flow_lm.flow_net, inputs(model.config).noise
    schedule = net.schedule(steps)
    rows = [net.sample(z[None], n[None], schedule) for z, n in zip(golden["z"], noise, strict=True)]
    close(np.concatenate(rows), golden[f"latents_{steps}"])


def test_decoder(case: tuple[SpeechModel, dict[str, Any]]) -> None:
    model, golden = case
    sound = model.decoder.decode(inputs(model.config).sound, model.decoder.new_state())
    close(sound, golden["sound"])


def test_speech(case: tuple[SpeechModel, dict[str, Any]]) -> None:
    """From the voice to sound, free-running, with the fade-in."""
    model, golden = case
    voice = model.condition_on_voice(golden["encoded"])
    sampling = Sampling(temperature=0, eos_threshold=float("inf"))
    stream = model.generate(voice, inputs(model.config).tokens, sampling)
    speech = np.concatenate([next(stream) for _ in range(4)])
    close(speech, golden["speech"], 1e-4)
    assert speech[0] == 0
