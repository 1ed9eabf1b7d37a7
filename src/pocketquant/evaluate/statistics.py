"""From numbers per sentence to a value with an interval.

Every measure is a function of sums over sentences: a mean, a ratio of two sums, or a signal-to-noise ratio. The
interval is the percentile bootstrap over sentences (Efron & Tibshirani 1993, chapter 13). Where a column
holds differences between two systems on the same sentence it is the *paired* bootstrap, which the difficulty
of the sentences drops out of; seeds of one sentence are summed before, since they are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Statistic = Literal["mean", "ratio", "snr", "max"]

RESAMPLES = 2000
CONFIDENCE = 0.95
_SEED = 5  # the same data give the same interval


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; without one (`low` and `high` None) where it makes no sense."""

    value: float
    low: float | None = None
    high: float | None = None

    def excludes(self, value: float) -> bool:
        """Whether the interval lies wholly on one side of `value`."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def estimate(statistic: Statistic, columns: Sequence[Sequence[float]]) -> Estimate:
    """The statistic of all sentences, with its interval.

    Args:
        statistic: "mean" of one column; "ratio" of the sums of two; "snr", the same in dB; or "max".
        columns: numbers per sentence, all of one length N > 0. With one sentence there is no interval.
    """
    table = np.array(columns, np.float64)  # [columns, N]
    count = table.shape[1]
    if statistic == "max":
        return Estimate(float(table[0].max()))
    if statistic == "mean":
        table = np.stack([table[0], np.ones(count)])
    value = float(_quotient(table.sum(axis=1)[:, None], statistic)[0])
    if count < 2:
        return Estimate(value)
    # How often each sentence is drawn, [RESAMPLES, N]: the sums are products with it.
    draws = np.random.default_rng(_SEED).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    values = np.sort(_quotient(table @ draws.T, statistic))
    tail = (1 - CONFIDENCE) / 2
    low, high = values[math.floor(tail * (RESAMPLES - 1))], values[math.ceil((1 - tail) * (RESAMPLES - 1))]
    return Estimate(value, float(low), float(high))


def _quotient(sums: Float64, statistic: Statistic) -> Float64:
    """Sums `[2, resamples]` to values `[resamples]`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = sums[0] / sums[1]
        if statistic != "snr":
            return np.asarray(ratio)
        return np.asarray(np.where(sums[1] == 0, math.inf, 10 * np.log10(ratio)))
