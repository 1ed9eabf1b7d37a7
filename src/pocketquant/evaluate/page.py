"""The evaluation for a decision maker: one HTML file with verdicts, sound, numbers and plots.

It loads nothing and runs nothing: a content security policy allows its own style, pictures and sound inside of
the file, and no script. Everything that stems from a file or a user is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from pocketquant.evaluate.catalog import GROUPS, MEASURES, Measure
from pocketquant.evaluate.pictures import (
    COLOURS,
    data_uri,
    depth_chart,
    flac,
    flip_chart,
    interval_chart,
    spectrogram_png,
)
from pocketquant.evaluate.result import Evaluation, Result
from pocketquant.evaluate.sensitivity import Group
from pocketquant.evaluate.statistics import Estimate
from pocketquant.evaluate.verdict import LIMITS, judge
from pocketquant.report.charts import element
from pocketquant.report.document import document
from pocketquant.report.format import size_text

# Measures that are drawn, with the value that means no change.
DRAWN = (
    ("pause_floor_delta", 0.0),
    ("mel_distance", 0.0),
    ("eos_error_mean", 0.0),
    ("duration_ratio", 1.0),
    ("wer_delta", 0.0),
    ("similarity", 1.0),
)


def html_page(evaluation: Evaluation, ranking: Mapping[str, Sequence[Group]] | None = None) -> str:
    """The whole page as text (UTF-8).

    Args:
        evaluation: what was found.
        ranking: per recipe its groups of tensors, the most expensive first, if `--sensitivity` was asked for.
    """
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    sections = (
        _header(evaluation),
        "<main>",
        _cards(evaluation),
        _listening(evaluation),
        _table(evaluation),
        _plots(evaluation),
        _ranking(ranking or {}),
        _how(evaluation),
        "</main>",
        element("footer", element("p", "Written by pocketquant evaluate. This page loads nothing.")),
    )
    title = f"{evaluation.model} - pocketquant evaluate"
    return document(title, sections, style=style, media=True)


def _header(evaluation: Evaluation) -> str:
    takes = f"{len(evaluation.sentences)} sentences" + (
        f" x {evaluation.seeds} takes" if evaluation.seeds > 1 else ""
    )
    lead = f"Every recipe against the float model on the same {takes}, the same noise, voice "
    return element(
        "header",
        element("p", "pocketquant evaluate", cls="eyebrow"),
        element("h1", f"What quantization does to the speech of {_breakable(evaluation.model)}"),
        element("p", lead, element("b", _breakable(evaluation.voice)), cls="lead"),
    )


def _cards(evaluation: Evaluation) -> str:
    return element(
        "div", *(_card(result, evaluation.reference) for result in evaluation.variants), cls="cards"
    )


def _card(result: Result, reference: Result) -> str:
    verdict = judge(result)
    facts = []
    size, before = result.value("weights_mb"), reference.value("weights_mb")
    if size and before:
        facts.append(f"weights {size_text(round(size * 1e6))}, {before / size:.2f}x smaller")
    facts += [
        f"{words} {MEASURES[name].text(result.value(name))}"
        for name, words in (("latent_snr", "next latent"), ("pause_floor_delta", "pauses"), ("wer", "WER"))
        if result.value(name) is not None
    ]
    return element(
        "article",
        element("h3", _breakable(result.name), element("span", verdict.level, cls="badge")),
        element("p", escape(verdict.sentence)),
        element("p", escape(" · ".join(facts))),
        cls=f"card {verdict.level}",
    )


def _listening(evaluation: Evaluation) -> str:
    heard = len(evaluation.reference.audio)
    if heard == 0:
        return ""
    note = (
        "Each model on its own, from the same noise; takes of one sentence may differ and both be right. Spectrograms "
        "reach 80 dB down and up to half the sample rate: hiss shows as haze between the words."
    )
    blocks = (_takes(evaluation, index) for index in range(heard))
    return _section("listen", "Listen", element("p", note, cls="note"), *blocks)


def _takes(evaluation: Evaluation, index: int) -> str:
    rate = evaluation.sample_rate
    takes = [(result, result.audio[index]) for result in evaluation.results if len(result.audio) > index]
    longest = max(audio.size for _, audio in takes) / rate
    figures = []
    for result, audio in takes:
        heard = result.heard[index] if len(result.heard) > index else ""
        words = element("span", "heard: ", escape(heard), cls="heard") if heard else ""
        label = f"Spectrogram of {result.name}, {audio.size / rate:.1f} s"
        picture = data_uri("image/png", spectrogram_png(audio, rate, longest))
        sound = data_uri("audio/flac", flac(audio, rate))
        figures.append(
            element(
                "figure",
                element(
                    "figcaption",
                    element("b", _breakable(result.name)),
                    element("span", f"{audio.size / rate:.1f} s"),
                    words,
                ),
                f'<img src="{picture}" alt="{escape(label, quote=True)}">',
                f'<audio controls preload="none" src="{sound}"></audio>',
            )
        )
    heading = element("h3", "“", escape(evaluation.sentences[index]), "”")
    return element("div", heading, element("div", *figures, cls="players"), cls="takes")


def _table(evaluation: Evaluation) -> str:
    head = "".join(
        element("th", _breakable(name), scope="col", cls="num" if number else None)
        for number, name in enumerate(["Measure", *(result.name for result in evaluation.results)])
    )
    levels = {result.name: judge(result).findings for result in evaluation.variants}
    lines = []
    for title, measures in GROUPS.items():
        shown = [m for m in measures if any(m.name in result.measures for result in evaluation.results)]
        if shown:
            lines.append(
                element("tr", element("th", title, scope="rowgroup"), *_blank(evaluation), cls="group")
            )
        lines += [_row(measure, evaluation, levels) for measure in shown]
    table = element("table", element("thead", element("tr", head)), element("tbody", *lines), cls="measures")
    box = element(
        "div", table, cls="box short", tabindex=0, role="region", aria_label="Table of measures, scrolls"
    )
    note = (
        "Small print: 95 % intervals, bootstrap over the sentences. Coloured: beyond a limit of the verdict."
    )
    return _section("measures", "Numbers", element("p", note, cls="note"), box)


def _blank(evaluation: Evaluation) -> list[str]:
    return [element("td") for _ in evaluation.results]


def _row(measure: Measure, evaluation: Evaluation, levels: Mapping[str, Mapping[str, str]]) -> str:
    cells = []
    for result in evaluation.results:
        found = result.measures.get(measure.name)
        level = levels.get(result.name, {}).get(measure.name)
        mark = {"audible": " bad", "careful": " mid"}.get(level or "", "")
        cells.append(element("td", _cell(measure, found), cls=f"num{mark}"))
    label = f"{measure.label}, {measure.unit}" if measure.unit else measure.label
    return element("tr", element("th", escape(label), scope="row", title=measure.meaning), *cells)


def _cell(measure: Measure, found: Estimate | None) -> str:
    if found is None:
        return ""
    value = escape(measure.text(found.value, unit=False))
    if found.low is None or found.low == found.high:
        return value
    low, high = (measure.text(bound, unit=False) for bound in (found.low, found.high))
    return value + element("small", escape(f"{low} … {high}"))


def _plots(evaluation: Evaluation) -> str:
    results = list(evaluation.results)
    if not any(result.depths for result in results):
        return ""
    legend = element(
        "ul",
        *(
            element("li", element("i", cls=f"dot-v v{number % COLOURS}"), _breakable(result.name))
            for number, result in enumerate(results)
            if result.depths
        ),
        cls="legend",
    )
    depth = element(
        "figure",
        element("div", depth_chart(results, 1130), cls="wide"),
        element("div", depth_chart(results, 340), cls="narrow"),
    )
    smaller = [
        _figure(
            MEASURES[name].label + ": " + MEASURES[name].meaning,
            interval_chart(MEASURES[name], results, neutral, 330),
        )
        for name, neutral in DRAWN
        if any(name in result.measures for result in evaluation.variants)
    ]
    smaller.append(_figure("EOS flips: where in the sentence decisions differ", flip_chart(results, 330)))
    return "\n".join(
        (
            _section(
                "depth",
                "Error through the layers",
                element(
                    "p",
                    "SNR in dB of the language model's state after each layer, fed with the float model's latents.",
                    cls="note",
                ),
                legend,
                depth,
            ),
            _section("plots", "With intervals", element("div", *smaller, cls="multiples")),
        )
    )


def _figure(caption: str, chart: str) -> str:
    label, _, meaning = caption.partition(": ")
    return element(
        "figure",
        element("figcaption", element("b", escape(label)), element("span", escape(meaning))),
        chart,
    )


def _ranking(ranking: Mapping[str, Sequence[Group]]) -> str:
    if not ranking:
        return ""
    note = (
        "One group of tensors quantized at a time, everything else float. Damage is the wrong energy in the sound, "
        "teacher-forced, against the sound itself. First comes what costs most per saved byte: the best candidates "
        "for more bits."
    )
    columns = ("Group", "Saved", "Damage", "EOS error", "Damage per MB")
    head = "".join(
        element("th", name, scope="col", cls="num" if i else None) for i, name in enumerate(columns)
    )
    tables = []
    for name, groups in ranking.items():
        lines = [
            element(
                "tr",
                element("td", escape(group.label)),
                *(
                    element("td", escape(cell), cls="num")
                    for cell in (
                        size_text(group.saved_bytes),
                        group.damage_text,
                        f"{group.eos_error:.3f}",
                        f"{group.damage_per_megabyte:.2e}",
                    )
                ),
            )
            for group in groups
        ]
        table = element(
            "table", element("thead", element("tr", head)), element("tbody", *lines), cls="ranking"
        )
        tables += [
            element("h3", _breakable(name), cls="ranking-name"),
            element("div", table, cls="box", tabindex=0),
        ]
    return _section("sensitivity", "Which layer hurts", element("p", note, cls="note"), *tables)


def _how(evaluation: Evaluation) -> str:
    facts = {
        "Model": evaluation.model,
        "Voice": evaluation.voice,
        "Temperature": f"{evaluation.temperature:g}",
        "Sentences": str(len(evaluation.sentences)),
        "Takes": str(evaluation.seeds),
        **evaluation.facts,
    }
    limits = ", ".join(dict.fromkeys(MEASURES[limit.measure].label for limit in LIMITS))
    meanings = {
        f"{measure.label} ({name})": measure.meaning
        for name, measure in MEASURES.items()
        if any(name in result.measures for result in evaluation.results)
    }
    return "\n".join(
        (
            _section("how", "How it was measured", _facts(facts)),
            _section(
                "meaning",
                "What the measures mean",
                element("p", escape(f"The verdict looks at: {limits}."), cls="note"),
                _facts(meanings),
            ),
        )
    )


def _facts(facts: Mapping[str, str]) -> str:
    pairs = (
        element("dt", _breakable(name)) + element("dd", _breakable(fact)) for name, fact in facts.items()
    )
    return element("dl", *pairs, cls="facts")


def _section(identity: str, heading: str, *content: str) -> str:
    return element("section", element("h2", heading, id=identity), *content, aria_labelledby=identity)


def _breakable(name: str) -> str:
    """An escaped name that may break after its dots, slashes, pluses and underscores."""
    words = escape(name)
    for mark in "./+_":
        words = words.replace(mark, f"{mark}<wbr>")
    return words
