"""What chapter 7 claims: what training minimises, what a learned variance is worth, how
few steps do, which changes of the U-Net pay, and how diffusion compares with GANs.
"""

from __future__ import annotations

import copy
import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minilib import runtime
from minilib.claims import PICTURE
from minilib.data import digits
from minilib.diffusion.loss import bound_by_step, prior_term, vlb_term
from minilib.diffusion.sampling import (
    Variance,
    denoiser,
    large_variance,
    learned_variance,
    small_variance,
)
from minilib.diffusion.schedule import EPS
from minilib.experiments.better_diffusion_parts import (
    CHANGES,
    drawn,
    fd_of_each,
    features_of,
    held_out,
    percent_of_base,
    reached,
    reference,
    remembered,
    shipped,
    small_digits,
    spread_steps,
    trained,
    untrained,
)
from minilib.experiments.experiment import Bound, Compare, Experiment, Size
from minilib.models.gan import sample_gan
from minilib.recipes.ddpm import COSINE
from minilib.recipes.digits.gan import cgan_digits, gan_digits
from minilib.train import generator
from minilib.weights import load_pretrained

VARIANCES: dict[str, Variance] = {
    "β̃": small_variance,
    "β": large_variance,
    "learned": learned_variance,
}


def pictures(size: Size) -> int:
    """How many digits an FD is measured on."""
    return size.pick(live=200, quick=2000, full=5000)


def short(values: Tensor, decimals: int) -> list[float]:
    """The numbers, rounded far below their spread: a record lists thousands."""
    return values.double().round(decimals=decimals).tolist()


@cache
def fd(name: str, walk: str, steps: int, seed: int, count: int) -> list[float]:
    """What each of `count` drawn digits adds to the FD (digit features) from 10,000
    training digits; the mean is the FD.
    """
    found = features_of(drawn(name, walk, steps, seed, count))
    return short(fd_of_each(found, reference()), 2)


# ---------- ADM-2 ----------


