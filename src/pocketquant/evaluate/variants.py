"""What is evaluated: a recipe by name (or a quantized file), with how the codec computes.

    int8                    the recipe as it is
    int8+codec-float        codec with float activations (the rule: 16 bits beside weights of 8 bits, 8 beside 4)
    int8+codec-int8         codec with 8-bit activations: what hisses in other engines
    int8+conv-int8          convolutions of the decoder in int8, the last ones too
    int8+conv-f16           ... in float16, the first ones too
    small.safetensors       a file that `pocketquant quantize` wrote from the same model

Recipes are applied in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pocketquant.checkpoint.checkpoint import Checkpoint, open_checkpoint
from pocketquant.errors import PocketQuantError, RecipeError, near_misses
from pocketquant.model.generate import SpeechModel
from pocketquant.ops import get_ops
from pocketquant.ops.interface import Activations, LinearWeight, Ops, PackedWeight
from pocketquant.quantize import schemes
from pocketquant.quantize.metrics import Distortion
from pocketquant.quantize.recipe import PlanRow, Recipe, Rule
from pocketquant.quantize.stored import StoredTensor

FLOAT = "float"
"""Name of the reference."""
CODEC_ACTIVATIONS: dict[str, Activations] = {
    "codec-float": "float",
    "codec-int16": "int16",
    "codec-int8": "int8",
}
CONV_RULES = {
    # A transposed convolution has its inputs first: only one scale a tensor stays with its output channels.
    "conv-int8": (
        Rule("mimi.decoder.model.*.conv.weight", "int8", optional=True),
        Rule("mimi.decoder.model.*.convtr.weight", "int8-tensor", optional=True),
    ),
    "conv-f16": (Rule("mimi.decoder.model.*conv*.weight", "f16", optional=True),),
}


class CodecOps:
    """Other operations, except that quantized weights take the given activations."""

    def __init__(self, ops: Ops, activations: Activations) -> None:
        self._ops = ops
        self._activations = activations

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ops, name)

    def pack(self, weight: LinearWeight) -> PackedWeight:
        """See `Ops.pack`."""
        if weight.scale is not None:
            weight = replace(weight, activations=self._activations)
        return self._ops.pack(weight)


@dataclass(frozen=True)
class Variant:
    """One system to be compared with the float model.

    Attributes:
        name: as the user wrote it.
        recipe: how the weights are stored; None for a file, and for the reference.
        file: a quantized file.
        codec: precision of the codec's activations, None for the rule of the model.
    """

    name: str
    recipe: Recipe | None = None
    file: Path | None = None
    codec: Activations | None = None

    @classmethod
    def parse(cls, name: str) -> Variant:
        """A variant from `RECIPE[+OPTION...]` or `FILE[+OPTION...]`.

        Raises:
            RecipeError: an unknown recipe or option.
        """
        base, *options = name.split("+")
        file = Path(base) if base.endswith(".safetensors") else None
        recipe = None if file else Recipe.named(base)
        codec: Activations | None = None
        for option in options:
            if option in CODEC_ACTIVATIONS:
                codec = CODEC_ACTIVATIONS[option]
            elif option in CONV_RULES and recipe is not None:
                # Among the recipe's own rules, not before them: small tensors stay exact.
                recipe = replace(recipe, rules=(*CONV_RULES[option], *recipe.rules), name=name)
            else:
                known = (*CODEC_ACTIVATIONS, *CONV_RULES)
                hint = near_misses(option, known) or f"; known are {', '.join(known)}"
                raise RecipeError(f"recipe '{name}': unknown option '{option}'{hint}")
        return cls(name, recipe, file, codec)

    def check(self, reference: Checkpoint) -> None:
        """Raise what `weights` would raise, without quantizing anything."""
        if self.file is not None:
            _weights_of_file(self.file, reference)
        elif self.recipe is not None:
            self.recipe.plan(reference)

    def weights(self, reference: Checkpoint) -> Mapping[str, StoredTensor]:
        """Its weights.

        Raises:
            RecipeError: the reference is quantized already.
            PocketQuantError: a file of another model.
        """
        if self.file is not None:
            return _weights_of_file(self.file, reference)
        if self.recipe is None:
            return reference.weights
        return quantize_all(reference, self.recipe.plan(reference))

    def build(self, reference: Checkpoint, weights: Mapping[str, StoredTensor]) -> SpeechModel:
        """The model that speaks."""
        ops = get_ops(threads=1)
        codec_ops = None if self.codec is None else cast(Ops, CodecOps(ops, self.codec))
        return SpeechModel(reference.config, weights, ops, codec_ops=codec_ops)


REFERENCE = Variant(FLOAT)


def parse_variants(names: str) -> list[Variant]:
    """Variants from a comma-separated list.

    Raises:
        RecipeError: an empty list, a name twice, an unknown one.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted or len(set(wanted)) < len(wanted) or FLOAT in wanted:
        raise RecipeError(
            f"--recipes '{names}': give different recipes, separated by commas, such as int8,int4 "
            "(the float model is always there)"
        )
    return [Variant.parse(name) for name in wanted]


def quantize_all(checkpoint: Checkpoint, plan: Iterable[PlanRow]) -> dict[str, StoredTensor]:
    """Every tensor in the scheme that the plan gives it."""
    weights: dict[str, StoredTensor] = {}
    for row in plan:
        tensor = checkpoint.weights[row.name]
        if row.scheme != tensor.scheme:
            tensor = schemes.get(row.scheme).quantize(tensor.dequantize())
        weights[row.name] = tensor
    return weights


def weight_distortions(
    reference: Mapping[str, StoredTensor], weights: Mapping[str, StoredTensor]
) -> dict[str, Distortion]:
    """What quantization did to each tensor that is not what it was."""
    found: dict[str, Distortion] = {}
    for name, tensor in reference.items():
        other = weights[name]
        if other is not tensor:
            found[name] = Distortion.between(tensor.dequantize(), other.dequantize())
    return found


def _weights_of_file(file: Path, reference: Checkpoint) -> Mapping[str, StoredTensor]:
    weights = open_checkpoint(file).weights
    shapes = {name: tensor.shape for name, tensor in reference.weights.items()}
    if {name: tensor.shape for name, tensor in weights.items()} != shapes:
        raise PocketQuantError(f"{file}: holds another model than {reference.origin}; quantize that one")
    return weights
