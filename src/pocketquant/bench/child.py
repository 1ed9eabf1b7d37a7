"""The program of a child process that measures this package: `python -m pocketquant.bench.child JOB`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pocketquant.bench.work import Job, Stopwatch, measure, peak_rss

if TYPE_CHECKING:
    from pocketquant.checkpoint.voice import VoiceState
    from pocketquant.model.tts import TTSModel


class OurEngine:
    """This package as `work.measure` wants it."""

    def __init__(self, model: TTSModel, voice: VoiceState) -> None:
        self.model, self.voice, self.sample_rate = model, voice, model.sample_rate

    def stream(self, text: str, stop: threading.Event) -> Iterator[Any]:
        """See `Engine.stream`."""
        return self.model.generate_audio_stream(self.voice, text, stop=stop)


def load(job: Job, watch: Stopwatch) -> OurEngine:
    """Import the package, load the model and the voice."""
    import logging

    from pocketquant.model.tts import TTSModel

    logging.disable(logging.WARNING)  # random weights never end by themselves, which is worth a warning
    watch.imported = time.monotonic()
    model = TTSModel.load_model(**job.load)
    watch.loaded = time.monotonic()
    voice = model.get_state_for_audio_prompt(job.voice)
    watch.ready = time.monotonic()
    return OurEngine(model, voice)


def measure_batch(job: Job) -> dict[str, Any]:
    """Speak `text` `sentences` times, `batch` of them at once."""
    engine = load(job, Stopwatch(time.monotonic()))
    speak = engine.model.generate_audio

    def seconds(sentences: int) -> tuple[float, int]:
        text = " ".join([job.text] * sentences)
        start = time.perf_counter()
        sound = speak(engine.voice, text, max_tokens=job.max_tokens, **_batch(job.batch))
        return time.perf_counter() - start, len(sound)

    seconds(1)
    total, samples = seconds(job.sentences)
    return {"total_s": total, "audio_s": samples / engine.sample_rate, "peak_rss": peak_rss()}


def _batch(size: int) -> dict[str, Any]:
    """One sentence after the other is what happens without the argument."""
    return {"batch": size} if size > 1 else {}


def main() -> None:
    """Do the job of the command line; the result goes to stdout as JSON."""
    job = Job.from_argument()
    if job.kind == "profile":
        from pocketquant.bench.stages import profile

        result = profile(load(job, Stopwatch(time.monotonic())), job)
    elif job.kind == "batch":
        result = measure_batch(job)
    else:
        result = measure(job, load)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
