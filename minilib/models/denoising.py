"""Learning from noise: spoil a picture, predict the clean one; what the best answer is,
and how it draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilib.models.vae import VAE, elbo_terms
from minilib.nets.layers import down, up
from minilib.runtime import (
    require_generator,
    require_images,
    require_shape,
    require_share,
    require_sizes,
)
from minilib.train import Draw

Corruption = Callable[[Tensor, Draw], Tensor]


# ---------- ways to spoil pictures x (B, C, H, W) in [-1, 1] ----------


def add_noise(x: Tensor, draw: Draw, sigma: float) -> Tensor:
    """x + sigma·eps: Gaussian noise of standard deviation `sigma`, independent in every
    pixel.
    """
    return x + sigma * draw.normal(*x.shape[1:])


def add_any_noise(x: Tensor, draw: Draw, low: float, high: float) -> Tensor:
    """Gaussian noise whose sigma is drawn anew for each picture, log-uniform between
    `low` and `high`.
    """
    sigma = low * (high / low) ** draw.uniform(1, 1, 1)  # (B, 1, 1, 1)
    return x + sigma * draw.normal(*x.shape[1:])


def mask_pixels(x: Tensor, draw: Draw, fraction: float) -> Tensor:
    """Set about this fraction of the pixels to 0, mid-grey: "unknown". Vincent et al.
    (2008) call it masking noise.
    """
    require_share("the fraction", fraction)
    return x * (draw.uniform(1, *x.shape[2:]) >= fraction)


def salt_and_pepper(x: Tensor, draw: Draw, fraction: float) -> Tensor:
    """Set about this fraction of the pixels to -1 or 1, with equal chances."""
    require_share("the fraction", fraction)
    lots = draw.uniform(1, *x.shape[2:])  # (B, 1, H, W)
    return torch.where(lots < fraction / 2, -1.0, torch.where(lots < fraction, 1.0, x))


def erase_square(x: Tensor, draw: Draw, side: int) -> Tensor:
    """Set one square of side × side pixels, anywhere in the picture, to 0."""
    B, _, H, W = x.shape
    if not 1 <= side <= min(H, W):
        raise ValueError(f"expected a side from 1 to {min(H, W)}, got {side}")
    # (B, 2)
    corner = draw.uniform(2) * torch.tensor(
        [H - side + 1, W - side + 1], device=x.device
    )
    top, left = corner.floor().view(B, 2, 1).unbind(dim=1)  # (B, 1) each
    rows, columns = torch.arange(H, device=x.device), torch.arange(W, device=x.device)
    # (B, H), (B, W)
    rows, columns = (
        (rows >= top) & (rows < top + side),
        (columns >= left) & (columns < left + side),
    )
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def denoising_loss(
    model: nn.Module, x: Tensor, draw: Draw, corrupt: Corruption
) -> Tensor:
    """Mean squared error per pixel between clean x and what the model makes of a spoilt
    x. Vincent et al. (2008).
    """
    out = model(corrupt(x, draw))
    require_shape("a model's output", out, x.shape)
    return (out - x).square().mean()


def denoising_vae_loss(
    model: VAE, x: Tensor, draw: Draw, corrupt: Corruption
) -> Tensor:
    """Negative ELBO of clean x under codes that the encoder drew from a spoilt x, per
    picture in nats: a scalar.

    Im et al. (2017): still a lower bound on log p(x), since it holds for any
    distribution of codes.
    """
    seen = corrupt(x, draw)
    log_likelihood, kl = elbo_terms(model, x, draw.normal(model.code_dim), seen)
    return (kl - log_likelihood).mean()


# ---------- a network with more room than it needs ----------


@dataclass(frozen=True)
class WideConfig:
    """Sizes of a wide autoencoder: its code is `maps` × size/4 × size/4. Pictures are
    (channels, size, size).
    """

    width: int = 16
    maps: int = 32
    blocks: int = 1
    channels: int = 1
    size: int = 28

    def __post_init__(self) -> None:
        require_sizes(self, "width maps channels size")
        require_sizes(self, "blocks", least=0)
        if self.size % 4:
            raise ValueError(f"expected a size that 4 divides, got {self.size}")


class Residual(nn.Module):
    """h + layers(h): what the layers compute is a correction."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.layers(h)


def refine(maps: int) -> Residual:
    """(B, maps, H, W) → the same shape: two 3 × 3 convolutions that look around. `maps`
    is a multiple of 8.
    """

    def half() -> tuple[nn.Module, ...]:
        return nn.GroupNorm(8, maps), nn.SiLU(), nn.Conv2d(maps, maps, 3, padding=1)

    return Residual(*half(), *half())


