from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pocketquant.errors import CheckpointError, TextError
from pocketquant.model.tokenizer import Tokenizer, build_tokenizer
from text_samples import plain_tokenizer, sentencepiece_model, texts, unigram_json


@pytest.fixture(scope="module", params=["tokenizers", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "tokenizers":
        return build_tokenizer("tokenizers", unigram_json(), 4000)
    return build_tokenizer("sentencepiece", sentencepiece_model(), 500)


def test_round_trip(tokenizer: Tokenizer) -> None:
    for text in ("Hello world.", "naïve 😀 Ελλάδα", "3.5"):
        tokens = tokenizer.encode(text)
        assert tokens
        assert all(0 <= token < tokenizer.size for token in tokens)
        assert tokenizer.decode(tokens).strip() == text
    assert tokenizer.decode([]) == ""


def test_characters_without_a_piece_are_bytes(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("鷽")
    assert [tokenizer.is_byte(token) for token in tokens[-3:]] == [True] * 3
    assert not any(tokenizer.is_byte(token) for token in tokenizer.encode("the"))


def test_several_threads(tokenizer: Tokenizer) -> None:
    samples = texts(100, seed=4)
    alone = [tokenizer.encode(text) for text in samples]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(tokenizer.encode, samples)) == alone


def test_half_a_surrogate_pair(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextError, match="position 3"):
        tokenizer.encode("abc\ud83d")


@pytest.mark.parametrize(
    ("kind", "data", "size", "message"),
    [
        ("tokenizers", unigram_json(), 3999, "4000 pieces, the model's config says n_bins: 3999"),
        ("sentencepiece", plain_tokenizer(), 4000, "1000 pieces"),
        ("tokenizers", plain_tokenizer(), 1000, "looks like a 'sentencepiece' one"),
        ("sentencepiece", unigram_json(), 4000, "looks like a 'tokenizers' one"),
        ("tokenizers", unigram_json()[:1000], 4000, "get the file again"),
        ("tokenizers", json.dumps({"a": 1}).encode(), 4000, "not a 'tokenizers' tokenizer"),
        ("sentencepiece", b"", 4000, "t"),
        ("bpe", b"", 4000, "unknown kind 'bpe'"),
    ],
)
def test_errors_name_file_and_remedy(kind: str, data: bytes, size: int, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        build_tokenizer(kind, data, size, name="my.file")
    assert str(caught.value).startswith("my.file: ")
    assert "\n" not in str(caught.value)
