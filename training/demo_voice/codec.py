"""The codec: the official Mimi decoder (latents -> sound) and encoder (sound -> latents).

Both are trained against the corpus by regression: the vocoder leaves no phase to guess. Once there is a language
model, the decoder can be trained on what that predicts as well (`--own`). The encoder serves no
voice cloning (there is one voice); it makes the model complete and lets the codec be tested.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor

from .corpus import FOR_CODEC, FOR_LM, Corpus
from .features import latents_of, load_coder
from .forwards import decode_latents
from .layout import CODE, build_model, make_config
from .own import frames_of, own_latents
from .run import Run, add_run_arguments, device_of
from .vocoder import FRAME

WARM_UP = 3  # frames at the start of a crop that do not count: what was before is missing


def _spectrum(x: Tensor, size: int) -> Tensor:
    """[B, samples] to [B, bins, frames, 2]."""
    window = torch.hann_window(size, device=x.device)
    found = torch.stft(x, size, size // 4, window=window, center=False, return_complex=True)
    scaled: Tensor = torch.view_as_real(found) * (2 / size**0.5)
    return scaled


def _compress(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """The spectrum and its magnitude, raised to the power 0.4 as the ear does, roughly."""
    power = spectrum.square().sum(-1, keepdim=True) + 1e-6
    magnitude = power**0.2
    return spectrum * magnitude * power**-0.5, magnitude


def spectral_distance(made: Tensor, true: Tensor) -> Tensor:
    """Of [B, samples], at three window lengths, with and without phase."""
    loss = torch.zeros((), device=made.device)
    for size in (128, 512, 2048):
        (a, magnitude_a), (b, magnitude_b) = (
            _compress(_spectrum(made, size)),
            _compress(_spectrum(true, size)),
        )
        loss = loss + (magnitude_a - magnitude_b).abs().mean() + 0.5 * (a - b).abs().mean()
    return loss


def _disturb(latents: Tensor) -> Tensor:
    """Latents as a language model might give them: the decoder learns to bear that."""
    amount = 0.3 * torch.rand(len(latents), 1, 1, device=latents.device)
    strength = torch.zeros(latents.shape[-1], device=latents.device)
    strength[:CODE], strength[CODE], strength[CODE + 1 : CODE + 3] = 1.0, 0.25, 0.5
    return latents + amount * strength * torch.randn_like(latents)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser, lr=1.5e-3, batch=6)
    parser.add_argument("--crop", type=int, default=16, help="latent frames of an example")
    parser.add_argument(
        "--own",
        type=float,
        default=0.0,
        help="share of the decoder's batches that hear the language model's latents",
    )
    parser.add_argument("--own-sentences", type=int, default=5000, help="sentences that it predicts for that")


class Source:
    """Latents [frames, 32] with their sound [frames, 1920]; random crops of it."""

    def __init__(self, latents: Tensor, audio: Tensor, starts: Tensor, crop: int) -> None:
        self.latents, self.audio, self.crop = latents, audio, crop
        self.starts = starts[starts + crop <= len(latents)]

    def draw(self, batch: int, at_start: bool) -> tuple[Tensor, Tensor]:
        """[B, crop, 32] and [B, samples] in +-1; from the start of sentences or from anywhere."""
        if at_start:
            first = self.starts[torch.randint(len(self.starts), (batch,))]
        else:
            first = torch.randint(len(self.latents) - self.crop, (batch,))
        frames = first[:, None] + torch.arange(self.crop)
        return self.latents[frames], self.audio[frames].float().flatten(1) / 32768


def own_source(args: argparse.Namespace, corpus: Corpus, latents: Tensor) -> Source:
    """A random part of the corpus with the language model's latents."""
    chosen = random.sample(range(len(corpus)), min(args.own_sentences, len(corpus)))
    predicted = own_latents(args.work, args.size, corpus, latents, chosen)
    lengths = torch.from_numpy(corpus.frames[chosen])
    return Source(
        predicted, corpus.audio()[frames_of(corpus, chosen)], lengths.cumsum(0) - lengths, args.crop
    )


def run(args: argparse.Namespace) -> None:
    """Train the decoder or the encoder, as `args.step` says."""
    device = device_of(args)
    is_decoder = args.step == "decoder"
    own = args.own if is_decoder else 0.0
    corpus = Corpus.of(args.work, tuple(dict.fromkeys((*FOR_CODEC, *FOR_LM))) if own else FOR_CODEC)
    latents = latents_of(corpus, load_coder(args.work))
    true = Source(latents, corpus.audio(), torch.from_numpy(corpus.starts), args.crop)
    predicted = own_source(args, corpus, latents) if own else true
    mimi = build_model(make_config(args.size, args.work / "tokenizer.model")).mimi
    if is_decoder:
        del mimi.encoder, mimi.encoder_transformer, mimi.downsample
    else:
        del mimi.decoder, mimi.decoder_transformer, mimi.quantizer, mimi.upsample
    mimi.to(device).train()
    optimizer = torch.optim.AdamW(mimi.parameters(), lr=args.lr, betas=(0.8, 0.98), weight_decay=1e-3)
    training = Run(args, args.step, mimi, [optimizer])
    while training.goes_on():
        # Some batches begin like a real utterance, from silence.
        at_start = training.schedule.steps % 6 == 0
        hears_own = torch.rand(()).item() < own
        z, sound = (part.to(device) for part in (predicted if hears_own else true).draw(args.batch, at_start))
        if is_decoder:
            skip = 0 if at_start else WARM_UP * FRAME
            made = decode_latents(mimi, z if hears_own else _disturb(z))
            loss = spectral_distance(made[:, skip:], sound[:, skip:])
        else:
            error = (mimi.encode_to_latent(sound[:, None]) - z)[:, WARM_UP:]
            loss = error.square().mean() + error.abs().mean()
        training.step(loss, {"own" if hears_own else "loss": loss})
