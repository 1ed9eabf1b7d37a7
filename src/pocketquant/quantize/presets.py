"""The recipes that come with the package."""

from __future__ import annotations

from pocketquant.quantize.config import QuantizeConfig
from pocketquant.quantize.recipe import Recipe, Rule

DEFAULT_RECIPE = "int8"
SMALL = 1024  # values; below that a tensor is not worth a scheme (the origin's min_size)


def _rules(*lines: str) -> tuple[Rule, ...]:
    parsed = (Rule.parse(line) for line in lines)
    return tuple(Rule(rule.pattern, rule.scheme, optional=True) for rule in parsed)


# What decides everything after it stays exact: the end-of-speech head (int8 moved its logit by up to 0.66
# against a threshold of -4), the latent's statistics and start values, norms, biases, gains. Small tensors,
# the last convolution (64 -> 1) among them, fall under SMALL.
_EXACT = _rules(
    "flow_lm.out_eos.*=f32",
    "flow_lm.bos_*=f32",
    "flow_lm.emb_*=f32",
    "*.bias=f32",
    "*norm*=f32",
    "*.in_ln.*=f32",
    "*.layer_scale_?.scale=f32",
    "*.freqs=f32",
    "*.alpha=f32",
)
# Doors of the 32 numbers that a latent is: nothing to save, and all speech passes through them.
_LATENT_DOORS = _rules(
    "flow_lm.input_linear.weight=f16",
    "flow_lm.speaker_proj_weight=f16",
    "flow_lm.z_proj.weight=f16",
    "flow_lm.flow_net.input_proj.weight=f16",
    "flow_lm.flow_net.final_layer.linear.weight=f16",
)
_LM_TRANSFORMER = ("flow_lm.transformer.*_proj.weight", "flow_lm.transformer.*.linear?.weight")
_MIMI_TRANSFORMERS = ("mimi.*_transformer.*.*_proj.weight", "mimi.*_transformer.*.linear?.weight")
_FLOW_HEAD_AND_EMBEDDING = _rules("flow_lm.flow_net.*.weight=int8", "flow_lm.conditioner.*.weight=int8")
# Coarse convolutions hiss in pauses, where word error rates hear nothing: the encoder and the last stage of the
# decoder, right before the sound, stay in f16. Before it 8 bits are enough (with 16-bit activations, see `Ops.linear`;
# docs/QUALITY.md). A transposed convolution has its output channels inside of its rows: only one scale for the whole
# tensor stays with all of them.
_CODEC = _rules(
    "mimi.decoder.model.[0-6].*conv.weight=int8",
    "mimi.decoder.model.[0-6].convtr.weight=int8-tensor",
    "mimi.*.weight=f16",
)


def _transformers(scheme: str) -> tuple[Rule, ...]:
    return _rules(*(f"{pattern}={scheme}" for pattern in (*_LM_TRANSFORMER, *_MIMI_TRANSFORMERS)))


PRESETS: dict[str, Recipe] = {
    "origin": Recipe.from_config(QuantizeConfig()),
    "int8": Recipe(
        "int8",
        (*_EXACT, *_LATENT_DOORS, *_transformers("int8"), *_FLOW_HEAD_AND_EMBEDDING, *_CODEC),
        min_size=SMALL,
    ),
    "int8-lm": Recipe("int8-lm", _rules(*(f"{pattern}=int8" for pattern in _LM_TRANSFORMER))),
    "int4": Recipe(
        "int4",
        (
            *_EXACT,
            *_LATENT_DOORS,
            *_transformers("int4-g32"),
            *_FLOW_HEAD_AND_EMBEDDING,
            *_CODEC,
        ),
        min_size=SMALL,
    ),
}
DESCRIPTIONS: dict[str, str] = {
    "origin": "one scale a tensor, everything but embeddings and output projections, as the origin's defaults",
    "int8": "transformers, flow head, embedding and the decoder's wide convolutions in int8, the rest in f16",
    "int8-lm": "only the language model's attention and feed-forward, as the official package at load time",
    "int4": "transformers in 4 bits (groups of 32); flow head, embedding and wide convolutions in int8, others in f16",
}
