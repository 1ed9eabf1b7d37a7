"""One group of tensors at a time: what is measured, ranked, kept and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.errors import PocketQuantError
from pocketquant.evaluate import sensitivity
from pocketquant.evaluate.run import Evaluator, Settings
from pocketquant.evaluate.sensitivity import groups_of, measure_sensitivity
from pocketquant.evaluate.variants import Variant
from pocketquant.quantize.recipe import Recipe, Rule

# Three groups, one of them badly treated.
RECIPE = Recipe(
    "three",
    (
        Rule("flow_lm.transformer.layers.0.linear?.weight", "int4-g128"),
        Rule("flow_lm.transformer.layers.1.linear?.weight", "int8"),
        Rule("mimi.decoder_transformer.transformer.layers.0.linear?.weight", "int8"),
        Rule("flow_lm.speaker_proj_weight", "int8"),
    ),
)
VARIANT = Variant("three", RECIPE)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(open_checkpoint("demo"), Settings([VARIANT], ["The old clock."], cost=False))


def test_groups_are_what_the_recipe_makes_smaller_and_speech_goes_through(evaluator: Evaluator) -> None:
    groups = groups_of(evaluator.checkpoint, VARIANT)
    assert list(groups) == [
        "language model, layer 0, feed-forward",
        "language model, layer 1, feed-forward",
        "codec decoder, layer 0, feed-forward",
    ]
    assert [len(rows) for rows in groups.values()] == [2, 2, 2]


def test_ranked_by_damage_per_saved_byte_and_resumed(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "known.json"
    first = measure_sensitivity(evaluator, VARIANT, file)
    assert first[0].label == "language model, layer 0, feed-forward"
    ranks = [group.damage_per_megabyte for group in first]
    assert ranks == sorted(ranks, reverse=True)
    assert all(group.damage > 0 and group.saved_bytes > 0 for group in first)
    codec = next(group for group in first if group.label.startswith("codec"))
    assert codec.eos_error == 0
    assert first[0].eos_error > first[1].eos_error > 0 or first[1] is codec

    # As if interrupted: one group is missing, and only that one is measured again.
    kept = json.loads(file.read_text())
    del kept["recipes"]["three"]["groups"][codec.label]
    file.write_text(json.dumps(kept))
    measured: list[str] = []
    work = sensitivity._measure

    def counted(evaluator: Evaluator, variant: Variant, label: str, *rest: object) -> object:
        measured.append(label)
        return work(evaluator, variant, label, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sensitivity, "_measure", counted)
    assert measure_sensitivity(evaluator, VARIANT, file) == first
    assert measured == [codec.label]
    measured.clear()
    # Other sentences: nothing of it holds.
    other = Evaluator(evaluator.checkpoint, Settings([VARIANT], ["Please wait."], cost=False))
    assert measure_sensitivity(other, VARIANT, file) != first
    assert len(measured) == 3


def test_a_foreign_file_is_not_overwritten(evaluator: Evaluator, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"precious": true}')
    with pytest.raises(PocketQuantError, match="not a result of --sensitivity"):
        measure_sensitivity(evaluator, VARIANT, file)
    assert file.read_text() == '{"precious": true}'
