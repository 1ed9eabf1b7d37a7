"""Texts and tokenizers made on the spot, for the tests of the text path (everyday and parity)."""

from __future__ import annotations

import io
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

_TEXT = """
    the a little old clock wall house over river morning quickly spoke Doctor anything world letter
    seven music strange would've don't it's rock'n'roll naïve café über straße Ελλάδα привет мир 東京
    안녕 שלום مرحبا 😀 Mr. Dr. e.g. i.e. U.S.A. etc. 3.5 10.25 1,000 v2.0.1 12:30 $5 50% a.m. p.m. No.7
    ٣.٤ x2 II. Ph.D. extraordinarily incomprehensibility
"""
WORDS = _TEXT.split()
MARKS = [
    ".",
    "!",
    "?",
    "…",
    "...",
    "?!",
    '."',
    ",",
    ";",
    ":",
    " -",
    " –",
    " —",
    "",
    "",
    "",
    "",
    "",
    ").",
    ".)",
]
SPACES = [" "] * 12 + ["  ", "\n", "\r\n", "\t", "\u00a0", "   ", "\n\n", "\u3000"]
OPENERS = ["", "", "", "", "", '"', "“", "«", "(", "'", "‘", "[", "„"]
CLOSERS = ["", "", "", "", "", '"', "”", "»", ")", "'", "’", "]", "“"]


def texts(count: int, seed: int = 1) -> list[str]:
    """`count` texts of all the kinds that have ever made trouble; the same for the same seed."""
    rng = random.Random(seed)
    kinds = [
        _sentences,
        _sentences,
        _unpunctuated,
        _numbers,
        _marks_only,
        _characters,
        _quoted,
        _short,
        _blank,
    ]
    return [rng.choice(kinds)(rng) for _ in range(count)]


def _sentence(rng: random.Random, most: int = 14) -> str:
    words = [
        rng.choice(OPENERS) + rng.choice(WORDS) + rng.choice(CLOSERS) for _ in range(rng.randint(1, most))
    ]
    body = "".join(
        word + (rng.choice(MARKS) if rng.random() < 0.15 else "") + rng.choice(SPACES) for word in words
    )
    return body.rstrip() + rng.choice(MARKS)


def _sentences(rng: random.Random) -> str:
    return rng.choice(SPACES).join(_sentence(rng) for _ in range(rng.randint(1, 9)))


def _unpunctuated(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(20, 150)))


def _numbers(rng: random.Random) -> str:
    parts = [
        f"{rng.randint(0, 999)}{rng.choice(['.', '. ', ',', '...', '?', ' '])}"
        for _ in range(rng.randint(1, 60))
    ]
    return "".join(parts) + rng.choice(["", " apples", "٣.٤", "²"])


def _marks_only(rng: random.Random) -> str:
    return "".join(rng.choice(".!?…,;:-–—\"'”’)]»( \n") for _ in range(rng.randint(1, 30)))


def _characters(rng: random.Random) -> str:
    def character() -> str:
        plane = rng.choice(
            [(32, 126), (32, 126), (160, 591), (0x370, 0x4FF), (0x4E00, 0x4FFF), (0x1F600, 0x1F64F)]
        )
        return rng.choice(
            [chr(rng.randint(*plane)), chr(rng.randint(*plane)), rng.choice(".?!,;: \n\t\u200d\u0301ßŉ")]
        )

    return "".join(character() for _ in range(rng.randint(1, 120)))


def _quoted(rng: random.Random) -> str:
    return f'"{_sentence(rng, 5)}", {rng.choice(WORDS)} said; {_sentence(rng, 5)}'


def _short(rng: random.Random) -> str:
    return rng.choice(SPACES).join(rng.choice(WORDS) for _ in range(rng.randint(1, 5))) + rng.choice(MARKS)


def _blank(rng: random.Random) -> str:
    return "".join(rng.choice(" \n\t\r\u00a0") for _ in range(rng.randint(0, 4)))


def _rules(**changes: Any) -> dict[str, Any]:
    rules: dict[str, Any] = {
        "pad_with_spaces_for_short_inputs": False,
        "remove_semicolons": False,
        "append_terminal_punctuation": True,
        "capitalize_first_letter": True,
        "replace_characters": {},
    }
    return rules | changes


