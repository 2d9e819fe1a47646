"""The claims of chapter 4: squared error against a discriminator, and what the game of
the two networks computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import log_expit
from scipy.stats import norm
from torch import Tensor, nn

from minilib import runtime
from minilib.data import digits
from minilib.experiments.experiment import Bound, Compare, Experiment, Measured, Size
from minilib.metrics import features, frechet_distance
from minilib.models.gan import (
    GAN,
    GANConfig,
    discriminator_loss,
    generator_loss,
    log_loss,
    non_saturating_loss,
    sample_gan,
)
from minilib.recipes.digits.scores import feature_network, reference_digits
from minilib.train import Draw, fit, shuffled

# ---------- GAN-1: squared error against a discriminator ----------


def sharpness(x: Tensor) -> float:
    """Mean squared difference between neighbouring pixels of pictures x (B, C, H, W),
    down and across.
    """
    return float(x.diff(dim=2).square().mean() + x.diff(dim=3).square().mean()) / 2


def class_spread(x: Tensor) -> float:
    """Variance per pixel among pictures of one label, averaged over the ten labels: for
    pictures x (10·n, 1, 28, 28) of the labels 0, 1, 2, … in turn.
    """
    return float(torch.stack([x[c::10].var(dim=0).mean() for c in range(10)]).mean())


def squared_error_loss(model: GAN, x: Tensor, y: Tensor, *, draw: Draw) -> Tensor:
    """Mean squared error of a picture drawn for each label y (B,) against x (B, C, H,
    W): a scalar.
    """
    drawn = model.generator(draw.normal(model.generator.z_dim), y)
    return (drawn - x).square().mean()


SQUARED_ERROR = {"generator": squared_error_loss}
ADVERSARIAL = {"discriminator": discriminator_loss, "generator": generator_loss}


def train_pair(
    losses: Mapping[str, Callable[..., Tensor]],
    steps: int,
    seed: int = 0,
    change: Callable[[GAN], GAN] = lambda pair: pair,
    betas: tuple[float, float] = (0.0, 0.9),
) -> GAN:
    """A conditional pair, changed by `change`, after a short training on labelled
    digits, with averaged weights.
    """
    runtime.seed_everything(seed)
    pair = change(GAN(GANConfig(classes=10)))
    batches = shuffled(*digits.load("train"), batch_size=32, seed=seed)
    fitted: Any = fit(
        pair,
        losses,
        batches,
        steps=steps,
        lr=5e-3,
        betas=betas,
        seed=seed,
        progress=False,
    )
    return fitted.ema


def draw_in_turn(pair: GAN, n: int) -> Tensor:
    """n pictures (n, 1, 28, 28) of the labels 0, 1, 2, … in turn."""
    return sample_gan(pair, n, torch.Generator().manual_seed(0))


@cache
def reference_features() -> Tensor:
    """Features (10000, 128) of the reference digits."""
    return features(feature_network(), reference_digits())


def digit_fd(x: Tensor) -> float:
    """FD (digit features) of pictures x (N, 1, 28, 28) from 10,000 training digits."""
    return frechet_distance(features(feature_network(), x), reference_features())


def class_means() -> Tensor:
    """The mean training picture of each digit: (10, 1, 28, 28)."""
    x, y = digits.load("train")
    return torch.stack([x[y == c].mean(dim=0) for c in range(10)])


def real_in_turn() -> Tensor:
    """800 test digits (800, 1, 28, 28), of the labels 0, 1, 2, … in turn."""
    x, y = digits.load("test")
    return torch.stack([x[y == c][:80] for c in range(10)], dim=1).flatten(0, 1)


def compare_losses(by_error: Tensor, by_discriminator: Tensor) -> Measured:
    """What GAN-1 compares, from pictures (N, 1, 28, 28) of the labels 0, 1, 2, … in
    turn, drawn after training on squared error and against a discriminator.
    """
    real = sharpness(real_in_turn())
    sharp = sharpness(by_discriminator), sharpness(by_error)
    spread = class_spread(by_discriminator), class_spread(by_error)
    means = class_means().repeat(len(by_error) // 10, 1, 1, 1)
    off_mean = float((by_error - means).square().mean())
    return {
        SHARPER: sharp,
        NEARER: (abs(sharp[1] - real), abs(sharp[0] - real)),
        MORE_VARIED: spread,
        LOWER_FD: (digit_fd(by_error), digit_fd(by_discriminator)),
        IGNORES_NOISE: (spread[1], 0.0),
        IS_THE_MEAN: (off_mean, 0.0),
    }


def measure_losses(seed: int, size: Size) -> Measured:
    """The same conditional generator trained twice from one seed, on the same batches,
    for as many steps: on squared error, and against a discriminator.
    """
    steps = size.pick(live=250, quick=500, full=5000)
    n = size.pick(live=2000, quick=2000, full=10_000)
    drawn = [
        draw_in_turn(train_pair(losses, steps, seed), n)
        for losses in (SQUARED_ERROR, ADVERSARIAL)
    ]
    return compare_losses(*drawn)


SHARPER = "sharpness: adversarial − squared error"
NEARER = "distance from real sharpness: squared error − adversarial"
MORE_VARIED = "spread within a class: adversarial − squared error"
LOWER_FD = "FD (digit features): squared error − adversarial"
IGNORES_NOISE = "spread within a class: squared error, against 0"
IS_THE_MEAN = "mean squared distance to the class mean: squared error, against 0"

# real digits have a sharpness of 0.15 and a spread of 0.21: a tenth of these matters
GAN_1 = Experiment(
    "GAN-1",
    "A network trained on squared error gives the blurred mean, without randomness; "
    "trained against a network that judges real or drawn, it gives one sharp answer.",
    measure_losses,
    (
        Compare(SHARPER, 0.015),
        Compare(NEARER, 0.015),
        Compare(MORE_VARIED, 0.02),
        Compare(LOWER_FD, 1.0),
        Compare(IGNORES_NOISE, 0.02, equal=True),
        Compare(IS_THE_MEAN, 0.02, equal=True),
    ),
)

# ---------- GAN-2: the game, in one dimension ----------

LogDensity = Callable[[Any], Any]  # numbers (n,) or one number → the same shape


def log_p(x: Any) -> Any:
    """Log-density of the real numbers x (n,): two Gaussians."""
    left, right = norm.logpdf(x, -2, 0.5), norm.logpdf(x, 1, 0.8)
    return np.logaddexp(np.log(0.3) + left, np.log(0.7) + right)


def log_q(x: Any, mean: float = 0.0, std: float = 1.2) -> Any:
    """Log-density of the drawn numbers x (n,): one Gaussian."""
    return norm.logpdf(x, mean, std)


def draw_p(n: int, g: torch.Generator) -> Tensor:
    """n numbers (n, 1) drawn from p."""
    left, eps = torch.rand(n, 1, generator=g) < 0.3, torch.randn(n, 1, generator=g)
    return torch.where(left, -2 + 0.5 * eps, 1 + 0.8 * eps)


def integral(f: Callable[[float], float]) -> float:
    """The integral of f over [−15, 15], where p and q have all their mass."""
    peaks = [-4, -2, 0, 1, 3]
    return quad(f, -15, 15, points=peaks, epsabs=1e-12, epsrel=1e-12, limit=500)[0]


def entropy(log_density: LogDensity) -> float:
    return -integral(lambda x: np.exp(log_density(x)) * log_density(x))


def value_and_divergence(log_q: LogDensity) -> tuple[float, float]:
    """V at the best discriminator, and the divergence JSD(p, q), by quadrature."""

    def at_best(x: float) -> float:
        logit = log_p(x) - log_q(x)
        real, drawn = np.exp(log_p(x)), np.exp(log_q(x))
        return real * log_expit(logit) + drawn * log_expit(-logit)

    def log_m(x: float) -> float:
        return np.logaddexp(log_p(x), log_q(x)) - np.log(2)

    jsd = entropy(log_m) - (entropy(log_p) + entropy(log_q)) / 2
    return integral(at_best), jsd


def small_network(inputs: int = 1, outputs: int = 1) -> nn.Module:
    """Two hidden layers of 64: (B, inputs) → (B, outputs)."""
    layers = [nn.Linear(inputs, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(64, outputs))


def train_discriminator(seed: int, steps: int) -> nn.Module:
    """A small network that learned to tell p from q: from 256 of each a step."""

    def batches(step: int) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(100_000 * seed + step)
        return draw_p(256, g), 1.2 * torch.randn(256, 1, generator=g)  # from p, from q

    def loss(model: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return log_loss(model(real), model(fake))

    runtime.seed_everything(seed)
    network = small_network()
    return fit(
        network, loss, batches, steps=steps, lr=5e-3, seed=seed, progress=False
    ).ema


GRID = np.linspace(-7, 7, 2801)


def probability(discriminator: nn.Module) -> np.ndarray:
    """D on the grid: (2801,)."""
    x = torch.tensor(GRID, dtype=torch.float32)[:, None]
    return runtime.in_blocks(discriminator, x).sigmoid()[:, 0].numpy()


def off_best(discriminator: nn.Module) -> float:
    """Mean |D − D*| where numbers of p and q lie: under (p + q)/2."""
    p, q = np.exp(log_p(GRID)), np.exp(log_q(GRID))
    off = np.abs(probability(discriminator) - p / (p + q))
    return float((off * (p + q) / 2).sum() * (GRID[1] - GRID[0]))


def take_turns(seed: int, steps: int) -> Iterator[tuple[int, nn.Module, nn.Module]]:
    """Train a generator of numbers and a discriminator in turn; before each step, and
    after the last, yields the step and both networks.
    """
    torch.manual_seed(seed)
    generator, discriminator = small_network(), small_network()
    g = torch.Generator().manual_seed(seed)
    slow = torch.optim.Adam(generator.parameters(), lr=5e-4, betas=(0.0, 0.9))
    fast = torch.optim.Adam(discriminator.parameters(), lr=5e-3, betas=(0.0, 0.9))
    for step in range(steps):
        yield step, generator, discriminator
        real, z = draw_p(256, g), torch.randn(256, 1, generator=g)

        # the discriminator's turn
        fake = generator(z).detach()
        loss = log_loss(discriminator(real), discriminator(fake))
        runtime.require_finite(step, "discriminator's loss", loss)
        fast.zero_grad()
        loss.backward()
        fast.step()

        # the generator's turn
        loss = non_saturating_loss(discriminator(generator(z)))
        runtime.require_finite(step, "generator's loss", loss)
        slow.zero_grad()
        loss.backward()
        slow.step()
    yield steps, generator, discriminator


EDGES = torch.linspace(-7, 7, 141)


def shares(x: Tensor) -> Tensor:
    """The share of the numbers x (n, 1) that falls into each of 140 bins: (140,)."""
    return torch.histogram(x.flatten(), EDGES).hist / len(x)


def histogram_jsd(a: Tensor, b: Tensor) -> float:
    """JSD between two histograms a and b (n,), each with sum 1."""
    from_a = torch.special.xlogy(a, 2 * a / (a + b)).nan_to_num().sum()
    from_b = torch.special.xlogy(b, 2 * b / (a + b)).nan_to_num().sum()
    return float(from_a + from_b) / 2


@cache
def real_shares() -> Tensor:
    return shares(draw_p(200_000, torch.Generator().manual_seed(99)))


def drawn_shares(generator: nn.Module) -> Tensor:
    """The histogram (140,) of 50,000 drawn numbers."""
    z = torch.randn(50_000, 1, generator=torch.Generator().manual_seed(98))
    return shares(runtime.in_blocks(generator, z, size=50_000))


def measure_game(seed: int, size: Size) -> Measured:
    """A discriminator trained against a fixed q, the value at its best for a q of this
    seed, and a generator and a discriminator that train in turn.
    """
    steps = size.pick(live=500, quick=500, full=3000)
    mean, std = np.random.default_rng(seed).uniform([-1, 0.8], [1, 1.6])
    value, jsd = value_and_divergence(partial(log_q, mean=mean, std=std))
    before, after = (
        histogram_jsd(real_shares(), drawn_shares(generator))
        for step, generator, _ in take_turns(seed, steps)
        if step in (0, steps)
    )
    return {
        NEAR_BEST: (off_best(train_discriminator(seed, steps)), 0.0),
        IDENTITY: abs(value - (2 * jsd - math.log(4))),
        APPROACHES: (before, after),
    }


NEAR_BEST = "mean |D − D*| under (p + q)/2, against 0"
IDENTITY = "V(D*) = 2 JSD − log 4, by quadrature"
APPROACHES = "JSD to the real numbers: before − after training in turn"

# D is a probability; JSD is at most log 2, and a tenth of that matters
GAN_2 = Experiment(
    "GAN-2",
    "Generator and discriminator train in turn, each on its own loss: the trained D "
    "nears D* = p/(p + q), the value at D* is 2 JSD − log 4, and taking turns brings "
    "the drawn numbers to the real ones.",
    measure_game,
    (
        Compare(NEAR_BEST, 0.02, equal=True),
        Bound(IDENTITY, 1e-8),
        Compare(APPROACHES, 0.07),
    ),
)
