"""Voice files: what the language model remembers of a voice, so that no recording has to be encoded again.

The format is the official one (`models/model_state.py` of the official package), a safetensors file with, per
layer i,
    transformer.layers.i.self_attn/cache   [2, 1, T, heads, head size]: keys and values, rotary embedding
    applied transformer.layers.i.self_attn/offset  [1]: how many of the T positions are in use (NaN behind
    them) transformer.layers.i.self_attn/pad     [1]: always 0 for a single voice; optional
Older files have, instead of `offset`, a tensor `current_end` whose length is the number of positions.

These are attention states: they mean something to the weights that made them, and to no others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketquant.checkpoint.reader import TensorFile
from pocketquant.config.schema import FlowLMTransformerConfig
from pocketquant.errors import CheckpointError, VoiceError
from pocketquant.files import atomic_path

FloatArray = NDArray[np.float32]

_KEY = re.compile(r"transformer\.layers\.(\d{1,4})\.self_attn/(cache|offset|pad|current_end)")
_FLOATS = ("F32", "F16", "BF16", "F64")
_INTEGERS = ("I64", "I32", "I16", "I8", "U8")


@dataclass
class VoiceState:
    """A voice as one set of weights knows it; also the state that a generation continues from.

    Attributes:
        layers: per transformer layer the keys and values, float32 `[2, positions, kv heads, head size]`.
    """

    layers: list[FloatArray]

    @property
    def positions(self) -> int:
        """How many positions of the context the voice takes."""
        return int(self.layers[0].shape[1]) if self.layers else 0

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    def copy(self) -> VoiceState:
        """A state of its own, to be continued from without changing this one."""
        return VoiceState([layer.copy() for layer in self.layers])

    def check(self, transformer: FlowLMTransformerConfig, name: str = "the voice") -> None:
        """Refuse a voice of other weights.

        Raises:
            VoiceError: number of layers, key/value heads or head size differ from the model's.
        """
        wanted = (transformer.num_layers, transformer.kv_heads, transformer.head_dim)
        found = {(len(self.layers), layer.shape[2], layer.shape[3]) for layer in self.layers}
        if found != {wanted}:
            shape = _layout(*found.pop()) if len(found) == 1 else "layers of several sizes"
            raise VoiceError(
                f"{name}: made for other weights: the voice has {shape}, the model {_layout(*wanted)}; "
                "take a voice of this model, or a recording, which any model that clones can use"
            )


def _layout(layers: int, heads: int, size: int) -> str:
    return f"{layers} layers of {heads} x {size}"


def is_voice_file(source: str | Path) -> bool:
    """Whether a path, `https://` or `hf://` address names a voice file rather than a recording."""
    text = str(source)
    if text.startswith(("http://", "https://")):
        text = text.split("#")[0].split("?")[0]
    elif text.startswith("hf://"):
        text = text.rsplit("@", 1)[0]
    return text.endswith(".safetensors")


def read_voice(path: str | Path) -> VoiceState:
    """Read a voice file.

    Raises:
        VoiceError: no such file, no safetensors file, or one that holds no voice (tensors missing, of the
            wrong shape or type, NaN within the positions in use).
    """
    try:
        with TensorFile.open(path) as file:
            return VoiceState(_layers(file))
    except CheckpointError as error:
        raise VoiceError(str(error)) from error


def _layers(file: TensorFile) -> list[FloatArray]:
    parts: dict[int, dict[str, str]] = {}
    for name in file:
        match = _KEY.fullmatch(name)
        if match is None:
            raise VoiceError(
                f"{file.path}: not a voice: the tensor {name!r} belongs to no attention state; "
                "give a file that `export-voice` wrote, or a recording"
            )
        parts.setdefault(int(match[1]), {})[match[2]] = name
    if not parts:
        raise VoiceError(f"{file.path}: not a voice: holds no tensors")
    if sorted(parts) != list(range(len(parts))):
        missing = min(set(range(len(parts))) - parts.keys())
        raise VoiceError(f"{file.path}: incomplete voice: layer {missing} is missing; export it again")
    layers = [_layer(file, number, parts[number]) for number in range(len(parts))]
    lengths = {layer.shape[1] for layer in layers}
    if len(lengths) > 1:
        raise VoiceError(
            f"{file.path}: damaged voice: layers of {sorted(lengths)} positions; export it again"
        )
    return layers


def _layer(file: TensorFile, number: int, names: dict[str, str]) -> FloatArray:
    if "cache" not in names or not names.keys() & {"offset", "current_end"}:
        raise VoiceError(
            f"{file.path}: incomplete voice: layer {number} lacks its cache or its offset; export it again"
        )
    cache = file.info(names["cache"])
    if len(cache.shape) != 5 or cache.shape[:2] != (2, 1) or cache.dtype not in _FLOATS:
        raise VoiceError(
            f"{file.path}: tensor {cache.name!r} is {cache.dtype} {list(cache.shape)}; "
            "expected floats of [2, 1, positions, heads, head size]"
        )
    if "offset" in names:
        length = _integer(file, names["offset"])
    else:
        length = (file.info(names["current_end"]).shape or (0,))[0]
    if "pad" in names and _integer(file, names["pad"]) != 0:
        raise VoiceError(
            f"{file.path}: a padded state of a batch, not of a single voice; export the voice alone"
        )
    if not 0 <= length <= cache.shape[2]:
        raise VoiceError(
            f"{file.path}: layer {number} claims {length} of {cache.shape[2]} positions; export it again"
        )
    values = file.array(cache.name)[:, 0, :length]
    if cache.dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    layer = np.array(values, dtype=np.float32, order="C")
    if not np.isfinite(layer).all():
        raise VoiceError(f"{file.path}: tensor {cache.name!r} holds NaN or infinity; export the voice again")
    return layer


def _integer(file: TensorFile, name: str) -> int:
    info = file.info(name)
    if info.dtype not in _INTEGERS or info.shape not in ((1,), ()):
        raise VoiceError(
            f"{file.path}: tensor {name!r} is {info.dtype} {list(info.shape)}; expected one integer"
        )
    return int(file.array(name).reshape(-1)[0])


def write_voice(layers: Sequence[FloatArray], path: str | Path) -> None:
    """Write a voice file that the official package reads as well.

    Args:
        layers: per layer float32 `[2, positions, kv heads, head size]`.
        path: where to; the file appears whole or not at all.

    Raises:
        PocketQuantError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    tensors: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {}
    for number, layer in enumerate(layers):
        name = f"transformer.layers.{number}.self_attn"
        tensors[f"{name}/cache"] = np.ascontiguousarray(layer[:, None], dtype=np.float32)
        tensors[f"{name}/offset"] = np.array([layer.shape[1]], dtype=np.int64)
        tensors[f"{name}/pad"] = np.zeros(1, dtype=np.int64)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
