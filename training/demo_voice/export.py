"""Training state -> the files that the official package (and pocketquant) loads."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from pocket_tts.models.model_state import export_model_state
from pocket_tts.models.tts_model import TTSModel, stamp_state_names
from pocket_tts.modules.stateful_module import init_states
from torch import nn

from .features import load_coder
from .forwards import largest_differences
from .layout import SIZES, build_model, make_config
from .state import Stage

HEADER = (
    "# Demo voice for offline use and tests, trained by training/demo_voice.\n"
    "# Paths are relative: load it with this folder as the working directory.\n"
)
FILES = ("demo.safetensors", "demo.yaml", "tokenizer.model", "heart.safetensors")


@contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def load_voice(folder: Path, temperature: float | None = None) -> tuple[TTSModel, Any]:
    """The official model of an exported folder and its voice state. The config's paths are relative to it."""
    with _working_directory(folder):
        model = TTSModel.load_model(config="demo.yaml", temp=temperature)
        return model, model.get_state_for_audio_prompt("heart.safetensors")


def assemble(work: Path, size: str) -> tuple[TTSModel, dict[str, int]]:
    """The official model with the averaged weights of every stage, and how many tensors each gave."""
    model = build_model(make_config(size, work / "tokenizer.model"))
    given = {}
    for name, module in (("flow_lm", model.flow_lm), ("decoder", model.mimi), ("encoder", model.mimi)):
        weights = Stage(work, name).averaged()
        state = module.state_dict()
        if unknown := set(weights) - set(state):
            raise SystemExit(
                f"{name}: trained with another size? The model has no {', '.join(sorted(unknown)[:3])}"
            )
        module.load_state_dict(state | weights)
        given[name] = len(weights)
    return model.eval(), given


def write_voice(model: TTSModel, path: Path) -> None:
    """The attention state after the single bos_before_voice position: the only speaker there is."""
    stamp_state_names(model)
    state = init_states(model.flow_lm, 1, 1)
    with torch.no_grad():
        model._run_flow_lm_and_increment_step(state, audio_conditioning=model.flow_lm.bos_before_voice)
    export_model_state(state, path)


def _parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, help="work folder (tokenizer.model, state/)")
    parser.add_argument("--voice", type=Path, required=True, help="folder to write")
    parser.add_argument("--size", choices=list(SIZES), default="tiny")


def run(args: argparse.Namespace) -> None:
    """Write FILES, export.json and what adopt.py needs besides them, features.safetensors.

    Weights are rounded to bfloat16, so that 16-bit package data lose nothing."""
    model, given = assemble(args.work, args.size)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(value.to(torch.bfloat16))
    args.voice.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(state, args.voice / "demo.safetensors")
    shutil.copyfile(args.work / "tokenizer.model", args.voice / "tokenizer.model")
    coder = {
        name: value.half() if value.dim() else value
        for name, value in load_coder(args.work).state_dict().items()
    }
    safetensors.torch.save_file(coder, args.voice / "features.safetensors")
    config = make_config(args.size, "tokenizer.model", weights="demo.safetensors")
    (args.voice / "demo.yaml").write_text(
        HEADER + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    )
    write_voice(model, args.voice / "heart.safetensors")
    mimi = model.mimi
    report = {
        "tensors_trained": given,
        "largest_difference_from_official_streaming": largest_differences(model),
        "parameters": {
            "total": _parameters(model),
            "flow_lm": _parameters(model.flow_lm),
            "mimi_decoder": _parameters(
                mimi.decoder, mimi.decoder_transformer, mimi.quantizer, mimi.upsample
            ),
            "mimi_encoder": _parameters(mimi.encoder, mimi.encoder_transformer, mimi.downsample),
        },
        "bytes": {name: (args.voice / name).stat().st_size for name in FILES},
    }
    (args.voice / "export.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
