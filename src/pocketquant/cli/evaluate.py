"""`pocketquant evaluate`: what quantization did to the speech."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.cli.console import console, err_console, progress
from pocketquant.cli.listing import Column, print_line, print_table
from pocketquant.config import catalog
from pocketquant.errors import PocketQuantError
from pocketquant.evaluate.catalog import GROUPS, MEASURES, Measure
from pocketquant.evaluate.gate import Gate, parse_gate
from pocketquant.evaluate.markdown import estimate_text, markdown_page
from pocketquant.evaluate.page import html_page
from pocketquant.evaluate.result import Evaluation, evaluation_to_dict
from pocketquant.evaluate.run import Evaluator, Settings
from pocketquant.evaluate.sensitivity import Group, groups_of, measure_sensitivity
from pocketquant.evaluate.similarity import speaker_encoder
from pocketquant.evaluate.variants import parse_variants
from pocketquant.evaluate.verdict import judge
from pocketquant.evaluate.wer import whisper
from pocketquant.files import atomic_path
from pocketquant.quantize.presets import PRESETS

EXIT_GATE = 1
RECIPES = "origin,int8-lm,int8,int4"
SHOWN = ("no_end", "weight_snr_worst", "hidden_cosine", "latent_cosine", "eos_early", "pause_floor")
"""Left to JSON and report: the terminal has one line a measure, and enough of them."""
LANGUAGES = {
    "english": "en",
    "french": "fr",
    "german": "de",
    "portuguese": "pt",
    "italian": "it",
    "spanish": "es",
    "dutch": "nl",
}
RANKED = 12
"""Groups of tensors that the terminal shows."""


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A float model: a language, 'demo', a YAML or a checkpoint."),
    ],
    recipes: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help=f"Recipes ({', '.join(PRESETS)}) or quantized files, each with options: +codec-float, "
            "+codec-int16, +codec-int8 (activations of the codec), +conv-int8, +conv-f16 (its convolutions).",
        ),
    ] = RECIPES,
    sentences: Annotated[
        Path | None,
        typer.Option(help="Texts, one a line. Default for English: 100 that come with the package."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Take only so many of the sentences.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Takes of each sentence, each with other noise.")] = 1,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Variance of the noise. Default: the model's own.")
    ] = None,
    voice: Annotated[
        str | None, typer.Option(help="A voice, as for `generate`. Default: the model's own.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="The config, for a MODEL that comes without one.")
    ] = None,
    wer: Annotated[
        bool, typer.Option("--wer", help="Count word errors (needs the extra 'eval': faster-whisper).")
    ] = False,
    whisper_model: Annotated[
        str | None,
        typer.Option(
            "--whisper",
            metavar="DIR",
            help="Whisper model for --wer: a CTranslate2 directory. Default: 'base', if it was downloaded before.",
        ),
    ] = None,
    cost: Annotated[
        bool, typer.Option("--cost/--no-cost", help="Measure file size, memory and speed.")
    ] = True,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write a report: .html, one file with sound to listen to, or .md, the table. May be given twice.",
            show_default=False,
        ),
    ] = None,
    listen: Annotated[int, typer.Option(min=0, help="Sentences to be heard in the report.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    fail_if: Annotated[
        str | None,
        typer.Option(
            "--fail-if",
            metavar="EXPR",
            help="Exit with 1 if this holds for a recipe: measures, numbers, < > <= >= == !=, and, or, not.",
        ),
    ] = None,
    sensitivity: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also quantize one group of tensors at a time and rank them by damage per saved byte; "
            "FILE (JSON) keeps what is measured, a second run goes on from there.",
        ),
    ] = None,
) -> None:
    """Compare recipes with the float model on the same sentences and noise: is it safe to use them?"""
    variants = parse_variants(recipes)
    reports = [_check_report(path) for path in report or ()]
    embedder = speaker_encoder()
    gate = None
    if fail_if is not None:
        gate = parse_gate(fail_if, _known(wer=wer, similarity=embedder is not None, cost=cost))
    checkpoint = open_checkpoint(model, config=config)
    texts = _sentences(sentences, checkpoint)[:count]
    language = _spoken_language(checkpoint)
    settings = Settings(
        variants,
        texts,
        seeds=seeds,
        temperature=temperature,
        voice=voice,
        transcriber=whisper(whisper_model, language=language) if wer else None,
        embedder=embedder,
        cost=cost,
        listen=listen if any(path.suffix == ".html" for path in reports) else 0,
    )
    evaluator = Evaluator(checkpoint, settings)
    if seeds > 1 and evaluator.temperature == 0:
        raise PocketQuantError(
            f"--seeds {seeds}: at temperature 0 all takes are the same; give --temperature, such as 0.3"
        )
    with progress(settings.steps, "evaluating") as advance:
        evaluator.on_step = advance
        evaluation = evaluator.evaluate()
    ranking: dict[str, list[Group]] = {}
    if sensitivity is not None:
        total = sum(len(groups_of(checkpoint, variant)) for variant in variants)
        with progress(total, "one group at a time") as advance:
            for variant in variants:
                ranking[variant.name] = measure_sensitivity(evaluator, variant, sensitivity, advance)
    if as_json:
        data = evaluation_to_dict(evaluation) | {"sensitivity": _ranking_to_dict(ranking)}
        console.print_json(json.dumps(data, allow_nan=False))
    else:
        print_evaluation(console, evaluation)
        for name, groups in ranking.items():
            print_ranking(console, name, groups)
    for path in reports:
        page = markdown_page(evaluation) if path.suffix == ".md" else html_page(evaluation, ranking)
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="")
    if gate is not None:
        _apply(gate, evaluation)


def print_evaluation(out: Console, evaluation: Evaluation) -> None:
    """Print one table a group of measures, a column per recipe, and the verdicts."""
    for title, measures in GROUPS.items():
        shown = [
            measure for measure in measures if measure.name not in SHOWN and _measured(measure, evaluation)
        ]
        if not shown:
            continue
        columns = [
            Column(title, fold=True),
            *(Column(result.name, right=True) for result in evaluation.results),
        ]
        rows = [
            [
                f"{measure.label}, {measure.unit}" if measure.unit else measure.label,
                *(estimate_text(measure, result.measures.get(measure.name)) for result in evaluation.results),
            ]
            for measure in shown
        ]
        print_table(out, columns, rows)
        print_line(out, "")
    for result in evaluation.variants:
        print_line(out, f"{result.name}: {judge(result).sentence}", "bold")


def print_ranking(out: Console, name: str, groups: Sequence[Group]) -> None:
    """Print the groups of a recipe, the most expensive first."""
    columns = (
        Column(f"{name}: one group at a time", fold=True),
        Column("saved, kB", right=True),
        Column("damage", right=True),
        Column("EOS error", right=True),
        Column("damage per MB", right=True),
    )
    print_line(out, "")
    print_table(
        out,
        columns,
        (
            (
                group.label,
                f"{group.saved_bytes / 1e3:.1f}",
                group.damage_text,
                f"{group.eos_error:.3f}",
                f"{group.damage_per_megabyte:.2e}",
            )
            for group in groups[:RANKED]
        ),
    )
    if len(groups) > RANKED:
        print_line(out, f"... and {len(groups) - RANKED} groups that cost less (all in --json and --report)")


def _check_report(path: Path) -> Path:
    """Refuse a report that could not be written, before the work.

    Raises:
        PocketQuantError: another suffix, or no such folder.
    """
    if path.suffix not in (".html", ".md"):
        raise PocketQuantError(f"--report {path}: end the name in .html or .md")
    if not path.absolute().parent.is_dir():
        raise PocketQuantError(f"--report {path}: the folder does not exist; create it first")
    return path


def _ranking_to_dict(ranking: dict[str, list[Group]]) -> dict[str, Any]:
    return {
        name: [
            {
                "label": group.label,
                "tensors": list(group.tensors),
                "saved_bytes": group.saved_bytes,
                "damage": group.damage,
                "eos_error": group.eos_error,
            }
            for group in groups
        ]
        for name, groups in ranking.items()
    }


def _measured(measure: Measure, evaluation: Evaluation) -> bool:
    return any(measure.name in result.measures for result in evaluation.results)


def _known(*, wer: bool, similarity: bool, cost: bool) -> list[str]:
    """The measures that an evaluation will have."""
    left_out = {
        *(() if wer else ("wer", "wer_delta")),
        *(() if similarity else ("similarity",)),
        *(() if cost else (measure.name for measure in GROUPS["Cost"])),
    }
    return [name for name in MEASURES if name not in left_out]


def _sentences(file: Path | None, checkpoint: Checkpoint) -> list[str]:
    """The lines of a file, or the sentences of the package for models that speak English.

    Raises:
        PocketQuantError: there are none.
    """
    if file is None:
        if not (checkpoint.language or "").startswith((catalog.DEMO, "english")):
            raise PocketQuantError(
                f"{checkpoint.origin}: its language is not known to be English; give --sentences FILE, one a line"
            )
        file = catalog.demo_folder() / "heldout.txt"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PocketQuantError(
            f"--sentences {file}: cannot be read as text ({type(error).__name__})"
        ) from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise PocketQuantError(f"--sentences {file}: holds no sentence; write one a line")
    return texts


def _spoken_language(checkpoint: Checkpoint) -> str | None:
    """The code of a model's language, for the recognizer; None where it is not known."""
    name = catalog.DEFAULT_LANGUAGE if checkpoint.language == catalog.DEMO else checkpoint.language or ""
    return next((code for known, code in LANGUAGES.items() if name.startswith(known)), None)


def _apply(gate: Gate, evaluation: Evaluation) -> None:
    """Exit with 1 where a recipe fails the gate."""
    failed = False
    for result in evaluation.variants:
        values = {name: found.value for name, found in result.measures.items()}
        if gate.fails(values):
            failed = True
            shown = ", ".join(f"{name} = {values[name]:.4g}" for name in sorted(gate.names))
            print_line(err_console, f"failed: {result.name}: {gate.text} ({shown})", "bold red")
    if failed:
        raise typer.Exit(EXIT_GATE)
