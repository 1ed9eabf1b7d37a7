"""A small report with one tensor of every sort, for the tests of the writers."""

from __future__ import annotations

import numpy as np

from pocketquant.quantize.metrics import Distortion
from pocketquant.report import Histogram, Report, TensorRow


def example_report(*, source: str = "demo", extra: tuple[TensorRow, ...] = ()) -> Report:
    weights = np.random.default_rng(7).normal(size=(8, 64)).astype(np.float32)
    scale = np.abs(weights).max(axis=1, keepdims=True) / 7
    rows = (
        TensorRow("flow_lm.emb_mean", (32,), "f32", 128, 128, Distortion(3.0, 0.0, 0.0, 32)),
        TensorRow(
            "flow_lm.transformer.layers.0.linear1.weight",
            (8, 64),
            "int4-g64",
            2048,
            272,
            Distortion(100.0, 1.0, 0.25, 512),
            clipped_share=0.0125,
            histogram=Histogram.of(weights, scale, top=7),
        ),
        TensorRow(
            "mimi.decoder.model.0.conv.weight", (16, 4, 3), "f16", 768, 384, Distortion(10.0, 1e-6, 1e-4, 192)
        ),
        TensorRow(
            "mimi.encoder.model.0.conv.weight", (4, 1, 3), "int8", 48, 28, Distortion(0.0, 1.0, 1.0, 12)
        ),
        *extra,
    )
    return Report(
        source=source,
        recipe="int4",
        rules=(("*.linear?.weight", "int4-g64"), ("*", "f16")),
        rows=rows,
        seconds=1.25,
        version="1.2.3",
        provenance={"written to": "demo-int4.safetensors"},
    )
