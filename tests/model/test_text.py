from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from pocketquant.errors import TextError
from pocketquant.model.text import TextRules, prepare, split
from pocketquant.model.tokenizer import Tokenizer, build_tokenizer
from text_samples import RULE_SETS, plain_tokenizer, unigram_json

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "text_golden.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {
        "tokenizers": build_tokenizer("tokenizers", unigram_json(), 4000),
        "sentencepiece": build_tokenizer("sentencepiece", plain_tokenizer(), 1000),
    }


@pytest.mark.parametrize("row", GOLDEN, ids=range(len(GOLDEN)))
def test_golden_values_of_the_official_package(row: dict[str, Any], tokenizers: dict[str, Tokenizer]) -> None:
    rules = TextRules(**RULE_SETS[row["rules"]])
    if row["prepared"] is None:
        with pytest.raises(TextError, match="empty"):
            prepare(row["text"], rules)
        with pytest.raises(TextError, match="empty"):
            split(row["text"], tokenizers["tokenizers"], 50, rules)
        return
    assert list(prepare(row["text"], rules)) == row["prepared"]
    for kind, tokenizer in tokenizers.items():
        assert split(row["text"], tokenizer, row["max_tokens"], rules) == row[kind]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("hello", "Hello."),
        ("Hello, ", "Hello."),
        ("Hello!", "Hello!"),
        ('say "yes"', 'Say "yes".'),
        ('say "yes,"', 'Say "yes."'),
        ("wait (really?)", "Wait (really?)"),
        ("one -", "One."),
        ("...", "..."),
        ("a\nb  c", "A b c."),
        ("ßa", "SSa."),
    ],
)
def test_prepare(text: str, spoken: str) -> None:
    assert prepare(text, TextRules()).text == spoken


def test_short_texts_go_on_longer() -> None:
    assert prepare("one two three four", TextRules()).frames_after_eos == 3
    assert prepare("one two three four five", TextRules()).frames_after_eos == 1


def test_short_texts_are_padded_where_the_model_wants_it() -> None:
    rules = TextRules(pad_with_spaces_for_short_inputs=True)
    assert prepare("one two three four", rules).text == " " * 8 + "One two three four."
    assert prepare("one two three four five", rules).text == "One two three four five."


def test_nothing_is_lost(tokenizers: dict[str, Tokenizer]) -> None:
    words = [f"{word}{mark}" for word in ("one", "two", "three") for mark in (".", ",", "", "?", " 3.5")] * 20
    for limit in (5, 20, 50):
        chunks = split(" ".join(words), tokenizers["tokenizers"], limit, TextRules())
        assert len(chunks) > 1
        assert "".join("".join(chunks).split()).lower().rstrip(".") == "".join(words).lower().replace(" ", "")


def test_a_long_text_takes_linear_time(tokenizers: dict[str, Tokenizer]) -> None:
    """The official package takes time that grows with the square of the length: minutes for this one."""
    sentences = "It was 3.5 degrees on day 12. Nobody came, again. " * 8000
    start = time.monotonic()
    chunks = split(sentences, tokenizers["tokenizers"], 50, TextRules())
    assert len(chunks) > 1000
    assert time.monotonic() - start < 30


def test_a_long_sentence_without_marks_is_reported(
    tokenizers: dict[str, Tokenizer], caplog: pytest.LogCaptureFixture
) -> None:
    chunks = split("word " * 100, tokenizers["tokenizers"], 50, TextRules())
    assert len(chunks) == 1
    assert "limit 50" in caplog.text
