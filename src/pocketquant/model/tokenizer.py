"""Text to token numbers and back: the two kinds of tokenizer that the official configs use.

`tokenizers` (a Hugging Face `tokenizer.json`) and `sentencepiece` (a `.model` file). Both are built from
bytes, as our own files carry their tokenizer inside. Encoding and decoding are safe from several threads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Protocol

from pocketquant.errors import CheckpointError, TextError

_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Tokenizer(Protocol):
    """What the model needs of a tokenizer."""

    @property
    def size(self) -> int:
        """Number of pieces in the vocabulary."""

    def encode(self, text: str) -> list[int]:
        """The token numbers of `text`; TextError if it holds characters that are not Unicode text."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; a leading space is dropped."""

    def is_byte(self, token: int) -> bool:
        """Whether `token` is a single byte of a character that has no piece of its own."""


class JsonTokenizer:
    """A Hugging Face `tokenizer.json`."""

    def __init__(self, data: bytes) -> None:
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
        vocabulary = self._tokenizer.get_vocab()
        self._bytes = frozenset(token for piece, token in vocabulary.items() if _BYTE_PIECE.fullmatch(piece))

    @property
    def size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(_unicode(text)).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens))

    def is_byte(self, token: int) -> bool:
        return token in self._bytes


class SentencePieceTokenizer:
    """A sentencepiece `.model`."""

    def __init__(self, data: bytes) -> None:
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(data)
        self._bytes = frozenset(i for i in range(self.size) if self._processor.IsByte(i))

    @property
    def size(self) -> int:
        return int(self._processor.GetPieceSize())

    def encode(self, text: str) -> list[int]:
        return list(self._processor.Encode(_unicode(text), out_type=int))

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._processor.Decode(list(tokens)))

    def is_byte(self, token: int) -> bool:
        return token in self._bytes


def build_tokenizer(kind: str, data: bytes, size: int, *, name: str = "the tokenizer") -> Tokenizer:
    """The tokenizer of a model.

    Args:
        kind: "tokenizers" or "sentencepiece".
        data: the file's bytes.
        size: the vocabulary size that the model's config states (`lookup_table.n_bins`).
        name: what to call the file in errors.

    Raises:
        CheckpointError: the kind is unknown, the bytes are no such tokenizer, or its size is another one.
    """
    tokenizer: Tokenizer
    try:
        if kind == "tokenizers":
            tokenizer = JsonTokenizer(data)
        elif kind == "sentencepiece":
            tokenizer = SentencePieceTokenizer(data)
        else:
            raise CheckpointError(
                f"{name}: unknown kind {kind!r}; known are 'tokenizers' and 'sentencepiece'"
            )
    except CheckpointError:
        raise
    except Exception as error:  # both libraries raise whatever their native code gives them
        guess = _kind_of(data)
        hint = f"; it looks like a {guess!r} one" if guess not in (None, kind) else "; get the file again"
        raise CheckpointError(f"{name}: not a {kind!r} tokenizer ({_one_line(error)}){hint}") from error
    if tokenizer.size != size:
        raise CheckpointError(
            f"{name}: has {tokenizer.size} pieces, the model's config says n_bins: {size}; "
            "use the tokenizer that belongs to the model"
        )
    return tokenizer


def _kind_of(data: bytes) -> str | None:
    try:
        json.loads(data)
    except ValueError:
        return "sentencepiece" if data[:1] == b"\n" else None  # the tag of a model proto's first field
    return "tokenizers"


def _one_line(error: Exception) -> str:
    lines = str(error).split("\n")
    return lines[0][:120] or type(error).__name__


def _unicode(text: str) -> str:
    """`text` itself; both libraries end with an obscure error on half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextError(
            f"the text holds an invalid character at position {error.start}; read it as UTF-8"
        ) from error
    return text
