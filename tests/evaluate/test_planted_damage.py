"""Planted damage: each kind is seen by the measure that should see it, and by no other.

The voice in the box speaks; a "recipe" here is that same model with one thing wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from pocketquant.audio import Samples
from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.evaluate.result import Evaluation, Result
from pocketquant.evaluate.run import Evaluator, Settings
from pocketquant.evaluate.variants import Variant
from pocketquant.evaluate.verdict import judge
from pocketquant.model.generate import SpeechModel
from pocketquant.ops.interface import F32
from pocketquant.quantize.stored import StoredTensor

SENTENCES = ("The old clock.", "We walked along the beach.", "Please wait here.")
LAST_CONV = "mimi.decoder.model.11.conv."


@dataclass(frozen=True)
class Damaged(Variant):
    """The float model with changed tensors: factor and offset by name."""

    changes: tuple[tuple[str, float, float], ...] = ()
    hiss: float = 0.0

    def weights(self, reference: Checkpoint) -> Mapping[str, StoredTensor]:
        weights = dict(reference.weights)
        for name, factor, offset in self.changes:
            values = weights[name].dequantize() * np.float32(factor) + np.float32(offset)
            weights[name] = StoredTensor("f32", values.shape, values)
        return weights

    def build(self, reference: Checkpoint, weights: Mapping[str, StoredTensor]) -> SpeechModel:
        return Hissing(reference.config, weights, self.hiss)


class Hissing(SpeechModel):
    """A codec with noise of its own."""

    def __init__(self, config: object, weights: Mapping[str, StoredTensor], amplitude: float) -> None:
        super().__init__(config, weights)  # type: ignore[arg-type]
        self.amplitude = amplitude

    def audio(self, latents: Iterable[F32]) -> Iterator[F32]:  # type: ignore[override]
        rng = np.random.default_rng(1)
        for chunk in super().audio(latents):
            yield chunk + self.amplitude * rng.standard_normal(chunk.size, dtype=np.float32)


DAMAGES = {
    "nothing": Damaged("nothing"),
    "hiss": Damaged("hiss", hiss=0.0015),
    "eos": Damaged("eos", changes=(("flow_lm.out_eos.bias", 1.0, 0.8),)),
    "gain": Damaged("gain", changes=((f"{LAST_CONV}weight", 0.7, 0.0), (f"{LAST_CONV}bias", 0.7, 0.0))),
    "word": Damaged("word"),
}
SEEN_BY = {
    "nothing": set[str](),
    "hiss": {"pause_floor_delta"},
    "eos": {"eos_error_mean"},  # and, where a decision was close, what follows from it
    "gain": {"level_delta"},
    "word": {"wer_delta"},
}
FOLLOWS = {"eos": {"eos_flips", "eos_early", "no_end_delta"}}


class Transcriber:
    """Hears every word; in the takes of the variant "word", all but the second one of each sentence."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, samples: Samples, rate: int) -> str:
        assert samples.size > rate / 4
        take, sentence = divmod(self.calls, len(SENTENCES))
        self.calls += 1
        words = SENTENCES[sentence].split()
        speaker = ["float", *DAMAGES][take]
        return " ".join(words[:1] + words[2:] if speaker == "word" else words)


@cache
def evaluation() -> Evaluation:
    settings = Settings(list(DAMAGES.values()), SENTENCES, transcriber=Transcriber(), cost=False, listen=1)
    return Evaluator(open_checkpoint("demo"), settings).evaluate()


def result(name: str) -> Result:
    return next(result for result in evaluation().results if result.name == name)


def value(name: str, measure: str) -> float:
    found = result(name).value(measure)
    assert found is not None
    return found


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen_by_its_measure_and_by_no_other(damage: str) -> None:
    found = set(judge(result(damage)).findings)
    assert found - FOLLOWS.get(damage, set()) == SEEN_BY[damage]


def test_no_damage_is_exact_in_every_measure() -> None:
    for measure in ("hidden_snr", "latent_snr", "wave_snr", "weight_snr"):
        assert value("nothing", measure) == float("inf")
    for measure in (
        "eos_error_max",
        "eos_flips",
        "mel_distance",
        "level_delta",
        "pause_floor_delta",
        "wer_delta",
    ):
        assert value("nothing", measure) == 0
    assert value("nothing", "duration_ratio") == 1
    assert value("nothing", "hidden_cosine") == pytest.approx(1)


def test_hiss_leaves_the_language_model_alone_and_is_as_loud_as_planted() -> None:
    assert value("hiss", "hidden_snr") == value("hiss", "latent_snr") == float("inf")
    assert value("hiss", "wave_snr") > 20
    assert 6 < value("hiss", "pause_floor_delta") < 25


def test_the_eos_shift_is_measured_exactly() -> None:
    assert value("eos", "eos_error_mean") == pytest.approx(0.8, abs=1e-4)
    assert value("eos", "eos_error_max") == pytest.approx(0.8, abs=1e-4)
    assert (
        value("eos", "hidden_snr") == value("eos", "latent_snr") == value("eos", "wave_snr") == float("inf")
    )


def test_a_gain_is_a_level_and_nothing_else() -> None:
    assert value("gain", "level_delta") == pytest.approx(20 * np.log10(0.7), abs=0.01)
    assert value("gain", "wave_snr") > 90
    assert value("gain", "mel_distance") < 1e-3
    assert abs(value("gain", "pause_floor_delta")) < 1e-2
    assert value("gain", "latent_snr") == float("inf")


def test_dropped_words_are_counted() -> None:
    words = sum(len(text.split()) for text in SENTENCES)
    assert value("word", "wer_delta") == pytest.approx(len(SENTENCES) / words)
    assert value("float", "wer") == value("hiss", "wer") == 0
    assert value("word", "wave_snr") == float("inf")


def test_what_is_kept_of_an_evaluation() -> None:
    one = evaluation()
    assert [len(found.audio) for found in one.results] == [1] * 6
    assert one.reference.name == "float"
    assert one.reference.depths == ()
    layers = open_checkpoint("demo").config.flow_lm.transformer.num_layers
    assert [depth.label for depth in one.variants[0].depths] == [
        *(f"layer {i + 1}" for i in range(layers)),
        "output",
    ]
    assert one.results[-1].heard[0] == "The clock."
