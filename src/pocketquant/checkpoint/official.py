"""The weights of an official checkpoint as lazy tensors under their official names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pocketquant.checkpoint.layout import Shape, check_finite, check_layout
from pocketquant.checkpoint.reader import TensorFile
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import CheckpointError
from pocketquant.quantize.stored import StoredTensor

# dtype in the file -> scheme of the StoredTensor that shows it.
FLOAT_SCHEMES = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
SPEAKER_PROJECTION = "flow_lm.speaker_proj_weight"


class Source(Protocol):
    """Where the values of one tensor come from."""

    @property
    def shape(self) -> Shape: ...

    @property
    def path(self) -> Path: ...

    def load(self) -> StoredTensor:
        """The tensor; reads nothing where it is a view."""

    def release(self) -> None:
        """Let the pages behind it go."""


@dataclass(frozen=True)
class Stored:
    """A tensor that a file holds as it is."""

    file: TensorFile
    key: str

    @property
    def shape(self) -> Shape:
        return self.file.info(self.key).shape

    @property
    def path(self) -> Path:
        return self.file.path

    def load(self) -> StoredTensor:
        """A view of the file.

        Raises:
            CheckpointError: the tensor holds no floats of 16 or 32 bits.
        """
        info = self.file.info(self.key)
        if info.dtype not in FLOAT_SCHEMES:
            raise CheckpointError(
                f"{self.path}: tensor {self.key} is {info.dtype}; weights must be F32, F16 or BF16"
            )
        return StoredTensor(FLOAT_SCHEMES[info.dtype], info.shape, self.file.array(self.key))

    def release(self) -> None:
        self.file.release(self.key)


class LazyWeights(Mapping[str, StoredTensor]):
    """Official name -> tensor. A tensor is looked at when it is taken, and checked for NaN and infinity then.

    Args:
        sources: where each comes from.
        config: what the checkpoint must be; names and shapes are checked at once.
        origin: for the error lines.

    Raises:
        CheckpointError: tensors are missing, unknown or of the wrong shape or dtype.
    """

    def __init__(self, sources: Mapping[str, Source], config: ModelConfig, origin: str) -> None:
        check_layout(config, {name: source.shape for name, source in sources.items()}, source=origin)
        for source in sources.values():
            if isinstance(source, Stored):
                source.load()  # a view: only the dtype is checked
        self._sources = dict(sources)
        self._finite: set[str] = set()

    def __getitem__(self, name: str) -> StoredTensor:
        source = self._sources[name]
        stored = source.load()
        if name not in self._finite:
            check_finite(name, stored.data, source=str(source.path), bfloat16=stored.scheme == "bf16")
            self._finite.add(name)
            # The check has read all of it. Who only wanted the shape shall not hold the whole file in memory.
            source.release()
        return stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def release(self, name: str) -> None:
        """Let the pages of `name` go; they are read again when they are used."""
        self._sources[name].release()

    @property
    def has_voice_cloning(self) -> bool:
        """Whether a recording can become a voice: the projection of its latents is there and not all zeros."""
        return bool(np.any(self[SPEAKER_PROJECTION].data))


def combined(file: TensorFile) -> dict[str, Source]:
    """The tensors of a `TTSModel.state_dict()` in one file."""
    return {name: Stored(file, name) for name in file}
