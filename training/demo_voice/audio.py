"""Let the teacher speak the sentences: shards of sound, features, pitch, phonemes and alignment.

Deterministic, so shards need not be kept: the same sentences give the same shards again, at over a hundred
times real time on two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

from .teacher import TAIL, Teacher, Utterance
from .vocoder import FRAME, SAMPLE_RATE

HELD_OUT_SHARD = "heldout.npz"
SHORTEST, LONGEST = 6, 90  # latent frames of speech


def write_shard(path: Path, texts: list[str]) -> int:
    """Speak texts into one npz file; returns its latent frames."""
    teacher = Teacher()
    spoken = (teacher.speak(text) for text in texts)
    rows: list[Utterance] = [u for u in spoken if u and SHORTEST <= u.frames - TAIL <= LONGEST]
    temporary = path.with_suffix(".new.npz")
    np.savez(
        temporary,
        texts=np.array([u.text for u in rows]),
        frames=np.array([u.frames for u in rows]),
        aligned=np.array([u.aligned for u in rows]),
        audio=np.concatenate([u.audio for u in rows]),
        features=np.concatenate([u.features for u in rows]),
        pitch=np.concatenate([u.pitch for u in rows]),
        position=np.concatenate([u.position for u in rows]),
        phones=np.concatenate([u.phones for u in rows]),
    )
    temporary.replace(path)
    return sum(u.frames for u in rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, help="work folder (sentences.txt, heldout.txt)")
    parser.add_argument("--count", type=int, help="only the first sentences")
    parser.add_argument("--shard", type=int, default=250, help="sentences of a shard")
    parser.add_argument("--workers", type=int, default=os.cpu_count())


def run(args: argparse.Namespace) -> None:
    """Make the shards that are missing."""
    lines = (args.work / "sentences.txt").read_text().splitlines()[: args.count]
    parts = {
        f"shard{i:04d}.npz": lines[j : j + args.shard] for i, j in enumerate(range(0, len(lines), args.shard))
    }
    parts[HELD_OUT_SHARD] = (args.work / "heldout.txt").read_text().splitlines()
    began, frames = time.monotonic(), 0
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        missing = [
            (args.work / name, texts) for name, texts in parts.items() if not (args.work / name).exists()
        ]
        for job in [pool.apply_async(write_shard, part) for part in missing]:
            frames += job.get()
            seconds, spent = frames * FRAME / SAMPLE_RATE, time.monotonic() - began
            print(
                f"{seconds / 3600:.2f} h of sound in {spent:.0f} s ({seconds / spent:.0f}x real time)",
                flush=True,
            )
