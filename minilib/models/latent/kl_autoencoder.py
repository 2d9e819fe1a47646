"""The autoencoder of latent diffusion: pictures become small pictures of few channels,
and all that the eye would miss is left to the decoder. Rombach et al. (2022, section
3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilib import runtime
from minilib.nets.unet_blocks import SpatialAttention, UNetConfig

EPS = 1e-6  # of all its norms


@dataclass(frozen=True)
class KLConfig:
    """Sizes of the autoencoder. Level i has width·multipliers[i] channels and `blocks`
    residual blocks, and the decoder's one more; between two levels the sides halve.

    So pictures (channels, H, W) become latents (latent_channels, H/f, W/f) with f = 2
    to the number of levels less 1. Raises ValueError for sizes that make no network.
    """

    channels: int = 3
    latent_channels: int = 4
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    groups: int = 8

    def __post_init__(self) -> None:
        runtime.require_sizes(self, "channels latent_channels width blocks groups")
        if not self.widths or any(w < 1 or w % self.groups for w in self.widths):
            raise ValueError(
                f"expected at each level channels that {self.groups} groups can share "
                f"equally, got {self.widths}"
            )

    @property
    def widths(self) -> list[int]:
        return [self.width * m for m in self.multipliers]

    @property
    def factor(self) -> int:
        """How many pixels a latent is wide."""
        return 2 ** (len(self.multipliers) - 1)


def group_norm(c: KLConfig, channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(c.groups, channels, EPS)


class ResnetBlock(nn.Module):
    """h (B, C_in, H, W) → (B, C_out, H, W): what came in, plus a correction. It is the
    U-Net's residual block without a step to know.
    """

    def __init__(self, c: KLConfig, channels_in: int, channels_out: int):
        super().__init__()
        self.residual = nn.Sequential(
            group_norm(c, channels_in),
            nn.SiLU(),
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            group_norm(c, channels_out),
            nn.SiLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        self.skip = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Conv2d(channels_in, channels_out, 1)
        )

    def forward(self, h: Tensor) -> Tensor:
        return self.skip(h) + self.residual(h)


def resnet_blocks(
    c: KLConfig, channels_in: int, channels: int, n: int
) -> list[nn.Module]:
    """n residual blocks, one after the other."""
    firsts = [channels_in] + [channels] * (n - 1)
    return [ResnetBlock(c, first, channels) for first in firsts]


def halving(channels: int) -> nn.Sequential:
    """(B, C, H, W) → (B, C, H/2, W/2): a convolution with stride 2 over zeros to the
    right and below alone, as Stable Diffusion's.
    """
    pad = nn.ZeroPad2d((0, 1, 0, 1))
    return nn.Sequential(pad, nn.Conv2d(channels, channels, 3, stride=2))


def doubling(channels: int) -> nn.Sequential:
    """(B, C, H, W) → (B, C, 2H, 2W): each position four times, then a convolution."""
    grow = nn.Upsample(scale_factor=2)
    return nn.Sequential(grow, nn.Conv2d(channels, channels, 3, padding=1))


def attentive(c: KLConfig, channels: int) -> nn.Sequential:
    """Two residual blocks at the lowest level, and between them attention with one
    head.
    """
    sizes = UNetConfig(width=2 * c.groups, head_dim=channels, groups=c.groups, eps=EPS)
    return nn.Sequential(
        ResnetBlock(c, channels, channels),
        SpatialAttention(sizes, channels),
        ResnetBlock(c, channels, channels),
    )


class KLEncoder(nn.Module):
    """x (B, C, H, W) → (B, 2·latent_channels, H/f, W/f): mean and log variance of each
    latent.
    """

    def __init__(self, c: KLConfig):
        super().__init__()
        widths, outputs = c.widths, 2 * c.latent_channels
        self.stem = nn.Conv2d(c.channels, widths[0], 3, padding=1)
        self.levels = nn.Sequential()
        for i, w in enumerate(widths):
            level = nn.Sequential(*resnet_blocks(c, widths[max(i - 1, 0)], w, c.blocks))
            if i < len(widths) - 1:
                level.append(halving(w))
            self.levels.append(level)
        self.middle = attentive(c, widths[-1])
        self.out = nn.Sequential(
            group_norm(c, widths[-1]),
            nn.SiLU(),
            nn.Conv2d(widths[-1], outputs, 3, padding=1),
            nn.Conv2d(outputs, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.middle(self.levels(self.stem(x))))


class KLDecoder(nn.Module):
    """z (B, latent_channels, h, w) → x (B, C, f·h, f·w)."""

    def __init__(self, c: KLConfig):
        super().__init__()
        widths = c.widths[::-1]
        self.stem = nn.Sequential(
            nn.Conv2d(c.latent_channels, c.latent_channels, 1),
            nn.Conv2d(c.latent_channels, widths[0], 3, padding=1),
        )
        self.middle = attentive(c, widths[0])
        self.levels = nn.Sequential()
        for i, w in enumerate(widths):
            before = widths[max(i - 1, 0)]
            level = nn.Sequential(*resnet_blocks(c, before, w, c.blocks + 1))
            if i < len(widths) - 1:
                level.append(doubling(w))
            self.levels.append(level)
        self.out = nn.Sequential(
            group_norm(c, widths[-1]),
            nn.SiLU(),
            nn.Conv2d(widths[-1], c.channels, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.out(self.levels(self.middle(self.stem(z))))


class KLAutoencoder(nn.Module):
    """x (B, C, H, W) → q(z|x) = N(mu, exp(logvar)), both (B, latent_channels, H/f,
    W/f); z → x. Calling the model rebuilds x from mu.

    Nothing holds z to a scale, so `mean` and `std` keep for each channel which it has:
    `latents` are z brought to mean 0 and variance 1, that of the noise of diffusion,
    and `pictures` is the way back. Rombach et al. (2022, appendix G) divide by one
    number for all channels; Stable Diffusion's is 1/0.18215.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: KLConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = KLEncoder(config), KLDecoder(config)
        self.register_buffer("mean", torch.zeros(config.latent_channels, 1, 1))
        self.register_buffer("std", torch.ones(config.latent_channels, 1, 1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        require_divisible(x, self.config)
        mu, logvar = self.encoder(x).to(x.dtype).chunk(2, dim=1)
        return mu, logvar.clamp(-30, 20)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).to(z.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0])

    @torch.no_grad()
    def remember(self, mu: Tensor, logvar: Tensor, momentum: float = 0.01) -> None:
        """Let a batch of q(z|x), (B, latent_channels, h, w) each, move `mean` and `std`
        a little, as training goes on.
        """
        mean, std = channel_statistics(mu, logvar)
        self.mean = self.mean.lerp(mean.to(self.mean), momentum)
        self.std = self.std.lerp(std.to(self.std), momentum)

    def latents(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W) → (B, latent_channels, H/f, W/f), of mean 0 and
        variance 1 in each channel.
        """
        return (self.encode(x)[0] - self.mean) / self.std

    def pictures(self, latents: Tensor) -> Tensor:
        """The way back, to pictures in [-1, 1]."""
        return self.decode(self.mean + self.std * latents).clamp(-1, 1)


def require_divisible(x: Tensor, c: KLConfig) -> None:
    """Raise ValueError unless x are pictures whose sides can be halved often enough."""
    H, W = x.shape[-2:]
    if H % c.factor or W % c.factor or H * W == 0:
        raise ValueError(
            f"expected pictures whose sides are multiples of {c.factor}, got {H} × {W}"
        )
    runtime.require_images(x, (c.channels, H, W))


# ---------- the scale of the latents ----------


def channel_statistics(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of z, drawn from N(mu, exp(logvar)),
    (N, C, h, w) each: (C, 1, 1) each.

    The variance is that of mu, plus the mean of exp(logvar).
    """
    variance, mean = torch.var_mean(mu, dim=(0, 2, 3), correction=0)
    variance = variance + logvar.exp().mean(dim=(0, 2, 3))
    return mean[:, None, None], variance.sqrt()[:, None, None]


def latent_statistics(model: KLAutoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same of pictures x (N, C, H, W), measured."""
    both = runtime.in_blocks(lambda some: torch.cat(model.encode(some), 1), x, size=100)
    mu, logvar = both.chunk(2, dim=1)
    return channel_statistics(mu, logvar)
