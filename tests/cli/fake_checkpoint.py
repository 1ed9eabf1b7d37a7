"""A checkpoint in memory, for the commands that only look at checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from pocketquant.checkpoint.checkpoint import Checkpoint, TokenizerFile
from pocketquant.config.catalog import language
from pocketquant.config.schema import ModelConfig
from pocketquant.quantize import schemes
from pocketquant.quantize.stored import StoredTensor


@dataclass
class FakeCheckpoint:
    """What `inspect` and `compare` use of a Checkpoint; `released` lists the tensors that were let go."""

    tensors: Mapping[str, StoredTensor]
    origin: str = "model.safetensors"
    language: str | None = "english"
    has_voice_cloning: bool = True
    provenance: dict[str, Any] = field(default_factory=dict)
    config: ModelConfig = field(default_factory=lambda: language("english_2m_2026-10"))
    tokenizer: TokenizerFile = field(default_factory=lambda: TokenizerFile("tokenizers", b"{}"))
    released: list[str] = field(default_factory=list)

    @property
    def weights(self) -> Mapping[str, StoredTensor]:
        return self.tensors

    def release(self, name: str) -> None:
        self.released.append(name)

    def as_checkpoint(self) -> Checkpoint:
        return cast(Checkpoint, self)


def weights(chosen: Mapping[str, str], seed: int = 3) -> dict[str, StoredTensor]:
    """Random tensors of fixed shapes under official names, stored by the chosen schemes (else f32)."""
    shapes = {
        "flow_lm.transformer.layers.0.linear1.weight": (16, 32),
        "flow_lm.transformer.layers.1.linear1.weight": (16, 32),
        "flow_lm.out_norm.weight": (32,),
        "mimi.decoder.model.0.conv.weight": (8, 4, 3),
    }
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: schemes.get(chosen.get(name, "f32")).quantize(array) for name, array in values.items()}


FIRST, SECOND, NORM, CONV = weights({})
INT8 = {FIRST: "int8", SECOND: "int4-g32", CONV: "f16"}
