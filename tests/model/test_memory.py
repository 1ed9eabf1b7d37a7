"""A quantized file is loaded without its float values ever being in memory as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pocketquant.checkpoint.random import random_checkpoint
from pocketquant.pipeline import quantize_checkpoint

LANGUAGE = "english_18m_2026-10"
PROGRAM = """
import sys
from pathlib import Path
from pocketquant import TTSModel
from pocketquant.ops import get_ops

def peak():
    # Not ru_maxrss, which a process inherits from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

get_ops()
before = peak()
model = TTSModel.load_model(weights=sys.argv[1], seed=0)
loaded = peak()
for _ in model.generate_audio_stream(model.speech.new_state(), "One."):
    pass
print(before, loaded, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux's /proc")
@pytest.mark.parametrize("recipe", ["int8", "int4"])
def test_peak_memory(recipe: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    small = tmp_path / "small.safetensors"
    report = quantize_checkpoint(random_checkpoint(LANGUAGE, tmp_path / "source", seed=3), small, recipe)
    printed = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(small)], check=True, capture_output=True, text=True
    ).stdout
    before, loaded, spoken = (int(number) for number in printed.split())
    in_float32 = 4 * report.totals.parameters
    record_property("bytes added by loading", loaded - before)
    record_property("bytes added by loading and speaking", spoken - before)
    print(
        f"{recipe}: file {small.stat().st_size / 1e6:.1f} MB, as float32 {in_float32 / 1e6:.1f} MB; loading added "
        f"{(loaded - before) / 1e6:.1f} MB, loading and speaking {(spoken - before) / 1e6:.1f} MB"
    )
    # The file's mapped pages count as well as what the kernels keep, hence twice its size and some room.
    assert loaded - before < 2 * small.stat().st_size + 10_000_000 < in_float32
