"""The same work in the official package and here, alternating, in one run.

    python benchmarks/vs_official.py [--models full,18m,7m,2m] [--repeat 5] [--seconds 8] [--folder DIR] [--json FILE]

Needs an environment that has both (`make parity` makes one: .venv-parity/bin/python). Every figure comes from a
process of its own; each round runs all engines once, one after the other, and every ratio is taken within its
round, so that a busy minute of the machine falls on both sides. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from pocketquant.bench.machine import Machine, Neighbours, pick_cpus, quiet_text
from pocketquant.bench.material import AS_IT_IS, NEVER_ENDS, SHORT_TOKENS, Material, material
from pocketquant.bench.run import Plan, Spread, batch_job, figures, job, spawn
from pocketquant.bench.work import Job
from pocketquant.cli.bench import spread_text
from pocketquant.cli.console import err_console, progress

OFFICIAL_CHILD = (str(Path(__file__).with_name("official_child.py")),)
MODELS = {
    "full": "english_2026-10",
    "18m": "english_18m_2026-10",
    "7m": "english_7m_2026-10",
    "2m": "english_2m_2026-10",
}
SIDES = 2
"""Processors for everybody: the official package computes in two threads, and so does this one."""
BATCH = 8
Run = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """One of the competitors: a row of the table."""

    name: str
    recipe: str
    official: bool = False
    cpus: int = SIDES

    def job(self, made: Material) -> Job:
        """What its child does."""
        if not self.official:
            return job(made, self.recipe, self.cpus)
        load: dict[str, Any] = {"config": made.loads[AS_IT_IS]["config"], "eos_threshold": NEVER_ENDS}
        load["quantize"] = self.recipe != AS_IT_IS
        return replace(job(made, AS_IT_IS, self.cpus), load=load, cpus=pick_cpus(self.cpus))

    def run(self, made: Material) -> Run:
        """Measure it once."""
        return spawn(self.job(made), OFFICIAL_CHILD) if self.official else spawn(self.job(made))


OFFICIAL = Engine("official, float32", AS_IT_IS, official=True)
OFFICIAL_INT8 = Engine("official, int8", "int8", official=True)
OURS = (
    Engine("pocketquant, f32", AS_IT_IS),
    Engine("pocketquant, int8", "int8"),
    Engine("pocketquant, int4", "int4"),
)
ONE_THREAD = Engine("pocketquant, int8, one CPU", "int8", cpus=1)
ENGINES = (OFFICIAL, OFFICIAL_INT8, *OURS, ONE_THREAD)

RECIPES = (AS_IT_IS, "int8", "int4")

COLUMNS = (
    ("x real time", "x_real_time", 1),
    ("first audio, ms", "first_audio_ms", 0),
    ("load, ms", "load_ms", 0),
    ("start to ready, ms", "start_ms", 0),
    ("CPU, ms per s of speech", "cpu_ms_per_s", 0),
    ("peak RSS, MB", "peak_rss_mb", 0),
)


def compare(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all engines on one architecture: raw runs by engine, and batches of ours."""
    language = MODELS[name]
    batching = name == "full"
    with material(
        language,
        RECIPES,
        seconds=arguments.seconds,
        voice_positions=arguments.voice_positions,
        random_weights=True,
        folder=arguments.folder,
    ) as made:
        runs: dict[str, list[Run]] = {engine.name: [] for engine in ENGINES}
        batches: list[Run] = []
        with progress(arguments.repeat * (len(ENGINES) + batching), language) as advance:
            for _ in range(arguments.repeat):
                for engine in ENGINES:
                    runs[engine.name].append(engine.run(made))
                    advance(engine.name)
                if batching:
                    plan = Plan(threads=(SIDES,), batch=(BATCH,))
                    batches.append(spawn(batch_job(made, "int8", plan, BATCH)))
                    advance("batch")
        lengths = {run["audio_s"] for found in runs.values() for run in found}
        if len(lengths) > 1:
            raise SystemExit(f"{language}: the engines spoke for different times: {sorted(lengths)} s")
        return {
            "model": language,
            "tokens": made.tokens,
            "audio_s": lengths.pop(),
            "runs": runs,
            "batches": batches,
        }


def by_figure(runs: Sequence[Run], name: str) -> list[float]:
    """One figure of every run."""
    return [figures(run)[name] for run in runs]


def ratios(runs: Sequence[Run], others: Sequence[Run], name: str) -> Spread:
    """The figure of each run to that of the other engine in the same round."""
    pairs = zip(by_figure(runs, name), by_figure(others, name), strict=True)
    return Spread.of([ours / theirs for ours, theirs in pairs])


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column holds names, the others numbers."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows))


