"""`pocketquant demo`: the main job on the voice in the box, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.cli.console import console, progress
from pocketquant.pipeline import quantize_checkpoint
from pocketquant.report.format import db_text, size_text
from pocketquant.report.model import Report
from pocketquant.report.writer import write_report

RECIPES = ("origin", "int8", "int4")


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the files go; made if it is not there.")] = Path(
        "out"
    ),
) -> None:
    """Quantize the voice in the box to origin, int8 and int4, and show what that saves and costs."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = open_checkpoint("demo")
    table = Table(title="the voice in the box, 3.5M parameters", title_justify="left")
    table.add_column("recipe")
    for heading in ("file", "bits/weight", "SNR", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    reports: list[tuple[Report, Path]] = []
    for recipe in RECIPES:
        output = folder / f"demo-{recipe}.safetensors"
        with progress(len(checkpoint.weights), f"quantizing to {recipe}") as advance:
            report = quantize_checkpoint(checkpoint, output, recipe, on_tensor=advance)
        write_report(report, output.with_suffix(".html"))
        reports.append((report, output))
        totals = report.totals
        table.add_row(
            recipe,
            size_text(output.stat().st_size),
            f"{totals.bits_per_weight:.2f}",
            db_text(totals.snr_db),
            f"{report.seconds:.1f} s",
        )
    console.print(table)
    for _, output in reports:
        console.print(Text(f"wrote {output} and {output.with_suffix('.html')}"))
