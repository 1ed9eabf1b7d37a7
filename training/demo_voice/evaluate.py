"""Word error rates of an exported voice, spoken by the official package and heard by Whisper.

With `--work` also what its parts allow at best: the teacher's own sound, and the decoder on the teacher's latents."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from faster_whisper import WhisperModel
from numpy.typing import NDArray
from pocket_tts import TTSModel

from .audio import HELD_OUT_SHARD
from .corpus import FOR_CODEC, Corpus
from .export import load_voice
from .features import latents_of, load_coder
from .forwards import decode_latents
from .score import Rate, word_error_rate, word_errors
from .vocoder import SAMPLE_RATE

HERE = Path(__file__).parent
# Kept apart: sentences of the training's kind, rare words, figures.
SETS = {"heldout": "heldout.txt", "rare": "rare.txt", "digits": "digits.txt"}


class Listener:
    """Whisper (a CTranslate2 model directory) with greedy decoding."""

    def __init__(self, directory: Path, threads: int) -> None:
        self.model = WhisperModel(
            str(directory.resolve()), device="cpu", compute_type="int8", cpu_threads=threads
        )

    def __call__(self, audio: NDArray[np.float32]) -> str:
        """What is heard in [samples] of 24 kHz sound."""
        padded = np.pad(audio, (SAMPLE_RATE // 10, SAMPLE_RATE // 5))
        segments, _ = self.model.transcribe(
            soxr.resample(padded, SAMPLE_RATE, 16000),
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            max_new_tokens=60,
        )
        return " ".join(segment.text.strip() for segment in segments)


def speak(model: TTSModel, voice: Any, sentences: list[str]) -> Iterator[NDArray[np.float32]]:
    """Each sentence as [samples], from the same seed."""
    for sentence in sentences:
        torch.manual_seed(0)
        audio: NDArray[np.float32] = model.generate_audio(voice, sentence).numpy()
        yield audio


def speak_by_parts(model: TTSModel, work: Path) -> tuple[list[str], dict[str, Iterator[NDArray[np.float32]]]]:
    """The sentences of a work folder's held-out shard and their sounds: "teacher" is what the corpus holds
    (frame-locked), "decoder" the voice's decoder fed with the true latents of that."""
    corpus = Corpus([work / HELD_OUT_SHARD], FOR_CODEC)
    latents, audio = latents_of(corpus, load_coder(work)), corpus.audio()
    spans = [slice(first, first + count) for first, count in zip(corpus.starts, corpus.frames, strict=True)]

    def decoded() -> Iterator[NDArray[np.float32]]:
        for at in spans:
            with torch.no_grad():
                sound: NDArray[np.float32] = decode_latents(model.mimi, latents[None, at])[0].numpy()
            yield sound

    teacher = (audio[at].flatten().numpy().astype(np.float32) / 32768 for at in spans)
    return corpus.texts, {"teacher": teacher, "decoder": decoded()}


def measure(
    sentences: list[str], sounds: Iterator[NDArray[np.float32]], listener: Listener
) -> dict[str, Any]:
    """Word error rate and transcripts of sentences as they were spoken."""
    rows, counts, seconds = [], [], 0.0
    for sentence, audio in zip(sentences, sounds, strict=True):
        heard = listener(audio)
        counts.append(word_errors(sentence, heard))
        seconds += len(audio) / SAMPLE_RATE
        rows.append([sentence, heard, counts[-1][0]])
    found: dict[str, Any] = asdict(word_error_rate(counts))
    return found | {"audio_seconds": round(seconds, 1), "transcripts": rows}


def as_text(name: str, r: Rate) -> str:
    """One line of a table."""
    return (
        f"{name:8s} WER {r.rate:6.1%} [{r.low:.1%}, {r.high:.1%}]  {r.errors} of {r.words} words, "
        f"{r.flawless} of {r.sentences} sentences without error"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--voice", type=Path, required=True, help="folder with demo.yaml")
    parser.add_argument("--whisper", type=Path, required=True, help="folder of a CTranslate2 Whisper model")
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--count", type=int, help="only the first sentences of each set")
    parser.add_argument(
        "--work", type=Path, help="work folder: also hear what teacher and decoder make alone"
    )
    parser.add_argument("--temperature", type=float, help="instead of the config's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write rates and transcripts there")


def run(args: argparse.Namespace) -> None:
    """Speak, listen, print a line for each set."""
    torch.set_num_threads(args.threads)
    listener = Listener(args.whisper, args.threads)
    model, voice = load_voice(args.voice, temperature=args.temperature)
    report: dict[str, Any] = {"whisper": args.whisper.name, "temperature": model.temp}
    jobs: dict[str, tuple[list[str], Iterator[NDArray[np.float32]]]] = {}
    if args.work:
        texts, sounds = speak_by_parts(model, args.work)
        jobs = {name: (texts, sound) for name, sound in sounds.items()}
    for name in args.sets:
        sentences = (HERE / SETS[name]).read_text().splitlines()[: args.count]
        jobs[name] = sentences, speak(model, voice, sentences)
    for name, (sentences, spoken) in jobs.items():
        found = report[name] = measure(sentences, spoken, listener)
        print(as_text(name, Rate(**{k: found[k] for k in Rate.__dataclass_fields__})), flush=True)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
