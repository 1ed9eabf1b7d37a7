"""The command line as a user meets it: outputs, exit codes, one line for every mistake."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "80", "TERM": "dumb"}


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "pocketquant", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, env=ENVIRONMENT, cwd=cwd, timeout=120)


def test_quantize_with_reports(tmp_path: Path) -> None:
    reports = [tmp_path / f"report.{kind}" for kind in ("html", "json", "csv")]
    options = [option for report in reports for option in ("--report", report)]
    done = run("quantize", "demo", "-o", tmp_path / "demo.safetensors", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "language model" in done.stdout
    assert "total" in done.stdout
    html = reports[0].read_text()
    assert "<svg" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    assert json.loads(reports[1].read_text())
    with reports[2].open(newline="") as file:
        assert len(list(csv.reader(file))) > 100


def test_json_summary(tmp_path: Path) -> None:
    output = tmp_path / "demo.safetensors"
    done = run("quantize", "demo", "-o", output, "--recipe", "int4", "--json")
    summary = json.loads(done.stdout)
    assert summary["file_bytes"] == output.stat().st_size
    assert summary["recipe"] == "int4"
    assert 4 < summary["bits_per_weight"] < 10


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    done = run(
        "quantize", "demo", "-o", tmp_path / "no.safetensors", "--dry-run", "--json", "--set", "*.bias=bf16"
    )
    assert done.returncode == 0
    plan = {row["name"]: row for row in json.loads(done.stdout)}
    assert plan["flow_lm.out_eos.bias"]["to"] == "bf16"
    assert list(tmp_path.iterdir()) == []


def test_simulate_and_dequantize_write_companions(tmp_path: Path) -> None:
    small = tmp_path / "small.safetensors"
    assert run("quantize", "demo", "-o", small).returncode == 0
    assert run("quantize", "demo", "-o", tmp_path / "heard.safetensors", "--simulate").returncode == 0
    assert run("dequantize", small, "-o", tmp_path / "back.safetensors").returncode == 0
    names = {path.name for path in tmp_path.iterdir()}
    for stem in ("heard", "back"):
        assert {f"{stem}.safetensors", f"{stem}.yaml", f"{stem}.tokenizer.model"} <= names
    compared = json.loads(run("compare", tmp_path / "heard.yaml", tmp_path / "back.yaml", "--json").stdout)
    assert compared["max_error"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quantize", "demo"], "nothing to do"),
        (["quantize", "nonsense", "-o", "x.safetensors"], "nonsense"),
        (["quantize", "englsh", "-o", "x.safetensors"], "english"),
        (["quantize", "demo", "-o", "x.safetensors", "--recipe", "int9"], "int8"),
        (["quantize", "demo", "-o", "x.safetensors", "--set", "a=b"], "unknown scheme"),
        (
            ["quantize", "demo", "-o", "x.safetensors", "--set", "flow_lm.out_eo.weight=f32"],
            "flow_lm.out_eos.weight",
        ),
        (["quantize", "demo", "-o", "no/folder/x.safetensors"], "no/folder"),
        (["quantize", "demo", "-o", "x.safetensors", "--report", "r.pdf"], "r.pdf"),
        (["quantize", "empty.safetensors", "-o", "x.safetensors"], "empty.safetensors"),
        (["quantize", "zeros.safetensors", "-o", "x.safetensors"], "zeros.safetensors"),
        (["inspect", "missing.safetensors"], "missing.safetensors"),
        (["compare", "demo", "missing.safetensors"], "missing.safetensors"),
        (["dequantize", "empty.safetensors", "-o", "x.safetensors"], "empty.safetensors"),
    ],
)
def test_mistakes(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "zeros.safetensors").write_bytes(bytes(1000))
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x.safetensors").exists()


def test_source_is_never_overwritten(tmp_path: Path) -> None:
    assert run("dequantize", "demo", "-o", tmp_path / "m.safetensors").returncode == 0
    before = (tmp_path / "m.safetensors").read_bytes()
    done = run("quantize", tmp_path / "m.yaml", "-o", tmp_path / "m.safetensors")
    assert done.returncode == 2
    assert "source itself" in done.stderr
    assert (tmp_path / "m.safetensors").read_bytes() == before


def test_dequantize_never_overwrites_its_source_or_its_config(tmp_path: Path) -> None:
    small, config = tmp_path / "small.safetensors", tmp_path / "model.yaml"
    assert run("quantize", "demo", "-o", small).returncode == 0
    assert run("dequantize", small, "-o", tmp_path / "plain.safetensors").returncode == 0
    (tmp_path / "plain.yaml").rename(config)
    for source, output, kept in ((small, small, small), (config, tmp_path / "model.safetensors", config)):
        before = kept.read_bytes()
        done = run("dequantize", source, "-o", output)
        assert done.returncode == 2
        assert "source itself" in done.stderr
        assert kept.read_bytes() == before


def test_already_quantized(tmp_path: Path) -> None:
    small = tmp_path / "small.safetensors"
    assert run("quantize", "demo", "-o", small).returncode == 0
    done = run("quantize", small, "-o", tmp_path / "smaller.safetensors", "--recipe", "int4")
    assert done.returncode == 2
    assert "already" in done.stderr


def test_interrupted_while_writing(tmp_path: Path) -> None:
    """Ctrl-C in the middle: the old file stays, nothing else does, and there is no traceback."""
    output = tmp_path / "demo.safetensors"
    output.write_bytes(b"old")
    program = [sys.executable, "-m", "pocketquant", "quantize", "demo", "-o", str(output), "--recipe", "int4"]
    with subprocess.Popen(
        program, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=ENVIRONMENT
    ) as child:
        while child.poll() is None and len(list(tmp_path.iterdir())) == 1:
            time.sleep(0.002)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (130, b"")
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]
