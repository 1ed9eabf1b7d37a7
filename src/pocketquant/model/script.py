"""A text as it is performed: chunks to be spoken one after the other, and the pauses between them.

A writer asks for a pause with `[pause]`, `[pause:1.5]` (seconds), or with SSML's `<break/>`, `<break time="500ms"/>`,
`<break time="2s"/>` (https://www.w3.org/TR/speech-synthesis11/#S3.2.3). The model knows nothing of pauses: they are
silence between two chunks, so what stands before one ends like a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from pocketquant.audio import Samples
from pocketquant.errors import TextError
from pocketquant.model.text import PreparedText, TextRules, prepare, split
from pocketquant.model.tokenizer import Tokenizer

PAUSE_SECONDS = 0.5
"""Of a pause that does not say how long it is."""

LONGEST_PAUSE = 60.0
"""Seconds. More is a slip: milliseconds meant."""

_NUMBER = r"(\d+(?:\.\d+)?)"
_PAUSE = re.compile(
    rf"\[pause(?:\s*:\s*{_NUMBER}\s*(ms|s)?)?\s*\]|<break(?:\s+time\s*=\s*[\"']{_NUMBER}\s*(ms|s)[\"'])?\s*/>",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Line:
    """A chunk of text, and the seconds of silence before it."""

    text: PreparedText
    pause: float


@dataclass(frozen=True)
class Script:
    """What is performed.

    Attributes:
        lines: at least one.
        end: seconds of silence after the last one.
    """

    lines: list[Line]
    end: float

    def silences(self, sample_rate: int) -> list[Samples]:
        """The pause before each line, and the one at the end: zeros, mostly none."""
        pauses = [*(line.pause for line in self.lines), self.end]
        return [np.zeros(round(seconds * sample_rate), np.float32) for seconds in pauses]

    def joined(self, sounds: Iterable[Samples], sample_rate: int) -> Samples:
        """The whole, float32 `[samples]`, of the sounds of its lines."""
        *before, end = self.silences(sample_rate)
        return np.concatenate([*chain.from_iterable(zip(before, sounds, strict=True)), end])


def read(text: str, tokenizer: Tokenizer, max_tokens: int, rules: TextRules) -> Script:
    """The script of a text of any length; chunks have at most `max_tokens` tokens where sentences allow it.

    Raises:
        TextError: nothing is left to be spoken, or a pause of more than a minute.
    """
    lines: list[Line] = []
    pause = 0.0
    parts = list(_parts(text))
    for part, silence in parts:
        # Between two pauses there may be but white space or a stray full stop.
        if len(parts) == 1 or any(character.isalnum() for character in part):
            for chunk in split(part, tokenizer, max_tokens, rules):
                if chunk.strip():
                    lines.append(Line(prepare(chunk, rules), pause))
                    pause = 0.0
        pause += silence
    if not lines:
        raise TextError("the text is empty: the tokenizer knows none of its characters")
    return Script(lines, pause)


def _parts(text: str) -> Iterator[tuple[str, float]]:
    """Stretches of text, each with the seconds of silence that follow it."""
    start = 0
    for mark in _PAUSE.finditer(text):
        yield text[start : mark.start()], _seconds(mark)
        start = mark.end()
    yield text[start:], 0.0


def _seconds(mark: re.Match[str]) -> float:
    amount, unit = (mark[1], mark[2]) if mark[1] else (mark[3], mark[4])
    if amount is None:
        return PAUSE_SECONDS
    seconds = float(amount) / (1000 if (unit or "s").lower() == "ms" else 1)
    if seconds > LONGEST_PAUSE:
        raise TextError(f"{mark[0]}: a pause of {seconds:g} seconds; give at most {LONGEST_PAUSE:g}")
    return seconds
