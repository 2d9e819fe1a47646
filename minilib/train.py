"""One training loop for every model in the book: any loss over any batches, resumable
to the bit, or under torchrun.
"""

from __future__ import annotations

import atexit
import copy
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from minilib import runtime
from minilib.weights import read_tensors, write_tensors

Batch = tuple[Tensor, ...]
Loss = Callable[..., Tensor]
CHECKPOINT_EVERY = 500  # steps between two checkpoints
# the bound on the gradient's norm; the decay of the averaged weights
CLIP, EMA = 1.0, 0.999


def generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator that depends on `key` alone, such as (seed, step). Zeros at
    the key's end do not count.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(seed)


def shuffled(
    *tensors: Tensor, batch_size: int, seed: int = 0
) -> Callable[[int], Batch]:
    """`batches(step)`: rows of the tensors in an order drawn anew each epoch, without
    end.

    A function of the step alone, so that a resumed run goes on where it stopped. Raises
    ValueError when the tensors are empty or of different lengths, or batch_size is
    below 1.
    """
    n = len(tensors[0])
    if n == 0 or batch_size < 1 or any(len(t) != n for t in tensors):
        raise ValueError(
            "expected tensors of one length ≥ 1 and batch_size ≥ 1, got "
            f"{[len(t) for t in tensors]}, {batch_size}"
        )

    @lru_cache(maxsize=2)
    def order(epoch: int) -> Tensor:
        return torch.randperm(n, generator=generator(seed, epoch))

    def batches(step: int) -> Batch:
        at = torch.arange(step * batch_size, (step + 1) * batch_size)
        epochs = range(int(at[0]) // n, int(at[-1]) // n + 1)
        rows = torch.cat([order(epoch)[at[at // n == epoch] % n] for epoch in epochs])
        return tuple(t[rows] for t in tensors)

    return batches


@dataclass(frozen=True)
class Draw:
    """The randomness of one training step. Row i of what it draws belongs to sample i
    of the *whole* batch.

    A process that holds the rows `rows` of `total` draws for all of them and keeps its
    own, so that the noise a sample meets depends on (seed, step, sample) and not on how
    many processes share the work.
    """

    generator: torch.Generator
    rows: slice
    total: int

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (B, *shape)."""
        return torch.randn(
            self.total, *shape, generator=self.generator, device=self.generator.device
        )[self.rows]

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers (B, *shape) in [0, 1)."""
        return torch.rand(
            self.total, *shape, generator=self.generator, device=self.generator.device
        )[self.rows]


def learning_rate(step: int, *, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine from `peak` to 0
    (Loshchilov and Hutter, 2017).
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return (
        peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    )


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """ema ← decay·ema + (1 − decay)·model for every parameter; buffers are copied: they
    are no weights to average.
    """
    for averaged, parameter in zip(ema.parameters(), model.parameters(), strict=True):
        averaged.lerp_(parameter, 1 - decay)
    for copied, buffer in zip(ema.buffers(), model.buffers(), strict=True):
        copied.copy_(buffer)


@dataclass
class Fitted:
    """What `fit` returns: the trained model, the average of its weights over the last
    steps, and one loss a step.
    """

    model: nn.Module
    ema: nn.Module
    # (steps,) float32, mean over the whole batch; (steps, players) where several take
    # turns
    loss: Tensor
    seconds: float  # wall time, those before a resumption included
    rank: int  # this process's number under torchrun, else 0


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
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=run["lr"], betas=betas, weight_decay=decay
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


class Trainer:
    """The state of one run, and how to take a step, save it and load it. `fit` drives
    it.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | Mapping[str, Loss],
        run: dict[str, Any],
        device: torch.device,
    ):
        self.run, self.device, self.step = run, device, 0
        self.seconds, self.started = 0.0, time.perf_counter()
        self.rank, self.world = join_processes(device)
        # a GPU's convolutions like it
        layout = torch.channels_last if device.type == "cuda" else torch.preserve_format
        self.model = model.to(device, memory_format=layout).train()  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        # the submodule named "" is the model itself
        turns = loss if isinstance(loss, Mapping) else {"": loss}
        self.players = [
            Player(model, model.get_submodule(name), own, run, self.world)
            for name, own in turns.items()
        ]
        self.autocast = device.type == "cuda"
        self.half = (
            torch.bfloat16
            if self.autocast and torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float16
        )
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=self.autocast and self.half == torch.float16
        )
        self.losses = torch.zeros(run["steps"], len(self.players), device=device)

    def my_rows(self, batch: Batch) -> tuple[Batch, slice, int]:
        total = len(batch[0])
        if total % self.world:
            raise ValueError(
                f"a batch of {total} does not divide among {self.world} processes: "
                f"use a multiple of {self.world}"
            )
        share = total // self.world
        rows = slice(self.rank * share, (self.rank + 1) * share)
        return (
            tuple(t[rows].to(self.device, non_blocking=True) for t in batch),
            rows,
            total,
        )

    def take_step(self, batch: Batch) -> None:
        run, step = self.run, self.step
        batch, rows, total = self.my_rows(batch)
        # for dropout and its like; + 1, lest the first process shares the stream of
        # `draw`
        torch.manual_seed(generator(run["seed"], step, self.rank + 1).initial_seed())
        draw = Draw(generator(run["seed"], step, device=self.device), rows, total)
        lr = learning_rate(
            step, steps=run["steps"], peak=run["lr"], warmup=run["warmup"]
        )
        for i, player in enumerate(self.players):
            with frozen(self.parameters, but=player.parameters):
                self.losses[step, i] = self.mean_over_processes(
                    self.take_turn(player, batch, draw, lr)
                )
        self.scaler.update()
        update_ema(self.ema, self.model, min(run["ema"], (1 + step) / (10 + step)))
        self.step += 1

    def take_turn(self, player: Player, batch: Batch, draw: Draw, lr: float) -> Tensor:
        """One gradient step on one player's loss, whose value is returned."""
        player.optimizer.param_groups[0]["lr"] = lr
        with (
            torch.autocast(self.device.type, self.half)
            if self.autocast
            else nullcontext()
        ):
            loss = player.objective(batch, draw)
        player.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(player.optimizer)
        nn.utils.clip_grad_norm_(player.parameters, self.run["clip"])
        self.scaler.step(player.optimizer)
        return loss.detach().float()

    def mean_over_processes(self, value: Tensor) -> Tensor:
        if self.world > 1:
            dist.all_reduce(value)
        return value / self.world

    def elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self.started

    def require_finite(self) -> None:
        bad = (~self.losses[: self.step].isfinite().all(dim=1)).nonzero()
        if len(bad):
            raise FloatingPointError(
                f"the loss is not finite from step {int(bad[0])} on: lower lr (now "
                f"{self.run['lr']}) or clip"
            )

    def save(self, path: Path) -> None:
        """Write everything the next step depends on, in one atomic file. Only the first
        process writes.
        """
        self.require_finite()
        if self.rank != 0:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        for n, player in enumerate(self.players):
            for i, state in player.optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{n}.{i}.{k}": v for k, v in state.items()}
        tensors["losses"] = self.losses
        write_tensors(
            path,
            tensors,
            {
                "run": self.run,
                "step": self.step,
                "seconds": self.elapsed(),
                "scaler": self.scaler.state_dict(),
            },
        )

    def load(self, path: Path) -> None:
        """Take up the run saved at `path`. Raises ValueError when that is another run,
        or no checkpoint at all.
        """
        tensors, meta = read_tensors(path)
        if not {"run", "step", "seconds", "scaler"} <= meta.keys():
            raise ValueError(
                f"{path} is no training checkpoint: choose another path, or delete it"
            )
        if meta["run"] != json.loads(json.dumps(self.run)):
            differ = [
                f"{k}: {meta['run'].get(k)!r} there, {v!r} here"
                for k, v in self.run.items()
                if meta["run"].get(k) != v
            ]
            raise ValueError(
                f"{path} is the checkpoint of another run ({'; '.join(differ)}): "
                "choose another path, or delete it"
            )
        try:
            self.model.load_state_dict(part(tensors, "model."))
            self.ema.load_state_dict(part(tensors, "ema."))
        except RuntimeError as error:
            raise ValueError(
                f"{path} is the checkpoint of another model: {error}"
            ) from None
        for n, player in enumerate(self.players):
            state = {
                i: part(tensors, f"optimizer.{n}.{i}.")
                for i in range(len(player.parameters))
            }
            groups = player.optimizer.state_dict()["param_groups"]
            player.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.scaler.load_state_dict(meta["scaler"])
        self.losses.copy_(tensors["losses"])
        self.step, self.seconds = meta["step"], meta["seconds"]

    def train(
        self, batches: Callable[[int], Batch], checkpoint: Path | None, progress: bool
    ) -> None:
        """Take the steps that are left. A checkpoint is written first of all, so that a
        bad path costs no training.
        """
        steps = self.run["steps"]
        if checkpoint is not None:
            self.load(checkpoint) if checkpoint.exists() else self.save(checkpoint)
        quiet = not progress or self.rank != 0
        with tqdm(
            total=steps, initial=self.step, desc=self.run["name"], disable=quiet
        ) as bar:
            while self.step < steps:
                self.take_step(batches(self.step))
                bar.update()
                if self.step % 50 == 0:
                    mean = self.losses[self.step - 50 : self.step].mean(dim=0)
                    bar.set_postfix(loss=" ".join(f"{value:.4f}" for value in mean))
                if checkpoint is not None and (
                    self.step % CHECKPOINT_EVERY == 0 or self.step == steps
                ):
                    self.save(checkpoint)
        self.require_finite()


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


def fit(
    model: nn.Module,
    loss: Loss | Mapping[str, Loss],
    batches: Callable[[int], Batch],
    *,
    steps: int,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    warmup: int = 100,
    weight_decay: float = 0.0,
    seed: int = 0,
    name: str = "",
    checkpoint: Path | None = None,
    progress: bool = True,
) -> Fitted:
    """Minimise `loss(model, *batch)` over `batches(0)`, `batches(1)`, … with AdamW, and
    return the trained model.

    A loss that needs randomness takes a keyword `draw` (see `Draw`). The gradient's
    norm is bounded by 1. Weights are averaged with a decay of 0.999, in the first steps
    less: (1 + step)/(10 + step). A CUDA GPU computes in half precision. With
    `checkpoint` the run saves itself every 500 steps, and goes on from that file where
    it exists: on a CPU to the bit. Under torchrun each process takes its rows of every
    batch: the steps are those of one process, to rounding.

    Networks that train in turn have a loss each: {"discriminator": …, "generator": …}
    names submodules of the model. In every step each takes its turn, in that order and
    on the same batch, and its loss moves its own parameters alone.

    Raises AttributeError when the model has no submodule of that name, ValueError when
    the checkpoint is of another run or a batch does not divide among the processes,
    OSError when the checkpoint cannot be written, FloatingPointError when the loss
    stops being finite (nothing is saved then).
    """
    run = {
        "name": name,
        "steps": steps,
        "lr": lr,
        "betas": list(betas),
        "warmup": min(warmup, steps // 2),
    }
    run |= {"clip": CLIP, "weight_decay": weight_decay, "ema": EMA, "seed": seed}
    gpus = range(torch.cuda.device_count())
    # each step seeds the global generator for itself: leave the caller's as it was
    with torch.random.fork_rng(gpus):
        trainer = Trainer(model, loss, run, runtime.device())
        trainer.train(batches, checkpoint, progress)
    losses = (
        trainer.losses.cpu()
        if isinstance(loss, Mapping)
        else trainer.losses.cpu()[:, 0]
    )
    return Fitted(model.eval(), trainer.ema, losses, trainer.elapsed(), trainer.rank)
