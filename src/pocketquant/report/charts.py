"""The pictures of the HTML report as inline SVG.

Each chart is drawn for a width in CSS pixels, so that its text keeps its size: the page asks for a wide and
a narrow one and shows the one that fits. Colours are classes; the style sheet of the page gives them their
light and dark values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pocketquant.report.format import count_text, db_text, error_text, ratio_text, share_text, size_text
from pocketquant.report.model import Histogram, Report, TensorRow
from pocketquant.report.names import KINDS, PARTS

_HALF_CROSS = ((-1.7, -5), (1.7, -5), (1.7, -1.7), (5, -1.7), (5, 1.7), (1.7, 1.7))
_STACKS = ("layer", "block", "time", "conv", "")


def element(tag: str, *children: str, **attributes: object) -> str:
    """An SVG or HTML element. Attribute values are escaped, children are markup already; `cls` is `class`."""
    pairs = "".join(
        f' {"class" if key == "cls" else key.replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{pairs}>{''.join(children)}</{tag}>"


def text(x: float, y: float, words: str, cls: str = "", anchor: str | None = None) -> str:
    return element("text", escape(words), x=x, y=y, cls=cls or None, text_anchor=anchor)


def size_chart(report: Report, width: int) -> str:
    """Paired horizontal bars, bytes before and after, one pair per part of the model."""
    narrow = width < 600
    gutter, bar, pitch = (0, 11, 64) if narrow else (140, 13, 46)
    numbers = 76
    parts = report.by_part
    largest = max((max(part.bytes_before, part.bytes_after) for part in parts.values()), default=0) or 1
    scale = (width - gutter - numbers) / largest
    body: list[str] = []
    for index, (label, part) in enumerate(parts.items()):
        top = index * pitch + (20 if narrow else 4)
        body.append(text(0, top - 6 if narrow else top + bar - 2, label, "label"))
        saved = "unchanged" if part.bytes_after == part.bytes_before else f"{ratio_text(part.ratio)} smaller"
        body.append(
            text(width, top - 6, saved, "faint", "end") if narrow else text(0, top + 2 * bar, saved, "faint")
        )
        for shift, cls, size in ((0, "before", part.bytes_before), (bar + 2, "after", part.bytes_after)):
            length = max(size * scale, 1.0)
            body.append(element("rect", x=gutter, y=top + shift, width=length, height=bar, rx=2, cls=cls))
            body.append(text(gutter + length + 6, top + shift + bar - 2, size_text(size), f"value {cls}-ink"))
    described = "; ".join(
        f"{label} {size_text(part.bytes_before)} to {size_text(part.bytes_after)}"
        for label, part in parts.items()
    )
    return _svg(width, len(parts) * pitch, body, f"Size by part, before and after: {described}")


def snr_chart(rows: Sequence[TensorRow], width: int) -> str:
    """One dot per tensor that lost something: SNR in dB across, place in the model down, kind as mark."""
    drawn = [row for row in rows if math.isfinite(row.snr_db)]
    gutter, pitch, head = (62 if width < 600 else 90), 21, 26
    inner = width - gutter - 14
    low, high, spacing = _decibel_axis([row.snr_db for row in drawn], most=inner // 45)
    places: dict[str, dict[str, list[TensorRow]]] = {}
    for row in sorted(drawn, key=_place):
        places.setdefault(row.part, {}).setdefault(row.block or "other", []).append(row)
    height = head + sum(head + pitch * len(blocks) for blocks in places.values()) + 22

    def across(decibels: float) -> float:
        return gutter + inner * (decibels - low) / (high - low)

    body: list[str] = []
    for tick in range(low, high + 1, spacing):
        body.append(
            element("line", x1=across(tick), x2=across(tick), y1=head - 8, y2=height - 20, cls="rule")
        )
        body += [text(across(tick), y, str(tick), "faint", "middle") for y in (head - 14, height - 6)]
    body += [text(0, y, "SNR in dB" if width >= 600 else "SNR, dB", "faint") for y in (head - 14, height - 6)]
    y = float(head)
    for part, blocks in places.items():
        body.append(element("line", x1=0, x2=width, y1=y, y2=y, cls="divide"))
        body.append(text(0, y + 17, part, "label"))
        y += head
        for label, members in blocks.items():
            middle = y + pitch / 2 - 2
            body.append(element("line", x1=gutter, x2=width - 14, y1=middle, y2=middle, cls="lane"))
            body.append(text(gutter - 10, middle + 4, label, "faint", "end"))
            body += _dots([(row, across(row.snr_db)) for row in members], middle)
            y += pitch
    summary = (
        f"Signal-to-noise ratio of {len(drawn)} tensors, {low} to {high} dB, by part and layer of the model"
    )
    return _svg(width, height, body, summary)


def kinds_drawn(rows: Sequence[TensorRow]) -> list[str]:
    """The kinds that `snr_chart` draws, in their order: the legend."""
    present = {row.kind for row in rows if math.isfinite(row.snr_db)}
    return [kind for kind in KINDS if kind in present]


def legend_mark(kind: str) -> str:
    """The mark of a kind, 14 px square."""
    return _svg(14, 14, [_mark(kind, 7, 7)], None)


def histogram_chart(row: TensorRow, histogram: Histogram, width: int = 330) -> str:
    """The weights in units of their step, heights as square roots; levels as lines, clipped ones marked."""
    height, base, margin = 150, 126, 14
    edges, counts = histogram.bin_edges, histogram.counts
    reach, inner = edges[-1] - edges[0], width - 2 * margin
    peak = math.sqrt(max(counts, default=0) or 1)

    def across(step: float) -> float:
        return margin + inner * (step - edges[0]) / reach

    low, high = histogram.lowest, histogram.highest
    start, end = low - 0.5, high + 0.5  # a weight beyond the half step of an outermost level is clipped
    levels: Sequence[int] = range(low, high + 1) if high < 32 else (low, 0, high)
    body = [
        element(
            "rect", x=across(start), y=0, width=across(end) - across(start), height=base, cls="grid-range"
        )
    ]
    body += [element("line", x1=across(v), x2=across(v), y1=0, y2=base + 4, cls="level") for v in levels]
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            tall = max((base - 6) * math.sqrt(count) / peak, 0.75)
            clipped = right <= start or left >= end
            body.append(
                element(
                    "rect",
                    x=across(left),
                    y=base - tall,
                    width=max(inner * (right - left) / reach - 0.4, 0.4),
                    height=tall,
                    cls="bar clipped" if clipped else "bar",
                )
            )
    body.append(element("line", x1=margin, x2=width - margin, y1=base, y2=base, cls="axis"))
    for level in (low, 0, high):
        body.append(text(across(level), base + 18, f"{level:+d}" if level else "0 steps", "faint", "middle"))
    clipped_text = share_text(row.clipped_share)
    summary = f"Weights of {row.name} on their grid of {high - low + 1} levels, {clipped_text} clipped"
    return _svg(width, height, body, summary)


def _svg(width: float, height: float, body: Sequence[str], summary: str | None) -> str:
    described: dict[str, object] = (
        {"aria_hidden": "true"} if summary is None else {"role": "img", "aria_label": summary}
    )
    return element(
        "svg", *body, viewBox=f"0 0 {_plain(width)} {_plain(height)}", width=width, height=height, **described
    )


def _decibel_axis(values: Sequence[float], most: int) -> tuple[int, int, int]:
    """Ends and spacing of an axis around the values, with round ticks, `most` intervals at the most."""
    lowest, highest = min(values, default=0.0), max(values, default=10.0)
    for spacing in (2, 5, 10, 20, 50, 100):
        low, high = spacing * math.floor(lowest / spacing), spacing * math.ceil(highest / spacing)
        if (high - low) // spacing <= most:
            break
    return low, max(high, low + spacing), spacing


def _dots(members: Sequence[tuple[TensorRow, float]], y: float) -> list[str]:
    """The dots of a lane; neighbours that would cover each other step up and down within it."""
    drawn = []
    last, turn = -math.inf, 0
    for row, x in sorted(members, key=lambda member: member[1]):
        turn = turn + 1 if x - last < 7 else 0
        drawn.append(_dot(row, x, y + (0.0, -5.0, 5.0)[turn % 3]))
        last = x
    return drawn


def _dot(row: TensorRow, x: float, y: float) -> str:
    told = (
        f"{row.name}\n{row.scheme} · {db_text(row.snr_db)} · max error {error_text(row.max_error)}"
        f"\n{count_text(row.parameters)} weights · {row.kind}"
    )
    return element("g", element("title", escape(told)), _mark(row.kind, x, y), cls="dot")


def _mark(kind: str, x: float, y: float) -> str:
    """Shape and colour both tell the kind, so neither print nor colour blindness loses it."""
    shapes: dict[str, list[tuple[float, float]]] = {
        "feed-forward": [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        "modulation": [(0, -5.6), (5.6, 0), (0, 5.6), (-5.6, 0)],
        "projection": [(0, -5), (5.2, 4), (-5.2, 4)],
        "conv": [(0, 5), (5.2, -4), (-5.2, -4)],
        "embedding": [(a * x, a * y) for a in (1, -1) for x, y in _HALF_CROSS],
        "head": [
            (0, -5.5),
            (1.6, -1.6),
            (5.5, 0),
            (1.6, 1.6),
            (0, 5.5),
            (-1.6, 1.6),
            (-5.5, 0),
            (-1.6, -1.6),
        ],
    }
    cls = f"mark k-{kind.replace(' ', '-')}"
    if kind not in shapes:
        return element("circle", cx=x, cy=y, r=4.4, cls=cls)
    points = " ".join(f"{_plain(x + dx)},{_plain(y + dy)}" for dx, dy in shapes[kind])
    return element("polygon", points=points, cls=cls)


def _place(row: TensorRow) -> tuple[int, int, int, str]:
    stack = row.block.split(" ")[0]
    return (PARTS.index(row.part), _STACKS.index(stack), row.layer if row.layer is not None else 0, row.name)


def _plain(value: object) -> str:
    """Coordinates with two digits at most; everything else as it is."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
