from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pocketquant.checkpoint.layout import check_finite, check_layout, expected_shapes, fitting_languages
from pocketquant.config import catalog
from pocketquant.errors import CheckpointError

DEMO = catalog.language("demo")


def error(shapes: dict[str, tuple[int, ...]]) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_layout(DEMO, shapes, source="m.safetensors")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sizes_that_are_public() -> None:
    def millions(name: str) -> float:
        return sum(math.prod(shape) for shape in expected_shapes(catalog.language(name)).values()) / 1e6

    assert millions("english_2026-10") == pytest.approx(109.5, abs=0.1)
    assert millions("demo") == pytest.approx(3.40, abs=0.01)
    assert millions("french_24l") > 300


def test_the_right_tensors_pass() -> None:
    check_layout(DEMO, expected_shapes(DEMO), source="m")


def test_missing() -> None:
    shapes = expected_shapes(DEMO)
    del shapes["flow_lm.out_eos.bias"]
    assert error(shapes).startswith("m.safetensors: 1 tensor is missing: flow_lm.out_eos.bias")
    shapes["flow_lm.out_eso.bias"] = (1,)
    assert "did you mean flow_lm.out_eso.bias?" in error(shapes)
    shapes = {name: shape for name, shape in shapes.items() if "transformer" not in name}
    assert " tensors are missing: " in error(shapes)
    assert " more; " in error(shapes)


def test_unknown() -> None:
    shapes = expected_shapes(DEMO) | {"flow_lm.extra": (3,)}
    assert "1 tensor is unknown to its config: flow_lm.extra" in error(shapes)


def test_wrong_shape() -> None:
    shapes = expected_shapes(DEMO) | {"flow_lm.emb_std": (31,)}
    assert "flow_lm.emb_std is [31], expected [32]" in error(shapes)


def test_the_model_that_would_fit_is_named() -> None:
    message = error(expected_shapes(catalog.language("english_2m_2026-10")))
    assert "its tensors are those of english_2m_2026-10, english_2m_refl_2026-10" in message


def test_a_voice_is_no_model() -> None:
    assert "a voice?" in error({"transformer.layers.0.self_attn/cache": (2, 1, 1, 4, 40)})


def test_fitting_languages() -> None:
    assert fitting_languages(expected_shapes(DEMO)) == ["demo"]
    assert fitting_languages({}) == []
    assert "french" in fitting_languages(expected_shapes(catalog.language("english")))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(dtype: type[np.floating[Any]], bad: float) -> None:
    values: NDArray[Any] = np.zeros((3, 500_000), dtype)
    check_finite("x", values, source="m")
    values[2, -1] = bad
    with pytest.raises(CheckpointError, match="m: tensor x holds 1 NaN or infinite values of 1500000"):
        check_finite("x", values, source="m")


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0, 0xFFFF])
def test_not_finite_in_bfloat16(bits: int) -> None:
    values = np.full(10, 0x7F7F, np.uint16)  # the largest finite value
    check_finite("x", values, source="m", bfloat16=True)
    values[3] = bits
    with pytest.raises(CheckpointError, match="holds 1 NaN"):
        check_finite("x", values, source="m", bfloat16=True)
