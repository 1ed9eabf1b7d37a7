"""Simulated quantization of a whole set of weights: the origin's `quantize_weights`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from pocketquant.errors import QuantizationError
from pocketquant.quantize.config import QuantizeConfig, should_skip_layer
from pocketquant.quantize.tensor import QuantizedTensor, check_num_levels


def quantize_weights(
    weights: Mapping[str, ArrayLike], config: QuantizeConfig | None = None
) -> dict[str, QuantizedTensor]:
    """Restrict every tensor to `config.num_levels` values, except the small and the skipped ones.

    Args:
        weights: name -> floats of any shape.
        config: the origin's defaults when None.

    Returns:
        name -> QuantizedTensor, for every name. Tensors with fewer than `min_size` elements and those that
        `should_skip_layer` names come back unchanged with `num_levels` 0 and scale 1.0.

    Raises:
        QuantizationError: fewer than 4 levels; NaN or infinity in a tensor (named in the message).
    """
    config = config or QuantizeConfig()
    check_num_levels(config.num_levels)
    result: dict[str, QuantizedTensor] = {}
    for name, tensor in weights.items():
        values = np.asarray(tensor)
        if values.size < config.min_size or should_skip_layer(name, config):
            result[name] = QuantizedTensor.unchanged(values)
            continue
        try:
            result[name] = QuantizedTensor.quantize(values, config.num_levels)
        except QuantizationError as error:
            raise QuantizationError(f"{name}: {error}") from error
    return result
