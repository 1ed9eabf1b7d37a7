"""Writing a safetensors file tensor by tensor, without ever holding it in memory.

The `safetensors` library serializes tensors that are all in memory at once. The format is simple (an 8-byte
little-endian length, a JSON header, the data), the sizes are known from the plan, so each tensor goes to its
place as soon as it exists. https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from pocketquant.checkpoint.reader import DTYPES
from pocketquant.errors import CheckpointError
from pocketquant.files import atomic_path
from pocketquant.quantize.stored import Array


@dataclass(frozen=True)
class Entry:
    """A tensor to come: its name in the file, its safetensors dtype and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return DTYPES[self.dtype].itemsize * prod(self.shape)


class SafetensorsWriter:
    """Puts tensors into a file whose header is already written. Made by `create`."""

    def __init__(self, path: Path, entries: Iterable[Entry], metadata: Mapping[str, str]) -> None:
        # Widest types first, as the library does: then every tensor is aligned to its own type.
        ordered = sorted(entries, key=lambda entry: (-DTYPES[entry.dtype].itemsize, entry.name))
        header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
        self._places: dict[str, tuple[Entry, int]] = {}
        position = 0
        for entry in ordered:
            end = position + entry.nbytes
            header[entry.name] = {
                "dtype": entry.dtype,
                "shape": list(entry.shape),
                "data_offsets": [position, end],
            }
            self._places[entry.name] = (entry, position)
            position = end
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._start = 8 + len(text)
        self._missing = set(self._places)
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`, which `create` guarantees
        self._file.write(len(text).to_bytes(8, "little") + text)
        self._file.truncate(self._start + position)

    def put(self, name: str, array: Array) -> None:
        """Write the data of `name`, which must have the dtype and shape that its entry promised."""
        entry, position = self._places[name]
        dtype = DTYPES[entry.dtype]
        if array.dtype != dtype or array.shape != entry.shape:
            raise CheckpointError(
                f"{name}: {array.dtype} {array.shape} does not fit the entry {entry.dtype} {entry.shape}"
            )
        self._file.seek(self._start + position)
        flat = np.ascontiguousarray(array, dtype=dtype).reshape(-1)
        self._file.write(flat.view(np.uint8).data)
        self._missing.discard(name)

    def close(self, *, complete: bool) -> None:
        """Close the file; `complete` asserts that every tensor has been put."""
        self._file.close()
        if complete and self._missing:
            raise CheckpointError(
                f"{len(self._missing)} tensors were never written, {min(self._missing)} first"
            )


@contextmanager
def create(
    path: str | Path, entries: Iterable[Entry], metadata: Mapping[str, str]
) -> Iterator[SafetensorsWriter]:
    """A writer for a new safetensors file, which takes the name `path` only when it is complete.

    Args:
        path: the file; an existing one is replaced at the end.
        entries: all tensors that the file will have.
        metadata: strings for the header's `__metadata__`.

    Raises:
        PocketQuantError: the file cannot be written.
        CheckpointError: a tensor does not fit its entry, or one is missing at the end.
    """
    with atomic_path(path) as temporary:
        writer = SafetensorsWriter(temporary, entries, metadata)
        try:
            yield writer
        except BaseException:
            writer.close(complete=False)
            raise
        writer.close(complete=True)
