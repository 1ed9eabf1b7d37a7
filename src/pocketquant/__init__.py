"""Pocket TTS in 8 or 4 bits: small, fast on a CPU, without PyTorch."""

from __future__ import annotations

from pocketquant.errors import PocketQuantError
from pocketquant.quantize.config import QuantizeConfig, should_skip_layer
from pocketquant.quantize.metrics import calculate_snr
from pocketquant.quantize.tensor import QuantizedTensor
from pocketquant.quantize.weights import quantize_weights
from pocketquant.version import __version__

__all__ = [
    "PocketQuantError",
    "QuantizeConfig",
    "QuantizedTensor",
    "__version__",
    "calculate_snr",
    "quantize_weights",
    "should_skip_layer",
]
