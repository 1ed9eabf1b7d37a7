"""The codec: the official Mimi decoder (latents -> sound) and encoder (sound -> latents).

Both are trained against the corpus by regression: the vocoder leaves no phase to guess. The encoder serves no
voice cloning (there is one voice); it makes the model complete and lets the codec be tested.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from .corpus import FOR_CODEC, Corpus
from .features import latents_of, load_coder
from .forwards import decode_latents
from .layout import CODE, build_model, make_config
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


def run(args: argparse.Namespace) -> None:
    """Train the decoder or the encoder, as `args.step` says."""
    device = device_of(args)
    corpus = Corpus.of(args.work, FOR_CODEC)
    latents, audio = latents_of(corpus, load_coder(args.work)), corpus.audio()
    starts = torch.from_numpy(corpus.starts)
    starts = starts[starts + args.crop <= len(latents)]
    mimi = build_model(make_config(args.size, args.work / "tokenizer.model")).mimi
    if args.step == "decoder":
        del mimi.encoder, mimi.encoder_transformer, mimi.downsample
    else:
        del mimi.decoder, mimi.decoder_transformer, mimi.quantizer, mimi.upsample
    mimi.to(device).train()
    optimizer = torch.optim.AdamW(mimi.parameters(), lr=args.lr, betas=(0.8, 0.98), weight_decay=1e-3)
    training = Run(args, args.step, mimi, [optimizer])
    while training.goes_on():
        # Some batches begin like a real utterance, from silence.
        at_start = training.schedule.steps % 6 == 0
        if at_start:
            first = starts[torch.randint(len(starts), (args.batch,))]
        else:
            first = torch.randint(len(latents) - args.crop, (args.batch,))
        frames = first[:, None] + torch.arange(args.crop)
        z, true = latents[frames].to(device), audio[frames].to(device).float().flatten(1) / 32768
        if args.step == "decoder":
            skip = 0 if at_start else WARM_UP * FRAME
            loss = spectral_distance(decode_latents(mimi, _disturb(z))[:, skip:], true[:, skip:])
        else:
            error = (mimi.encode_to_latent(true[:, None]) - z)[:, WARM_UP:]
            loss = error.square().mean() + error.abs().mean()
        training.step(loss, {"loss": loss})
