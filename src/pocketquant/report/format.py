"""Numbers as people read them: one place, so that the terminal and the HTML page say the same."""

from __future__ import annotations

import math


def size_text(size: int) -> str:
    """Bytes in decimal units, three significant digits or so: "83.1 MB", "640 B"."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def count_text(count: int) -> str:
    """A number of weights: "640", "25.6 k", "109.5 M"."""
    if count < 1000:
        return str(count)
    if count < 999_950:
        return f"{count / 1e3:.1f} k"
    return f"{count / 1e6:.1f} M"


def db_text(value: float) -> str:
    """Decibels with one digit; "exact" where nothing was lost, "silent" where zeros got noise."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "exact" if value > 0 else "silent"
    return f"{value:.1f} dB"


def ratio_text(ratio: float) -> str:
    return "-" if not math.isfinite(ratio) else f"{ratio:.2f}x"


def share_text(share: float) -> str:
    """A share of 0..1 as a percentage; tiny ones stay visible."""
    if share == 0:
        return "0 %"
    return "<0.01 %" if share < 1e-4 else f"{100 * share:.2f} %"


def error_text(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}"


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) if shape else "scalar"


def seconds_text(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
