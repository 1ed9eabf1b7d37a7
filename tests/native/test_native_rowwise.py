"""Layer norm, modulation and activations of the compiled core; the choice of the instruction set."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_examples import ISAS

from pocketquant.errors import PocketQuantError
from pocketquant.ops.isa import active_isa, available_isas
from pocketquant.ops.reference import ReferenceOps

if TYPE_CHECKING:
    from pocketquant.ops.native import NativeOps

every_isa = pytest.mark.parametrize("isa", ISAS)
REFERENCE = ReferenceOps()


@cache
def ops_of(isa: str) -> NativeOps:
    from pocketquant.ops.native import NativeOps

    return NativeOps(isa=isa)


@every_isa
@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 5), width=st.integers(1, 90), seed=st.integers(0, 2**32 - 1), affine=st.booleans())
def test_layer_norm_and_modulate(isa: str, rows: int, width: int, seed: int, affine: bool) -> None:
    rng = np.random.default_rng(seed)
    x, shift, scale = rng.standard_normal((3, rows, width)).astype(np.float32)
    weight, bias = rng.standard_normal((2, width)).astype(np.float32) if affine else (None, None)
    ops = ops_of(isa)
    # The mean's rounding (about 1e-7) is divided by the deviation, at least sqrt(eps) = 3e-3.
    expected = REFERENCE.layer_norm(x, weight, bias, 1e-5)
    np.testing.assert_allclose(ops.layer_norm(x, weight, bias, 1e-5), expected, rtol=1e-5, atol=3e-4)
    if width > 8:
        np.testing.assert_allclose(ops.layer_norm(x, weight, bias, 1e-5), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        ops.modulate(x, shift, scale), REFERENCE.modulate(x, shift, scale), rtol=3e-7, atol=3e-7
    )


@every_isa
@pytest.mark.parametrize("name", ["silu", "elu"])
def test_activations_over_the_whole_range(isa: str, name: Literal["silu", "elu"]) -> None:
    """Within 4 units in the last place of double precision, from subnormals to overflow; NaN stays NaN."""
    magnitudes = np.logspace(-44, 38, 5000)
    x = np.concatenate([-magnitudes, magnitudes, [0, np.inf]]).astype(np.float32)
    y = ops_of(isa).activate(x.reshape(2, -1), name).reshape(-1)
    wide = x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = wide / (1 + np.exp(-wide)) if name == "silu" else np.where(wide > 0, wide, np.expm1(wide))
    # e^88.8 is beyond float32: silu gives 0 where the exact value is below 3e-37
    np.testing.assert_allclose(y, exact, rtol=5e-7, atol=3e-37)
    assert np.isnan(ops_of(isa).activate(np.full((1, 3), np.nan, np.float32), name)).all()


def test_forced_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETQUANT_ISA", "mmx")
    with pytest.raises(
        PocketQuantError, match="POCKETQUANT_ISA=mmx: not available on this machine; available: "
    ):
        active_isa()
    monkeypatch.delenv("POCKETQUANT_ISA")
    assert active_isa() == (available_isas() or ["reference"])[0]
    for isa in available_isas():
        monkeypatch.setenv("POCKETQUANT_ISA", isa)
        assert active_isa() == isa


@every_isa
def test_unknown_instruction_set(isa: str) -> None:
    from pocketquant.ops.native import NativeOps

    assert ops_of(isa).isa == isa
    with pytest.raises(PocketQuantError, match=f"'mmx' is not available here; available: .*{isa}"):
        NativeOps(isa="mmx")
