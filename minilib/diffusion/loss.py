"""What diffusion models minimise: the simple loss, the variational bound, and both at
once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minilib.diffusion.sampling import (
    Denoised,
    Denoiser,
    Variance,
    denoised_by,
    full,
    learned_variance,
    noise_like,
)
from minilib.diffusion.schedule import (
    EPS,
    Prediction,
    Schedule,
    Step,
    require_prediction,
)
from minilib.runtime import require_shape, require_share
from minilib.train import Draw


def drop_labels(y: Tensor | None, draw: Draw, p_uncond: float) -> Tensor | None:
    """Labels y (B,) with a share `p_uncond` of them replaced by -1, which tells the
    network nothing.
    """
    require_share("p_uncond", p_uncond)
    return None if y is None else torch.where(draw.uniform() < p_uncond, -1, y)


def root_snr(alpha_bar: Tensor) -> Tensor:
    """How many times larger the picture is than its noise, from 0.1 to 10: a weight for
    errors of x_0.
    """
    return (alpha_bar / (1 - alpha_bar)).sqrt().clamp(0.1, 10)


def simple_loss(
    model: Callable[..., Tensor],
    x_0: Tensor,
    y: Tensor | None = None,
    *,
    draw: Draw,
    schedule: Schedule,
    prediction: Prediction = EPS,
    weight: Callable[[Tensor], Tensor] | None = None,
    p_uncond: float = 0.0,
) -> Tensor:
    """Mean squared error of what the network predicts, at a step drawn for each
    picture. Ho et al. (2020, eq. 14).

    With a `weight`, a function of alpha_bar, it is that of x_0, as it follows from the
    prediction, times this weight. Of the labels y (B,) a share `p_uncond` is hidden, so
    that the network also learns to draw without. Raises ValueError when what the
    network puts out is not of x_0's shape.
    """
    require_prediction(prediction)
    t = (draw.uniform() * schedule.T).long()  # (B,)
    eps = draw.normal(*x_0.shape[1:])
    x_t, alpha_bar = (
        schedule.noisy(x_0, t, eps),
        schedule.exact_alpha_bar_at(t, x_0),
    )
    out = model(x_t, t, drop_labels(y, draw, p_uncond))
    if out.shape != x_0.shape:
        raise ValueError(
            f"expected a network that puts out {tuple(x_0.shape)}, got "
            f"{tuple(out.shape)}"
        )
    if weight is None:
        return (out - prediction.target(x_0, eps, alpha_bar).to(x_0)).square().mean()
    error = prediction.x_0(x_t, out, alpha_bar).to(x_0) - x_0
    return (weight(alpha_bar).to(x_0) * error.square()).mean()


# ---------- the variational bound ----------


def gaussian_kl(
    mean_q: Tensor, variance_q: Tensor, mean_p: Tensor, variance_p: Tensor
) -> Tensor:
    """KL(N(mean_q, variance_q) || N(mean_p, variance_p)) of each number, in nats."""
    ratio = variance_q / variance_p
    return (ratio - 1 - ratio.log() + (mean_q - mean_p).square() / variance_p) / 2


def pixel_log_likelihood(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log of what N(mean, variance) gives to the bin of each pixel of x, one of 256
    greys. Ho et al. (2020, eq. 13).

    The first and the last bin reach to infinity. Raises ValueError unless the mean is
    of the shape of x.
    """
    require_shape("the mean", mean, x.shape)
    std, half = variance.sqrt(), 1 / 255
    above = torch.where(x > 0.999, torch.inf, (x + half - mean) / std)
    below = torch.where(x < -0.999, -torch.inf, (x - half - mean) / std)
    # count from the nearer tail, by erfc: the difference of two numbers near 1 would
    # lose its digits
    flip = below > 0
    upper, lower = torch.where(flip, -below, above), torch.where(flip, -above, below)
    twice = torch.erfc(-upper / math.sqrt(2)) - torch.erfc(-lower / math.sqrt(2))
    return (twice / 2).clamp(min=1e-12).log()


def beside(
    step: Step, x_0: Tensor, x_t: Tensor, denoised: Denoised
) -> tuple[Tensor, Tensor, Denoised]:
    """The same, on the device of the step's numbers: of an Apple GPU that is the
    CPU.
    """
    device = step.now.device
    x_0, x_t, guess = (x.to(device) for x in (x_0, x_t, denoised.x_0))
    share = None if denoised.share is None else denoised.share.to(device)
    return x_0, x_t, Denoised(guess, share)


