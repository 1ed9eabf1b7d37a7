"""Recipes: the first match decides, nothing is skipped silently, the plan is right about the bytes."""

from __future__ import annotations

import numpy as np
import pytest

from pocketquant.errors import RecipeError
from pocketquant.quantize import schemes
from pocketquant.quantize.config import QuantizeConfig
from pocketquant.quantize.presets import DESCRIPTIONS, PRESETS
from pocketquant.quantize.recipe import Recipe, Rule
from pocketquant.quantize.stored import StoredTensor


def weights(**shapes: tuple[int, ...]) -> dict[str, StoredTensor]:
    zeros = {name.replace("__", "."): np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    return {name: StoredTensor("f32", array.shape, array) for name, array in zeros.items()}


MODEL = weights(
    flow_lm__transformer__layers__0__self_attn__in_proj__weight=(96, 64),
    flow_lm__transformer__layers__0__self_attn__out_proj__weight=(64, 64),
    flow_lm__transformer__layers__0__linear1__weight=(128, 64),
    flow_lm__transformer__layers__0__norm1__weight=(64,),
    flow_lm__out_eos__weight=(1, 2048),
    flow_lm__conditioner__embed__weight=(101, 64),
    flow_lm__flow_net__res_blocks__0__mlp__0__weight=(64, 64),
    flow_lm__flow_net__res_blocks__0__mlp__0__bias=(2048,),
    flow_lm__flow_net__final_layer__linear__weight=(32, 64),
    flow_lm__bos_before_voice=(1, 1, 2048),
    mimi__decoder__model__2__convtr__weight=(64, 32, 12),
    mimi__decoder_transformer__transformer__layers__0__linear2__weight=(64, 128),
    mimi__encoder_transformer__transformer__layers__0__self_attn__in_proj__weight=(96, 64),
    mimi__decoder__model__11__conv__weight=(1, 16, 3),
)


def chosen(recipe: str) -> dict[str, str]:
    return {row.name: row.scheme for row in Recipe.named(recipe).plan(MODEL)}


def test_int8() -> None:
    assert list(chosen("int8").values()) == [
        "int8", "int8", "int8", "f32", "f32", "int8", "int8", "f32", "f16", "f32", "int8-tensor", "int8", "int8", "f32",
    ]  # fmt: skip


def test_int4() -> None:
    assert list(chosen("int4").values()) == [
        "int4-g32", "int4-g32", "int4-g32", "f32", "f32", "int8", "int8", "f32", "f16", "f32", "int8-tensor",
        "int4-g32", "int4-g32", "f32",
    ]  # fmt: skip


def test_int8_lm_touches_only_what_the_official_package_does() -> None:
    changed = [name for name, scheme in chosen("int8-lm").items() if scheme != "f32"]
    assert changed == list(MODEL)[:3]
    assert set(chosen("int8-lm").values()) == {"int8", "f32"}


def test_origin_follows_its_config() -> None:
    config = QuantizeConfig()
    for name, scheme in chosen("origin").items():
        skipped = (
            any(skip in name for skip in config.skip_layers) or np.prod(MODEL[name].shape) < config.min_size
        )
        assert scheme == ("f32" if skipped else "int8-tensor"), name


def test_plan_knows_the_bytes() -> None:
    for recipe in PRESETS:
        for row in Recipe.named(recipe).plan(MODEL):
            stored = schemes.get(row.scheme).quantize(MODEL[row.name].dequantize())
            assert row.bytes_after == stored.nbytes
            assert row.bytes_before == 4 * row.parameters


def test_first_match_wins_and_own_rules_come_first() -> None:
    recipe = Recipe.named("int8").with_rules(["*layers.0.linear1.weight=f32", "*.linear1.weight=int4-g64"])
    by_name = {row.name: row for row in recipe.plan(MODEL)}
    row = by_name["flow_lm.transformer.layers.0.linear1.weight"]
    assert (row.scheme, row.rule) == ("f32", "*layers.0.linear1.weight=f32")


def test_own_rules_reach_small_tensors() -> None:
    recipe = Recipe.named("int8").with_rules(["mimi.decoder.model.11.conv.weight=f16"])
    assert {row.name: row.scheme for row in recipe.plan(MODEL)}["mimi.decoder.model.11.conv.weight"] == "f16"


def test_keep_means_the_sources_own_form() -> None:
    half = StoredTensor("bf16", (4, 4), np.zeros((4, 4), dtype=np.uint16))
    (row,) = Recipe("mine", (Rule("*", "keep"),)).plan({"a": half})
    assert (row.scheme, row.bytes_after) == ("bf16", 32)


def test_pattern_without_match_names_near_misses() -> None:
    with pytest.raises(RecipeError, match=r"matches no tensor; did you mean .*linear1"):
        Recipe.named("int8").with_rules(["flow_lm.transformer.layers.0.linear_1.weight=int8"]).plan(MODEL)
    with pytest.raises(RecipeError, match="inspect"):
        Recipe.named("int8").with_rules(["zzzz=int8"]).plan(MODEL)


@pytest.mark.parametrize("text", ["", "=int8", "no equals", "a=", "a=int9", "a=int4", "a=KEEP"])
def test_rules_that_cannot_be_read(text: str) -> None:
    with pytest.raises(RecipeError):
        Rule.parse(text)


def test_unknown_recipe() -> None:
    with pytest.raises(RecipeError, match="int8"):
        Recipe.named("int9")


def test_quantized_source_is_refused() -> None:
    stored = schemes.get("int8").quantize(np.ones((4, 4), dtype=np.float32))
    with pytest.raises(RecipeError, match="already"):
        Recipe.named("int4").plan({"a": stored})


def test_only_256_levels_have_a_stored_form() -> None:
    with pytest.raises(RecipeError, match="256"):
        Recipe.from_config(QuantizeConfig(num_levels=16))


def test_every_preset_is_described() -> None:
    assert set(PRESETS) == set(DESCRIPTIONS)
    assert all(PRESETS[name].name == name for name in PRESETS)
