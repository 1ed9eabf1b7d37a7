"""What a Pocket TTS model is: the schema of its YAML config, and the 27 official ones as data."""

from __future__ import annotations

from pocketquant.config.schema import (
    FlowConfig,
    FlowLMConfig,
    FlowLMTransformerConfig,
    LookupTableConfig,
    MimiConfig,
    MimiTransformerConfig,
    ModelConfig,
    QuantizerConfig,
    SEANetConfig,
)

__all__ = [
    "FlowConfig",
    "FlowLMConfig",
    "FlowLMTransformerConfig",
    "LookupTableConfig",
    "MimiConfig",
    "MimiTransformerConfig",
    "ModelConfig",
    "QuantizerConfig",
    "SEANetConfig",
]
