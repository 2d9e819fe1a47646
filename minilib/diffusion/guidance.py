"""Guidance: at every step of sampling, a gradient towards what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from minilib.diffusion.sampling import (
    Denoised,
    Denoiser,
    denoised_by,
    full,
    learned_variance,
    noise_like,
)
from minilib.diffusion.schedule import Schedule
from minilib.runtime import require_shape

LogProbability = Callable[[Tensor, Tensor], Tensor]  # x_t (B, …), t (B,) → (B,)


def input_gradient(log_probability: LogProbability, x_t: Tensor, t: Tensor) -> Tensor:
    """The gradient of log_probability(x_t, t) in x_t: (B, …). Raises ValueError unless
    that is one number a picture.
    """
    with torch.enable_grad():
        at = x_t.detach().requires_grad_()
        log_p = log_probability(at, t)
        require_shape("log-probabilities", log_p, (len(x_t),))
        (slope,) = torch.autograd.grad(log_p.sum(), at)
    return slope


def guided(
    denoise: Denoiser, schedule: Schedule, log_probability: LogProbability, s: float
) -> Denoiser:
    """The denoiser with s times the gradient added to its score. Dhariwal and Nichol
    (2021, algorithm 2).

    eps - s sqrt(1 - alpha_bar) gradient, written for x_0. It serves DDIM and every
    other sampler.
    """

    def denoise_guided(x_t: Tensor, t: Tensor) -> Denoised:
        denoised = denoised_by(denoise, x_t, t)
        alpha_bar = schedule.exact_alpha_bar_at(t, x_t)
        reach = ((1 - alpha_bar) / alpha_bar.sqrt()).to(x_t)
        shift = reach * input_gradient(log_probability, x_t, t)
        return Denoised(denoised.x_0 + s * shift, denoised.share)

    return denoise_guided if s else denoise


@torch.no_grad()
def ancestral_guided(
    denoise: Denoiser,
    schedule: Schedule,
    log_probability: LogProbability,
    s: float,
    x: Tensor,
    steps: list[int],
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Ancestral sampling whose mean moves by s times variance times gradient. Dhariwal
    and Nichol (2021, algorithm 1).

    The gradient is taken at x_t, as in their algorithm and code; their derivation takes
    it at the mean. The variance is the network's where it learned one, else beta_tilde.
    So the step to the data, which adds no noise, moves the mean by a learned variance,
    and else not at all: beta_tilde is 0 there.
    """
    for t, step in schedule.walk(steps):
        denoised = denoised_by(denoise, x, full(x, t))
        learned = denoised.share is not None
        sigma2 = learned_variance(step, denoised) if learned else step.beta_tilde
        x = step.mean(x, denoised.x_0) + s * sigma2 * input_gradient(
            log_probability, x, full(x, t)
        )
        if step.then < 1:
            x = x + sigma2.sqrt() * noise_like(x, generator)
        yield x


# ---------- classifier-free guidance ----------


def classifier_free(
    conditional: Denoiser, unconditional: Denoiser, w: float
) -> Denoiser:
    """Classifier-free guidance: w times the way from the unconditional prediction to
    the conditional one.

    Ho and Salimans (2022, eq. 6), whose w is ours less 1: 1 is `conditional` itself, 0
    is `unconditional`. Mixtures of x_0 are mixtures of eps. Both denoisers must not
    clip, since what is mixed is then clipped to [-1, 1].
    """

    def denoise_guided(x_t: Tensor, t: Tensor) -> Denoised:
        if w == 0:
            denoised = denoised_by(unconditional, x_t, t)
            return Denoised(denoised.x_0.clamp(-1, 1), denoised.share)
        denoised = denoised_by(conditional, x_t, t)
        x_0 = (
            denoised.x_0
            if w == 1
            else torch.lerp(denoised_by(unconditional, x_t, t).x_0, denoised.x_0, w)
        )
        return Denoised(x_0.clamp(-1, 1), denoised.share)

    return denoise_guided
