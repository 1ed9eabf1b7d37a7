from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import sentencepiece
import tokenizers
from safetensors.numpy import load_file

from pocketquant.checkpoint.layout import expected_shapes
from pocketquant.checkpoint.random import random_checkpoint, random_tensor, time_frequencies
from pocketquant.checkpoint.tokenizers import generate_tokenizer
from pocketquant.config import catalog
from pocketquant.errors import CheckpointError

SMALL = "english_2m_2026-10"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = random_checkpoint(SMALL, tmp_path / "a", seed=1).parent / "model.safetensors"
    again = random_checkpoint(SMALL, tmp_path / "b", seed=1).parent / "model.safetensors"
    other = random_checkpoint(SMALL, tmp_path / "c", seed=2).parent / "model.safetensors"
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_names_and_shapes(tmp_path: Path) -> None:
    tensors = load_file(random_checkpoint("demo", tmp_path).parent / "model.safetensors")
    assert {name: values.shape for name, values in tensors.items()} == expected_shapes(
        catalog.language("demo")
    )


def test_scales_are_those_of_trained_weights() -> None:
    shapes = expected_shapes(catalog.language("english"))
    values = {name: random_tensor(name, shapes[name]) for name in shapes if "transformer.layers.0." in name}
    norm = values["flow_lm.transformer.layers.0.norm1.weight"]
    assert abs(norm.mean() - 1) < 0.02
    scale = values["mimi.decoder_transformer.transformer.layers.0.layer_scale_1.scale"]
    assert 0.01 <= scale.min() < 0.02 < 0.05 < scale.max() <= 0.1
    weight = values["flow_lm.transformer.layers.0.linear1.weight"]
    x = np.random.default_rng(0).standard_normal((1024, 50)).astype(np.float32)
    assert 0.8 < (weight @ x).std() < 1.3
    kurtosis = np.mean(weight**4) / np.mean(weight**2) ** 2
    assert 3.5 < kurtosis < 10  # a Gaussian has 3
    assert abs(random_tensor("flow_lm.emb_std", (32,)).mean() - 1) < 0.1


def test_time_frequencies() -> None:
    frequencies = time_frequencies()
    assert frequencies[0] == 1.0
    np.testing.assert_allclose(frequencies, 10000.0 ** (-np.arange(128) / 128), rtol=1e-6)


def test_unknown_dtype(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unknown dtype 'f64'"):
        random_checkpoint(SMALL, tmp_path, dtype="f64")


@pytest.mark.parametrize("size", [300, 1000, 4000])
def test_both_tokenizers_agree(size: int) -> None:
    text = "the quick brown fox, isn't it? 日本 42"
    hugging = tokenizers.Tokenizer.from_str(generate_tokenizer("tokenizers", size).decode())
    piece = sentencepiece.SentencePieceProcessor()
    piece.load_from_serialized_proto(generate_tokenizer("sentencepiece", size))
    assert hugging.get_vocab_size() == piece.vocab_size() == size
    # SentencePiece puts a space before the text by itself.
    assert hugging.encode(" " + text).ids == piece.encode(text)
    assert piece.decode(piece.encode(text)) == text
    assert hugging.decode(hugging.encode(text).ids) == text


def test_tokenizers_are_deterministic() -> None:
    kinds: tuple[Literal["tokenizers", "sentencepiece"], ...] = ("tokenizers", "sentencepiece")
    for kind in kinds:
        assert generate_tokenizer(kind, 500) == generate_tokenizer(kind, 500)
    pieces = [piece for piece, _ in json.loads(generate_tokenizer("tokenizers", 4000))["model"]["vocab"]]
    assert len(set(pieces)) == 4000


def test_a_tokenizer_needs_room_for_bytes_and_letters() -> None:
    with pytest.raises(CheckpointError, match="needs 287 pieces or more, not 100"):
        generate_tokenizer("sentencepiece", 100)
