"""`pocketquant inspect`: what is in a checkpoint, official or ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.cli.console import console, progress
from pocketquant.cli.listing import Column, print_facts, print_line, print_table
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import PocketQuantError
from pocketquant.quantize.metrics import Distortion
from pocketquant.report.format import count_text, ratio_text, shape_text, size_text
from pocketquant.report.model import Report, TensorRow, Totals
from pocketquant.version import __version__


def inspect(
    file: Annotated[
        str,
        typer.Argument(
            help="A file of ours, or any checkpoint that `pocketquant quantize` takes as a source."
        ),
    ],
    config: Annotated[
        str | None,
        typer.Option("--config", help="The model's YAML config, where FILE is a bare safetensors file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what is in a checkpoint: config, provenance, sizes by part, every tensor."""
    checkpoint = open_checkpoint(file, config=config)
    contents = read_contents(checkpoint)
    if as_json:
        console.print_json(json.dumps(contents_to_dict(checkpoint, contents), allow_nan=False))
        return
    print_line(console, f"{checkpoint.origin}", style="bold")
    print_facts(console, facts(checkpoint))
    _print_parts(contents)
    _print_tensors(contents)
    print_line(console, _sentence(contents.totals))


def read_contents(checkpoint: Checkpoint) -> Report:
    """One row per tensor, against f32 as the size before; nothing is dequantized."""
    rows = []
    with progress(len(checkpoint.weights), "reading") as advance:
        for name in checkpoint.weights:
            tensor = checkpoint.weights[name]
            before = 4 * math.prod(tensor.shape)
            rows.append(TensorRow(name, tensor.shape, tensor.scheme, before, tensor.nbytes, Distortion()))
            checkpoint.release(name)
            advance(name)
    return Report(checkpoint.origin, _recipe_name(checkpoint), (), tuple(rows), 0.0, __version__)


def facts(checkpoint: Checkpoint) -> dict[str, str]:
    """Label -> value: the header of the file and the sizes of the model, as a person wants to read them."""
    config, provenance = checkpoint.config, checkpoint.provenance
    found = {
        "format": _format_text(checkpoint),
        "language": checkpoint.language or "not stated",
        **model_facts(config),
        "voice cloning": "yes" if checkpoint.has_voice_cloning else "no",
        "tokenizer": _tokenizer_text(checkpoint),
    }
    if "source" in provenance:
        found["made from"] = str(provenance["source"])
    for number, file in enumerate(_source_files(provenance), start=1):
        label = "sha256" if number == 1 else f"sha256 ({number})"
        found[label] = f"{file.get('sha256', 'not stated')} ({file.get('uri', 'unnamed')})"
    if "pocketquant" in provenance:
        found["made by"] = f"pocketquant {provenance['pocketquant']}"
    return found


def model_facts(config: ModelConfig) -> dict[str, str]:
    """The sizes of the three networks."""
    transformer, flow, mimi = config.flow_lm.transformer, config.flow_lm.flow, config.mimi
    heads = f"{transformer.num_heads} heads"
    if transformer.kv_heads != transformer.num_heads:
        heads += f" on {transformer.kv_heads}"
    codec = mimi.decoder_side_transformer
    return {
        "language model": f"{transformer.num_layers} layers, width {transformer.d_model}, {heads}",
        "flow head": f"{flow.type}, {flow.depth} blocks, width {flow.dim}",
        "codec": (
            f"{mimi.sample_rate} Hz, {mimi.frame_rate:g} frames/s of {mimi.quantizer.dimension} numbers, "
            f"{codec.num_layers} layers, width {codec.d_model}"
        ),
    }


