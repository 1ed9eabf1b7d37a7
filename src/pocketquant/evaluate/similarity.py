"""Speaker similarity, where an encoder is installed: `pip install 'pocketquant[similarity]'` (resemblyzer).

Wan et al., "Generalized end-to-end loss for speaker verification" (arXiv:1710.10467); the package ships its
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketquant.audio import Samples, resample

Embedder = Callable[[Samples, int], NDArray[np.float32]]
"""Sound `[samples]` and its rate in Hz to a vector of length 1."""
ENCODER_RATE = 16000


def speaker_encoder() -> Embedder | None:
    """The encoder, or None where it is not installed."""
    if find_spec("resemblyzer") is None:
        return None
    library: Any = import_module("resemblyzer")
    encoder = library.VoiceEncoder("cpu", verbose=False)

    def embed(samples: Samples, rate: int) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = encoder.embed_utterance(resample(samples, rate, ENCODER_RATE))
        return vector

    return embed
