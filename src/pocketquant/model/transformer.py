"""The transformer of the language model and of both sides of the codec.

Pre-norm layers: x + scale1 * attention(norm1(x)), then x + scale2 * mlp(norm2(x)); rotary positions, GELU, no
biases. The language model sees everything before, the codec the last `context` positions. Official:
`modules/transformer.py`, `modules/attention.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pocketquant.model.layers import Layers, Linear
from pocketquant.ops.interface import F32, Activations, KVCache, Ops

EPS = 1e-5
Caches = list[KVCache]
"""One key/value cache per layer: what a transformer remembers of one utterance."""


@dataclass(frozen=True, slots=True)
class TransformerSizes:
    """Sizes of a transformer.

    Attributes:
        layers: number of layers.
        dim: width between the layers.
        heads: query heads.
        kv_heads: key/value heads, each read by `heads // kv_heads` query heads.
        head_dim: width of a head.
        hidden: width of the feed-forward layer.
        max_period: longest rotation period.
        context: positions that a query sees, itself included; None for all.
        layer_scale: whether the layers have scales.
    """

    layers: int
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    max_period: float
    context: int | None = None
    layer_scale: bool = False


class TransformerLayer:
    """One layer."""

    def __init__(self, layers: Layers, sizes: TransformerSizes, activations: Activations) -> None:
        self.ops = layers.ops
        self.sizes = sizes
        attended = sizes.heads * sizes.head_dim
        projected = attended + 2 * sizes.kv_heads * sizes.head_dim
        self.norm1 = layers.layer_norm("norm1", sizes.dim, EPS)
        self.in_proj = layers.linear("self_attn.in_proj", projected, sizes.dim, activations)
        self.out_proj = layers.linear("self_attn.out_proj", sizes.dim, attended, activations)
        self.norm2 = layers.layer_norm("norm2", sizes.dim, EPS)
        self.linear1 = layers.linear("linear1", sizes.hidden, sizes.dim, activations)
        self.linear2 = layers.linear("linear2", sizes.dim, sizes.hidden, activations)
        self.scale1 = layers.array("layer_scale_1.scale", sizes.dim) if sizes.layer_scale else None
        self.scale2 = layers.array("layer_scale_2.scale", sizes.dim) if sizes.layer_scale else None

    def __call__(self, x: F32, cache: KVCache) -> F32:
        """T new positions `[T, dim]` to the same; `cache` grows by T."""
        return self._finish(x, self._attend(self.in_proj(self.norm1(x)), cache))

    def step(self, x: F32, caches: Sequence[KVCache]) -> F32:
        """One new position for each of N utterances: `[N, dim]` to the same; each cache grows by 1.

        The weights are read once for all of them; only the attention looks at each past by itself.
        """
        qkv = self.in_proj(self.norm1(x))
        attended = [self._attend(qkv[n : n + 1], cache) for n, cache in enumerate(caches)]
        return self._finish(x, np.concatenate(attended))

    def _attend(self, qkv: F32, cache: KVCache) -> F32:
        return self.ops.attention(
            qkv,
            cache,
            heads=self.sizes.heads,
            kv_heads=self.sizes.kv_heads,
            max_period=self.sizes.max_period,
            context=self.sizes.context,
        )

    def _finish(self, x: F32, attended: F32) -> F32:
        x = self.out_proj(attended, gain=self.scale1, residual=x)
        hidden = self.linear1(self.norm2(x), activation="gelu")
        return self.linear2(hidden, gain=self.scale2, residual=x)


class Transformer:
    """A stack of layers."""

    def __init__(self, layers: Layers, sizes: TransformerSizes, activations: Activations) -> None:
        self.ops: Ops = layers.ops
        self.sizes = sizes
        self.layers = [
            TransformerLayer(layers.at(f"layers.{i}"), sizes, activations) for i in range(sizes.layers)
        ]

    def new_caches(self, capacity: int) -> Caches:
        """Empty caches with room for `capacity` positions; they forget what lies behind the context.

        They are exact where the layer's matrices are floats.
        """
        s = self.sizes
        return [
            self.ops.new_cache(
                capacity, s.kv_heads, s.head_dim, window=s.context, exact=layer.in_proj.weight.exact
            )
            for layer in self.layers
        ]

    def __call__(self, x: F32, caches: Caches) -> F32:
        """T new positions `[T, dim]` to the same; the caches grow by T."""
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, cache)
        return x

    def step(self, x: F32, utterances: Sequence[Caches]) -> F32:
        """One new position for each of N utterances: `[N, dim]` to the same; all caches grow by 1."""
        for layer, caches in zip(self.layers, zip(*utterances, strict=True), strict=True):
            x = layer.step(x, caches)
        return x


class ProjectedTransformer:
    """A transformer with a projection before and after it where the widths differ."""

    def __init__(
        self,
        layers: Layers,
        sizes: TransformerSizes,
        activations: Activations,
        *,
        input_dim: int,
        output_dim: int,
    ) -> None:
        self.transformer = Transformer(layers.at("transformer"), sizes, activations)
        self.input_proj: Linear | None = None
        self.output_proj: Linear | None = None
        if input_dim != sizes.dim:
            self.input_proj = layers.linear("input_proj", sizes.dim, input_dim, activations)
        if output_dim != sizes.dim:
            self.output_proj = layers.linear("output_projs.0", output_dim, sizes.dim, activations)

    def __call__(self, x: F32, caches: Caches) -> F32:
        """`[T, input_dim]` to `[T, output_dim]`."""
        if self.input_proj is not None:
            x = self.input_proj(x)
        x = self.transformer(x, caches)
        return x if self.output_proj is None else self.output_proj(x)
