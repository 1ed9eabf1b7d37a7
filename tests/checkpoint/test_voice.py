from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pocketquant.checkpoint.voice import VoiceState, is_voice_file, read_voice, write_voice
from pocketquant.config.schema import FlowLMTransformerConfig
from pocketquant.errors import VoiceError

Tensors = dict[str, Any]


def layers(count: int = 2, positions: int = 3, heads: int = 2, size: int = 4) -> list[Any]:
    rng = np.random.default_rng(5)
    return [rng.standard_normal((2, positions, heads, size)).astype(np.float32) for _ in range(count)]


def name(layer: int, part: str) -> str:
    return f"transformer.layers.{layer}.self_attn/{part}"


def test_round_trip_and_layout(tmp_path: Path) -> None:
    voice = layers()
    write_voice(voice, tmp_path / "voice.safetensors")
    raw = load_file(tmp_path / "voice.safetensors")
    assert sorted(raw) == sorted(name(i, part) for i in range(2) for part in ("cache", "offset", "pad"))
    assert raw[name(0, "cache")].shape == (2, 1, 3, 2, 4)
    assert raw[name(1, "offset")].tolist() == [3]
    assert raw[name(1, "offset")].dtype == np.int64
    back = read_voice(tmp_path / "voice.safetensors")
    assert back.positions == 3
    for old, new in zip(voice, back.layers, strict=True):
        np.testing.assert_array_equal(old, new)


def test_positions_beyond_the_offset_are_left_out(tmp_path: Path) -> None:
    tensors: Tensors = {}
    for i, layer in enumerate(layers()):
        padded = np.full((2, 1, 9, 2, 4), np.nan, np.float32)
        padded[:, 0, :3] = layer
        tensors |= {name(i, "cache"): padded, name(i, "offset"): np.array([3])}
    save_file(tensors, tmp_path / "voice.safetensors")
    assert read_voice(tmp_path / "voice.safetensors").positions == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types(tmp_path: Path, dtype: type) -> None:
    tensors: Tensors = {}
    for i, layer in enumerate(layers()):
        tensors |= {name(i, "cache"): layer[:, None].astype(dtype), name(i, "offset"): np.array([3])}
    save_file(tensors, tmp_path / "voice.safetensors")
    back = read_voice(tmp_path / "voice.safetensors").layers[1]
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, layers()[1], atol=2e-3)


def test_older_files_say_their_length_by_a_shape(tmp_path: Path) -> None:
    tensors: Tensors = {}
    for i, layer in enumerate(layers()):
        padded = np.full((2, 1, 9, 2, 4), np.nan, np.float32)
        padded[:, 0, :3] = layer
        tensors |= {name(i, "cache"): padded, name(i, "current_end"): np.zeros(3, np.float32)}
    save_file(tensors, tmp_path / "voice.safetensors")
    np.testing.assert_array_equal(read_voice(tmp_path / "voice.safetensors").layers[1], layers()[1])


def drop(key: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.__delitem__(key)


def put(key: str, value: Any) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({key: value})


NAN = np.full((2, 1, 3, 2, 4), np.nan, np.float32)
BAD: list[tuple[Callable[[Tensors], None], str]] = [
    (drop(name(0, "cache")), "layer 0 lacks its cache"),
    (drop(name(1, "offset")), "layer 1 lacks its cache or its offset"),
    (put(name(3, "offset"), np.array([3])), "layer 2 is missing"),
    (put("flow_lm.bos_emb", np.zeros(3, np.float32)), "not a voice: the tensor 'flow_lm.bos_emb'"),
    (put(name(0, "offset"), np.array([7])), "claims 7 of 3 positions"),
    (put(name(0, "offset"), np.array([-1])), "claims -1 of 3 positions"),
    (put(name(0, "offset"), np.array([1])), "layers of [1, 3] positions"),
    (put(name(0, "offset"), np.array([1, 2])), "expected one integer"),
    (put(name(0, "offset"), np.array([1.5])), "expected one integer"),
    (put(name(1, "pad"), np.array([2])), "padded state of a batch"),
    (put(name(1, "cache"), NAN), "holds NaN"),
    (put(name(1, "cache"), np.zeros((2, 2, 3, 2, 4), np.float32)), "expected floats of [2, 1, positions"),
    (put(name(1, "cache"), np.zeros((2, 1, 3, 2, 4), np.int32)), "expected floats"),
]


@pytest.mark.parametrize(("damage", "message"), BAD)
def test_bad_files_get_one_clear_line(
    tmp_path: Path, damage: Callable[[Tensors], None], message: str
) -> None:
    path = tmp_path / "voice.safetensors"
    write_voice(layers(), path)
    tensors = load_file(path)
    damage(tensors)
    save_file(tensors, path)
    with pytest.raises(VoiceError, match=re.escape(message)) as caught:
        read_voice(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"RIFF0000WAVE", b"\x00" * 40])
def test_no_safetensors_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "voice.safetensors"
    path.write_bytes(content)
    with pytest.raises(VoiceError, match=re.escape(str(path))):
        read_voice(path)
    with pytest.raises(VoiceError, match="no such file"):
        read_voice(tmp_path / "nothing.safetensors")


def transformer(**changes: int) -> FlowLMTransformerConfig:
    sizes = {"hidden_scale": 4, "max_period": 10000, "d_model": 8, "num_heads": 2, "num_layers": 2}
    return FlowLMTransformerConfig.model_validate(sizes | changes)


def test_a_voice_belongs_to_its_weights() -> None:
    voice = VoiceState(layers())
    voice.check(transformer())
    for other, named in [
        ({"num_layers": 3}, "3 layers of 2 x 4"),
        ({"num_heads": 4}, "2 layers of 4 x 2"),
        ({"num_kv_heads": 1}, "2 layers of 1 x 4"),
        ({"d_model": 16}, "2 layers of 2 x 8"),
    ]:
        with pytest.raises(VoiceError, match=f"the voice has 2 layers of 2 x 4, the model {named}"):
            voice.check(transformer(**other), "mine.safetensors")


def test_copy_is_deep() -> None:
    voice = VoiceState(layers())
    voice.copy().layers[0][:] = 0
    np.testing.assert_array_equal(voice.layers[0], layers()[0])


@pytest.mark.parametrize(
    ("source", "is_voice"),
    [
        ("a.safetensors", True),
        (Path("a/b.safetensors"), True),
        ("hf://o/r/a.safetensors@main", True),
        ("https://host/a.safetensors?download=true", True),
        ("https://host/a.wav?x=.safetensors", False),
        ("a.wav", False),
        ("alba", False),
    ],
)
def test_is_voice_file(source: str | Path, is_voice: bool) -> None:
    assert is_voice_file(source) is is_voice
