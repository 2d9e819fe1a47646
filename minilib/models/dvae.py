"""The discrete VAE: a picture becomes 8 × 8 tokens, and tokens become a picture.

Ramesh et al. (2021), section 2.1. The relaxation is that of Jang et al. (2017) and
Maddison et al. (2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.train import Draw

PATCH = 4  # pixels that a token is wide
EPSILON = 0.1  # how far `map_pixels` keeps away from 0 and 1
SHARPNESS = 8.0  # factor of the logits: codes that tell something from the first step
TAU_MIN, COOLING = 1 / 16, 0.9995  # where the temperature ends; its factor each step


# ---------- the network ----------


@dataclass(frozen=True)
class DVAEConfig:
    """The number of codes, channels at the resolution of the tokens (twice that of a
    layer's bottleneck), and residual blocks there.
    """

    codes: int = 512
    width: int = 128
    blocks: int = 2


class ResidualBlock(nn.Module):
    """h (B, channels, H, W) → the same shape: half as many channels see 3 × 3 places,
    and what they find is added to h. It starts as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels // 2, channels, 1),
        )
        nn.init.zeros_(self.residual[-1].weight)  # type: ignore[arg-type]

    def forward(self, h: Tensor) -> Tensor:
        return h + self.residual(h)


def residual_blocks(channels: int, n: int) -> nn.Sequential:
    """n blocks, one after the other."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(n)))


class TokenEncoder(nn.Module):
    """x (B, 3, H, W) → (B, channels_out, H/4, W/4)."""

    def __init__(self, config: DVAEConfig, channels_out: int):
        super().__init__()
        width, fine = config.width, config.width // 2
        self.net = nn.Sequential(
            nn.PixelUnshuffle(2),  # (B, 12, H/2, W/2)
            nn.Conv2d(12, fine, 3, padding=1),
            ResidualBlock(fine),
            nn.Conv2d(fine, width, 2, stride=2),  # (B, width, H/4, W/4)
            residual_blocks(width, config.blocks),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, channels_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TokenDecoder(nn.Module):
    """h (B, channels_in, h, w) → (B, 3, 4h, 4w)."""

    def __init__(self, config: DVAEConfig, channels_in: int):
        super().__init__()
        width, fine = config.width, config.width // 2
        self.net = nn.Sequential(
            nn.Conv2d(channels_in, width, 1, bias=False),  # a row for each code
            residual_blocks(width, config.blocks),
            nn.ConvTranspose2d(width, fine, 2, stride=2),  # (B, fine, 2h, 2w)
            residual_blocks(fine, 2),
            nn.GroupNorm(8, fine),
            nn.SiLU(),
            nn.Conv2d(fine, 12, 3, padding=1),
            nn.PixelShuffle(2),  # (B, 3, 4h, 4w)
        )

    def forward(self, h: Tensor) -> Tensor:
        return self.net(h)


class DVAE(nn.Module):
    """x (B, 3, H, W) → q(z|x), at each of H/4 × W/4 places a distribution over the
    codes; z → p(x|z), at each pixel a logit-Laplace distribution of one scale.

    Calling the model rebuilds x from the likeliest codes. `temperature` is that of the
    relaxation; `dvae_loss` lowers it step by step.
    """

    temperature: Tensor

    def __init__(self, config: DVAEConfig = DVAEConfig()):
        super().__init__()
        runtime.require_sizes(config, "codes blocks")
        if config.width < 16 or config.width % 16:
            raise ValueError(f"expected a width of 16, 32, …, got {config.width}")
        self.codes = config.codes
        self.encoder = TokenEncoder(config, config.codes)
        self.decoder = TokenDecoder(config, config.codes)
        nn.init.normal_(self.decoder.net[0].weight)  # type: ignore[arg-type]
        self.log_scale = nn.Parameter(torch.tensor(math.log(0.3)))
        self.register_buffer("temperature", torch.tensor(1.0))

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log q(z|x) of pictures x (B, 3, H, W) in [-1, 1], H and W
        multiples of 4: (B, codes, H/4, W/4).
        """
        require_pictures(x)
        return SHARPNESS * self.encoder(x).to(x.dtype)

    def tokens(self, x: Tensor) -> Tensor:
        """The likeliest code at each place, row by row: long (B, H/4 · W/4).
        `decode_tokens` reads those of squares.
        """
        return self.logits(x).argmax(dim=1).flatten(1)

    def location(self, y: Tensor) -> Tensor:
        """Codes y (B, codes, h, w), one-hot or relaxed → the location of the
        logit-Laplace distribution of each pixel (B, 3, 4h, 4w).
        """
        return self.decoder(y).to(y.dtype)

    def decode(self, y: Tensor) -> Tensor:
        """Codes y (B, codes, h, w), one-hot or relaxed → pictures (B, 3, 4h, 4w) in
        [-1, 1]: the medians of p(x|z).
        """
        return unmap_pixels(self.location(y).sigmoid())

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """The pictures (B, 3, H, W) of tokens (B, L), row by row of a square. Raises
        ValueError where L is no square number, or a token no code.
        """
        return self.decode(one_hot(tokens, self.codes).to(self.log_scale.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(hard(self.logits(x)))  # (B, 3, H, W)


def require_pictures(x: Tensor) -> None:
    """Raise ValueError unless x is a batch of pictures that tokens can tile."""
    H, W = x.shape[-2:]
    if H % PATCH or W % PATCH or H * W == 0:
        raise ValueError(
            f"expected pictures whose sides are multiples of {PATCH}, got {H} × {W}"
        )
    runtime.require_images(x, (3, H, W))


def one_hot(tokens: Tensor, codes: int) -> Tensor:
    """Tokens (B, L), row by row of a square → float32 (B, codes, √L, √L). Raises
    ValueError where L is no square number, or a token is not from 0 to codes - 1.
    """
    side = math.isqrt(tokens.shape[-1])
    if tokens.ndim != 2 or tokens.dtype != torch.long or side**2 != tokens.shape[1]:
        raise ValueError(
            "expected long tokens (B, L) with L a square number, got "
            f"{tokens.dtype} of shape {tuple(tokens.shape)}"
        )
    runtime.require_range("tokens", tokens, 0, codes - 1)
    grid = F.one_hot(tokens, codes).unflatten(1, (side, side))  # (B, √L, √L, codes)
    return grid.movedim(-1, 1).float()


def hard(y: Tensor) -> Tensor:
    """1 where y (B, codes, …) is largest among the codes, else 0: the same shape."""
    return torch.zeros_like(y).scatter_(1, y.argmax(dim=1, keepdim=True), 1.0)


# ---------- the relaxation ----------


def gumbel(u: Tensor) -> Tensor:
    """Standard Gumbel numbers -log(-log u) of uniform ones u in [0, 1)."""
    return -torch.log(-torch.log(u.clamp_min(torch.finfo(u.dtype).tiny)))


def relaxed(logits: Tensor, noise: Tensor, tau: float | Tensor) -> Tensor:
    """softmax((logits + noise)/tau) over the codes, (B, codes, …); Jang et al. (2017),
    eq. 2.

    With Gumbel noise its largest entry is at a code drawn from softmax(logits): the
    Gumbel-max trick. As tau falls to 0 it becomes that code's one-hot vector.
    """
    return ((logits + noise) / tau).softmax(dim=1)


def gumbel_softmax(
    logits: Tensor, tau: float | Tensor, generator: torch.Generator
) -> Tensor:
    """A relaxed draw (B, codes, …) from the distributions over codes that logits (B,
    codes, …) stand for. Raises ValueError for tau at or below 0.
    """
    runtime.require_generator(generator)
    if not tau > 0:
        raise ValueError(f"expected tau > 0, got {float(tau)}")
    u = torch.rand(
        logits.shape, dtype=logits.dtype, device=logits.device, generator=generator
    )
    return relaxed(logits, gumbel(u), tau)


# ---------- the likelihood ----------


def map_pixels(x: Tensor) -> Tensor:
    """Pixels from -1 … 1 to 0.1 … 0.9, where their logit is finite: Ramesh et al.
    (2021), appendix A.3.
    """
    return (1 - 2 * EPSILON) * (x + 1) / 2 + EPSILON


def unmap_pixels(y: Tensor) -> Tensor:
    """The inverse of `map_pixels`; what lies beyond -1 or 1 is set there."""
    return (2 * (y - EPSILON) / (1 - 2 * EPSILON) - 1).clamp(-1, 1)


def log_logit_laplace(y: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """log of the density, at y in (0, 1), of a number whose logit is
    Laplace(location, exp(log_scale)): Ramesh et al. (2021), eq. 2. Same shape as y.
    """
    distance = (y.logit() - location).abs() * (-log_scale).exp()
    return -math.log(2) - log_scale - (y * (1 - y)).log() - distance


def log_likelihood(model: DVAE, x: Tensor, y: Tensor) -> Tensor:
    """log p(x|y) in nats per number of x (B, 3, H, W) in [-1, 1], given codes y (B,
    codes, h, w): (B,).
    """
    require_pictures(x)
    log_p = log_logit_laplace(map_pixels(x), model.location(y), model.log_scale)
    # the density of x, of which the mapped pixel is 1/2 - EPSILON times as far from 0
    return log_p.flatten(1).mean(dim=1) + math.log(0.5 - EPSILON)


# ---------- the bound ----------


def kl_parts(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The mean KL(q(z|x) ‖ uniform) of logits (B, codes, …) in nats per token, as the
    sum of two: what a token tells of its picture, and KL(mean q ‖ uniform).

    The first is the mutual information, in this batch, of a token and where it stands;
    the second is 0 where all codes are used alike. Hoffman and Johnson (2016).
    """
    log_q = logits.log_softmax(dim=1)
    q, log_codes = log_q.exp(), math.log(logits.shape[1])
    kl = (q * log_q).sum(dim=1).mean() + log_codes
    mean_q = q.transpose(0, 1).flatten(1).mean(dim=1)  # (codes,)
    usage = torch.special.entr(mean_q).sum()
    return kl - (log_codes - usage), log_codes - usage


def dvae_loss(model: DVAE, x: Tensor, draw: Draw, balance: float = 20.0) -> Tensor:
    """The negative ELBO of x (B, 3, H, W) under the relaxation, in nats per number of
    x, with `balance` as the weight of KL(mean q ‖ uniform): a scalar.

    With balance = 1 it is the ELBO of Ramesh et al. (2021), eq. 1, whose whole KL they
    weigh by 6.6. Each call cools the model's temperature.
    """
    logits = model.logits(x)
    noise = gumbel(draw.uniform(*logits.shape[1:]))
    y = relaxed(logits, noise, model.temperature)
    model.temperature = (model.temperature * COOLING).clamp(min=TAU_MIN)
    information, imbalance = kl_parts(logits)
    share = logits[0, 0].numel() / x[0].numel()  # tokens per number
    kl = information + balance * imbalance
    return share * kl - log_likelihood(model, x, y).mean()


def dvae_elbo(model: DVAE, x: Tensor, noise: Tensor) -> Tensor:
    """The ELBO of pictures x (B, 3, H, W) in nats per number, estimated with one code a
    place, drawn by Gumbel noise (B, codes, h, w): (B,). No relaxation.
    """
    logits = model.logits(x)
    runtime.require_shape("noise", noise, tuple(logits.shape))
    log_q = logits.log_softmax(dim=1)
    kl = (log_q.exp() * log_q).sum(dim=1) + math.log(model.codes)  # (B, h, w)
    share = kl[0].numel() / x[0].numel()
    return log_likelihood(model, x, hard(logits + noise)) - share * kl.flatten(1).mean(
        dim=1
    )


def perplexity(tokens: Tensor, codes: int) -> float:
    """exp of the entropy of how often each code occurs in tokens of any shape: how many
    codes, used alike, would be as diverse. From 1 to `codes`.
    """
    if tokens.numel() == 0:
        raise ValueError("expected one token or more, got none")
    runtime.require_range("tokens", tokens, 0, codes - 1)
    usage = torch.bincount(tokens.flatten(), minlength=codes).double()
    return float(torch.special.entr(usage / usage.sum()).sum().exp())
