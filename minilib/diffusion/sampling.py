"""From noise to pictures: samplers over any denoiser, each written like its algorithm
box.

A denoiser is a function (x_t, t) → `Guess`. A sampler yields the picture after each of
its steps, holds one at a time, and leaves it to its caller to keep them: `last` returns
the end, `[*sampler]` the whole trajectory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from tqdm.auto import tqdm

from minilib.diffusion.schedule import (
    EPS,
    Prediction,
    Schedule,
    Step,
    require_prediction,
)
from minilib.runtime import require_generator, require_shape


class Denoised(NamedTuple):
    """What a denoiser predicts of x_t: the clean picture x_0, and, where it learned
    that, where its variance lies.

    `share` is 0 where the variance of a step back is beta_tilde, and 1 where it is
    beta. Both are (B, C, H, W).
    """

    x_0: Tensor
    share: Tensor | None = None


Denoiser = Callable[[Tensor, Tensor], Denoised]  # x_t (B, …), t (B,)


def denoiser(
    model: Callable[..., Tensor],
    schedule: Schedule,
    prediction: Prediction = EPS,
    y: Tensor | None = None,
    clip: bool = True,
) -> Denoiser:
    """The denoiser that a network is, whose x_0 is clipped to [-1, 1]. Labels y
    (B,) go to the network.

    A network with twice as many channels out as in also predicts the variance:
    Nichol and Dhariwal (2021, eq. 15). Where x_0 was clipped, samplers derive eps from
    what is left, as ADM's code does. Raises ValueError for anything but a prediction,
    and, when asked, for steps that are not of the schedule, and for an output with
    other channels or of another size.
    """
    require_prediction(prediction)

    def denoise(x_t: Tensor, t: Tensor) -> Denoised:
        out, C = model(x_t, t, y), x_t.shape[1]
        require_once_or_twice(out, x_t)
        alpha_bar = schedule.exact_alpha_bar_at(t, x_t)
        x_0 = prediction.x_0(x_t, out[:, :C], alpha_bar).to(x_t)
        share = (out[:, C:] + 1) / 2 if out.shape[1] == 2 * C else None
        return Denoised(x_0.clamp(-1, 1) if clip else x_0, share)

    return denoise


def require_once_or_twice(out: Tensor, x_t: Tensor) -> None:
    """Raise ValueError unless a network puts out what it was given, (B, C, …), or twice
    its channels.
    """
    B, C, *size = x_t.shape
    if tuple(out.shape) not in ((B, C, *size), (B, 2 * C, *size)):
        raise ValueError(
            f"expected a network that puts out {(B, C, *size)} or "
            f"{(B, 2 * C, *size)}, got {tuple(out.shape)}"
        )


def denoised_by(denoise: Denoiser, x_t: Tensor, t: Tensor) -> Denoised:
    """What the denoiser predicts of x_t (B, …) at steps t (B,). Raises ValueError for
    anything but a denoiser, and for an x_0 of another shape.
    """
    denoised = denoise(x_t, t)
    if not hasattr(denoised, "x_0"):
        raise ValueError(
            "expected a denoiser, as denoiser(model, schedule, …) makes of a network, "
            f"but what was given returns a {type(denoised).__name__}"
        )
    require_shape("a denoiser's x_0", denoised.x_0, x_t.shape)
    return denoised


def full(x: Tensor, t: float) -> Tensor:
    """The step t for each of the pictures x: (B,), of whole numbers where t is one."""
    return torch.full((len(x),), t, device=x.device)


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the shape of x, drawn where the generator is: a GPU
    then gets what a CPU draws. Raises ValueError for anything but a generator.
    """
    require_generator(generator)
    return torch.randn(
        x.shape, generator=generator, dtype=x.dtype, device=generator.device
    ).to(x.device)


