"""Pack a trained miniature for the wheel: 16-bit weights, config, tokenizer, voice, notices.

    python pack.py TRAINED_DIR ../../src/pocketquant/data/demo

TRAINED_DIR holds what export.py writes. Each tensor becomes bfloat16 where that is exact (export.py rounds the
weights to bfloat16), else float16 where that is exact, else float16 with at least 60 dB of signal to noise.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketquant.checkpoint.reader import TensorFile
from pocketquant.checkpoint.writer import Entry, create
from pocketquant.quantize.metrics import calculate_snr

SMALLEST_SNR_DB = 60.0
COMPANIONS = ("demo.yaml", "tokenizer.model", "heart.safetensors", "NOTICE.md")


def to_16_bit(values: NDArray[np.float32]) -> tuple[str, NDArray[Any], float]:
    """(dtype in the file, values, signal to noise in dB): bfloat16 (a uint16 bit pattern) or float16."""
    bits = values.view(np.uint32)
    if not np.any(bits & 0xFFFF):
        return "BF16", (bits >> 16).astype(np.uint16), float("inf")
    half = values.astype(np.float16)
    snr = calculate_snr(values, half.astype(np.float32))
    if not np.all(np.isfinite(half)) or snr < SMALLEST_SNR_DB:
        raise SystemExit(f"float16 keeps only {snr:.1f} dB of a tensor")
    return "F16", half, snr


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trained", type=Path)
    parser.add_argument("destination", type=Path)
    options = parser.parse_args()
    options.destination.mkdir(parents=True, exist_ok=True)
    with TensorFile.open(options.trained / "demo.safetensors") as file:
        packed = {name: to_16_bit(file.array(name)) for name in file}
    entries = [Entry(name, dtype, values.shape) for name, (dtype, values, _) in packed.items()]
    target = options.destination / "demo.safetensors"
    with create(target, entries, {"format": "pt"}) as writer:
        for name, (_, values, _) in packed.items():
            writer.put(name, values)
    for name in COMPANIONS:
        shutil.copyfile(options.trained / name, options.destination / name)
    worst = min(snr for _, _, snr in packed.values())
    kinds = {dtype: sum(kind == dtype for kind, _, _ in packed.values()) for dtype in ("BF16", "F16")}
    print(f"{target}: {target.stat().st_size} bytes, tensors {kinds}, smallest SNR {worst:.1f} dB")


if __name__ == "__main__":
    main()
