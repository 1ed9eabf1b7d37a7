"""Word errors: what a speech recognizer hears, against what was to be said.

Recognizers are not listeners: they forgive hiss and a wrong voice, and mishear some words however well they
are said. So the difference to the float model on the same sentences counts, not the rate itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pocketquant.audio import Samples, resample
from pocketquant.errors import PocketQuantError

Transcriber = Callable[[Samples, int], str]
"""Sound `[samples]` and its rate in Hz to text."""
DEFAULT_MODEL = "base"
WHISPER_RATE = 16000
MOST_TOKENS = 120
"""A recognizer that finds no words may repeat itself for ever."""

# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on


def whisper(model: str | Path | None = None, *, language: str | None = "en") -> Transcriber:
    """A transcriber on faster-whisper. Nothing is downloaded.

    Args:
        model: a CTranslate2 model directory, or the name of a model that is in the Hugging Face cache.
        language: what is spoken; None lets it guess.

    Raises:
        PocketQuantError: faster-whisper is not installed, or there is no such model on this machine.
    """
    if find_spec("faster_whisper") is None:
        raise PocketQuantError(
            "--wer needs a speech recognizer: pip install 'pocketquant[eval]' (faster-whisper)"
        )
    library: Any = import_module("faster_whisper")
    name = str(model or DEFAULT_MODEL)
    try:
        recognizer = library.WhisperModel(
            name, device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True
        )
    except Exception as error:  # the library raises whatever its parts raise
        raise PocketQuantError(
            f"--whisper {name}: no Whisper model there ({type(error).__name__}); give a CTranslate2 directory, or get "
            f"one with `hf download Systran/faster-whisper-{DEFAULT_MODEL}` (nothing is downloaded unasked)"
        ) from error

    def transcribe(samples: Samples, rate: int) -> str:
        segments, _ = recognizer.transcribe(
            resample(samples, rate, WHISPER_RATE),
            language=language,
            beam_size=1,
            temperature=0.0,  # no second try: one text for one sound
            condition_on_previous_text=False,
            without_timestamps=True,
            max_new_tokens=MOST_TOKENS,
        )
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def words(text: str) -> list[str]:
    """The words of a text as they are counted: lower case, no marks, numbers spelled out in English."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text.lower())
    text = re.sub(r"\d+", lambda number: f" {cardinal(int(number[0]))} ", text)
    text = re.sub(r"[’'`]", "", text)  # it's, its: one sound
    return re.findall(r"[^\W_]+", text)


def cardinal(number: int) -> str:
    """A number below a million in English words; larger ones digit by digit."""
    if number >= 1_000_000:
        return " ".join(_ONES[int(digit)] for digit in str(number))
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" {cardinal(number % size)}" if number % size else ""
            return f"{cardinal(number // size)} {name}{rest}"
    if number < 20:
        return _ONES[number]
    rest = f" {_ONES[number % 10]}" if number % 10 else ""
    return _TENS[number // 10 - 2] + rest


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Substituted, missing and inserted words together, and the number of words that were to be said.

    The Levenshtein distance over words.
    """
    reference, hypothesis = words(said), words(heard)
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1], len(reference)


def lost_words(said: str, heard: str) -> tuple[int, int]:
    """What a sentence adds to a word error rate: its `word_errors`, at most as many as it has words, and its words.

    A recognizer that falls into a loop writes tens of words that nobody said, and one such sentence would outweigh
    all others. The sentence counts as wholly wrong, no more.
    """
    errors, count = word_errors(said, heard)
    return min(errors, count), count
