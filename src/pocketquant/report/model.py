"""The data of a report: one `TensorRow` per tensor, and the `Report` that sums them up.

Rows carry energies instead of ratios, so that every total is a true total: the SNR of a part is computed from
the sums of its signal and noise, never from an average of decibels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketquant.quantize.metrics import Distortion
from pocketquant.report.names import PARTS, block_of, kind_of, layer_of, part_of

_HISTOGRAM_SAMPLE = 1 << 18
"""Weights looked at per histogram: plenty for a picture, and bounded time for the largest tensor."""


@dataclass(frozen=True)
class Histogram:
    """Weights of one tensor in units of their own quantization step, where the grid is the integers.

    Rows and groups have scales of their own, so in plain weights there is no one grid to draw; divided by the
    scale that applies to it, each weight meets the same grid `lowest..highest`, and what lies outside is
    clipped. (An int4 scale may be negative; the weights of such a group are mirrored here.)
    """

    bin_edges: tuple[float, ...]
    """Ascending, in steps; one more than `counts`. The end bins also hold everything beyond them."""
    counts: tuple[int, ...]
    lowest: int
    highest: int
    """The outermost levels a weight can take: -127 and 127 for 8 bits, -8 and 7 for 4 bits."""
    step: float
    """Median step, in units of the weights."""
    groups: int
    """How many scales the tensor has: 1, its rows, or its groups."""

    @property
    def sample(self) -> int:
        """The number of weights counted."""
        return sum(self.counts)

    @classmethod
    def of(cls, weights: NDArray[np.floating[Any]], scale: NDArray[np.floating[Any]], top: int) -> Histogram:
        """Count the original weights of a tensor on the grid it was stored with.

        Args:
            weights: floats of any shape, rows first, as in the official layout.
            scale: the scales as `StoredTensor.scale` holds them, signs included: `[1]`, `[rows, 1]` or
                `[rows, groups]`.
            top: the highest level: 127 (grid -127..127) or 7 (grid -8..7).

        Of a large tensor, evenly spaced rows (or weights, where one scale serves all) are looked at, about
        2**18 weights: cheap beside the quantization itself.
        """
        lowest, highest = (-8, 7) if top == 7 else (-top, top)
        scale = np.asarray(scale, dtype=np.float32)
        scale = scale if scale.ndim == 2 else scale.reshape(1, 1)
        rows = weights.reshape(scale.shape[0], -1)
        stride = max(1, rows.size // _HISTOGRAM_SAMPLE)
        if scale.size == 1:
            picked, steps = rows[:, ::stride], scale
        else:
            picked = rows[::stride]
            steps = np.repeat(scale[::stride], rows.shape[1] // scale.shape[1], axis=1)
        units = np.divide(picked, steps, out=np.zeros(picked.shape, dtype=np.float32), where=steps != 0)
        reach = max(float(np.abs(units).max(initial=0.0)), 1.0 - lowest)
        width = 0.25 if highest < 16 else 2.5
        half = math.ceil(min(reach, 1.5 * highest) / width)
        edges = np.arange(-half, half + 1, dtype=np.float64) * width
        counts, _ = np.histogram(np.clip(units, edges[0], edges[-1]), bins=edges)
        return cls(
            bin_edges=tuple(edges.tolist()),
            counts=tuple(counts.tolist()),
            lowest=lowest,
            highest=highest,
            step=float(np.median(np.abs(scale))),
            groups=scale.size,
        )


@dataclass(frozen=True)
class TensorRow:
    """What became of one tensor. Bytes count everything that is stored for it: values and scales."""

    name: str
    shape: tuple[int, ...]
    scheme: str
    """The scheme it is stored in now: "int8", "int4-g32", "f16", ..."""
    bytes_before: int
    bytes_after: int
    distortion: Distortion
    """What was lost: the energies of the weights and of the errors, and the largest error."""
    clipped_share: float = 0.0
    """Share (0..1) of the weights beyond the ends of the grid."""
    source_scheme: str = "f32"
    """The scheme it had in the source."""
    histogram: Histogram | None = None

    @property
    def part(self) -> str:
        return part_of(self.name)

    @property
    def kind(self) -> str:
        return kind_of(self.name)

    @property
    def layer(self) -> int | None:
        return layer_of(self.name)

    @property
    def block(self) -> str:
        return block_of(self.name)

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def bits_per_weight(self) -> float:
        return 8.0 * self.bytes_after / self.parameters if self.parameters else 0.0

    @property
    def snr_db(self) -> float:
        return self.distortion.snr_db

    @property
    def max_error(self) -> float:
        """Largest |original - stored|."""
        return self.distortion.max_error

    @property
    def exact(self) -> bool:
        """Whether the stored values are the original ones."""
        return self.distortion.noise == 0.0


@dataclass(frozen=True)
class Totals:
    """Sums over some rows."""

    tensors: int
    parameters: int
    bytes_before: int
    bytes_after: int
    distortion: Distortion

    @classmethod
    def of(cls, rows: Iterable[TensorRow]) -> Totals:
        chosen = list(rows)
        return cls(
            tensors=len(chosen),
            parameters=sum(row.parameters for row in chosen),
            bytes_before=sum(row.bytes_before for row in chosen),
            bytes_after=sum(row.bytes_after for row in chosen),
            distortion=sum((row.distortion for row in chosen), Distortion()),
        )

    @property
    def ratio(self) -> float:
        """How many times smaller: bytes before / bytes after."""
        return self.bytes_before / self.bytes_after if self.bytes_after else math.inf

    @property
    def bits_per_weight(self) -> float:
        return 8.0 * self.bytes_after / self.parameters if self.parameters else 0.0

    @property
    def snr_db(self) -> float:
        return self.distortion.snr_db

    @property
    def max_error(self) -> float:
        return self.distortion.max_error


@dataclass(frozen=True)
class Report:
    """One run of the quantizer."""

    source: str
    """What was quantized, as a person calls it: a language, a file name, an `hf://` address."""
    recipe: str
    rules: tuple[tuple[str, str], ...]
    """(pattern, scheme) in the order in which they are tried."""
    rows: tuple[TensorRow, ...]
    seconds: float
    version: str
    """Version of pocketquant."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Further facts, label -> value: output file, sha256 of the source, language, licence, ..."""

    @property
    def totals(self) -> Totals:
        return Totals.of(self.rows)

    @property
    def by_part(self) -> dict[str, Totals]:
        """Totals per part, in the order of `names.PARTS`; parts without tensors are left out."""
        return self._grouped({row.name: row.part for row in self.rows}, PARTS)

    @property
    def by_scheme(self) -> dict[str, Totals]:
        """Totals per scheme, the one with the most parameters first."""
        groups = self._grouped({row.name: row.scheme for row in self.rows})
        return dict(sorted(groups.items(), key=lambda item: -item[1].parameters))

    def worst(self, count: int) -> tuple[TensorRow, ...]:
        """The rows with the lowest SNR, worst first; exact ones are never among them."""
        lossy = (row for row in self.rows if not row.exact)
        return tuple(sorted(lossy, key=_worst_first)[:count])

    def _grouped(self, key: Mapping[str, str], order: Iterable[str] = ()) -> dict[str, Totals]:
        groups: dict[str, list[TensorRow]] = {label: [] for label in order}
        for row in self.rows:
            groups.setdefault(key[row.name], []).append(row)
        return {label: Totals.of(rows) for label, rows in groups.items() if rows}


def _worst_first(row: TensorRow) -> tuple[bool, float, str]:
    """NaN before everything, then ascending SNR."""
    return (not math.isnan(row.snr_db), 0.0 if math.isnan(row.snr_db) else row.snr_db, row.name)