def vlb_term(
    step: Step,
    x_0: Tensor,
    x_t: Tensor,
    denoised: Denoised,
    variance: Variance = learned_variance,
) -> Tensor:
    """What this step costs in the variational bound, in bits per dimension: (B,).
    Nichol and Dhariwal (2021, eq. 4-7).

    KL(q(x_before | x_t, x_0) || p(x_before | x_t)), and for the step to the data -log
    p(x_0 | x_t). Computed where the step's numbers are.
    """
    x_0, x_t, denoised = beside(step, x_0, x_t, denoised)
    mean_q, mean_p, variance_p = (
        step.mean(x_t, x_0),
        step.mean(x_t, denoised.x_0),
        variance(step, denoised),
    )
    kl = gaussian_kl(mean_q, step.beta_tilde_clipped, mean_p, variance_p)
    nats = torch.where(
        step.then == 1, -pixel_log_likelihood(x_0, mean_p, variance_p), kl
    )
    return nats.flatten(1).mean(dim=1) / math.log(2)


def prior_term(schedule: Schedule, x_0: Tensor) -> Tensor:
    """What is left of x_0 after the last step, KL(q(x_T | x_0) || N(0, I)), in bits per
    dimension: (B,).
    """
    alpha_bar = schedule.alpha_bar[-1]
    kl = gaussian_kl(
        alpha_bar.sqrt() * x_0,
        1 - alpha_bar,
        torch.zeros_like(x_0),
        torch.ones_like(x_0),
    )
    return kl.flatten(1).mean(dim=1) / math.log(2)


def hybrid_loss(
    model: nn.Module,
    x_0: Tensor,
    y: Tensor | None = None,
    *,
    draw: Draw,
    schedule: Schedule,
    prediction: Prediction = EPS,
    p_uncond: float = 0.0,
) -> Tensor:
    """The simple loss, plus a thousandth of the variational bound, whose mean is held
    still: it teaches the variance.

    Nichol and Dhariwal (2021, eq. 16). Raises ValueError when what the network puts out
    is not of x_0's shape, with twice its channels.
    """
    require_prediction(prediction)
    t = (draw.uniform() * schedule.T).long()  # (B,)
    eps = draw.normal(*x_0.shape[1:])
    x_t, alpha_bar = (
        schedule.noisy(x_0, t, eps),
        schedule.exact_alpha_bar_at(t, x_0),
    )
    both = model(x_t, t, drop_labels(y, draw, p_uncond))  # (B, 2C, H, W)
    if both.shape != (len(x_0), 2 * x_0.shape[1], *x_0.shape[2:]):
        raise ValueError(
            f"expected twice the channels of {tuple(x_0.shape)}, got "
            f"{tuple(both.shape)}"
        )
    out, share = both.chunk(2, dim=1)
    simple = (out - prediction.target(x_0, eps, alpha_bar).to(x_0)).square().mean()
    denoised = Denoised(prediction.x_0(x_t, out.detach(), alpha_bar), (share + 1) / 2)
    # of one step, and there are T
    bound = vlb_term(schedule.steps_of(t, x_0), x_0, x_t, denoised).mean()
    return simple + (0.001 * schedule.T * bound).to(simple)


@torch.no_grad()
def bound_by_step(
    denoise: Denoiser,
    schedule: Schedule,
    x_0: Tensor,
    steps: list[int],
    generator: torch.Generator,
    variance: Variance = learned_variance,
) -> Tensor:
    """The terms of the variational bound of pictures x_0 (B, …) at these steps, in bits
    per dimension: (steps, B).

    Summed over all T steps, and with `prior_term`, they are at least -log2 p(x_0) per
    dimension.
    """
    terms = []
    for step in steps:
        t = full(x_0, step)
        x_t = schedule.noisy(x_0, t, noise_like(x_0, generator))
        denoised, back = denoised_by(denoise, x_t, t), schedule.steps_of(t, x_0)
        terms.append(vlb_term(back, x_0, x_t, denoised, variance))
    return torch.stack(terms)
