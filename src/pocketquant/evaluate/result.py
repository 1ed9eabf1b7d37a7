"""What an evaluation found, and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pocketquant.evaluate.catalog import MEASURES, Columns
from pocketquant.evaluate.statistics import Estimate
from pocketquant.evaluate.teacher import Flip
from pocketquant.evaluate.variants import FLOAT
from pocketquant.ops.interface import F32
from pocketquant.quantize.metrics import Distortion
from pocketquant.report.tables import json_number

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Depth:
    """The language model's state at one depth, teacher-forced: after layer 1, 2, ..., and at the end."""

    label: str
    snr_db: float
    cosine: float


@dataclass(frozen=True)
class Result:
    """What one variant did to the speech.

    Attributes:
        name: of the variant; "float" is the reference.
        measures: by name (see `catalog.MEASURES`); what was not measured is not there.
        columns: the numbers per sentence behind them.
        tensors: scheme and distortion of each tensor that is not what it was.
        depths: the language model's state by depth.
        flips: every flipped end-of-speech decision.
        heard: what the recognizer heard, per sentence (seed 0).
        audio: the first takes, to be listened to.
    """

    name: str
    measures: Mapping[str, Estimate]
    columns: Columns = field(default_factory=dict)
    tensors: Mapping[str, tuple[str, Distortion]] = field(default_factory=dict)
    depths: Sequence[Depth] = ()
    flips: Sequence[Flip] = ()
    heard: Sequence[str] = ()
    audio: Sequence[F32] = ()

    def value(self, name: str) -> float | None:
        """A measure, or None where it was not taken."""
        found = self.measures.get(name)
        return None if found is None else found.value


@dataclass(frozen=True)
class Evaluation:
    """All variants against the float model.

    Attributes:
        model: what was evaluated.
        voice, temperature, seeds, sentences: how.
        results: one per variant, the reference first.
        facts: machine, versions, time, for the record.
        sample_rate: of the audio, in Hz.
    """

    model: str
    voice: str
    temperature: float
    seeds: int
    sentences: Sequence[str]
    results: Sequence[Result]
    facts: Mapping[str, str]
    sample_rate: int

    @property
    def reference(self) -> Result:
        """The float model's own numbers."""
        return self.results[0]

    @property
    def variants(self) -> Sequence[Result]:
        """Everything but the reference."""
        return [result for result in self.results if result.name != FLOAT]


def evaluation_to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as plain JSON data.

    `format`: "pocketquant-evaluate", `format_version`: 1; `model`, `voice`, `temperature`, `seeds`,
    `sentences`, `facts`; `measures`: name -> label, unit, meaning; `results`, the float model first: `name`,
    `measures` (name -> `[value, low, high]`, 95 % interval or nulls), `depths`, `flips`, `tensors` (name ->
    scheme, snr_db), `columns` (per sentence), `heard`. Infinite numbers are the strings "inf", "-inf".
    """
    return {
        "format": "pocketquant-evaluate",
        "format_version": FORMAT_VERSION,
        "model": evaluation.model,
        "voice": evaluation.voice,
        "temperature": evaluation.temperature,
        "seeds": evaluation.seeds,
        "sentences": list(evaluation.sentences),
        "facts": dict(evaluation.facts),
        "measures": {
            name: {"label": measure.label, "unit": measure.unit, "meaning": measure.meaning}
            for name, measure in MEASURES.items()
        },
        "results": [_result_to_dict(result) for result in evaluation.results],
    }


def _result_to_dict(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "measures": {
            name: [_number(found.value), _number(found.low), _number(found.high)]
            for name, found in result.measures.items()
        },
        "depths": [
            {"label": depth.label, "snr_db": json_number(depth.snr_db), "cosine": depth.cosine}
            for depth in result.depths
        ],
        "flips": [{"place": flip.place, "ends": flip.ends} for flip in result.flips],
        "tensors": {
            name: {"scheme": scheme, "snr_db": json_number(distortion.snr_db)}
            for name, (scheme, distortion) in result.tensors.items()
        },
        "columns": {
            name: [json_number(value) for value in column] for name, column in result.columns.items()
        },
        "heard": list(result.heard),
    }


def _number(value: float | None) -> float | str | None:
    return None if value is None else json_number(value)
