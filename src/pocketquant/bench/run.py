"""Children one after the other, and the medians of what they say."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from pocketquant.bench.machine import Machine, Neighbours, pick_cpus
from pocketquant.bench.material import Material
from pocketquant.bench.work import Job
from pocketquant.errors import PocketQuantError

OUR_CHILD = ("-m", "pocketquant.bench.child")


@dataclass(frozen=True)
class Spread:
    """The median of several repeats, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(median(values), min(values), max(values))


def spawn(job: Job, program: Sequence[str] = OUR_CHILD) -> dict[str, Any]:
    """Run a job in a fresh process of this Python and return what it found.

    Raises:
        PocketQuantError: the child failed; with the last line that it wrote.
    """
    job = replace(job, spawned=time.monotonic())
    done = subprocess.run([sys.executable, *program, job.to_json()], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise PocketQuantError(f"the measuring process failed: {lines[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def figures(run: dict[str, Any]) -> dict[str, float]:
    """The figures of one "speak" run that are reported, in the units of their names.

    `x_real_time` is seconds of speech per second of waiting, from the call to the last chunk;
    `x_real_time_after_first` leaves out the first chunk and the wait for it. `load_ms` is `load_model` and
    the voice in a process that has imported the package, `start_ms` everything from the start of the process.
    `cpu_ms_per_s` is processor time per second of speech, all threads together: what neighbours disturb least.
    """
    after = run["after_first_s"]
    return {
        "x_real_time": run["audio_s"] / run["total_s"],
        "x_real_time_after_first": run["after_first_audio_s"] / after if after else 0.0,
        "first_audio_ms": 1000 * median(run["first_audio_s"]),
        "first_audio_cold_ms": 1000 * run["first_audio_cold_s"],
        "load_ms": 1000 * (run["load_s"] + run["voice_s"]),
        "start_ms": 1000 * run["start_s"],
        "cpu_ms_per_s": 1000 * run["cpu_s"] / run["audio_s"],
        "peak_rss_mb": run["peak_rss"] / 1e6,
    }


def spreads(runs: Sequence[dict[str, Any]]) -> dict[str, Spread]:
    """Each figure over all runs."""
    columns = [figures(run) for run in runs]
    return {name: Spread.of([column[name] for column in columns]) for name in columns[0]}


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        threads: numbers of threads to generate with; a child may use as many processors.
        repeat: fresh processes for each figure.
        batch: sentences spoken at once, empty to leave that out.
        profile: whether the stages are timed.
    """

    threads: tuple[int, ...] = (1, 2)
    repeat: int = 3
    batch: tuple[int, ...] = ()
    profile: bool = True

    def children(self, recipes: int) -> int:
        """How many processes that takes."""
        return recipes * (self.repeat * (len(self.threads) + len(self.batch)) + self.profile)


def measure_model(
    material: Material, plan: Plan, advance: Callable[[str], None] = lambda what: None
) -> dict[str, Any]:
    """Measure a model in all its recipes.

    Rounds go through all recipes and thread counts before the next one begins, so that a busy minute of the
    machine disturbs all alike.

    Args:
        material: the model, its voice and texts.
        plan: how much of it.
        advance: called after each process with what it did.

    Returns:
        A dictionary for JSON: `machine`, `others_share`, `model`, `plan`, and `results`, one per recipe and
        number of threads, with the spread of each figure and the raw runs.
    """
    machine, neighbours = Machine.here(), Neighbours()
    speaking: dict[tuple[str, int], list[dict[str, Any]]] = {}
    batches: dict[tuple[str, int], list[dict[str, Any]]] = {}
    profiles: dict[str, dict[str, Any]] = {}
    for _ in range(plan.repeat):
        for recipe in material.loads:
            for threads in plan.threads:
                speaking.setdefault((recipe, threads), []).append(spawn(job(material, recipe, threads)))
                advance(f"{recipe}, {threads} threads")
            for size in plan.batch:
                batches.setdefault((recipe, size), []).append(spawn(batch_job(material, recipe, plan, size)))
                advance(f"{recipe}, batches of {size}")
    if plan.profile:
        for recipe in material.loads:
            profiles[recipe] = spawn(replace(job(material, recipe, 1), kind="profile"))
            advance(f"{recipe}, stages")
    return {
        "machine": asdict(machine),
        "others_share": neighbours.share(),
        "model": {
            "name": material.name,
            "tokens": material.tokens,
            "bytes": material.bytes,
        },
        "plan": asdict(plan),
        "results": [
            {
                "recipe": recipe,
                "threads": threads,
                "audio_s": runs[0]["audio_s"],
                **{name: asdict(spread) for name, spread in spreads(runs).items()},
                "runs": runs,
            }
            for (recipe, threads), runs in speaking.items()
        ],
        "batches": [
            {
                "recipe": recipe,
                "batch": size,
                "x_real_time": asdict(Spread.of([run["audio_s"] / run["total_s"] for run in runs])),
                "peak_rss_mb": asdict(Spread.of([run["peak_rss"] / 1e6 for run in runs])),
                "runs": runs,
            }
            for (recipe, size), runs in batches.items()
        ],
        "stages": profiles,
    }


def job(material: Material, recipe: str, threads: int) -> Job:
    """A "speak" job on that many processors."""
    load = {**material.loads[recipe], "threads": threads}
    return Job(load, str(material.voice), material.text, material.sentence, cpus=pick_cpus(threads))


def batch_job(material: Material, recipe: str, plan: Plan, size: int) -> Job:
    """A "batch" job on the most processors of the plan: as many sentences as the largest batch has."""
    return replace(
        job(material, recipe, max(plan.threads)),
        kind="batch",
        batch=size,
        sentences=max(plan.batch),
        max_tokens=material.tokens,
    )
