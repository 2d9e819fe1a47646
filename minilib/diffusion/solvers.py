"""The samplers that Stable Diffusion made known: PNDM, Euler and Euler ancestral, each
one function, as in `sampling`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from minilib.diffusion.sampling import (
    Denoiser,
    denoised_by,
    full,
    noise_in,
    noise_like,
)
from minilib.diffusion.schedule import Schedule, Step


def predicted_noise(denoise: Denoiser, x: Tensor, t: int, alpha_bar: Tensor) -> Tensor:
    """The eps in x (B, …) at step t, by what the denoiser takes for x_0."""
    return noise_in(x, denoised_by(denoise, x, full(x, t)).x_0, alpha_bar)


def transfer(x: Tensor, eps: Tensor, step: Step) -> Tensor:
    """From x_t (B, …) to x at the end of the step, if its noise is eps: DDIM's step.
    Liu et al. (2022, eq. 11).
    """
    x_0 = (x - (1 - step.now).sqrt() * eps) / step.now.sqrt()
    return step.then.sqrt() * x_0 + (1 - step.then).sqrt() * eps


ADAMS_BASHFORTH = {  # of so many predictions, the newest first
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


@torch.no_grad()
def pndm(
    denoise: Denoiser, schedule: Schedule, x: Tensor, steps: list[int]
) -> Iterator[Tensor]:
    """From noise x (B, …) through the falling steps: each is DDIM's, but by a mixture
    of the last four predictions of eps. Liu et al. (2022, eq. 12).

    It starts as Stable Diffusion's code does, and not by Runge-Kutta: the first step is
    tried, and taken with the mean of eps at both its ends. So it asks the network once
    more than there are steps. The mixtures are right for steps of one length.
    """
    walk = schedule.walk(steps)
    past: list[Tensor] = []  # the last predictions, the newest first
    for i, (t, step) in enumerate(walk):
        eps = predicted_noise(denoise, x, t, step.now)
        past = [eps, *past[:3]]
        if i > 0:
            mixture = zip(ADAMS_BASHFORTH[len(past)], past, strict=True)
            eps = sum((w * e for w, e in mixture), torch.zeros_like(x))
        elif len(walk) > 1:
            tried = transfer(x, eps, step)
            eps = (eps + predicted_noise(denoise, tried, walk[1][0], step.then)) / 2
        x = transfer(x, eps, step)
        yield x


def noise_level(alpha_bar: Tensor) -> Tensor:
    """sigma: how large the noise is in x_t / sqrt(alpha_bar), where the picture has its
    own size. Karras et al. (2022).
    """
    return (1 / alpha_bar - 1).sqrt()


@torch.no_grad()
def euler(
    denoise: Denoiser, schedule: Schedule, x: Tensor, steps: list[int]
) -> Iterator[Tensor]:
    """From noise x (B, …) through the falling steps by Euler's method, on the ODE
    du/dsigma = eps of u = x / sqrt(alpha_bar).

    What it yields is x again, and it is what `ddim` yields: Song et al. (2021, section
    4.3).
    """
    for t, step in schedule.walk(steps):
        sigma, lower = noise_level(step.now), noise_level(step.then)
        u = x / step.now.sqrt()
        slope = (u - denoised_by(denoise, x, full(x, t)).x_0) / sigma
        x = (u + (lower - sigma) * slope) * step.then.sqrt()
        yield x


@torch.no_grad()
def euler_ancestral(
    denoise: Denoiser,
    schedule: Schedule,
    x: Tensor,
    steps: list[int],
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """From noise x (B, …) through the falling steps: by Euler's method below the sigma
    where the step shall end, and up to it by fresh noise. It is k-diffusion's "Euler
    a".

    What it yields is what `ancestral` yields with `small_variance`, and `ddim` with eta
    = 1.
    """
    for t, step in schedule.walk(steps):
        sigma, end = noise_level(step.now), noise_level(step.then)
        up = end * (1 - (end / sigma).square()).sqrt()
        down = (end.square() - up.square()).sqrt()
        u = x / step.now.sqrt()
        slope = (u - denoised_by(denoise, x, full(x, t)).x_0) / sigma
        u = u + (down - sigma) * slope
        if end > 0:
            u = u + up * noise_like(x, generator)
        x = u * step.then.sqrt()
        yield x


# ---------- from a picture ----------


def from_picture(
    schedule: Schedule,
    x_0: Tensor,
    steps: list[int],
    strength: float,
    generator: torch.Generator,
) -> tuple[Tensor, list[int]]:
    """Where a sampler shall start that draws a picture like x_0 (B, …): x_t, and the
    steps that are left. SDEdit: Meng et al. (2022, algorithm 1).

    Of the steps the last `strength` are taken: 1 forgets x_0 but for what the noise of
    the first step leaves of it. Raises ValueError unless strength is above 0 and at
    most 1, and leaves a step.
    """
    kept = int(len(steps) * strength) if 0 < strength <= 1 else 0
    if kept < 1:
        raise ValueError(
            f"expected a strength above 0, of 1 at most, that leaves one of "
            f"{len(steps)} steps, got {strength}"
        )
    left = steps[len(steps) - kept :]
    t = full(x_0, left[0])
    return schedule.noisy(x_0, t, noise_like(x_0, generator)), left
