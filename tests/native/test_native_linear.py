"""`linear` of every instruction set on this machine against the NumPy reference."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_examples import ISAS, linear_cases, rows_of, weight_of

from pocketquant.ops.interface import F32, Activation, LinearWeight
from pocketquant.ops.reference import ReferenceOps, dequantize, quantize_rows

if TYPE_CHECKING:
    from pocketquant.ops.native import NativeOps

pytestmark = pytest.mark.parametrize("isa", ISAS)
REFERENCE = ReferenceOps()


@cache
def ops_of(isa: str) -> NativeOps:
    from pocketquant.ops.native import NativeOps

    return NativeOps(isa=isa)


def slack_of(x: F32, weight: LinearWeight) -> F32:
    """How far two float32 sums of the same terms may be apart: each is within k half units in the last place
    of the sum of the magnitudes (saturated rows of one sign come near it)."""
    size = np.abs(x.astype(np.float64)) @ np.abs(dequantize(weight)).T.astype(np.float64)
    slack: F32 = (size * 1.2e-7 * (4 + weight.k) + 1e-45 * (weight.k + 1)).astype(np.float32)
    return slack


@settings(max_examples=60, deadline=None)
@given(case=linear_cases(("int8",), ("int8", "int16")))
def test_int8_products_equal_the_reference_to_the_bit(isa: str, case: tuple[LinearWeight, F32]) -> None:
    weight, x = case
    ops = ops_of(isa)
    np.testing.assert_array_equal(ops.linear(x, ops.pack(weight)), REFERENCE.linear(x, weight))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_integer_sums_are_exact_to_the_integer(isa: str, data: st.DataObject, seed: int) -> None:
    """Rows of whole numbers whose largest is L and scales of one: the result is the integer sum itself."""
    rng = np.random.default_rng(seed)
    n, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 130))
    form, activations = data.draw(st.sampled_from([("int8", "int8"), ("int4", "int8"), ("int8", "int16")]))
    weight = weight_of(rng, form, n, k, k, activations)
    assert weight.scale is not None
    weight.scale[:] = 1
    limit = 127 if activations == "int8" else min(32767, (2**31 - 1) // (127 * k))
    top = min(limit, 2**24 // (127 * k))  # of the others: float32 holds the sums
    q = rng.integers(-top, top + 1, (3, k))
    q[:, 0] = limit
    if activations == "int16":
        weight.values[:, 0] = 0
    expected = q @ np.rint(dequantize(weight)).astype(np.int64).T
    ops = ops_of(isa)
    y = ops.linear(q.astype(np.float32), ops.pack(weight))
    np.testing.assert_array_equal(y.astype(np.int64), expected)


@settings(max_examples=60, deadline=None)
@given(case=linear_cases(("int4",), ("int8", "int16")))
def test_int4_products(isa: str, case: tuple[LinearWeight, F32]) -> None:
    """The sums of each group are exact, their float32 sum may be taken in another order."""
    weight, x = case
    levels = 127 if weight.activations == "int8" else min(32767, (2**31 - 1) // (127 * weight.k))
    q, a = quantize_rows(np.ascontiguousarray(x), levels)
    ops = ops_of(isa)
    difference = np.abs(ops.linear(x, ops.pack(weight)) - REFERENCE.linear(x, weight))
    assert np.all(difference <= slack_of(q * a, weight) + np.float32(1e-45))


@settings(max_examples=60, deadline=None)
@given(case=linear_cases(("f32", "f16", "int8", "int4"), ("float",)))
def test_float_products(isa: str, case: tuple[LinearWeight, F32]) -> None:
    weight, x = case
    ops = ops_of(isa)
    difference = np.abs(ops.linear(x, ops.pack(weight)) - REFERENCE.linear(x, weight))
    assert np.all(difference <= slack_of(x, weight))


@settings(max_examples=60, deadline=None)
@given(
    case=linear_cases(("f32", "f16", "int8", "int4"), ("float", "int8", "int16")),
    activation=st.sampled_from((None, "gelu", "silu", "elu")),
    parts=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    threads=st.sampled_from((1, 2)),
)
def test_epilogue_and_rows_alone(
    isa: str,
    case: tuple[LinearWeight, F32],
    activation: Activation | None,
    parts: tuple[bool, bool, bool],
    threads: int,
) -> None:
    """bias, activation, gain and residual follow the product; a row alone gives the same bits."""
    weight, x = case
    if weight.scale is None and weight.activations != "float":
        return
    rng = np.random.default_rng(1)
    bias, gain = (rng.standard_normal(weight.n).astype(np.float32) if p else None for p in parts[:2])
    residual = rng.standard_normal((x.shape[0], weight.n)).astype(np.float32) if parts[2] else None
    ops = ops_of(isa)
    packed = ops.pack(weight)
    with ops.splitting(threads):
        y = ops.linear(x, packed, bias, activation=activation, gain=gain, residual=residual)
    plain = LinearWeight(weight.n, weight.n, np.eye(weight.n, dtype=np.float32))
    product = ops.linear(x, packed)
    expected = REFERENCE.linear(product, plain, bias, activation=activation, gain=gain, residual=residual)
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6)
    for t in range(x.shape[0]):
        rest = None if residual is None else residual[t : t + 1]
        alone = ops.linear(x[t : t + 1], packed, bias, activation=activation, gain=gain, residual=rest)
        np.testing.assert_array_equal(alone[0], y[t])


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize(("form", "extreme"), [("int8", 127), ("int8", -127), ("int4", 0), ("int4", -1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_deepest_product_saturated(isa: str, form: str, extreme: int, activations: str, sign: int) -> None:
    """Every factor at its largest at the depth of the model's widest layer: no sum on the way may overflow.

    The int4 words 0 and -1 are eight times the smallest (-8) and the largest (7) value.
    """
    rng = np.random.default_rng(0)
    weight = weight_of(rng, form, 17, 4096, 4096, activations)
    weight.values[:] = extreme
    x = np.full((5, 4096), sign * 2.5, np.float32)
    ops = ops_of(isa)
    np.testing.assert_allclose(ops.linear(x, ops.pack(weight)), REFERENCE.linear(x, weight), rtol=3e-7)


def test_many_rows_split_over_threads(isa: str) -> None:
    """The blocks of rows, and both ways of splitting a call."""
    rng = np.random.default_rng(0)
    ops = ops_of(isa)
    for n, k, rows in ((40, 64, 700), (700, 900, 9)):
        for form, activations in (("f32", "float"), ("int8", "int16"), ("int4", "int8")):
            weight = weight_of(rng, form, n, k, 4, activations)
            x = rows_of(rng, "normal", rows, k, 3)
            packed = ops.pack(weight)
            once = ops.linear(x, packed)
            with ops.splitting(2):
                np.testing.assert_array_equal(ops.linear(x, packed), once)


def test_arguments_are_checked(isa: str) -> None:
    ops = ops_of(isa)
    weight = ops.pack(LinearWeight(4, 6, np.ones((4, 6), np.float32)))
    x = np.ones((2, 6), np.float32)
    with pytest.raises(ValueError, match="x has 5 values along axis 1, not 6"):
        ops.linear(x[:, :5], weight)
    with pytest.raises(ValueError, match="not contiguous"):
        ops.linear(np.ones((6, 2), np.float32).T, weight)
    with pytest.raises(ValueError, match="element format 'd'"):
        ops.linear(x.astype(np.float64), weight)
    with pytest.raises(ValueError, match="bias has 3 values"):
        ops.linear(x, weight, np.ones(3, np.float32))
    assert ops.linear(x[:0], weight).shape == (0, 4)
