"""The report for programs: JSON (everything) and CSV (the per-tensor table).

JSON, format version 1. Numbers are JSON numbers except where JSON has none: an infinite ratio or SNR is the
string "inf" or "-inf", and not-a-number is "nan"; `float()` of most languages reads all three. Top level:

- `format`: "pocketquant-report", `format_version`: 1, `pocketquant`: version of the writer
- `source`, `recipe`, `seconds`; `rules`: list of `{pattern, scheme}`, first match wins; `provenance`: an
  object of strings
- `totals`, and the same sums in `parts` and `schemes` (label -> sums): `tensors`, `parameters`,
  `bytes_before`, `bytes_after`, `ratio`, `bits_per_weight`, `snr_db`, `max_error`
- `tensors`: list, in the order of the file: `name`, `part`, `kind`, `layer` (integer or null), `shape`,
  `parameters`, `source_scheme`, `scheme`, `bytes_before`, `bytes_after`, `bits_per_weight`, `signal_energy`,
  `noise_energy`, `snr_db`, `max_error`, `clipped_share` (0..1), and `histogram` (null, or `bin_edges` and
  `counts` in quantization steps, `lowest` and `highest` level, `step` = median step, `groups` = number of
  scales)

New keys may be added to a version; none changes its meaning within it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from pocketquant.report.model import Histogram, Report, TensorRow, Totals

FORMAT_VERSION = 1

CSV_COLUMNS = (
    "name",
    "part",
    "kind",
    "layer",
    "shape",
    "parameters",
    "source_scheme",
    "scheme",
    "bytes_before",
    "bytes_after",
    "bits_per_weight",
    "snr_db",
    "max_error",
    "clipped_share",
)


def json_number(value: float) -> float | str:
    """The number itself, or "inf", "-inf", "nan" for what JSON has no number for."""
    return value if math.isfinite(value) else str(value)


def report_to_dict(report: Report) -> dict[str, Any]:
    """The report as plain JSON data, as the module's head describes it."""
    return {
        "format": "pocketquant-report",
        "format_version": FORMAT_VERSION,
        "pocketquant": report.version,
        "source": report.source,
        "recipe": report.recipe,
        "rules": [{"pattern": pattern, "scheme": scheme} for pattern, scheme in report.rules],
        "seconds": json_number(report.seconds),
        "provenance": dict(report.provenance),
        "totals": totals_to_dict(report.totals),
        "parts": {label: totals_to_dict(totals) for label, totals in report.by_part.items()},
        "schemes": {label: totals_to_dict(totals) for label, totals in report.by_scheme.items()},
        "tensors": [_row_to_dict(row) for row in report.rows],
    }


def totals_to_dict(totals: Totals) -> dict[str, Any]:
    return {
        "tensors": totals.tensors,
        "parameters": totals.parameters,
        "bytes_before": totals.bytes_before,
        "bytes_after": totals.bytes_after,
        "ratio": json_number(totals.ratio),
        "bits_per_weight": totals.bits_per_weight,
        "snr_db": json_number(totals.snr_db),
        "max_error": json_number(totals.max_error),
    }


def json_report(report: Report) -> str:
    """The report as JSON text (two-space indent, strictly standard: no bare Infinity or NaN)."""
    return json.dumps(report_to_dict(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_report(report: Report) -> str:
    """The per-tensor table as CSV (RFC 4180, header line; shape as "640x160", infinities as "inf")."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for row in report.rows:
        writer.writerow(
            (
                row.name,
                row.part,
                row.kind,
                "" if row.layer is None else row.layer,
                "x".join(map(str, row.shape)),
                row.parameters,
                row.source_scheme,
                row.scheme,
                row.bytes_before,
                row.bytes_after,
                row.bits_per_weight,
                row.snr_db,
                row.max_error,
                row.clipped_share,
            )
        )
    return text.getvalue()


def _row_to_dict(row: TensorRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "part": row.part,
        "kind": row.kind,
        "layer": row.layer,
        "shape": list(row.shape),
        "parameters": row.parameters,
        "source_scheme": row.source_scheme,
        "scheme": row.scheme,
        "bytes_before": row.bytes_before,
        "bytes_after": row.bytes_after,
        "bits_per_weight": row.bits_per_weight,
        "signal_energy": json_number(row.distortion.signal),
        "noise_energy": json_number(row.distortion.noise),
        "snr_db": json_number(row.snr_db),
        "max_error": json_number(row.max_error),
        "clipped_share": json_number(row.clipped_share),
        "histogram": None if row.histogram is None else _histogram_to_dict(row.histogram),
    }


def _histogram_to_dict(histogram: Histogram) -> dict[str, Any]:
    return {
        "bin_edges": list(histogram.bin_edges),
        "counts": list(histogram.counts),
        "lowest": histogram.lowest,
        "highest": histogram.highest,
        "step": histogram.step,
        "groups": histogram.groups,
    }
