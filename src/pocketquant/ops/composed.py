"""Larger operations as compositions of the small ones: their specification.

The compiled core does each in one call: Python between the small ones would cost more than some of them, above
all while language model and decoder run in threads that share one interpreter lock.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pocketquant.ops.interface import (
    F32,
    Activation,
    KVCache,
    Ops,
    PackedWeight,
    TransformerLayerWeights,
)


def transformer_layer(ops: Ops, x: F32, layer: TransformerLayerWeights, caches: Sequence[KVCache]) -> F32:
    """See `Ops.transformer_layer`."""
    qkv = ops.linear(ops.layer_norm(x, *layer.norm1, layer.eps), layer.in_proj)
    attended = [
        ops.attention(
            rows,
            cache,
            heads=layer.heads,
            kv_heads=layer.kv_heads,
            max_period=layer.max_period,
            context=layer.context,
        )
        for rows, cache in zip(np.split(qkv, len(caches)), caches, strict=True)
    ]
    x = ops.linear(np.concatenate(attended), layer.out_proj, gain=layer.scale1, residual=x)
    hidden = ops.linear(ops.layer_norm(x, *layer.norm2, layer.eps), layer.linear1, activation="gelu")
    return ops.linear(hidden, layer.linear2, gain=layer.scale2, residual=x)


def convolve(
    ops: Ops,
    x: F32,
    past: F32,
    weight: PackedWeight,
    bias: F32 | None = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    before: Activation | None = None,
    activation: Activation | None = None,
    residual: F32 | None = None,
) -> F32:
    """See `Ops.convolve`.

    Channels-last, `kernel` neighbouring rows of C channels are `kernel * C` neighbouring floats: without dilation
    the windows are a view.
    """
    x = ops.activate(x, before) if before else x
    rows = np.ascontiguousarray(np.concatenate([past, x]))
    past[:] = rows[len(rows) - len(past) :]
    channels, item = x.shape[1], rows.itemsize
    count, step = len(x) // stride, stride * channels * item
    windows: F32
    if dilation == 1:  # `as_strided` does the same in four times the time
        windows = np.ndarray((count, weight.k), np.float32, rows, 0, (step, item))
    else:
        taps = (count, weight.k // channels, channels)
        windows = np.ndarray(taps, np.float32, rows, 0, (step, dilation * channels * item, item))
        windows = np.ascontiguousarray(windows).reshape(count, weight.k)
    return ops.linear(windows, weight, bias, activation=activation, residual=residual)
