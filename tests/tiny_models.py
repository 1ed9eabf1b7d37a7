"""Tiny configs that together use every option of the official ones, and their golden inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketquant.config.schema import ModelConfig
from random_model import random_weights

F32 = NDArray[np.float32]

_SEANET: dict[str, Any] = {
    "dimension": 24,
    "channels": 1,
    "n_filters": 4,
    "n_residual_layers": 1,
    "ratios": [3, 2],
    "kernel_size": 7,
    "residual_kernel_size": 3,
    "last_kernel_size": 3,
    "dilation_base": 2,
    "pad_mode": "constant",
    "compress": 2,
}
_TRANSFORMER: dict[str, Any] = {
    "d_model": 24,
    "input_dimension": 24,
    "output_dimensions": [24],
    "num_heads": 3,
    "num_layers": 2,
    "layer_scale": 0.01,
    "context": 21,
    "dim_feedforward": 40,
}


def _config(flow: str, lm: dict[str, Any], transformer: dict[str, Any], mimi: dict[str, Any]) -> ModelConfig:
    """1200 samples a second, 96 a frame: 16 rows of 6 samples."""
    width = transformer["d_model"]
    return ModelConfig.from_dict(
        {
            "flow_lm": {
                "dtype": "float32",
                "flow": {"dim": 20, "depth": 2, "type": flow},
                "transformer": {"hidden_scale": 2, "max_period": 10000, "num_layers": 2, **transformer},
                "lookup_table": {
                    "dim": width,
                    "n_bins": 30,
                    "tokenizer": "tokenizers",
                    "tokenizer_path": "none",
                    **lm.pop("table", {}),
                },
                **lm,
            },
            "mimi": {
                "dtype": "float32",
                "sample_rate": 1200,
                "channels": 1,
                "frame_rate": 12.5,
                "seanet": _SEANET,
                "transformer": _TRANSFORMER,
                "quantizer": {"dimension": 8, "output_dimension": 24},
                **mimi,
            },
        },
        f"tiny {flow}",
    )


TINY: dict[str, ModelConfig] = {
    "lsd": _config(
        "lsd",
        {"insert_bos_before_voice": True},
        {"d_model": 32, "num_heads": 4},
        {"inner_dim": 8, "outer_dim": 24},
    ),
    "flow_matching": _config(
        "flow_matching",
        {"z_dim": 12, "table": {"rank": 6}},
        {"d_model": 32, "num_heads": 4, "attn_dim": 40, "num_kv_heads": 2, "dim_feedforward": 24},
        {"seanet": {**_SEANET, "pad_mode": "replicate"}},
    ),
    "drifting": _config(
        "drifting",
        {"insert_bos_before_voice": True, "z_dim": 12},
        {"d_model": 24, "num_heads": 3, "num_kv_heads": 1, "max_period": 500},
        {
            "inner_dim": 8,
            "outer_dim": 32,
            "quantizer": {"dimension": 8, "output_dimension": 32},
            "decoder_seanet": {**_SEANET, "dimension": 16, "n_filters": 3, "n_residual_layers": 2},
            "decoder_transformer": {
                **_TRANSFORMER,
                "input_dimension": 16,
                "output_dimensions": [16],
                "context": 50,
            },
        },
    ),
    "pointwise": _config(
        "pointwise",
        {"insert_bos_before_voice": True, "table": {"rank": 6}},
        {"d_model": 16, "num_heads": 3, "attn_dim": 36},
        {
            "inner_dim": 8,
            "outer_dim": 16,
            "quantizer": {"dimension": 8, "output_dimension": 16},
            "decoder_seanet": {**_SEANET, "dimension": 16, "kernel_size": 3, "pad_mode": "replicate"},
            "decoder_transformer": {
                **_TRANSFORMER,
                "d_model": 16,
                "input_dimension": 16,
                "output_dimensions": [16],
                "num_heads": 2,
                "num_layers": 3,
            },
        },
    ),
}
"""By head: lsd is plain; flow_matching adds grouped KV heads, `attn_dim`, `z_dim`, `rank`, replicate padding, no
voice BOS; drifting one KV head, projections and several residual blocks on the decoder side, a grouped upsampling;
pointwise small decoder-side sizes and replicate padding there."""

SEED = 20261123


def tiny_weights(name: str) -> dict[str, Any]:
    """The random weights of a tiny model, as stored tensors."""
    return random_weights(TINY[name], SEED)


@dataclass(frozen=True)
class Inputs:
    """What the golden outputs were made from."""

    recording: F32  # [samples], not a whole number of frames
    tokens: NDArray[np.int64]  # [5]
    latents: F32  # [4, latent_dim], the first NaN: what the language model is given
    noise: F32  # [4, latent_dim]
    sound: F32  # [4, latent_dim]: what the decoder is given


def inputs(config: ModelConfig) -> Inputs:
    """Seeded inputs for a config."""
    rng = np.random.default_rng(SEED)
    size = config.latent_dim

    def noise(*shape: int) -> F32:
        uniform = rng.random(shape, np.float32)
        spread: F32 = (uniform - np.float32(0.5)) * np.float32(3)
        return spread

    latents = noise(4, size)
    latents[0] = np.nan
    return Inputs(
        noise(500) * np.float32(0.3), np.array([3, 29, 0, 7, 7]), latents, noise(4, size), noise(4, size)
    )
