"""Latents as the language model predicts them, frame by frame beside the true sound.

What the decoder hears in the end are these, not the teacher's: consonants are duller in them. A decoder that trains
on both learns to bear it, as vocoders are tuned on predicted spectrograms (Tacotron 2, Shen et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .batches import Batch, Batches
from .corpus import Corpus
from .forwards import predict_latents
from .layout import build_model, make_config
from .losses import jump
from .state import Stage

ROUNDS = 2  # the first hears the true latents, every other one what the round before predicted
BATCH = 32


@torch.no_grad()
def own_latents(work: Path, size: str, corpus: Corpus, latents: Tensor, chosen: list[int]) -> Tensor:
    """[frames, 32] raw latents of the chosen sentences behind each other, predicted from noise 0 by the language
    model of the work folder; `latents` are the true ones of the whole corpus."""
    tokenizer = work / "tokenizer.model"
    lm = build_model(make_config(size, tokenizer)).flow_lm
    lm.load_state_dict(lm.state_dict() | Stage(work, "flow_lm").averaged())
    lm.eval()
    batches = Batches(corpus, (latents - lm.emb_mean) / lm.emb_std, tokenizer, BATCH, sampling=0.0)
    made: dict[int, Tensor] = {}
    for group in _by_length(corpus, chosen):
        batch = Batch.of([batches.row(i) for i in group])
        heard = batch.latents
        real = torch.arange(heard.shape[1])[None] < batch.n_frames[:, None]
        for _ in range(ROUNDS):
            with torch.autocast("cpu", torch.bfloat16):
                outputs, _ = predict_latents(lm, batch.tokens, batch.n_tokens, heard, batch.n_frames)
                heard = torch.zeros_like(heard)
                condition = outputs[real]
                heard[real] = jump(
                    lm.flow_net, condition, condition.new_zeros(len(condition), heard.shape[2])
                )
        for i, row, frames in zip(group, heard, batch.n_frames, strict=True):
            made[i] = row[:frames] * lm.emb_std + lm.emb_mean
    return torch.cat([made[i] for i in chosen])


def _by_length(corpus: Corpus, chosen: list[int]) -> Iterator[list[int]]:
    """Batches of sentences of about the same length."""
    ordered = sorted(chosen, key=lambda i: int(corpus.frames[i]))
    for first in range(0, len(ordered), BATCH):
        yield ordered[first : first + BATCH]


def frames_of(corpus: Corpus, chosen: list[int]) -> Tensor:
    """Indices of the frames of the chosen sentences behind each other."""
    return torch.from_numpy(np.concatenate([np.arange(corpus.frames[i]) + corpus.starts[i] for i in chosen]))
