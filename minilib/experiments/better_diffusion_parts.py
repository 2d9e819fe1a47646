"""What the claims of chapter 7 are measured on: small U-Nets that differ in one thing,
the two networks of digits that ship, and the Fréchet distance picture by picture.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from minilib import runtime
from minilib.data import digits
from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import (
    Denoised,
    Denoiser,
    ancestral,
    ddim,
    denoiser,
    dpm_solver,
    large_variance,
    last,
    learned_variance,
)
from minilib.diffusion.schedule import EPS, Prediction, Schedule, trailing
from minilib.experiments.experiment import Size
from minilib.metrics import as_features, distances, features, in_rows, neighbour_radii
from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import (
    ScaleShift,
    UNetConfig,
    block_down,
    block_up,
    shrink,
)
from minilib.recipes.ddpm import COSINE, ddpm_digits
from minilib.recipes.digits.adm import adm_digits
from minilib.recipes.digits.scores import feature_network, reference_digits
from minilib.train import Draw, generator, shuffled, update_ema
from minilib.weights import load_pretrained

# ---------- small U-Nets that differ in one thing ----------

BASE = UNetConfig(width=16, blocks=1, attention=(1,), head_dim=32)
CHANGES = {
    "deeper: 2 blocks a level": replace(BASE, blocks=2),
    "wider: 24 channels": replace(BASE, width=24, head_dim=48),
    "4 attention heads in place of 1": replace(BASE, head_dim=8),
    "AdaGN": replace(BASE, modulation=ScaleShift),
    "BigGAN's blocks": replace(BASE, down=block_down, up=block_up),
}
CONFIGS = {"base": BASE} | CHANGES
LR, BATCH, WARMUP = 4e-3, 16, 20
EMA = 0.99  # at most: early on the average is over the last tenth of the steps


class Toy(NamedTuple):
    """A trained small network (its averaged weights), with its loss on held-out digits
    at the end, and when it had spent the operations of the base network's training.
    """

    network: nn.Module
    loss: float
    loss_at_equal_operations: float


@cache
def small_digits(split: str) -> Tensor:
    """Digits of 16 × 16 pixels: (N, 1, 16, 16) in [-1, 1]."""
    return shrink(F.pad(digits.load(split)[0], (2, 2, 2, 2), value=-1.0))


def spread_steps(n: int, low: int, high: int) -> Tensor:
    """n steps from `low` to `high` - 1, evenly spread: (n,)."""
    return low + ((torch.arange(n) + 0.5) * (high - low) / n).long()


@torch.no_grad()
def held_out(network: nn.Module, size: Size) -> Tensor:
    """The squared error of the noise that the network predicts in held-out digits, a
    digit a step, the same digits, steps and noises each time: (n,).
    """
    x_0 = small_digits("test")[: size.pick(live=128, quick=256, full=1000)]
    t = spread_steps(len(x_0), 0, COSINE.T)
    eps = torch.randn(x_0.shape, generator=generator(10**6))
    x_t, device = COSINE.noisy(x_0, t, eps), runtime.device()
    out = network(x_t.to(device), t.to(device)).cpu()
    return (out - eps).square().flatten(1).mean(dim=1)


def untrained(name: str, seed: int) -> nn.Module:
    """The small network of that name with the weights of `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet(CONFIGS[name]).to(runtime.device())


@cache
def trained(name: str, seed: int, size: Size) -> Toy:
    """The small network of that name, trained on the simple loss to predict the noise.
    For one seed all names get the same digits, steps and noises; none is cheaper than
    the base network.
    """
    network = untrained(name, seed)
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LR, betas=(0.9, 0.99), weight_decay=0.0
    )
    batches = shuffled(small_digits("train"), batch_size=BATCH, seed=seed)
    total = size.pick(live=40, quick=240, full=5000)
    spent, early = round(total * operations("base") / operations(name)), math.nan
    for step in range(total):
        draw = Draw(generator(seed, step, device=runtime.device()), slice(None), BATCH)
        optimizer.param_groups[0]["lr"] = LR * min(1, (step + 1) / WARMUP)
        optimizer.zero_grad()
        (x_0,) = batches(step)
        simple_loss(
            network,
            x_0.to(runtime.device()),
            draw=draw,
            schedule=COSINE,
            prediction=EPS,
        ).backward()
        runtime.require_finite(
            step, "gradient", *(p.grad for p in network.parameters())
        )
        optimizer.step()
        update_ema(average, network, min(EMA, (1 + step) / (10 + step)))
        if step + 1 == spent:
            early = float(held_out(average, size).mean())
    return Toy(average, float(held_out(average, size).mean()), early)


@cache
def operations(name: str) -> int:
    """How many additions and multiplications the network of that name needs for one
    picture: unlike seconds the same on every machine.
    """
    x, t = torch.zeros(1, 1, 16, 16), torch.zeros(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        UNet(CONFIGS[name])(x, t)
    return counter.get_total_flops()


def percent_of_base(
    name: str, seed: int, size: Size, equal_operations: bool
) -> tuple[float, float]:
    """(100, held-out loss of the changed network in percent of the base's), after the
    same number of steps or of operations.
    """
    base, changed = trained("base", seed, size), trained(name, seed, size)
    loss = changed.loss_at_equal_operations if equal_operations else changed.loss
    return 100.0, 100 * loss / base.loss


# ---------- digits from the networks that ship ----------

Walk = Callable[..., Iterator[Tensor]]  # (denoise, schedule, x, steps, generator)


def without_noise(
    sampler: Walk,
    denoise: Denoiser,
    schedule: Schedule,
    x: Tensor,
    steps: list[int],
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """A walk that adds no noise, called like those that do."""
    return sampler(denoise, schedule, x, steps)


WALKS: dict[str, Walk] = {
    "DDPM, β̃": ancestral,
    "DDPM, β": partial(ancestral, variance=large_variance),
    "DDPM, learned": partial(ancestral, variance=learned_variance),
    "DDIM": partial(without_noise, ddim),
    "DDIM, η = 0.5": partial(ddim, eta=0.5),
    "DPM-Solver++": partial(without_noise, dpm_solver),
}


@cache
def shipped(name: str) -> tuple[UNet, Schedule, Prediction]:
    """A network of digits that ships, the schedule that it was trained on, and what it
    predicts.
    """
    recipe = {"adm_digits": adm_digits, "ddpm_digits": ddpm_digits}[name]
    network = load_pretrained(recipe.model(), name).to(runtime.device())
    known = recipe.loss.keywords  # type: ignore[union-attr]
    return network, known["schedule"], known["prediction"]


@cache
def drawn(name: str, walk: str, steps: int, seed: int, count: int) -> Tensor:
    """Digits 0, 1, 2, … in turn by a network that ships, in that many steps of a walk:
    (count, 1, 28, 28). The seed gives all noise, the same where a walk starts.
    """
    network, schedule, prediction = shipped(name)
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(count, 1, 28, 28, generator=g), torch.arange(count) % 10

    def draw(x: Tensor, y: Tensor) -> Tensor:
        denoise = denoiser(network, schedule, prediction, y)
        return last(WALKS[walk](denoise, schedule, x, trailing(schedule.T, steps), g))

    return runtime.in_blocks(draw, x, y, size=100)


def remembered(denoise: Denoiser) -> Denoiser:
    """The denoiser, which remembers what it said at each step: three variances then
    cost no more than one.
    """
    said: dict[int, Denoised] = {}

    def ask_once(x_t: Tensor, t: Tensor) -> Denoised:
        key = int(t[0])
        if key not in said:
            said[key] = denoise(x_t, t)
        return said[key]

    return ask_once


# ---------- measures of a set, picture by picture ----------


@cache
def reference() -> Tensor:
    """The features of 10,000 training digits: (10000, 128)."""
    return features(feature_network(), reference_digits())


def features_of(x: Tensor) -> Tensor:
    """The digit classifier's features of pictures x (N, 1, 28, 28): (N, 128)."""
    return features(feature_network(), x)


def root(matrix: Tensor, power: float) -> Tensor:
    """A power of a symmetric matrix (D, D) with eigenvalues ≥ 0; what is 0 but for
    rounding stays 0.
    """
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > 1e-10 * values[-1]
    powers = torch.where(kept, values.clamp(min=1e-300) ** power, 0)
    return (vectors * powers) @ vectors.T


def fd_of_each(fake: Tensor, real: Tensor) -> Tensor:
    """The FD of features fake (N, D) from real (M, D), as the mean of N numbers: (N,).

    Picture i's is the FD plus its influence: how fast the FD changes when that picture
    gains weight. The spread of their mean is that of the FD, so that a bootstrap over
    pictures gives its interval.
    """
    fake, real = as_features(fake, real, at_least=2)
    centred, apart = fake - fake.mean(dim=0), fake.mean(dim=0) - real.mean(dim=0)
    sigma, wanted = torch.cov(fake.T), torch.cov(real.T)
    half = root(wanted, 0.5)
    between = half @ sigma @ half
    slope = torch.eye(len(sigma)).double() - half @ root(between, -0.5) @ half
    influence = 2 * centred @ apart + (centred @ slope * centred).sum(dim=1)
    cross = root(between, 0.5).trace()
    distance = apart.square().sum() + sigma.trace() + wanted.trace() - 2 * cross
    return distance + influence - influence.mean()


def reached(real: Tensor, fake: Tensor, k: int = 3) -> Tensor:
    """Which of the real features (N, D) lie in a ball around a fake one (M, D): (N,) of
    0 and 1, whose mean is recall.
    """
    real, fake = as_features(real, fake, at_least=k + 1)
    radii = neighbour_radii(fake, k)
    blocks = in_rows(real, len(fake))
    return torch.cat(
        [(distances(x, fake) <= radii).any(dim=1) for x in blocks]
    ).double()
