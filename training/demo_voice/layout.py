"""What the miniature is: its sizes, its config, its text rules and the meaning of its latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pocket_tts.models.text_chunking import prepare_text_prompt
from pocket_tts.models.tts_model import TTSModel
from pocket_tts.utils.config import Config

from .vocoder import FRAME, SAMPLE_RATE

LATENT = 32  # numbers of a latent frame:
CODE = 28  # ... so many learnt ones, then pitch, its two slopes and a constant
PIECES = 600  # of the tokenizer

# "tiny" trains on two CPU cores; "small" wants a GPU.
SIZES: dict[str, dict[str, int]] = {
    "tiny": {
        "width": 160,
        "heads": 4,
        "layers": 6,
        "flow_width": 128,
        "flow_depth": 3,
        "decoder_filters": 16,
        "decoder_layers": 3,
        "encoder_filters": 8,
        "encoder_layers": 1,
    },
    "small": {
        "width": 192,
        "heads": 4,
        "layers": 8,
        "flow_width": 160,
        "flow_depth": 4,
        "decoder_filters": 24,
        "decoder_layers": 4,
        "encoder_filters": 12,
        "encoder_layers": 2,
    },
}

ACCENTED = "áàâäãåéèêëíìîïóòôöõúùûüñçÁÀÂÄÉÈÊËÍÎÏÓÔÖÚÛÜÑÇ"
PLAIN = "aaaaaaeeeeiiiiooooouuuuncaaaaeeeeiiiooouuunc"


def _replacements() -> dict[str, str]:
    rules = {c: c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    rules |= {"’": "'", "‘": "'", "`": "'", "…": ".", "/": " ", "_": " ", "\n": " ", "\t": " "}
    rules |= {"&": " and ", "%": " percent ", "+": " plus ", "=": " equals ", "@": " at "}
    rules |= dict.fromkeys("–—;:()[]", ",")
    rules |= dict.fromkeys('"“”«»*#~^|\\<>{}$', "")
    return rules | dict(zip(ACCENTED, PLAIN, strict=True))


# The tokenizer's rules know lower-case letters, digits, space and . , ? ! ' - only. The official config rewrites
# text character by character before it is tokenized, and that is enough to bring any text there.
REPLACEMENTS = _replacements()


def prepare_text(text: str) -> str:
    """The text as the official package hands it to the tokenizer under this config."""
    prepared: str = prepare_text_prompt(text, False, True, True, False, REPLACEMENTS)[0]
    return prepared


def _seanet(filters: int, kernel: int) -> dict[str, Any]:
    return {
        "dimension": 128,
        "channels": 1,
        "n_filters": filters,
        "n_residual_layers": 1,
        "ratios": [6, 5, 4],
        "kernel_size": kernel,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "dilation_base": 2,
        "pad_mode": "constant",
        "compress": 2,
    }


def _codec_transformer(layers: int) -> dict[str, Any]:
    return {
        "d_model": 128,
        "num_heads": 4,
        "num_layers": layers,
        "layer_scale": 0.1,
        "context": 50,
        "dim_feedforward": 384,
        "input_dimension": 128,
        "output_dimensions": [128],
    }


def make_config(size: str, tokenizer: str | Path, *, weights: str | None = None) -> dict[str, Any]:
    """The official YAML config of one of SIZES, as plain data; `weights` is the path it names."""
    s = SIZES[size]
    return {
        "weights_path": weights,
        "default_temperature": 0.0,
        "default_eos_threshold": 0.0,
        "model_recommended_frames_after_eos": 2,
        "remove_semicolons": True,
        "capitalize_first_letter": False,
        "replace_characters": REPLACEMENTS,
        "flow_lm": {
            "dtype": "float32",
            "insert_bos_before_voice": True,
            "flow": {"type": "lsd", "dim": s["flow_width"], "depth": s["flow_depth"]},
            "transformer": {
                "d_model": s["width"],
                "hidden_scale": 4,
                "max_period": 10000,
                "num_heads": s["heads"],
                "num_layers": s["layers"],
            },
            "lookup_table": {
                "dim": s["width"],
                "n_bins": PIECES,
                "tokenizer": "sentencepiece",
                "tokenizer_path": str(tokenizer),
            },
        },
        "mimi": {
            "dtype": "float32",
            "sample_rate": SAMPLE_RATE,
            "channels": 1,
            "frame_rate": SAMPLE_RATE / FRAME,
            "inner_dim": LATENT,
            "outer_dim": 128,
            "seanet": _seanet(s["encoder_filters"], kernel=7),
            "transformer": _codec_transformer(s["encoder_layers"]),
            "quantizer": {"dimension": LATENT, "output_dimension": 128},
            "decoder_seanet": _seanet(s["decoder_filters"], kernel=3),
            "decoder_transformer": _codec_transformer(s["decoder_layers"]),
        },
    }


def build_model(config: dict[str, Any]) -> TTSModel:
    """An untrained official TTSModel; embeddings start small enough not to drown the latents."""
    model = TTSModel._from_pydantic_config_with_weights(Config(**config), 0.0, 1, None, 0.0)
    torch.nn.init.normal_(model.flow_lm.conditioner.embed.weight, std=0.3)
    with torch.no_grad():
        model.flow_lm.bos_before_voice.mul_(0.3)
    return model
