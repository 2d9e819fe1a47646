"""Generative adversarial networks: one network draws, another discriminates, and each
has a loss of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from minilib import runtime
from minilib.models.autoencoder import AutoencoderConfig, Decoder
from minilib.runtime import (
    require_generator,
    require_images,
    require_shape,
    require_sizes,
)
from minilib.train import Draw


class SpectralNorm(nn.Module):
    """Parametrization W → W / σ(W). σ is the largest singular value of W, flattened to
    a matrix (rows, the rest).

    σ comes from power iteration: one more step each time the weight is used in
    training, and `u` remembers how far it got. Miyato et al. (2018, algorithm 1).
    """

    u: Tensor

    def __init__(self, weight: Tensor):
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer(
            "u", F.normalize(torch.randn(1, len(matrix)).to(matrix), dim=1)
        )
        for _ in range(20):
            self.iterate(matrix)

    @torch.no_grad()
    def iterate(self, matrix: Tensor) -> None:
        v = F.normalize(self.u @ matrix, dim=1)  # (1, the rest)
        # (1, rows), in its own precision, whatever autocast does
        self.u = F.normalize(v @ matrix.T, dim=1).to(self.u)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        if self.training:
            self.iterate(matrix)
        v = F.normalize(self.u @ matrix.detach(), dim=1)
        return weight / (self.u @ matrix @ v.T).squeeze()


def spectral(layer: nn.Linear | nn.Conv2d | nn.Embedding) -> nn.Module:
    """The layer, with `SpectralNorm` on its weight."""
    return parametrize.register_parametrization(
        layer, "weight", SpectralNorm(layer.weight)
    )


@dataclass(frozen=True)
class GANConfig:
    """Sizes of the two networks. Pictures are (channels, size, size), `size` 8, 12, …;
    0 classes: no labels.
    """

    z_dim: int = 64
    classes: int = 0
    width: int = 16
    channels: int = 1
    size: int = 28

    def __post_init__(self) -> None:
        require_sizes(self, "z_dim width channels")
        require_sizes(self, "classes", least=0)
        require_sizes(self, "size", least=8)


class Generator(nn.Module):
    """z (B, z_dim) → x (B, C, H, W) in (-1, 1): the autoencoder's decoder. A label y
    (B,) enters as a one-hot code.
    """

    def __init__(self, config: GANConfig):
        super().__init__()
        self.z_dim, self.classes = config.z_dim, config.classes
        code_dim = config.z_dim + config.classes
        self.decode = Decoder(
            AutoencoderConfig(code_dim, config.width, config.channels, config.size)
        )

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        require_labels(y, len(z), self.classes)
        if y is not None:
            # (B, z_dim + classes)
            z = torch.cat([z, F.one_hot(y, self.classes).to(z.dtype)], dim=1)
        return self.decode(z)


class Discriminator(nn.Module):
    """x (B, C, H, W) → logit (B,), large for real: three strided convolutions, two
    linear maps, no weight with σ > 1.

    A label y (B,) enters as a direction, on which the features of x are projected.
    Miyato and Koyama (2018, section 2).
    """

    def __init__(self, config: GANConfig):
        super().__init__()
        self.shape, self.classes = (
            (config.channels, config.size, config.size),
            config.classes,
        )
        width, flat = config.width, 4 * config.width * (config.size // 8) ** 2
        self.features = nn.Sequential(
            spectral(nn.Conv2d(config.channels, width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            spectral(nn.Linear(flat, 128)),
            nn.LeakyReLU(0.2),
        )
        self.head = spectral(nn.Linear(128, 1))
        if config.classes:
            self.directions = spectral(nn.Embedding(config.classes, 128))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        require_images(x, self.shape)
        require_labels(y, len(x), self.classes)
        h = self.features(x)  # (B, 128)
        logit = self.head(h).squeeze(1)  # (B,)
        if y is not None:
            logit = logit + (self.directions(y) * h).sum(dim=1)
        return 4 * logit  # layers of norm 1 give timid logits


class GAN(nn.Module):
    """The two players. They share nothing but the pictures that one shows the other.
    Goodfellow et al. (2014).
    """

    def __init__(self, config: GANConfig = GANConfig()):
        super().__init__()
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)


def require_labels(y: Tensor | None, count: int, classes: int) -> None:
    """Raise ValueError unless y is `count` whole numbers below `classes`, or None where
    there are no classes.
    """
    if classes == 0 and y is None:
        return
    if classes == 0 or y is None:
        wanted = (
            "no labels: this GAN has no classes"
            if classes == 0
            else f"labels y of shape ({count},)"
        )
        raise ValueError(
            f"expected {wanted}, got "
            f"{'none' if y is None else f'some of shape {tuple(y.shape)}'}"
        )
    if (
        y.shape != (count,)
        or y.dtype != torch.long
        or not 0 <= y.min() <= y.max() < classes
    ):
        got = f"{y.dtype} of shape {tuple(y.shape)}"
        raise ValueError(
            f"expected labels y of shape ({count},), int64 from 0 to "
            f"{classes - 1}, got {got}"
        )


@dataclass(frozen=True)
class Game:
    """What each player minimises, given logits (B,) of real and of drawn pictures."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def log_loss(real: Tensor, fake: Tensor) -> Tensor:
    """−log D(x) − log(1 − D(G(z))) with D = sigmoid(logit), averaged: the
    discriminator's cross-entropy.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def saturating_loss(fake: Tensor) -> Tensor:
    """log(1 − D(G(z))): what the generator can move of −`log_loss`. Goodfellow et al.
    (2014, eq. 1).
    """
    return -F.softplus(fake).mean()


def non_saturating_loss(fake: Tensor) -> Tensor:
    """−log D(G(z)): the same fixed point, a steep slope where the generator loses.
    Goodfellow et al. (2014, §3).
    """
    return F.softplus(-fake).mean()


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 − logit) for real and max(0, 1 + logit) for drawn pictures. Lim and Ye
    (2017).
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The mean logit of drawn pictures less that of real ones. Arjovsky et al. (2017,
    eq. 2), to be minimised.
    """
    return fake.mean() - real.mean()


