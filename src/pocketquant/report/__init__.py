"""What a quantization cost: the data (`model`), and the files that people and programs read (`writer`)."""

from __future__ import annotations

from pocketquant.report.model import Histogram, Report, TensorRow, Totals
from pocketquant.report.names import block_of, kind_of, layer_of, part_of
from pocketquant.report.writer import write_report

__all__ = [
    "Histogram",
    "Report",
    "TensorRow",
    "Totals",
    "block_of",
    "kind_of",
    "layer_of",
    "part_of",
    "write_report",
]
