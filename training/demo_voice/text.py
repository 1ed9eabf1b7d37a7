"""Sentences to speak: WordNet's example sentences and definitions, everyday phrases, sentences made from templates.

WordNet's glosses quote short example sentences (Debian package wordnet-base, WordNet licence: NOTICE.md). They
are varied but lack numbers, questions and plain household words, which the templates add, and rare words, which
definitions have.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from .cardinals import cardinal
from .teacher import checked_words

WORDS = yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"))
HELD_OUT: list[str] = WORDS["held_out"]


def _list(name: str) -> list[str]:
    return [word.strip() for word in WORDS[name].split("|")]


PEOPLE, PAST, PLACES, UNITS = _list("people"), _list("past"), _list("places"), _list("units")
ADJECTIVES, THINGS, ADVERBS = _list("adjectives"), _list("things"), _list("adverbs")
IMPERATIVES = ["open", "close", "bring", "take", "find", "clean", "move", "hold"]
OWNERS = ["the", "the", "my", "your", "his", "her", "our", "a"]
HELD_OUT_EXAMPLES = 60  # WordNet sentences that join HELD_OUT


def clean(sentence: str) -> str | None:
    """One sentence in plain characters, or None where it is not a plain sentence."""
    s = " ".join(sentence.replace(";", ",").replace("--", ",").split()).strip(" ,")
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9 ,'?!.-]*", s)
    if not plain or re.search(r"[A-Z]{2}|\.[A-Za-z ]|[?!].|- | -|' |''", s):
        return None
    s = s[0].upper() + s[1:]
    return s if s[-1] in ".?!" else s.rstrip(",-'") + "."


def examples(wordnet: Path) -> Iterator[str]:
    """Sentences of 3 to 14 words that WordNet's data files quote."""
    for path in sorted(wordnet.rglob("data.*")):
        for line in path.read_text(encoding="utf-8", errors="ignore").splitlines():
            for quoted in re.findall(r'"([^"]+)"', line.partition("|")[2]):
                s = clean(quoted)
                if s and 3 <= len(s.split()) <= 14 and len(s) <= 90:
                    yield s


def entries(wordnet: Path) -> Iterator[tuple[list[str], str]]:
    """WordNet's entries: (single words, lower case; what they mean)."""
    for path in sorted(wordnet.rglob("data.*")):
        for line in path.read_text(encoding="utf-8", errors="ignore").splitlines():
            head, _, gloss = line.partition("|")
            fields = head.split()
            # offset, file, kind, number of words (hexadecimal), word, ...
            if line[:1] != " " and len(fields) > 4:
                words = (word.lower() for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2])
                yield [word for word in words if re.fullmatch("[a-z]+", word)], gloss.partition(";")[0]


def lemmas(wordnet: Path) -> set[str]:
    """The single words that WordNet has entries for."""
    return {word for words, _ in entries(wordnet) for word in words}


def definitions(wordnet: Path, known: set[str]) -> list[str]:
    """ "Word, what it means." in 3 to 14 words that are all known (others the tokenizer may read differently than the
    teacher does), in random order."""
    found = {}
    for words, meaning in entries(wordnet):
        for word in words:
            s = clean(f"{word}, {meaning}")
            if s and 3 <= len(s.split()) <= 14 and len(s) <= 90 and spoken_words(s) <= known:
                found[s] = None
    return random.Random(0).sample(list(found), len(found))


def spoken_words(sentence: str) -> set[str]:
    """Its words, lower case."""
    return set(re.findall(r"[a-z0-9']+", sentence.lower()))


