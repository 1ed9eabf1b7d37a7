from __future__ import annotations

import io
import json

import pytest
import typer
from fake_checkpoint import CONV, FIRST, INT8, NORM, SECOND, FakeCheckpoint, weights
from rich.console import Console
from typer.testing import CliRunner

from pocketquant.checkpoint.checkpoint import TokenizerFile
from pocketquant.cli import inspect as command
from pocketquant.config.catalog import language, languages
from pocketquant.errors import DownloadError
from pocketquant.report.names import PARTS

PROVENANCE = {
    "source": "hf://somebody/a-model",
    "files": [{"uri": "hf://somebody/a-model/model.safetensors", "sha256": "ab" * 32, "bytes": 7}],
    "recipe": {"name": "int8", "rules": ["*=int8"], "min_size": 0},
    "pocketquant": "1.2.3",
}

app = typer.Typer()
app.command()(command.inspect)


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> FakeCheckpoint:
    fake = FakeCheckpoint(weights(INT8), provenance=dict(PROVENANCE))
    opened: list[tuple[str, str | None]] = []

    def open_fake(source: str, *, config: str | None = None) -> FakeCheckpoint:
        opened.append((source, config))
        return fake

    monkeypatch.setattr(command, "open_checkpoint", open_fake)
    monkeypatch.setattr(command, "console", Console(highlight=False, width=80))
    return fake


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=width, highlight=False, color_system=None)
    monkeypatch.setattr(command, "console", terminal)
    run("model.safetensors")
    return screen.getvalue().splitlines()


def test_a_pipe_gets_one_unbroken_line_for_each_tensor(checkpoint: FakeCheckpoint) -> None:
    lines = run("model.safetensors").splitlines()
    for name, scheme in {**INT8, NORM: "f32"}.items():
        (line,) = [line for line in lines if line.startswith(name)]
        assert scheme in line.split()
    assert lines[-1].startswith("4 tensors, 1.2 k weights")
    assert checkpoint.released == list(checkpoint.weights)


def test_the_facts_of_our_file(checkpoint: FakeCheckpoint) -> None:
    facts = command.facts(checkpoint.as_checkpoint())
    assert facts["format"].endswith("recipe int8")
    assert facts["made from"] == "hf://somebody/a-model"
    assert facts["sha256"] == f"{'ab' * 32} (hf://somebody/a-model/model.safetensors)"
    assert facts["made by"] == "pocketquant 1.2.3"
    assert facts["tokenizer"].startswith("tokenizers, ")
    assert facts["voice cloning"] == "yes"


def test_the_facts_of_an_official_file(checkpoint: FakeCheckpoint) -> None:
    checkpoint.provenance, checkpoint.language, checkpoint.has_voice_cloning = {}, None, False
    facts = command.facts(checkpoint.as_checkpoint())
    assert facts["format"] == "official checkpoint"
    assert facts["language"] == "not stated"
    assert facts["voice cloning"] == "no"
    assert "sha256" not in facts


@pytest.mark.parametrize(
    "provenance",
    [{"recipe": "int8"}, {"recipe": None}, {"files": 3}, {"files": [1, None]}, {"recipe": {"name": 5}}],
)
def test_odd_provenance_is_no_crash(checkpoint: FakeCheckpoint, provenance: dict[str, object]) -> None:
    checkpoint.provenance = provenance
    assert run("model.safetensors")
    assert json.loads(run("model.safetensors", "--json"))["provenance"] == provenance


def test_a_missing_tokenizer_keeps_nobody_from_the_weights(checkpoint: FakeCheckpoint) -> None:
    def unreachable() -> bytes:
        raise DownloadError("offline")

    checkpoint.tokenizer = TokenizerFile("sentencepiece", unreachable)
    (line,) = [line for line in run("model.safetensors").splitlines() if line.startswith("tokenizer")]
    assert line.endswith("pieces, missing")
    data = json.loads(run("model.safetensors", "--json"))
    assert data["tokenizer"] == {"kind": "sentencepiece", "bytes": None}


def test_json_says_everything(checkpoint: FakeCheckpoint) -> None:
    data = json.loads(run("model.safetensors", "--json"))
    assert (data["format"], data["format_version"]) == ("pocketquant-inspect", 1)
    assert (data["compressed"], data["recipe"], data["language"]) == (True, "int8", "english")
    assert data["config"]["flow_lm"]["flow"]["dim"] == checkpoint.config.flow_lm.flow.dim
    by_name = {tensor["name"]: tensor for tensor in data["tensors"]}
    assert list(by_name) == list(checkpoint.weights)
    assert by_name[FIRST]["bytes"] == 16 * 32 + 4 * 16
    assert by_name[SECOND] == {
        "name": SECOND,
        "part": "language model",
        "kind": "feed-forward",
        "layer": 1,
        "shape": [16, 32],
        "parameters": 512,
        "scheme": "int4-g32",
        "bytes": 288,
        "bits_per_weight": 4.5,
    }
    assert data["totals"]["bytes"] == sum(tensor["bytes"] for tensor in data["tensors"])
    assert sum(part["bytes"] for part in data["parts"].values()) == data["totals"]["bytes"]
    assert data["schemes"]["f16"]["tensors"] == 1


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_shows_no_line_wider_than_itself(
    checkpoint: FakeCheckpoint, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    lines = on_terminal(monkeypatch, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert CONV in text  # unbroken
    assert "int4-g32" in text
    assert ("16×32" in text, "feed-forward" in text) == (width >= 72, width >= 110)


def test_control_characters_of_a_file_never_reach_the_terminal(
    checkpoint: FakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.tensors = {f"\x1b]0;owned\x07{name}\n": tensor for name, tensor in checkpoint.weights.items()}
    checkpoint.provenance = {"source": "\x1b[2Jgone", "recipe": {"name": "\x1b[31m"}}
    checkpoint.origin = "\x1b[5m.safetensors"
    for text in (run("model.safetensors"), "\n".join(on_terminal(monkeypatch, 80))):
        assert "\x1b]" not in text
        assert "\x1b[2J" not in text
        assert "\x1b[31m" not in text
        assert "\x1b[5m" not in text
        assert "\x07" not in text


@pytest.mark.parametrize("name", languages())
def test_every_official_config_is_described(name: str) -> None:
    facts = command.model_facts(language(name))
    assert facts["flow head"].split(",")[0] in ("lsd", "flow_matching", "drifting", "pointwise")
    assert "24000 Hz, 12.5 frames/s" in facts["codec"]


def test_the_voice_in_the_box() -> None:
    data = json.loads(run("demo", "--json"))
    assert (data["compressed"], data["recipe"], data["language"]) == (False, None, "demo")
    assert data["totals"]["tensors"] == len(data["tensors"]) > 100
    assert data["tokenizer"]["bytes"] > 0
    assert list(data["parts"]) == [part for part in PARTS if part != "other"]
    assert not [tensor["name"] for tensor in data["tensors"] if "other" in (tensor["part"], tensor["kind"])]
