"""The flow head: from noise and the language model's output to the next latent.

A small residual MLP whose layers are shifted, scaled and gated by the condition (adaLN; after the diffusion
head of MAR, Li et al., arXiv:2406.11838). It is sampled in one of four ways:
    lsd            x += v(s, t, x) / n over n steps from s to t (Lagrangian self distillation, arXiv:2505.18825)
    flow_matching  x += v(t, x) / n, Euler over n steps (arXiv:2210.02747)
    drifting       x = v(noise)
    pointwise      x = noise + v(noise)
Official: `modules/mlp.py`, `models/flow_lm.py`.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from pocketquant.config.schema import FlowConfig
from pocketquant.model.layers import LayerNorm, Layers
from pocketquant.ops.interface import F32

EPS = 1e-6
RMS_EPS = 1e-5
FREQUENCIES = 128
Schedule = list["F32 | None"]
"""What the head is told of the time in each step: the embedding `[1, dim]`, or None without time."""


class TimeEmbedding:
    """One number in 0..1 as a vector `[1, dim]`."""

    def __init__(self, layers: Layers, dim: int) -> None:
        self.freqs = layers.array("freqs", FREQUENCIES)
        self.linear1 = layers.linear("mlp.0", dim, 2 * FREQUENCIES, "int8", bias=True)
        self.linear2 = layers.linear("mlp.2", dim, dim, "int8", bias=True)
        self.alpha = layers.array("mlp.3.alpha", dim)

    def __call__(self, time: float) -> F32:
        """Embed a time; float32 `[1, dim]`.

        The norm at its end is called RMSNorm upstream, but divides by the *standard deviation* (unbiased,
        about the mean) and does not subtract the mean.
        """
        angle = np.float32(time) * self.freqs
        waves = np.concatenate([np.cos(angle), np.sin(angle)])[None]
        x = self.linear2(self.linear1(waves, activation="silu"))
        variance = np.float32(RMS_EPS) + x.var(axis=-1, ddof=1, keepdims=True)
        return cast(F32, x * (self.alpha / np.sqrt(variance)))


class ResBlock:
    """x + gate * mlp(modulate(norm(x), shift, scale)), with shift, scale and gate from the condition."""

    def __init__(self, layers: Layers, dim: int) -> None:
        self.ops = layers.ops
        self.dim = dim
        self.norm = layers.layer_norm("in_ln", dim, EPS)
        self.linear1 = layers.linear("mlp.0", dim, dim, "int8", bias=True)
        self.linear2 = layers.linear("mlp.2", dim, dim, "int8", bias=True)
        self.modulation = layers.linear("adaLN_modulation.1", 3 * dim, dim, "int8", bias=True)

    def __call__(self, x: F32, condition: F32) -> F32:
        """`[N, dim]`, and the condition after its SiLU, `[N, dim]`, to `[N, dim]`."""
        dim, by = x.shape[1], self.modulation(condition)
        shift, scale, gate = by[:, :dim], by[:, dim : 2 * dim], by[:, 2 * dim :]
        h = self.ops.modulate(self.norm(x), shift, scale)
        h = self.linear1(h, activation="silu")
        return x + gate * self.linear2(h)  # the gain of `linear` would be the same for all rows


class FlowNet:
    """The flow head. It works on one frame at a time, of N utterances: arrays of N rows."""

    def __init__(self, layers: Layers, config: FlowConfig, latent_dim: int, condition_dim: int) -> None:
        self.ops = layers.ops
        self.type = config.type
        dim = config.dim
        self.time_embed = [
            TimeEmbedding(layers.at(f"time_embed.{i}"), dim) for i in range(config.num_time_conditions)
        ]
        self.input_proj = layers.linear("input_proj", dim, latent_dim, "int8", bias=True)
        self.cond_embed = layers.linear("cond_embed", dim, condition_dim, "int8", bias=True)
        self.blocks = [ResBlock(layers.at(f"res_blocks.{i}"), dim) for i in range(config.depth)]
        self.final_norm = LayerNorm(layers.ops, None, None, EPS)
        final = layers.at("final_layer")
        self.final_modulation = final.linear("adaLN_modulation.1", 2 * dim, dim, "int8", bias=True)
        self.final_linear = final.linear("linear", latent_dim, dim, "int8", bias=True)

    def schedule(self, steps: int) -> Schedule:
        """The time embeddings of `steps` steps: constants, so compute them once per utterance.

        The heads without time (drifting, pointwise) take one step, whatever `steps` says.
        """
        if self.type == "lsd":
            return [self.time(i / steps, (i + 1) / steps) for i in range(steps)]
        if self.type == "flow_matching":
            return [self.time(i / steps) for i in range(steps)]
        return [None]

    def time(self, *times: float) -> F32:
        """The mean of the embeddings of the times: float32 `[1, dim]`."""
        total = np.float32(0) + sum(embed(t) for embed, t in zip(self.time_embed, times, strict=True))
        return np.asarray(total / np.float32(len(times)), np.float32)

    def velocity(self, x: F32, condition: F32) -> F32:
        """The head itself: x `[N, latent_dim]`, condition (with time) `[N, dim]`, to `[N, latent_dim]`."""
        condition = self.ops.activate(condition, "silu")
        h = self.input_proj(x)
        for block in self.blocks:
            h = block(h, condition)
        dim, by = h.shape[1], self.final_modulation(condition)
        return self.final_linear(self.ops.modulate(self.final_norm(h), by[:, :dim], by[:, dim:]))

    def sample(self, z: F32, noise: F32, schedule: Schedule) -> F32:
        """The next latent of N utterances.

        Args:
            z: the language model's output `[N, condition_dim]`.
            noise: `[N, latent_dim]`.
            schedule: from `schedule(steps)`.

        Returns:
            float32 `[N, latent_dim]`.
        """
        embedded = self.cond_embed(z)
        x = noise
        for time in schedule:
            v = self.velocity(x, embedded if time is None else embedded + time)
            x = v if self.type == "drifting" else x + v / np.float32(len(schedule))
        return x
