"""The rules that let a tokenizer rewrite words into phonemes, and the tokenizer in the box that carries them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from training.demo_voice.pronunciation import (
    LETTERS,
    SAME,
    SPELLINGS,
    make_rules,
    rewrite,
    spell,
    write_rules,
)

import pocketquant

LEXICON = {
    "the": "ðə",
    "cat": "kˈæt",
    "cats": "kˈæts",
    "catalog": "kˈæTəlˌɔɡ",
    "know": "nˈO",
    "now": "nˈW",
    "knowing": "nˈOɪŋ",
    "o'clock": "əklˈɑk",
}
NUMBERS = "zˈɪɹO wˈʌn"
DEMO = Path(pocketquant.__file__).parent / "data" / "demo" / "tokenizer.model"


def say(text: str) -> str:
    """A teacher that knows a few words."""
    return LEXICON.get(text, NUMBERS)


RULES = make_rules(LEXICON, say)


def test_the_alphabet_is_no_english_and_two_bytes_a_letter() -> None:
    assert len(set(LETTERS.values())) == len(LETTERS)
    assert all(len(letter) == 1 and len(letter.encode()) == 2 for letter in LETTERS.values())
    assert all(spell(phonemes) or not phonemes for phonemes in SPELLINGS.values())


def test_stress_makes_another_letter_and_the_rest_is_dropped() -> None:
    assert len(spell("kˈæt")) == 3
    assert spell("kˈæt") != spell("kæt")
    assert spell("kˌæt") == spell("kæt") == spell("“kæt”")
    assert spell("wˈʌn tˈu") == f"{spell('wˈʌn')} {spell('tˈu')}"
    assert all(spell(variant) == spell(usual) for variant, usual in SAME.items() if usual)


@pytest.mark.parametrize("word", LEXICON)
def test_a_known_word_is_said_as_the_teacher_says_it(word: str) -> None:
    assert rewrite(word, RULES) == spell(LEXICON[word])
    assert rewrite(f"the {word}, now.", RULES) == f"{spell('ðə')} {spell(LEXICON[word])}, {spell('nˈW')}."


def test_a_word_that_shorter_rules_get_right_needs_none() -> None:
    assert "cats" not in RULES  # cat and s
    assert "knowing" not in RULES
    assert "catalog" in RULES


def test_an_unknown_word_falls_apart() -> None:
    assert rewrite("catsing", RULES) == spell("kˈæt") + spell("s") + spell("ɪŋ")


@given(st.text("abcdefghijklmnopqrstuvwxyz' .,?!0123456789-", max_size=60))
def test_rewriting_twice_is_rewriting_once(text: str) -> None:
    once = rewrite(text, RULES)
    assert rewrite(once, RULES) == once
    assert not set(once) & set("abcdefghijklmnopqrstuvwxyz'-0123456789")


def test_the_rules_are_what_sentencepiece_does(tmp_path: Path) -> None:
    """A tokenizer trained with them normalizes as `rewrite` does."""
    write_rules(RULES, tmp_path / "rules.tsv")
    texts = ["the cat knows catalogs now.", "the cats, knowing 12 or 3.5!", "xylophone o'clock - so?"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 50),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=80,
        hard_vocab_limit=False,
        normalization_rule_tsv=str(tmp_path / "rules.tsv"),
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for text in texts:
        wanted = " ".join(rewrite(text, RULES).split())
        assert "".join(model.encode(text, out_type=str)).replace("▁", " ").strip() == wanted


def test_the_tokenizer_in_the_box_reads_its_own_letters() -> None:
    """The package tokenizes text again that it decoded from tokens: nothing may change then."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(DEMO))
    for line in (DEMO.parent / "heldout.txt").read_text(encoding="utf-8").splitlines():
        tokens = model.encode(line.lower())
        assert model.unk_id() not in tokens
        assert model.encode(model.decode(tokens)) == tokens
    one = model.encode("it weighs 40 pounds, not 3.5 ounces.")
    assert one == model.encode("it weighs forty pounds, not three point five ounces.")
