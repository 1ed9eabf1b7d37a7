"""What the latents are: an autoencoder of the teacher's band levels.

It squeezes a frame's 416 log band levels (with the frame before as context) into 28 numbers of unit variance.
Noise on them while it is trained keeps the code smooth and forgiving of the language model's errors. Together with
the pitch they are the latents, fixed from then on: decoder and language model can be trained side by side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .corpus import FOR_FEATURES, Corpus
from .layout import CODE
from .run import Run, add_run_arguments
from .state import Stage
from .teacher import FEATURES, FLOOR

SCALE = 3.0  # features are roughly in +-SCALE
NOISE = 0.2


class FeatureCoder(nn.Module):
    """Frame features <-> CODE numbers; a linear map plus a small network, both ways."""

    def __init__(self, hidden: int = 384, narrow: int = 192) -> None:
        super().__init__()
        self.enc = nn.Sequential(
            nn.Linear(2 * FEATURES, hidden),
            nn.GELU(),
            nn.Linear(hidden, narrow),
            nn.GELU(),
            nn.Linear(narrow, CODE),
        )
        self.enc_skip = nn.Linear(2 * FEATURES, CODE)
        self.norm = nn.BatchNorm1d(CODE, affine=False, momentum=0.01)
        self.dec = nn.Sequential(
            nn.Linear(2 * CODE, narrow),
            nn.GELU(),
            nn.Linear(narrow, hidden),
            nn.GELU(),
            nn.Linear(hidden, FEATURES),
        )
        self.dec_skip = nn.Linear(2 * CODE, FEATURES)

    @torch.no_grad()
    def start_as_pca(self, features: Tensor) -> None:
        """Principal components of [n, FEATURES] rows: a better start than random weights."""
        x = features.float() / SCALE
        mean = x.mean(0)
        values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
        top, deviation = vectors[:, -CODE:], values[-CODE:].sqrt()
        last = [m for net in (self.enc, self.dec) for m in net if isinstance(m, nn.Linear)][2::3]
        for layer in (*last, self.enc_skip, self.dec_skip):
            layer.weight.zero_()
            layer.bias.zero_()
        self.enc_skip.weight[:, :FEATURES] = (top / deviation).T
        self.enc_skip.bias.copy_(-(mean @ top) / deviation)
        self.dec_skip.weight[:, :CODE] = top * deviation
        self.dec_skip.bias.copy_(mean)

    def encode(self, before: Tensor, now: Tensor) -> Tensor:
        """[n, FEATURES] of a frame and the one before it to [n, CODE]."""
        x = torch.cat([now, before], -1) / SCALE
        code: Tensor = self.norm(self.enc(x) + self.enc_skip(x))
        return code

    def forward(self, before2: Tensor, before: Tensor, now: Tensor) -> Tensor:
        """Features of `now` again, from noisy codes of it and the frame before."""
        codes = [self.encode(before, now), self.encode(before2, before)]
        z = torch.cat([code + NOISE * torch.randn_like(code) for code in codes], -1)
        decoded: Tensor = SCALE * (self.dec(z) + self.dec_skip(z))
        return decoded


@torch.no_grad()
def latents_of(corpus: Corpus, coder: FeatureCoder) -> Tensor:
    """[frames, 32] raw latents: the coder's numbers, then pitch, its two slopes and a constant."""
    features, codes = torch.from_numpy(corpus.arrays["features"]), []
    for first in range(0, len(features), 8192):
        now = torch.arange(first, min(first + 8192, len(features)))
        before = (now - 1).clamp(min=0)
        codes.append(coder.encode(features[before].float(), features[now].float()))
    pitch = torch.from_numpy(corpus.arrays["pitch"].astype(np.float32))
    periods = (pitch[:, :1] - 15) / 3  # roughly zero mean and unit variance
    return torch.cat([torch.cat(codes), periods, pitch[:, 1:], torch.ones(len(pitch), 1)], 1)


def load_coder(work: Path) -> FeatureCoder:
    """The trained coder of a work folder."""
    coder = FeatureCoder()
    coder.load_state_dict(Stage(work, "features").averaged())
    return coder.eval()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser, lr=2e-3, batch=1024)


def run(args: argparse.Namespace) -> None:
    """Train the coder on all shards."""
    features = torch.from_numpy(Corpus.of(args.work, FOR_FEATURES).arrays["features"])
    coder = FeatureCoder()
    coder.start_as_pca(features[torch.randperm(len(features))[:40000]])
    training = Run(
        args, "features", coder, [torch.optim.AdamW(coder.parameters(), lr=args.lr, weight_decay=1e-4)]
    )
    while training.goes_on():
        i = torch.randint(2, len(features), (args.batch,))
        before2, before, now = (features[i - j].float() for j in (2, 1, 0))
        made = coder(before2, before, now)
        # Loud parts matter most.
        weight = 0.3 + (torch.maximum(now, made.detach()) - FLOOR).clamp(0, 8) / 4
        error = (weight * (made - now).abs()).mean()
        training.step(error + (weight * (made - now) ** 2).mean(), {"error": error})
