"""What is spoken in a benchmark: model files, a voice of a given length, texts of a given length.

Random weights never end an utterance by themselves, and trained ones are kept from it, so that every engine
does the same work: a text of n tokens is n / 3 + 2 seconds long, the limit of the official package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pocketquant.checkpoint.checkpoint import YAML, Checkpoint, open_checkpoint
from pocketquant.checkpoint.random import random_checkpoint
from pocketquant.checkpoint.voice import write_voice
from pocketquant.config import catalog
from pocketquant.errors import PocketQuantError, RecipeError, near_misses
from pocketquant.model.generate import SECONDS_OF_PADDING, TOKENS_PER_SECOND
from pocketquant.model.text import TextRules, prepare
from pocketquant.model.tokenizer import Tokenizer, build_tokenizer
from pocketquant.pipeline import quantize_checkpoint
from pocketquant.quantize.presets import PRESETS

DEFAULT_MODEL = "english_2026-10"
AS_IT_IS = "f32"
"""The recipe that quantizes nothing."""
AS_STORED = "as stored"
"""What the only recipe of a file is called that is quantized already."""
SHORT_TOKENS = 10
NEVER_ENDS = 1e9
"""An end-of-speech threshold that no frame exceeds."""
SEED = 1

_TEXT = (
    "the old clock on the wall has stopped and nobody in the house knows what time it is so we sit by the "
    "window and wait for the bell of the church to ring while the rain goes on and on over the grey roofs"
)
_SHORT_WORDS = ("so", "we", "go", "on", "a", "I")


@dataclass(frozen=True)
class Material:
    """All that a benchmark of one model needs.

    Attributes:
        name: what the model is, for the reader.
        loads: recipe -> keyword arguments of `TTSModel.load_model`.
        bytes: recipe -> size of the weights file, where there is one.
        voice: a voice file.
        text: for the speed.
        sentence: for the first sound.
        tokens: how many `text` has.
    """

    name: str
    loads: dict[str, dict[str, Any]]
    bytes: dict[str, int]
    voice: Path
    text: str
    sentence: str
    tokens: int


@contextmanager
def material(
    model: str | None,
    recipes: Sequence[str],
    *,
    seconds: float,
    voice_positions: int,
    random_weights: bool = False,
    folder: Path | None = None,
    note: Callable[[str], None] = lambda what: None,
) -> Iterator[Material]:
    """Make or find everything, for the time of the block.

    Args:
        model: a language, "demo", or a file or folder with weights; None: `DEFAULT_MODEL`, random weights.
        recipes: `AS_IT_IS`, or names of presets. A file that is quantized already has one, whatever is asked.
        seconds: how long the speech should be.
        voice_positions: length of the voice, in positions of the context.
        random_weights: take only the config of the language `model`.
        folder: where the files go and are looked for; None: a temporary folder.
        note: called with what is being made.

    Raises:
        PocketQuantError: an unknown model or recipe.
    """
    for recipe in recipes:
        if recipe != AS_IT_IS and recipe not in PRESETS:
            hint = near_misses(recipe, (AS_IT_IS, *PRESETS)) or f"; known: {AS_IT_IS}, {', '.join(PRESETS)}"
            raise RecipeError(f"unknown recipe {recipe!r}{hint}")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield _make(model, recipes, seconds, voice_positions, random_weights, folder, note)
        return
    with TemporaryDirectory(prefix="pocketquant-bench-") as temporary:
        yield _make(model, recipes, seconds, voice_positions, random_weights, Path(temporary), note)


def _make(
    model: str | None,
    recipes: Sequence[str],
    seconds: float,
    voice_positions: int,
    random_weights: bool,
    folder: Path,
    note: Callable[[str], None],
) -> Material:
    name, source = model or DEFAULT_MODEL, model
    if model is None or random_weights:
        source = str(_random(name, folder, note))
        name += ", random weights"
    assert source is not None
    checkpoint = open_checkpoint(source)
    loads, sizes = _loads(checkpoint, source, recipes, folder, note)
    tokenizer = _tokenizer(checkpoint)
    rules = TextRules.of(checkpoint.config)
    tokens = max(1, round((seconds - SECONDS_OF_PADDING) * TOKENS_PER_SECOND))
    text = text_of(tokens, tokenizer, rules)
    voice = write_random_voice(checkpoint, voice_positions, folder)
    return Material(
        name=name,
        loads=loads,
        bytes=sizes,
        voice=voice,
        text=text,
        sentence=text_of(SHORT_TOKENS, tokenizer, rules),
        tokens=_count(text, tokenizer, rules),
    )


def _random(language: str, folder: Path, note: Callable[[str], None]) -> Path:
    """The YAML of a random checkpoint, made once."""
    made = folder / language / "model.yaml"
    if made.exists():
        return made
    note(f"random weights for {language}")
    return random_checkpoint(language, folder / language, seed=SEED)


def _loads(
    checkpoint: Checkpoint,
    source: str,
    recipes: Sequence[str],
    folder: Path,
    note: Callable[[str], None],
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    if checkpoint.provenance:  # one of our own files
        return {AS_STORED: _load(weights=source)}, {AS_STORED: _bytes(checkpoint)}
    loads, sizes = {}, {}
    for recipe in recipes:
        if recipe == AS_IT_IS:
            loads[recipe], sizes[recipe] = _load_source(source), _bytes(checkpoint)
            continue
        stem = Path(source).parent.name if source.endswith(YAML) else Path(source).stem
        made = folder / f"{stem}-{recipe}.safetensors"
        if not made.exists():
            note(f"quantizing to {recipe}")
            quantize_checkpoint(checkpoint, made, recipe)
        loads[recipe], sizes[recipe] = _load(weights=str(made)), made.stat().st_size
    return loads, sizes


def _load(**arguments: str) -> dict[str, Any]:
    return {**arguments, "eos_threshold": NEVER_ENDS}


def _load_source(source: str) -> dict[str, Any]:
    if source in (*catalog.languages(), catalog.DEMO):
        return _load(language=source)
    return _load(config=source) if source.endswith(YAML) else _load(weights=source)


def _bytes(checkpoint: Checkpoint) -> int:
    return sum(file.bytes for file in checkpoint.files if file.path.suffix == ".safetensors")


def _tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    table, tokenizer = checkpoint.config.flow_lm.lookup_table, checkpoint.tokenizer
    return build_tokenizer(
        tokenizer.kind, tokenizer.data, table.n_bins, name=f"{checkpoint.origin}: tokenizer"
    )


def write_random_voice(checkpoint: Checkpoint, positions: int, folder: Path) -> Path:
    """A voice of that many positions, normally distributed: for times, not for ears."""
    transformer = checkpoint.config.flow_lm.transformer
    rng = np.random.default_rng(SEED)
    shape = (2, positions, transformer.kv_heads, transformer.head_dim)
    layers = [rng.standard_normal(shape, dtype=np.float32) for _ in range(transformer.num_layers)]
    path = folder / f"voice-{len(layers)}x{'x'.join(map(str, shape[1:]))}.safetensors"
    write_voice(layers, path)
    return path


def text_of(tokens: int, tokenizer: Tokenizer, rules: TextRules) -> str:
    """One sentence of that many tokens as it is spoken; one or two fewer where no word fits."""
    words: list[str] = []
    for pool in (_TEXT.split() * (1 + tokens // 10), _SHORT_WORDS * tokens):
        for word in pool:
            if _count(_sentence([*words, word]), tokenizer, rules) <= tokens:
                words.append(word)
    if not words:
        raise PocketQuantError(
            f"no sentence of {tokens} tokens in this model's tokenizer; ask for more seconds"
        )
    return _sentence(words)


def _sentence(words: Sequence[str]) -> str:
    return " ".join(words).capitalize() + "."


def _count(text: str, tokenizer: Tokenizer, rules: TextRules) -> int:
    return len(tokenizer.encode(prepare(text, rules).text))
