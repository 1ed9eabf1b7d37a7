"""Pronunciations as normalization rules of a sentencepiece tokenizer.

English spelling is most of what a miniature would have to learn. A sentencepiece model may carry its own rewriting
rules, which every user of it applies before it looks for pieces: here they rewrite words into phonemes. So the official
text path stays what it is, and the language model reads phonemes.

The rules are strings that are replaced, leftmost and longest first. A whole word always wins over its
beginning; a word without a rule of its own falls apart into shorter ones (word and ending, at worst letters). Each
phoneme is one letter that no English text holds, and a vowel under stress is a letter of its own; these letters have
no rules, so that rewriting twice is rewriting once (the package tokenizes pieces of text again that it cut by token).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import yaml

TABLE = yaml.safe_load((Path(__file__).parent / "phonemes.yaml").read_text(encoding="utf-8"))
LETTERS: dict[str, str] = TABLE["letters"]  # phoneme of the teacher ("ˈ" before it: stressed) -> our letter
SPELLINGS: dict[str, str] = TABLE["spellings"]  # what letters mostly sound like in words that have no rule
SAME: dict[str, str] = TABLE["same"]  # phonemes of the teacher that are written as another one
FIGURES = 2100  # figures below have rules; larger ones are read piece by piece
LONGEST = 24  # letters of a rule

WORD = re.compile(r"[a-z']+")
_PHONEME = re.compile(r"ˈ?[^ˈ]")


def spell(phonemes: str) -> str:
    """The teacher's phonemes in our letters; what it says beyond them (secondary stress, marks) is dropped."""
    for theirs, ours in SAME.items():
        phonemes = phonemes.replace(theirs, ours)
    found = (
        LETTERS.get(p) or LETTERS.get(p[-1]) or (" " if p[-1] == " " else "")
        for p in _PHONEME.findall(phonemes)
    )
    return "".join(found).strip()


def rewrite(text: str, rules: Mapping[str, str]) -> str:
    """`text` under the rules, as sentencepiece applies them: leftmost, longest; the rest stays."""
    out, at = [], 0
    while at < len(text):
        for end in range(min(at + LONGEST, len(text)), at, -1):
            if (said := rules.get(text[at:end])) is not None:
                out.append(said)
                at = end
                break
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def make_rules(words: Iterable[str], say: Callable[[str], str]) -> dict[str, str]:
    """Rules for words (lower case) as `say` has them in phonemes, and for figures.

    A word gets a rule only where those before it would get it wrong: shorter words come first, and a rule
    that spoils an earlier word brings that word in, until all are right."""
    spoken = {word: spelt for word in words if len(word) <= LONGEST and (spelt := spell(say(word)))}
    rules = {letters: spell(phonemes) for letters, phonemes in SPELLINGS.items()}
    rules |= {str(n): spell(say(str(n))) for n in range(FIGURES)}
    rules |= {f".{n}": f" {spell(say(f'point {n}'))}" for n in range(10)}
    rules["-"] = " "
    order = sorted(spoken, key=lambda word: (len(word), word))
    while wrong := [word for word in order if rewrite(word, rules) != spoken[word]]:
        for word in wrong:
            if rewrite(word, rules) != spoken[word]:
                rules[word] = spoken[word]
    return rules


def write_rules(rules: Mapping[str, str], path: Path) -> None:
    """sentencepiece's rule file: code points in hexadecimal, from and to, tab between."""
    with path.open("w", encoding="ascii") as file:
        for source, target in sorted(rules.items()):
            columns = (" ".join(f"{ord(c):X}" for c in part) for part in (source, target))
            print(*columns, sep="\t", file=file)