@torch.no_grad()
def terms_twice(network: nn.Module, seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Terms of the bound of n small digits at steps from 1 to 998, a digit a step, with
    the variance β̃: as KLs in bits per dimension, and as squared errors of the predicted
    noise, weighted by (SNR(t - 1) / SNR(t) - 1) / 2. Both (n,).
    """
    g, x_0 = generator(seed), small_digits("test")[:n].double()
    t = spread_steps(n, 1, 999)
    eps = torch.randn(x_0.shape, generator=g, dtype=torch.float64)
    x_t = COSINE.noisy(x_0, t, eps)
    exact = copy.deepcopy(network).cpu().double()
    denoised = denoiser(exact, COSINE, EPS, clip=False)(x_t, t)
    as_kl = vlb_term(COSINE.steps_of(t, x_0), x_0, x_t, denoised, small_variance)
    error = (exact(x_t, t) - eps).square().flatten(1).mean(dim=1)
    snr = COSINE.alpha_bar / (1 - COSINE.alpha_bar)
    return as_kl, (snr[t - 1] / snr[t] - 1) / 2 * error / math.log(2)


def squared_error(seed: int, size: Size) -> dict[str, Any]:
    """The bound before and after a training on the simple loss, and its terms as
    weighted errors. Term 999, where β is cut off at 0.999, would drown the others.
    """
    n = size.pick(live=128, quick=512, full=4096)
    before, _ = terms_twice(untrained("base", seed), seed, n)
    after, weighted = terms_twice(trained("base", seed, size).network, seed, n)
    return {
        IDENTITY: float(((after - weighted).abs() / weighted).max()),
        LOWERED: (998 * float(before.mean()), 998 * float(after.mean())),
    }


IDENTITY = "a term of the bound is the weighted squared error of the noise, relative"
LOWERED = "terms 1 to 998 of the bound, bits per dimension: untrained − trained"
ADM_2 = Experiment(
    "ADM-2",
    "Training minimises the squared error between the true and the predicted noise: "
    "each term of the variational bound between the first and the last is, with the "
    "variance β̃, that error times a number, and a small U-Net that is trained on the "
    "error without these numbers (the simple loss) lowers the bound.",
    squared_error,
    (
        Bound(IDENTITY, 1e-6),
        Compare(LOWERED, 0.8),  # a tenth of the 8 bits of a raw grey
    ),
)


# ---------- ADM-3 ----------


def chosen_steps(stretches: int, seed: int) -> tuple[list[int], Tensor]:
    """Steps at which the bound's terms are measured, and for how many steps each
    stands: the first twenty for themselves, of the others a random one of each stretch.
    """
    where = np.random.default_rng(seed)
    edges = np.linspace(20, COSINE.T, stretches + 1).round().astype(int)
    deputies = [int(where.integers(a, b)) for a, b in pairwise(edges)]
    stands_for = [1] * 20 + [int(b - a) for a, b in pairwise(edges)]
    return [*range(20), *deputies], torch.tensor(stands_for)


def terms_of(x: Tensor, y: Tensor, steps: list[int], seed: int) -> dict[str, Tensor]:
    """The bound's terms (steps, B) of digits x (B, 1, 28, 28) with labels y (B,), for
    each variance: the same network, noises and means.
    """
    network, schedule, prediction = shipped("adm_digits")
    denoise = remembered(denoiser(network, schedule, prediction, y))
    return {
        name: bound_by_step(
            denoise, schedule, x, steps, torch.Generator().manual_seed(seed), variance
        ).cpu()
        for name, variance in VARIANCES.items()
    }


@cache
def bits(seed: int, size: Size) -> dict[str, list[float]]:
    """The bound of test digits, in bits per dimension, picture by picture, for each
    variance.
    """
    n, stretches = size.pick(live=(8, 15), quick=(100, 30), full=(1000, 100))
    rows = slice(n * seed, n * (seed + 1))
    x, y = (part[rows].to(runtime.device()) for part in digits.load("test"))
    steps, stands_for = chosen_steps(stretches, seed)
    prior = prior_term(COSINE, x).cpu()
    return {
        name: short((stands_for[:, None] * terms).sum(dim=0) + prior, 4)
        for name, terms in terms_of(x, y, steps, seed).items()
    }


def learned_against_fixed(seed: int, size: Size) -> dict[str, Any]:
    """One network, adm_digits, and the same means; only the variance is swapped. There
    is one network that learned a variance, so the seed is that of pictures and noise.
    """
    of_bits, n = bits(seed, size), pictures(size)
    of_fd = {name: fd("adm_digits", f"DDPM, {name}", 5, seed, n) for name in VARIANCES}
    fixed = ("β̃", "β")
    return {
        f"bits per dimension: {v} − learned": (of_bits[v], of_bits["learned"])
        for v in fixed
    } | {
        f"FD (digit features) in 5 steps: {v} − learned": (of_fd[v], of_fd["learned"])
        for v in fixed
    }


ADM_3 = Experiment(
    "ADM-3",
    "The variance of a step back can be fixed or learned, and learned is better: fewer "
    "bits per dimension, and better samples in few steps. One network that ships, the "
    "same means, two sampling seeds.",
    learned_against_fixed,
    (
        Compare("bits per dimension: β̃ − learned", 0.1),
        Compare("bits per dimension: β − learned", 0.1),
        Compare("FD (digit features) in 5 steps: β̃ − learned", 1.0),
        Compare("FD (digit features) in 5 steps: β − learned", 1.0),
    ),
    PICTURE,
    seeds=2,
)


# ---------- ADM-4 ----------

NETWORKS = "adm_digits", "ddpm_digits"


def fewer_steps(seed: int, size: Size) -> dict[str, Any]:
    """The walks of DDPM and DDIM from the same noises: with seed 0 by chapter 7's
    network, with seed 1 by chapter 6's.
    """
    name, n = NETWORKS[seed], pictures(size)
    in_five = fd(name, "DDIM", 5, seed, n)
    return {
        "FD (digit features) in 5 steps: DDPM with β̃ − DDIM": (
            fd(name, "DDPM, β̃", 5, seed, n),
            in_five,
        ),
        "FD (digit features) in 5 steps: DDPM with β − DDIM": (
            fd(name, "DDPM, β", 5, seed, n),
            in_five,
        ),
        "FD (digit features): DDIM in 5 steps, DDPM with β̃ in 10": (
            in_five,
            fd(name, "DDPM, β̃", 10, seed, n),
        ),
    }


ADM_4 = Experiment(
    "ADM-4",
    "DDIM sets the noise of a step to 0 and needs fewer steps: in few steps it draws "
    "better than DDPM's walk, and as well as that walk in twice as many. Two networks "
    "that ship, of this chapter and of chapter 6.",
    fewer_steps,
    (
        Compare("FD (digit features) in 5 steps: DDPM with β̃ − DDIM", 1.0),
        Compare("FD (digit features) in 5 steps: DDPM with β − DDIM", 1.0),
        Compare(
            "FD (digit features): DDIM in 5 steps, DDPM with β̃ in 10", 1.0, equal=True
        ),
    ),
    PICTURE,
    seeds=2,
)


# ---------- ADM-5 ----------


def ablation(seed: int, size: Size) -> dict[str, Any]:
    """Each change of the small U-Net alone, in percent of the base network's held-out
    loss, after as many steps and after as many operations.
    """
    return {
        part_of(name, equal): percent_of_base(name, seed, size, equal == "operations")
        for equal in ("steps", "operations")
        for name in CHANGES
    }


def part_of(name: str, equal: str) -> str:
    return f"{name}, equal {equal}: base − changed, % of the base's loss"


ADM_5 = Experiment(
    "ADM-5",
    "A better U-Net is deeper and wider, with more attention heads, AdaGN and BigGAN's "
    "up and down blocks: each alone lowers the held-out loss of a small network, after "
    "equally many training steps and after equally many operations.",
    ablation,
    tuple(
        Compare(part_of(name, equal), 5.0)
        for equal in ("steps", "operations")
        for name in CHANGES
    ),
)


# ---------- ADM-8 ----------


@cache
def by_gan(name: str, seed: int, count: int) -> Tensor:
    """The features of digits by a GAN that ships: (count, 128)."""
    recipe = {"gan_digits": gan_digits, "cgan_digits": cgan_digits}[name]
    gan = load_pretrained(recipe.model(), name).to(runtime.device())
    return features_of(sample_gan(gan, count, torch.Generator().manual_seed(seed)))


def history(seed: int, size: Size) -> dict[str, Any]:
    """Chapter 6's network by its own walk, and this chapter's by DDIM, ten calls a
    picture each, against the better of two GANs. The seed is that of the noise, and for
    the last part that of the training.
    """
    n = pictures(size)
    before = fd("ddpm_digits", "DDPM, β̃", 10, seed, n)
    after = fd("adm_digits", "DDIM", 10, seed, n)
    gans = [by_gan(name, seed, n) for name in ("gan_digits", "cgan_digits")]
    of_gan = min((short(fd_of_each(x, reference()), 2) for x in gans), key=sum)
    real = reference()[:: len(reference()) // min(2000, n)]
    ours = features_of(drawn("adm_digits", "DDIM", 10, seed, n))
    found = reached(real, ours).tolist()
    of_gans = max((reached(real, x).tolist() for x in gans), key=sum)
    base, wider = (
        held_out(trained(name, seed, size).network, size)
        for name in ("base", "wider: 24 channels")
    )
    share = 100 / base.mean()
    return {
        "recall: this chapter − better GAN": (found, of_gans),
        "before, FD (digit features): DDPM − better GAN": (before, of_gan),
        "after, FD (digit features): better GAN − this chapter": (of_gan, after),
        "scales, held-out loss in % of the base's: base − wider": (
            short(share * base, 2),
            short(share * wider, 2),
        ),
    }


ADM_8 = Experiment(
    "ADM-8",
    "Diffusion models are diverse and scale easily, but before ADM they looked worse "
    "than GANs; with this chapter's improvements they look better. The networks that "
    "ship, ten calls a picture, against the better of two GANs; two sampling seeds.",
    history,
    (
        Compare("recall: this chapter − better GAN", 0.05),
        Compare("before, FD (digit features): DDPM − better GAN", 1.0),
        Compare("after, FD (digit features): better GAN − this chapter", 1.0),
        Compare("scales, held-out loss in % of the base's: base − wider", 5.0),
    ),
    PICTURE,
    seeds=2,
)
