"""Guidance: at every step of sampling, a push towards pictures that somebody else
likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from minilib.diffusion.sampling import Denoiser, Guess, full, noise_like, small_variance
from minilib.diffusion.schedule import Schedule
from minilib.noisy_clip import NoisyCLIP

LogProbability = Callable[[Tensor, Tensor], Tensor]  # x_t (B, …), t (B,) → (B,)


def uphill(log_probability: LogProbability, x_t: Tensor, t: Tensor) -> Tensor:
    """The gradient of log_probability(x_t, t) in x_t: (B, …)."""
    with torch.enable_grad():
        at = x_t.detach().requires_grad_()
        (slope,) = torch.autograd.grad(log_probability(at, t).sum(), at)
    return slope


def guided(
    denoise: Denoiser, schedule: Schedule, log_probability: LogProbability, s: float
) -> Denoiser:
    """The denoiser with s times the gradient added to its score. Dhariwal and Nichol
    (2021, algorithm 2).

    eps - s sqrt(1 - alpha_bar) gradient, written for x_0. It serves DDIM and every
    other sampler.
    """

    def denoise_guided(x_t: Tensor, t: Tensor) -> Guess:
        guess, alpha_bar = denoise(x_t, t), schedule.alpha_bar_at(t, x_t)
        push = (1 - alpha_bar) / alpha_bar.sqrt() * uphill(log_probability, x_t, t)
        return Guess(guess.x_0 + s * push, guess.share)

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
    it at the mean.
    """
    for t, step in schedule.walk(steps):
        guess = denoise(x, full(x, t))
        sigma2 = small_variance(step, guess)
        x = step.mean(x, guess.x_0) + s * sigma2 * uphill(
            log_probability, x, full(x, t)
        )
        if step.then < 1:
            x = x + sigma2.sqrt() * noise_like(x, generator)
        yield x


# ---------- semantic guidance: Liu et al. (2023, section 3) ----------

# t (B,) → a picture to be like, with the noise of these steps: (B, C, H, W)
Reference = Callable[[Tensor], Tensor]


def text_fit(clip: NoisyCLIP, tokens: Tensor) -> LogProbability:
    """How well x_t fits captions (B, L): their cosine over CLIP's temperature.

    For the best CLIP that is log p(y | x_t) - log p(y), so that s = 1 is Bayes' rule.
    """
    v = clip.embed_text(tokens).detach()
    return lambda x_t, t: (
        clip.logit_scale.exp().detach() * (clip.embed_image(x_t, t) * v).sum(dim=1)
    )


def content_fit(clip: NoisyCLIP, reference: Reference) -> LogProbability:
    """How near x_t is to the reference in the space of CLIP: their cosine over its
    temperature.
    """

    def wish(x_t: Tensor, t: Tensor) -> Tensor:
        u = clip.embed_image(reference(t), t).detach()
        return clip.logit_scale.exp().detach() * (clip.embed_image(x_t, t) * u).sum(
            dim=1
        )

    return wish


def structure_fit(clip: NoisyCLIP, reference: Reference) -> LogProbability:
    """Minus the mean squared difference of what CLIP says of each patch, place by
    place, block by block.
    """

    def wish(x_t: Tensor, t: Tensor) -> Tensor:
        pairs = zip(clip.patches(x_t, t), clip.patches(reference(t), t), strict=True)
        return -torch.stack(
            [(a - b.detach()).square().mean(dim=(1, 2)) for a, b in pairs]
        ).sum(dim=0)

    return wish


def gram(h: Tensor) -> Tensor:
    """(B, P, dim) → (B, dim, dim): how features occur together, wherever that is. Gatys
    et al. (2016).
    """
    return h.transpose(1, 2) @ h / h.shape[1]


def style_fit(clip: NoisyCLIP, reference: Reference) -> LogProbability:
    """Minus the mean squared difference of the Gram matrices of what CLIP says of
    patches, block by block.
    """

    def wish(x_t: Tensor, t: Tensor) -> Tensor:
        pairs = zip(clip.patches(x_t, t), clip.patches(reference(t), t), strict=True)
        return -torch.stack(
            [(gram(a) - gram(b.detach())).square().mean(dim=(1, 2)) for a, b in pairs]
        ).sum(dim=0)

    return wish


def mixture(wishes: list[tuple[float, LogProbability]]) -> LogProbability:
    """Several wishes at once, each with its weight."""
    return lambda x_t, t: torch.stack(
        [weight * wish(x_t, t) for weight, wish in wishes]
    ).sum(dim=0)


# ---------- classifier-free guidance ----------


def classifier_free(told: Denoiser, untold: Denoiser, w: float) -> Denoiser:
    """The denoiser that goes w times the way from what it says untold to what it says
    told.

    Ho and Salimans (2022, eq. 6), whose w is ours less 1: 1 is `told` itself, 0 is
    `untold`. Mixtures of x_0 are mixtures of eps. Both denoisers must not clip, since
    what is mixed is then clipped to [-1, 1].
    """

    def denoise_guided(x_t: Tensor, t: Tensor) -> Guess:
        if w == 0:
            guess = untold(x_t, t)
            return Guess(guess.x_0.clamp(-1, 1), guess.share)
        guess = told(x_t, t)
        x_0 = guess.x_0 if w == 1 else torch.lerp(untold(x_t, t).x_0, guess.x_0, w)
        return Guess(x_0.clamp(-1, 1), guess.share)

    return denoise_guided
