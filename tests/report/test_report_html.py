from __future__ import annotations

import base64
import hashlib
import math
import re
from html.parser import HTMLParser

import pytest
from report_example import example_report

from pocketquant.quantize.metrics import Distortion
from pocketquant.report import Report, TensorRow
from pocketquant.report.charts import histogram_chart, snr_chart
from pocketquant.report.html import html_report

VOID = {"meta", "input", "br", "wbr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects what the tests ask about."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text_in(self, tag: str) -> str:
        return "".join(text for where, text in self.texts if where == tag)


def test_every_tensor_has_a_row_and_every_number_is_the_reports() -> None:
    report = example_report()
    page = Page(html_report(report))
    names = [attributes for attributes in page.all("tr") if "data-part" in attributes]
    assert len(names) == len(report.rows)
    assert [attributes["data-scheme"] for attributes in names] == [row.scheme for row in report.rows]
    assert sum(int(attributes["data-size"] or 0) for attributes in names) == report.totals.bytes_after
    shown = page.text_in("b")
    assert "812 B" in shown
    assert "3.68x" in shown


def test_the_page_needs_nothing_and_allows_nothing() -> None:
    html = html_report(example_report())
    page = Page(html)
    loading = [
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "style") or key.startswith("on")
    ]
    assert loading == []
    assert "http://" not in html
    assert "https://" not in html
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = [str(meta["content"]) for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_what_comes_from_a_file_is_escaped_everywhere() -> None:
    attack = "</script><img src=x onerror=alert(1)>\"'&"
    rows = tuple(
        TensorRow(name, (2, 2), scheme, 16, 4, Distortion(1.0, 0.1, 0.1, 4), source_scheme=scheme)
        for name, scheme in ((f"flow_lm.{attack}", "int8"), ("mimi.x", attack))
    )
    report = Report(
        attack, attack, ((attack, attack),), rows, 1.0, attack, {attack: attack, "written to": attack}
    )
    page = Page(html_report(report))
    assert page.all("img") == []
    assert len(page.all("script")) == 1
    assert attack in page.text_in("h1")


def test_charts_say_in_words_what_they_show() -> None:
    page = Page(html_report(example_report()))
    drawn = [attributes for attributes in page.all("svg") if attributes.get("role") == "img"]
    assert all(attributes["aria-label"] for attributes in drawn)
    labels = " ".join(str(attributes["aria-label"]) for attributes in drawn)
    assert "language model 2.18 kB to 400 B" in labels


def test_the_dot_plot_draws_the_lossy_tensors_only() -> None:
    drawn = snr_chart(example_report().rows, 800)
    assert drawn.count("<title>") == 2  # the exact one and the silent one have no place on the axis
    assert "flow_lm.transformer.layers.0.linear1.weight" in drawn
    assert "emb_mean" not in drawn


def test_the_histogram_draws_each_level_of_a_coarse_grid() -> None:
    row = example_report().rows[1]
    assert row.histogram is not None
    assert histogram_chart(row, row.histogram).count('class="level"') == 16


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (TensorRow("flow_lm.emb_mean", (32,), "f32", 128, 128, Distortion(1.0, 0.0, 0.0, 32)),),
        (TensorRow("a", (), "f32", 0, 0, Distortion(math.nan, math.nan, math.nan, 1)),),
    ],
)
def test_odd_reports_make_a_page_too(rows: tuple[TensorRow, ...]) -> None:
    Page(html_report(Report("x", "keep", (), rows, 0.0, "0")))
