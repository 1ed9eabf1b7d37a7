"""quantize, inspect, dequantize and simulate on an official-layout checkpoint of each of the 27 configs.

The weights are seeded random numbers; the official package loads what comes out with `strict=True` and must hold
exactly the values that our own reader gives.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pocket_tts import TTSModel as OfficialModel

from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.checkpoint.random import random_checkpoint
from pocketquant.config import catalog
from pocketquant.pipeline import dequantize_checkpoint, quantize_checkpoint
from pocketquant.quantize.recipe import Recipe

SMALL = "english_2m_2026-10"


def command(*arguments: str | Path) -> str:
    """What `pocketquant ARGUMENTS` prints; it must succeed and write nothing to stderr."""
    program = [sys.executable, "-m", "pocketquant", *map(str, arguments)]
    run = subprocess.run(program, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    return run.stdout


def same_values(official: OfficialModel, path: Path) -> int:
    """Compare every parameter of the official model with our reader's values; returns how many."""
    weights = open_checkpoint(str(path)).weights
    state = official.state_dict()
    assert set(state) == set(weights)
    for name, value in state.items():
        assert torch.equal(value, torch.from_numpy(weights[name].dequantize().copy())), name
    return len(state)


@pytest.mark.parametrize("language", catalog.languages())
def test_every_official_config(language: str, tmp_path: Path) -> None:
    config = random_checkpoint(catalog.language(language), tmp_path / "official", seed=1)
    small = tmp_path / "int8.safetensors"
    summary = json.loads(command("quantize", config, "-o", small, "--recipe", "int8", "--json"))
    assert summary["file_bytes"] == small.stat().st_size

    described = json.loads(command("inspect", small, "--json"))
    assert len(described["tensors"]) == summary["tensors"]

    plain = tmp_path / "plain.safetensors"
    command("dequantize", small, "-o", plain)
    compared = same_values(OfficialModel.load_model(config=plain.with_suffix(".yaml")), small)
    print(
        f"{language:26} {compared} tensors, {summary['parameters'] / 1e6:6.1f}M: "
        f"{summary['bytes_before'] / 1e6:7.1f} > {summary['file_bytes'] / 1e6:6.1f} MB, {summary['snr_db']:.1f} dB"
    )


@pytest.mark.parametrize("recipe", ["origin", "int8", "int8-lm", "int4"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_every_recipe_and_source_dtype(recipe: str, dtype: str, tmp_path: Path) -> None:
    config = random_checkpoint(catalog.language(SMALL), tmp_path / "official", seed=2, dtype=dtype)
    small, plain, simulated = (tmp_path / f"{name}.safetensors" for name in ("small", "plain", "simulated"))
    quantize_checkpoint(config, small, recipe)
    dequantize_checkpoint(small, plain)
    same_values(OfficialModel.load_model(config=plain.with_suffix(".yaml")), small)
    quantize_checkpoint(config, simulated, Recipe.named(recipe), simulate=True)
    same_values(OfficialModel.load_model(config=simulated.with_suffix(".yaml")), small)
