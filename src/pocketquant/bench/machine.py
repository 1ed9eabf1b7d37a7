"""The machine that figures belong to, and how much of it others took meanwhile."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pocketquant.ops import get_ops
from pocketquant.ops.isa import active_isa

QUIET_SHARE = 0.05
"""The machine counts as quiet where other processes took less than this share of it."""


@dataclass(frozen=True)
class Machine:
    """What is worth knowing beside a figure.

    Attributes:
        cpu: name of the processor.
        cpus: logical processors that this process may use.
        isa: instruction set of the compiled core, or "reference" (NumPy).
        system: operating system and architecture.
        python: version of Python.
        load: one-minute load average before the measurement; None where the system has none.
    """

    cpu: str
    cpus: int
    isa: str
    system: str
    python: str
    load: float | None

    @classmethod
    def here(cls) -> Machine:
        """This one, now."""
        return cls(
            cpu=_cpu_name(),
            cpus=len(usable_cpus()),
            isa=active_isa() if get_ops().name == "native" else "reference",
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        )


def usable_cpus() -> list[int]:
    """Numbers of the logical processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pick_cpus(count: int) -> list[int]:
    """`count` usable processors, on different cores as long as there are any; fewer where there are fewer."""
    cpus = usable_cpus()
    first_of_core = [cpu for cpu in cpus if cpu == min(set(_siblings(cpu)) & set(cpus), default=cpu)]
    rest = [cpu for cpu in cpus if cpu not in first_of_core]
    return (first_of_core + rest)[:count]


def _siblings(cpu: int) -> list[int]:
    """Logical processors on the same core, as Linux lists them: "0,64" or "0-1"."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        spans = [[int(end) for end in part.split("-")] for part in text.strip().split(",")]
    except (OSError, ValueError):
        return [cpu]
    return [sibling for span in spans for sibling in range(span[0], span[-1] + 1)]


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class Neighbours:
    """How busy other processes keep the machine from the moment that this object is made (Linux only).

    The system's busy time less that of this process and its finished children.
    """

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float | None:
        """The share of all processors, 0..1, that others took so far; None where nobody counts."""
        start, now = self._start, self._now()
        if start is None or now is None or now[1] <= start[1]:
            return None
        others = now[0] - start[0]
        return min(1.0, max(0.0, others / (now[1] - start[1])))

    @staticmethod
    def _now() -> tuple[float, float] | None:
        """(busy seconds of others, seconds of all processors), since some beginning."""
        try:
            fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
            user, nice, system, idle, iowait, irq, softirq, steal = (int(field) for field in fields)
        except (OSError, ValueError):
            return None
        tick = os.sysconf("SC_CLK_TCK")
        busy = (user + nice + system + irq + softirq + steal) / tick
        usage: Sequence[resource.struct_rusage] = [
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ]
        own = sum(entry.ru_utime + entry.ru_stime for entry in usage)
        return busy - own, busy + (idle + iowait) / tick


def quiet_text(share: float | None, load: float | None) -> str:
    """One clause for a report: "quiet (others took 1% of it; load 0.1 before)"."""
    before = "" if load is None else f"load {load:.1f} before"
    if share is None:
        return before or "nobody counts who else works here"
    state = "quiet" if share < QUIET_SHARE else "NOT quiet"
    return f"{state} (others took {100 * share:.0f}% of it{'; ' + before if before else ''})"
