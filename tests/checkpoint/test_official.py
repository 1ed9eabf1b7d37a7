"""Every form in which an official checkpoint can be given."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.checkpoint.random import random_checkpoint
from pocketquant.config import catalog
from pocketquant.errors import CheckpointError, ConfigError, PocketQuantError

SMALL = "english_2m_2026-10"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(SMALL, tmp_path_factory.mktemp("made"), seed=3).parent


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint without its YAML."""
    for name in ("model.safetensors", "tokenizer.model"):
        shutil.copy(made / name, tmp_path / name)
    return tmp_path


def same_weights(checkpoint: Checkpoint, file: Path) -> None:
    expected = load_file(file)
    assert set(checkpoint.weights) == set(expected)
    for name, tensor in checkpoint.weights.items():
        np.testing.assert_array_equal(tensor.dequantize(), expected[name])


def test_demo_by_name() -> None:
    checkpoint = open_checkpoint("demo")
    assert checkpoint.config == catalog.language("demo")
    assert checkpoint.language == "demo"
    assert checkpoint.origin == "demo"
    assert not checkpoint.has_voice_cloning
    assert {tensor.scheme for tensor in checkpoint.weights.values()} == {"bf16"}
    assert checkpoint.tokenizer.kind == "sentencepiece"
    assert checkpoint.tokenizer.data == (catalog.demo_folder() / "tokenizer.model").read_bytes()
    assert [file.uri for file in checkpoint.files] == ["demo/demo.yaml", "demo/demo.safetensors"]


def test_demo_is_not_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.safetensors").write_bytes(b"something else")
    (tmp_path / "demo").mkdir()
    assert len(open_checkpoint("demo").weights) == 190


@pytest.mark.parametrize("form", ["model.yaml", "model.safetensors", "."])
def test_path_of_config_file_or_folder(made: Path, form: str) -> None:
    checkpoint = open_checkpoint(made / form)
    same_weights(checkpoint, made / "model.safetensors")
    assert checkpoint.config.flow_lm.z_dim == 64
    assert checkpoint.config_text == (made / "model.yaml").read_text()
    assert checkpoint.has_voice_cloning
    assert checkpoint.language is None
    assert len(checkpoint.tokenizer.data) > 10_000
    weights = checkpoint.files[-1]
    assert weights.sha256 == hashlib.sha256((made / "model.safetensors").read_bytes()).hexdigest()
    assert weights.bytes == (made / "model.safetensors").stat().st_size


def test_paths_in_a_yaml_count_from_its_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = catalog.language(SMALL).with_paths(weights="model.safetensors", tokenizer="tokenizer.model")
    (folder / "some.yaml").write_text(config.to_yaml())
    same_weights(open_checkpoint(folder / "some.yaml"), folder / "model.safetensors")
    assert open_checkpoint(folder / "some.yaml").tokenizer.data


