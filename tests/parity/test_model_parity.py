"""Our model against the official one, float32, temperature 0, seeded random weights: all official configs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("torch")
pytest.importorskip("pocket_tts")

from oracle import LIMITS, NAMES, compare, table

Measured = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    """Collects the rows and prints them as a table after the last config."""
    rows: Measured = {}
    yield rows
    if rows:
        print("\n" + table(rows))


def test_there_are_27_configs() -> None:
    assert len(NAMES) == 27


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_agrees(name: str, measured: Measured) -> None:
    row = measured[name] = compare(name)
    assert row.keys() == LIMITS.keys()
    over = {stage: difference for stage, difference in row.items() if not difference <= LIMITS[stage]}
    assert not over
