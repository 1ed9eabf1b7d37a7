"""The pictures of the evaluation page: inline SVG, and spectrograms as PNG.

As in the quantization report, charts are drawn for a width in CSS pixels and take their colours from the
style sheet. Variant number i has the class `v<i>` (modulo `COLOURS`); the float model is `v0`.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pocketquant.evaluate.catalog import Measure
from pocketquant.evaluate.measures import Samples, spectrogram
from pocketquant.evaluate.result import Result
from pocketquant.report.charts import element, text

COLOURS = 9
"""How many the style sheet has."""
SPECTROGRAM_ROWS = 120
SPECTROGRAM_RANGE = 80.0
"""dB from the brightest to black: deep enough to see hiss in pauses."""
_GRADIENT = ((8, 10, 18), (38, 28, 84), (120, 38, 106), (206, 74, 72), (249, 157, 61), (252, 238, 178))


def spectrogram_png(samples: Samples, rate: int, seconds: float) -> bytes:
    """A sound as a picture: time across (`seconds` in all, so that takes compare), frequency up, level as colour.

    Levels are relative to the loudest spot.
    """
    power = spectrogram(samples, rate)[:, 1:]
    per_row = max(1, power.shape[1] // SPECTROGRAM_ROWS)
    rows = power[:, : power.shape[1] // per_row * per_row].reshape(len(power), -1, per_row).mean(axis=2)
    level = 10 * np.log10(np.maximum(rows / max(float(rows.max()), 1e-30), 10 ** (-SPECTROGRAM_RANGE / 10)))
    shade = np.rint(255 * (1 + level / SPECTROGRAM_RANGE)).astype(np.uint8)
    wide = np.zeros((rows.shape[1], max(len(shade), round(seconds * 100))), np.uint8)
    wide[:, : len(shade)] = shade.T[::-1]
    return _png(wide)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Indices `[height, width]` into the colour gradient as a PNG (ISO/IEC 15948, colour type 3)."""
    height, width = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    steps = np.linspace(0, len(_GRADIENT) - 1, 256)
    channels = np.array(_GRADIENT, np.float64).T
    palette = np.stack([np.interp(steps, range(len(_GRADIENT)), channel) for channel in channels], axis=1)
    scanlines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # filter 0 before each line
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", np.rint(palette).astype(np.uint8).tobytes()),
            chunk(b"IDAT", zlib.compress(scanlines.tobytes(), 9)),
            chunk(b"IEND", b""),
        )
    )


