"""Recipes: which tensor gets which scheme.

A recipe is an ordered list of `PATTERN=scheme` rules on tensor names (shell patterns: `*`, `?`, `[...]`); the
first rule that matches decides. `keep` stands for the form that the source has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Protocol

from pocketquant.errors import RecipeError, near_misses
from pocketquant.quantize import schemes
from pocketquant.quantize.config import QuantizeConfig
from pocketquant.quantize.stored import StoredTensor

KEEP = "keep"


class HasWeights(Protocol):
    """Anything with named tensors, such as a `Checkpoint`."""

    @property
    def weights(self) -> Mapping[str, StoredTensor]: ...


@dataclass(frozen=True)
class Rule:
    """One line of a recipe.

    Attributes:
        pattern: shell pattern on the whole tensor name.
        scheme: name of a scheme, or "keep".
        optional: whether the pattern may match nothing; rules of presets may, since models differ.
    """

    pattern: str
    scheme: str
    optional: bool = False

    @classmethod
    def parse(cls, text: str) -> Rule:
        """A rule from `PATTERN=scheme`.

        Raises:
            RecipeError: no `=`, an empty pattern, or an unknown scheme.
        """
        pattern, equals, scheme = text.rpartition("=")
        if not equals or not pattern.strip():
            raise RecipeError(
                f"'{text}' is not a rule; write PATTERN=scheme, such as '*.linear1.weight=int4-g32'"
            )
        scheme = scheme.strip()
        if scheme != KEEP:
            schemes.get(scheme)
        return cls(pattern.strip(), scheme)

    def matches(self, name: str) -> bool:
        """Whether this rule is about the tensor `name`."""
        return fnmatchcase(name, self.pattern)

    def __str__(self) -> str:
        return f"{self.pattern}={self.scheme}"


@dataclass(frozen=True)
class PlanRow:
    """What will become of one tensor; known before anything is computed.

    Attributes:
        name, shape: the tensor.
        source: scheme of the source ("f32", "f16" or "bf16").
        scheme: scheme of the result, never "keep".
        rule: the rule that decided, or why there was none.
        bytes_before, bytes_after: stored sizes, scales included.
    """

    name: str
    shape: tuple[int, ...]
    source: str
    scheme: str
    rule: str
    bytes_before: int
    bytes_after: int

    @property
    def parameters(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def bits_per_weight(self) -> float:
        """Bits per value, scales included."""
        return 8.0 * self.bytes_after / max(1, self.parameters)


@dataclass(frozen=True)
class Recipe:
    """Ordered rules, with a size under which tensors are not worth it.

    Attributes:
        name: how the recipe is called in reports and files.
        rules: the first one that matches a name decides; a tensor that none matches is kept.
        min_size: tensors with fewer values are kept, whatever the preset's rules say. Rules that a user added
            (`with_rules`) come before that.
    """

    name: str
    rules: tuple[Rule, ...]
    min_size: int = 0
    overrides: tuple[Rule, ...] = ()

    @classmethod
    def named(cls, name: str) -> Recipe:
        """The preset called `name`: origin, int8, int8-lm or int4.

        Raises:
            RecipeError: there is none; the message lists the known ones.
        """
        from pocketquant.quantize.presets import PRESETS  # the presets are Recipes, so they come later

        if name not in PRESETS:
            hint = near_misses(name, PRESETS) or f"; known are {', '.join(PRESETS)}"
            raise RecipeError(f"unknown recipe '{name}'{hint}")
        return PRESETS[name]

    @classmethod
    def from_config(cls, config: QuantizeConfig, name: str = "origin") -> Recipe:
        """The origin's configuration as a recipe that stores real int8.

        Raises:
            RecipeError: `config.num_levels` is not 256; only that fits into one byte.
        """
        if config.num_levels != 256:
            raise RecipeError(
                f"num_levels {config.num_levels} has no stored form; only 256 fits into int8-tensor"
            )
        skips = tuple(Rule(f"*{skip}*", KEEP, optional=True) for skip in config.skip_layers)
        return cls(name, (*skips, Rule("*", "int8-tensor")), min_size=config.min_size)

    def with_rules(self, rules: Sequence[str | Rule]) -> Recipe:
        """This recipe with `rules` before its own; they decide about small tensors too.

        Raises:
            RecipeError: a rule that cannot be read.
        """
        added = tuple(rule if isinstance(rule, Rule) else Rule.parse(rule) for rule in rules)
        return replace(self, overrides=(*added, *self.overrides))

    def plan(self, source: HasWeights | Mapping[str, StoredTensor]) -> list[PlanRow]:
        """One row per tensor of `source`, in its order, before anything is computed.

        Raises:
            RecipeError: a pattern that had to match matches nothing (with near misses), or the source is
                quantized already.
        """
        weights = source if isinstance(source, Mapping) else source.weights
        self._require_matches(weights)
        return [self._plan_row(name, tensor) for name, tensor in weights.items()]

    def decide(self, name: str, size: int) -> tuple[str, str]:
        """The scheme (or "keep") for a tensor of `size` values, and the rule that says so."""
        for rule in self.overrides:
            if rule.matches(name):
                return rule.scheme, str(rule)
        if size < self.min_size:
            return KEEP, f"fewer than {self.min_size} values"
        for rule in self.rules:
            if rule.matches(name):
                return rule.scheme, str(rule)
        return KEEP, "no rule"

    def describe(self) -> dict[str, object]:
        """The recipe as plain data, for reports and for the provenance in files."""
        return {
            "name": self.name,
            "rules": [str(rule) for rule in (*self.overrides, *self.rules)],
            "min_size": self.min_size,
        }

    def _plan_row(self, name: str, tensor: StoredTensor) -> PlanRow:
        if tensor.scheme not in schemes.FLOAT_SCHEMES:
            raise RecipeError(
                f"{name} is stored as {tensor.scheme} already; quantize from the original checkpoint"
            )
        wanted, rule = self.decide(name, prod(tensor.shape))
        scheme = tensor.scheme if wanted == KEEP else wanted
        after = schemes.get(scheme).nbytes(tensor.shape)
        return PlanRow(name, tensor.shape, tensor.scheme, scheme, rule, tensor.nbytes, after)

    def _require_matches(self, names: Mapping[str, object]) -> None:
        for rule in (*self.overrides, *self.rules):
            if not rule.optional and not any(rule.matches(name) for name in names):
                hint = near_misses(rule.pattern, names) or "; `pocketquant inspect` lists the names"
                raise RecipeError(f"pattern '{rule.pattern}' matches no tensor{hint}")
