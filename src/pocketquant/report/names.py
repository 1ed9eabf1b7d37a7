"""What an official tensor name says: part of the model, kind of weight, place in the depth.

The names are those of the combined official checkpoints (`flow_lm.*` and `mimi.*`). An unknown name is never
an error here: it lands in "other", so a report of a newer model is still complete.
"""

from __future__ import annotations

import re

PARTS: tuple[str, ...] = (
    "language model",
    "flow head",
    "text embedding",
    "voice",
    "codec decoder",
    "codec encoder",
    "other",
)
"""All parts in the order in which reports list them."""

KINDS: tuple[str, ...] = (
    "attention",
    "feed-forward",
    "modulation",
    "projection",
    "conv",
    "embedding",
    "head",
    "norm",
    "bias",
    "layer scale",
    "constant",
    "other",
)
"""All kinds in the order in which reports list them."""

_PART_PREFIXES: tuple[tuple[str, str], ...] = (
    ("flow_lm.flow_net.", "flow head"),
    ("flow_lm.conditioner.", "text embedding"),
    ("flow_lm.speaker_proj_weight", "voice"),
    ("flow_lm.bos_before_voice", "voice"),
    ("flow_lm.", "language model"),
    ("mimi.encoder", "codec encoder"),
    ("mimi.downsample.", "codec encoder"),
    ("mimi.", "codec decoder"),
)

# First match wins: norms and embeddings own their biases, every other bias is a "bias".
_KIND_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"\.(out_norm|norm\d*|norm_final|in_ln)\.|\.alpha$", "norm"),
        (r"\.layer_scale_\d+\.|\.scale$", "layer scale"),
        (r"\.bias$", "bias"),
        (r"\.(bos_emb|bos_before_voice|emb_mean|emb_std|freqs)$", "constant"),
        (r"\.self_attn\.", "attention"),
        (r"\.linear[12]\.|\.mlp\.\d+\.", "feed-forward"),
        (r"\.adaLN_modulation\.", "modulation"),
        (r"^flow_lm\.conditioner\.embed\.", "embedding"),
        (r"\.out_eos\.|\.final_layer\.linear\.", "head"),
        (r"\.conv\.|\.convtr\.|^mimi\.quantizer\.output_proj\.", "conv"),
        (
            r"\.(input_linear|input_proj|cond_embed|z_proj|proj|output_projs\.\d+)\.|\.speaker_proj_weight$",
            "projection",
        ),
    )
)

_LAYER = re.compile(r"\.(layers|res_blocks|time_embed|model)\.(\d+)\.")
_BLOCK_LABELS = {"layers": "layer", "res_blocks": "block", "time_embed": "time", "model": "conv"}


def part_of(name: str) -> str:
    """The part of the model a tensor belongs to, one of `PARTS`."""
    return next((part for prefix, part in _PART_PREFIXES if name.startswith(prefix)), "other")


def kind_of(name: str) -> str:
    """The kind of weight a tensor is, one of `KINDS`."""
    return next((kind for pattern, kind in _KIND_PATTERNS if pattern.search(name)), "other")


def layer_of(name: str) -> int | None:
    """The index of the layer, block or convolution within its stack; None outside of one."""
    match = _LAYER.search(name)
    return int(match[2]) if match else None


def block_of(name: str) -> str:
    """A short label of the place within the part: "layer 3", "block 0", "conv 5"; "" outside of a stack."""
    match = _LAYER.search(name)
    return f"{_BLOCK_LABELS[match[1]]} {match[2]}" if match else ""
