"""`pocketquant quantize` and `pocketquant dequantize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pocketquant.checkpoint.checkpoint import open_checkpoint
from pocketquant.cli.console import console, progress
from pocketquant.errors import PocketQuantError
from pocketquant.pipeline import dequantize_checkpoint, quantize_checkpoint
from pocketquant.quantize.presets import DEFAULT_RECIPE, DESCRIPTIONS
from pocketquant.quantize.recipe import PlanRow, Recipe
from pocketquant.report.format import db_text, size_text
from pocketquant.report.model import Report
from pocketquant.report.names import part_of
from pocketquant.report.tables import json_number
from pocketquant.report.writer import check_report_path, write_report

SOURCE_HELP = (
    "A language ('english', 'french_24l', ...), 'demo', a config (.yaml path, https:// or hf:// address), "
    "a model.safetensors, or a folder with one."
)
CONFIG_HELP = "The model's YAML config, where SOURCE is a bare safetensors file."
RECIPES_HELP = "; ".join(f"{name}: {text}" for name, text in DESCRIPTIONS.items())


def quantize(
    source: Annotated[str, typer.Argument(help=SOURCE_HELP)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write (.safetensors). Without it, only measure."),
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help=RECIPES_HELP)] = DEFAULT_RECIPE,
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATTERN=SCHEME", help="A rule before the recipe's own; may be repeated."
        ),
    ] = None,
    config: Annotated[str | None, typer.Option("--config", help=CONFIG_HELP)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, tensor by tensor.")
    ] = False,
    report: Annotated[
        list[Path] | None,
        typer.Option("--report", help="Also write a report: .html, .json or .csv; may be repeated."),
    ] = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate", help="Write a float checkpoint of the quantized values for the official package."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Store a checkpoint's weights in 8 or 4 bits, and say what that cost."""
    chosen = Recipe.named(recipe).with_rules(rules or [])
    if dry_run:
        _print_plan(chosen.plan(open_checkpoint(source, config=config)), as_json)
        return
    if output is None and not report and not as_json:
        raise PocketQuantError("nothing to do: give -o OUT.safetensors, --report FILE, --json or --dry-run")
    for path in report or []:
        check_report_path(path)
    checkpoint = open_checkpoint(source, config=config)
    with progress(len(checkpoint.weights), f"quantizing to {chosen.name}") as advance:
        result = quantize_checkpoint(checkpoint, output, chosen, simulate=simulate, on_tensor=advance)
    for path in report or []:
        write_report(result, path)
    if as_json:
        console.print_json(json.dumps(summary(result, output)))
        return
    _print_summary(result)
    for written in (output, *(report or [])):
        if written is not None:
            console.print(Text(f"wrote {written} ({size_text(written.stat().st_size)})"))


def dequantize(
    file: Annotated[
        str, typer.Argument(help="A file that `pocketquant quantize` wrote, or any other checkpoint.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The float checkpoint to write (.safetensors).")
    ],
    config: Annotated[str | None, typer.Option("--config", help=CONFIG_HELP)] = None,
) -> None:
    """Write a plain float checkpoint, with config and tokenizer beside it, for the official package."""
    checkpoint = open_checkpoint(file, config=config)
    with progress(len(checkpoint.weights), "dequantizing") as advance:
        size = dequantize_checkpoint(checkpoint, output, on_tensor=advance)
    console.print(Text(f"wrote {output} ({size_text(size)}) and {output.with_suffix('.yaml').name}"))


def summary(report: Report, output: Path | None) -> dict[str, Any]:
    """The totals of a report as plain JSON data (docs/JSON.md)."""
    totals = report.totals
    return {
        "format": "pocketquant-quantize",
        "format_version": 1,
        "source": report.source,
        "recipe": report.recipe,
        "output": None if output is None else str(output),
        "file_bytes": None if output is None else output.stat().st_size,
        "tensors": totals.tensors,
        "parameters": totals.parameters,
        "bytes_before": totals.bytes_before,
        "bytes_after": totals.bytes_after,
        "bits_per_weight": totals.bits_per_weight,
        "snr_db": json_number(totals.snr_db),
        "seconds": report.seconds,
    }


def _print_summary(report: Report) -> None:
    table = Table(title=f"{report.source}: {report.recipe}, {report.seconds:.1f} s", title_justify="left")
    table.add_column("part")
    for heading in ("before", "after", "bits/weight", "SNR"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, totals in (*report.by_part.items(), ("total", report.totals)):
        row = (
            size_text(totals.bytes_before),
            size_text(totals.bytes_after),
            f"{totals.bits_per_weight:.2f}",
            db_text(totals.snr_db),
        )
        table.add_row(label, *row, style="bold" if label == "total" else "")
    console.print(table)


def _print_plan(plan: list[PlanRow], as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "name": row.name,
                "part": part_of(row.name),
                "shape": list(row.shape),
                "from": row.source,
                "to": row.scheme,
                "rule": row.rule,
                "bytes_before": row.bytes_before,
                "bytes_after": row.bytes_after,
                "bits_per_weight": row.bits_per_weight,
            }
            for row in plan
        ]
        console.print_json(json.dumps(rows))
        return
    table = Table()
    table.add_column("tensor", overflow="fold")
    table.add_column("shape", overflow="fold")
    table.add_column("scheme", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    for row in plan:
        scheme = row.scheme if row.scheme != row.source else f"{row.scheme} (kept)"
        shape = "x".join(str(size) for size in row.shape)
        table.add_row(
            row.name, shape, scheme, f"{size_text(row.bytes_before)} > {size_text(row.bytes_after)}"
        )
    console.print(table)
    before, after = sum(row.bytes_before for row in plan), sum(row.bytes_after for row in plan)
    parameters = sum(row.parameters for row in plan)
    console.print(
        f"{len(plan)} tensors, {parameters / 1e6:.1f}M parameters: {size_text(before)} > {size_text(after)}, "
        f"{8 * after / max(1, parameters):.2f} bits per weight"
    )
