"""The evaluation as Markdown: verdicts and one table, for a repository or an issue."""

from __future__ import annotations

from pocketquant.evaluate.catalog import GROUPS, Measure
from pocketquant.evaluate.result import Evaluation
from pocketquant.evaluate.statistics import Estimate
from pocketquant.evaluate.verdict import judge


def markdown_page(evaluation: Evaluation) -> str:
    """Verdicts, the table (a line per measure, a column per recipe) and how it was measured."""
    names = [result.name for result in evaluation.results]
    lines = [f"- **{result.name}**: {judge(result).sentence}" for result in evaluation.variants]
    lines += ["", _line(["", *names]), _line(["---", *("---:" for _ in names)])]
    for title, measures in GROUPS.items():
        shown = [m for m in measures if any(m.name in result.measures for result in evaluation.results)]
        if shown:
            lines.append(_line([f"**{title}**", *("" for _ in names)]))
        for measure in shown:
            label = f"{measure.label}, {measure.unit}" if measure.unit else measure.label
            cells = [
                estimate_text(measure, result.measures.get(measure.name)) for result in evaluation.results
            ]
            lines.append(_line([label, *cells]))
    facts = {
        "model": evaluation.model,
        "voice": evaluation.voice,
        "temperature": f"{evaluation.temperature:g}",
        "sentences": str(len(evaluation.sentences)),
        "takes": str(evaluation.seeds),
        **evaluation.facts,
    }
    lines += ["", ", ".join(f"{name}: {fact}" for name, fact in facts.items()) + "."]
    return "\n".join(lines) + "\n"


def estimate_text(measure: Measure, found: Estimate | None) -> str:
    """A value with its interval: "0.3 [0.1, 0.6]"."""
    if found is None:
        return "-"
    value = measure.text(found.value, unit=False)
    if found.low is None or found.low == found.high:
        return value
    return f"{value} [{measure.text(found.low, unit=False)}, {measure.text(found.high, unit=False)}]"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
