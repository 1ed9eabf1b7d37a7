"""FlowLM and Mimi in separate files with the older names, mapped to the official combined ones.

The names are those that pocket-tts 4.0.1 knows (`utils/weights_loading.py`): training-time names of the text
and speaker conditioners, Mimi with doubled `.conv.conv.`, weight-norm pairs, and leftovers of training that
no model uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pocketquant.checkpoint.layout import Shape
from pocketquant.checkpoint.official import SPEAKER_PROJECTION, Source, Stored
from pocketquant.checkpoint.reader import TensorFile
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import CheckpointError
from pocketquant.quantize.stored import FloatArray, StoredTensor

_FLOW_LM_DROPPED = (
    "condition_provider.conditioners.transcript_in_segment.learnt_padding",
    "condition_provider.conditioners.speaker_wavs.learnt_padding",
    "num_ema_updates",
)
_FLOW_LM_RENAMED = {
    "condition_provider.conditioners.transcript_in_segment.embed.weight": "conditioner.embed.weight",
    "condition_provider.conditioners.speaker_wavs.output_proj.weight": "speaker_proj_weight",
    "fuser.padding_value": "bos_before_voice",
}
_MIMI_DROPPED = (
    "model.quantizer.logvar_proj.weight",
    "quantizer.logvar_proj.weight",
    "quantizer.logvar_param",
    "wavlm_input_resample.kernel",
    "wavlm_proj.weight",
)


@dataclass(frozen=True)
class WeightNorm:
    """A weight stored as length and direction: w = v * g / |v|, the norm taken over all axes but the first.

    As torch's weight_norm with dim=0 (Salimans & Kingma 2016, https://arxiv.org/abs/1602.07868). The product
    is computed in float32 whatever the pair is stored in.
    """

    length: Stored
    direction: Stored

    @property
    def shape(self) -> Shape:
        return self.direction.shape

    @property
    def path(self) -> Path:
        return self.direction.path

    def load(self) -> StoredTensor:
        """The product, float32."""
        v, g = self.direction.load().dequantize(), self.length.load().dequantize()
        if g.size != v.shape[0]:
            raise CheckpointError(
                f"{self.path}: {self.length.key} has {g.size} values for the {v.shape[0]} rows of its direction"
            )
        return StoredTensor("f32", v.shape, fold_weight_norm(v, g))

    def release(self) -> None:
        self.length.release()
        self.direction.release()


@dataclass(frozen=True)
class Zeros:
    """A tensor that the file leaves out and that counts as zero."""

    path: Path
    shape: Shape

    def load(self) -> StoredTensor:
        """Zeros, float32."""
        return StoredTensor("f32", self.shape, np.zeros(self.shape, np.float32))

    def release(self) -> None:
        """There is nothing to let go."""


def fold_weight_norm(v: FloatArray, g: FloatArray) -> FloatArray:
    """w = v * g / |v|: `v` float32 [rows, ...], `g` one length per row in any shape; a row of zeros gives NaN."""
    rows = v.reshape(len(v), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = g.reshape(-1, 1) / np.sqrt(np.sum(np.square(rows), axis=1, keepdims=True))
        folded: FloatArray = (rows * factor).astype(np.float32).reshape(v.shape)
    return folded


def flow_lm_sources(file: TensorFile, config: ModelConfig) -> dict[str, Source]:
    """The tensors of a FlowLM file under their combined names (`flow_lm.*`).

    A file without a speaker projection (a model that cannot clone voices) gets zeros for it.
    """
    sources: dict[str, Source] = {}
    for key in file:
        if key.startswith("flow.w_s_t.") or key in _FLOW_LM_DROPPED:
            continue
        name = _FLOW_LM_RENAMED.get(key, key).replace(
            ".self_attn.in_proj_weight", ".self_attn.in_proj.weight"
        )
        sources[f"flow_lm.{name}"] = Stored(file, key)
    shape = (config.flow_lm.transformer.d_model, config.mimi.encoded_dim)
    sources.setdefault(SPEAKER_PROJECTION, Zeros(file.path, shape))
    return sources


def mimi_sources(file: TensorFile) -> dict[str, Source]:
    """The tensors of a Mimi file, or the `mimi.*` ones of a combined file, under their combined names.

    Raises:
        CheckpointError: one half of a weight-norm pair is missing.
    """
    if any(key.startswith("mimi.") for key in file):
        return {key: Stored(file, key) for key in file if key.startswith("mimi.")}
    sources: dict[str, Source] = {}
    for key in file:
        if (
            key.startswith("model.quantizer.vq.")
            or "_codebook" in key
            or "wavlm_emb_downsample" in key
            or key in _MIMI_DROPPED
        ):
            continue
        stem, part = key[:-2], key[-2:]
        if part == "_v" and stem.endswith(".weight"):
            if f"{stem}_g" not in file:
                raise CheckpointError(f"{file.path}: {key} has no {stem}_g; get a sound copy of the file")
        elif part == "_g" and stem.endswith(".weight"):
            if f"{stem}_v" not in file:
                raise CheckpointError(f"{file.path}: {key} has no {stem}_v; get a sound copy of the file")
            sources[_mimi_name(stem)] = WeightNorm(Stored(file, key), Stored(file, f"{stem}_v"))
        else:
            sources[_mimi_name(key)] = Stored(file, key)
    return sources


def _mimi_name(key: str) -> str:
    name = key.removeprefix("model.").replace(".conv.conv.", ".conv.").replace(".convtr.convtr.", ".convtr.")
    return "mimi." + name.replace("in_proj_weight", "in_proj.weight")
