from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from fake_checkpoint import CONV, FIRST, INT8, NORM, SECOND, FakeCheckpoint, weights
from rich.console import Console
from typer.testing import CliRunner, Result

from pocketquant.cli import compare as command
from pocketquant.errors import ConfigError, PocketQuantError
from pocketquant.pipeline import quantize_checkpoint
from pocketquant.quantize.metrics import calculate_snr
from pocketquant.quantize.stored import StoredTensor

app = typer.Typer()
app.command()(command.compare)


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeCheckpoint]:
    known = {"a": FakeCheckpoint(weights({})), "b": FakeCheckpoint(weights(INT8))}

    def open_fake(source: str, *, config: str | None = None) -> FakeCheckpoint:
        name, bare, _ = source.partition("-bare")
        if bool(bare) != (
            config is not None
        ):  # as open_checkpoint: too little is an error, and so is too much
            raise ConfigError(f"{source} with config {config}")
        return known[name]

    monkeypatch.setattr(command, "open_checkpoint", open_fake)
    monkeypatch.setattr(command, "console", Console(highlight=False, width=80))
    monkeypatch.setattr(command, "err_console", Console(stderr=True, highlight=False, width=80))
    return known


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def as_json(*arguments: str) -> dict[str, object]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0
    data: dict[str, object] = json.loads(result.stdout)
    return data


def without(tensors: dict[str, StoredTensor], name: str) -> dict[str, StoredTensor]:
    return {key: tensor for key, tensor in tensors.items() if key != name}


def test_the_worst_tensor_comes_first_and_the_numbers_are_right(
    checkpoints: dict[str, FakeCheckpoint],
) -> None:
    data = as_json("a", "b")
    tensors = data["tensors"]
    assert isinstance(tensors, list)
    assert [tensor["name"] for tensor in tensors] == [SECOND, FIRST, CONV, NORM]
    for tensor in tensors:
        one, other = (checkpoints[key].weights[tensor["name"]].dequantize() for key in "ab")
        assert float(tensor["snr_db"]) == pytest.approx(calculate_snr(one, other))
        assert tensor["max_error"] == float(np.abs(one - other).max())
    assert (tensors[0]["scheme_a"], tensors[0]["scheme_b"]) == ("f32", "int4-g32")
    assert tensors[-1]["snr_db"] == "inf"
    every = [
        np.concatenate([c.weights[n].dequantize().ravel() for n in c.weights]) for c in checkpoints.values()
    ]
    assert data["snr_db"] == pytest.approx(calculate_snr(*every))
    for checkpoint in checkpoints.values():
        assert sorted(checkpoint.released) == sorted(checkpoint.weights)


def test_equal_checkpoints(checkpoints: dict[str, FakeCheckpoint]) -> None:
    result = run("a", "a", "--fail-under", "200")
    assert result.exit_code == 0
    assert result.stdout.strip() == "0 tensors differ, 4 are equal; in total exact, max error 0"


def test_the_table_lists_what_differs(checkpoints: dict[str, FakeCheckpoint]) -> None:
    lines = run("a", "b").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [SECOND, FIRST, CONV]
    assert lines[1].split()[1:3] == ["f32", "int4-g32"]
    assert lines[-1].startswith("3 tensors differ, 1 are equal")


def test_missing_extra_and_reshaped_tensors_are_named(checkpoints: dict[str, FakeCheckpoint]) -> None:
    b = weights(INT8)
    norm = b[NORM]
    checkpoints["a"].tensors = without(weights({}), FIRST)
    reshaped = replace(norm, shape=(4, 8), data=norm.data.reshape(4, 8))
    checkpoints["b"].tensors = {**without(b, CONV), NORM: reshaped}
    data = as_json("a", "b")
    assert (data["missing"], data["extra"]) == ([CONV], [FIRST])
    assert data["reshaped"] == {NORM: [[32], [4, 8]]}
    text = run("a", "b").stdout
    assert f"only in A: {CONV}" in text
    assert f"only in B: {FIRST}" in text
    assert f"other shape: {NORM}  A 32  B 4×8" in text


def test_the_gate_is_about_every_single_tensor(checkpoints: dict[str, FakeCheckpoint]) -> None:
    worst = calculate_snr(*(checkpoints[key].weights[SECOND].dequantize() for key in "ab"))
    assert run("a", "b", "--fail-under", str(worst - 0.1)).exit_code == 0
    failed = run("a", "b", "--fail-under", str(worst + 0.1))
    assert failed.exit_code == 1
    assert f"worst tensor {worst:.2f} dB" in failed.stderr
    assert "tensors differ" in failed.stdout


def test_the_gate_fails_where_a_tensor_is_missing(checkpoints: dict[str, FakeCheckpoint]) -> None:
    checkpoints["b"].tensors = without(weights({}), CONV)
    assert run("a", "b").exit_code == 0
    failed = run("a", "b", "--fail-under", "-100")
    assert failed.exit_code == 1
    assert "not the same" in failed.stderr


def test_json_and_gate_go_together(checkpoints: dict[str, FakeCheckpoint]) -> None:
    result = run("a", "b", "--json", "--fail-under", "100")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["format"] == "pocketquant-compare"


@pytest.mark.parametrize("names", [("a-bare", "b"), ("a", "b-bare"), ("a-bare", "b-bare"), ("a", "b")])
def test_the_config_goes_to_those_that_need_it(
    checkpoints: dict[str, FakeCheckpoint], names: tuple[str, str]
) -> None:
    assert run(*names, "--config", "english").exit_code == 0


def test_a_bare_file_without_config_is_an_error(checkpoints: dict[str, FakeCheckpoint]) -> None:
    with pytest.raises(ConfigError, match="b-bare"):
        run("a", "b-bare")


def test_nothing_in_common_is_an_error(checkpoints: dict[str, FakeCheckpoint]) -> None:
    checkpoints["b"].tensors = {"x": next(iter(weights({}).values()))}
    with pytest.raises(PocketQuantError, match="no tensor in common"):
        run("a", "b")


def test_a_limit_that_is_no_number_is_an_error(checkpoints: dict[str, FakeCheckpoint]) -> None:
    with pytest.raises(PocketQuantError, match="fail-under"):
        run("a", "b", "--fail-under", "nan")


@pytest.mark.parametrize("width", [60, 80])
def test_the_table_fits_the_terminal(
    checkpoints: dict[str, FakeCheckpoint], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=width, highlight=False, color_system=None)
    monkeypatch.setattr(command, "console", terminal)
    run("a", "b")
    lines = screen.getvalue().splitlines()
    assert max(len(line) for line in lines[:-1]) <= width
    assert "int4-g32" in screen.getvalue()


def test_the_voice_in_the_box_quantized(tmp_path: Path) -> None:
    small = tmp_path / "small.safetensors"
    report = quantize_checkpoint("demo", small, "int8")
    data = as_json("demo", str(small))
    assert data["snr_db"] == pytest.approx(report.totals.snr_db)
    assert (data["missing"], data["extra"], data["reshaped"]) == ([], [], {})
    tensors = data["tensors"]
    assert isinstance(tensors, list)
    assert tensors[0]["name"] == report.worst(1)[0].name
    assert run("demo", str(small), "--fail-under", "35").exit_code == 0