def noise_in(x_t: Tensor, x_0: Tensor, alpha_bar: Tensor) -> Tensor:
    """The eps that made x_t of x_0."""
    return (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()


# ---------- the variance of a step back ----------

Variance = Callable[[Step, Denoised], Tensor]


def small_variance(step: Step, denoised: Denoised) -> Tensor:
    """beta_tilde: right if the data were one picture. Ho et al. (2020, section 3.2)."""
    return step.beta_tilde_clipped


def large_variance(step: Step, denoised: Denoised) -> Tensor:
    """beta: right if the data were N(0, I). Ho et al. (2020, section 3.2)."""
    return step.beta


def learned_variance(step: Step, denoised: Denoised) -> Tensor:
    """Between both, on the scale of logarithms, where the network predicts. Nichol and
    Dhariwal (2021, eq. 15).
    """
    if denoised.share is None:
        raise ValueError(
            "this network has learned no variance: use small_variance or large_variance"
        )
    low, high = step.beta_tilde_clipped.log(), step.beta.log()
    return torch.exp(low + denoised.share * (high - low))


# ---------- samplers ----------


@torch.no_grad()
def ancestral(
    denoise: Denoiser,
    schedule: Schedule,
    x: Tensor,
    steps: list[int],
    generator: torch.Generator,
    variance: Variance = small_variance,
) -> Iterator[Tensor]:
    """From noise x (B, …) through the falling steps: each draws from q(x_before | x_t,
    x_0) with the predicted x_0.

    Ho et al. (2020, algorithm 2); fewer steps than T: Nichol and Dhariwal (2021,
    section 4). The last adds no noise.
    """
    for t, step in schedule.walk(steps):
        denoised = denoised_by(denoise, x, full(x, t))
        x = step.mean(x, denoised.x_0)
        if step.then < 1:
            x = x + variance(step, denoised).sqrt() * noise_like(x, generator)
        yield x


@torch.no_grad()
def ddim(
    denoise: Denoiser,
    schedule: Schedule,
    x: Tensor,
    steps: list[int],
    generator: torch.Generator | None = None,
    eta: float = 0.0,
) -> Iterator[Tensor]:
    """From noise x (B, …) through the falling steps: predict x_0 and eps, and mix them
    anew. Song et al. (2021, eq. 12).

    With eta = 0 nothing is random; with eta = 1 each step is as noisy as ancestral
    sampling with beta_tilde. Raises ValueError, when the first step is asked for,
    unless eta is from 0 to 1, and 0 without a generator.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"expected eta from 0 to 1, got {eta}")
    if eta and generator is None:
        raise ValueError(f"eta = {eta} adds noise: pass a generator")
    for t, step in schedule.walk(steps):
        x_0 = denoised_by(denoise, x, full(x, t)).x_0
        eps, sigma = noise_in(x, x_0, step.now), eta * step.beta_tilde.sqrt()
        x = step.then.sqrt() * x_0 + (1 - step.then - sigma**2).sqrt() * eps
        if generator is not None:
            x = x + sigma * noise_like(x, generator)
        yield x


@torch.no_grad()
def ddim_encode(
    denoise: Denoiser, schedule: Schedule, x: Tensor, steps: list[int]
) -> Iterator[Tensor]:
    """From pictures x (B, …) up to the noise that `ddim` leads back to them; `steps`
    fall, as there.

    The pictures count as x at the lowest step, and each step up goes on with the eps
    that was predicted where it starts. Song et al. (2021, section 4.3).
    """
    upwards = schedule.walk(steps)[::-1]
    for (t, step), (_, higher) in pairwise(upwards):
        x_0 = denoised_by(denoise, x, full(x, t)).x_0
        x = higher.now.sqrt() * x_0 + (1 - higher.now).sqrt() * noise_in(
            x, x_0, step.now
        )
        yield x


@torch.no_grad()
def dpm_solver(
    denoise: Denoiser, schedule: Schedule, x: Tensor, steps: list[int]
) -> Iterator[Tensor]:
    """From noise x (B, …) through the falling steps by DPM-Solver++ (2M). Lu et al.
    (2022, algorithm 2).

    A step is DDIM's, but towards a line through the last two predictions of x_0. The
    last one goes to the prediction itself.
    """
    walk = schedule.walk(steps)
    half_log_snr = [(step.now / (1 - step.now)).log() / 2 for _, step in walk]
    before = x
    for i, (t, step) in enumerate(walk):
        target = x_0 = denoised_by(denoise, x, full(x, t)).x_0
        if 0 < i < len(walk) - 1:
            last_h, h = (
                half_log_snr[i] - half_log_snr[i - 1],
                half_log_snr[i + 1] - half_log_snr[i],
            )
            target = x_0 + h / (2 * last_h) * (x_0 - before)
        x = step.then.sqrt() * target + (1 - step.then).sqrt() * noise_in(
            x, target, step.now
        )
        before = x_0
        yield x


@torch.no_grad()
def probability_flow(
    denoise: Denoiser, schedule: Schedule, x: Tensor, tolerance: float = 1e-3
) -> tuple[Tensor, int]:
    """Noise x (B, …) → pictures, and how often the network was asked, by scipy's
    adaptive RK45 on the ODE of DDIM.

    With u = x / sqrt(alpha_bar) and sigma = sqrt(1 / alpha_bar - 1) it is du/dsigma =
    eps. Song et al. (2021, eq. 14). Between two steps of the schedule t is a fraction.
    The last prediction of x_0 ends it.
    """
    sigmas = (1 / schedule.alpha_bar - 1).sqrt().numpy()  # (T,) rising
    calls = 0

    def slope(sigma: float, u: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        alpha_bar = torch.tensor(1 / (1 + sigma**2), dtype=torch.float64)
        t = float(np.interp(math.log(sigma), np.log(sigmas), np.arange(schedule.T)))
        x_t = alpha_bar.sqrt() * torch.from_numpy(u).to(x.dtype).to(x).view_as(x)
        eps = noise_in(x_t, denoised_by(denoise, x_t, full(x, t)).x_0, alpha_bar)
        return eps.cpu().double().numpy().ravel()

    start = x.cpu().double().numpy().ravel() * math.sqrt(1 + sigmas[-1] ** 2)
    done = solve_ivp(
        slope, (sigmas[-1], sigmas[0]), start, rtol=tolerance, atol=tolerance
    )
    x_1 = (
        torch.from_numpy(done.y[:, -1]).to(x.dtype).to(x).view_as(x)
        * schedule.alpha_bar[0].sqrt()
    )
    return denoised_by(denoise, x_1, full(x, 0)).x_0, calls + 1


def last(sampler: Iterable[Tensor], steps: int | None = None, name: str = "") -> Tensor:
    """What a sampler ends with. Given its number of steps, a progress bar of that name
    shows how far it is.

    Raises ValueError where the sampler takes no step.
    """
    x = None
    for x in tqdm(sampler, total=steps, desc=name, disable=steps is None):  # noqa: B007
        pass
    if x is None:
        raise ValueError("expected a sampler that takes a step or more")
    return x
