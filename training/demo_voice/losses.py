"""Losses of the LSD head, official `SimpleMLPAdaLN`: net(condition, start time, target time, x) is a velocity."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Net = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b).square().sum(-1) + 1e-6).sqrt()


def jump(net: Net, condition: Tensor, noise: Tensor) -> Tensor:
    """A latent from noise [..., 32] in one step, as at inference."""
    zero, one = noise.new_zeros(1, 1), noise.new_ones(1, 1)
    return noise + net(condition, zero, one, noise).float()


def energy_score(net: Net, condition: Tensor, latents: Tensor) -> Tensor:
    """Distance of one-step samples to the data less half their distance to each other.

    A proper scoring rule (Gneiting and Raftery 2007): it is least where samples are distributed as the data."""
    one, other = jump(net, condition, torch.randn(2, *latents.shape, device=latents.device))
    nearness = 0.5 * (_distance(one, latents) + _distance(other, latents))
    return (nearness - 0.5 * _distance(one, other)).mean()


def flow_losses(net: Net, condition: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Flow matching where start and target time agree, and Lagrangian self-distillation of jumps s -> t
    (Boffi et al. 2025): the jump's end must move with t as the flow there does."""
    noise, t = torch.randn_like(latents), torch.rand_like(latents[..., :1])
    matching = (net(condition, t, t, (1 - t) * noise + t * latents) - (latents - noise)).square().mean()
    s = torch.rand_like(t)
    s, t = torch.minimum(s, t), torch.maximum(s, t)
    x = (1 - s) * noise + s * latents
    velocity, change = torch.func.jvp(lambda u: net(condition, s, u, x), (t,), (torch.ones_like(t),))[:2]
    with torch.no_grad():
        target = net(condition, t, t, x + (t - s) * velocity)
    return matching, (velocity + (t - s) * change - target).square().mean()
