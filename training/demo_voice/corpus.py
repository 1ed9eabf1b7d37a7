"""Finished shards as one long stream of latent frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .vocoder import FRAME

# What each use of the corpus needs; audio and features are large.
FOR_FEATURES = ("features",)
FOR_CODEC = ("features", "pitch", "audio")
FOR_LM = ("features", "pitch", "position", "phones")


class Corpus:
    """Arrays of all shards behind each other; sentence i has `frames[i]` latent frames from `starts[i]` on."""

    def __init__(self, paths: Sequence[Path], keys: Sequence[str]) -> None:
        if not paths:
            raise SystemExit("there are no shards: run the audio step first")
        parts: dict[str, list[NDArray[Any]]] = {key: [] for key in (*keys, "texts", "frames", "aligned")}
        for path in paths:
            with np.load(path) as shard:
                for key, arrays in parts.items():
                    arrays.append(shard[key])
        self.arrays = {key: np.concatenate(arrays) for key, arrays in parts.items()}
        self.texts = [str(text) for text in self.arrays["texts"]]
        self.frames = self.arrays["frames"].astype(int)
        self.starts = np.r_[0, np.cumsum(self.frames)[:-1]]

    @classmethod
    def of(cls, work: Path, keys: Sequence[str]) -> Corpus:
        """The training shards of a work folder."""
        return cls(sorted(work.glob("shard*[0-9].npz")), keys)

    def __len__(self) -> int:
        return len(self.texts)

    def audio(self) -> Tensor:
        """[frames, 1920] int16 samples."""
        return torch.from_numpy(self.arrays["audio"]).view(-1, FRAME)
