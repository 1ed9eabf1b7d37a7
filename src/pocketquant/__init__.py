"""Pocket TTS in 8 or 4 bits: small, fast on a CPU, without PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pocketquant.checkpoint.checkpoint import Checkpoint as Checkpoint
    from pocketquant.checkpoint.checkpoint import open_checkpoint as open_checkpoint
    from pocketquant.errors import PocketQuantError as PocketQuantError
    from pocketquant.model.tts import TTSModel as TTSModel
    from pocketquant.model.tts import export_model_state as export_model_state
    from pocketquant.ops.isa import active_isa as active_isa
    from pocketquant.ops.isa import available_isas as available_isas
    from pocketquant.pipeline import dequantize_checkpoint as dequantize_checkpoint
    from pocketquant.pipeline import quantize_checkpoint as quantize_checkpoint
    from pocketquant.quantize.config import QuantizeConfig as QuantizeConfig
    from pocketquant.quantize.config import should_skip_layer as should_skip_layer
    from pocketquant.quantize.metrics import calculate_snr as calculate_snr
    from pocketquant.quantize.recipe import Recipe as Recipe
    from pocketquant.quantize.tensor import QuantizedTensor as QuantizedTensor
    from pocketquant.quantize.weights import quantize_weights as quantize_weights
    from pocketquant.version import __version__ as __version__

# Loaded when first used: quantizing needs no audio libraries, speaking no reports.
_PUBLIC = {
    "Checkpoint": "checkpoint.checkpoint",
    "PocketQuantError": "errors",
    "QuantizeConfig": "quantize.config",
    "QuantizedTensor": "quantize.tensor",
    "Recipe": "quantize.recipe",
    "TTSModel": "model.tts",
    "__version__": "version",
    "active_isa": "ops.isa",
    "available_isas": "ops.isa",
    "calculate_snr": "quantize.metrics",
    "dequantize_checkpoint": "pipeline",
    "export_model_state": "model.tts",
    "open_checkpoint": "checkpoint.checkpoint",
    "quantize_checkpoint": "pipeline",
    "quantize_weights": "quantize.weights",
    "should_skip_layer": "quantize.config",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'pocketquant' has no attribute '{name}'")
    value = getattr(import_module(f"pocketquant.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