class WideAutoencoder(nn.Module):
    """x (B, C, H, W) → code (B, maps, H/4, W/4) → x (B, C, H, W): by default a code
    twice as large as the picture.
    """

    def __init__(self, config: WideConfig = WideConfig()):
        super().__init__()
        c = config
        self.shape = (c.channels, c.size, c.size)
        self.encode = nn.Sequential(
            down(c.channels, c.width),
            down(c.width, c.maps),
            *[refine(c.maps) for _ in range(c.blocks)],
        )
        self.decode = nn.Sequential(
            *[refine(c.maps) for _ in range(c.blocks)],
            up(c.maps, c.width),
            nn.ConvTranspose2d(c.width, c.channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        return self.decode(self.encode(x))


# ---------- what the best denoiser is ----------


@dataclass(frozen=True)
class GaussianMixture:
    """Data whose best denoiser is known: points x ~ N(c_k, std² I) in D dimensions, k
    drawn of K by weight.

    `means` is (K, D), `weights` (K,) sum to 1. With std = 0 it is a data set: K
    pictures, and nothing else.
    """

    means: Tensor
    std: float
    weights: Tensor

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n points (n, D)."""
        require_generator(generator)
        centre = torch.multinomial(
            self.weights, n, replacement=True, generator=generator
        )
        eps = torch.randn(
            n, self.means.shape[1], generator=generator, dtype=self.means.dtype
        )
        return self.means[centre] + self.std * eps

    def log_parts(self, x: Tensor, sigma: float) -> Tensor:
        """log (w_k N(x; c_k, std² + sigma²)) for points x (B, D), noise included: (B,
        K).
        """
        variance = self.std**2 + sigma**2
        # (B, K)
        distance = torch.cdist(
            x, self.means, compute_mode="donot_use_mm_for_euclid_dist"
        )
        constant = x.shape[1] / 2 * math.log(2 * math.pi * variance)
        return self.weights.log() - distance.square() / (2 * variance) - constant

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        """log p_sigma(x) of points x (B, D) with noise of level `sigma`: (B,)."""
        return self.log_parts(x, sigma).logsumexp(dim=1)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """E[clean | x], the denoiser with the least squared error, for x (B, D): (B,
        D).

        A centre's posterior probability, times the posterior mean if the point came
        from that centre.
        """
        probability = self.log_parts(x, sigma).softmax(dim=1)  # (B, K)
        shrink = self.std**2 / (self.std**2 + sigma**2)
        return probability @ self.means * (1 - shrink) + shrink * x


def tweedie_score(denoised: Tensor, x: Tensor, sigma: float) -> Tensor:
    """The score ∇ log p_sigma(x), given the best denoiser's answer to x. Robbins
    (1956), Miyasawa (1961).
    """
    return (denoised - x) / sigma**2


def gaussian_fill(
    x: Tensor, seen: Tensor, mean: Tensor, covariance: Tensor, ridge: float = 1e-2
) -> Tensor:
    """E[x | what is seen of x] if x (B, D) were Gaussian: the best linear prediction of
    what is not `seen` (D,), a bool.

    mean_h + Σ_hs (Σ_ss + ridge·I)⁻¹ (x_s − mean_s). The ridge keeps the inverse calm
    where numbers never vary.
    """
    among_seen = covariance[seen][:, seen] + ridge * torch.eye(
        int(seen.sum()), dtype=x.dtype
    )
    # (seen, hidden)
    weights = torch.linalg.solve(among_seen, covariance[seen][:, ~seen])
    filled = x.clone()
    filled[:, ~seen] = mean[~seen] + (x[:, seen] - mean[seen]) @ weights
    return filled


# ---------- drawing with a denoiser ----------


def falling_noise(high: float, low: float, steps: int) -> list[float]:
    """`steps` noise levels from `high` to `low`, each the same fraction of the one
    before.

    Raises ValueError for fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"expected 2 steps or more, got {steps}")
    return [high * (low / high) ** (i / (steps - 1)) for i in range(steps)]


@torch.no_grad()
def walk_down(
    denoise: Callable[[Tensor, float], Tensor],
    x: Tensor,
    sigmas: list[float],
    generator: torch.Generator,
) -> Tensor:
    """From x (B, …) with noise of level sigmas[0] down to a clean x: at each level a
    prediction, and part of the way to it.

    `denoise(x, sigma)` predicts the clean x. A step draws the less noisy x from its
    distribution given the noisy x and the prediction: Ho et al. (2020), eq. 6 and 7,
    for noise that is added without shrinking the picture.
    """
    require_generator(generator)
    for sigma, lower in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        denoised, share = denoise(x, sigma), (lower / sigma) ** 2
        eps = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = denoised + share * (x - denoised) + lower * math.sqrt(1 - share) * eps
    return x
