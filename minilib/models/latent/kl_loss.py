"""How the autoencoder of latent diffusion learns: it rebuilds pictures, features of
them, and what a discriminator of patches looks at. Rombach et al. (2022, appendix G),
after Esser et al. (2021).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.models.gan import hinge_loss, mean_loss
from minilib.models.latent.kl_autoencoder import KLAutoencoder, KLConfig
from minilib.models.vae import kl_to_standard_normal, reparametrise
from minilib.train import Draw

Features = Callable[[Tensor], list[Tensor]]  # x (B, C, H, W) → (B, C', h, w) each


class PatchDiscriminator(nn.Module):
    """x (B, C, H, W) → logits (B, 1, H/4 - 2, W/4 - 2), large for real, each of a patch
    of 34 × 34 pixels. Isola et al. (2017, section 3.2.2).
    """

    def __init__(self, channels: int = 3, width: int = 32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, padding=1, bias=False),
            nn.GroupNorm(8, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).to(x.dtype)


class KLGame(nn.Module):
    """The autoencoder, and who judges its pictures, patch by patch. `turns` counts the
    discriminator's.
    """

    turns: Tensor

    def __init__(self, config: KLConfig, judge_width: int = 32):
        super().__init__()
        self.autoencoder = KLAutoencoder(config)
        self.discriminator = PatchDiscriminator(config.channels, judge_width)
        self.register_buffer("turns", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.autoencoder(x)


def perceptual_distance(features: Features, a: Tensor, b: Tensor) -> Tensor:
    """How far features of pictures a and b (B, C, H, W) are apart, (B,): the mean over
    places of the squared difference, both of length 1 there, summed over layers.

    Zhang et al. (2018, eq. 1) with all weights 1.
    """
    layers = zip(features(a), features(b), strict=True)
    return torch.stack(
        [
            (F.normalize(f, dim=1) - F.normalize(g, dim=1))
            .square()
            .sum(dim=1)
            .mean(dim=(1, 2))
            for f, g in layers
        ]
    ).sum(dim=0)


def adaptive_weight(error: Tensor, fooled: Tensor, last_layer: Tensor) -> Tensor:
    """The factor of the discriminator's loss `fooled` that makes its pull on the last
    layer as strong as that of the `error`: Esser et al. (2021, eq. 7).
    """
    (pull,) = torch.autograd.grad(error, last_layer, retain_graph=True)
    (other,) = torch.autograd.grad(fooled, last_layer, retain_graph=True)
    return (pull.norm() / (other.norm() + 1e-4)).clamp(0, 1e4).detach()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """The mean absolute difference."""
    return (a - b).abs().mean()


def l2(a: Tensor, b: Tensor) -> Tensor:
    """The mean squared difference."""
    return (a - b).square().mean()


def autoencoder_loss(
    model: KLGame,
    x: Tensor,
    *,
    draw: Draw,
    distance: Callable[[Tensor, Tensor], Tensor] = l1,
    features: Features | None = None,
    perceptual: float = 1.0,
    kl: float = 1e-6,
    adversarial: float = 0.5,
    start: int = 0,
) -> Tensor:
    """The autoencoder's loss on pictures x (B, C, H, W): what it rebuilds wrongly, `kl`
    times the KL per number of x, and, from the discriminator's turn `start` on, how
    little it fools that, `adversarial` times as strong.

    With `features` a rebuilt picture must have those of x too, `perceptual` times as
    important. Each call lets the model remember the scale of its latents.
    """
    mu, logvar = model.autoencoder.encode(x)
    model.autoencoder.remember(mu, logvar)
    rebuilt = model.autoencoder.decode(
        reparametrise(mu, logvar, draw.normal(*mu.shape[1:]))
    )
    error = distance(rebuilt, x)
    if features is not None:
        distances = perceptual_distance(features, rebuilt, x)
        error = error + perceptual * distances.mean()
    nats = kl_to_standard_normal(mu.flatten(1), logvar.flatten(1)).mean()
    loss = error + kl * nats / x[0].numel()
    if adversarial and model.turns >= start:
        fooled = mean_loss(model.discriminator(rebuilt))
        last_layer = model.autoencoder.decoder.get_parameter("out.2.weight")
        loss = loss + (
            adversarial * adaptive_weight(error, fooled, last_layer) * fooled
        )
    return loss


def patch_loss(model: KLGame, x: Tensor, *, draw: Draw) -> Tensor:
    """The discriminator's hinge loss on pictures x (B, C, H, W) against the same ones
    rebuilt: a scalar. Each call is a turn.
    """
    with torch.no_grad():
        model.turns += 1
        mu, logvar = model.autoencoder.encode(x)
        eps = draw.normal(*mu.shape[1:])
        rebuilt = model.autoencoder.decode(reparametrise(mu, logvar, eps))
    return hinge_loss(model.discriminator(x), model.discriminator(rebuilt))
