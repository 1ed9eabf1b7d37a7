"""Numerical operations: `get_ops()` chooses between the compiled core and the NumPy reference."""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib import import_module

from pocketquant.errors import PocketQuantError
from pocketquant.ops import isa
from pocketquant.ops.interface import F32, KVCache, LinearWeight, Ops, PackedWeight
from pocketquant.ops.reference import ReferenceOps

__all__ = ["ENVIRONMENT", "F32", "KVCache", "LinearWeight", "Ops", "PackedWeight", "get_ops"]

ENVIRONMENT = "POCKETQUANT_OPS"
"""Name of the environment variable that forces an implementation: `native` or `reference`."""
REMEDY = (
    "install a wheel of pocketquant for this platform, or install it again where a C++17 compiler "
    "(g++ 11, clang) is"
)


def get_ops(name: str | None = None, *, threads: int | None = None) -> Ops:
    """The operations by name, by environment variable, or the best that this installation has.

    Args:
        name: "native", "reference", or None: the value of `POCKETQUANT_OPS`, else the compiled core where
            it is installed, else the reference, and a warning in the log of the process.
        threads: how many threads one call of the compiled core may use (None: it decides). The reference
            follows its BLAS instead.

    Raises:
        PocketQuantError: the name is unknown, or the compiled core was asked for (an instruction set in
            `POCKETQUANT_ISA` asks for it too) and is not installed.
    """
    wanted = name or os.environ.get(ENVIRONMENT) or "auto"
    if wanted not in ("auto", "native", "reference"):
        raise PocketQuantError(f"unknown ops {wanted!r}: use 'native' or 'reference'")
    if wanted != "reference":
        try:
            native: Ops = import_module("pocketquant.ops.native").NativeOps(threads=threads)
            return native
        except ImportError as error:
            forced = os.environ.get(isa.ENVIRONMENT)
            if wanted == "native" or forced:
                asked = f"{isa.ENVIRONMENT}={forced} needs it; " if forced else ""
                raise PocketQuantError(
                    f"the compiled core is not available ({error}): {asked}{REMEDY}, or use the NumPy reference"
                ) from error
            _warn_once(str(error))
    return ReferenceOps()


@cache
def _warn_once(reason: str) -> None:
    logging.getLogger(__name__).warning(
        "the compiled core is not available (%s): speech will be slow, with NumPy alone; %s", reason, REMEDY
    )
