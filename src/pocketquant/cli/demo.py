"""`pocketquant demo`: the main job on the voice in the box, offline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pocketquant.audio import write_audio
from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.cli.console import console, progress
from pocketquant.model.tts import TTSModel
from pocketquant.pipeline import quantize_checkpoint
from pocketquant.report.format import db_text, size_text
from pocketquant.report.model import Report
from pocketquant.report.writer import write_report

RECIPES = ("origin", "int8", "int4")
REPEATS = 3  # of which the fastest counts: the sentence takes a fraction of a second
TEXT = "The old clock on the wall has stopped again. We will meet at the station tomorrow."


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the files go; made if it is not there.")] = Path(
        "out"
    ),
) -> None:
    """Quantize the voice in the box to origin, int8 and int4, speak with each, show what that saves and costs."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = open_checkpoint("demo")
    table = Table(title="the voice in the box (3.4M parameters)", title_justify="left")
    table.add_column("recipe")
    for heading in ("weights", "bits/weight", "SNR", "quantized in", "x real time"):
        table.add_column(heading, justify="right")
    with progress(1 + len(RECIPES), "the voice in the box") as advance:
        written = [folder / "demo-float.wav"]
        speed = _speak(TTSModel.load_model("demo", seed=0), written[0])
        before = sum(tensor.nbytes for tensor in checkpoint.weights.values())
        table.add_row("float (bf16)", size_text(before), "16.00", "", "", f"{speed:.0f}")
        advance("float")
        for recipe in RECIPES:
            output = folder / f"demo-{recipe}.safetensors"
            report = quantize_checkpoint(checkpoint, output, recipe)
            write_report(report, output.with_suffix(".html"))
            speed = _speak(TTSModel.load_model(weights=output, seed=0), output.with_suffix(".wav"))
            written += [output, output.with_suffix(".html"), output.with_suffix(".wav")]
            table.add_row(recipe, *_figures(report), f"{speed:.0f}")
            advance(recipe)
    console.print(table)
    for path in written:
        console.print(Text(f"wrote {path} ({size_text(path.stat().st_size)})"))
    console.print("The voice is a miniature for trying things out, not the quality of Pocket TTS.")


def _figures(report: Report) -> tuple[str, ...]:
    totals = report.totals
    return (
        size_text(totals.bytes_after),
        f"{totals.bits_per_weight:.2f}",
        db_text(totals.snr_db),
        f"{report.seconds:.1f} s",
    )


def _speak(model: TTSModel, path: Path) -> float:
    """Say the text into a file; how many seconds of speech a second of work gives."""
    voice = model.get_state_for_audio_prompt(model.default_voice)
    fastest = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        audio = model.generate_audio(voice, TEXT)
        fastest = min(fastest, time.perf_counter() - started)
    write_audio(path, [audio], model.sample_rate)
    return len(audio) / model.sample_rate / fastest
