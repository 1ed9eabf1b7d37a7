"""Our own files: one safetensors file with quantized weights, config, tokenizer and provenance.

docs/FORMAT.md states the format; `convention` has the names of the tensors. This module writes and reads the
`__metadata__` and turns the file into a `Checkpoint`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pocketquant.checkpoint import convention, hub
from pocketquant.checkpoint.checkpoint import VERSION_KEY, Checkpoint, SourceFile, TokenizerFile
from pocketquant.checkpoint.layout import check_finite, check_layout
from pocketquant.checkpoint.reader import TensorFile
from pocketquant.checkpoint.writer import SafetensorsWriter, create
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import CheckpointError
from pocketquant.quantize import schemes
from pocketquant.quantize.recipe import PlanRow, Recipe
from pocketquant.quantize.stored import StoredTensor

FORMAT_VERSION = 1


def is_compressed(file: TensorFile) -> bool:
    """Whether this safetensors file is one of ours."""
    return VERSION_KEY in file.metadata


def build_metadata(
    checkpoint: Checkpoint, recipe: Recipe, plan: Sequence[PlanRow], version: str
) -> dict[str, str]:
    """The `__metadata__` of the file that `plan` makes of `checkpoint`.

    There is no date in it: the same source, recipe and version give the same bytes.
    """
    tensors = {row.name: (row.scheme, row.shape) for row in plan}
    provenance = {
        "source": _public(checkpoint.origin),
        "files": [
            {"uri": _public(file.uri), "sha256": file.sha256, "bytes": file.bytes}
            for file in checkpoint.files
        ],
        "recipe": recipe.describe(),
        "pocketquant": version,
    }
    return {
        "format": "pt",  # what transformers expects of any safetensors file
        "quantization_config": _to_json(convention.quantization_config(tensors, version)),
        VERSION_KEY: str(FORMAT_VERSION),
        "pocketquant.config": checkpoint.config.to_yaml(),
        "pocketquant.language": checkpoint.language or "",
        "pocketquant.voice_cloning": "true" if checkpoint.has_voice_cloning else "false",
        "pocketquant.tokenizer": base64.b64encode(checkpoint.tokenizer.data).decode(),
        "pocketquant.tokenizer_kind": checkpoint.tokenizer.kind,
        "pocketquant.tensors": _to_json(
            {name: [scheme, list(shape)] for name, (scheme, shape) in tensors.items()}
        ),
        "pocketquant.provenance": _to_json(provenance),
    }


class CompressedSink:
    """Takes stored tensors and writes them in the names of the convention."""

    def __init__(self, writer: SafetensorsWriter) -> None:
        self._writer = writer

    def put(self, name: str, stored: StoredTensor) -> None:
        """Write `stored` with its scales."""
        for entry, array in convention.arrays(name, stored).items():
            self._writer.put(entry, array)


@contextmanager
def create_compressed(
    path: str | Path, checkpoint: Checkpoint, recipe: Recipe, plan: Sequence[PlanRow], version: str
) -> Iterator[CompressedSink]:
    """A new file of ours at `path`, for what `plan` makes of `checkpoint`.

    Raises:
        PocketQuantError: the file cannot be written.
    """
    entries = [entry for row in plan for entry in convention.entries(row.name, row.scheme, row.shape)]
    with create(path, entries, build_metadata(checkpoint, recipe, plan, version)) as writer:
        yield CompressedSink(writer)


def open_compressed(path: str | Path) -> Checkpoint:
    """Open one of our files. Values are read when they are asked for.

    Raises:
        CheckpointError: not one of ours, of a newer format, damaged, or its tensors contradict its config.
    """
    file = TensorFile.open(path)
    metadata = _Metadata(file)
    config = ModelConfig.from_yaml(metadata.text("config"), f"{path} (config)")
    tensors = metadata.tensors()
    weights = CompressedWeights(file, tensors)
    check_layout(config, {name: shape for name, (_, shape) in tensors.items()}, source=str(path))
    return Checkpoint(
        config=config,
        config_text=metadata.text("config"),
        tokenizer=TokenizerFile(metadata.tokenizer_kind(), metadata.tokenizer()),
        weights=weights,
        has_voice_cloning=file.metadata.get("pocketquant.voice_cloning") != "false",
        origin=str(path),
        language=file.metadata.get("pocketquant.language") or None,
        files=[SourceFile(Path(path).name, Path(path))],
        provenance=metadata.object("provenance"),
    )


class CompressedWeights(Mapping[str, StoredTensor]):
    """The tensors of one of our files under their official names, mapped, each checked when it is taken."""

    def __init__(self, file: TensorFile, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        self.file = file
        self._tensors = tensors
        self._check_entries()

    def __getitem__(self, name: str) -> StoredTensor:
        scheme, shape = self._tensors[name]
        stored = convention.load(name, scheme, shape, self.file.array)
        floats = stored.data if stored.scale is None else stored.scale
        check_finite(name, floats, source=str(self.file.path), bfloat16=scheme == "bf16")
        return stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def release(self, name: str) -> None:
        """Let the pages of `name` go; they are read again when they are used."""
        scheme, shape = self._tensors[name]
        for entry in convention.entries(name, scheme, shape):
            self.file.release(entry.name)

    def _check_entries(self) -> None:
        expected = {
            entry.name: entry
            for name, (scheme, shape) in self._tensors.items()
            for entry in convention.entries(name, scheme, shape)
        }
        for name, entry in expected.items():
            info = self.file.info(name)
            if (info.dtype, info.shape) != (entry.dtype, entry.shape):
                raise self._error(
                    f"tensor {name!r} is {info.dtype} {list(info.shape)}, its scheme needs {entry.dtype} "
                    f"{list(entry.shape)}; quantize the original again"
                )
        for name in self.file:
            if name not in expected:
                raise self._error(
                    f"tensor {name!r} is not in its list of tensors; quantize the original again"
                )

    def _error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.file.path}: {problem}")


class _Metadata:
    """The `pocketquant.*` entries of a header, with errors that say what is wrong with which."""

    def __init__(self, file: TensorFile) -> None:
        self.file = file
        version = file.metadata.get(VERSION_KEY, "")
        if not version.isdecimal() or len(version) > 9:
            raise self.error("is not a pocketquant file; `pocketquant quantize` makes one")
        if int(version) > FORMAT_VERSION:
            raise self.error(f"has format version {version}, newer than {FORMAT_VERSION}; update pocketquant")

    def error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.file.path}: {problem}")

    def damaged(self, key: str) -> CheckpointError:
        return self.error(
            f"its metadata 'pocketquant.{key}' is missing or damaged; quantize the original again"
        )

    def text(self, key: str) -> str:
        try:
            return self.file.metadata[f"pocketquant.{key}"]
        except KeyError:
            raise self.damaged(key) from None

    def object(self, key: str) -> dict[str, Any]:
        try:
            value = json.loads(self.text(key))
        except (ValueError, RecursionError):
            raise self.damaged(key) from None
        if not isinstance(value, dict):
            raise self.damaged(key)
        return value

    def tokenizer(self) -> bytes:
        try:
            data = base64.b64decode(self.text("tokenizer"), validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if not data:
            raise self.damaged("tokenizer")
        return data

    def tokenizer_kind(self) -> Any:
        kind = self.text("tokenizer_kind")
        if kind not in ("tokenizers", "sentencepiece"):
            raise self.damaged("tokenizer_kind")
        return kind

    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        result = {}
        for name, row in self.object("tensors").items():
            match row:
                case [str(scheme), [*sizes]] if scheme in schemes.SCHEMES and all(
                    _is_size(size) for size in sizes
                ):
                    result[name] = (scheme, tuple(sizes))
                case _:
                    raise self.damaged("tensors")
        return result


def _public(uri: str) -> str:
    """An address as it is, a path without its folders, which are nobody else's business."""
    return uri if hub.is_remote(uri) else Path(uri).name


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 32


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
