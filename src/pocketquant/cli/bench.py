"""`pocketquant bench`: speed, memory and start of a model on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pocketquant.bench.machine import quiet_text
from pocketquant.bench.material import DEFAULT_MODEL, material
from pocketquant.bench.run import Plan, measure_model
from pocketquant.cli.console import console, err_console, progress
from pocketquant.cli.listing import Column, print_line, print_table
from pocketquant.errors import PocketQuantError

FIGURES = (
    ("x real time", "x_real_time", 1),
    ("after first", "x_real_time_after_first", 1),
    ("first audio ms", "first_audio_ms", 0),
    ("load ms", "load_ms", 0),
    ("start ms", "start_ms", 0),
    ("CPU ms/s", "cpu_ms_per_s", 0),
    ("peak RSS MB", "peak_rss_mb", 0),
)
"""Heading, name in the results, digits."""


def bench(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A language, `demo`, or a file or folder with weights. Without one: "
            f"{DEFAULT_MODEL} with random weights, which takes no download."
        ),
    ] = None,
    recipes: Annotated[
        str, typer.Option(help="Names of recipes; f32 is the source as it is.")
    ] = "f32,int8,int4",
    threads: Annotated[str, typer.Option(help="Threads, and processors, of each run.")] = "1,2",
    seconds: Annotated[
        float, typer.Option(min=3, max=18, help="Seconds of speech to measure the speed on.")
    ] = 8,
    voice_positions: Annotated[
        int, typer.Option(min=1, max=10000, help="Length of the voice, 80 ms each.")
    ] = 126,
    repeat: Annotated[int, typer.Option(min=1, help="Fresh processes for each figure.")] = 3,
    batch: Annotated[str, typer.Option(help="Also speak that many sentences at once, such as 1,8.")] = "",
    stages: Annotated[bool, typer.Option(help="Also say where the time of a frame goes.")] = True,
    random: Annotated[
        bool, typer.Option("--random", help="Random weights in the architecture of the language MODEL.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Keep the model files here, and use those that are here already.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every single run.")] = False,
) -> None:
    """Measure a model: x real time, first sound, load time, memory, and where the time of a frame goes."""
    plan = Plan(
        threads=_numbers(threads, "--threads"),
        repeat=repeat,
        batch=_numbers(batch, "--batch") if batch else (),
        profile=stages,
    )
    if not plan.threads:
        raise PocketQuantError("--threads: give at least one number, such as 1,2")
    names = [name.strip() for name in recipes.split(",") if name.strip()]
    made = material(
        model,
        names,
        seconds=seconds,
        voice_positions=voice_positions,
        random_weights=random,
        folder=folder,
        note=_note,
    )
    with made as ready, progress(plan.children(len(ready.loads)), "measuring") as advance:
        result = measure_model(ready, plan, advance)
    if as_json:
        console.print_json(json.dumps(result, allow_nan=False))
    else:
        print_result(result)


def _note(what: str) -> None:
    if err_console.is_terminal:
        print_line(err_console, what, style="dim")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise PocketQuantError(f"{option} {text}: give whole numbers from 1 on, separated by commas")
    return numbers


def print_result(result: dict[str, Any]) -> None:
    """The tables and what they were measured on."""
    model = result["model"]
    console_line = (
        f"{model['name']}: {model['tokens']} tokens, {result['results'][0]['audio_s']:.1f} s of speech"
    )
    print_line(console, console_line, style="bold")
    columns = [Column("recipe"), Column("threads", right=True)]
    columns += [Column(heading, right=True) for heading, _, _ in FIGURES]
    print_table(
        console,
        columns,
        [
            [
                row["recipe"],
                str(row["threads"]),
                *(spread_text(row[name], digits) for _, name, digits in FIGURES),
            ]
            for row in result["results"]
        ],
    )
    if result["batches"]:
        _print_batches(result["batches"])
    if result["stages"]:
        _print_stages(result["stages"])
    print_line(console, machine_text(result))


def machine_text(result: dict[str, Any]) -> str:
    """What the figures belong to, in one line."""
    machine = result["machine"]
    quiet = quiet_text(result["others_share"], machine["load"])
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['isa']}, {machine['system']}, "
        f"Python {machine['python']}; {quiet}. Medians of {result['plan']['repeat']}."
    )


def spread_text(spread: dict[str, float], digits: int) -> str:
    """`9.8 (9.1-10.2)`; without the range where there is none to be seen."""
    middle, low, high = (f"{spread[key]:.{digits}f}" for key in ("median", "low", "high"))
    return middle if low == high else f"{middle} ({low}-{high})"


def _print_batches(batches: Sequence[dict[str, Any]]) -> None:
    columns = [
        Column("recipe"),
        *(Column(name, right=True) for name in ("batch", "x real time", "peak RSS MB")),
    ]
    rows = [
        [
            row["recipe"],
            str(row["batch"]),
            spread_text(row["x_real_time"], 1),
            spread_text(row["peak_rss_mb"], 0),
        ]
        for row in batches
    ]
    print_table(console, columns, rows)


def _print_stages(profiles: dict[str, dict[str, Any]]) -> None:
    """Milliseconds of a frame: a row per stage, a column per recipe; in brackets those between operations."""
    names = list(next(iter(profiles.values()))["stages"])
    columns = [Column("ms a frame, one thread"), *(Column(recipe, right=True) for recipe in profiles)]
    tables = [{stage["stage"]: stage for stage in profile["stages"]} for profile in profiles.values()]
    rows = [
        [name, *(f"{table[name]['ms']:.2f} ({table[name]['between_ops_ms']:.2f} Python)" for table in tables)]
        for name in (stage["stage"] for stage in names)
    ]
    for title, key in (("language model", "lm_ms"), ("Mimi", "mimi_ms"), ("prompt, once", "prompt_ms")):
        rows.append([title, *(f"{profile[key]:.2f}" for profile in profiles.values())])
    print_table(console, columns, rows)