def contents_to_dict(checkpoint: Checkpoint, contents: Report) -> dict[str, Any]:
    """The same as plain JSON data.

    `format`: "pocketquant-inspect", `format_version`: 1; `file`, `compressed` (one of ours), `recipe` (or
    null), `language`, `voice_cloning`, `tokenizer` {kind, bytes or null}, `config` (the fields of the official YAML),
    `provenance` (as stored), `totals`, `parts` and `schemes` (sums: tensors, parameters, bytes,
    bits_per_weight), `tensors` (name, part, kind, layer, shape, parameters, scheme, bytes, bits_per_weight).
    """
    provenance = checkpoint.provenance
    return {
        "format": "pocketquant-inspect",
        "format_version": 1,
        "file": checkpoint.origin,
        "compressed": bool(provenance),
        "recipe": contents.recipe or None,
        "language": checkpoint.language,
        "voice_cloning": checkpoint.has_voice_cloning,
        "tokenizer": {"kind": checkpoint.tokenizer.kind, "bytes": _tokenizer_bytes(checkpoint)},
        "config": checkpoint.config.model_dump(mode="json", exclude_none=True),
        "provenance": dict(provenance),
        "totals": _sums(contents.totals),
        "parts": {label: _sums(totals) for label, totals in contents.by_part.items()},
        "schemes": {label: _sums(totals) for label, totals in contents.by_scheme.items()},
        "tensors": [
            {
                "name": row.name,
                "part": row.part,
                "kind": row.kind,
                "layer": row.layer,
                "shape": list(row.shape),
                "parameters": row.parameters,
                "scheme": row.scheme,
                "bytes": row.bytes_after,
                "bits_per_weight": row.bits_per_weight,
            }
            for row in contents.rows
        ],
    }


def _print_parts(contents: Report) -> None:
    columns = (
        Column("part"),
        Column("tensors", right=True, min_width=72),
        Column("weights", right=True),
        Column("size", right=True),
        Column("bits/weight", right=True),
        Column("schemes", fold=True, min_width=72),
    )
    rows = []
    for label, totals in (*contents.by_part.items(), ("total", contents.totals)):
        members = [row for row in contents.rows if label in (row.part, "total")]
        schemes = sorted({row.scheme for row in members})
        numbers = (
            count_text(totals.parameters),
            size_text(totals.bytes_after),
            f"{totals.bits_per_weight:.2f}",
        )
        rows.append((label, str(totals.tensors), *numbers, " ".join(schemes)))
    _print_gap()
    print_table(console, columns, rows, total=True)


def _print_tensors(contents: Report) -> None:
    columns = (
        Column("tensor", fold=True),
        Column("kind", min_width=110),
        Column("shape", right=True, min_width=72),
        Column("scheme"),
        Column("size", right=True),
        Column("bits", right=True, min_width=96),
    )
    _print_gap()
    print_table(
        console,
        columns,
        (
            (
                row.name,
                row.kind,
                shape_text(row.shape),
                row.scheme,
                size_text(row.bytes_after),
                f"{row.bits_per_weight:.2f}",
            )
            for row in contents.rows
        ),
    )


def _print_gap() -> None:
    """A blank line before a table, where rich does not draw one."""
    if not console.is_terminal:
        print_line(console, "")


def _sentence(totals: Totals) -> str:
    text = (
        f"{totals.tensors} tensors, {count_text(totals.parameters)} weights, "
        f"{size_text(totals.bytes_after)}, {totals.bits_per_weight:.2f} bits per weight"
    )
    smaller = totals.bytes_before > totals.bytes_after
    return f"{text} ({ratio_text(totals.ratio)} smaller than f32)" if smaller else text


def _sums(totals: Totals) -> dict[str, Any]:
    return {
        "tensors": totals.tensors,
        "parameters": totals.parameters,
        "bytes": totals.bytes_after,
        "bits_per_weight": totals.bits_per_weight,
    }


def _tokenizer_bytes(checkpoint: Checkpoint) -> int | None:
    """Size of the tokenizer; None where it is not to be had, which need not keep anyone from the weights."""
    try:
        return len(checkpoint.tokenizer.data)
    except PocketQuantError:
        return None


def _tokenizer_text(checkpoint: Checkpoint) -> str:
    size = _tokenizer_bytes(checkpoint)
    told = "missing" if size is None else size_text(size)
    return f"{checkpoint.tokenizer.kind}, {checkpoint.config.flow_lm.lookup_table.n_bins} pieces, {told}"


def _format_text(checkpoint: Checkpoint) -> str:
    if not checkpoint.provenance:
        return "official checkpoint"
    return f"pocketquant (compressed-tensors convention), recipe {_recipe_name(checkpoint) or 'not stated'}"


def _recipe_name(checkpoint: Checkpoint) -> str:
    recipe = checkpoint.provenance.get("recipe")
    return str(recipe.get("name", "")) if isinstance(recipe, Mapping) else ""


def _source_files(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The files of the provenance; what is not of that form (anyone may have written it) is left out."""
    files = provenance.get("files")
    return [file for file in files if isinstance(file, Mapping)] if isinstance(files, list) else []
