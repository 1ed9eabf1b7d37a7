"""Our files in the hands of the real compressed-tensors package: it decompresses to our values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from safetensors import safe_open

from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.pipeline import quantize_checkpoint
from pocketquant.quantize.recipe import Recipe


@pytest.mark.parametrize(
    ("recipe", "rules"),
    [
        ("origin", []),
        ("int8", []),
        ("int4", []),
        ("int8", ["mimi.*.conv.weight=int8"]),
        ("int4", ["flow_lm.transformer.*.linear?.weight=int4-g128", "mimi.*.conv.weight=int4-g64"]),
    ],
)
def test_decompresses_to_our_values(recipe: str, rules: list[str], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    quantize_checkpoint("demo", path, Recipe.named(recipe).with_rules(rules))
    ours = open_checkpoint(str(path)).weights
    compared = 0
    with safe_open(path, framework="pt") as file:
        config = QuantizationConfig.model_validate(json.loads(file.metadata()["quantization_config"]))
        for scheme in config.config_groups.values():
            compressor = BaseCompressor.get_value_from_registry(str(scheme.format))
            for module in scheme.targets:
                entries = {
                    name.removeprefix(f"{module}."): file.get_tensor(name)
                    for name in file.keys()  # noqa: SIM118 - not a mapping
                    if name.startswith(f"{module}.weight")
                }
                # compressed-tensors computes in the scale's dtype; in float32 its result is exactly ours.
                entries["weight_scale"] = entries["weight_scale"].float()
                theirs = compressor.decompress(entries, scheme)["weight"]
                expected = torch.from_numpy(ours[f"{module}.weight"].dequantize())
                assert torch.equal(theirs.reshape(expected.shape), expected), module
                compared += 1
    assert compared > 50
