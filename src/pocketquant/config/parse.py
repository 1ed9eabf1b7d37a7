"""YAML text to a mapping, and a failed validation to one line that a user can act on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pocketquant.errors import ConfigError, near_misses

# The safe loader (nothing in the text is executed), in C where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEEPEST = 20


def parse_mapping(text: str | bytes, source: str | Path) -> dict[str, Any]:
    """Parse YAML whose root must be a mapping.

    Raises:
        ConfigError: no text, no YAML, or another root.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        _require_shallow(text)
        data = yaml.load(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{source}: not a text file (byte {error.start} is not UTF-8); expected a YAML config"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).split("\n")[0] or type(error).__name__
        raise ConfigError(f"{source}{where}: not valid YAML ({' '.join(str(problem).split())})") from error
    if not isinstance(data, dict):
        found = "an empty file" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{source}: expected a YAML mapping with flow_lm and mimi, found {found}")
    return data


def _require_shallow(text: str) -> None:
    """The C loader recurses on the C stack: a file of brackets would crash the interpreter."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise yaml.YAMLError(f"nested deeper than {DEEPEST}")


def explain(error: ValidationError, model: type[BaseModel], source: str | Path) -> str:
    """The first problem of a failed validation as one line: file, field, what is wrong, remedy."""
    # The input stays out of the message: it may be huge (YAML aliases) or private.
    problems = error.errors(include_url=False, include_input=False)
    # A misspelt field is both unknown and missing: the unknown name comes first, it says which.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = [str(part) for part in first["loc"] if part != "[key]"]
    field = ".".join(location) or "the config"
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        text = f"unknown field {field}{near_misses(location[-1], known) or '; remove it or correct its name'}"
    elif first["type"] == "missing":
        text = f"the field {field} is missing; add it"
    else:
        message = first["msg"].removeprefix("Value error, ")
        text = f"{field}: {message[:1].lower()}{message[1:]}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(f"{source}: {text}{more}".split())


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Field names of the section at a dotted place of `model`."""
    for part in location:
        kind = model.model_fields[part].annotation if part in model.model_fields else None
        sections = [k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, BaseModel)]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)
