"""Time and memory of quantizing a full-size checkpoint: `python benchmarks/quantize.py [LANGUAGE]`.

Makes a checkpoint with seeded random weights in the official layout, then runs the command line on it in a process
of its own for each recipe, and prints a Markdown table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPES = ("origin", "int8", "int8-lm", "int4")


def run(arguments: list[str]) -> tuple[str, float, int]:
    """What the program prints, its wall time in seconds and its peak resident memory in bytes."""
    started = time.monotonic()
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{arguments} failed")
    return printed, time.monotonic() - started, usage.ru_maxrss * 1024


def main() -> None:
    language = sys.argv[1] if len(sys.argv) > 1 else "english_2026-10"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        # In a process of its own: a child's peak memory starts at what its parent has.
        make = "import sys; from pocketquant.checkpoint.random import random_checkpoint as r; r(*sys.argv[1:], seed=1)"
        run(["-c", make, language, str(source)])
        print("| recipe | file | bits per weight | SNR of the weights | time to quantize | peak memory |")
        print("| --- | --- | --- | --- | --- | --- |")
        for recipe in RECIPES:
            output = Path(folder) / f"{recipe}.safetensors"
            command = [
                "-m",
                "pocketquant",
                "quantize",
                str(source),
                "-o",
                str(output),
                "--recipe",
                recipe,
                "--json",
            ]
            printed, seconds, peak = run(command)
            summary = json.loads(printed)
            print(
                f"| `{recipe}` | {summary['file_bytes'] / 1e6:.1f} MB | {summary['bits_per_weight']:.2f} "
                f"| {summary['snr_db']:.1f} dB | {seconds:.1f} s | {peak / 1e6:.0f} MB |"
            )


if __name__ == "__main__":
    main()
