from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_example import example_report

from pocketquant.quantize import schemes
from pocketquant.quantize.metrics import Distortion
from pocketquant.report import Histogram, TensorRow, Totals


def row(name: str, signal: float, noise: float) -> TensorRow:
    return TensorRow(name, (4,), "int8", 16, 8, Distortion(signal, noise, math.sqrt(noise), 4))


def test_total_snr_comes_from_energies_not_from_an_average() -> None:
    totals = Totals.of([row("a", 1000.0, 1.0), row("b", 10.0, 1.0)])
    assert totals.snr_db == pytest.approx(10 * math.log10(1010 / 2))
    assert totals.snr_db != pytest.approx((30 + 10) / 2)


def test_totals_count_bytes_and_bits() -> None:
    totals = example_report().totals
    assert (totals.tensors, totals.parameters) == (4, 32 + 512 + 192 + 12)
    assert (totals.bytes_before, totals.bytes_after) == (2992, 812)
    assert totals.ratio == pytest.approx(2992 / 812)
    assert totals.bits_per_weight == pytest.approx(8 * 812 / 748)
    assert totals.max_error == 1.0


def test_nothing_is_divided_by_zero() -> None:
    empty = Totals.of([])
    assert (empty.bits_per_weight, empty.snr_db) == (0.0, math.inf)
    assert math.isinf(empty.ratio)


def test_groups_add_up_and_follow_the_model() -> None:
    report = example_report()
    assert list(report.by_part) == ["language model", "codec decoder", "codec encoder"]
    assert list(report.by_scheme) == ["int4-g64", "f16", "f32", "int8"]
    for groups in (report.by_part, report.by_scheme):
        assert sum(totals.bytes_after for totals in groups.values()) == report.totals.bytes_after


def test_worst_are_lossy_and_ascending() -> None:
    assert [row.name.split(".")[1] for row in example_report().worst(2)] == ["encoder", "transformer"]
    assert all(not row.exact for row in example_report().worst(99))


def test_not_a_number_is_the_very_worst() -> None:
    broken = row("broken", math.nan, math.nan)
    assert example_report(extra=(broken,)).worst(1) == (broken,)


@settings(deadline=None, max_examples=30)
@given(
    scheme=st.sampled_from(["int8", "int8-tensor", "int4-g32", "int4-g128"]),
    shape=st.sampled_from([(6, 64), (5, 7, 3), (3, 112), (40,), (1, 8)]),
    seed=st.integers(0, 1000),
)
def test_histogram_counts_every_weight_and_finds_the_clipped(
    scheme: str, shape: tuple[int, ...], seed: int
) -> None:
    weights = np.random.default_rng(seed).standard_t(4, size=shape).astype(np.float32)
    codec = schemes.get(scheme)
    stored = codec.quantize(weights)
    assert stored.scale is not None
    histogram = Histogram.of(weights, stored.scale, top=7 if scheme.startswith("int4") else 127)
    assert histogram.sample == weights.size
    assert len(histogram.bin_edges) == len(histogram.counts) + 1
    assert histogram.groups == stored.scale.size
    outside = sum(
        count
        for left, right, count in zip(
            histogram.bin_edges, histogram.bin_edges[1:], histogram.counts, strict=False
        )
        if right <= histogram.lowest - 0.5 or left >= histogram.highest + 0.5
    )
    if scheme.startswith("int4"):  # quarter-step bins end exactly where clipping begins
        assert abs(outside - codec.clipped(weights, stored.dequantize(), stored)) <= 1
    else:
        assert outside == 0


def test_histogram_of_known_weights() -> None:
    weights = np.array([[-8.0, -0.1, 0.1, 7.0], [20.0, 0.0, 0.0, -14.0]], dtype=np.float32)
    histogram = Histogram.of(weights, np.array([[1.0], [2.0]], dtype=np.float16), top=7)
    by_left_edge = dict(zip(histogram.bin_edges, histogram.counts, strict=False))
    assert {edge: count for edge, count in by_left_edge.items() if count} == {
        -8.0: 1,
        -7.0: 1,
        -0.25: 1,
        0.0: 3,
        7.0: 1,
        9.75: 1,  # 20 / 2 = 10 steps is the far end of the last bin
    }
    assert (histogram.step, histogram.groups) == (1.5, 2)


def test_histogram_of_a_large_tensor_takes_a_sample() -> None:
    weights = np.ones((4096, 512), dtype=np.float32)
    for scale in (np.ones((4096, 1), np.float32), np.ones(1, np.float32)):
        assert 2**17 < Histogram.of(weights, scale, top=127).sample <= 2**19


def test_histogram_of_zeros_and_zero_scales() -> None:
    histogram = Histogram.of(np.zeros((2, 8), np.float32), np.zeros((2, 1), np.float32), top=127)
    assert histogram.sample == 16
