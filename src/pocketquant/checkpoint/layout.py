"""Which tensors a model has: the names and shapes of the official `TTSModel.state_dict()`, from its config.

Linear weights are [out, in], convolutions [out, in, kernel], transposed ones [in, out / groups, kernel].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketquant.config import catalog
from pocketquant.config.schema import (
    FlowLMConfig,
    MimiConfig,
    MimiTransformerConfig,
    ModelConfig,
    SEANetConfig,
)
from pocketquant.errors import CheckpointError, near_misses

Shape = tuple[int, ...]

# The time embedders take 256 cosines and sines (official `modules/mlp.py`, TimestepEmbedder).
TIME_FEATURES = 256
SHOWN = 3


def expected_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Official name -> shape of every tensor that a checkpoint of this model has."""
    flow_lm = {f"flow_lm.{name}": shape for name, shape in _flow_lm(config.flow_lm, config).items()}
    mimi = {f"mimi.{name}": shape for name, shape in _mimi(config.mimi).items()}
    return flow_lm | mimi


def _flow_lm(config: FlowLMConfig, model: ModelConfig) -> dict[str, Shape]:
    latent, width = model.latent_dim, config.transformer.d_model
    table = config.lookup_table
    shapes: dict[str, Shape] = {
        "emb_std": (latent,),
        "emb_mean": (latent,),
        "bos_emb": (latent,),
        "speaker_proj_weight": (width, model.mimi.encoded_dim),
    }
    if config.insert_bos_before_voice:
        shapes["bos_before_voice"] = (1, 1, width)
    shapes["conditioner.embed.weight"] = (table.rows, table.embedding_dim)
    if table.rank is not None:
        shapes["conditioner.proj.weight"] = (table.dim, table.rank)
    shapes |= _flow_net(config, latent)
    shapes["input_linear.weight"] = (width, latent)
    transformer = config.transformer
    for layer in range(transformer.num_layers):
        prefix = f"transformer.layers.{layer}."
        shapes[prefix + "self_attn.in_proj.weight"] = (transformer.qkv_dim, width)
        shapes[prefix + "self_attn.out_proj.weight"] = (width, transformer.attention_dim)
        shapes |= _norms_and_feedforward(prefix, width, transformer.feedforward_dim)
    shapes |= _biased("out_norm", width)
    if config.z_dim is not None:
        shapes["z_proj.weight"] = (config.z_dim, width)
    shapes |= _biased("out_eos", 1, config.condition_dim)
    return shapes


