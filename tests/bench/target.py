"""Core-seconds of training until drawn digits reach a stated FD: python -m
tests.bench.target [--fd 20] [ARM …].

Three arms on the same 20,000 digits with labels: ours; diffusers' model with the
settings of its training tutorial; and diffusers' model with our recipe. A budget
doubles until the target is reached; each budget is a whole training of its own, with
its own learning-rate schedule, timed as CPU time of one thread. The time at the target
lies between the last two, on a line in logarithms of both. FD is that of 1,000 drawn
digits, by DPM-Solver++ with 20 steps for every arm.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from minilib import recipes, runtime
from minilib.data import digits
from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import denoiser, dpm_solver, last
from minilib.diffusion.schedule import EPS, Prediction, Schedule, linear_beta, trailing
from minilib.recipes.digits.scores import fd_from_data
from minilib.train import fit, shuffled
from tests.bench.models import Diffusers

DRAWN, LAST_BUDGET = 1_000, 4_000.0  # pictures, seconds


@dataclass(frozen=True)
class Arm:
    """A model and how it is trained."""

    model: Callable[[], nn.Module]
    loss: Callable[..., torch.Tensor]
    schedule: Schedule
    prediction: Prediction
    settings: dict[str, object]  # of `fit`
    batch_size: int = 64
    averaged: bool = True


def arms() -> dict[str, Arm]:
    """The three arms.

    The tutorial is "Train a diffusion model" of diffusers: eps, linear schedule, AdamW
    at 1e-4 after 500 steps of warm-up, then a cosine, gradients clipped at 1, no
    averaged weights; the model is the one of Hugging Face's course for 28 × 28 digits,
    with (32, 64, 64) channels, and its batch is 128 there.
    """
    recipe = recipes.ddpm_digits
    conditional, options = partial(recipe.loss, p_uncond=0.0), recipe.loss.keywords
    mine = {"lr": recipe.lr, "betas": recipe.betas, "weight_decay": recipe.weight_decay}
    theirs = partial(Diffusers, (32, 64, 64), 2, size=28, classes=10)
    linear = Schedule(linear_beta())
    tutorial = {"lr": 1e-4, "weight_decay": 0.01, "warmup": 500}
    return {
        "ours": Arm(
            recipe.model, conditional, options["schedule"], options["prediction"], mine
        ),
        "tutorial": Arm(
            theirs,
            partial(simple_loss, schedule=linear),
            linear,
            EPS,
            tutorial,
            128,
            averaged=False,
        ),
        "theirs, our recipe": Arm(
            theirs, conditional, options["schedule"], options["prediction"], mine
        ),
    }


def train_for(arm: Arm, seconds: float) -> tuple[nn.Module, float, int]:
    """The arm trained for about so much CPU time: the model, the time and the steps
    that it took.
    """
    runtime.seed_everything(0)
    batches = shuffled(*digits.load("train"), batch_size=arm.batch_size)

    def run(steps: int) -> tuple[nn.Module, float]:
        started = time.process_time()
        fitted = fit(
            arm.model(), arm.loss, batches, steps=steps, progress=False, **arm.settings
        )
        return (
            fitted.ema if arm.averaged else fitted.model
        ), time.process_time() - started

    run(2)  # what is slow only once
    steps = max(10, round(10 * seconds / run(10)[1]))
    return *run(steps), steps


def drawn_fd(arm: Arm, model: nn.Module) -> float:
    noise = torch.randn(DRAWN, 1, 28, 28, generator=torch.Generator().manual_seed(0))

    def draw(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        steps = trailing(arm.schedule.T, 20)
        return last(
            dpm_solver(
                denoiser(model, arm.schedule, arm.prediction, y), arm.schedule, x, steps
            )
        )

    return fd_from_data(runtime.in_blocks(draw, noise, torch.arange(DRAWN) % 10))


def time_to(arm: Arm, target: float, budget: float) -> float:
    """CPU seconds at which the target is reached, from this budget on; infinity if the
    last one does not reach it.
    """
    before = None
    while budget <= LAST_BUDGET:
        model, seconds, steps = train_for(arm, budget)
        fd = drawn_fd(arm, model)
        print(f"    {steps:6,} steps, {seconds:6.0f} s: FD {fd:.1f}", flush=True)
        if fd <= target:
            if before is None:
                return seconds
            share = (math.log(before[1]) - math.log(target)) / (
                math.log(before[1]) - math.log(fd)
            )
            return math.exp(
                math.log(before[0]) + share * (math.log(seconds) - math.log(before[0]))
            )
        budget, before = 2 * budget, (seconds, fd)
    return math.inf


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.target", description=(__doc__ or "").splitlines()[0]
    )
    known = arms()
    parser.add_argument("arms", nargs="*", default=list(known), choices=list(known))
    parser.add_argument("--fd", type=float, default=20.0, help="the target")
    parser.add_argument(
        "--first", type=float, default=60.0, help="the first budget, in seconds"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.arms:
        parameters = sum(p.numel() for p in known[name].model().parameters())
        print(f"{name}, {parameters:,} parameters:")
        print(
            f"  FD {options.fd:g} after "
            f"{time_to(known[name], options.fd, options.first):.0f} core-seconds",
            flush=True,
        )


if __name__ == "__main__":
    main()
