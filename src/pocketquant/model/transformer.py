"""The transformer of the language model and of both sides of the codec.

Pre-norm layers: x + scale1 * attention(norm1(x)), then x + scale2 * mlp(norm2(x)); rotary positions, GELU, no
biases. The language model sees everything before, the codec the last `context` positions. Official:
`modules/transformer.py`, `modules/attention.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pocketquant.model.layers import Layers, Linear
from pocketquant.ops.interface import (
    F32,
    Activations,
    KVCache,
    Ops,
    PackedWeight,
    TransformerLayerWeights,
)

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
        attended = sizes.heads * sizes.head_dim
        projected = attended + 2 * sizes.kv_heads * sizes.head_dim

        def matrix(name: str, n: int, k: int) -> PackedWeight:
            return layers.linear(name, n, k, activations).weight

        def norm(name: str) -> tuple[F32, F32]:
            return layers.array(f"{name}.weight", sizes.dim), layers.array(f"{name}.bias", sizes.dim)

        def scale(name: str) -> F32 | None:
            return layers.array(f"{name}.scale", sizes.dim) if sizes.layer_scale else None

        in_proj = matrix("self_attn.in_proj", projected, sizes.dim)
        self.exact = in_proj.exact
        self.packed = self.ops.pack_layer(
            TransformerLayerWeights(
                norm1=norm("norm1"),
                in_proj=in_proj,
                out_proj=matrix("self_attn.out_proj", sizes.dim, attended),
                scale1=scale("layer_scale_1"),
                norm2=norm("norm2"),
                linear1=matrix("linear1", sizes.hidden, sizes.dim),
                linear2=matrix("linear2", sizes.dim, sizes.hidden),
                scale2=scale("layer_scale_2"),
                eps=EPS,
                heads=sizes.heads,
                kv_heads=sizes.kv_heads,
                head_dim=sizes.head_dim,
                max_period=sizes.max_period,
                context=sizes.context,
            )
        )

    def __call__(self, x: F32, *caches: KVCache) -> F32:
        """T new positions for each of N utterances, `[N * T, dim]`, to the same; their caches grow by T.

        The weights are read once for all of them; only the attention looks at each past by itself.
        """
        return self.ops.transformer_layer(x, self.packed, caches)


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
            self.ops.new_cache(capacity, s.kv_heads, s.head_dim, window=s.context, exact=layer.exact)
            for layer in self.layers
        ]

    def __call__(self, x: F32, *utterances: Caches) -> F32:
        """T new positions for each of N utterances, `[N * T, dim]`, to the same; all their caches grow by T."""
        for layer, caches in zip(self.layers, zip(*utterances, strict=True), strict=True):
            x = layer(x, *caches)
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
