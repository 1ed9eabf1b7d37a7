"""Where the time of a frame goes: the stages of the model, and the operations inside each.

Language model and decoder take turns in one thread here, and its own processor time is counted: what others
take of the core is left out, and so is what the looking at the clock costs. In a stream the two run side by
side and share the memory's bandwidth.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketquant.bench.work import WARM_UP_CHUNKS, Job, speak
from pocketquant.model.noise import sample_noise
from pocketquant.model.text import prepare

if TYPE_CHECKING:
    from pocketquant.bench.child import OurEngine

NO_WORK = {"pack", "splitting", "new_cache"}
"""Methods of `Ops` that compute nothing."""

STAGES = (
    ("LM embed", "flow_lm.embed_latents"),
    ("LM transformer", "flow_lm.transformer"),
    ("LM norm", "flow_lm.condition"),
    ("flow head", "flow_lm.flow_net.sample"),
    ("EOS", "flow_lm.eos_logit"),
    ("latent", "flow_lm.to_codec"),
    ("Mimi projection", "decoder.project"),
    ("Mimi upsample", "decoder.upsample"),
    ("Mimi transformer", "decoder.transformer"),
    ("SEANet", "decoder.seanet"),
)
"""Name -> what is called for it, below `SpeechModel`."""


class Timed:
    """Something callable that tells a recorder how long it took; everything else is passed through."""

    def __init__(self, inner: Any, note: Callable[[float], None]) -> None:
        self._inner, self._note = inner, note

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start = time.thread_time()
        result = self._inner(*arguments, **options)
        self._note(time.thread_time() - start)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Recorder:
    """Seconds of each stage, and of each operation in it, in the frame at hand; then of all frames."""

    def __init__(self, clock_cost: tuple[float, float] | None = None) -> None:
        """clock_cost: seconds that timing a call adds to its own time, and to its surroundings."""
        self.clock_inside, self.clock_whole = clock_cost or self._clock_cost()
        self.frame: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[tuple[str, str]] = Counter()
        self.frames: list[Counter[tuple[str, str]]] = []
        self.counts: list[Counter[tuple[str, str]]] = []
        self._inside: Counter[str] = Counter()
        self._inside_calls: Counter[str] = Counter()

    def attach(self, speech: Any) -> None:
        """Wrap the operations and the stages of a `SpeechModel`, for good."""
        ops = speech.ops
        for name in dir(ops):
            method = getattr(ops, name)
            if not name.startswith("_") and name not in NO_WORK and callable(method):
                setattr(ops, name, Timed(method, self._op(name)))
        for stage, path in STAGES:
            *owners, name = path.split(".")
            owner = speech
            for step in owners:
                owner = getattr(owner, step)
            if getattr(owner, name) is not None:
                setattr(owner, name, Timed(getattr(owner, name), self._stage(stage)))

    def _op(self, name: str) -> Callable[[float], None]:
        def note(seconds: float) -> None:
            self._inside[name] += seconds  # type: ignore[assignment]
            self._inside_calls[name] += 1

        return note

    def _stage(self, stage: str) -> Callable[[float], None]:
        def note(seconds: float) -> None:
            timed = sum(self._inside_calls.values())
            self.add(stage, "", seconds - self.clock_inside - timed * self.clock_whole)
            for op, spent in self._inside.items():
                calls = self._inside_calls[op]
                self.add(stage, op, spent - calls * self.clock_inside, calls)
            self.forget()

        return note

    def add(self, stage: str, op: str, seconds: float, calls: int = 1) -> None:
        """Add to the frame at hand; the operation "" is the stage itself."""
        self.frame[stage, op] += seconds  # type: ignore[assignment]
        self.calls[stage, op] += calls

    def clocks(self) -> float:
        """Seconds that all timing in the frame at hand has cost so far."""
        return sum(self.calls.values()) * self.clock_whole

    def forget(self) -> None:
        """Drop operations that belong to no stage."""
        self._inside.clear()
        self._inside_calls.clear()

    def _clock_cost(self) -> tuple[float, float]:
        """Measured on calls that do nothing."""
        self._inside, self._inside_calls = Counter(), Counter()
        rounds = 2000
        nothing = Timed(lambda: None, self._op("nothing"))
        start = time.thread_time()
        for _ in range(rounds):
            nothing()
        whole = (time.thread_time() - start) / rounds
        return self._inside["nothing"] / rounds, whole

    def end_frame(self) -> None:
        """Keep the frame at hand and begin the next one."""
        self.frames.append(self.frame)
        self.counts.append(self.calls)
        self.frame, self.calls = Counter(), Counter()
        self.forget()

    def table(self) -> list[dict[str, Any]]:
        """Per stage the median milliseconds of a frame, and of the operations in it: name -> [ms, calls]."""
        ops: dict[str, dict[str, list[float]]] = defaultdict(dict)
        for stage, op in self.frames[0]:
            ms = 1000 * median(frame[stage, op] for frame in self.frames)
            if calls := median(count[stage, op] for count in self.counts):  # some only begin an utterance
                ops[stage][op] = [round(ms, 4), calls]
        return [
            {
                "stage": stage,
                "ms": spent[""][0],
                "between_ops_ms": round(spent[""][0] - sum(ms for op, (ms, _) in spent.items() if op), 4),
                "ops": {op: pair for op, pair in spent.items() if op},
            }
            for stage, spent in ops.items()
        ]


def profile(engine: OurEngine, job: Job) -> dict[str, Any]:
    """Speak `text` in one thread, frame by frame.

    Returns:
        `lm_ms`, `mimi_ms`: median milliseconds of a frame; `stages`: for each stage the same, those spent
        between its operations, and the operations with their milliseconds and calls; `prompt_ms`: reading the
        text of `tokens` tokens; `frames`: how many.
    """
    model = engine.model
    speech, lm = model.speech, model.speech.flow_lm
    tokens = np.array(model.tokenizer.encode(prepare(job.text, model.rules).text), np.int64)
    frames = speech.max_frames(len(tokens))
    speak(engine, job.text, chunks=WARM_UP_CHUNKS)
    rng, schedule = np.random.default_rng(0), lm.flow_net.schedule(model.sampler_decode_steps)
    caches = lm.new_caches(engine.voice.positions + len(tokens) + frames, engine.voice.layers)
    start = time.thread_time()
    lm.prompt(lm.embed_text(tokens), caches)
    prompt_s = time.thread_time() - start
    state = speech.decoder.new_state()
    recorder = Recorder()
    recorder.attach(speech)
    halves: list[tuple[float, float]] = []
    latent = np.full((1, lm.latent_dim), np.nan, np.float32)
    for _ in range(frames):
        noise = sample_noise(rng, lm.latent_dim, model.temp, model.noise_clamp)
        start = time.thread_time()
        latent, _ = lm.step(latent, caches, noise, schedule)
        lm_s, clocks = time.thread_time() - start, recorder.clocks()
        start = time.thread_time()
        speech.decoder.decode_frame(lm.to_codec(latent), state)
        mimi_s = time.thread_time() - start
        halves.append((lm_s - clocks, mimi_s - (recorder.clocks() - clocks)))
        recorder.end_frame()
    return {
        "frames": frames,
        "tokens": len(tokens),
        "prompt_ms": 1000 * prompt_s,
        "lm_ms": 1000 * median(lm_s for lm_s, _ in halves),
        "mimi_ms": 1000 * median(mimi_s for _, mimi_s in halves),
        "stages": recorder.table(),
    }
