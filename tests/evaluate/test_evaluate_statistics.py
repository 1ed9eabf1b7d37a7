"""Intervals that contain the truth as often as they say, and sums that are sums."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pocketquant.evaluate.catalog import MEASURES, summarize
from pocketquant.evaluate.statistics import Estimate, estimate


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        found = estimate("mean", [(3 + rng.standard_normal(60)).tolist()])
        held += not found.excludes(3)
    assert 89 <= held <= 99  # 95 %, give or take the chance of 100 draws


def width(found: Estimate) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def test_pairing_removes_what_sentences_have_in_common() -> None:
    rng = np.random.default_rng(1)
    hard = rng.integers(0, 6, 100)  # errors of a sentence, for both
    more = rng.random(100) < 0.2
    words = [8.0] * 100
    paired = estimate("ratio", [more.astype(float).tolist(), words])
    alone = estimate("ratio", [(hard + more).astype(float).tolist(), words])
    assert paired.excludes(0)
    assert width(paired) < width(alone) / 3


def test_statistics_are_made_of_sums() -> None:
    assert estimate("ratio", [[1, 2, 3], [10, 10, 40]]).value == pytest.approx(0.1)
    assert estimate("snr", [[50, 50], [0.5, 0.5]]).value == pytest.approx(20)
    assert estimate("snr", [[50, 50], [0, 0]]) == Estimate(math.inf, math.inf, math.inf)
    assert estimate("max", [[1, 7, 3]]) == Estimate(7)
    assert estimate("mean", [[4]]) == Estimate(4)
    assert estimate("mean", [[1, 2, 3]]) == estimate("mean", [[1, 2, 3]])  # repeatable


def test_measures_whose_columns_are_missing_are_left_out() -> None:
    found = summarize({"takes": [1, 1], "no_end": [0, 1]})
    assert list(found) == ["no_end"]
    assert found["no_end"].value == 0.5


def test_texts_of_measures() -> None:
    assert MEASURES["wer_delta"].text(0.0123) == "1.2 %"
    assert MEASURES["level_delta"].text(-0.0001) == "0.00 dB"
    assert MEASURES["wave_snr"].text(math.inf) == "exact"
    assert MEASURES["wave_snr"].text(None) == MEASURES["wave_snr"].text(math.nan) == "-"