def _flow_net(config: FlowLMConfig, latent: int) -> dict[str, Shape]:
    width = config.flow.dim
    shapes: dict[str, Shape] = {}
    for time in range(config.flow.num_time_conditions):
        prefix = f"flow_net.time_embed.{time}."
        shapes[prefix + "freqs"] = (TIME_FEATURES // 2,)
        shapes |= _biased(prefix + "mlp.0", width, TIME_FEATURES)
        shapes |= _biased(prefix + "mlp.2", width, width)
        shapes[prefix + "mlp.3.alpha"] = (width,)
    shapes |= _biased("flow_net.cond_embed", width, config.condition_dim)
    shapes |= _biased("flow_net.input_proj", width, latent)
    for block in range(config.flow.depth):
        prefix = f"flow_net.res_blocks.{block}."
        shapes |= _biased(prefix + "in_ln", width)
        shapes |= _biased(prefix + "mlp.0", width, width)
        shapes |= _biased(prefix + "mlp.2", width, width)
        shapes |= _biased(prefix + "adaLN_modulation.1", 3 * width, width)
    shapes |= _biased("flow_net.final_layer.linear", latent, width)
    shapes |= _biased("flow_net.final_layer.adaLN_modulation.1", 2 * width, width)
    return shapes


def _mimi(config: MimiConfig) -> dict[str, Shape]:
    decoder, quantizer, stride = config.decoder_side_seanet, config.quantizer, config.resample_stride
    shapes = _seanet_encoder(config.seanet)
    shapes |= _seanet_decoder(decoder)
    shapes |= _mimi_transformer("encoder_transformer.", config.transformer)
    shapes |= _mimi_transformer("decoder_transformer.", config.decoder_side_transformer)
    shapes["quantizer.output_proj.weight"] = (quantizer.output_dimension, quantizer.dimension, 1)
    if stride > 1:
        shapes["downsample.conv.conv.weight"] = (config.encoded_dim, config.seanet.dimension, 2 * stride)
        # One group per channel of the decoder, so each channel has its own kernel.
        shapes["upsample.convtr.convtr.weight"] = (config.upsample_dim, 1, 2 * stride)
    return shapes


def _seanet_encoder(config: SEANetConfig) -> dict[str, Shape]:
    width = config.n_filters
    shapes = _biased("encoder.model.0.conv", width, config.channels, config.kernel_size)
    index = 1
    for ratio in reversed(config.ratios):
        index = _residuals(shapes, "encoder", index, width, config)
        # model.{index} is the ELU before the strided convolution.
        shapes |= _biased(f"encoder.model.{index + 1}.conv", 2 * width, width, 2 * ratio)
        index, width = index + 2, 2 * width
    return shapes | _biased(
        f"encoder.model.{index + 1}.conv", config.dimension, width, config.last_kernel_size
    )


def _seanet_decoder(config: SEANetConfig) -> dict[str, Shape]:
    width = config.n_filters * 2 ** len(config.ratios)
    shapes = _biased("decoder.model.0.conv", width, config.dimension, config.kernel_size)
    index = 1
    for ratio in config.ratios:
        prefix, half = f"decoder.model.{index + 1}.convtr", width // 2
        shapes[f"{prefix}.weight"], shapes[f"{prefix}.bias"] = (width, half, 2 * ratio), (half,)
        index, width = _residuals(shapes, "decoder", index + 2, half, config), half
    return shapes | _biased(
        f"decoder.model.{index + 1}.conv", config.channels, width, config.last_kernel_size
    )


def _residuals(shapes: dict[str, Shape], side: str, index: int, width: int, config: SEANetConfig) -> int:
    """Add the residual blocks that start at `model.{index}`; the index after them."""
    hidden = width // config.compress
    for block in range(index, index + config.n_residual_layers):
        prefix = f"{side}.model.{block}.block."
        shapes |= _biased(prefix + "1.conv", hidden, width, config.residual_kernel_size)
        shapes |= _biased(prefix + "3.conv", width, hidden, 1)
    return index + config.n_residual_layers


def _mimi_transformer(prefix: str, config: MimiTransformerConfig) -> dict[str, Shape]:
    width = config.d_model
    shapes: dict[str, Shape] = {}
    for layer in range(config.num_layers):
        inner = f"{prefix}transformer.layers.{layer}."
        shapes[inner + "self_attn.in_proj.weight"] = (3 * width, width)
        shapes[inner + "self_attn.out_proj.weight"] = (width, width)
        shapes |= _norms_and_feedforward(inner, width, config.dim_feedforward)
        shapes[inner + "layer_scale_1.scale"] = (width,)
        shapes[inner + "layer_scale_2.scale"] = (width,)
    if config.input_dimension != width:
        shapes[prefix + "input_proj.weight"] = (width, config.input_dimension)
    for index, dimension in enumerate(config.output_dimensions):
        if dimension != width:
            shapes[f"{prefix}output_projs.{index}.weight"] = (dimension, width)
    return shapes


def _norms_and_feedforward(prefix: str, width: int, hidden: int) -> dict[str, Shape]:
    return {
        **_biased(prefix + "norm1", width),
        **_biased(prefix + "norm2", width),
        prefix + "linear1.weight": (hidden, width),
        prefix + "linear2.weight": (width, hidden),
    }


def _biased(name: str, *shape: int) -> dict[str, Shape]:
    """A weight of `shape` and a bias for its first axis."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def check_layout(config: ModelConfig, shapes: Mapping[str, Shape], *, source: str) -> None:
    """Whether a checkpoint has the tensors of `config`, all of them, no others, in their shapes.

    Args:
        shapes: official name -> shape of what the checkpoint has.
        source: the file, for the error line.

    Raises:
        CheckpointError: it has not. One line: how many, the first few, and which model would fit.
    """
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in shapes]
    unexpected = [name for name in shapes if name not in expected]
    wrong = [name for name in expected if name in shapes and tuple(shapes[name]) != expected[name]]
    if not (missing or unexpected or wrong):
        return
    refuse_voice(shapes, source=source)
    if missing:
        problem = f"{_count(missing)} missing: {_few(missing)}"
        if len(missing) == 1:
            problem += near_misses(missing[0], unexpected)
    elif unexpected:
        problem = f"{_count(unexpected)} unknown to its config: {_few(unexpected)}"
        if len(unexpected) == 1:
            problem += near_misses(unexpected[0], expected)
    else:
        first = wrong[0]
        problem = (
            f"{_count(wrong)} of another shape than its config says: {first} is {list(shapes[first])}, "
            f"expected {list(expected[first])}"
        )
    fitting = fitting_languages(shapes)
    remedy = f"its tensors are those of {_few(fitting)}" if fitting else "is it the config of another model?"
    raise CheckpointError(f"{source}: {problem}; {remedy}")


def refuse_voice(names: Iterable[str], *, source: str) -> None:
    """Raise CheckpointError where all names are those of attention states (`.../cache`): a voice, not a model."""
    if all("/" in name for name in names):
        raise CheckpointError(f"{source}: is not a model (a voice?); give the weights of a model")


def fitting_languages(shapes: Mapping[str, Shape]) -> list[str]:
    """Names of the official models (and `demo`) that have exactly these tensors."""
    having = {name: tuple(shape) for name, shape in shapes.items()}
    return [name for name in (*catalog.languages(), catalog.DEMO) if _official_shapes(name) == having]


@cache
def _official_shapes(language: str) -> dict[str, Shape]:
    return expected_shapes(catalog.language(language))


def check_finite(name: str, values: NDArray[Any], *, source: str, bfloat16: bool = False) -> None:
    """Raise CheckpointError when `values` hold NaN or infinity; `bfloat16` for bit patterns in uint16."""
    bad, flat = 0, values.reshape(-1)
    for start in range(0, flat.size, 1 << 20):  # in pieces, for the flags take memory too
        piece = flat[start : start + (1 << 20)]
        finite = (piece & 0x7F80) != 0x7F80 if bfloat16 else np.isfinite(piece)
        bad += int(piece.size - np.count_nonzero(finite))
    if bad:
        raise CheckpointError(
            f"{source}: tensor {name} holds {bad} NaN or infinite values of {flat.size}; get a sound file"
        )


def _count(names: list[str]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
