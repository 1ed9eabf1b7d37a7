"""Plain float checkpoints in the official layout, which the official package loads with `strict=True`.

A quantized model written this way has the values of the quantized one at the size of the original: to hear a
recipe with the official package, or to go back from one of our files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pocketquant.checkpoint.checkpoint import Checkpoint
from pocketquant.checkpoint.convention import FLOAT_DTYPES
from pocketquant.checkpoint.writer import Entry, SafetensorsWriter, create
from pocketquant.files import atomic_path
from pocketquant.quantize.stored import StoredTensor


class PlainSink:
    """Takes stored tensors and writes their float values."""

    def __init__(self, writer: SafetensorsWriter) -> None:
        self._writer = writer

    def put(self, name: str, stored: StoredTensor) -> None:
        """Write `stored`: floats as they are, everything else as float32."""
        self._writer.put(name, stored.data if stored.scheme in FLOAT_DTYPES else stored.dequantize())


@contextmanager
def create_plain(
    path: str | Path, checkpoint: Checkpoint, tensors: Mapping[str, tuple[str, tuple[int, ...]]]
) -> Iterator[PlainSink]:
    """A new float checkpoint at `path`, with its config (`.yaml`) and tokenizer beside it.

    Args:
        path: the safetensors file; the companions take its name with their own endings.
        checkpoint: whose config and tokenizer go along.
        tensors: name -> (scheme, shape) of what will be put.

    Raises:
        PocketQuantError: a file cannot be written.
    """
    path = Path(path)
    entries = [
        Entry(name, FLOAT_DTYPES.get(scheme, "F32"), shape) for name, (scheme, shape) in tensors.items()
    ]
    with create(path, entries, {"format": "pt"}) as writer:
        yield PlainSink(writer)
        _write_companions(path, checkpoint)


def companion_paths(path: Path, checkpoint: Checkpoint) -> tuple[Path, Path]:
    """The config and the tokenizer that stand beside the checkpoint `path`."""
    ending = ".tokenizer.json" if checkpoint.tokenizer.kind == "tokenizers" else ".tokenizer.model"
    return path.with_suffix(".yaml"), path.with_suffix(ending)


def _write_companions(path: Path, checkpoint: Checkpoint) -> None:
    yaml_path, tokenizer_path = companion_paths(path, checkpoint)
    with atomic_path(tokenizer_path) as temporary:
        temporary.write_bytes(checkpoint.tokenizer.data)
    # Absolute paths: the official package takes relative ones from the working directory.
    config = checkpoint.config.with_paths(
        weights=str(path.resolve()), tokenizer=str(tokenizer_path.resolve())
    )
    with atomic_path(yaml_path) as temporary:
        temporary.write_text(config.to_yaml(), encoding="utf-8")