@cache
def unigram_json(size: int = 4000) -> bytes:
    """A `tokenizer.json` in the form of the official one: unigram, byte fallback, `size` pieces."""
    rng = random.Random(7)
    pieces: list[str] = ["<unk>", "<s>", "</s>", "<pad>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *(chr(code) for code in range(33, 127)), "…", "’", "é", "ü", "ß", "”", "“", "–", "—"]
    seen = set(pieces)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    common = [word for word in WORDS if word.isascii() and word.isalpha()]
    while len(pieces) < size:
        word = (
            rng.choice(common) if rng.random() < 0.3 else "".join(rng.choices(letters, range(26, 0, -1), k=5))
        )
        piece = rng.choice(["", "▁"]) + word[: rng.randint(1, 5)]
        if piece not in seen:
            seen.add(piece)
            pieces.append(piece)
    scored = [[piece, 0.0 if number < 4 else -3.0 - number / 500] for number, piece in enumerate(pieces)]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": number,
                    "content": pieces[number],
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for number in range(4)
            ],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Metaspace",
                "replacement": "▁",
                "prepend_scheme": "never",
                "split": False,
            },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<s>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
            },
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                ],
            },
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": scored},
        },
        ensure_ascii=False,
    ).encode()


@cache
def sentencepiece_model(size: int = 500) -> bytes:
    """A sentencepiece `.model` trained on generated text, with byte fallback."""
    import sentencepiece

    lines = [" ".join(text.split()) for text in texts(400, seed=3)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([line for line in lines if line]),
        model_writer=model,
        vocab_size=size,
        byte_fallback=True,
        character_coverage=0.98,
        hard_vocab_limit=True,
        minloglevel=3,
        num_threads=1,
    )
    return model.getvalue()


HAND_WRITTEN = [
    "hello world",
    "Hello.",
    "  \n ",
    "",
    '"',
    "...",
    "what? no!",
    'she said "hello"',
    'she said "hello,"',
    "and then -",
    "(an aside:)",
    '"Really?", she asked; "yes".',
    "Version 2.5 costs 3.99 euros. It is 10. 5 more follow. Or 7.",
    "It is ٣.٤ or ３.４ of them.",
    "straße. ß begins. ŉ too.",
    "ßtrange",
    "One. Two. Three. Four. Five. Six. Seven. Eight. Nine. Ten. Eleven. Twelve. Thirteen. Fourteen. Fifteen.",
    "a long sentence, with commas, many of them, one after the other, so that it can be cut, where it is "
    "too long, and goes on; and on: and on, until nobody listens any more",
    "a long sentence without any commas so that there is nowhere to cut it and it has to stay in one piece "
    "however many words it has and however long that takes",
    "Mr. Smith went to Washington D.C. at 5 p.m. on No. 7.",
    "tabs\tand\r\nline breaks\n\nand  double   spaces    everywhere",
    "Ça va ? « Oui », dit-il – enfin… peut-être — non !",
    "東京。 안녕 😀😀😀. 😀",
    "‘It’s’ [not] “that” „simple“",
]

_QUOTES_OUT = {
    '"': "",
    "“": "",
    "”": "",
    "„": "",
    "«": "",
    "»": "",
    "’": "'",
    "‘": "'",
    ":": ",",
    "(": "",
    ")": "",
    "–": ",",
}

# In the order of the official functions' arguments.
RULE_SETS: dict[str, dict[str, Any]] = {
    "plain": _rules(),
    "apostrophes": _rules(replace_characters={"’": "'", "‘": "'"}),
    "padded": _rules(pad_with_spaces_for_short_inputs=True),
    "french": _rules(remove_semicolons=True, replace_characters=_QUOTES_OUT),
    "phonemes": _rules(append_terminal_punctuation=False, capitalize_first_letter=False),
}


def plain_tokenizer() -> bytes:
    """A sentencepiece model of 1000 lower-case English pieces that changes no text."""
    return (Path(__file__).resolve().parent / "model/sentencepiece.model").read_bytes()


def demo_tokenizer() -> bytes:
    """The sentencepiece model of the voice in the box, which rewrites words into phonemes."""
    return (Path(__file__).resolve().parents[1] / "src/pocketquant/data/demo/tokenizer.model").read_bytes()
