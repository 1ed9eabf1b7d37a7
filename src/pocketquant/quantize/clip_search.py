"""Scales for groups of 4-bit values: search for the best clip, then refit.

Taking a group's scale from its largest value wastes levels on one outlier. For several candidate scales the
values are rounded, and the scale is refitted to the rounded levels by least squares, `s = <w, q> / <q, q>`
(which minimises `|w - s q|^2` for fixed q); the candidate with the smallest squared error wins, and the levels
are rounded once more with the scale as it will be stored, in float16.
"""

from __future__ import annotations

import numpy as np

from pocketquant.quantize.stored import Array, FloatArray

INT4_MIN, INT4_MAX = -8, 7

# A candidate scale is max|w| / divisor. Beyond 7 the largest value is clipped, by up to a third at 10.5.
# 4, 5, 6, 7 and 8 make a second quantization find the levels of the first: whatever the largest level was,
# one of them times a small power of two hits it. There is one level more below zero than above; a negative
# scale turns that to the side where the group is heavier (0.5 dB for normally distributed weights).
_POSITIVE = (7.0, 4.0, 5.0, 6.0, 6.5, 7.25, 7.5, 7.75, 8.0, 8.25, 8.5, 8.75, 9.0, 9.5, 10.0, 10.5)
_NEGATIVE = (-7.0, -7.5, -8.0, -8.5, -9.0, -10.0)
_DIVISORS = np.array((*_POSITIVE, *_NEGATIVE), dtype=np.float32)
# Values a block: small enough that the handful of temporaries stays in the second-level cache.
_BLOCK_VALUES = 1 << 15


def search_group_scales(groups: FloatArray) -> tuple[Array, Array]:
    """The best scale for each row of `groups`, and the rounded levels.

    Args:
        groups: finite float32 `[groups, size]`.

    Returns:
        float16 `[groups]`, of either sign; 1.0 for groups without a usable scale (all zeros) and
        infinite for groups too large for float16; int8 `[groups, size]` in -8..7.
    """
    count, size = groups.shape
    scales = np.empty(count, dtype=np.float16)
    levels = np.empty((count, size), dtype=np.int8)
    step = max(1, _BLOCK_VALUES // size)
    for start in range(0, count, step):
        block = slice(start, start + step)
        scales[block], levels[block] = _search_block(groups[block])
    return scales, levels


def _search_block(groups: FloatArray) -> tuple[Array, Array]:
    largest = np.max(np.abs(groups), axis=1)
    best_error = np.full(len(groups), np.inf, dtype=np.float32)
    best_scale = np.ones(len(groups), dtype=np.float32)
    rounded = np.empty_like(groups)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        for divisor in _DIVISORS:
            np.multiply(groups, (divisor / largest)[:, None], out=rounded)
            _round_to_levels(rounded)
            energy = np.einsum("gk,gk->g", rounded, rounded)
            scale = _storable(np.einsum("gk,gk->g", groups, rounded) / energy)
            np.multiply(rounded, scale[:, None], out=rounded)
            np.subtract(groups, rounded, out=rounded)
            error = np.einsum("gk,gk->g", rounded, rounded)
            better = error < best_error  # False for NaN, which groups of zeros give
            best_error[better] = error[better]
            best_scale[better] = scale[better]
        # Squares of very small or very large values leave float32; such groups fall back to max / 7.
        unsure = ~np.isfinite(best_error) & (largest > 0)
        best_scale[unsure] = _storable(largest[unsure] / np.float32(INT4_MAX))
        best_scale[best_scale == 0] = 1.0
        np.divide(groups, best_scale[:, None], out=rounded)
    _round_to_levels(rounded)
    return best_scale.astype(np.float16), rounded.astype(np.int8)


def _round_to_levels(values: FloatArray) -> None:
    """In place: to the nearest level (halves to even), clipped to -8..7."""
    np.rint(values, out=values)
    np.clip(values, INT4_MIN, INT4_MAX, out=values)


def _storable(scale: FloatArray) -> FloatArray:
    """Rounded to what float16 holds, back in float32; 0 and infinity where it holds nothing near."""
    return scale.astype(np.float16).astype(np.float32)
