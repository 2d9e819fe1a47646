"""Who learns from which loss, and how several processes share the work."""

from __future__ import annotations

import atexit
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minilib.train.batches import Batch, Draw

Loss = Callable[..., Tensor]


class Objective(nn.Module):
    """Model and loss as one module whose forward is the loss: what
    DistributedDataParallel wraps.
    """

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss
        self.random = "draw" in inspect.signature(loss).parameters

    def forward(self, batch: Batch, draw: Draw) -> Tensor:
        return (
            self.loss(self.model, *batch, draw=draw)
            if self.random
            else self.loss(self.model, *batch)
        )


def join_processes(device: torch.device) -> tuple[int, int]:
    """(rank, world size). Under torchrun the first call joins the process group: nccl
    on a GPU, gloo on the CPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return dist.get_rank(), dist.get_world_size()


class Player:
    """Who learns from one loss: some of the model's parameters, their optimizer, and
    the loss as a module.
    """

    def __init__(
        self,
        model: nn.Module,
        part: nn.Module,
        loss: Loss,
        run: dict[str, Any],
        world: int,
    ):
        self.parameters = [p for p in part.parameters() if p.requires_grad]
        betas, decay = (run["betas"][0], run["betas"][1]), run["weight_decay"]
        on_cpu = all(p.device.type == "cpu" for p in self.parameters)
        fused = True if on_cpu else None  # else a call for each tensor and operation
        self.optimizer = torch.optim.AdamW(
            self.parameters, run["lr"], betas, weight_decay=decay, fused=fused
        )
        objective = Objective(model, loss)
        others = [p for p in model.parameters() if p.requires_grad]
        # DistributedDataParallel waits for whatever requires a gradient now
        with frozen(others, but=self.parameters):
            self.objective = (
                DistributedDataParallel(objective) if world > 1 else objective
            )


@contextmanager
def frozen(parameters: list[nn.Parameter], but: list[nn.Parameter]) -> Iterator[None]:
    """While it lasts, of `parameters` only those in `but` require a gradient."""
    kept = {id(p) for p in but}
    for p in parameters:
        p.requires_grad_(id(p) in kept)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
