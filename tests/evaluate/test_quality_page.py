"""docs/QUALITY.md keeps up with the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocketquant.evaluate.catalog import MEASURES

PAGE = Path(__file__).parents[2] / "docs" / "QUALITY.md"


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")