def test_paths_in_a_yaml_count_from_the_working_directory_first(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = catalog.language(SMALL).with_paths(weights="model.safetensors", tokenizer="tokenizer.model")
    (tmp_path / "some.yaml").write_text(config.to_yaml())
    monkeypatch.chdir(made)
    same_weights(open_checkpoint(tmp_path / "some.yaml"), made / "model.safetensors")


@pytest.mark.parametrize("config", [SMALL, catalog.language(SMALL)], ids=["name", "object"])
def test_a_bare_file_with_a_config(folder: Path, config: object) -> None:
    checkpoint = open_checkpoint(folder / "model.safetensors", config=config)  # type: ignore[arg-type]
    same_weights(checkpoint, folder / "model.safetensors")
    assert checkpoint.tokenizer.data == (folder / "tokenizer.model").read_bytes()


def test_a_folder_named_like_on_the_hub(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "languages" / SMALL
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "tokenizer.model"):
        shutil.copy(made / name, folder / name)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.language == SMALL
    assert checkpoint.config == catalog.language(SMALL)
    assert checkpoint.tokenizer.data == (folder / "tokenizer.model").read_bytes()


def test_the_yaml_of_the_same_name_wins(made: Path, folder: Path) -> None:
    (folder / "other.yaml").write_text(catalog.language("english").to_yaml())
    with pytest.raises(CheckpointError, match=f"its tensors are those of {SMALL}"):
        open_checkpoint(folder / "model.safetensors")
    shutil.copy(made / "model.yaml", folder / "model.yaml")
    same_weights(open_checkpoint(folder / "model.safetensors"), folder / "model.safetensors")


def test_a_voice_without_config_is_called_one(tmp_path: Path) -> None:
    shutil.copy(catalog.demo_folder() / "heart.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match="not a model"):
        open_checkpoint(tmp_path / "heart.safetensors")


def test_a_bare_file_without_config_says_what_it_is(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"no config beside it; give config=.*; its tensors are those of {SMALL}"
    ):
        open_checkpoint(folder / "model.safetensors")


def test_half_precision(tmp_path: Path) -> None:
    for dtype in ("f16", "bf16"):
        checkpoint = open_checkpoint(random_checkpoint(SMALL, tmp_path / dtype, dtype=dtype))
        assert {tensor.scheme for tensor in checkpoint.weights.values()} == {dtype}
        assert all(np.isfinite(tensor.dequantize()).all() for tensor in checkpoint.weights.values())


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        (
            "flow_lm.emb_std",
            np.ones(32, np.int32),
            "tensor flow_lm.emb_std is I32; weights must be F32, F16 or BF16",
        ),
        ("flow_lm.emb_std", np.ones(32, np.float64), "tensor flow_lm.emb_std is F64"),
        ("flow_lm.emb_std", np.ones(33, np.float32), r"flow_lm.emb_std is \[33\], expected \[32\]"),
        ("flow_lm.more", np.ones(3, np.float32), "1 tensor is unknown to its config: flow_lm.more"),
    ],
)
def test_wrong_tensors(folder: Path, name: str, values: NDArray[Any], words: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {name: values}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(folder / "model.safetensors", config=SMALL)


def test_nan_is_found_when_the_tensor_is_taken(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["mimi.quantizer.output_proj.weight"][0, 0, 0] = np.nan
    save_file(tensors, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder / "model.safetensors", config=SMALL)
    checkpoint.weights["flow_lm.emb_std"]
    with pytest.raises(CheckpointError, match=r"model.safetensors: tensor mimi.quantizer.* holds 1 NaN"):
        checkpoint.weights["mimi.quantizer.output_proj.weight"]


def test_no_speaker_projection_no_voice_cloning(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["flow_lm.speaker_proj_weight"][:] = 0
    save_file(tensors, folder / "model.safetensors")
    assert not open_checkpoint(folder / "model.safetensors", config=SMALL).has_voice_cloning


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("germn", "no such file, folder or language; did you mean german"),
        ("no/such/file.safetensors", "no such file"),
        ("hf://owner/repo/weights.bin", "expected a .yaml config or a .safetensors file"),
        ("hf://owner", "expected hf://owner/repo/path"),
    ],
)
def test_unknown_sources(source: str, words: str) -> None:
    with pytest.raises(PocketQuantError, match=words):
        open_checkpoint(source)


def test_a_source_with_its_own_config_takes_no_other(made: Path) -> None:
    for source in ("demo", made / "model.yaml"):
        with pytest.raises(ConfigError, match="leave `config` out"):
            open_checkpoint(source, config="english")


def test_folders_that_do_not_say_what_to_take(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="0 safetensors files and 0 configs; name the file"):
        open_checkpoint(tmp_path)


def test_a_config_that_names_no_weights(tmp_path: Path) -> None:
    data = catalog.language(SMALL).model_copy(update={"weights_path": None})
    (tmp_path / "m.yaml").write_text(data.to_yaml())
    with pytest.raises(ConfigError, match="names no weights; add weights_path"):
        open_checkpoint(tmp_path / "m.yaml")


def test_a_missing_tokenizer_is_told_when_it_is_asked_for(made: Path, tmp_path: Path) -> None:
    config = catalog.language(SMALL).with_paths(
        weights=str(made / "model.safetensors"), tokenizer="gone.model"
    )
    (tmp_path / "m.yaml").write_text(config.to_yaml())
    checkpoint = open_checkpoint(tmp_path / "m.yaml")
    with pytest.raises(PocketQuantError, match=r"gone.model: the tokenizer cannot be read"):
        _ = checkpoint.tokenizer.data
