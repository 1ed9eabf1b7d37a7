"""The report for people: one HTML file that needs nothing else.

Style and script are inline (page.css, page.js beside this module), charts are inline SVG, and a content
security policy with their hashes forbids the page to load or run anything more. Everything that may stem from
a file is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files

from pocketquant.report.charts import (
    element,
    histogram_chart,
    kinds_drawn,
    legend_mark,
    size_chart,
    snr_chart,
)
from pocketquant.report.document import document
from pocketquant.report.format import (
    count_text,
    db_text,
    error_text,
    ratio_text,
    seconds_text,
    shape_text,
    share_text,
    size_text,
)
from pocketquant.report.model import Histogram, Report, TensorRow, Totals
from pocketquant.report.names import PARTS

WIDE, NARROW = 1130, 340
WORST = 6


def html_report(report: Report) -> str:
    """The whole page as text (UTF-8)."""
    script = files(__package__).joinpath("page.js").read_text(encoding="utf-8")
    sections = (
        _header(report),
        "<main>",
        _totals(report),
        _sizes(report),
        _precision(report),
        _worst(report),
        _tensors(report),
        _how(report),
        "</main>",
        element(
            "footer",
            element("p", f"Written by pocketquant {escape(report.version)}. This page loads nothing."),
        ),
    )
    title = f"{report.source}, {report.recipe} - pocketquant report"
    return document(title, sections, script=script)


def _header(report: Report) -> str:
    totals = report.totals
    facts = f"{count_text(totals.parameters)} weights in {totals.tensors} tensors, recipe "
    return element(
        "header",
        element("p", "pocketquant report", cls="eyebrow"),
        element("h1", _breakable(report.source)),
        element("p", facts, element("b", escape(report.recipe)), cls="lead"),
    )


def _totals(report: Report) -> str:
    totals = report.totals
    lossy = [row for row in report.rows if not row.exact]
    lowest = min((row.snr_db for row in lossy), default=math.inf)
    cards = (
        ("Size", size_text(totals.bytes_after), f"from {size_text(totals.bytes_before)}"),
        ("Ratio", ratio_text(totals.ratio), f"{_saved(totals)} saved"),
        ("Bits per weight", f"{totals.bits_per_weight:.2f}", "scales included"),
        ("SNR of the weights", db_text(totals.snr_db), f"worst tensor {db_text(lowest)}"),
        ("Exact tensors", f"{totals.tensors - len(lossy)} of {totals.tensors}", f"{len(lossy)} rounded"),
        ("Time", seconds_text(report.seconds), "to quantize"),
    )
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", label),
                element("dd", element("b", escape(value)), element("span", escape(note))),
            )
            for label, value, note in cards
        ),
        cls="totals",
        aria_label="Totals",
    )


def _saved(totals: Totals) -> str:
    return f"{100 * (1 - totals.bytes_after / totals.bytes_before):.0f} %" if totals.bytes_before else "0 %"


def _sizes(report: Report) -> str:
    swatches = (element("li", element("i", cls=f"swatch {when}"), when) for when in ("before", "after"))
    return _section(
        "size",
        "Size by part of the model",
        element("ul", *swatches, cls="legend"),
        _both(size_chart(report, WIDE), size_chart(report, NARROW)),
        _sums_table("Part", report.by_part, report.totals),
    )


def _precision(report: Report) -> str:
    kinds = kinds_drawn(report.rows)
    if not kinds:
        return _section(
            "precision",
            "Precision by layer and kind",
            element("p", "Nothing was lost: every tensor is exact."),
        )
    legend = element("ul", *(element("li", legend_mark(kind), escape(kind)) for kind in kinds), cls="legend")
    exact = sum(row.exact for row in report.rows)
    note = (
        "One mark per rounded tensor; further right is closer to the original, 6 dB halve the error. "
        f"{exact} exact tensors are not drawn."
    )
    charts = _both(snr_chart(report.rows, WIDE), snr_chart(report.rows, NARROW))
    return _section(
        "precision", "Precision by layer and kind", element("p", note, cls="note"), legend, charts
    )


def _worst(report: Report) -> str:
    drawn = [(row, row.histogram) for row in report.worst(len(report.rows)) if row.histogram is not None][
        :WORST
    ]
    if not drawn:
        return ""
    note = (
        "The tensors with the lowest SNR. Weights are counted in units of the step that applies to them, so "
        "the levels they can take are the integers (drawn as lines where there are few). Heights are square "
        "roots, which keeps the tails visible; what lies outside the shaded range is clipped."
    )
    figures = (_histogram_figure(row, histogram) for row, histogram in drawn)
    return _section(
        "worst", "Worst tensors", element("p", note, cls="note"), element("div", *figures, cls="multiples")
    )


def _histogram_figure(row: TensorRow, histogram: Histogram) -> str:
    scales = "one scale" if histogram.groups == 1 else f"{histogram.groups} scales"
    facts = f"{row.scheme} · {db_text(row.snr_db)} · {share_text(row.clipped_share)} clipped"
    counted = histogram.sample
    more = f"median step {error_text(histogram.step)}, {scales}, {shape_text(row.shape)}"
    more += f", {count_text(counted)} weights looked at" if counted < row.parameters else ""
    return element(
        "figure",
        element(
            "figcaption",
            element("code", _breakable(row.name)),
            element("b", escape(facts)),
            element("span", escape(more)),
        ),
        histogram_chart(row, histogram),
    )


def _tensors(report: Report) -> str:
    columns = (
        ("Tensor", "text"),
        ("Kind", "text"),
        ("Shape", "number"),
        ("Scheme", "text"),
        ("Before", "number"),
        ("After", "number"),
        ("Bits/weight", "number"),
        ("SNR", "number"),
        ("Max error", "number"),
        ("Clipped", "number"),
    )
    head = "".join(
        element(
            "th",
            element("button", label, type="button"),
            scope="col",
            cls="num" if sort == "number" else None,
            aria_sort="none",
        )
        for label, sort in columns
    )
    table = element(
        "table",
        element("caption", "All tensors", cls="hidden"),
        element("thead", element("tr", head)),
        element("tbody", *map(_tensor_row, report.rows)),
        id="tensors-table",
    )
    controls = element(
        "form",
        element(
            "label", "Find", '<input type="search" id="find" placeholder="part of a name" autocomplete="off">'
        ),
        element("label", "Part", _choice("part", (part for part in PARTS if part in report.by_part))),
        element("label", "Scheme", _choice("scheme", report.by_scheme)),
        element("output", id="shown", aria_live="polite"),
        cls="controls",
        role="search",
        aria_label="Filter the tensors",
    )
    box = element(
        "div", table, cls="box", tabindex=0, role="region", aria_label="Table of all tensors, scrolls"
    )
    return _section("tensors", "Every tensor", controls, box)


def _choice(name: str, options: Iterable[str]) -> str:
    entries = '<option value="">all</option>' + "".join(
        element("option", escape(option)) for option in options
    )
    return element("select", entries, id=name)


def _tensor_row(row: TensorRow) -> str:
    def number(shown: str, value: float) -> str:
        return element("td", escape(shown), cls="num", data_v=repr(value))

    scheme = row.scheme if row.scheme != row.source_scheme else f"{row.scheme} (kept)"
    return element(
        "tr",
        element("th", element("code", _breakable(row.name)), scope="row"),
        element("td", escape(row.kind)),
        number(shape_text(row.shape), row.parameters),
        element("td", escape(scheme), cls="scheme"),
        number(size_text(row.bytes_before), row.bytes_before),
        number(size_text(row.bytes_after), row.bytes_after),
        number(f"{row.bits_per_weight:.2f}", row.bits_per_weight),
        number(db_text(row.snr_db), row.snr_db),
        number(error_text(row.max_error), row.max_error),
        number(share_text(row.clipped_share), row.clipped_share),
        data_part=row.part,
        data_scheme=row.scheme,
        data_size=row.bytes_after,
    )


def _how(report: Report) -> str:
    rules = element(
        "table",
        element(
            "thead",
            "<tr><th scope=col class=num>#</th><th scope=col>Pattern</th><th scope=col>Scheme</th></tr>",
        ),
        element(
            "tbody",
            *(
                element(
                    "tr",
                    element("td", str(number), cls="num"),
                    element("td", element("code", _breakable(pattern))),
                    element("td", escape(scheme)),
                )
                for number, (pattern, scheme) in enumerate(report.rules, start=1)
            ),
        ),
    )
    facts = {
        "Source": report.source,
        "Recipe": report.recipe,
        **report.provenance,
        "pocketquant": report.version,
    }
    listed = element(
        "dl",
        *(element("dt", escape(label)) + element("dd", _breakable(value)) for label, value in facts.items()),
        cls="facts",
    )
    return "\n".join(
        (
            _section("schemes", "By scheme", _sums_table("Scheme", report.by_scheme, report.totals)),
            element(
                "div",
                _section(
                    "recipe",
                    "Recipe",
                    element("p", "The first pattern that matches decides.", cls="note"),
                    _boxed(rules),
                ),
                _section("provenance", "Provenance", listed),
                cls="pair",
            ),
        )
    )


def _sums_table(label: str, groups: Mapping[str, Totals], totals: Totals) -> str:
    columns = (label, "Tensors", "Weights", "Before", "After", "Ratio", "Bits/weight", "SNR")
    head = "".join(
        element("th", column, scope="col", cls="num" if index else None)
        for index, column in enumerate(columns)
    )
    lines = [*groups.items(), ("total", totals)]
    return _boxed(
        element(
            "table",
            element("thead", element("tr", head)),
            element("tbody", *(_sums_row(name, sums) for name, sums in lines)),
            cls="sums",
        )
    )


def _sums_row(name: str, sums: Totals) -> str:
    cells = (
        str(sums.tensors),
        count_text(sums.parameters),
        size_text(sums.bytes_before),
        size_text(sums.bytes_after),
        ratio_text(sums.ratio),
        f"{sums.bits_per_weight:.2f}",
        db_text(sums.snr_db),
    )
    return element(
        "tr",
        element("th", escape(name), scope="row"),
        *(element("td", escape(cell), cls="num") for cell in cells),
    )


def _section(identity: str, heading: str, *content: str) -> str:
    return element("section", element("h2", heading, id=identity), *content, aria_labelledby=identity)


def _boxed(table: str) -> str:
    return element("div", table, cls="box short")


def _both(wide: str, narrow: str) -> str:
    return element("figure", element("div", wide, cls="wide"), element("div", narrow, cls="narrow"))


def _breakable(name: str) -> str:
    """An escaped name that may break after its dots and slashes."""
    return escape(name).replace(".", ".<wbr>").replace("/", "/<wbr>")
