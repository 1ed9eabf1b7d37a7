"""Batches for the language model: sentences with their latents, tokens, phonemes and allowed attention."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from torch import Tensor

from .corpus import Corpus
from .layout import LATENT, prepare_text
from .teacher import PHONES, TAIL

POOL = 16  # batches that are drawn together and sorted by length, so that little is padding
SHORT = 32  # latent frames below which a sentence may be joined with another
JOINED = 0.3  # share of short sentences that are
NO_PHONE = 255


@dataclass(frozen=True)
class Row:
    """One example of T latent frames and N tokens."""

    latents: Tensor  # [T, 32] normalised
    speech: int  # frames before the silence at the end
    tokens: list[int]
    allowed: Tensor  # [T, N] bool: what a frame may look at
    phones: Tensor  # [T, PHONES]

    def after(self, first: Row) -> Row:
        """This sentence spoken after another one."""
        frames, tokens = len(first.latents), len(first.tokens)
        allowed = torch.zeros(frames + len(self.latents), tokens + len(self.tokens), dtype=torch.bool)
        allowed[:frames, :tokens], allowed[frames:, tokens:] = first.allowed, self.allowed
        return Row(
            torch.cat([first.latents, self.latents]),
            frames + self.speech,
            first.tokens + self.tokens,
            allowed,
            torch.cat([first.phones, self.phones]),
        )


@dataclass(frozen=True)
class Batch:
    """Padded rows."""

    latents: Tensor  # [B, T, 32]
    tokens: Tensor  # [B, N]
    allowed: Tensor  # [B, T, N] bool
    phones: Tensor  # [B, T, PHONES], NO_PHONE as padding
    n_frames: Tensor  # [B]
    n_speech: Tensor  # [B]
    n_tokens: Tensor  # [B]

    @classmethod
    def of(cls, rows: list[Row]) -> Batch:
        b, t, n = len(rows), max(len(r.latents) for r in rows), max(len(r.tokens) for r in rows)
        latents, tokens = torch.zeros(b, t, LATENT), torch.zeros(b, n, dtype=torch.long)
        allowed = torch.zeros(b, t, n, dtype=torch.bool)
        phones = torch.full((b, t, PHONES), NO_PHONE, dtype=torch.long)
        for i, row in enumerate(rows):
            frames, pieces = row.allowed.shape
            latents[i, :frames], tokens[i, :pieces] = row.latents, torch.tensor(row.tokens)
            allowed[i, :frames, :pieces], phones[i, :frames] = row.allowed, row.phones
        counts = torch.tensor([(len(r.latents), r.speech, len(r.tokens)) for r in rows])
        return cls(latents, tokens, allowed, phones, *counts.unbind(1))

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class Batches:
    """Endless random batches.

    Short sentences are sometimes joined, because the package speaks several sentences at once where they fit.
    `sampling` is the share of sentences cut into random pieces instead of the likeliest: more pieces are seen."""

    def __init__(self, corpus: Corpus, latents: Tensor, tokenizer: Path, size: int, sampling: float) -> None:
        self.corpus, self.latents, self.size, self.sampling = corpus, latents, size, sampling
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
        self.texts = [prepare_text(text) for text in corpus.texts]

    def __iter__(self) -> Iterator[Batch]:
        for pool in itertools.count():
            drawn = np.random.randint(len(self.texts), size=self.size * POOL)
            rows = sorted((self._example(int(i)) for i in drawn), key=lambda r: sum(r.allowed.shape))
            # Parallel processes take the same order, so that none waits for another's longer sentences.
            for group in random.Random(pool).sample(range(POOL), POOL):
                yield Batch.of(rows[group * self.size : (group + 1) * self.size])

    def row(self, i: int, ends: bool = True) -> Row:
        """Sentence i; without its end only a short pause is left after it."""
        frames = int(self.corpus.frames[i])
        speech = frames - TAIL
        at = slice(self.corpus.starts[i], self.corpus.starts[i] + (frames if ends else speech + 2))
        pieces = self._pieces(self.texts[i])
        tokens = [self.model.piece_to_id(piece) for piece in pieces]
        position = self.corpus.arrays["position"][at].astype(np.float32)
        matched = match_words(self.texts[i], "".join(pieces))
        if matched and self.corpus.arrays["aligned"][i]:
            ends = np.cumsum([len(piece) for piece in pieces])
            spoken = np.interp(position, *matched)[:, None]
            allowed = (spoken > np.r_[0, ends[:-1]] - 2) & (spoken < ends + 1)
        else:
            allowed = np.ones((len(position), len(tokens)), bool)
        phones = torch.from_numpy(self.corpus.arrays["phones"][at])
        return Row(self.latents[at], speech, tokens, torch.from_numpy(allowed), phones)

    def _example(self, i: int) -> Row:
        row = self.row(i)
        if len(row.latents) < SHORT and random.random() < JOINED:
            j = random.randrange(len(self.texts))
            if self.corpus.frames[j] < SHORT:
                return row.after(self.row(j, ends=False))
        return row

    def _pieces(self, text: str) -> list[str]:
        if random.random() < self.sampling:
            return self.model.encode(text, out_type=str, enable_sampling=True, alpha=0.3, nbest_size=-1)
        return self.model.encode(text, out_type=str)


def match_words(text: str, spoken: str) -> tuple[list[int], list[int]] | None:
    """Characters of the text and of its joined pieces at which each word begins and ends; None where the pieces
    have other words (figures). Within a word letters and phonemes are taken to run evenly."""
    words, said = list(re.finditer(r"[^ ]+", text)), list(re.finditer("[^▁]+", spoken))
    if len(words) != len(said):
        return None
    return [at for word in words for at in word.span()], [at for word in said for at in word.span()]
