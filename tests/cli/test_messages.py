"""What the application does around its commands."""

from __future__ import annotations

import logging

import pytest
from typer.testing import CliRunner

from pocketquant.cli.app import app


def test_attempts_to_reach_the_hub_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("huggingface_hub.utils._http")
    before = list(logger.filters)
    try:
        assert CliRunner().invoke(app, ["inspect", "demo", "--json"]).exit_code == 0
        handler = logging.StreamHandler()
        logger.addHandler(handler)
        for attempt in (1, 2):
            logger.warning("'no network' thrown while requesting HEAD https://hub/model.safetensors")
            logger.warning("Retrying in 1s [Retry %d/5].", attempt)
        logger.warning("something else")
        logger.removeHandler(handler)
    finally:
        logger.filters[:] = before
    assert capsys.readouterr().err.splitlines() == [
        "the Hugging Face hub does not answer; trying again for half a minute",
        "something else",
    ]
