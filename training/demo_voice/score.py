"""Word errors of transcripts, and how sure one can be of their rate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from .cardinals import cardinal


def plain_words(text: str) -> str:
    """Lower-case words without punctuation; figures below ten thousand are spelt out, so that "20" is "twenty" and
    "$20" what was said, "twenty dollars"."""
    text = re.sub(r"\$(\d+)", r"\1 dollars", text.lower().replace(",", ""))
    text = re.sub(r"\d+", lambda m: f" {cardinal(int(m[0]))} " if len(m[0]) < 5 else m[0], text)
    return " ".join(re.sub(r"[^a-z ]", "", text.replace("-", " ")).split())


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """(substitutions + deletions + insertions, words of the reference) after `plain_words`."""
    reference, heard = plain_words(reference), plain_words(heard)
    found = jiwer.process_words(reference, heard)
    return found.substitutions + found.deletions + found.insertions, len(reference.split())


@dataclass(frozen=True)
class Rate:
    """Word error rate with its 95 % interval from a bootstrap over sentences."""

    rate: float
    low: float
    high: float
    errors: int
    words: int
    sentences: int
    flawless: int


def word_error_rate(counts: Sequence[tuple[int, int]], resamples: int = 10000) -> Rate:
    """Rate of (errors, words) pairs, one a sentence. Sentences are resampled whole: errors in one go together."""
    errors, words = np.array(counts).T
    drawn = np.random.default_rng(0).integers(len(counts), size=(resamples, len(counts)))
    low, high = np.quantile(errors[drawn].sum(1) / words[drawn].sum(1), [0.025, 0.975])
    total, of = int(errors.sum()), int(words.sum())
    return Rate(total / of, float(low), float(high), total, of, len(counts), int((errors == 0).sum()))