class Templates:
    """Random sentences from fixed patterns."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, pick = rng, rng.choice
        who, did, where, how = map(self._one_of, (PEOPLE, PAST, PLACES, ADJECTIVES))
        noun, thing, number = self.noun, self.thing, self.number
        self.patterns: list[tuple[float, Callable[[], str]]] = [
            (5, lambda: f"{who()} {did()} {thing()}."),
            (5, lambda: f"{who()} {pick(ADVERBS)} {did()} {thing()} {where()}."),
            (3, lambda: f"{who()} {did()} {thing()} and {thing()}."),
            (4, lambda: f"the {noun()} was {how()} and {how()}."),
            (3, lambda: f"the {noun()} is {where()}."),
            (2, lambda: f"is the {noun()} {how()}?"),
            (2, lambda: f"where is {thing()}?"),
            (1, lambda: f"why do you want {thing()}?"),
            (2, lambda: f"did {who()} see {thing()} {where()}?"),
            (3, lambda: f"{where()}, {who()} {did()} {thing()}."),
            (1, lambda: f"it takes {number()} {pick(UNITS)}."),
            (1, lambda: f"there are {number()} {pick(THINGS)}s {where()}."),
            (1, lambda: f"the answer is {number()}."),
            (1, lambda: f"{number()}, {number()}, {number()}."),
            (0.5, lambda: f"{self.rng.randrange(100)} {pick(UNITS)}."),
            (0.5, lambda: f"the {noun()} costs {self.rng.randrange(2, 100)} dollars."),
            (2, lambda: f"please {pick(IMPERATIVES)} {thing()}."),
            (1, lambda: f"I would like {thing()}, please."),
            (2, lambda: f"there is {thing()} {where()}."),
            (3, lambda: f"{who()} said that the {noun()} was {how()}."),
        ]

    def _one_of(self, words: list[str]) -> Callable[[], str]:
        return lambda: self.rng.choice(words)

    def noun(self) -> str:
        """A thing, often with an adjective."""
        return (self.rng.choice(ADJECTIVES) + " " if self.rng.random() < 0.6 else "") + self.rng.choice(
            THINGS
        )

    def thing(self) -> str:
        """A noun with its article or owner."""
        noun, owner = self.noun(), self.rng.choice(OWNERS)
        return f"an {noun}" if owner == "a" and noun[0] in "aeiou" else f"{owner} {noun}"

    def number(self) -> str:
        """A number in words, small ones more often."""
        drawn = [self.rng.randrange(limit) for limit in (100, 100, 1000, 3000)]
        return cardinal(self.rng.choice(drawn))

    def sentences(self, count: int) -> Iterator[str]:
        weights, patterns = zip(*self.patterns, strict=True)
        for _ in range(count):
            s = self.rng.choices(patterns, weights)[0]()
            yield s[0].upper() + s[1:]


def key(sentence: str) -> str:
    """Sentences with the same key are the same sentence."""
    return sentence.lower().rstrip(".?!")


def collect(wordnet: Path, count: int) -> tuple[list[str], list[str]]:
    """(training sentences, held-out sentences); in any prefix of the former two of three are WordNet's."""
    quoted = list(dict.fromkeys(examples(wordnet)))
    rng = random.Random(0)
    rng.shuffle(quoted)
    plain = [s for s in quoted if 5 <= len(s.split()) <= 12 and not re.search(r"[0-9-]", s)]
    held_out = HELD_OUT + plain[:HELD_OUT_EXAMPLES]
    banned = {key(s) for s in held_out}
    made = list(dict.fromkeys(Templates(rng).sentences(count)))
    quoted = [s for s in quoted if key(s) not in banned]
    mixed = itertools.chain.from_iterable(itertools.zip_longest(quoted[0::2], made, quoted[1::2]))
    phrases = re.findall(r"[^.?!]+[.?!]", WORDS["phrases"])
    lines = dict.fromkeys(s.strip() for s in itertools.chain(phrases, filter(None, mixed)))
    return [s for s in lines if key(s) not in banned], held_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, help="work folder")
    parser.add_argument(
        "--wordnet", type=Path, required=True, help="folder that holds WordNet's data.* files"
    )
    parser.add_argument("--templates", type=int, default=20000, help="sentences to make from templates")
    parser.add_argument("--definitions", type=int, default=24000, help="definitions to add at the end")


def run(args: argparse.Namespace) -> None:
    """Write sentences.txt, heldout.txt, and words.txt: what else the tokenizer should know to say."""
    lines, held_out = collect(args.wordnet, args.templates)
    if len(held_out) < HELD_OUT_EXAMPLES:
        raise SystemExit(f"{args.wordnet} holds no WordNet data files (data.noun, data.verb ...)")
    words = lemmas(args.wordnet) & checked_words()
    lines += definitions(args.wordnet, words.union(*map(spoken_words, lines)))[: args.definitions]
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "sentences.txt").write_text("\n".join(lines) + "\n")
    (args.work / "heldout.txt").write_text("\n".join(held_out) + "\n")
    (args.work / "words.txt").write_text("\n".join(sorted(words)) + "\n")
    print(f"{len(lines)} sentences, {len(held_out)} held out")
