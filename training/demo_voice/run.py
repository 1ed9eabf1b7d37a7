"""One run of one training stage: resume, step, report, save, stop when the time is up.

Under `torchrun` each process draws its own batches and gradients are averaged. On CPUs that are shared, processes of
one thread each are about twice as fast as one process whose threads wait for each other in every product."""

from __future__ import annotations

import argparse
import os
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn

from .layout import SIZES
from .state import Average, Schedule, Stage

REPORT_SECONDS, SAVE_SECONDS = 30, 120


def add_run_arguments(parser: argparse.ArgumentParser, *, lr: float, batch: int, minutes: float = 9) -> None:
    """Options that all stages share."""
    parser.add_argument(
        "--work", type=Path, required=True, help="work folder: shards, tokenizer.model, state/"
    )
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument("--minutes", type=float, default=minutes, help="how long to train")
    parser.add_argument("--steps", type=int, help="... or how many steps")
    parser.add_argument("--lr", type=float, default=lr, help="peak learning rate")
    parser.add_argument(
        "--decay", type=float, default=0.6, help="share of the time in which the rate falls to zero"
    )
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--threads", type=int, help="CPU threads")


def device_of(args: argparse.Namespace) -> torch.device:
    """The GPU where there is one; sets the number of threads, and joins the other processes of `torchrun`."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high")
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo")
        # Each process draws its own batches, and a resumed run other ones than before.
        seed = secrets.randbits(31)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Run:
    """Drives `while run.goes_on(): run.step(loss, values)`; the state is saved every two minutes and at the end."""

    def __init__(
        self,
        args: argparse.Namespace,
        name: str,
        module: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        probe: nn.Module | None = None,
    ) -> None:
        self.module, self.optimizers, self.probe = module, optimizers, probe
        self.average, self.stage = Average(module), Stage(args.work, name)
        resumed = self.stage.restore(module, self.average, optimizers, probe)
        self.parameters = [p for o in optimizers for group in o.param_groups for p in group["params"]]
        self.first = not distributed.is_initialized() or distributed.get_rank() == 0
        if distributed.is_initialized():  # what has no saved state starts at random
            for parameter in self.parameters:
                distributed.broadcast(parameter.data, 0)
        parameters = sum(p.numel() for p in module.parameters())
        print(f"{name}: {parameters} parameters, {'resumed' if resumed else 'from nothing'}", flush=True)
        self.schedule = Schedule(args.minutes, args.decay, args.steps)
        self.means: dict[str, float] = {}
        self.began = self.reported = self.saved = time.monotonic()

    def goes_on(self) -> bool:
        """Whether there is time for another step; saves when there is not."""
        fraction = self._agreed(self.schedule.fraction)
        self.schedule.apply(self.optimizers, fraction)
        if fraction < 1:
            return True
        self.report()
        self.save()
        return False

    def step(self, loss: Tensor, values: Mapping[str, Tensor]) -> None:
        """One optimizer step; running means of `values` are reported."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._average_gradients()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update(self.module)
        for name, value in values.items():
            now = value.item()
            self.means[name] = self.means.get(name, now) * 0.95 + now * 0.05
        now = time.monotonic()
        if self.schedule.steps == 1 or now - self.reported > REPORT_SECONDS:
            self.report()
        if now - self.saved > SAVE_SECONDS:
            self.save()

    @staticmethod
    def _agreed(value: float) -> float:
        """The first process' value: clocks differ, and learning rates must not."""
        if not distributed.is_initialized():
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        distributed.broadcast(shared, 0)
        return shared.item()

    def _average_gradients(self) -> None:
        """Over the processes, in one message."""
        if not distributed.is_initialized():
            return
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def report(self) -> None:
        """Print the running means."""
        if not self.first:
            return
        self.reported = time.monotonic()
        steps, means = self.schedule.steps, "  ".join(f"{k} {v:.4f}" for k, v in self.means.items())
        rate = steps / (self.reported - self.began)
        print(
            f"{self.stage.name} {self.schedule.fraction:4.0%} step {steps} ({rate:.1f}/s)  {means}",
            flush=True,
        )

    def save(self) -> None:
        """Write the stage's files."""
        if not self.first:
            return
        self.saved = time.monotonic()
        self.stage.save(self.module, self.average, self.optimizers, self.probe)
