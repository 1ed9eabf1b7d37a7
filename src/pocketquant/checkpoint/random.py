"""Checkpoints of any size with seeded random weights, for tests and benchmarks that have no trained ones.

The weights have the scales of trained ones (norms near 1, layer scales of a few hundredths, rows of unequal
size with heavy tails), so that quantization errors and running times mean something; what such a model says
is noise. Tensors are made and written one at a time.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pocketquant.checkpoint.layout import TIME_FEATURES, Shape, expected_shapes
from pocketquant.checkpoint.tokenizers import generate_tokenizer
from pocketquant.checkpoint.writer import Entry, create
from pocketquant.config import catalog
from pocketquant.config.schema import ModelConfig
from pocketquant.errors import CheckpointError
from pocketquant.files import atomic_path
from pocketquant.quantize import schemes
from pocketquant.quantize.stored import FloatArray

DTYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
# Far below every threshold: speech ends at the length limit, so running times do not depend on the seed.
NEVER_ENDS = -20.0


def random_checkpoint(
    config: ModelConfig | str, directory: str | Path, *, seed: int = 0, dtype: str = "f32"
) -> Path:
    """Write a checkpoint in the official layout: model.yaml, model.safetensors and a tokenizer.

    Args:
        config: what to make; the name of a language means its config.
        directory: where; it is made if need be. The YAML has absolute paths, so the official package loads it
            from any working directory (and the folder must stay where it is).
        seed: the same seed gives the same files.
        dtype: "f32", "f16" or "bf16", of all tensors.

    Returns:
        The path of the YAML, for `open_checkpoint` and for the official `TTSModel.load_model(config=...)`.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f"unknown dtype {dtype!r}; expected one of {', '.join(DTYPES)}")
    model = catalog.language(config) if isinstance(config, str) else config
    folder = Path(directory).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    table = model.flow_lm.lookup_table
    tokenizer = folder / ("tokenizer.json" if table.tokenizer_kind == "tokenizers" else "tokenizer.model")
    weights = folder / "model.safetensors"
    shapes = expected_shapes(model)
    entries = [Entry(name, DTYPES[dtype], shape) for name, shape in shapes.items()]
    scheme = schemes.get(dtype)
    with create(weights, entries, {"format": "pt"}) as writer:
        for name, shape in shapes.items():
            writer.put(name, scheme.quantize(random_tensor(name, shape, seed=seed)).data)
    with atomic_path(tokenizer) as temporary:
        temporary.write_bytes(generate_tokenizer(table.tokenizer_kind, table.n_bins))
    with atomic_path(folder / "model.yaml") as temporary:
        text = model.with_paths(weights=str(weights), tokenizer=str(tokenizer)).to_yaml()
        temporary.write_text(text, encoding="utf-8")
    return folder / "model.yaml"


def random_tensor(name: str, shape: Shape, *, seed: int = 0) -> FloatArray:
    """Values for one tensor of a model, float32 of `shape`; they depend on name, shape and seed only."""
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith(".freqs"):
        return time_frequencies()
    for matches, make in _RULES:
        if matches(name, shape):
            return make(generator, shape)
    return _matrix(generator, shape, 1.0)


def time_frequencies() -> FloatArray:
    """The buffer `flow_net.time_embed.N.freqs`: exp(-ln(10000) i / 128), float32 [128].

    Official `modules/mlp.py`. torch's own exp is not always rounded correctly, so a value can differ from its
    buffer by one unit in the last place.
    """
    half = TIME_FEATURES // 2
    exponents = np.float32(-math.log(10000)) * np.arange(half, dtype=np.float32) / np.float32(half)
    frequencies: FloatArray = np.exp(exponents.astype(np.float64)).astype(np.float32)
    return frequencies


def _normal(generator: np.random.Generator, shape: Shape) -> FloatArray:
    return generator.standard_normal(shape, dtype=np.float32)


def _matrix(generator: np.random.Generator, shape: Shape, gain: float) -> FloatArray:
    """A product's weight: unit gain for unit input, rows of unequal size, tails heavier than a Gaussian's."""
    values = _normal(generator, shape)
    # n + 0.05 n^3 has variance 1 + 6 * 0.05 + 15 * 0.05^2 and a kurtosis of about 5.
    values += np.float32(0.05) * values * values * values
    rows = np.exp(np.float32(0.25) * _normal(generator, (shape[0],)))
    scale = gain / math.sqrt(max(1, math.prod(shape[1:])) * 1.34)
    values *= (rows * np.float32(scale)).reshape(-1, *[1] * (len(shape) - 1))
    return values


def _around(centre: float, spread: float) -> Callable[[np.random.Generator, Shape], FloatArray]:
    return lambda generator, shape: np.float32(centre) + np.float32(spread) * _normal(generator, shape)


def _layer_scale(generator: np.random.Generator, shape: Shape) -> FloatArray:
    """Between 0.01 and 0.1, evenly in the logarithm."""
    scales: FloatArray = (10 ** generator.uniform(-2, -1, shape)).astype(np.float32)
    return scales


def _scaled(gain: float) -> Callable[[np.random.Generator, Shape], FloatArray]:
    return lambda generator, shape: _matrix(generator, shape, gain)


def _transposed(generator: np.random.Generator, shape: Shape) -> FloatArray:
    """[in, out / groups, 2 * stride]: each output sums `in` channels (one where grouped) over two taps."""
    inputs = shape[0] if shape[1] > 1 else 1
    return _matrix(generator, shape, math.sqrt(math.prod(shape[1:]) / (2 * inputs)))


_Rule = tuple[Callable[[str, Shape], bool], Callable[[np.random.Generator, Shape], FloatArray]]


def _ends(*endings: str) -> Callable[[str, Shape], bool]:
    return lambda name, shape: name.endswith(endings)


# The first rule that matches a name decides.
_RULES: tuple[_Rule, ...] = (
    (_ends("out_eos.bias"), _around(NEVER_ENDS, 0.0)),
    (_ends("flow_lm.emb_std"), _around(1.0, 0.1)),
    (_ends("flow_lm.emb_mean"), _around(0.0, 0.1)),
    (_ends("flow_lm.bos_emb"), _around(0.0, 1.0)),
    (_ends("flow_lm.bos_before_voice", "conditioner.embed.weight"), _around(0.0, 0.5)),
    (_ends(".scale"), _layer_scale),
    (_ends(".alpha"), _around(1.0, 0.05)),
    (lambda name, shape: "norm" in name and name.endswith(".weight"), _around(1.0, 0.1)),
    (_ends(".in_ln.weight"), _around(1.0, 0.1)),
    (_ends(".bias"), _around(0.0, 0.02)),
    (_ends(".convtr.weight"), _transposed),
    # What is added to a residual stream: small, for the sum over the layers must stay near the input.
    (_ends("self_attn.out_proj.weight", "linear2.weight", ".block.3.conv.weight"), _scaled(0.4)),
    (_ends("adaLN_modulation.1.weight"), _scaled(0.3)),
    # The convolution that makes the sound: one channel, well within -1..1.
    (lambda name, shape: name.startswith("mimi.decoder.") and shape[0] == 1, _scaled(0.15)),
)
