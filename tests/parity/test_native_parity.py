"""Our float model on the compiled core against the official one: the limits of the NumPy reference hold here too.

One config for each architecture: those that share all sizes run the same code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("pocket_tts")

from oracle import LIMITS, NAMES, compare, official_config, table

from pocketquant.ops.isa import available_isas

ISAS: list[Any] = [*available_isas()] or [
    pytest.param("none", marks=pytest.mark.skip(reason="the compiled core is not installed"))
]
NO_ARCHITECTURE = {"weights_path", "weights_path_without_voice_cloning", "tokenizer", "tokenizer_path"}
"""What distinguishes languages of one architecture, besides the defaults of speaking."""


def architectures() -> list[str]:
    """The first config of each architecture."""
    first: dict[str, str] = {}
    for name in NAMES:
        config = official_config(name).model_dump(mode="json")
        sizes = {part: _sizes(config[part]) for part in ("flow_lm", "mimi")}
        first.setdefault(json.dumps(sizes, sort_keys=True), name)
    return sorted(first.values())


def _sizes(config: object) -> object:
    if not isinstance(config, dict):
        return config
    return {key: _sizes(value) for key, value in config.items() if key not in NO_ARCHITECTURE}


ARCHITECTURES = architectures()
SMALLEST = "english_2m_2026-10"


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[str, dict[str, float]]]:
    """Collects the rows and prints them as a table after the last config."""
    rows: dict[str, dict[str, float]] = {}
    yield rows
    if rows:
        print("\n" + table(rows))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_stage_agrees(name: str, isa: str, measured: dict[str, dict[str, float]]) -> None:
    from pocketquant.ops.native import NativeOps

    if isa == "scalar" and len(ISAS) > 1 and name != SMALLEST:
        pytest.skip("the plain loops: on the smallest config only")
    row = measured[f"{name}, {isa}"] = compare(name, NativeOps(isa=isa))
    over = {stage: difference for stage, difference in row.items() if not difference <= LIMITS[stage]}
    assert not over
