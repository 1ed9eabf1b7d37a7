"""Recipes as models that can speak, and what may stand after a plus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.errors import PocketQuantError, RecipeError
from pocketquant.evaluate.variants import Variant, parse_variants, weight_distortions
from pocketquant.ops.interface import LinearWeight, PackedWeight
from pocketquant.ops.reference import ReferenceOps
from pocketquant.pipeline import quantize_checkpoint


def schemes(name: str) -> dict[str, str]:
    demo = open_checkpoint("demo")
    return {name: tensor.scheme for name, tensor in Variant.parse(name).weights(demo).items()}


def test_recipes_are_those_of_quantize() -> None:
    demo = open_checkpoint("demo")
    plan = {row.name: row.scheme for row in Variant.parse("int4").recipe.plan(demo)}  # type: ignore[union-attr]
    assert schemes("int4") == plan
    assert schemes("int8+codec-float") == schemes("int8")


@pytest.mark.parametrize(("option", "wanted"), [("conv-int8", {"int8-tensor"}), ("conv-f16", {"f16"})])
def test_conv_options_change_convolutions_only_and_leave_small_ones_alone(
    option: str, wanted: set[str]
) -> None:
    before, after = schemes("int8"), schemes(f"int8+{option}")
    changed = {name: scheme for name, scheme in after.items() if scheme != before[name]}
    assert set(changed.values()) == wanted
    assert all(name.startswith("mimi.decoder.model.") and "conv" in name for name in changed)
    assert "mimi.decoder.model.11.conv.weight" not in changed  # the last one, 16 -> 1


class Packed(ReferenceOps):
    """Remembers the precision that is asked for with each shape."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[tuple[int, int], str] = {}

    def pack(self, weight: LinearWeight) -> PackedWeight:
        self.asked[weight.n, weight.k] = weight.activations
        return super().pack(weight)


LM_FEED_FORWARD, CODEC_FEED_FORWARD, CODEC_CONVOLUTION = (640, 160), (384, 128), (128, 3 * 128)


@pytest.mark.parametrize(
    ("name", "codec", "convolution"),
    [
        ("int8", "int16", "int16"),
        ("int8+codec-float", "float", "float"),
        ("int8+codec-int8", "int8", "int8"),
        ("int8+codec-int16", "int16", "int16"),
        ("int4", "int8", "int16"),  # 8 bits beside 4 bits only
        ("int4+codec-int16", "int16", "int16"),
    ],
)
def test_the_codec_computes_as_asked(
    monkeypatch: pytest.MonkeyPatch, name: str, codec: str, convolution: str
) -> None:
    demo = open_checkpoint("demo")
    ops = Packed()
    monkeypatch.setattr("pocketquant.evaluate.variants.get_ops", lambda threads: ops)
    variant = Variant.parse(name)
    variant.build(demo, variant.weights(demo))
    shapes = (LM_FEED_FORWARD, CODEC_FEED_FORWARD, CODEC_CONVOLUTION)
    assert [ops.asked[shape] for shape in shapes] == ["int8", codec, convolution]


def test_a_quantized_file_is_a_variant(tmp_path: Path) -> None:
    demo = open_checkpoint("demo")
    file = tmp_path / "small.safetensors"
    report = quantize_checkpoint(demo, file, "int8")
    variant = Variant.parse(f"{file}+codec-float")
    variant.check(demo)
    found = weight_distortions(demo.weights, variant.weights(demo))
    for row in report.rows:
        assert found[row.name].snr_db == pytest.approx(row.distortion.snr_db) or found[row.name].noise == 0


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    demo = open_checkpoint("demo")
    file = tmp_path / "small.safetensors"
    quantize_checkpoint(demo, file, "int8")
    fewer = {name: tensor for name, tensor in demo.weights.items() if name != "flow_lm.bos_emb"}
    with pytest.raises(PocketQuantError, match="holds another model than demo"):
        Variant.parse(str(file)).check(replace(demo, weights=fewer))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", "give different recipes"),
        ("int8,int8", "give different recipes"),
        ("float,int8", "give different recipes"),
        ("int9", "unknown recipe 'int9'"),
        ("int8+codec-flaot", "did you mean codec-float"),
        ("small.safetensors+conv-int8", "unknown option 'conv-int8'"),
    ],
)
def test_what_is_no_variant_is_named(names: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_variants(names)