def mean_loss(fake: Tensor) -> Tensor:
    """Minus the mean logit: the generator's loss in the hinge and in the Wasserstein
    game.
    """
    return -fake.mean()


MINIMAX = Game(log_loss, saturating_loss)
NON_SATURATING = Game(log_loss, non_saturating_loss)
HINGE = Game(hinge_loss, mean_loss)
WASSERSTEIN = Game(critic_loss, mean_loss)  # only with `gradient_penalty`


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor
) -> Tensor:
    """Mean of (|∇ logit| − 1)² at mix·real + (1 − mix)·fake, for real and fake (B, …)
    and mix (B,).

    Gulrajani et al. (2017, eq. 3).
    """
    require_shape("fake", fake, real.shape)
    mix = mix.view(-1, *[1] * (real.ndim - 1))
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    # (B, …)
    (slope,) = torch.autograd.grad(
        discriminator(between).sum(), between, create_graph=True
    )
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def discriminator_loss(
    model: GAN,
    x: Tensor,
    y: Tensor | None = None,
    *,
    draw: Draw,
    game: Game = NON_SATURATING,
    penalty: float = 0.0,
) -> Tensor:
    """The discriminator's loss on pictures x (B, C, H, W) against as many drawn, of the
    same labels y (B,): a scalar.

    `penalty` times the gradient penalty is added: 10 in the Wasserstein game.
    """
    with torch.no_grad():
        fake = model.generator(draw.normal(model.generator.z_dim), y)  # (B, C, H, W)
    judge = lambda pictures: model.discriminator(pictures, y).to(x.dtype)  # noqa: E731
    loss = game.discriminator(judge(x), judge(fake))
    if penalty:
        loss = loss + penalty * gradient_penalty(judge, x, fake, draw.uniform())
    return loss


def generator_loss(
    model: GAN,
    x: Tensor,
    y: Tensor | None = None,
    *,
    draw: Draw,
    game: Game = NON_SATURATING,
) -> Tensor:
    """The generator's loss on as many drawn pictures as x has, of the same labels y
    (B,). It never sees x: a scalar.
    """
    fake = model.generator(draw.normal(model.generator.z_dim), y)  # (B, C, H, W)
    return game.generator(model.discriminator(fake, y).to(x.dtype))


def sample_gan(
    model: GAN, n: int, generator: torch.Generator, y: Tensor | None = None
) -> Tensor:
    """n pictures (n, C, H, W) drawn from z ~ N(0, I), of labels y (n,), by default 0,
    1, 2, … in turn.
    """
    require_generator(generator)
    z = torch.randn(n, model.generator.z_dim, generator=generator)
    if y is None and model.generator.classes:
        y = torch.arange(n) % model.generator.classes
    return runtime.in_blocks(model.generator, z, *([] if y is None else [y]))


def covered_classes(
    probabilities: Tensor, share: float = 0.01, sure: float = 0.9
) -> int:
    """How many classes get at least `share` of the pictures, by a classifier's
    probabilities (N, K).

    A picture counts for a class that the classifier gives `sure` or more.
    """
    confident, label = probabilities.max(dim=1)
    counts = torch.bincount(label[confident >= sure], minlength=probabilities.shape[1])
    return int((counts >= share * len(probabilities)).sum())
