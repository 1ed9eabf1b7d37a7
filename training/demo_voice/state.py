"""Training state on disk: weights, their averages, the optimizer; and the schedule of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of a module's weights: what is exported."""

    def __init__(self, module: nn.Module, decay: float = 0.997) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Call after every optimizer step. The first steps count more, or the random start would linger."""
        self.steps += 1
        keep = min(self.decay, self.steps / (self.steps + 10))
        now = module.state_dict()
        floats = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[n] for n in floats], [now[n] for n in floats], 1 - keep)
        for name in now.keys() - set(floats):
            self.weights[name].copy_(now[name])


class Schedule:
    """Course of a run and its learning rate: warm-up, constant, then linear to zero.

    It is measured in wall-clock time, or in steps where their number is given: on a shared machine nobody knows
    how many steps fit, but the rate has to be down when time is up."""

    def __init__(self, minutes: float, decay: float = 0.6, limit: int | None = None) -> None:
        self.began, self.seconds, self.decay, self.limit = time.monotonic(), minutes * 60, decay, limit
        self.warm_up = min(100, limit // 10 + 1) if limit else 100
        self.steps = 0

    @property
    def fraction(self) -> float:
        """Share of the run that is over, 0 to 1."""
        if self.limit:
            return min(1.0, self.steps / self.limit)
        return min(1.0, (time.monotonic() - self.began) / self.seconds)

    def apply(self, optimizers: Sequence[torch.optim.Optimizer], fraction: float) -> None:
        """Set every group's rate for the next step; its peak is the group's `peak_lr` (set here at first)."""
        self.steps += 1
        scale = min(1.0, (1 - fraction) / self.decay + 0.01) * min(1.0, self.steps / self.warm_up)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("peak_lr", group["lr"]) * scale


def _half(values: dict[Any, Any], dtype: torch.dtype) -> dict[Any, Any]:
    """Tensors with more than one number in 16 bits, the rest as it is."""
    return {
        k: v.to(dtype) if isinstance(v, Tensor) and v.dim() and v.is_floating_point() else v
        for k, v in values.items()
    }


class Stage:
    """Files of one training stage in WORK/state: NAME.pt to go on from, NAME.average.pt to export."""

    def __init__(self, work: Path, name: str) -> None:
        self.name = name
        self.path = work / "state" / f"{name}.pt"
        self.average_path = work / "state" / f"{name}.average.pt"

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights in float32."""
        if not self.average_path.exists():
            raise SystemExit(f"{self.average_path} is missing: train {self.name} first")
        weights: dict[str, Tensor] = torch.load(self.average_path, weights_only=True)
        return {name: value.float() for name, value in weights.items()}

    def save(
        self,
        module: nn.Module,
        average: Average,
        optimizers: Sequence[torch.optim.Optimizer],
        probe: nn.Module | None = None,
    ) -> None:
        """Everything in 16 bits, replaced in one go. `probe` is a part that is trained but not exported."""
        state = {
            "weights": _half(module.state_dict(), torch.float16),
            "average_steps": average.steps,
            "probe": None if probe is None else probe.state_dict(),
            "optimizers": [
                {"state": {i: _half(s, torch.bfloat16) for i, s in o.state_dict()["state"].items()}}
                for o in optimizers
            ],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path, part in ((self.path, state), (self.average_path, _half(average.weights, torch.float16))):
            temporary = path.with_suffix(".new")
            torch.save(part, temporary)
            temporary.replace(path)

    def restore(
        self,
        module: nn.Module,
        average: Average,
        optimizers: Sequence[torch.optim.Optimizer] = (),
        probe: nn.Module | None = None,
    ) -> bool:
        """Go on where `save` stopped; False where there is nothing. Learning rates are the caller's."""
        if not self.path.exists():
            return False
        state = torch.load(self.path, weights_only=True)
        module.load_state_dict(state["weights"])
        average.steps = state["average_steps"]
        for name, value in self.averaged().items():
            average.weights[name].copy_(value)
        if probe is not None and state["probe"] is not None:
            probe.load_state_dict(state["probe"])
        # A state adopted from an exported voice has no optimizers.
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=bool(state["optimizers"])):
            optimizer.load_state_dict(saved | {"param_groups": optimizer.state_dict()["param_groups"]})
        return True
