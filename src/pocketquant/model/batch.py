"""Speak many utterances together: the language model's weights are read once a frame for all of them.

    waiting -> [prompt] -> speaking -> [one step of the language model for all] -> latents -> [decode] -> sound

There is no thread for each stage. Every thread takes what can be done next, so two threads are both busy
whatever the ratio of the language model's time to the decoder's, and one thread does it all by itself. As
soon as an utterance has ended the next one takes its place (continuous batching: Yu et al., Orca, OSDI 2022).

An utterance has its own caches, its own noise and its own decoder state. So it sounds as it does alone, bit
for bit where the rows of a product do not depend on how many there are (the compiled core).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pocketquant.checkpoint.voice import VoiceState
from pocketquant.errors import ConfigError
from pocketquant.model.generate import SpeechModel
from pocketquant.model.utterance import Sampling, Sound, Utterance
from pocketquant.ops.interface import F32

Task = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Job:
    """An utterance to be spoken; see `SpeechModel.generate` for the meaning of its parts.

    Attributes:
        state: the voice; never changed.
        tokens: ids `[T]`, T > 0.
        sampling: how to draw latents, and when to end.
        rng: source of its noise; no other job may have the same.
    """

    state: VoiceState
    tokens: NDArray[np.int64]
    sampling: Sampling
    rng: np.random.Generator


def generate_batch(model: SpeechModel, jobs: Sequence[Job], size: int) -> list[F32]:
    """Speak many utterances, up to `size` of them at the same time, in `model.threads` threads.

    The longest texts begin first, so that none of them is left to run alone at the end.

    Args:
        model: the model.
        jobs: what to say.
        size: how many utterances one step of the language model serves, at least 1. Each takes the memory of its
            caches; of latents no more than two for each lie ready.

    Returns:
        The sound of each job, float32 `[samples]`, in the order of the jobs.

    Raises:
        TextError: a job has no tokens.
        VoiceError: a voice was made for other weights.
        ConfigError: `size` is below 1.
        ValueError: the jobs differ in the steps of the flow head.
        Exception: whatever happened in one of the threads; they all have ended then.
    """
    if size < 1:
        raise ConfigError(f"batch {size}: give 1 (one after the other) or more, such as 8")
    if len({job.sampling.steps for job in jobs}) > 1:
        raise ValueError("the utterances of a batch take the same number of steps of the flow head")
    for job in jobs:
        model.check(job.state, job.tokens)
    if size == 1 or len(jobs) == 1:
        return [
            np.concatenate(list(model.generate(job.state, job.tokens, job.sampling, rng=job.rng)))
            for job in jobs
        ]
    return _Batch(model, jobs, size).run() if jobs else []


@dataclass(eq=False)
class _Speech:
    """One utterance on its way."""

    number: int
    utterance: Utterance
    sound: Sound
    latents: deque[F32] = field(default_factory=deque)
    chunks: list[F32] = field(default_factory=list)
    decoding: bool = False


class _Batch:
    """What the threads of one batch share: everything below is read and changed under `changed` only."""

    def __init__(self, model: SpeechModel, jobs: Sequence[Job], size: int) -> None:
        self.model = model
        self.jobs = jobs
        self.size = size
        self.schedule = model.flow_lm.flow_net.schedule(jobs[0].sampling.steps)
        self.changed = threading.Condition()
        self.waiting = deque(sorted(range(len(jobs)), key=lambda number: -len(jobs[number].tokens)))
        self.prompting = 0
        self.speaking: list[_Speech] = []
        self.stepping = False
        self.readable: list[_Speech] = []  # those with latents, and nobody decoding
        self.latents = 0  # that lie ready, in all of them
        self.done: dict[int, F32] = {}
        self.error: BaseException | None = None

    def run(self) -> list[F32]:
        """Work in this thread and in helpers until everything is said."""
        useful = min(self.model.threads, self.size + 1, len(self.jobs) + 1)
        helpers = [
            threading.Thread(target=self.work, name=f"pocketquant-batch-{n}", daemon=True)
            for n in range(1, useful)
        ]
        for helper in helpers:
            helper.start()
        self.work()
        for helper in helpers:
            helper.join()
        if self.error is not None:
            raise self.error
        return [self.done[number] for number in range(len(self.jobs))]

    def work(self) -> None:
        """Do what can be done, until there is nothing left or an error has happened somewhere."""
        try:
            while (task := self.next_task()) is not None:
                task()
        except BaseException as error:  # also an interrupt: the helpers must end
            with self.changed:
                self.error = self.error or error
                self.changed.notify_all()

    def next_task(self) -> Task | None:
        """Wait for a task; None: there will be no more."""
        with self.changed:
            while self.error is None and len(self.done) < len(self.jobs):
                task = self.choose()
                if task is not None:
                    return task
                self.changed.wait()
            return None

    def choose(self) -> Task | None:
        """The most useful thing to do now, marked as taken, or None.

        Prompts come first, for steps are cheapest with a full batch; then a step, unless the decoders have
        one latent of each utterance to do anyhow; then the utterance with the most latents to decode.
        """
        if self.waiting and self.prompting + len(self.speaking) < self.size:
            number = self.waiting.popleft()
            self.prompting += 1
            return lambda: self.prompt(number)
        if self.speaking and not self.stepping and self.latents < self.size:
            self.stepping = True
            together = list(self.speaking)
            return lambda: self.step(together)
        if self.readable:
            speech = max(self.readable, key=lambda one: len(one.latents))
            self.readable.remove(speech)
            speech.decoding = True
            latent = speech.latents.popleft()
            self.latents -= 1
            return lambda: self.decode(speech, latent)
        return None

    def prompt(self, number: int) -> None:
        """Let the language model read the voice and the text of a job."""
        job, lm = self.jobs[number], self.model.flow_lm
        caches = self.model.new_caches(job.state, len(job.tokens))
        lm.prompt(lm.embed_text(job.tokens), caches)
        frames = self.model.max_frames(len(job.tokens))
        utterance = Utterance(caches, lm.latent_dim, frames, job.sampling, job.rng)
        speech = _Speech(number, utterance, self.model.new_sound())
        with self.changed:
            self.prompting -= 1
            self.speaking.append(speech)
            self.changed.notify_all()

    def step(self, together: list[_Speech]) -> None:
        """The next latent of each of these utterances."""
        now = [speech.utterance for speech in together]
        latents, eos = self.model.flow_lm.step_together(
            np.concatenate([one.latent for one in now]),
            [one.caches for one in now],
            np.concatenate([one.noise() for one in now]),
            self.schedule,
        )
        with self.changed:
            for n, speech in enumerate(together):
                latent = latents[n : n + 1]
                if speech.utterance.advance(latent, eos[n]):
                    speech.latents.append(latent)
                    self.latents += 1
                if speech.utterance.ended:
                    self.speaking.remove(speech)
                self.settle(speech)
            self.stepping = False
            self.changed.notify_all()

    def decode(self, speech: _Speech, latent: F32) -> None:
        """The next chunk of an utterance."""
        chunk = speech.sound.decode(self.model.flow_lm.to_codec(latent))
        with self.changed:
            speech.chunks.append(chunk)
            speech.decoding = False
            self.settle(speech)
            self.changed.notify_all()

    def settle(self, speech: _Speech) -> None:
        """After a change: put an utterance where it belongs."""
        if speech.decoding:
            return
        if speech.latents:
            if speech not in self.readable:
                self.readable.append(speech)
        elif speech.utterance.ended:
            self.done[speech.number] = np.concatenate(speech.chunks)
