"""Convolutions as products, against loops; in pieces, against at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pocketquant.model.conv import Conv1d, ConvTranspose1d, Stream, Upsample
from pocketquant.model.layers import Layers
from pocketquant.ops.reference import ReferenceOps
from random_model import random_array, stored

F32 = NDArray[np.float32]


def layers(**shapes: tuple[int, ...]) -> tuple[Layers, dict[str, F32]]:
    arrays = {name.replace("_", "."): random_array(name, shape, 3) for name, shape in shapes.items()}
    return Layers({name: stored(array) for name, array in arrays.items()}, ReferenceOps()), arrays


def rows(t: int, channels: int) -> F32:
    return random_array("bos_rows", (t, channels), 4)


@pytest.mark.parametrize("pad_mode", ["constant", "replicate"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(7, 1, 1), (1, 1, 1), (3, 1, 2), (6, 3, 1), (2, 2, 1), (4, 2, 3)]
)
def test_conv1d(kernel: int, stride: int, dilation: int, pad_mode: Any) -> None:
    source, arrays = layers(conv_weight=(5, 4, kernel), conv_bias=(5,))
    conv = Conv1d(source, 4, 5, kernel, stride=stride, dilation=dilation, pad_mode=pad_mode)
    x = rows(24, 4)
    history = (kernel - 1) * dilation + 1 - stride
    first = x[:1] if pad_mode == "replicate" else np.zeros((1, 4), np.float32)
    padded = np.concatenate([first.repeat(history, axis=0), x])
    w = arrays["conv.weight"]
    expected = [
        arrays["conv.bias"] + sum(w[:, :, j] @ padded[t + j * dilation] for j in range(kernel))
        for t in range(0, 24, stride)
    ]
    np.testing.assert_allclose(conv(x, {}), expected, atol=1e-5)
    stream: Stream = {}
    pieces = np.split(x, [stride, 3 * stride, 4 * stride])
    np.testing.assert_allclose(np.concatenate([conv(p, stream) for p in pieces]), expected, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_conv_transpose1d(stride: int) -> None:
    source, arrays = layers(convtr_weight=(4, 3, 2 * stride), convtr_bias=(3,))
    conv = ConvTranspose1d(source, 4, 3, stride)
    x = rows(9, 4)
    expected = np.tile(arrays["convtr.bias"], (10 * stride, 1))
    for t in range(9):
        for j in range(2 * stride):
            expected[t * stride + j] += x[t] @ arrays["convtr.weight"][:, :, j]
    np.testing.assert_allclose(conv(x, {}), expected[: 9 * stride], atol=1e-5)
    stream: Stream = {}
    pieces = np.concatenate([conv(p, stream) for p in np.split(x, [1, 4])])
    np.testing.assert_allclose(pieces, expected[: 9 * stride], atol=1e-5)


@pytest.mark.parametrize("inputs", [6, 12])
def test_upsample(inputs: int) -> None:
    source, arrays = layers(convtr_convtr_weight=(inputs, 1, 8))
    upsample = Upsample(source, inputs, 6, 4)
    x = rows(5, inputs)
    expected = np.zeros((24, 6))
    for t in range(5):
        for j in range(8):
            for i in range(inputs):
                expected[4 * t + j, i // (inputs // 6)] += x[t, i] * arrays["convtr.convtr.weight"][i, 0, j]
    np.testing.assert_allclose(upsample(x, {}), expected[:20], atol=1e-5)
    stream: Stream = {}
    pieces = np.concatenate([upsample(p, stream) for p in np.split(x, [1, 3])])
    np.testing.assert_array_equal(pieces, upsample(x, {}))


def test_memory_order_of_the_input_does_not_matter() -> None:
    source, _ = layers(convtr_weight=(4, 3, 4), convtr_bias=(3,), conv_weight=(5, 4, 3), conv_bias=(5,))
    x = rows(6, 4)
    for layer in (ConvTranspose1d(source, 4, 3, 2), Conv1d(source, 4, 5, 3)):
        np.testing.assert_array_equal(layer(np.asfortranarray(x), {}), layer(x, {}))


def test_layers_do_not_mix_up_their_streams() -> None:
    arrays = {f"{n}.conv.weight": stored(random_array(n, (2, 2, 3), 1)) for n in "ab"}
    arrays |= {f"{n}.conv.bias": stored(np.zeros(2, np.float32)) for n in "ab"}
    root, x = Layers(arrays, ReferenceOps()), rows(3, 2)
    stream: Stream = {}
    first, second = (Conv1d(root.at(n), 2, 2, 3) for n in "ab")
    first(x, stream)
    np.testing.assert_array_equal(second(x, stream), second(x, {}))
