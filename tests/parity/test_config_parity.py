"""Configs, voices, layouts and loaders against the official package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from pocket_tts import TTSModel
from pocket_tts.default_parameters import get_default_voice_for_language
from pocket_tts.models.mimi import build_mimi
from pocket_tts.modules import text_conditioner
from pocket_tts.utils.config import CONFIGS_DIR, Config, load_config
from pocket_tts.utils.utils import (
    _ORIGINS_OF_PREDEFINED_VOICES,
    get_predefined_voice,
    make_cache_directory,
)
from safetensors.torch import load_file, save_file

from pocketquant.checkpoint import hub
from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.checkpoint.layout import expected_shapes
from pocketquant.checkpoint.random import random_checkpoint, time_frequencies
from pocketquant.config import ModelConfig, catalog

LANGUAGES = sorted(path.stem for path in CONFIGS_DIR.glob("*.yaml"))
SMALL = "english_2m_2026-10"


def test_the_same_languages() -> None:
    assert sorted(catalog.languages()) == LANGUAGES


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_field_of_every_config(name: str) -> None:
    official = load_config(CONFIGS_DIR / f"{name}.yaml")
    assert catalog.language(name).model_dump() == official.model_dump()
    assert ModelConfig.from_file(CONFIGS_DIR / f"{name}.yaml") == catalog.language(name)


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_official_package_reads_what_we_write(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(catalog.language(name).to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "c.yaml").model_dump() == catalog.language(name).model_dump()


def test_the_schema_has_the_official_fields_and_defaults() -> None:
    def schema(model: Any) -> dict[str, Any]:
        fields = {}
        for name, field in model.model_fields.items():
            fields[name] = None if field.is_required() else field.default
        return fields

    assert schema(ModelConfig) == schema(Config)
    for part in ("flow_lm", "mimi"):
        ours, theirs = ModelConfig.model_fields[part].annotation, Config.model_fields[part].annotation
        assert schema(ours) == schema(theirs)


def test_voices() -> None:
    assert catalog.voices() == _ORIGINS_OF_PREDEFINED_VOICES
    for language in LANGUAGES:
        assert catalog.default_voice(language) == get_default_voice_for_language(language)
        for voice in catalog.voices():
            assert catalog.get_predefined_voice(language, voice) == get_predefined_voice(language, voice)
    custom = get_default_voice_for_language("french", config="some.yaml")
    assert catalog.default_voice("french", custom=True) == custom


def test_the_same_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.web_cache("https://example.org/x.yaml").parent == make_cache_directory()


@pytest.fixture
def without_tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_conditioner, "build_tokenizer", lambda *_: None)


@pytest.mark.usefixtures("without_tokenizers")
@pytest.mark.parametrize("name", [*LANGUAGES, "demo"])
def test_names_and_shapes_of_every_model(name: str) -> None:
    path = catalog.demo_folder() / "demo.yaml" if name == "demo" else CONFIGS_DIR / f"{name}.yaml"
    config = load_config(path)
    with torch.device("meta"):
        model = TTSModel._from_pydantic_config(config, 0.3, 1, None, -4.0, None)
        width = config.mimi.inner_dim or config.mimi.seanet.dimension
        model.flow_lm.speaker_proj_weight = torch.nn.Parameter(
            torch.zeros(config.flow_lm.transformer.d_model, width)
        )
        model.mimi = build_mimi(config.mimi)
    official = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert expected_shapes(catalog.language(name)) == official


@pytest.mark.parametrize("name", [SMALL, "english_7m_2026-10", "english_18m_2026-10", "english_2026-01"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_random_checkpoints_load_strictly(name: str, dtype: str, tmp_path: Path) -> None:
    path = random_checkpoint(name, tmp_path, dtype=dtype)
    loaded = TTSModel.load_model(config=str(path)).state_dict()
    weights = open_checkpoint(path).weights
    assert set(weights) == set(loaded)
    for key, value in loaded.items():
        np.testing.assert_array_equal(weights[key].dequantize(), value.numpy())


def test_frequencies_are_those_of_the_buffer() -> None:
    from pocket_tts.modules.mlp import TimestepEmbedder

    np.testing.assert_array_max_ulp(time_frequencies(), TimestepEmbedder(8).freqs.numpy(), maxulp=1)


def test_the_demo_loads_strictly_with_the_trained_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(catalog.demo_folder())
    loaded = TTSModel.load_model(config="demo.yaml").state_dict()
    weights = open_checkpoint("demo").weights
    assert set(weights) == set(loaded)
    for key, value in loaded.items():
        np.testing.assert_array_equal(weights[key].dequantize(), value.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_separate_files_with_weight_norm(tmp_path: Path, dtype: torch.dtype) -> None:
    """Files in the older naming, loaded by both."""
    made = random_checkpoint(SMALL, tmp_path / "made", seed=2)
    tensors = {key: value.to(dtype) for key, value in load_file(made.parent / "model.safetensors").items()}
    renamed = {
        "flow_lm.speaker_proj_weight": "condition_provider.conditioners.speaker_wavs.output_proj.weight",
        "flow_lm.conditioner.embed.weight": "condition_provider.conditioners.transcript_in_segment.embed.weight",
        "flow_lm.bos_before_voice": "fuser.padding_value",
    }
    flow_lm = {"num_ema_updates": torch.zeros(1), "flow.w_s_t.0": torch.zeros(2)}
    mimi = {"quantizer.vq.0._codebook.embed": torch.zeros(2), "wavlm_proj.weight": torch.zeros(2)}
    for name, value in tensors.items():
        key = renamed.get(name, name).replace("in_proj.weight", "in_proj_weight")
        if name.startswith("flow_lm."):
            flow_lm[key.removeprefix("flow_lm.")] = value
            continue
        key = (
            key.removeprefix("mimi.")
            .replace(".conv.", ".conv.conv.", 1)
            .replace(".convtr.", ".convtr.convtr.", 1)
        )
        if key.startswith(("encoder.", "decoder.")) and key.endswith(".weight"):
            mimi[key + "_g"] = value.float().flatten(1).norm(dim=1).reshape(-1, 1, 1).to(dtype)
            mimi[key + "_v"] = value * 2
        else:
            mimi[key] = value
    save_file(flow_lm, tmp_path / "flow_lm.safetensors")
    save_file(mimi, tmp_path / "mimi.safetensors")
    config = ModelConfig.from_file(made).model_dump(mode="json", exclude_none=True)
    del config["weights_path"]
    config["flow_lm"]["weights_path"] = str(tmp_path / "flow_lm.safetensors")
    config["mimi"]["weights_path"] = str(tmp_path / "mimi.safetensors")
    (tmp_path / "old.yaml").write_text(ModelConfig.from_dict(config).to_yaml())
    loaded = TTSModel.load_model(config=str(tmp_path / "old.yaml")).state_dict()
    weights = open_checkpoint(tmp_path / "old.yaml").weights
    assert set(weights) == set(loaded)
    # In half precision the official loader rounds the folded weight once more.
    tolerance = 1e-6 if dtype == torch.float32 else 2e-3
    for key, value in loaded.items():
        ours = weights[key].dequantize()
        np.testing.assert_allclose(ours, value.numpy(), rtol=tolerance, atol=1e-7)
        if "_proj" in key or ".bias" in key:
            np.testing.assert_array_equal(ours, value.numpy())
