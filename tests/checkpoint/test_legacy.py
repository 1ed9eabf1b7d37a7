"""FlowLM and Mimi in files of their own, with the older names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.checkpoint.legacy import fold_weight_norm
from pocketquant.checkpoint.random import random_checkpoint
from pocketquant.config import ModelConfig
from pocketquant.errors import CheckpointError, ConfigError

Tensors = dict[str, NDArray[Any]]


def old_flow_lm(tensors: Tensors) -> Tensors:
    """The FlowLM tensors under the names of the training code, with its leftovers."""
    speech = "condition_provider.conditioners.speaker_wavs."
    text = "condition_provider.conditioners.transcript_in_segment."
    renamed = {
        "speaker_proj_weight": speech + "output_proj.weight",
        "conditioner.embed.weight": text + "embed.weight",
        "bos_before_voice": "fuser.padding_value",
    }
    old: Tensors = {
        "flow.w_s_t.0.weight": np.zeros(3, np.float32),
        "num_ema_updates": np.zeros(1, np.int64),
        text + "learnt_padding": np.zeros(3, np.float32),
        speech + "learnt_padding": np.zeros(3, np.float32),
    }
    for name, values in tensors.items():
        if name.startswith("flow_lm."):
            key = name.removeprefix("flow_lm.")
            old[renamed.get(key, key).replace("in_proj.weight", "in_proj_weight")] = values
    return old


def old_mimi(tensors: Tensors) -> Tensors:
    """The Mimi tensors as they were: doubled names, weight norm on SEANet, leftovers."""
    old: Tensors = {
        "quantizer.vq.layers.0._codebook.embed": np.zeros(3, np.float32),
        "quantizer.logvar_proj.weight": np.zeros(3, np.float32),
        "wavlm_proj.weight": np.zeros(3, np.float32),
        "wavlm_emb_downsample.conv.conv.weight": np.zeros(3, np.float32),
    }
    for name, values in tensors.items():
        if not name.startswith("mimi."):
            continue
        key = name.removeprefix("mimi.").replace("in_proj.weight", "in_proj_weight")
        key = key.replace(".conv.", ".conv.conv.", 1).replace(".convtr.", ".convtr.convtr.", 1)
        if key.startswith(("encoder.", "decoder.")) and key.endswith(".weight"):
            length = np.sqrt(np.sum(values**2, axis=(1, 2), keepdims=True))
            old[key + "_g"], old[key + "_v"] = length, 3 * values
        else:
            old[key] = values
    return old


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint("english_2m_2026-10", tmp_path_factory.mktemp("whole"), seed=5)


def separate(whole: Path, folder: Path, flow_lm: Tensors, mimi: Tensors) -> Path:
    save_file(flow_lm, folder / "flow_lm.safetensors")
    save_file(mimi, folder / "mimi.safetensors")
    config = ModelConfig.from_file(whole).model_dump(mode="json", exclude_none=True)
    del config["weights_path"]
    config["flow_lm"]["weights_path"] = "flow_lm.safetensors"
    config["mimi"]["weights_path"] = "mimi.safetensors"
    (folder / "old.yaml").write_text(ModelConfig.from_dict(config).to_yaml())
    return folder / "old.yaml"


def test_separate_files_give_the_combined_weights(whole: Path, tmp_path: Path) -> None:
    tensors = load_file(whole.parent / "model.safetensors")
    checkpoint = open_checkpoint(separate(whole, tmp_path, old_flow_lm(tensors), old_mimi(tensors)))
    assert set(checkpoint.weights) == set(tensors)
    assert checkpoint.has_voice_cloning
    assert [file.path.name for file in checkpoint.files] == [
        "old.yaml",
        "flow_lm.safetensors",
        "mimi.safetensors",
    ]
    for name, expected in tensors.items():
        np.testing.assert_allclose(checkpoint.weights[name].dequantize(), expected, rtol=1e-6, atol=1e-12)
        checkpoint.release(name)


def test_without_speaker_projection(whole: Path, tmp_path: Path) -> None:
    tensors = load_file(whole.parent / "model.safetensors")
    flow_lm = old_flow_lm(tensors)
    del flow_lm["condition_provider.conditioners.speaker_wavs.output_proj.weight"]
    checkpoint = open_checkpoint(separate(whole, tmp_path, flow_lm, old_mimi(tensors)))
    assert not checkpoint.has_voice_cloning
    assert not checkpoint.weights["flow_lm.speaker_proj_weight"].dequantize().any()


def test_another_mimi_over_a_combined_file(whole: Path, tmp_path: Path) -> None:
    tensors = load_file(whole.parent / "model.safetensors")
    other = {name: values * 2 for name, values in tensors.items() if name.startswith("mimi.")}
    save_file(other, tmp_path / "mimi.safetensors")
    config = ModelConfig.from_file(whole)
    mimi = config.mimi.model_copy(update={"weights_path": str(tmp_path / "mimi.safetensors")})
    (tmp_path / "m.yaml").write_text(config.model_copy(update={"mimi": mimi}).to_yaml())
    weights = open_checkpoint(tmp_path / "m.yaml").weights
    for name, expected in (tensors | other).items():
        np.testing.assert_array_equal(weights[name].dequantize(), expected)


@pytest.mark.parametrize(("gone", "there"), [("_g", "_v"), ("_v", "_g")])
def test_half_a_weight_norm_pair(whole: Path, tmp_path: Path, gone: str, there: str) -> None:
    tensors = load_file(whole.parent / "model.safetensors")
    mimi = old_mimi(tensors)
    del mimi["encoder.model.0.conv.conv.weight" + gone]
    with pytest.raises(
        CheckpointError, match=rf"weight{there} has no encoder.model.0.conv.conv.weight{gone}"
    ):
        open_checkpoint(separate(whole, tmp_path, old_flow_lm(tensors), mimi))


def test_lengths_that_do_not_fit(whole: Path, tmp_path: Path) -> None:
    tensors = load_file(whole.parent / "model.safetensors")
    mimi = old_mimi(tensors)
    mimi["encoder.model.0.conv.conv.weight_g"] = np.ones((3, 1, 1), np.float32)
    checkpoint = open_checkpoint(separate(whole, tmp_path, old_flow_lm(tensors), mimi))
    with pytest.raises(CheckpointError, match="has 3 values for the 64 rows"):
        checkpoint.weights["mimi.encoder.model.0.conv.weight"]


def test_a_direction_of_zeros_is_found(whole: Path, tmp_path: Path) -> None:
    tensors = load_file(whole.parent / "model.safetensors")
    mimi = old_mimi(tensors)
    mimi["encoder.model.0.conv.conv.weight_v"][1] = 0
    checkpoint = open_checkpoint(separate(whole, tmp_path, old_flow_lm(tensors), mimi))
    with pytest.raises(CheckpointError, match="holds 7 NaN or infinite values"):
        checkpoint.weights["mimi.encoder.model.0.conv.weight"]


def test_flow_lm_without_mimi(whole: Path, tmp_path: Path) -> None:
    path = separate(whole, tmp_path, {}, {})
    path.write_text(
        "\n".join(line for line in path.read_text().splitlines() if "mimi.safetensors" not in line)
    )
    with pytest.raises(ConfigError, match=r"given without mimi.weights_path"):
        open_checkpoint(path)


def test_fold_by_hand() -> None:
    v = np.array([[[3.0, 4.0]], [[0.0, 2.0]]], np.float32)
    g = np.array([10.0, 1.0], np.float32).reshape(2, 1, 1)
    np.testing.assert_allclose(fold_weight_norm(v, g), [[[6.0, 8.0]], [[0.0, 1.0]]])
