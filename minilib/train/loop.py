"""The loop: steps, checkpoints, and the trained model."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

from minilib import runtime
from minilib.train.batches import Batch, Draw, generator, require_batches
from minilib.train.checkpoint import (
    follow,
    held_back,
    part,
    require_checkpoint,
    require_same_run,
)
from minilib.train.fingerprint import of_batch, of_loss
from minilib.train.players import Loss, Player, frozen, join_processes
from minilib.weights import read_tensors, write_tensors

HALF = {"bf16": torch.bfloat16, "float16": torch.float16}
# steps and seconds between two checkpoints, whichever are over first
CHECKPOINT_EVERY, CHECKPOINT_SECONDS = 500, 20.0
LOOK_EVERY = 50  # steps between two looks at whether all is finite
# the bound on the gradient's norm; the decay of the averaged weights
CLIP, EMA = 1.0, 0.999


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
    average = get_ema_multi_avg_fn(decay)  # all of them in one call
    average([*ema.parameters()], [*model.parameters()], 0)
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
    precision: str  # in which it multiplied: float32, bf16 or float16


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
        self.run, self.device, self.step, self.loss = run, device, 0, loss
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
        self.half = HALF.get(run["precision"])  # None for float32
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=self.half == torch.float16
        )
        self.losses = torch.zeros(run["steps"], len(self.players), device=device)
        # of data, loss and gradient of each step: to know without waiting for the GPU
        self.finite = torch.ones(run["steps"], 3, dtype=torch.bool, device=device)

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
        self.finite[step, 0] = torch.stack([t.isfinite().all() for t in batch]).all()
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
            torch.autocast(self.device.type, self.half) if self.half else nullcontext()
        ):
            loss = player.objective(batch, draw)
        player.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(player.optimizer)
        norm = nn.utils.clip_grad_norm_(player.parameters, self.run["clip"])
        if not self.scaler.is_enabled():  # it skips the steps that overflow
            self.finite[self.step, 2] &= norm.isfinite()
        self.scaler.step(player.optimizer)
        return loss.detach().float()

    def mean_over_processes(self, value: Tensor) -> Tensor:
        if self.world > 1:
            dist.all_reduce(value)
        return value / self.world

    def elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self.started

    def require_finite(self) -> None:
        """Raise FloatingPointError that says what was not finite first, and when."""
        self.finite[: self.step, 1] = self.losses[: self.step].isfinite().all(dim=1)
        # a loss may leave out data that are not finite
        bad = (~self.finite[: self.step, 1:].all(dim=1)).nonzero()
        if len(bad):
            step = int(bad[0])
            data, loss, _ = self.finite[step].tolist()
            first, mend = "loss", f"lower lr (now {self.run['lr']})"
            if not data:
                first = "batch, and so the loss,"
                mend = f"look at what batches({step}) gives"
            elif loss:
                first = "gradient"
                mend += ", or look in the loss for a root or a norm at 0"
            raise FloatingPointError(
                f"the {first} is not finite from step {step} on: {mend}"
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
        require_checkpoint(path, meta)
        here = json.loads(json.dumps(self.run))
        # the one from before the first step has not seen a batch
        there = meta["run"] if meta["step"] else {**here, **meta["run"]}
        require_same_run(path, there, here)
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

    def begin(self, checkpoint: Path, batches: Callable[[int], Batch]) -> None:
        """Go on from the checkpoint; or write the first one, before anything else, so
        that a bad path costs no training.
        """
        self.run |= of_loss(self.loss, self.model)
        if checkpoint.exists():
            self.run |= of_batch(batches(0))
            self.load(checkpoint)
        else:
            self.save(checkpoint)
            self.run |= of_batch(batches(0))

    def train(
        self,
        batches: Callable[[int], Batch],
        checkpoint: Path | None,
        progress: bool,
        watch: Callable[[Trainer], None] | None = None,
    ) -> None:
        """Take the steps that are left, or those until a signal to stop: with a
        checkpoint the step is taken to its end, and saved.
        """
        require_batches(batches)
        steps, quiet = self.run["steps"], not progress or self.rank != 0
        if checkpoint is not None:
            self.begin(checkpoint, batches)
        done, saved = self.step == steps, time.monotonic()
        bar = tqdm(total=steps, initial=self.step, desc=self.run["name"], disable=quiet)
        with bar, held_back(checkpoint is not None) as stop:
            while not done:
                self.take_step(batches(self.step))
                bar.update()
                done = self.step == steps or stop.signal is not None
                if done or self.step % LOOK_EVERY == 0:
                    self.require_finite()
                    mean = self.losses[: self.step][-LOOK_EVERY:].mean(dim=0)
                    bar.set_postfix(loss=" ".join(f"{value:.4f}" for value in mean))
                if watch is not None:
                    watch(self)
                late = time.monotonic() - saved >= CHECKPOINT_SECONDS
                due = done or late or self.step % CHECKPOINT_EVERY == 0
                if checkpoint is not None and due:
                    self.save(checkpoint)
                    saved = time.monotonic()
        follow(stop, f"step {self.step} of {steps} is saved in {checkpoint}")

    def result(self) -> Fitted:
        losses = self.losses.cpu()
        if not isinstance(self.loss, Mapping):
            losses = losses[:, 0]
        seconds, precision = self.elapsed(), self.run["precision"]
        return Fitted(
            self.model.eval(), self.ema, losses, seconds, self.rank, precision
        )


def require_run(steps: int, lr: float) -> None:
    if steps < 1:
        raise ValueError(f"expected one step or more, got steps={steps!r}")
    if not 0 < lr < math.inf:
        raise ValueError(f"expected a learning rate above 0, got lr={lr!r}")


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
    checkpoint: Path | str | None = None,
    progress: bool = True,
    watch: Callable[[Trainer], None] | None = None,
) -> Fitted:
    """Minimise `loss(model, *batch)` over `batches(0)`, `batches(1)`, … with AdamW, and
    return the trained model. How it does so, the docstring of `minilib.train` says.
    `watch` is called after each step.

    Raises AttributeError when the model has no submodule of that name, ValueError when
    there is no step or learning rate, the checkpoint is of another run or precision, or
    a batch does not divide among the processes, OSError when the checkpoint cannot be
    written, FloatingPointError when loss or gradient stop being finite (nothing is
    saved then).
    """
    require_run(steps, lr)
    run = {"name": name, "steps": steps, "lr": lr, "betas": list(betas),
           "warmup": min(warmup, steps // 2)}  # fmt: skip
    run |= {"clip": CLIP, "weight_decay": weight_decay, "ema": EMA, "seed": seed}
    device = runtime.device()
    run["precision"] = runtime.precision(device)
    path = None if checkpoint is None else Path(checkpoint)
    gpus = range(torch.cuda.device_count())
    # each step seeds the global generator for itself: leave the caller's as it was
    with torch.random.fork_rng(gpus):
        trainer = Trainer(model, loss, run, device)
        trainer.train(batches, path, progress, watch)
    return trainer.result()
