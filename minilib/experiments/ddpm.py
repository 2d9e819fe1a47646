"""The claims of chapter 6: DDPM-1 to DDPM-6, and GAN-3, which needs a diffusion model
beside the GAN.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import torch
from torch import nn

from minilib.claims import PICTURE
from minilib.data import digits
from minilib.diffusion.sampling import (
    Variance,
    large_variance,
    small_variance,
)
from minilib.diffusion.schedule import (
    X_0,
    Schedule,
    cosine_beta,
    linear_beta,
    trailing,
)
from minilib.experiments.ddpm_parts import (
    KINDS,
    PREDICTIONS,
    ancestral_digits,
    balanced_digits,
    clock_or_not,
    digits_missed,
    given_times,
    half_decided,
    kinds_of_handwriting,
    loss_of,
    points_missed,
    undecided,
    watched_digits,
)
from minilib.experiments.ddpm_worlds import (
    LEVELS,
    PointNet,
    against_exact,
    distance_to_ring,
    draw_points,
    drawn_to_nearest,
    learned,
    nats_left,
    ring_and_dot,
    sizes_missed,
    train_points,
    twenty_digits,
)
from minilib.experiments.experiment import Bound, Compare, Experiment, Measured, Size
from minilib.metrics import features, precision_recall
from minilib.models.gan import GAN, sample_gan
from minilib.recipes.ddpm import LINEAR, ddpm_digits
from minilib.recipes.digits.gan import cgan_digits
from minilib.recipes.digits.scores import feature_network

# ---------- the forward chain ----------


def forward_chain(seed: int, size: Size) -> Measured:
    """Two numbers through all steps of the chain, in float64; and copies of four
    pixels, whose moments are compared with the closed form in standard errors.
    """
    copies = size.pick(live=2000, quick=10_000, full=100_000)
    pixels, g = torch.tensor([-1.0, -0.3, 0.4, 1.0]), torch.Generator()
    x, factor, variance = pixels.expand(copies, 4), 1.0, 0.0
    exact = sampled = 0.0
    g.manual_seed(seed)
    for b, bar in zip(LINEAR.beta.tolist(), LINEAR.alpha_bar.tolist(), strict=True):
        factor, variance = (1 - b) ** 0.5 * factor, (1 - b) * variance + b
        exact = max(exact, abs(factor - bar**0.5), abs(variance - (1 - bar)))
        x = (1 - b) ** 0.5 * x + b**0.5 * torch.randn(copies, 4, generator=g)
        mean = (x.mean(dim=0) - bar**0.5 * pixels) / ((1 - bar) / copies) ** 0.5
        spread = (x.var(dim=0) / (1 - bar) - 1) / (2 / copies) ** 0.5
        sampled = max(sampled, float(mean.abs().max()), float(spread.abs().max()))
    return {CHAIN[0].name: exact, CHAIN[1].name: sampled}


CHAIN = (
    Bound("mean's factor and variance, all 1,000 steps", 1e-12),
    Bound("sampled means and variances, in standard errors", 6.0),
)
DDPM_1 = Experiment(
    "DDPM-1",
    "Each step fixes its variance by β_t and its mean by β_t and x_{t−1}, so that x_t "
    "follows straight from x_0: the chain has the moments of the closed form at each "
    "of 1,000 steps.",
    forward_chain,
    CHAIN,
    seeds=1,
)


def schedules(seed: int, size: Size) -> Measured:
    """What is left of test digits, in closed form; and numbers from two heaps, drawn
    with the exact denoiser in 30 rising or 30 equal steps. Nothing is trained: a seed
    is one of sampling.
    """
    n = size.pick(live=1000, quick=5000, full=50_000)
    pictures = digits.load("test")[0][:500]
    bars = [Schedule(beta).alpha_bar for beta in (linear_beta(), cosine_beta())]
    left = [nats_left(pictures, bar) for bar in bars]
    rising = Schedule(linear_beta(30))
    flat = 1 - float(rising.alpha_bar[-1]) ** (1 / 30)
    equal = Schedule(torch.full((30,), flat, dtype=torch.float64))
    rises = max(float(nats.diff(dim=1).max()) for nats in left)
    missed = (sizes_missed(equal, seed, n), sizes_missed(rising, seed, n))
    ends = [float(nats[:, -1].mean()) for nats in left]
    return dict(
        zip((part.name for part in PURE), (*ends, max(0.0, rises), missed), strict=True)
    )


PURE = (
    Bound("nats left of a digit after 1,000 linear steps", 0.1),
    Bound("nats left of a digit after 1,000 cosine steps", 0.1),
    Bound("largest rise of what is left from one step to the next", 1e-9),
    Compare("30 exact steps, distance from the data: equal − rising", 0.1),
)
DDPM_2 = Experiment(
    "DDPM-2",
    "As t grows x_t nears pure noise, and β_t usually grows with t: after 1,000 steps "
    "less than a tenth of a nat tells a noisy digit from noise, and rising steps draw "
    "better than equal ones.",
    schedules,
    PURE,
)

# ---------- the exact denoiser and a learned one ----------


def exact_and_learned(seed: int, size: Size) -> Measured:
    """One network of one seed, trained for 400 steps and for ten times as many."""
    steps = size.pick(live=100, quick=400, full=400)
    short, long = (learned(seed, count) for count in (steps, 10 * steps))
    far = {k: sum(v) / len(v) for k, v in against_exact(short, seed).items()}
    far_long = sum(against_exact(long, seed)["network"]) / len(LEVELS)
    data = twenty_digits()
    apart = torch.cdist(data, data).fill_diagonal_(torch.inf).min(dim=1).values
    return {
        EXACT[0].name: (far["half of the data"], far["network"]),
        EXACT[1].name: (far["mean picture"], far["network"]),
        EXACT[2].name: (far["network"], far_long),
        EXACT[3].name: (float(apart.median()), drawn_to_nearest(long, seed)[0]),
    }


EXACT = (
    Compare("from the exact denoiser: exact on half the data − network", 0.02),
    Compare("from the exact denoiser: mean picture − network", 0.02),
    Compare("from the exact denoiser: network − trained ten times as long", 0.005),
    Compare("nearest of the twenty: to another of them − to one drawn (long)", 3.0),
)
DDPM_3 = Experiment(
    "DDPM-3",
    "q(x_{t−1} | x_t) needs the whole data distribution: exact on half of the data is "
    "far from exact. A network approximates it, trained on pairs alone; trained ten "
    "times as long on twenty digits it nears the exact answer, and copies them.",
    exact_and_learned,
    EXACT,
    seeds=3,
)

# ---------- what t is good for ----------


def clocks(seed: int, size: Size) -> Measured:
    """The first two parts are of the one network that ships, with two seeds of
    sampling; the third is of two trainings.
    """
    n = size.pick(live=20, quick=200, full=1000)
    count = size.pick(live=20, quick=50, full=100)
    x, predicted = watched_digits(n, count, seed)
    open_, steps = undecided(predicted, x), trailing(LINEAR.T, count)
    slow, fast = (half_decided(open_[name], steps) for name in ("1 wave", "7–14 waves"))
    errors = given_times(n, seed)
    right = errors.diagonal(dim1=0, dim2=1).mean(dim=1)  # (n,)
    off = torch.cat([errors.diagonal(k, 0, 1) for k in (-1, 1)], dim=1).mean(dim=1)
    without, with_t = clock_or_not(seed, size, n)
    return {
        CLOCK[0].name: (slow, fast),
        CLOCK[1].name: (off.tolist(), right.tolist()),
        CLOCK[2].name: (without, with_t),
    }


CLOCK = (
    Compare("t at which half is decided: 1 wave − 7–14 waves", 100),
    Compare("error of the predicted x_0: given t ± 150 − given t", 0.005),
    Compare("error of the predicted x_0: trained without t − with t", 0.005),
)
DDPM_4 = Experiment(
    "DDPM-4",
    "The time embedding tells the network where it is, outlines first and details "
    "last: slow waves of the predicted x_0 are decided before fast ones, a network "
    "that is given a wrong t errs more, and so does one that is trained without t.",
    clocks,
    CLOCK,
    unit=PICTURE,
    seeds=2,
)

# ---------- what to predict, and how to weigh its error ----------


def predictions(seed: int, size: Size) -> Measured:
    """Equal networks, steps and learning rates; what differs is what they predict and
    how its error is weighted. Sides are (prediction, whether the bound weighs).
    """
    sides = {
        "simple loss: x_{t−1} − ε": (("x_{t−1}", False), ("ε", False)),
        "bound: x_{t−1} − ε": (("x_{t−1}", True), ("ε", True)),
        "ε: bound − simple loss": (("ε", True), ("ε", False)),
        "simple loss: ε − x_0": (("ε", False), ("x_0", False)),
        "simple loss: ε − v": (("ε", False), ("v", False)),
        "x_0: bound − simple loss": (("x_0", True), ("x_0", False)),
        "v: bound − simple loss": (("v", True), ("v", False)),
    }
    points = {
        "64-D points, simple loss: x_{t−1} − ε": (("x_{t−1}", False), ("ε", False)),
        "64-D points, simple loss: ε − x_0": (("ε", False), ("x_0", False)),
    }
    return {
        name: tuple(digits_missed(*arm, seed, size) for arm in pair)
        for name, pair in sides.items()
    } | {
        name: tuple(points_missed(*arm, seed, size) for arm in pair)
        for name, pair in points.items()
    }


ARMS = (
    Compare("simple loss: x_{t−1} − ε", 1.0),
    Compare("bound: x_{t−1} − ε", 1.0),
    Compare("ε: bound − simple loss", 1.0),
    Compare("simple loss: ε − x_0", 1.0),
    Compare("simple loss: ε − v", 1.0),
    Compare("x_0: bound − simple loss", 1.0),
    Compare("v: bound − simple loss", 1.0),
    Compare("64-D points, simple loss: x_{t−1} − ε", 0.05),
    Compare("64-D points, simple loss: ε − x_0", 0.05),
)
DDPM_5 = Experiment(
    "DDPM-5",
    "To predict the noise is better than to predict x_{t−1}, and the simple loss "
    "better than the bound's weights; a small network does better still with x_0 or "
    "v. FD (digit features) of drawn digits, and energy distance of points.",
    predictions,
    ARMS,
    seeds=3,
)

# ---------- the variance ----------


@cache
def ring_net(seed: int, steps: int) -> nn.Module:
    """A network that learned to predict the noise of points on the ring."""
    return train_points(PointNet(2), loss_of("ε", False), ring_and_dot, seed, steps)


def variances(seed: int, size: Size) -> Measured:
    """One network, drawn from with the variance β̃ and with β, in few steps and all."""
    steps, n = size.pick(live=(400, 500), quick=(400, 1000), full=(4000, 5000))
    net = ring_net(seed, steps)

    def missed(count: int, variance: Variance) -> float:
        x = draw_points(net, PREDICTIONS["ε"], 2, seed, count, variance, n)
        return distance_to_ring(x)

    return {
        part.name: tuple(missed(count, v) for v in (small_variance, large_variance))
        for part, count in zip(WIDTHS, (1000, 5), strict=True)
    }


WIDTHS = (
    Compare("1,000 steps, energy distance: β̃ − β", 0.01, equal=True),
    Compare("5 steps, energy distance: β̃ − β", 0.01),
)
DDPM_6 = Experiment(
    "DDPM-6",
    "Of mean and variance, learning the mean is enough if all the steps are taken: the "
    "variances β_t and β̃_t draw the same then. With few steps they do not.",
    variances,
    WIDTHS,
)

# ---------- GANs ----------

STEP_SECONDS = {"cgan_digits": 0.055, "ddpm_digits": 0.19}  # of one core


def diversity(seed: int, size: Size) -> Measured:
    """A GAN and a diffusion model of digits with labels, trained for equal core-seconds
    and judged by as many pictures against as many test digits, equally many of each.
    """
    seconds = size.pick(live=2, quick=40, full=4500)
    each = size.pick(live=20, quick=100, full=500)
    steps = {name: round(seconds / cost) for name, cost in STEP_SECONDS.items()}
    n, g = 10 * each, torch.Generator().manual_seed(seed)
    gan = cgan_digits.train(steps=steps["cgan_digits"], seed=seed, progress=False).ema
    diffusion = ddpm_digits.train(
        steps=steps["ddpm_digits"], seed=seed, progress=False
    ).ema
    count, y = size.pick(live=10, quick=20, full=100), torch.arange(n) % 10
    drawn = [ancestral_digits(diffusion, X_0, n, count, seed, y)]
    drawn.append(sample_gan(cast(GAN, gan), n, g))
    seen = [features(feature_network(), x) for x in drawn]
    real = features(feature_network(), balanced_digits("test", each)[0])
    (p, r), (p_gan, r_gan) = (precision_recall(real, x) for x in seen)
    found = [float(len(torch.cdist(x, kinds_of_handwriting()).argmin(dim=1).unique()))
             for x in seen]  # fmt: skip
    return {
        GANS[0].name: (r, r_gan),
        GANS[1].name: (found[0], found[1]),
        GANS[2].name: (p_gan, p),
    }


GANS = (
    Compare("recall: diffusion − GAN", 0.05),
    Compare(f"of {KINDS} kinds of handwriting, drawn: diffusion − GAN", 10),
    Compare("precision: GAN − diffusion", 0.05),
)
GAN_3 = Experiment(
    "GAN-3",
    "The diversity of GANs is poor: with equal core-seconds of training on the same "
    "digits and labels, the GAN's recall is below the diffusion model's, and so are "
    "the kinds of handwriting that it draws; its precision is not.",
    diversity,
    GANS,
    seeds=3,
)
