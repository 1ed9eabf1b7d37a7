"""Causal convolutions as products: the input window of an output row is a row of a matrix.

See `Ops.convolve`. A transposed convolution with kernel = 2 * stride is a convolution too: from the window
[x[t-1], x[t]] to `stride` output rows. What a layer has to remember between calls (the last input rows) is in
a `Stream`, not in the layer.
Official: `modules/conv.py`, `modules/resample.py`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pocketquant.model.layers import Layers, Linear, window_weight
from pocketquant.ops.interface import F32, Activation

Stream = dict[str, F32]
"""Last input rows of each layer, by the layer's name: a fresh `{}` for each utterance or recording."""
PadMode = Literal["constant", "replicate"]


class Conv1d:
    """A causal convolution: `[T, in]` to `[T / stride, out]`.

    Before the first row lie zeros ("constant") or copies of the first row ("replicate").
    """

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
        pad_mode: PadMode = "constant",
    ) -> None:
        self.name = layers.prefix
        self.kernel, self.stride, self.dilation, self.pad_mode = kernel, stride, dilation, pad_mode
        self.span = (kernel - 1) * dilation + 1  # input rows under one window
        weight = layers.stored("conv.weight", out_channels, in_channels, kernel)
        matrix = window_weight(
            weight, lambda w: w.transpose(0, 2, 1).reshape(out_channels, -1), rows_are_outputs=True
        )
        offset = layers.array("conv.bias", out_channels) if bias else None
        self.product = Linear(layers.ops, layers.pack("conv.weight", matrix), offset)

    def __call__(
        self,
        x: F32,
        stream: Stream,
        *,
        before: Activation | None = None,
        activation: Activation | None = None,
        residual: F32 | None = None,
    ) -> F32:
        """`residual + activation(conv(before(x)))`. T must be a multiple of the stride."""
        ops, past = self.product.ops, stream.get(self.name)
        if past is None:
            first = x[:1] if self.pad_mode == "replicate" else np.zeros_like(x[:1])
            if before:
                first = ops.activate(first, before)
            past = stream[self.name] = first.repeat(self.span - self.stride, axis=0)
        return ops.convolve(
            x,
            past,
            self.product.weight,
            self.product.bias,
            stride=self.stride,
            dilation=self.dilation,
            before=before,
            activation=activation,
            residual=residual,
        )


class ConvTranspose1d:
    """A transposed convolution with kernel = 2 * stride: `[T, in]` to `[T * stride, out]`."""

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, stride: int) -> None:
        self.name = layers.prefix
        self.stride, self.out_channels = stride, out_channels
        weight = layers.stored("convtr.weight", in_channels, out_channels, 2 * stride)

        def permute(w: NDArray[Any]) -> NDArray[Any]:
            taps = w.transpose(2, 1, 0)  # [2 * stride, out, in]: the first half meets x[t], the second x[t-1]
            both = np.concatenate([taps[stride:], taps[:stride]], axis=2)
            return both.reshape(stride * out_channels, 2 * in_channels)

        matrix = window_weight(weight, permute, rows_are_outputs=False)
        bias = np.tile(layers.array("convtr.bias", out_channels), stride)
        self.product = Linear(layers.ops, layers.pack("convtr.weight", matrix), bias)

    def __call__(self, x: F32, stream: Stream, *, before: Activation | None = None) -> F32:
        """`conv(before(x))`. Before the first row lie zeros."""
        product, past = self.product, stream.get(self.name)
        if past is None:
            past = stream[self.name] = np.zeros_like(x[:1])
        y = product.ops.convolve(x, past, product.weight, product.bias, before=before)
        return y.reshape(-1, self.out_channels)


class Upsample:
    """The codec's step from latent to SEANet frames: a grouped transposed convolution without bias.

    Each output channel has its own few inputs (one, in the official models), so this is no matrix product:
    y[t * stride + j, c] = sum_i x[t, i] w[i, j] + x[t-1, i] w[i, stride + j] over the inputs i of c.
    """

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, stride: int) -> None:
        self.name = layers.prefix
        self.stride, self.out_channels = stride, out_channels
        taps = layers.array("convtr.convtr.weight", in_channels, 1, 2 * stride)[:, 0].T
        self.now = np.ascontiguousarray(taps[:stride])  # [stride, in]
        self.before = np.ascontiguousarray(taps[stride:])

    def __call__(self, x: F32, stream: Stream) -> F32:
        """`[T, in]` to `[T * stride, out]`."""
        past = stream.get(self.name)
        delayed = np.concatenate([np.zeros_like(x[:1]) if past is None else past, x[:-1]])
        stream[self.name] = x[-1:].copy()
        y = x[:, None] * self.now + delayed[:, None] * self.before  # [T, stride, in]
        if y.shape[2] > self.out_channels:
            y = y.reshape(x.shape[0], self.stride, self.out_channels, -1).sum(axis=3)
        rows: F32 = y.reshape(x.shape[0] * self.stride, self.out_channels)
        return rows