def engines_table(found: dict[str, Any]) -> str:
    """All engines on one model, medians with their ranges, and speed as a ratio to both official ones."""
    headings = ["engine", *(heading for heading, _, _ in COLUMNS), "to official float32", "to official int8"]
    rows = []
    for engine in ENGINES:
        runs = found["runs"][engine.name]
        cells = [spread_text(asdict(Spread.of(by_figure(runs, name))), digits) for _, name, digits in COLUMNS]
        cells += [
            spread_text(asdict(ratios(runs, found["runs"][base.name], "x_real_time")), 2) + "x"
            for base in (OFFICIAL, OFFICIAL_INT8)
        ]
        rows.append([engine.name, *cells])
    return table(headings, rows)


def aims_table(found: dict[str, Any]) -> str:
    """The figures that the project set out to reach, on the full-size model."""
    runs = found["runs"]
    official, int8, int4, one = (
        runs[engine.name] for engine in (OFFICIAL_INT8, OURS[1], OURS[2], ONE_THREAD)
    )

    def row(what: str, figure: str, ours: Sequence[Run], digits: int, aim: str) -> list[str]:
        theirs, here = median(by_figure(official, figure)), median(by_figure(ours, figure))
        return [what, f"{theirs:.{digits}f}", f"{here:.{digits}f}", aim]

    speed = ratios(int8, official, "x_real_time")
    smaller = ratios(int4, int8, "x_real_time")
    rows = [
        row("streaming, int8, two threads: x real time", "x_real_time", int8, 1, "3 times the official"),
        ["... to the official int8, round by round", "1", f"{speed.median:.2f}", ">= 3.0"],
        row("streaming, int4: x real time", "x_real_time", int4, 1, ""),
        ["... to our int8, round by round", "", f"{smaller.median:.2f}", ">= 1.15"],
        row("streaming, int8, one CPU: x real time", "x_real_time", one, 1, ">= 6"),
        row(f"first audio, int8 ({SHORT_TOKENS} tokens), ms", "first_audio_ms", int8, 0, "<= 45"),
        row("peak RSS, int8, MB", "peak_rss_mb", int8, 0, "<= 220"),
        row("peak RSS, int4, MB", "peak_rss_mb", int4, 0, "<= 190"),
        row("ready to speak from a file, int8, ms (imports done)", "load_ms", int8, 0, "<= 500"),
        row("ready to speak from a file, int8, ms (from nothing)", "start_ms", int8, 0, ""),
    ]
    if found["batches"]:
        batch = [run["audio_s"] / run["total_s"] for run in found["batches"]]
        gain = Spread.of([a / b for a, b in zip(batch, by_figure(int8, "x_real_time"), strict=True)])
        rows.append([f"batches of {BATCH}, int8: x real time", "", f"{median(batch):.1f}", ""])
        rows.append(["... to our streaming, round by round", "", f"{gain.median:.2f}", ">= 1.5"])
    return table([found["model"], "official int8", "pocketquant", "aim"], rows)


def small_table(all_found: Sequence[dict[str, Any]]) -> str:
    """Speed of each model, and its ratio to the official package."""
    speeds_of = (OFFICIAL, OFFICIAL_INT8, *OURS)
    headings = [
        "model",
        *(engine.name for engine in speeds_of),
        "our int8 to official float32",
        "to official int8",
    ]
    rows = []
    for found in all_found:
        runs = found["runs"]
        speeds = [median(by_figure(runs[engine.name], "x_real_time")) for engine in speeds_of]
        gains = [
            ratios(runs[OURS[1].name], runs[base.name], "x_real_time") for base in (OFFICIAL, OFFICIAL_INT8)
        ]
        rows.append(
            [
                found["model"],
                *(f"{speed:.1f}" for speed in speeds),
                *(f"{gain.median:.2f}x" for gain in gains),
            ]
        )
    return table(headings, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="full,18m,7m,2m", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--seconds", type=float, default=8, help="of speech")
    parser.add_argument("--voice-positions", type=int, default=126)
    parser.add_argument("--folder", type=Path, help="keep the model files here")
    parser.add_argument("--json", type=Path, help="write every single run to this file")
    arguments = parser.parse_args()
    names = [name for name in arguments.models.split(",") if name]
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"unknown model {unknown[0]!r}: choose from {', '.join(MODELS)}")
    machine, neighbours = Machine.here(), Neighbours()
    all_found = []
    for name in names:
        found = compare(name, arguments)
        all_found.append(found)
        print(
            f"\n{found['model']}, random weights: {found['tokens']} tokens, {found['audio_s']:.1f} s of speech, "
            f"voice of {arguments.voice_positions} positions\n\n{engines_table(found)}"
        )
        if name == "full":
            print(f"\n{aims_table(found)}")
    print(f"\nx real time, two CPUs\n\n{small_table(all_found)}\n")
    share = neighbours.share()
    print(
        f"{machine.cpu}, {min(SIDES, machine.cpus)} of {machine.cpus} CPUs, {machine.isa}, {machine.system}, "
        f"Python {machine.python}; {quiet_text(share, machine.load)}. "
        f"Medians (lowest-highest) of {arguments.repeat} rounds."
    )
    if arguments.json is not None:
        whole = {"machine": asdict(machine), "others_share": share, "models": all_found}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        err_console.print(f"wrote {arguments.json}")


if __name__ == "__main__":
    main()
