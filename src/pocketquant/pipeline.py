"""Quantize a checkpoint: plan, quantize tensor by tensor, measure, write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.checkpoint.compressed import create_compressed
from pocketquant.checkpoint.plain import companion_paths, create_plain
from pocketquant.errors import PocketQuantError, QuantizationError
from pocketquant.quantize import schemes
from pocketquant.quantize.metrics import Distortion
from pocketquant.quantize.presets import DEFAULT_RECIPE
from pocketquant.quantize.recipe import PlanRow, Recipe
from pocketquant.quantize.stored import Array, StoredTensor
from pocketquant.report.model import Histogram, Report, TensorRow
from pocketquant.version import __version__

HISTOGRAMS = 6  # how many of the worst tensors a report draws
Progress = Callable[[str], None]


class Sink(Protocol):
    """Where quantized tensors go."""

    def put(self, name: str, stored: StoredTensor) -> None:
        """Take the tensor `name`."""


class _Nowhere:
    def put(self, name: str, stored: StoredTensor) -> None:
        """Only measuring."""


def quantize_checkpoint(
    source: str | Path | Checkpoint,
    output: str | Path | None = None,
    recipe: str | Recipe = DEFAULT_RECIPE,
    *,
    config: str | Path | None = None,
    simulate: bool = False,
    on_tensor: Progress | None = None,
) -> Report:
    """Quantize a checkpoint and say what that cost.

    One tensor is in memory at a time; the source is mapped and its pages are let go.

    Args:
        source: whatever `open_checkpoint` takes, or an open checkpoint.
        output: the file to write, complete or not at all; None only measures.
        recipe: name of a preset, or a recipe.
        config: the model's YAML, where the source does not say.
        simulate: write a plain float checkpoint with the quantized values (its YAML and tokenizer beside it),
            which the official package loads, instead of a small file.
        on_tensor: called with the name of each tensor when it is done.

    Returns:
        Bytes, bits per weight, SNR and errors for each tensor, with histograms of the worst.

    Raises:
        PocketQuantError: anything wrong with source, recipe or output, in one line.
    """
    started = time.monotonic()
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source, config=config)
    chosen = Recipe.named(recipe) if isinstance(recipe, str) else recipe
    plan = chosen.plan(checkpoint)
    rows: list[TensorRow] = []
    scales: dict[str, Array] = {}
    with _sink(checkpoint, chosen, plan, output, simulate) as sink:
        for stored, row in _quantized(checkpoint, plan):
            sink.put(row.name, stored)
            rows.append(row)
            if stored.scale is not None:
                scales[row.name] = stored.scale
            if on_tensor is not None:
                on_tensor(row.name)
    report = Report(
        source=checkpoint.origin,
        recipe=chosen.name,
        rules=tuple((rule.pattern, rule.scheme) for rule in (*chosen.overrides, *chosen.rules)),
        rows=tuple(rows),
        seconds=time.monotonic() - started,
        version=__version__,
        provenance=_provenance(checkpoint, output),
    )
    return _with_histograms(report, checkpoint.weights, scales)


def dequantize_checkpoint(
    source: str | Path | Checkpoint,
    output: str | Path,
    *,
    config: str | Path | None = None,
    on_tensor: Progress | None = None,
) -> int:
    """Write `source` as a plain float checkpoint that the official package loads; returns the bytes of weights.

    Raises:
        PocketQuantError: anything wrong with source or output, in one line.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source, config=config)
    _refuse_overwriting_source(checkpoint, Path(output), *companion_paths(Path(output), checkpoint))
    tensors = {name: (tensor.scheme, tensor.shape) for name, tensor in checkpoint.weights.items()}
    with create_plain(output, checkpoint, tensors) as sink:
        for name in tensors:
            sink.put(name, checkpoint.weights[name])
            checkpoint.release(name)
            if on_tensor is not None:
                on_tensor(name)
    return Path(output).stat().st_size


def _provenance(checkpoint: Checkpoint, output: str | Path | None) -> dict[str, str]:
    facts = {f"sha256 of {Path(file.uri).name}": file.sha256 for file in checkpoint.files}
    if checkpoint.language is not None:
        facts["language"] = checkpoint.language
    if output is not None:
        facts["written to"] = str(output)
    return facts


def _sink(
    checkpoint: Checkpoint, recipe: Recipe, plan: Sequence[PlanRow], output: str | Path | None, simulate: bool
) -> AbstractContextManager[Sink]:
    if output is None:
        return nullcontext(_Nowhere())
    if simulate:
        _refuse_overwriting_source(checkpoint, Path(output), *companion_paths(Path(output), checkpoint))
        return create_plain(output, checkpoint, {row.name: (row.scheme, row.shape) for row in plan})
    _refuse_overwriting_source(checkpoint, Path(output))
    return create_compressed(output, checkpoint, recipe, plan, __version__)


def _refuse_overwriting_source(checkpoint: Checkpoint, *outputs: Path) -> None:
    for output in outputs:
        for file in checkpoint.files:
            if output.exists() and file.path.exists() and output.samefile(file.path):
                raise PocketQuantError(f"{output}: is the source itself; write to another file")


def _quantized(checkpoint: Checkpoint, plan: Sequence[PlanRow]) -> Iterator[tuple[StoredTensor, TensorRow]]:
    for step in plan:
        original = checkpoint.weights[step.name]
        values = original.dequantize()
        scheme = schemes.get(step.scheme)
        try:
            stored = original if step.scheme == original.scheme else scheme.quantize(values)
        except QuantizationError as error:
            raise QuantizationError(f"{checkpoint.origin}: {step.name}: {error}") from error
        restored = stored.dequantize()
        yield (
            stored,
            TensorRow(
                name=step.name,
                shape=step.shape,
                scheme=step.scheme,
                bytes_before=step.bytes_before,
                bytes_after=step.bytes_after,
                distortion=Distortion.between(values, restored),
                clipped_share=scheme.clipped(values, restored, stored) / max(1, values.size),
                source_scheme=step.source,
            ),
        )
        checkpoint.release(step.name)


def _with_histograms(
    report: Report, weights: Mapping[str, StoredTensor], scales: Mapping[str, Array]
) -> Report:
    """The report with the weights of its worst quantized tensors counted on their grids."""
    worst = [row for row in report.worst(len(report.rows)) if row.name in scales and len(row.shape) > 1]
    drawn = {
        row.name: Histogram.of(
            weights[row.name].dequantize(), scales[row.name], top=7 if "int4" in row.scheme else 127
        )
        for row in worst[:HISTOGRAMS]
    }
    return replace(report, rows=tuple(replace(row, histogram=drawn.get(row.name)) for row in report.rows))
