"""Words and their errors."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketquant.errors import PocketQuantError
from pocketquant.evaluate import wer
from pocketquant.evaluate.wer import cardinal, lost_words, word_errors, words

TEXT = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8).map(" ".join)


def test_words() -> None:
    assert words("Twenty-one dogs, it’s 1,205 — no?") == words(
        "twenty one DOGS its one thousand two hundred five no"
    )
    assert words("Ça va, señor") == ["ça", "va", "señor"]
    assert cardinal(0) == "zero"
    assert cardinal(999_999) == "nine hundred ninety nine thousand nine hundred ninety nine"
    assert cardinal(4_000_000) == "four zero zero zero zero zero zero"


@pytest.mark.parametrize(
    ("heard", "errors"),
    [
        ("The old clock stopped.", 0),
        ("the clock stopped", 1),
        ("the old old clock stopped", 1),
        ("the cold clock stopped", 1),
        ("", 4),
        ("nothing of all this whatsoever", 5),
    ],
)
def test_errors(heard: str, errors: int) -> None:
    assert word_errors("The old clock stopped.", heard) == (errors, 4)


@given(TEXT, TEXT, TEXT)
def test_errors_are_a_distance(a: str, b: str, c: str) -> None:
    def distance(one: str, two: str) -> int:
        return word_errors(one, two)[0]

    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a) <= max(len(a.split()), len(b.split()))
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@given(TEXT.filter(bool), TEXT)
def test_errors_are_those_of_jiwer(said: str, heard: str) -> None:
    jiwer = pytest.importorskip("jiwer")
    found = jiwer.process_words(said, heard)
    assert word_errors(said, heard)[0] == found.substitutions + found.deletions + found.insertions


def test_a_loop_is_one_wrong_sentence() -> None:
    assert lost_words("The old clock stopped.", "the old " + "clock " * 60) == (4, 4)
    assert lost_words("The old clock stopped.", "the old clock") == (1, 4)


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wer, "find_spec", lambda _: None)
    with pytest.raises(PocketQuantError, match=r"pip install 'pocketquant\[eval\]'"):
        wer.whisper()


@pytest.mark.skipif(find_spec("faster_whisper") is None, reason="needs the extra 'eval'")
def test_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(PocketQuantError, match="no Whisper model there"):
        wer.whisper(tmp_path)
