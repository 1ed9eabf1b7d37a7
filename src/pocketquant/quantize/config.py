"""The origin's configuration: which layers to leave alone, and how many levels the others get."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class QuantizeConfig:
    """What `quantize_weights` does (origin: `QuantizeConfig`).

    Attributes:
        skip_layers: a tensor whose name contains one of these stays in full precision.
        min_size: tensors with fewer elements stay in full precision.
        num_levels: number of levels for the others; 256 simulates int8.

    `eos_head` matches nothing in the official names (the layer is `flow_lm.out_eos`); it stays in the default
    because the default is the origin's. The presets of `Recipe` use the real names.
    """

    skip_layers: list[str] = field(default_factory=lambda: ["embed", "lut", "out_proj", "eos_head"])
    min_size: int = 1024
    num_levels: int = 256


def should_skip_layer(name: str, config: QuantizeConfig) -> bool:
    """True where the tensor `name` stays in full precision by its name (origin: `should_skip_layer`)."""
    return any(skip in name for skip in config.skip_layers)
