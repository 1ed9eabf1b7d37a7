"""Our own files: what is written is what is read, by us and by a stranger; damage is one clear line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.checkpoint.reader import TensorFile
from pocketquant.checkpoint.writer import Entry, create
from pocketquant.errors import CheckpointError, PocketQuantError
from pocketquant.pipeline import quantize_checkpoint
from pocketquant.quantize import schemes
from pocketquant.quantize.recipe import Recipe

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def demo() -> Checkpoint:
    return open_checkpoint("demo")


@pytest.fixture(scope="module", params=["origin", "int8", "int4"])
def quantized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantized") / f"{request.param}.safetensors"
    quantize_checkpoint("demo", path, request.param)
    return path


def test_round_trip(demo: Checkpoint, quantized: Path) -> None:
    plan = Recipe.named(quantized.stem).plan(demo)
    opened = open_checkpoint(str(quantized))
    assert list(opened.weights) == [row.name for row in plan]
    for row in plan:
        source = demo.weights[row.name]
        expected = (
            source if row.scheme == source.scheme else schemes.get(row.scheme).quantize(source.dequantize())
        )
        actual = opened.weights[row.name]
        assert (actual.scheme, actual.shape, actual.nbytes) == (row.scheme, row.shape, row.bytes_after)
        np.testing.assert_array_equal(actual.data, expected.data)
        np.testing.assert_array_equal(actual.dequantize(), expected.dequantize())


def test_it_is_self_contained(demo: Checkpoint, quantized: Path) -> None:
    opened = open_checkpoint(str(quantized))
    assert opened.config == demo.config
    assert (opened.tokenizer.kind, opened.tokenizer.data) == (demo.tokenizer.kind, demo.tokenizer.data)
    assert opened.has_voice_cloning == demo.has_voice_cloning
    assert opened.language == demo.language


def test_same_input_same_bytes(quantized: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    quantize_checkpoint("demo", again, quantized.stem)
    assert again.read_bytes() == quantized.read_bytes()


def test_provenance(demo: Checkpoint, quantized: Path) -> None:
    with safe_open(quantized, framework="numpy") as file:
        provenance = json.loads(file.metadata()["pocketquant.provenance"])
    assert provenance["recipe"]["name"] == quantized.stem
    assert [entry["sha256"] for entry in provenance["files"]] == [file.sha256 for file in demo.files]
    assert all(re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) for entry in provenance["files"])
    assert not any(entry["uri"].startswith("/") for entry in provenance["files"])


def test_the_reader_in_the_docs(quantized: Path) -> None:
    listing = re.search(r"```python\n(.*?)```", (DOCS / "FORMAT.md").read_text(), re.DOTALL)
    assert listing is not None
    namespace: dict[str, Any] = {}
    exec(listing[1], namespace)
    ours = open_checkpoint(str(quantized)).weights
    theirs = dict(namespace["read"](quantized))
    assert list(theirs) == list(ours)
    for name, values in theirs.items():
        np.testing.assert_array_equal(values, ours[name].dequantize())


def test_quantization_config_names_every_quantized_weight(quantized: Path) -> None:
    with safe_open(quantized, framework="numpy") as file:
        metadata = file.metadata()
    config = json.loads(metadata["quantization_config"])
    assert config["quant_method"] == "compressed-tensors"
    targets = [target for group in config["config_groups"].values() for target in group["targets"]]
    tensors = json.loads(metadata["pocketquant.tensors"])
    expected = [
        name.removesuffix(".weight")
        for name, (scheme, _) in tensors.items()
        if name.endswith(".weight") and scheme not in schemes.FLOAT_SCHEMES
    ]
    assert sorted(targets) == sorted(expected)
    assert not set(targets) & set(config["ignore"])


class Forge:
    """Rewrites a quantized file with something changed."""

    def __init__(self, source: Path, target: Path) -> None:
        self.target = target
        file = TensorFile.open(source)
        self.tensors = {name: file.array(name) for name in file}
        self.dtypes = {name: file.info(name).dtype for name in file}
        self.metadata = dict(file.metadata)

    def save(self) -> None:
        entries = [Entry(name, self.dtypes[name], array.shape) for name, array in self.tensors.items()]
        with create(self.target, entries, self.metadata) as writer:
            for name, array in self.tensors.items():
                writer.put(name, array)

    def error(self) -> str:
        self.save()
        with pytest.raises(PocketQuantError) as caught:
            for stored in open_checkpoint(str(self.target)).weights.values():
                stored.dequantize()
        message = str(caught.value)
        assert "\n" not in message
        assert self.target.name in message
        return message


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    source = tmp_path / "int4.safetensors"
    quantize_checkpoint("demo", source, "int4")
    return Forge(source, tmp_path / "forged.safetensors")


IN_PROJ = "flow_lm.transformer.layers.0.self_attn.in_proj.weight"


def test_newer_format(forge: Forge) -> None:
    forge.metadata["pocketquant.format_version"] = "2"
    assert "update pocketquant" in forge.error()


@pytest.mark.parametrize("key", ["config", "tokenizer", "tokenizer_kind", "tensors", "provenance"])
@pytest.mark.parametrize("value", [None, "", "{", "[]", "\x00", "[" * 10_000])
def test_damaged_metadata(forge: Forge, key: str, value: str | None) -> None:
    if value is None:
        del forge.metadata[f"pocketquant.{key}"]
    else:
        forge.metadata[f"pocketquant.{key}"] = value
    assert "quantize the original again" in forge.error() or key == "config"


@pytest.mark.parametrize(
    "row",
    [
        ["int8", [480, 160]],
        ["int5", [480, 160]],
        ["int4-g32", [160, 480]],
        ["int4-g32", [480, -1]],
        "int8",
        [],
    ],
)
def test_lying_list_of_tensors(forge: Forge, row: object) -> None:
    tensors = json.loads(forge.metadata["pocketquant.tensors"])
    tensors[IN_PROJ] = row
    forge.metadata["pocketquant.tensors"] = json.dumps(tensors)
    forge.error()


def test_missing_entry(forge: Forge) -> None:
    del forge.tensors[f"{IN_PROJ}_scale"]
    assert f"{IN_PROJ}_scale" in forge.error()


def test_unlisted_entry(forge: Forge) -> None:
    forge.tensors["flow_lm.extra"] = np.zeros(3, dtype=np.float32)
    forge.dtypes["flow_lm.extra"] = "F32"
    assert "flow_lm.extra" in forge.error()


def test_tensor_missing_from_the_model(forge: Forge) -> None:
    tensors = json.loads(forge.metadata["pocketquant.tensors"])
    del tensors["flow_lm.bos_emb"]
    del forge.tensors["flow_lm.bos_emb"]
    forge.metadata["pocketquant.tensors"] = json.dumps(tensors)
    assert "flow_lm.bos_emb" in forge.error()


@pytest.mark.parametrize("name", [f"{IN_PROJ}_scale", "flow_lm.flow_net.input_proj.weight"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(forge: Forge, name: str, bad: float) -> None:
    forge.tensors[name] = forge.tensors[name].copy()
    forge.tensors[name].flat[0] = bad
    assert name.removesuffix("_scale") in forge.error()


def test_wrong_dtype(forge: Forge) -> None:
    forge.tensors[f"{IN_PROJ}_packed"] = forge.tensors[f"{IN_PROJ}_packed"].astype(np.int64)
    forge.dtypes[f"{IN_PROJ}_packed"] = "I64"
    assert f"{IN_PROJ}_packed" in forge.error()


def test_truncated(forge: Forge, tmp_path: Path) -> None:
    whole = (tmp_path / "int4.safetensors").read_bytes()
    for size in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        forge.target.write_bytes(whole[:size])
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(str(forge.target))
        assert "\n" not in str(caught.value)
