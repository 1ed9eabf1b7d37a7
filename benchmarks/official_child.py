"""The official package as `vs_official.py` measures it, in a process of its own.

Nothing is set that it does not set itself: it computes in one torch thread per thread of Python (language
model and decoder side by side), and is warm before anything is timed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from pocketquant.bench.work import Job, Stopwatch, measure


class OfficialEngine:
    """The official `TTSModel` as `work.measure` wants it."""

    def __init__(self, model: Any, voice: Any) -> None:
        self.model, self.voice, self.sample_rate = model, voice, model.sample_rate

    def stream(self, text: str, stop: threading.Event) -> Iterator[Any]:
        """See `Engine.stream`."""
        chunks: Iterator[Any] = self.model.generate_audio_stream(self.voice, text, stop=stop)
        return chunks


def load(job: Job, watch: Stopwatch) -> OfficialEngine:
    """Import torch and the package, load the model and the voice."""
    from pocket_tts import TTSModel

    watch.imported = time.monotonic()
    model = TTSModel.load_model(**job.load)
    watch.loaded = time.monotonic()
    voice = model.get_state_for_audio_prompt(job.voice)
    watch.ready = time.monotonic()
    return OfficialEngine(model, voice)


if __name__ == "__main__":
    print(json.dumps(measure(Job.from_argument(), load)))
