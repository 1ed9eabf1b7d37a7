"""What a recipe costs to run: file, memory, speed, first audio.

The file is written, then a fresh process loads it and speaks: only so is the peak memory that of speaking,
and not that of quantizing. `python -m pocketquant.evaluate.cost` is that process: a job as JSON on standard
input, its numbers as JSON on standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.checkpoint.voice import VoiceState, read_voice, write_voice
from pocketquant.errors import PocketQuantError
from pocketquant.evaluate.speech import Chunk
from pocketquant.evaluate.variants import Variant
from pocketquant.model.generate import Sampling
from pocketquant.pipeline import quantize_checkpoint
from pocketquant.quantize.recipe import Recipe

ROUNDS = 3
"""The sentence is spoken so often; the fastest round counts, the others met somebody else's work."""
_AS_IT_IS = Recipe("float", ())


def measure_cost(
    checkpoint: Checkpoint, variant: Variant, voice: VoiceState, chunks: Sequence[Chunk]
) -> dict[str, float]:
    """`file_mb`, `peak_mb`, `realtime` and `first_audio_ms` of a variant saying some chunks.

    Raises:
        PocketQuantError: the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        voice_file, weights = Path(folder) / "voice.safetensors", variant.file
        write_voice(voice.layers, voice_file)
        if weights is None:
            weights = Path(folder) / "weights.safetensors"
            quantize_checkpoint(checkpoint, weights, variant.recipe or _AS_IT_IS)
        job = {
            "weights": str(weights),
            "voice": str(voice_file),
            "codec": variant.codec,
            "chunks": [
                {
                    "tokens": chunk.tokens.tolist(),
                    "seed": list(chunk.seed),
                    "temperature": chunk.sampling.temperature,
                    "eos_threshold": chunk.sampling.eos_threshold,
                    "frames_after_eos": chunk.sampling.frames_after_eos,
                }
                for chunk in chunks
            ],
        }
        done = subprocess.run(
            [sys.executable, "-m", "pocketquant.evaluate.cost"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise PocketQuantError(
                f"{variant.name}: the process that measures speed and memory failed: {last}"
            )
        found: dict[str, float] = json.loads(done.stdout)
        return {"file_mb": weights.stat().st_size / 1e6, **found}


def speak_and_measure(job: dict[str, Any]) -> dict[str, float]:
    """What the fresh process does: load, speak a few times, look at the clock and at its own memory."""
    checkpoint = open_checkpoint(job["weights"])
    speech = Variant("", codec=job["codec"]).build(checkpoint, checkpoint.weights)
    voice = read_voice(job["voice"])
    rounds, first = [], []
    for _ in range(ROUNDS):
        samples, start = 0, time.perf_counter()
        for chunk in job["chunks"]:
            sampling = Sampling(
                temperature=chunk["temperature"],
                eos_threshold=chunk["eos_threshold"],
                frames_after_eos=chunk["frames_after_eos"],
            )
            rng = np.random.default_rng(chunk["seed"])
            for piece in speech.generate(voice, np.array(chunk["tokens"], np.int64), sampling, rng=rng):
                if samples == 0:
                    first.append(time.perf_counter() - start)
                samples += piece.size
        rounds.append(samples / checkpoint.config.sample_rate / (time.perf_counter() - start))
    return {
        "peak_mb": peak_memory() / 1e6,
        "realtime": max(rounds),
        "first_audio_ms": 1000 * min(first, default=float("nan")),
    }


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes.

    On Linux from /proc: `ru_maxrss` also counts the process that started this one. 0 where nothing tells it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    print(json.dumps(speak_and_measure(json.load(sys.stdin))))
