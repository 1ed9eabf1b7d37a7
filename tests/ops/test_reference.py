"""The reference operations against slow and obvious forms of themselves."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pocketquant import ops as ops_module
from pocketquant.errors import PocketQuantError
from pocketquant.ops import ENVIRONMENT, get_ops, isa
from pocketquant.ops.interface import F32, LinearWeight, int16_levels
from pocketquant.ops.reference import ReferenceOps, quantize_rows, rope, unpack_int4

OPS = ReferenceOps()


def normal(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def int8_weight(n: int, k: int, activations: Any, seed: int = 1) -> LinearWeight:
    rng = np.random.default_rng(seed)
    values = rng.integers(-127, 128, (n, k)).astype(np.int8)
    return LinearWeight(n, k, values, rng.random(n, np.float32) / 100, None, activations)


def int4_weight(n: int, k: int, group: int, activations: Any, seed: int = 2) -> LinearWeight:
    rng = np.random.default_rng(seed)
    words = rng.integers(-(2**31), 2**31, (n, -(-k // 8))).astype(np.int32)
    scale = (rng.random((n, k // group), np.float32) / 10).astype(np.float16)
    return LinearWeight(n, k, words, scale, group, activations)


def test_float_product_with_everything_fused() -> None:
    x, w, bias, gain, residual = (
        normal(3, 40),
        normal(7, 40, seed=1),
        normal(7),
        normal(7, seed=3),
        normal(3, 7),
    )
    y = OPS.linear(x, OPS.pack(LinearWeight(7, 40, w)), bias, activation="elu", gain=gain, residual=residual)
    inner = x.astype(np.float64) @ w.T + bias
    expected = residual + gain * np.where(inner > 0, inner, np.expm1(inner))
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_half_weights_stay_half() -> None:
    w = normal(5, 24).astype(np.float16)
    packed = OPS.pack(LinearWeight(5, 24, w))
    assert packed.nbytes == 5 * 24 * 2
    x = normal(2, 24)
    np.testing.assert_array_equal(OPS.linear(x, packed), x @ w.astype(np.float32).T)


@pytest.mark.parametrize("activations", ["float", "int8", "int16"])
def test_overlapping_rows_need_no_copy(activations: Any) -> None:
    flat = normal(100)
    windows = as_strided(flat, (19, 28), (4 * 4, 4), writeable=False)
    weight = OPS.pack(int8_weight(6, 28, activations))
    np.testing.assert_array_equal(OPS.linear(windows, weight), OPS.linear(windows.copy(), weight))


@pytest.mark.parametrize("k", [8, 1040, 1041, 4096])
@pytest.mark.parametrize(("activations", "bits"), [("int8", 8), ("int16", 16)])
def test_int8_products_are_exact(k: int, activations: str, bits: int) -> None:
    x, w = normal(3, k), int8_weight(5, k, activations)
    x[1] = 0
    x[2] = x[2].max()  # every q at its largest: the largest sums there are
    levels = 127 if bits == 8 else int16_levels(k)
    a = np.abs(x).max(axis=1, keepdims=True) / np.float32(levels)
    q = np.zeros(x.shape, np.int64)
    q[[0, 2]] = np.rint(x[[0, 2]] / a[[0, 2]])
    acc = q @ w.values.astype(np.int64).T
    assert np.abs(q).max() <= levels
    assert (np.abs(q).sum(axis=1) * 127 < 2**31).all()
    assert w.scale is not None
    np.testing.assert_array_equal(OPS.linear(x, w), acc.astype(np.float32) * (a * w.scale))


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize(("k", "group"), [(64, 32), (256, 128), (12, 12), (5, 5)])
def test_int4_products_are_exact_in_each_group(k: int, group: int, activations: str) -> None:
    x, w = normal(4, k), int4_weight(6, k, group, activations)
    x[2] = 0
    q, a = quantize_rows(x, 127 if activations == "int8" else int16_levels(k))
    words = w.values.view(np.uint32)
    values = np.array([[(int(row[i // 8]) >> 4 * (i % 8) & 15) - 8 for i in range(k)] for row in words])
    assert w.scale is not None
    expected = np.zeros((4, 6))
    for g in range(k // group):
        part = slice(g * group, (g + 1) * group)
        expected += (q[:, part].astype(np.int64) @ values[:, part].T) * w.scale[:, g].astype(np.float64)
    np.testing.assert_allclose(
        OPS.linear(x, w), expected * a, rtol=1e-5, atol=1e-6 * np.abs(expected * a).max()
    )


def test_float_activations_multiply_the_dequantized_weight() -> None:
    x, w = normal(2, 32), int4_weight(3, 32, 16, "float")
    assert w.scale is not None
    dense = unpack_int4(w.values, 32) * w.scale.astype(np.float32).repeat(16, axis=1)
    np.testing.assert_allclose(OPS.linear(x, w), x @ dense.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_a_row_does_not_depend_on_the_others(activations: str) -> None:
    x = normal(37, 96)
    for weight in (int8_weight(11, 96, activations), int4_weight(11, 96, 32, activations)):
        together = OPS.linear(x, weight)
        alone = np.concatenate([OPS.linear(x[i : i + 1], weight) for i in range(37)])
        np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-6)
        if weight.group is None:
            np.testing.assert_array_equal(together, alone)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20),
    st.sampled_from([127, 4128, 32767]),
)
def test_quantized_rows_are_half_a_step_away(values: list[float], levels: int) -> None:
    x = np.array([values], np.float32)
    q, a = quantize_rows(x, levels)
    assert np.abs(q).max() <= levels
    assert (q == np.rint(q)).all()
    if a[0, 0] > np.finfo(np.float32).tiny:
        assert (np.abs(x.astype(np.float64) - a.astype(np.float64) * q) <= a * 0.51).all()


@pytest.mark.parametrize("k", [1, 100, 512, 3584, 4096])
def test_16_bit_sums_cannot_overflow(k: int) -> None:
    levels = int16_levels(k)
    assert levels * 127 * k < 2**31
    assert levels == 32767 or (levels + 1) * 127 * k >= 2**31


def slow_attention(
    qkv: NDArray[np.float64], heads: int, kv_heads: int, period: float, context: int | None
) -> NDArray[np.float64]:
    """One query, one head at a time, in float64."""
    t = len(qkv)
    d = qkv.shape[1] // (heads + 2 * kv_heads)
    rows = qkv.reshape(t, heads + 2 * kv_heads, d).copy()
    for pos in range(t):
        for j in range(d // 2):
            angle = pos * period ** (-2 * j / d)
            pair = rows[pos, : heads + kv_heads, 2 * j] + 1j * rows[pos, : heads + kv_heads, 2 * j + 1]
            pair = pair * complex(math.cos(angle), math.sin(angle))
            rows[pos, : heads + kv_heads, 2 * j], rows[pos, : heads + kv_heads, 2 * j + 1] = (
                pair.real,
                pair.imag,
            )
    out = np.zeros((t, heads, d))
    for pos in range(t):
        first = 0 if context is None else max(0, pos - context + 1)
        for head in range(heads):
            shared = head // (heads // kv_heads)
            scores = rows[first : pos + 1, heads + shared] @ rows[pos, head] / math.sqrt(d)
            weights = np.exp(scores - scores.max())
            out[pos, head] = weights @ rows[first : pos + 1, heads + kv_heads + shared] / weights.sum()
    return out.reshape(t, heads * d)


@pytest.mark.parametrize("pieces", [[150], [1] * 5 + [145], [100, 1, 1, 48]])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("context", [None, 20])
def test_attention(heads: int, kv_heads: int, context: int | None, pieces: list[int]) -> None:
    qkv = normal(150, (heads + 2 * kv_heads) * 8)
    cache = OPS.new_cache(4, kv_heads, 8, window=context)
    parts = np.split(qkv, np.cumsum(pieces)[:-1])
    options: dict[str, Any] = {"heads": heads, "kv_heads": kv_heads, "max_period": 1000.0, "context": context}
    y = np.concatenate([OPS.attention(part, cache, **options) for part in parts])
    assert cache.length == 150
    expected = slow_attention(qkv.astype(np.float64), heads, kv_heads, 1000.0, context)
    np.testing.assert_allclose(y, expected, atol=2e-5)


def test_a_window_forgets_without_a_trace() -> None:
    """A windowed cache gives bit for bit what one that keeps everything gives, and stays small."""
    windowed, whole = OPS.new_cache(1000, 2, 8, window=20), OPS.new_cache(1, 2, 8)
    for step in range(60):
        qkv = normal(16, 48, seed=step)
        a = OPS.attention(qkv, windowed, heads=2, kv_heads=2, max_period=1e4, context=20)
        b = OPS.attention(qkv, whole, heads=2, kv_heads=2, max_period=1e4, context=20)
        np.testing.assert_array_equal(a, b)
    assert windowed.length == whole.length == 960
    assert windowed.export().shape[1] <= 40
    assert whole.export().shape == (2, 960, 2, 8)


def test_a_window_smaller_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="context of 21"):
        OPS.attention(
            normal(1, 48), OPS.new_cache(1, 2, 8, window=20), heads=2, kv_heads=2, max_period=1e4, context=21
        )


def test_an_exported_past_goes_on_as_the_original() -> None:
    original, copy = OPS.new_cache(8, 2, 8), OPS.new_cache(8, 2, 8)
    OPS.attention(normal(9, 48), original, heads=2, kv_heads=2, max_period=1e4)
    copy.load(original.export())
    assert copy.length == 9
    x = normal(1, 48, seed=9)
    a = OPS.attention(x, original, heads=2, kv_heads=2, max_period=1e4)
    b = OPS.attention(x, copy, heads=2, kv_heads=2, max_period=1e4)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(original.export(), copy.export())


def test_rotation_depends_on_the_distance_only() -> None:
    q, k = normal(1, 1, 16), normal(1, 1, 16, seed=1)
    products = [float((rope(q, p + 7, 1e4) * rope(k, p, 1e4)).sum()) for p in (0, 5, 300)]
    np.testing.assert_allclose(products, products[0], atol=1e-3)


def test_layer_norm() -> None:
    x, weight, bias = normal(3, 50) * 7 + 2, normal(50), normal(50, seed=2)
    wide = x.astype(np.float64)
    plain = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(OPS.layer_norm(x, None, None, 1e-5), plain, atol=1e-5)
    np.testing.assert_allclose(OPS.layer_norm(x, weight, bias, 1e-5), plain * weight + bias, atol=2e-5)


def test_element_wise() -> None:
    x = np.array([[-200.0, -3.0, -1e-6, 0.0, 1e-6, 0.5, 30.0, 200.0]], np.float32)
    identity = OPS.pack(LinearWeight(8, 8, np.eye(8, dtype=np.float32)))
    flat = x[0].astype(np.float64)
    gelu = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in flat]
    silu = [v / (1 + math.exp(-v)) for v in flat]
    elu = [v if v > 0 else math.expm1(v) for v in flat]
    np.testing.assert_allclose(OPS.linear(x, identity, activation="gelu")[0], gelu, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(OPS.activate(x, "silu")[0], silu, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(OPS.activate(x, "elu")[0], elu, rtol=1e-6)
    np.testing.assert_array_equal(OPS.modulate(x, x, np.full_like(x, 2)), x * 3 + x)


@pytest.mark.parametrize(
    "broken",
    [
        {"values": np.zeros((2, 4), np.float64)},
        {"values": np.zeros((4, 2), np.float32)},
        {"values": np.zeros((2, 4), np.int8)},
        {"values": np.zeros((2, 4), np.int8), "scale": np.zeros((2, 1), np.float32)},
        {"values": np.zeros((2, 1), np.int32), "scale": np.zeros((2, 1), np.float16), "group": 3},
        {"values": np.zeros((2, 1), np.int32), "scale": np.zeros((2, 1), np.float32), "group": 4},
        {"values": np.zeros((2, 4), np.float32), "activations": "int8"},
    ],
)
def test_weights_that_contradict_themselves_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        LinearWeight(2, 4, **broken)


@pytest.fixture
def no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the compiled core were not installed, and nothing had been said about it."""
    monkeypatch.setitem(sys.modules, "pocketquant.ops.native", None)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.delenv(isa.ENVIRONMENT, raising=False)
    ops_module._warn_once.cache_clear()


@pytest.mark.usefixtures("no_core")
def test_a_missing_core_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    assert [get_ops().name for _ in range(3)] == ["reference"] * 3
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "speech will be slow" in record.getMessage()
    assert "install a wheel" in record.getMessage()


@pytest.mark.usefixtures("no_core")
def test_a_reference_asked_for_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert get_ops("reference").name == "reference"
    assert not caplog.records


@pytest.mark.usefixtures("no_core")
def test_a_forced_instruction_set_needs_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isa.ENVIRONMENT, "avx2")
    with pytest.raises(PocketQuantError, match=r"POCKETQUANT_ISA=avx2 needs it; install"):
        get_ops()
    assert get_ops("reference").name == "reference"


@pytest.mark.usefixtures("no_core")
def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_ops().name == "reference"
    with pytest.raises(PocketQuantError, match="compiled core is not available"):
        get_ops("native")
    monkeypatch.setenv(ENVIRONMENT, "native")
    with pytest.raises(PocketQuantError, match="compiled core is not available"):
        get_ops()
    assert get_ops("reference").name == "reference"
    with pytest.raises(PocketQuantError, match="unknown ops 'fast'"):
        get_ops("fast")