def flac(samples: Samples, rate: int) -> bytes:
    """A sound as 16-bit FLAC: small, and without a codec's own opinion about hiss."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def data_uri(kind: str, data: bytes) -> str:
    """Bytes inside of an attribute."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def depth_chart(results: Sequence[Result], width: int) -> str:
    """A line per variant: SNR of the hidden state down the layers.

    Args:
        results: those with depths, each with its number among all: its colour.
        width: in CSS pixels.
    """
    drawn = [(number, result) for number, result in enumerate(results) if result.depths]
    labels = [depth.label for depth in drawn[0][1].depths]
    finite = [d.snr_db for _, result in drawn for d in result.depths if math.isfinite(d.snr_db)]
    low, high, step = _axis(finite, 6)
    left, right, top, height = 34, 14, 12, 250
    bottom = height - 26

    def across(index: int) -> float:
        return left + (width - left - right) * index / max(1, len(labels) - 1)

    def up(value: float) -> float:
        return bottom - (bottom - top) * (min(max(value, low), high) - low) / (high - low)

    body = _rules(low, high, step, up, left, width - right)
    every = math.ceil(len(labels) * 62 / (width - left - right))
    for index, label in enumerate(labels):
        last = index == len(labels) - 1
        if last or (index % every == 0 and index + every < len(labels) + every // 2):
            body.append(text(across(index), height - 8, label, "faint", "end" if last else "middle"))
    for number, result in drawn:
        points = [(across(i), up(depth.snr_db)) for i, depth in enumerate(result.depths)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        body.append(element("polyline", points=path, cls=f"curve v{number % COLOURS}"))
        body += [element("circle", cx=x, cy=y, r=3.2, cls=f"spot v{number % COLOURS}") for x, y in points]
    return _svg(width, height, body, f"SNR of the hidden state by layer, {low} to {high} dB")


def interval_chart(measure: Measure, results: Sequence[Result], neutral: float, width: int) -> str:
    """A dot with its interval per variant, on one axis; the line is the value of no change."""
    drawn = [
        (number, result, result.measures[measure.name])
        for number, result in enumerate(results)
        if measure.name in result.measures and math.isfinite(result.measures[measure.name].value)
    ]
    scale = 100.0 if measure.unit == "%" else 1.0
    values = [neutral * scale]
    for _, _, found in drawn:
        values += [scale * v for v in (found.value, found.low, found.high) if v is not None]
    spread = max(values) - min(values) or 1.0
    low, high = min(values) - 0.06 * spread, max(values) + 0.06 * spread
    pitch, top = 34, 6
    height = top + pitch * len(drawn) + 20

    def across(value: float) -> float:
        return 8 + (width - 16) * (value * scale - low) / (high - low)

    line = across(neutral)
    body = []
    same = measure.text(neutral)
    anchor = "start" if line < 60 else "end" if line > width - 60 else "middle"
    body.append(text(line, height - 5, same, "faint", anchor))
    for index, (number, result, found) in enumerate(drawn):
        y = top + pitch * index + 24
        x = across(found.value)
        body.append(element("line", x1=line, x2=line, y1=y - 7, y2=y + 7, cls="axis"))
        body.append(text(0, y - 11, result.name, "faint"))
        body.append(text(width, y - 11, measure.text(found.value), "value", "end"))
        if found.low is not None and found.high is not None:
            body.append(
                element(
                    "line",
                    x1=across(found.low),
                    x2=across(found.high),
                    y1=y,
                    y2=y,
                    cls=f"span v{number % COLOURS}",
                )
            )
        body.append(element("circle", cx=x, cy=y, r=4.4, cls=f"spot v{number % COLOURS}"))
    return _svg(width, height, body, f"{measure.label} with 95 % intervals")


def flip_chart(results: Sequence[Result], width: int) -> str:
    """Where in the sentence end-of-speech decisions flip: a lane per variant, a tick per flip."""
    drawn = [(number, result) for number, result in enumerate(results) if result.depths]
    furthest = max((flip.place for _, result in drawn for flip in result.flips), default=1.0)
    reach = max(1.15, min(furthest, 2.0) * 1.03)
    pitch, top = 34, 4
    height = top + pitch * len(drawn) + 22
    body: list[str] = []

    def across(place: float) -> float:
        return 6 + (width - 12) * min(place, reach) / reach

    end = across(1.0)
    body.append(text(6, height - 5, "first word", "faint"))
    body.append(text(end, height - 5, "end", "faint", "middle"))
    for index, (number, result) in enumerate(drawn):
        y = top + pitch * index + 24
        count = len(result.flips)
        body.append(text(0, y - 11, result.name, "faint"))
        body.append(text(width, y - 11, f"{count} flip{'' if count == 1 else 's'}", "value", "end"))
        body.append(element("line", x1=6, x2=width - 6, y1=y, y2=y, cls="lane"))
        body.append(element("line", x1=end, x2=end, y1=y - 9, y2=y + 9, cls="axis"))
        for flip in result.flips:
            x = across(flip.place)
            body.append(element("line", x1=x, x2=x, y1=y - 7, y2=y + 7, cls=f"tick v{number % COLOURS}"))
    return _svg(width, height, body, "Flipped end-of-speech decisions by their place in the sentence")


def _rules(
    low: int, high: int, step: int, up: Callable[[float], float], left: float, right: float
) -> list[str]:
    body = []
    for value in range(low, high + 1, step):
        y = up(value)
        body.append(element("line", x1=left, x2=right, y1=y, y2=y, cls="rule"))
        body.append(text(left - 8, y + 4, str(value), "faint", "end"))
    return body


def _axis(values: Sequence[float], most: int) -> tuple[int, int, int]:
    """Ends and spacing of an axis around the values."""
    lowest, highest = min(values, default=0.0), max(values, default=10.0)
    for step in (2, 5, 10, 20, 50):
        low, high = step * math.floor(lowest / step), step * math.ceil(highest / step)
        if (high - low) // step <= most:
            break
    return low, max(high, low + step), step


def _svg(width: float, height: float, body: Sequence[str], summary: str) -> str:
    return element(
        "svg",
        *body,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=summary,
    )
