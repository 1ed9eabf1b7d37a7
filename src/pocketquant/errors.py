"""The exceptions of pocketquant.

Every error that a user can cause or meet derives from `PocketQuantError` and carries one line: what is
wrong, where (file, tensor, option) and what to do about it. The command line prints that line and exits
with code 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PocketQuantError(Exception):
    """Base class of everything that pocketquant raises on purpose."""


class CheckpointError(PocketQuantError):
    """A weights file is missing, damaged, of another model, or holds values that cannot be used."""


class ConfigError(PocketQuantError):
    """A model config (YAML) is missing, malformed or contradicts the weights."""


class RecipeError(PocketQuantError):
    """A recipe names an unknown scheme, or a pattern that matches no tensor."""


class QuantizationError(PocketQuantError, ValueError):
    """An array cannot be quantized as asked: NaN, infinity, too few levels, a scale out of range."""


class DownloadError(PocketQuantError):
    """A file of the hub or of the web is not to be had: offline, unknown, gated."""


class VoiceError(PocketQuantError, ValueError):
    """A voice is unknown, unreadable, or was made for other weights."""


class TextError(PocketQuantError, ValueError):
    """A text cannot be spoken (it is empty)."""


class AudioError(PocketQuantError):
    """A recording cannot be read or written."""


def near_misses(word: str, known: Iterable[str], *, most: int = 3) -> str:
    """A clause `; did you mean A, B?` for the known words closest to `word`, or an empty string."""
    close = get_close_matches(word, list(known), n=most, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else ""
