"""The work that every engine does, and how it is timed: the child's side of a benchmark.

Nothing but the standard library is imported here, so that an engine's import and load times are its own.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

WARM_UP_CHUNKS = 12
"""Chunks that are spoken before anything is timed: about a second."""


@dataclass(frozen=True)
class Job:
    """What a child process is to do; travels as JSON in its argument.

    Attributes:
        load: keyword arguments of the engine's `TTSModel.load_model`.
        voice: a voice file.
        text: what is spoken to measure the speed.
        sentence: what is spoken to measure the time to the first sound.
        cpus: processors that the child may use; empty: all of them.
        firsts: how often the first sound is timed.
        kind: "speak", "profile" or "batch".
        batch: sentences spoken at once (kind "batch"), and `sentences`, how often `text` is repeated for it.
        max_tokens: longest piece of text spoken in one go (kind "batch").
        spawned: when the parent started the child, by `time.monotonic`.
    """

    load: dict[str, Any]
    voice: str
    text: str
    sentence: str
    cpus: list[int] = field(default_factory=list)
    firsts: int = 5
    kind: str = "speak"
    batch: int = 1
    sentences: int = 1
    max_tokens: int = 50
    spawned: float = 0.0

    def to_json(self) -> str:
        """For the child's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_argument(cls) -> Job:
        """The job of this child process; from now on it runs on the job's processors only."""
        job = cls(**json.loads(sys.argv[1]))
        if job.cpus and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, job.cpus)
        return job


class Engine(Protocol):
    """A loaded model with its voice, ready to speak."""

    sample_rate: int

    def stream(self, text: str, stop: threading.Event) -> Iterator[Any]:
        """Chunks of sound, each with a `len`; `stop` ends the speech early."""
        ...


@dataclass
class Stopwatch:
    """When an engine passed the stages of its start."""

    started: float
    imported: float = 0.0
    loaded: float = 0.0
    ready: float = 0.0


def measure(job: Job, load: Callable[[Job, Stopwatch], Engine]) -> dict[str, Any]:
    """Load an engine and let it speak.

    Args:
        job: what to do.
        load: imports the engine, loads the model, then the voice, and notes each moment.

    Returns:
        Seconds to import, load and be ready; to the first sound; of a whole text, and what it came to.
    """
    watch = Stopwatch(time.monotonic())
    engine = load(job, watch)
    cold = speak(engine, job.sentence, chunks=1)[0][0]
    speak(engine, job.text, chunks=WARM_UP_CHUNKS)
    firsts = [speak(engine, job.sentence, chunks=1)[0][0] for _ in range(job.firsts)]
    cpu = time.process_time()
    times, sizes = speak(engine, job.text)
    cpu = time.process_time() - cpu
    return {
        "import_s": watch.imported - watch.started,
        "load_s": watch.loaded - watch.imported,
        "voice_s": watch.ready - watch.loaded,
        "start_s": watch.ready - (job.spawned or watch.started),
        "first_audio_cold_s": cold,
        "first_audio_s": firsts,
        "audio_s": sum(sizes) / engine.sample_rate,
        "after_first_audio_s": sum(sizes[1:]) / engine.sample_rate,
        "total_s": times[-1],
        "cpu_s": cpu,
        "after_first_s": times[-1] - times[0],
        "rss": _status("VmRSS"),
        "peak_rss": peak_rss(),
    }


def speak(engine: Engine, text: str, chunks: int | None = None) -> tuple[list[float], list[int]]:
    """When each chunk came, in seconds, and how many samples it had; stopped after `chunks` of them."""
    stop = threading.Event()
    times: list[float] = []
    sizes: list[int] = []
    start = time.perf_counter()
    for chunk in engine.stream(text, stop):
        if chunks is not None and len(times) >= chunks:
            continue  # on its way when the stop came
        times.append(time.perf_counter() - start)
        sizes.append(len(chunk))
        if len(times) == chunks:
            stop.set()
    return times, sizes


def peak_rss() -> int:
    """Largest resident memory of this process so far, in bytes, mapped files included.

    Linux keeps it per address space; `getrusage` would begin with the parent's from before the exec.
    """
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status(key: str) -> int | None:
    """An entry of Linux's /proc/self/status, in bytes."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith(f"{key}:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None
