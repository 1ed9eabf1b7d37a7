"""The language model over latents: voice, text and the latents so far in, the next latent out.

    voice prompt (codec latents, projected)  -+
    text (token embeddings)                   +-> transformer -> norm [-> z_proj] = z -> flow head -> latent
    latents so far (NaN: beginning), projected+                                       `-> EOS logit

Official: `models/flow_lm.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocketquant.config.schema import ModelConfig
from pocketquant.errors import CheckpointError
from pocketquant.model.flow_net import FlowNet, Schedule
from pocketquant.model.layers import Embedding, Layers
from pocketquant.model.transformer import Caches, Transformer, TransformerSizes
from pocketquant.ops.interface import F32

NORM_EPS = 1e-5


class FlowLM:
    """The language model. It holds weights only; the past of an utterance is in its `Caches`."""

    def __init__(self, config: ModelConfig, layers: Layers) -> None:
        """Build it from the tensors `flow_lm.*`.

        Args:
            config: the model's config.
            layers: positioned at `flow_lm`.

        Raises:
            CheckpointError: a tensor is missing or has another shape.
        """
        lm, table = config.flow_lm, config.flow_lm.lookup_table
        self.latent_dim = config.latent_dim
        self.dim = dim = lm.transformer.d_model
        self.condition_dim = lm.condition_dim
        self.embed = Embedding(layers.stored("conditioner.embed.weight", table.rows, table.embedding_dim))
        self.embed_proj = (
            None if table.rank is None else layers.linear("conditioner.proj", dim, table.rank, "int8")
        )
        self.emb_mean = layers.array("emb_mean", self.latent_dim)
        self.emb_std = layers.array("emb_std", self.latent_dim)
        self.bos_emb = layers.array("bos_emb", self.latent_dim)
        self.bos_before_voice = (
            layers.array("bos_before_voice", 1, 1, dim)[0] if lm.insert_bos_before_voice else None
        )
        self.speaker_proj = (
            layers.linear("speaker_proj", dim, config.mimi.encoded_dim, "int8", tensor="speaker_proj_weight")
            if "speaker_proj_weight" in layers
            else None
        )
        self.input_linear = layers.linear("input_linear", dim, self.latent_dim, "int8")
        self.transformer = Transformer(
            layers.at("transformer"),
            TransformerSizes(
                layers=lm.transformer.num_layers,
                dim=dim,
                heads=lm.transformer.num_heads,
                kv_heads=lm.transformer.kv_heads,
                head_dim=lm.transformer.head_dim,
                hidden=lm.transformer.feedforward_dim,
                max_period=lm.transformer.max_period,
            ),
            "int8",
        )
        self.out_norm = layers.layer_norm("out_norm", dim, NORM_EPS)
        self.z_proj = None if lm.z_dim is None else layers.linear("z_proj", lm.z_dim, dim, "int8")
        self.out_eos = layers.linear("out_eos", 1, self.condition_dim, "int8", bias=True)
        self.flow_net = FlowNet(layers.at("flow_net"), lm.flow, self.latent_dim, self.condition_dim)

    def new_caches(self, capacity: int, past: Sequence[F32] = ()) -> Caches:
        """Caches with room for `capacity` positions, empty or filled with the past of a voice.

        Args:
            capacity: positions before the caches have to grow.
            past: per layer keys and values, float32 `[2, positions, kv_heads, head_dim]`.
        """
        caches = self.transformer.new_caches(capacity)
        if past:
            for cache, kv in zip(caches, past, strict=True):
                cache.load(kv)
        return caches

    def embed_text(self, tokens: NDArray[np.int64]) -> F32:
        """Token ids `[T]` as rows of the transformer, `[T, dim]`."""
        x = self.embed(tokens)
        return x if self.embed_proj is None else self.embed_proj(x)

    def embed_voice(self, encoded: F32) -> F32:
        """An encoded recording `[T, codec width]` as rows of the transformer, `[T (+ 1), dim]`.

        Raises:
            CheckpointError: the weights came without voice cloning.
        """
        if self.speaker_proj is None:
            raise CheckpointError(
                "these weights cannot clone a voice: flow_lm.speaker_proj_weight is missing; "
                "use a voice file, or weights with voice cloning"
            )
        x = self.speaker_proj(encoded)
        return x if self.bos_before_voice is None else np.concatenate([self.bos_before_voice, x])

    def embed_latents(self, latents: F32) -> F32:
        """Latents `[T, latent_dim]` as rows of the transformer, `[T, dim]`; NaN stands for the beginning."""
        return self.input_linear(np.where(np.isnan(latents), self.bos_emb, latents))

    def prompt(self, x: F32, caches: Caches) -> F32:
        """Let the transformer read the rows `[T, dim]`; returns its output `[T, dim]`, before the norm."""
        return self.transformer(x, caches)

    def condition(self, x: F32) -> F32:
        """z, what the heads see: the transformer's output `[T, dim]` to `[T, condition_dim]`."""
        x = self.out_norm(x)
        return x if self.z_proj is None else self.z_proj(x)

    def eos_logit(self, z: F32) -> float:
        """How sure the model is that the speech has ended, for one row of z."""
        return self.eos_logits(z)[0]

    def eos_logits(self, z: F32) -> list[float]:
        """The same for each row of z."""
        return [float(logit) for logit in self.out_eos(z)[:, 0]]

    def step(self, latent: F32, caches: Caches, noise: F32, schedule: Schedule) -> tuple[F32, float]:
        """One frame: the latent before it (NaN for the first one) to the next latent and the EOS logit.

        Args:
            latent: `[1, latent_dim]`.
            caches: the past; they grow by one position.
            noise: `[1, latent_dim]`, see `sample_noise`.
            schedule: from `flow_net.schedule(steps)`.
        """
        z = self.condition(self.transformer(self.embed_latents(latent), caches))
        return self.flow_net.sample(z, noise, schedule), self.eos_logit(z)

    def step_together(
        self, latents: F32, utterances: Sequence[Caches], noise: F32, schedule: Schedule
    ) -> tuple[F32, list[float]]:
        """One frame of N utterances: what `step` gives for each, with the weights read once.

        Where a product's rows do not depend on how many there are (the compiled core), it is the same bit for
        bit.

        Args:
            latents: `[N, latent_dim]`, the latent before in each utterance (NaN in its first frame).
            utterances: N pasts; each grows by one position.
            noise: `[N, latent_dim]`.
            schedule: from `flow_net.schedule(steps)`.

        Returns:
            The next latents `[N, latent_dim]` and N EOS logits.
        """
        z = self.condition(self.transformer(self.embed_latents(latents), *utterances))
        return self.flow_net.sample(z, noise, schedule), self.eos_logits(z)

    def to_codec(self, latents: F32) -> F32:
        """Undo the normalization of latents `[T, latent_dim]`: what the codec decodes."""
        return latents * self.emb_std + self.emb_mean
