"""The official Pocket TTS models by name: configs, voices and defaults, from `languages.yaml`.

Nothing here reads a network or a checkpoint; `demo` is the miniature that comes with this package.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pocketquant.config.parse import parse_mapping
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import ConfigError, VoiceError, near_misses

DEFAULT_LANGUAGE = "english"
DEFAULT_VOICE = "alba"
DEMO = "demo"
DEMO_VOICE = "heart"
DEMO_NOTE = "The voice in the box speaks: a miniature for trying things out, not the quality of Pocket TTS."

_VOICE_ROOTS = {"voices": "hf://kyutai/tts-voices", "extra": "hf://kyutai/pocket-tts"}


@cache
def _facts() -> dict[str, Any]:
    file = resources.files("pocketquant.config") / "languages.yaml"
    return parse_mapping(file.read_bytes(), "languages.yaml")


def demo_folder() -> Path:
    """The folder of the packaged miniature: demo.yaml, its weights, tokenizer, voice and notices."""
    # Not importlib.resources: an editable installation is spread over two folders, and gives no path for it.
    return Path(__file__).parents[1] / "data" / "demo"


def languages() -> tuple[str, ...]:
    """The names of the 27 official models, as `TTSModel.load_model(language=...)` takes them."""
    return tuple(_facts()["languages"])


def suggest(name: str) -> str:
    """A clause `; did you mean A, B?` of model names close to `name`, or an empty string."""
    return near_misses(name, (*languages(), DEMO))


@cache
def language(name: str) -> ModelConfig:
    """The config of an official model, or of `demo` (whose paths are relative to `demo_folder()`).

    Raises:
        ConfigError: there is no such model (near misses are named).
    """
    if name == DEMO:
        return ModelConfig.from_file(demo_folder() / "demo.yaml")
    facts = _facts()
    if name not in facts["languages"]:
        raise ConfigError(
            f"unknown language {name!r}{suggest(name) or '; known: ' + ', '.join((*languages(), DEMO))}"
        )
    architecture, text_rules, gated, open_, tokenizer = facts["languages"][name]
    files = {
        key: pattern.format(name=name, gated=gated, open=open_, tokenizer=tokenizer, voice="{voice}")
        for key, pattern in facts["files"].items()
    }
    config = _merge(_architecture(architecture), facts["text_rules"][text_rules])
    config = _merge(
        config,
        {
            "weights_path": files["weights_path"],
            "weights_path_without_voice_cloning": files["weights_path_without_voice_cloning"],
            "flow_lm": {"lookup_table": {"tokenizer_path": files["tokenizer_path"]}},
        },
    )
    return ModelConfig.from_dict(config, f"languages.yaml ({name})")


def _architecture(name: str) -> dict[str, Any]:
    own = dict(_facts()["architectures"][name])
    base = own.pop("extends", None)
    return _merge(_architecture(base), own) if base else own


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mappings deeply, everything else replaced."""
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


@cache
def voices() -> dict[str, str]:
    """The 27 predefined voices: name -> `hf://` path of the recording behind it."""
    return {name: path.format(**_VOICE_ROOTS) for name, path in _facts()["voices"].items()}


def voices_of(language: str | None) -> tuple[str, ...]:
    """Names of the predefined voices that a model (or, with None, some official one) has a state of."""
    return (DEMO_VOICE,) if language == DEMO else tuple(voices())


def is_voice(name: str) -> bool:
    """Whether some model has a predefined voice of that name."""
    return name in voices() or name == DEMO_VOICE


def get_predefined_voice(language: str, name: str) -> str:
    """Where the state of a predefined voice is: the path in `demo_folder()` for `demo`, else an `hf://` path.

    A voice state belongs to the weights of one model, hence the language.

    Raises:
        VoiceError: the model has no predefined voice of that name (near misses are named).
        ConfigError: there is no such model.
    """
    known = voices_of(language)
    if name not in known:
        remedy = near_misses(name, known) or "; known: " + ", ".join(known)
        raise VoiceError(f"{language}: no predefined voice {name!r}{remedy}")
    if language == DEMO:
        return str(demo_folder() / f"{name}.safetensors")
    if language not in languages():
        raise ConfigError(f"unknown language {language!r}{suggest(language)}")
    pattern: str = _facts()["files"]["voice"]
    return pattern.format(name=language, voice=name)


def default_voice(language: str | None, *, custom: bool = False) -> str:
    """The voice to use when the user picked none.

    `custom`: the weights are not the released ones of `language`, so no predefined state fits them; the
    recording behind the default voice is then given, which any model with voice cloning can take.
    """
    return voices()[DEFAULT_VOICE] if custom else _default(language)[0]


def default_text(language: str | None) -> str:
    """Something to say in that language when the user gave no text."""
    return _default(language)[1]


def _default(language: str | None) -> tuple[str, str]:
    defaults = _facts()["defaults"]
    for key, (voice, text) in defaults.items():
        if language is not None and key in language:
            return voice, text
    voice, text = defaults[DEFAULT_LANGUAGE]
    return voice, text
