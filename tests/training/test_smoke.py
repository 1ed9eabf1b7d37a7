"""The training scripts, step by step on a handful of sentences: they run, they learn, their result speaks."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
DEMO_VOICE = ROOT / "training" / "demo_voice"
NEEDED = ("torch", "pocket_tts", "hibari", "onnx", "onnxruntime", "scipy", "sentencepiece", "soxr")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(
        bool(MISSING), reason=f"training needs {', '.join(MISSING)}: see training/demo_voice/README.md"
    ),
]

SPEAK = """
import sys
from pathlib import Path
import torch
from training.demo_voice.export import load_voice
model, voice = load_voice(Path(sys.argv[1]))
audio = model.generate_audio(voice, "Hello there.")
print(len(audio), bool(torch.isfinite(audio).all()), float(audio.abs().max()))
"""


def python(*arguments: str | Path) -> str:
    """Output of a Python process in the repository's root; the training is no part of the installed package."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def step(name: str, *arguments: str | Path) -> str:
    return python("-m", "training.demo_voice", name, *arguments)


def values(output: str, name: str) -> list[float]:
    """What a training step reported of a loss, first to last."""
    return [float(value) for value in re.findall(rf"\b{name} (\d+\.\d+)", output)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with sentences, a tokenizer and two shards."""
    work = tmp_path_factory.mktemp("work")
    sentences = (DEMO_VOICE / "sentences.txt").read_text().splitlines()
    (work / "sentences.txt").write_text("\n".join(sentences[:3000]))
    (work / "heldout.txt").write_text("\n".join((DEMO_VOICE / "heldout.txt").read_text().splitlines()[:2]))
    (work / "words.txt").write_text("archipelago\nplatypus\n")
    step("tokenizer", "--work", work)
    step("audio", "--work", work, "--count", "24", "--shard", "12", "--workers", "2")
    return work


@pytest.fixture(scope="module")
def voice(work: Path) -> tuple[Path, dict[str, list[float]]]:
    """An exported voice, and the losses on the way to it."""
    losses = {
        "features": values(step("features", "--work", work, "--steps", "200", "--batch", "128"), "error"),
        "decoder": values(step("decoder", "--work", work, "--steps", "60", "--batch", "2"), "loss"),
        "encoder": values(step("encoder", "--work", work, "--steps", "80", "--batch", "2"), "loss"),
        "flow_lm": values(step("lm", "--work", work, "--steps", "80", "--batch", "4"), "energy"),
    }
    step("export", "--work", work, "--voice", work / "voice")
    return work / "voice", losses


def test_sentences_from_wordnet(tmp_path: Path) -> None:
    """Examples, and definitions whose every word is known; the layout is that of WordNet's data files."""
    quoted = [f"a floor of {first}{second} maple" for first in "abcdefgh" for second in "abcdefghij"]
    lines = [f'00001 20 n 02 maple 0 Sugar_Maple 1 | a floor of maple; "{q}"' for q in quoted]
    lines.append("00099 20 n 01 qxzvk 0 | a floor of maple")
    (tmp_path / "data.noun").write_text("\n".join(["  1 a licence", *lines]))
    step("text", "--work", tmp_path / "made", "--wordnet", tmp_path, "--templates", "50")
    *others, definition = (tmp_path / "made" / "sentences.txt").read_text().splitlines()
    assert (
        sum(line.startswith("A floor of") for line in others) == len(quoted) - 60
    )  # the others are held out
    assert definition == "Maple, a floor of maple."
    assert (tmp_path / "made" / "words.txt").read_text() == "maple\n"


def test_corpus_is_deterministic(work: Path) -> None:
    shard = work / "shard0000.npz"
    before = shard.read_bytes()
    shard.unlink()
    step("audio", "--work", work, "--count", "24", "--shard", "12", "--workers", "1")
    assert shard.read_bytes() == before


@pytest.mark.parametrize("stage", ["features", "decoder", "encoder", "flow_lm"])
def test_each_stage_learns(voice: tuple[Path, dict[str, list[float]]], stage: str) -> None:
    losses = voice[1][stage]
    assert losses[-1] < 0.95 * losses[0], losses


def test_the_decoder_trains_on_the_language_models_latents(
    voice: tuple[Path, dict[str, list[float]]], tmp_path: Path
) -> None:
    """Half of its batches: both losses are reported, and what it learnt goes on."""
    work = tmp_path / "work"
    shutil.copytree(voice[0].parent, work)
    output = step("decoder", "--work", work, "--steps", "20", "--batch", "2", "--own", "0.5")
    assert "resumed" in output
    own, true = values(output, "own"), values(output, "loss")
    assert own
    assert 0 < true[-1] < voice[1]["decoder"][0]
    assert 0 < own[-1] < voice[1]["decoder"][0]


def test_training_forwards_are_the_official_ones(voice: tuple[Path, dict[str, list[float]]]) -> None:
    report = json.loads((voice[0] / "export.json").read_text())
    assert max(report["largest_difference_from_official_streaming"].values()) < 1e-3


def test_official_package_speaks_it(voice: tuple[Path, dict[str, list[float]]]) -> None:
    samples, finite, peak = python("-c", SPEAK, voice[0]).split()[-3:]
    assert int(samples) >= 1920
    assert finite == "True"
    assert 0 < float(peak) < 10


def test_an_exported_voice_can_be_adopted(voice: tuple[Path, dict[str, list[float]]], tmp_path: Path) -> None:
    """Adopting and exporting again changes nothing; training goes on from there."""
    step("adopt", "--voice", voice[0], "--work", tmp_path)
    step("export", "--work", tmp_path, "--voice", tmp_path / "again")
    before, after = (load_file(folder / "demo.safetensors") for folder in (voice[0], tmp_path / "again"))
    assert before.keys() == after.keys()
    for name, values_before in before.items():
        np.testing.assert_allclose(after[name], values_before, atol=1e-6, err_msg=name)  # kept in float16
    for shard in voice[0].parent.glob("*.npz"):
        (tmp_path / shard.name).symlink_to(shard)
    output = step("lm", "--work", tmp_path, "--steps", "2", "--batch", "4")
    assert "resumed" in output
    assert values(output, "energy")[0] < voice[1]["flow_lm"][0]
