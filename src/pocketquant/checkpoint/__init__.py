"""Files <-> named tensors: official checkpoints, our own files, voices, and where they come from."""

from __future__ import annotations
