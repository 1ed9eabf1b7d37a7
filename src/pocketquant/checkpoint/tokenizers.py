"""Tokenizers made of invented pieces, in both formats and any size: for tests and random checkpoints."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from typing import Literal

from pocketquant.errors import CheckpointError

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPACE = "\u2581"  # how both formats write a space
OTHERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-:;\"()éèàùâêîôûçäöüßñáíóúãõ"


def generate_tokenizer(kind: Literal["tokenizers", "sentencepiece"], n_bins: int) -> bytes:
    """A unigram tokenizer of `n_bins` pieces with byte fallback: a tokenizer.json or a SentencePiece model.

    The same bytes every time. The pieces are the letters, a space, and syllables; both kinds of the same size
    have the same pieces, scores and numbers.

    Raises:
        CheckpointError: `n_bins` is too small for the special pieces, the bytes and the letters.
    """
    smallest = len(SPECIAL) + len(BYTES) + 1 + len(LETTERS)
    if n_bins < smallest:
        raise CheckpointError(f"a tokenizer needs {smallest} pieces or more, not {n_bins}")
    pieces = list(itertools.islice(_pieces(), n_bins - len(SPECIAL) - len(BYTES)))
    # Scores are log probabilities that fall with the rank, as in a trained model.
    scored = [(piece, -3.0 - math.log(rank + 1)) for rank, piece in enumerate(pieces)]
    return _tokenizers_json(scored) if kind == "tokenizers" else _sentencepiece_model(scored)


def _pieces() -> Iterator[str]:
    """Distinct pieces without end: space and letters, then syllables with and without a space, other signs."""
    seen: set[str] = set()
    onsets = ["", *"bcdfghjklmnprstvwz", "th", "st", "ch", "sh", "tr", "pr", "br", "gr", "cl", "pl"]
    vowels = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
    codas = ["", "n", "r", "s", "t", "l", "d", "m", "ng", "st", "nd", "ck"]
    syllables = [onset + vowel + coda for coda in codas for vowel in vowels for onset in onsets]
    words = (SPACE + first + second for first in syllables for second in syllables)
    starts = (piece for syllable in syllables for piece in (SPACE + syllable, syllable))
    for piece in itertools.chain([SPACE], LETTERS, OTHERS, starts, words):
        if piece not in seen:
            seen.add(piece)
            yield piece


def _tokenizers_json(pieces: list[tuple[str, float]]) -> bytes:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = [(piece, 0.0) for piece in (*SPECIAL, *BYTES)] + pieces
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    text: str = tokenizer.to_str()
    return text.encode()


def _sentencepiece_model(pieces: list[tuple[str, float]]) -> bytes:
    """A SentencePiece ModelProto, written by hand: training one takes long and varies with the version.

    Field numbers: sentencepiece_model.proto of github.com/google/sentencepiece.
    """
    normal, unknown, control, byte = 1, 2, 3, 6
    kinds = [unknown, control, control, control] + [byte] * len(BYTES)
    rows = [(piece, 0.0, kind) for piece, kind in zip((*SPECIAL, *BYTES), kinds, strict=True)]
    rows += [(piece, score, normal) for piece, score in pieces]
    model = b""
    for piece, score, kind in rows:
        body = _bytes(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind)
        model += _bytes(1, body)
    # TrainerSpec: model_type unigram, vocab_size, byte_fallback, ids of the special pieces.
    trainer = _number(3, 1) + _number(4, len(rows)) + _number(35, 1)
    trainer += _number(40, 0) + _number(41, 1) + _number(42, 2) + _number(43, 3)
    # NormalizerSpec: identity; a space before the text, no others removed, spaces written as SPACE.
    normalizer = _bytes(1, b"identity") + _number(3, 1) + _number(4, 0) + _number(5, 1)
    return model + _bytes(2, trainer) + _bytes(3, normalizer)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
