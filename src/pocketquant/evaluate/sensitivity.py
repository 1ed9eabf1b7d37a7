"""Which tensors hurt: one group quantized at a time, everything else float.

Groups are ranked by damage per saved megabyte. The damage is measured in one currency for the whole model: the
share of wrong energy in the sound, teacher-forced (the latents that the model would say next, decoded). What
is finished is in the file at once, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pocketquant.checkpoint.checkpoint import Checkpoint
from pocketquant.errors import PocketQuantError
from pocketquant.evaluate.measures import decibels, waveform_noise
from pocketquant.evaluate.run import Evaluator
from pocketquant.evaluate.speech import Chunk, decode, speak
from pocketquant.evaluate.teacher import Forced, forced_pass
from pocketquant.evaluate.variants import Variant, quantize_all
from pocketquant.files import atomic_path
from pocketquant.model.generate import SpeechModel
from pocketquant.ops.interface import F32
from pocketquant.quantize.recipe import PlanRow
from pocketquant.report.names import block_of, kind_of, part_of

FORMAT = "pocketquant-sensitivity"
FORMAT_VERSION = 1
SENTENCES = 8
"""Enough to rank groups: each sentence has some fifty frames."""
UNHEARD = ("codec encoder", "voice")
"""Parts that only the cloning of a voice goes through."""


@dataclass(frozen=True)
class Group:
    """What quantizing one group of tensors alone does.

    Attributes:
        label: part of the model, place and kind.
        tensors: their names.
        saved_bytes: what the recipe saves on them.
        damage: wrong energy in the sound over its energy (0 nothing, 1 as much as the sound itself).
        eos_error: mean absolute error of the end-of-speech logit.
    """

    label: str
    tensors: Sequence[str]
    saved_bytes: int
    damage: float
    eos_error: float

    @property
    def damage_per_megabyte(self) -> float:
        """What the groups are ranked by."""
        return self.damage / (self.saved_bytes / 1e6)

    @property
    def damage_text(self) -> str:
        """The damage as a level against the sound: "-41.3 dB"."""
        return "none" if self.damage == 0 else f"{decibels(self.damage):.1f} dB"


@dataclass(frozen=True)
class _Forced:
    """A chunk of the float model, and what it makes of its own latents."""

    chunk: Chunk
    latents: F32
    forced: Forced
    sound: F32


def measure_sensitivity(
    evaluator: Evaluator, variant: Variant, file: Path, on_group: Callable[[str], None] = lambda _: None
) -> list[Group]:
    """Measure every group of a recipe, most damage per saved byte first.

    Args:
        evaluator: the float model, its voice and sentences.
        variant: a recipe.
        file: JSON with what is known already; written after each group. Results of another model, recipe or
            other sentences in it are not used, and replaced.
        on_group: called with the label of each group when it is there.

    Raises:
        PocketQuantError: the variant is a file, or `file` is something else than such a JSON.
    """
    checkpoint = evaluator.checkpoint
    groups = groups_of(checkpoint, variant)
    sentences = evaluator.settings.sentences[:SENTENCES]
    key = _key(checkpoint, variant, sentences, evaluator)
    cache = _read(file)
    known: dict[str, dict[str, Any]] = cache["recipes"].get(variant.name, {}).get("groups", {})
    if cache["recipes"].get(variant.name, {}).get("key") != key:
        known = {}
    reference: list[_Forced] = []
    for label, rows in groups.items():
        if label not in known:
            reference = reference or _reference(evaluator, sentences)
            known[label] = asdict(_measure(evaluator, variant, label, rows, reference))
            cache["recipes"][variant.name] = {"key": key, "groups": known}
            with atomic_path(file) as temporary:
                temporary.write_text(json.dumps(cache, indent=1) + "\n", encoding="utf-8")
        on_group(f"{variant.name}: {label}")
    found = [Group(**known[label]) for label in groups]
    return sorted(found, key=lambda group: -group.damage_per_megabyte)


def groups_of(checkpoint: Checkpoint, variant: Variant) -> dict[str, list[PlanRow]]:
    """The tensors that a recipe makes smaller, by place in the model.

    Raises:
        PocketQuantError: the variant is a file, not a recipe.
    """
    if variant.recipe is None:
        raise PocketQuantError(f"{variant.name}: --sensitivity needs recipes; a file is quantized already")
    groups: dict[str, list[PlanRow]] = {}
    for row in variant.recipe.plan(checkpoint):
        if row.bytes_after < row.bytes_before and part_of(row.name) not in UNHEARD:
            groups.setdefault(_label(row.name), []).append(row)
    return groups


def _label(name: str) -> str:
    block = block_of(name)
    kind = kind_of(name) if block.startswith("layer") or not block else ""
    return ", ".join(word for word in (part_of(name), block, kind) if word)


def _reference(evaluator: Evaluator, sentences: Sequence[str]) -> list[_Forced]:
    found = []
    for number, text in enumerate(sentences):
        chunks = evaluator.sentence(number, text)[0]
        take = speak(evaluator.speech, evaluator.voice, chunks)
        for chunk, latents in zip(chunks, take.latents, strict=True):
            if len(latents):
                forced = forced_pass(evaluator.speech, evaluator.voice, chunk, latents)
                found.append(_Forced(chunk, latents, forced, decode(evaluator.speech, [forced.latents])))
    return found


def _measure(
    evaluator: Evaluator, variant: Variant, label: str, rows: Sequence[PlanRow], reference: Sequence[_Forced]
) -> Group:
    weights = {**evaluator.checkpoint.weights, **quantize_all(evaluator.checkpoint, rows)}
    speech: SpeechModel = variant.build(evaluator.checkpoint, weights)
    signal = noise = error = frames = 0.0
    for one in reference:
        forced = forced_pass(speech, evaluator.voice, one.chunk, one.latents)
        more_signal, more_noise = waveform_noise(one.sound, decode(speech, [forced.latents]))
        signal, noise = signal + more_signal, noise + more_noise
        error += float(abs(forced.eos - one.forced.eos).sum())
        frames += len(forced.eos)
    saved = sum(row.bytes_before - row.bytes_after for row in rows)
    return Group(
        label, [row.name for row in rows], saved, noise / max(signal, 1e-30), error / max(1.0, frames)
    )


def _key(checkpoint: Checkpoint, variant: Variant, sentences: Sequence[str], evaluator: Evaluator) -> str:
    """What the numbers depend on, as a digest."""
    facts = {
        "files": [file.sha256 for file in checkpoint.files],
        "recipe": variant.recipe.describe() if variant.recipe else None,
        "codec": variant.codec,
        "sentences": list(sentences),
        "voice": evaluator.voice_name,
        "temperature": evaluator.temperature,
        "operations": evaluator.speech.ops.name,
        "version": FORMAT_VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(file: Path) -> dict[str, Any]:
    """The cache, or a new one.

    Raises:
        PocketQuantError: the file is something else; it is not overwritten.
    """
    if not file.exists():
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "recipes": {}}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        data = None
    if (
        not isinstance(data, dict)
        or data.get("format") != FORMAT
        or not isinstance(data.get("recipes"), dict)
    ):
        raise PocketQuantError(f"{file}: is not a result of --sensitivity; give another name, or remove it")
    return data
