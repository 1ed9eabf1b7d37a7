"""An exported voice -> training state, to go on from it: weights only, so the optimizer starts cold.

Where the work folder has a tokenizer of its own already, that one stays and the text embeddings start anew."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import safetensors.torch
from torch import nn

from .features import FeatureCoder
from .layout import SIZES, build_model, make_config
from .state import Average, Stage

EMBEDDINGS = "flow_lm.conditioner.embed.weight"
CODER = "features.safetensors"  # what the latents are; export.py writes it, the voice in the box has it here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--voice", type=Path, required=True, help="folder with demo.safetensors")
    parser.add_argument("--work", type=Path, required=True, help="work folder to fill")
    parser.add_argument("--size", choices=list(SIZES), default="tiny")


def run(args: argparse.Namespace) -> None:
    """Write tokenizer.model and the state of every stage. The latents stay as they were."""
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = args.work / "tokenizer.model"
    if not tokenizer.exists():
        shutil.copyfile(args.voice / "tokenizer.model", tokenizer)
    model = build_model(make_config(args.size, tokenizer))
    weights = safetensors.torch.load_file(args.voice / "demo.safetensors")
    if tokenizer.read_bytes() != (args.voice / "tokenizer.model").read_bytes():
        weights[EMBEDDINGS] = model.state_dict()[EMBEDDINGS]
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    coder = FeatureCoder()
    found = [folder / CODER for folder in (args.voice, Path(__file__).parent) if (folder / CODER).exists()]
    coder.load_state_dict(safetensors.torch.load_file(found[0]))
    encoder, decoder = model.mimi, build_model(make_config(args.size, tokenizer)).mimi
    decoder.load_state_dict(encoder.state_dict())
    del encoder.decoder, encoder.decoder_transformer, encoder.quantizer, encoder.upsample
    del decoder.encoder, decoder.encoder_transformer, decoder.downsample
    del model.flow_lm.speaker_proj_weight
    stages: dict[str, nn.Module] = {
        "features": coder,
        "decoder": decoder,
        "encoder": encoder,
        "flow_lm": model.flow_lm,
    }
    for name, module in stages.items():
        Stage(args.work, name).save(module, Average(module), [])
    print(f"{args.work}: state of {', '.join(stages)}")
