"""Which instruction set the compiled core uses, and which ones it could."""

from __future__ import annotations

import os

from pocketquant.errors import PocketQuantError

ENVIRONMENT = "POCKETQUANT_ISA"
"""Name of the environment variable that forces an instruction set, as `available_isas` names it."""


def available_isas() -> list[str]:
    """The instruction sets that this build, this processor and this system support, best first.

    "scalar" is always the last one; the list is empty where the compiled core is not installed.
    """
    try:
        from pocketquant import _core
    except ImportError:
        return []
    return _core.available_isas()


def active_isa() -> str:
    """The instruction set in use: the one that `POCKETQUANT_ISA` names, else the best available.

    "reference" where the compiled core is not installed and nothing is forced.

    Raises:
        PocketQuantError: `POCKETQUANT_ISA` names one that is not available.
    """
    available = available_isas()
    forced = os.environ.get(ENVIRONMENT)
    if not forced:
        return available[0] if available else "reference"
    if forced not in available:
        choice = ", ".join(available) or "none, the compiled core is not installed"
        raise PocketQuantError(f"{ENVIRONMENT}={forced}: not available on this machine; available: {choice}")
    return forced
