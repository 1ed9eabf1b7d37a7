"""`pocketquant evaluate`, as somebody at a shell uses it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pocketquant.cli import main
from pocketquant.config import catalog

SENTENCES = "The old clock.\n\nPlease wait here.\n"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `pocketquant evaluate ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["pocketquant", "evaluate", *arguments])
    try:
        main()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


@pytest.fixture
def base(tmp_path: Path) -> list[str]:
    file = tmp_path / "sentences.txt"
    file.write_text(SENTENCES)
    return ["demo", "--sentences", str(file), "--no-cost"]


def test_tables_report_and_gate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, base: list[str]
) -> None:
    report, known = tmp_path / "out.html", tmp_path / "known.json"
    table = tmp_path / "table.md"
    base += ["--recipes", "int8-lm", "--fail-if", "latent_snr < 200", "--sensitivity", str(known)]
    reports = ["--report", str(report), "--report", str(table), "--listen", "1"]
    assert run(monkeypatch, *base, *reports) == 1
    output = capsys.readouterr()
    assert "next latent, dB" in output.out
    assert "int8-lm: Safe to use" in output.out
    assert "int8-lm: one group at a time" in output.out
    assert "failed: int8-lm: latent_snr < 200 (latent_snr = " in output.err
    assert report.read_text().startswith("<!doctype html>")
    assert report.read_text().count("<audio") == 2
    lines = table.read_text().splitlines()
    assert lines[0].startswith("- **int8-lm**: Safe to use")
    assert "|  | float | int8-lm |" in lines
    assert any(line.startswith("| next latent, dB | - | ") for line in lines)
    assert json.loads(known.read_text())["format"] == "pocketquant-sensitivity"


def test_json_with_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base: list[str]
) -> None:
    base.remove("--no-cost")
    options = ["--json", "--count", "1", "--recipes", "int8", "--temperature", "0.3", "--seeds", "2"]
    assert run(monkeypatch, *base, *options, "--fail-if", "file_mb > 100 or wave_snr < 10") == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (data["format"], data["sentences"], data["seeds"]) == (
        "pocketquant-evaluate",
        ["The old clock."],
        2,
    )
    float_model, int8 = (result["measures"] for result in data["results"])
    assert 1 < int8["file_mb"][0] < float_model["file_mb"][0]
    assert int8["peak_mb"][0] > 10
    assert int8["realtime"][0] > 0
    assert int8["first_audio_ms"][0] > 0
    assert data["results"][1]["columns"]["takes"] == [2]
    assert 20 < int8["weight_snr"][0] < 60
    assert data["results"][1]["tensors"]["flow_lm.transformer.layers.0.linear1.weight"]["scheme"] == "int8"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipes", "int9"], "unknown recipe 'int9'"),
        (["--fail-if", "wer > 0.1"], "no measure 'wer' in this evaluation"),
        (["--fail-if", "hiss > 1"], "no measure 'hiss'"),
        (["--report", "x.pdf"], "end the name in .html or .md"),
        (["--report", "nowhere/x.html"], "the folder does not exist"),
        (["--seeds", "2"], "at temperature 0 all takes are the same"),
        (["--sentences", "missing.txt"], "--sentences missing.txt: cannot be read"),
        (["--voice", "haert"], "did you mean heart"),
    ],
)
def test_mistakes_are_one_line_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    base: list[str],
    options: list[str],
    message: str,
) -> None:
    assert run(monkeypatch, *base, *options) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert output.err.count("\n") == 1


def test_a_quantized_model_is_no_reference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, base: list[str]
) -> None:
    from pocketquant.pipeline import quantize_checkpoint

    small = tmp_path / "small.safetensors"
    quantize_checkpoint("demo", small, "int8")
    assert run(monkeypatch, str(small), *base[1:], "--recipes", "int4") == 2
    assert "quantize from the original checkpoint" in capsys.readouterr().err


def test_the_sentences_of_the_package_are_a_hundred() -> None:
    from pocketquant.checkpoint.checkpoint import open_checkpoint
    from pocketquant.cli.evaluate import _sentences

    assert len(_sentences(None, open_checkpoint("demo"))) == 100


@pytest.mark.parametrize("name", ["demo", *catalog.languages()])
def test_every_official_language_is_known_to_the_recognizer(name: str) -> None:
    from types import SimpleNamespace
    from typing import cast

    from pocketquant.checkpoint.checkpoint import Checkpoint
    from pocketquant.cli.evaluate import _spoken_language

    code = _spoken_language(cast(Checkpoint, SimpleNamespace(language=name)))
    assert code == {"demo": "en", "german": "de", "spanish": "es", "dutch": "nl", "portuguese": "pt"}.get(
        name.split("_")[0], name[:2]
    )
