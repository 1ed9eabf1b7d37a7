"""`pocketquant compare`: how far two checkpoints are from each other, tensor by tensor."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.cli.console import console, err_console, progress
from pocketquant.cli.listing import Column, print_line, print_table
from pocketquant.errors import ConfigError, PocketQuantError
from pocketquant.quantize.metrics import Distortion
from pocketquant.quantize.stored import StoredTensor
from pocketquant.report.format import db_text, error_text, shape_text
from pocketquant.report.tables import json_number

EXIT_GATE = 1


@dataclass(frozen=True)
class ComparedTensor:
    """A tensor that both checkpoints have, of one shape."""

    name: str
    shape: tuple[int, ...]
    schemes: tuple[str, str]
    distortion: Distortion

    @property
    def equal(self) -> bool:
        return self.distortion.noise == 0.0


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints side by side; A is the reference."""

    tensors: tuple[ComparedTensor, ...]
    """Worst first: lowest SNR, then name."""
    missing: tuple[str, ...]
    """In A and not in B."""
    extra: tuple[str, ...]
    """In B and not in A."""
    reshaped: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Name -> shape in A, shape in B, where they differ."""

    @property
    def total(self) -> Distortion:
        return sum((tensor.distortion for tensor in self.tensors), Distortion())

    @property
    def complete(self) -> bool:
        """Whether both have the same tensors with the same shapes."""
        return not (self.missing or self.extra or self.reshaped)

    def passes(self, limit: float) -> bool:
        """Whether both have the same tensors, and each has at least `limit` dB."""
        return self.complete and all(tensor.distortion.snr_db >= limit for tensor in self.tensors)


def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="The reference: a checkpoint in any form, official or ours.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The checkpoint to be judged, in any form.")],
    config: Annotated[
        str | None,
        typer.Option(
            "--config", help="The config (language or YAML) for those of A and B that come without one."
        ),
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            "--fail-under",
            metavar="DB",
            help="Exit with 1 if a tensor has a lower SNR, is missing, extra or of another shape.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare two checkpoints tensor by tensor: SNR and largest error, worst first."""
    if fail_under is not None and math.isnan(fail_under):
        raise PocketQuantError("--fail-under nan: give a number of decibels, such as 30")
    first, second = _open(a, config), _open(b, config)
    found = compare_checkpoints(first, second)
    if not found.tensors:
        raise PocketQuantError(f"{a} and {b}: no tensor in common; compare two checkpoints of one model")
    if as_json:
        console.print_json(json.dumps(comparison_to_dict(found, a, b), allow_nan=False))
    else:
        _print_comparison(found)
    if fail_under is not None and not found.passes(fail_under):
        worst = found.tensors[0].distortion.snr_db
        reason = "the tensors are not the same" if worst >= fail_under else f"worst tensor {worst:.2f} dB"
        print_line(
            err_console, f"failed: {reason}, required are {fail_under:g} dB in every tensor", "bold red"
        )
        raise typer.Exit(EXIT_GATE)


def compare_checkpoints(first: Checkpoint, second: Checkpoint) -> Comparison:
    """Compare tensor by tensor; one of each is in memory at a time."""
    ours, theirs = first.weights, second.weights
    common = [name for name in ours if name in theirs]
    tensors: list[ComparedTensor] = []
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    with progress(len(common), "comparing") as advance:
        for name in common:
            one, other = ours[name], theirs[name]
            if one.shape == other.shape:
                tensors.append(_compared(name, one, other))
            else:
                reshaped[name] = (one.shape, other.shape)
            first.release(name)
            second.release(name)
            advance(name)
    return Comparison(
        tensors=tuple(sorted(tensors, key=_worst_first)),
        missing=tuple(name for name in ours if name not in theirs),
        extra=tuple(name for name in theirs if name not in ours),
        reshaped=reshaped,
    )


def comparison_to_dict(found: Comparison, a: str, b: str) -> dict[str, Any]:
    """The comparison as plain JSON data.

    `format`: "pocketquant-compare", `format_version`: 1; `a`, `b`; `snr_db` and `max_error` in total;
    `tensors`, worst first: name, shape, scheme_a, scheme_b, snr_db, max_error; `missing`, `extra`: names;
    `reshaped`: name -> [shape in a, shape in b]. An infinite SNR (equal values) is the string "inf".
    """
    return {
        "format": "pocketquant-compare",
        "format_version": 1,
        "a": a,
        "b": b,
        "snr_db": json_number(found.total.snr_db),
        "max_error": json_number(found.total.max_error),
        "tensors": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "scheme_a": tensor.schemes[0],
                "scheme_b": tensor.schemes[1],
                "snr_db": json_number(tensor.distortion.snr_db),
                "max_error": json_number(tensor.distortion.max_error),
            }
            for tensor in found.tensors
        ],
        "missing": list(found.missing),
        "extra": list(found.extra),
        "reshaped": {name: [list(shape) for shape in shapes] for name, shapes in found.reshaped.items()},
    }


def _open(source: str, config: str | None) -> Checkpoint:
    """Open a checkpoint with the config that it brings, else with the given one."""
    try:
        return open_checkpoint(source)
    except ConfigError:
        if config is None:
            raise
        return open_checkpoint(source, config=config)


def _compared(name: str, one: StoredTensor, other: StoredTensor) -> ComparedTensor:
    distortion = Distortion.between(one.dequantize(), other.dequantize())
    return ComparedTensor(name, one.shape, (one.scheme, other.scheme), distortion)


def _worst_first(tensor: ComparedTensor) -> tuple[float, str]:
    decibels = tensor.distortion.snr_db
    return (-math.inf if math.isnan(decibels) else decibels), tensor.name


def _print_comparison(found: Comparison) -> None:
    columns = (
        Column("tensor", fold=True),
        Column("A", min_width=96),
        Column("B"),
        Column("SNR", right=True),
        Column("max error", right=True),
    )
    differing = [tensor for tensor in found.tensors if not tensor.equal]
    if differing:
        print_table(
            console,
            columns,
            (
                (
                    tensor.name,
                    *tensor.schemes,
                    db_text(tensor.distortion.snr_db),
                    error_text(tensor.distortion.max_error),
                )
                for tensor in differing
            ),
        )
    for heading, names in (("only in A", found.missing), ("only in B", found.extra)):
        for name in names:
            print_line(console, f"{heading}: {name}", "yellow")
    for name, (one, other) in found.reshaped.items():
        print_line(console, f"other shape: {name}  A {shape_text(one)}  B {shape_text(other)}", "yellow")
    total, equal = found.total, len(found.tensors) - len(differing)
    print_line(
        console,
        f"{len(differing)} tensors differ, {equal} are equal; in total "
        f"{db_text(total.snr_db)}, max error {error_text(total.max_error)}",
        "bold",
    )
