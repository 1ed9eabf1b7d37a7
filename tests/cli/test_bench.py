"""`pocketquant bench` as somebody at a shell uses it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pocketquant.cli import main

QUICK = ("--seconds", "3", "--repeat", "1", "--threads", "1", "--voice-positions", "5")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `pocketquant bench ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["pocketquant", "bench", *arguments])
    try:
        main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


def test_tables(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(monkeypatch, "demo", "--recipes", "int8,int4", "--folder", str(tmp_path), *QUICK) == 0
    output = capfd.readouterr()
    lines = output.out.splitlines()
    assert lines[0].startswith("demo: ")
    assert lines[1].split()[:2] == ["recipe", "threads"]
    assert [line.split()[0] for line in lines[2:4]] == ["int8", "int4"]
    assert any(line.startswith("SEANet") for line in lines)
    assert "Medians of 1." in lines[-1]
    assert output.err == ""
    assert (tmp_path / "demo-int8.safetensors").exists()


def test_json(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "demo", "--recipes", "f32", "--no-stages", "--json", *QUICK) == 0
    output = capfd.readouterr()
    result = json.loads(output.out)
    assert result.keys() == {"machine", "others_share", "model", "plan", "results", "batches", "stages"}
    assert result["plan"]["threads"] == [1]
    assert result["stages"] == {}
    assert result["results"][0]["x_real_time"]["median"] > 0
    assert output.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--threads", "0"), "--threads 0: give whole numbers from 1 on"),
        (("--threads", "two"), "--threads two: give whole numbers from 1 on"),
        (("--threads", ","), "--threads: give at least one number"),
        (("--recipes", "int9"), "unknown recipe 'int9'; did you mean int8"),
        (("demoo",), "demoo"),
    ],
)
def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert run(monkeypatch, *arguments) == 2
    output = capfd.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
