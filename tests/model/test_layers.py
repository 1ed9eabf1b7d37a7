"""Layers from stored tensors: nothing quantized becomes a stored float32 matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pocketquant.errors import CheckpointError
from pocketquant.model.layers import Embedding, Layers, linear_weight, window_weight
from pocketquant.ops.interface import LinearWeight
from pocketquant.ops.reference import ReferenceOps, dequantize
from pocketquant.quantize.stored import StoredTensor
from random_model import random_array, stored

SCHEMES = ["f32", "f16", "bf16", "int8", "int8-tensor", "int4-g32"]
KEPT = {"f32": np.float32, "f16": np.float16, "int8": np.int8, "int8-tensor": np.int8, "int4-g32": np.int32}


def normal(*shape: int) -> NDArray[np.float32]:
    return random_array("x.weight", shape, 5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_linear_weights_keep_their_precision(scheme: str) -> None:
    tensor = stored(normal(6, 64), scheme)
    weight = linear_weight(tensor, "int16")
    np.testing.assert_array_equal(dequantize(weight), tensor.dequantize())
    assert weight.values.dtype == KEPT.get(scheme, weight.values.dtype)
    assert weight.activations == {"int8": "int16", "int4": "int8"}.get(scheme[:4], "float")
    if scheme.startswith("int"):
        assert np.shares_memory(weight.values, tensor.data)


def test_bfloat16_becomes_float16_only_where_that_is_exact() -> None:
    exact = stored(np.array([[1.5, -0.25], [3.0, 2**-14]], np.float32), "bf16")
    tiny = stored(np.array([[1.5, 1e-20], [3.0, 2.0]], np.float32), "bf16")
    large = stored(np.array([[1e20, 1.0], [3.0, 2.0]], np.float32), "bf16")
    assert linear_weight(exact, "int8").values.dtype == np.float16
    for tensor in (tiny, large):
        weight = linear_weight(tensor, "int8")
        assert weight.values.dtype == np.float32
        np.testing.assert_array_equal(dequantize(weight), tensor.dequantize())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_embedding_rows(scheme: str) -> None:
    table = stored(normal(30, 64), scheme)
    ids = np.array([29, 0, 7, 7])
    np.testing.assert_array_equal(Embedding(table)(ids), table.dequantize()[ids])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rows_are_outputs", [True, False])
def test_convolution_weights(scheme: str, rows_are_outputs: bool) -> None:
    """int8 stays int8 where a scale serves an output channel, other quantized forms become float16."""
    tensor = stored(normal(6, 8, 4), scheme)

    def permute(w: NDArray[Any]) -> NDArray[Any]:
        axes = (0, 2, 1) if rows_are_outputs else (1, 2, 0)
        matrix: NDArray[Any] = w.transpose(axes).reshape(w.shape[axes[0]], -1)
        return matrix

    weight = window_weight(tensor, permute, rows_are_outputs=rows_are_outputs)
    whole = scheme == "int8-tensor" or (scheme == "int8" and rows_are_outputs)
    if whole:
        assert weight.values.dtype == np.int8
        assert weight.activations == "int16"
    elif scheme.startswith("int"):
        assert weight.values.dtype == np.float16
    within = 0 if whole or scheme in ("f32", "f16", "bf16") else 1e-3
    np.testing.assert_allclose(
        dequantize(weight), permute(tensor.dequantize()), rtol=within, atol=1e-7 * bool(within)
    )


def test_what_is_missing_or_of_another_shape_is_named() -> None:
    layers = Layers({"a.b.weight": stored(normal(2, 3))}, ReferenceOps()).at("a")
    assert "b.weight" in layers
    assert "b.bias" not in layers
    with pytest.raises(CheckpointError, match=r"'a\.c\.weight' is missing"):
        layers.linear("c", 2, 3, "int8")
    with pytest.raises(
        CheckpointError, match=r"'a\.b\.weight' has shape \[2, 3\], the config asks for \[3, 2\]"
    ):
        layers.linear("b", 3, 2, "int8")


class Counting(Mapping[str, StoredTensor]):
    """A mapping that counts how often it has to make a tensor."""

    def __init__(self, inner: dict[str, StoredTensor]) -> None:
        self.inner, self.made = inner, 0

    def __getitem__(self, name: str) -> StoredTensor:
        self.made += 1
        return self.inner[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.inner)

    def __len__(self) -> int:
        return len(self.inner)


def test_a_lazy_tensor_is_made_once() -> None:
    weights = Counting({"a.weight": stored(normal(2, 3))})
    layers = Layers(weights, ReferenceOps())
    assert "a.weight" in layers
    linear = layers.linear("a", 2, 3, "int8")
    assert weights.made == 1
    assert cast(LinearWeight, linear.weight).n == 2
