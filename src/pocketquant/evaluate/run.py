"""All measures for all recipes: the float model speaks first, then each variant is held against it."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pocketquant.checkpoint.checkpoint import Checkpoint
from pocketquant.checkpoint.voice import VoiceState
from pocketquant.evaluate.catalog import Columns, summarize
from pocketquant.evaluate.codec import compare_decoded
from pocketquant.evaluate.cost import measure_cost
from pocketquant.evaluate.measures import pause_floor
from pocketquant.evaluate.result import Depth, Evaluation, Result
from pocketquant.evaluate.similarity import Embedder
from pocketquant.evaluate.speech import Chunk, Take, chunks_of, decode, speak
from pocketquant.evaluate.statistics import Estimate
from pocketquant.evaluate.teacher import Flip, compare_forced, forced_pass, merge
from pocketquant.evaluate.variants import FLOAT, REFERENCE, Variant, weight_distortions
from pocketquant.evaluate.wer import Transcriber, lost_words
from pocketquant.model.generate import SpeechModel
from pocketquant.model.tokenizer import build_tokenizer
from pocketquant.model.tts import TTSModel
from pocketquant.ops.interface import F32
from pocketquant.quantize.metrics import Distortion
from pocketquant.quantize.stored import StoredTensor
from pocketquant.version import __version__

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What to evaluate, and on what.

    Attributes:
        variants: the systems that are compared with the float model.
        sentences: texts.
        seeds: takes of each sentence, each with noise of its own.
        temperature: of the noise; None: what the model recommends. At 0 all seeds are the same.
        voice: as `TTSModel.get_state_for_audio_prompt` takes it; None: the model's own.
        transcriber: for word errors; None leaves them out.
        embedder: for speaker similarity; None leaves it out.
        cost: whether to measure size, memory and speed, in a process of its own.
        listen: how many takes to keep for the ear.
    """

    variants: Sequence[Variant]
    sentences: Sequence[str]
    seeds: int = 1
    temperature: float | None = None
    voice: str | None = None
    transcriber: Transcriber | None = None
    embedder: Embedder | None = None
    cost: bool = True
    listen: int = 3

    @property
    def steps(self) -> int:
        """How often `on_step` is called."""
        return (1 + len(self.variants)) * len(self.sentences)


@dataclass(frozen=True)
class Spoken:
    """A sentence as the float model said it, once per seed."""

    text: str
    chunks: Sequence[Sequence[Chunk]]
    takes: Sequence[Take]
    heard: Sequence[str] = ()
    embeddings: Sequence[F32] = ()


