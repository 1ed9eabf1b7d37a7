"""`prepare` and `split` against the official package, on thousands of generated texts.

The official functions take the tokenizer as an object: it gets its own, built from the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocketquant.errors import TextError
from pocketquant.model.text import TextRules, prepare, split
from pocketquant.model.tokenizer import Tokenizer, build_tokenizer
from text_samples import demo_tokenizer, sentencepiece_model, texts, unigram_json

pytest.importorskip("torch")
chunking = pytest.importorskip("pocket_tts.models.text_chunking")
conditioner = pytest.importorskip("pocket_tts.modules.text_conditioner")
official_config = pytest.importorskip("pocket_tts.utils.config")

REFERENCE = Path(__file__).resolve().parents[3] / "shared/reference/tokenizer.json"
CONFIGS = sorted(official_config.CONFIGS_DIR.glob("*.yaml"))
TEXTS = texts(5000, seed=2026)


def flags(path: Path) -> TextRules:
    config = official_config.load_config(path)
    return TextRules(
        config.pad_with_spaces_for_short_inputs,
        config.remove_semicolons,
        config.append_terminal_punctuation,
        config.capitalize_first_letter,
        config.replace_characters,
    )


def distinct_rules() -> list[TextRules]:
    """The rules of the 27 configs, each set once, and the few that no config uses."""
    rules: list[TextRules] = []
    for path in CONFIGS:
        if (found := flags(path)) not in rules:
            rules.append(found)
    assert len(CONFIGS) == 27
    return [
        *rules,
        TextRules(append_terminal_punctuation=False, capitalize_first_letter=False),
        TextRules(True, True),
    ]


RULES = distinct_rules()


def arguments(rules: TextRules) -> tuple[Any, ...]:
    return (
        rules.pad_with_spaces_for_short_inputs,
        rules.remove_semicolons,
        rules.append_terminal_punctuation,
        rules.capitalize_first_letter,
        dict(rules.replace_characters),
    )


def pair(kind: str, data: bytes, folder: Path) -> tuple[Any, Tokenizer]:
    path = folder / {"tokenizers": "tokenizer.json", "sentencepiece": "tokenizer.model"}[kind]
    path.write_bytes(data)
    if kind == "tokenizers":
        import tokenizers

        size = tokenizers.Tokenizer.from_str(data.decode()).get_vocab_size()
    else:
        import sentencepiece

        size = sentencepiece.SentencePieceProcessor(str(path)).vocab_size()
    return conditioner.build_tokenizer(size, str(path), kind), build_tokenizer(kind, data, size)


@pytest.fixture(scope="module", params=["tokenizers", "sentencepiece", "demo", "english"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Tokenizer]:
    """(official tokenizer, ours)"""
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "tokenizers":
        return pair("tokenizers", unigram_json(), folder)
    if request.param == "sentencepiece":
        return pair("sentencepiece", sentencepiece_model(), folder)
    if request.param == "demo":
        return pair("sentencepiece", demo_tokenizer(), folder)
    if not REFERENCE.exists():
        pytest.skip("the official English tokenizer is not beside this checkout")
    return pair("tokenizers", REFERENCE.read_bytes(), folder)


def outcome(empty: type[Exception], run: Callable[..., Any], *arguments: Any) -> Any:
    try:
        result = run(*arguments)
    except empty as error:
        return "empty" if "empty" in str(error) else error
    return tuple(result) if isinstance(result, tuple) else result


@pytest.mark.parametrize("rules", RULES)
def test_prepare_is_the_official_one(rules: TextRules) -> None:
    for text in TEXTS:
        theirs = outcome(ValueError, chunking.prepare_text_prompt, text, *arguments(rules))
        assert outcome(TextError, prepare, text, rules) == theirs, repr(text)


def test_split_is_the_official_one(both: tuple[Any, Tokenizer]) -> None:
    """Every text with one of the rule sets in turn, so that each set meets all kinds of text."""
    theirs_tokenizer, tokenizer = both
    cut = 0
    for number, text in enumerate(TEXTS):
        rules = RULES[number % len(RULES)]
        limit = (50, 50, 20, 8)[number // len(RULES) % 4]
        theirs = outcome(
            ValueError, chunking.split_into_best_sentences, theirs_tokenizer, text, limit, *arguments(rules)
        )
        ours = outcome(TextError, split, text, tokenizer, limit, rules)
        assert ours == theirs, (repr(text), limit, rules)
        cut += isinstance(ours, list) and len(ours) > 1
    assert cut > 1000  # the texts do exercise the cutting


def test_encode_and_decode_are_the_official_ones(both: tuple[Any, Tokenizer]) -> None:
    theirs, ours = both
    for text in TEXTS[:1000]:
        tokens = ours.encode(text)
        assert tokens == theirs.encode(text)
        assert ours.decode(tokens) == theirs.decode(tokens)