@dataclass
class Evaluator:
    """The reference model with its voice, and what it said."""

    checkpoint: Checkpoint
    settings: Settings
    on_step: Progress = field(default=lambda _: None)

    def __post_init__(self) -> None:
        config, source = self.checkpoint.config, self.checkpoint
        tokenizer = build_tokenizer(
            source.tokenizer.kind,
            source.tokenizer.data,
            config.flow_lm.lookup_table.n_bins,
            name=f"{source.origin}: tokenizer",
        )
        self.model = TTSModel(
            config,
            tokenizer,
            source.weights,
            has_voice_cloning=source.has_voice_cloning,
            language=source.language,
            origin=source.origin,
        )
        self.speech = self.model.speech
        self.voice_name = self.settings.voice or self.model.default_voice
        self.voice: VoiceState = self.model.get_state_for_audio_prompt(self.voice_name)
        asked = self.settings.temperature
        self.temperature = self.model.temp if asked is None else asked

    def sentence(self, number: int, text: str) -> Sequence[Sequence[Chunk]]:
        """The chunks of a sentence, once per seed."""
        return [
            chunks_of(text, (seed, number), self.model.config, self.model.tokenizer, self.temperature)
            for seed in range(self.settings.seeds)
        ]

    def evaluate(self) -> Evaluation:
        """Do everything that the settings ask for.

        Raises:
            PocketQuantError: anything wrong with model, voice, recipes or sentences, in one line.
        """
        started = time.monotonic()
        for variant in self.settings.variants:
            variant.check(
                self.checkpoint
            )  # what is wrong with the last one is said before the first one speaks
        spoken, reference = self._reference()
        results = [reference, *(self._variant(variant, spoken) for variant in self.settings.variants)]
        return Evaluation(
            model=self.checkpoint.origin,
            voice=self.voice_name,
            temperature=self.temperature,
            seeds=self.settings.seeds,
            sentences=self.settings.sentences,
            results=results,
            facts=self._facts(time.monotonic() - started),
            sample_rate=self.model.sample_rate,
        )

    def _reference(self) -> tuple[list[Spoken], Result]:
        spoken = list(self._say_all())
        columns = _columns(
            [merge([self._own_columns(one, i) for i in range(len(one.takes))]) for one in spoken]
        )
        measures = (
            summarize(columns) | self._weight_measures(self.checkpoint.weights, {}) | self._cost(REFERENCE)
        )
        return spoken, Result(
            FLOAT,
            measures,
            columns,
            heard=[one.heard[0] for one in spoken if one.heard],
            audio=[one.takes[0].audio for one in spoken[: self.settings.listen]],
        )

    def _say_all(self) -> Iterator[Spoken]:
        for number, text in enumerate(self.settings.sentences):
            chunks = self.sentence(number, text)
            takes = [speak(self.speech, self.voice, seed) for seed in chunks]
            embedder, rate = self.settings.embedder, self.model.sample_rate
            yield Spoken(
                text,
                chunks,
                takes,
                [self._hear(take.audio) for take in takes] if self.settings.transcriber else (),
                [embedder(take.audio, rate) for take in takes] if embedder else (),
            )
            self.on_step(f"{FLOAT}: {text}")

    def _own_columns(self, one: Spoken, seed: int) -> dict[str, float]:
        """The columns of a take of the float model, which is compared with nothing."""
        columns = {
            "takes": 1.0,
            "pause_floor": pause_floor(one.takes[seed].audio, self.model.sample_rate),
            "no_end": float(not one.takes[seed].ended),
        }
        if one.heard:
            errors, count = lost_words(one.text, one.heard[seed])
            columns |= {"word_errors": errors, "words": count}
        return columns

    def _variant(self, variant: Variant, spoken: Sequence[Spoken]) -> Result:
        weights = variant.weights(self.checkpoint)
        speech = variant.build(self.checkpoint, weights)
        rows: list[dict[str, float]] = []
        flips: list[Flip] = []
        audio: list[F32] = []
        heard: list[str] = []
        for one in spoken:
            parts: list[dict[str, float]] = []
            for seed in range(len(one.takes)):
                found, take, text = self._compare(speech, one, seed, flips)
                parts += found
                if seed == 0:
                    audio += [take.audio] if len(audio) < self.settings.listen else []
                    heard.append(text)
            rows.append(merge(parts))
            self.on_step(f"{variant.name}: {one.text}")
        columns = _columns(rows)
        distortions = weight_distortions(self.checkpoint.weights, weights)
        return Result(
            variant.name,
            summarize(columns) | self._weight_measures(weights, distortions) | self._cost(variant),
            columns,
            tensors={name: (weights[name].scheme, found) for name, found in distortions.items()},
            depths=_depths(rows),
            flips=flips,
            heard=heard if self.settings.transcriber else (),
            audio=audio,
        )

    def _compare(
        self, speech: SpeechModel, one: Spoken, seed: int, flips: list[Flip]
    ) -> tuple[list[dict[str, float]], Take, str]:
        """The columns of one take against the float model's, chunk by chunk and as a whole."""
        chunks, reference = one.chunks[seed], one.takes[seed]
        parts = []
        for chunk, latents in zip(chunks, reference.latents, strict=True):
            if len(latents):
                columns, flipped = compare_forced(
                    forced_pass(self.speech, self.voice, chunk, latents),
                    forced_pass(speech, self.voice, chunk, latents),
                    chunk.sampling.eos_threshold,
                )
                parts.append(columns)
                flips += flipped
        rate = self.model.sample_rate
        parts.append(compare_decoded(reference.audio, decode(speech, reference.latents), rate))
        take = speak(speech, self.voice, chunks)
        whole = {
            "takes": 1.0,
            "frames": take.frames,
            "frames_float": reference.frames,
            "no_end": float(not take.ended),
            "no_end_delta": float(not take.ended) - float(not reference.ended),
        }
        text = self._hear(take.audio) if self.settings.transcriber else ""
        if one.heard:
            errors, count = lost_words(one.text, text)
            before, _ = lost_words(one.text, one.heard[seed])
            whole |= {"word_errors": errors, "words": count, "word_errors_delta": errors - before}
        if self.settings.embedder is not None:
            whole["similarity"] = float(self.settings.embedder(take.audio, rate) @ one.embeddings[seed])
        parts.append(whole)
        return parts, take, text

    def _hear(self, audio: F32) -> str:
        transcriber = self.settings.transcriber
        return transcriber(audio, self.model.sample_rate) if transcriber is not None and audio.size else ""

    def _weight_measures(
        self, weights: Mapping[str, StoredTensor], distortions: Mapping[str, Distortion]
    ) -> dict[str, Estimate]:
        size = sum(tensor.nbytes for tensor in weights.values())
        count = sum(int(np.prod(tensor.shape)) for tensor in weights.values())
        found = {"weights_mb": size / 1e6, "bits_per_weight": 8 * size / max(1, count)}
        if weights is not self.checkpoint.weights:
            kept = [name for name in weights if name not in distortions]
            exact = sum((_signal(self.checkpoint.weights[name]) for name in kept), Distortion())
            found["weight_snr"] = sum(distortions.values(), exact).snr_db
            found["weight_snr_worst"] = min((one.snr_db for one in distortions.values()), default=math.inf)
        return {name: Estimate(value) for name, value in found.items()}

    def _cost(self, variant: Variant) -> dict[str, Estimate]:
        if not self.settings.cost:
            return {}
        longest = max(self.settings.sentences[:20], key=len)
        found = measure_cost(self.checkpoint, variant, self.voice, self.sentence(0, longest)[0])
        return {name: Estimate(value) for name, value in found.items()}

    def _facts(self, seconds: float) -> dict[str, str]:
        isa = getattr(self.speech.ops, "isa", None)
        return {
            "pocketquant": __version__,
            "operations": self.speech.ops.name + (f" ({isa})" if isa else ""),
            "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
            "time": f"{seconds:.0f} s",
        }


def _signal(tensor: StoredTensor) -> Distortion:
    values = tensor.dequantize()
    return Distortion.between(values, values)


def _columns(rows: Sequence[dict[str, float]]) -> Columns:
    """Columns from one row per sentence; a column that a sentence lacks (it had no frames) counts as zero."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name, 0.0) for row in rows] for name in names}


def _depths(rows: Sequence[dict[str, float]]) -> list[Depth]:
    """SNR and cosine after each layer, over all sentences."""
    layers = len(
        {name for row in rows for name in row if name.startswith("depth") and name.endswith("_noise")}
    )
    names = [*((f"depth{i}", f"layer {i + 1}") for i in range(layers)), ("hidden", "output")]
    frames = sum(row.get("frames_forced", 0.0) for row in rows)
    return [
        Depth(
            label,
            Distortion(
                sum(row.get(f"{name}_signal", 0.0) for row in rows),
                sum(row.get(f"{name}_noise", 0.0) for row in rows),
            ).snr_db,
            sum(row.get(f"{name}_cosine_sum", 0.0) for row in rows) / max(1.0, frames),
        )
        for name, label in names
    ]


def _processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
