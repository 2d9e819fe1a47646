"""Classifier guidance: what chapter 8 claims, ADM-6 and ADM-7.

The network of chapter 7 draws digits without labels, and a classifier of noisy pictures
guides it. The judge of all pictures is the shipped classifier of clean digits, which
never guides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from minilib import runtime
from minilib.claims import PICTURE
from minilib.data import digits
from minilib.diffusion.guidance import LogProbability, guided
from minilib.diffusion.sampling import Denoiser, ddim, denoiser, full, last
from minilib.diffusion.schedule import V, leading
from minilib.experiments.experiment import Compare, Experiment, Measured, Size
from minilib.metrics import as_features, distances, features, neighbour_radii
from minilib.models.noisy_classifier import noisy_classification_loss
from minilib.recipes.ddpm import COSINE
from minilib.recipes.digits.adm import adm_digits
from minilib.recipes.digits.noisy_classifier import noisy_classifier
from minilib.recipes.digits.scores import feature_network
from minilib.weights import load_pretrained

SCALE = 10.0  # of 0, 1, 3, 10 and 30 the smallest FD, on noises that no claim uses
RIVAL_SCALES = (3.0, 10.0, 30.0, 100.0)
VALIDATION = 100  # the seed of the noises on which scales are chosen
REAL = 1000  # real test digits that precision and recall are measured against
STEPS = leading(COSINE.T, 16)
Network = Callable[[Tensor, Tensor], Tensor]  # x_t (B, 1, 28, 28), t (B,) → logits

# ---------- drawing ----------


@cache
def unconditional() -> Denoiser:
    """The shipped network of chapter 7, to which no label goes."""
    network = load_pretrained(adm_digits.model(), "adm_digits")
    return denoiser(network.to(runtime.device()), COSINE, V)


@cache
def shipped_guide() -> nn.Module:
    """The shipped classifier of noisy digits."""
    network = load_pretrained(noisy_classifier.model(), "noisy_classifier")
    return network.to(runtime.device())


def in_turn(n: int) -> Tensor:
    """The labels 0, 1, 2, … 9, 0, 1, … (n,)."""
    return torch.arange(n) % 10


def class_log_probability(network: Network, y: Tensor) -> LogProbability:
    """log p(y | x_t) as the network sees it, for labels y (B,) and x_t (B, 1, 28, 28),
    t (B,): (B,).
    """
    y = y.to(runtime.device())[:, None]
    return lambda x_t, t: F.log_softmax(network(x_t, t), dim=1).gather(1, y)[:, 0]


def draw_digits(n: int, s: float, network: Network, seed: int) -> Tensor:
    """n pictures (n, 1, 28, 28) that should show the digits 0, 1, 2, … in turn, guided
    by the network with scale s. The noise depends on the seed alone.
    """

    def block(x: Tensor, y: Tensor) -> Tensor:
        log_probability = class_log_probability(network, y)
        denoise = guided(unconditional(), COSINE, log_probability, s)
        return last(ddim(denoise, COSINE, x, STEPS))

    x = torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    return runtime.in_blocks(block, x, in_turn(n)).clamp(-1, 1)


# ---------- measures, picture by picture ----------


def judged(x: Tensor) -> Tensor:
    """The digits (N,) that the judge sees in pictures x (N, 1, 28, 28)."""
    return runtime.in_blocks(feature_network(), x).argmax(dim=1)


def agreed(x: Tensor) -> Tensor:
    """1 for each of the pictures x (N, 1, 28, 28) in which the judge sees the digit
    that was asked for, else 0: (N,).
    """
    return (judged(x) == in_turn(len(x))).double()


def inside(centres: Tensor, points: Tensor, k: int = 3) -> Tensor:
    """1 for each of the points (M, D) that lies in a ball around some centre (N, D)
    that reaches to the centre's k-th neighbour, else 0: (M,). Its mean is precision
    where the centres are real, and recall where they are drawn.
    """
    centres, points = as_features(centres, points)
    radii = neighbour_radii(centres, k)
    return (distances(points, centres) <= radii).any(dim=1).double()


def spread(x: Tensor, label: Tensor) -> Tensor:
    """The squared distance a pixel of each of the pictures x (N, 1, 28, 28) from the
    mean of the pictures of its label (N,): (N,). Its mean over a label is the unbiased
    variance; 0 where a label has one picture.
    """
    found = torch.zeros(len(x), dtype=torch.double)
    for c in label.unique():
        mine = x[label == c].double()
        apart = (mine - mine.mean(dim=0)).square().flatten(1).mean(dim=1)
        found[label == c] = apart * len(mine) / max(len(mine) - 1, 1)
    return found


def marks(x: Tensor) -> dict[str, Tensor]:
    """How good pictures x (N, 1, 28, 28) are that should show the digits in turn: a
    number for each picture, or for recall one for each of the real test digits.
    """
    real = features(feature_network(), digits.load("test")[0][:REAL])
    drawn = features(feature_network(), x)
    return {
        "agreement": agreed(x),
        "precision": inside(real, drawn),
        "recall": inside(drawn, real),
        "spread": spread(x, judged(x)),
    }


# ---------- ADM-6: a classifier's gradient guides ----------


def guidance(seed: int, size: Size) -> Measured:
    """ADM-6: the marks with and without guidance, of the same noises.

    The unit is a picture (of recall, a real digit). There is one network and one
    classifier, so that the two seeds are two sets of noises, not two trainings.
    """
    n = size.pick(live=40, quick=500, full=5000)
    without, with_guidance = (
        {name: values.tolist() for name, values in marks(x).items()}
        for x in (draw_digits(n, s, shipped_guide(), seed) for s in (0.0, SCALE))
    )
    return {
        "digit asked for: guided − not": pair(with_guidance, without, "agreement"),
        "precision: guided − not": pair(with_guidance, without, "precision"),
        "recall: not − guided": pair(without, with_guidance, "recall"),
        "spread within a digit: not − guided": pair(without, with_guidance, "spread"),
    }


def pair(
    a: dict[str, list[float]], b: dict[str, list[float]], name: str
) -> tuple[list[float], list[float]]:
    return a[name], b[name]


# the spread of real digits is about 0.2, and a tenth of it would matter
ADM_6 = Experiment(
    "ADM-6",
    "A classifier trained on noisy images guides an unconditional model by the "
    "gradient of its cross-entropy: at scale 10 the digit asked for and precision "
    "rise, and recall and the spread within a digit fall.",
    guidance,
    (
        Compare("digit asked for: guided − not", 0.1),
        Compare("precision: guided − not", 0.05),
        Compare("spread within a digit: not − guided", 0.02),
        Compare("recall: not − guided", 0.05),
    ),
    unit=PICTURE,
    seeds=2,
)

# ---------- ADM-7: what guidance costs ----------


def at_step_zero(network: nn.Module) -> Network:
    """A classifier of clean pictures as a guide: it knows no step but 0."""
    return lambda x, t: network(x, torch.zeros_like(t))


@cache
def rivals(seed: int, steps: int) -> dict[str, Network]:
    """Two classifiers of one architecture, seed and length of training: of noisy
    pictures, and of clean ones.
    """
    loss = partial(noisy_classification_loss, schedule=COSINE, noise=False)
    on_clean = replace(noisy_classifier, loss=loss)
    return {
        "noisy": noisy_classifier.train(seed=seed, steps=steps).ema,
        "clean": at_step_zero(on_clean.train(seed=seed, steps=steps).ema),
    }


def best_agreement(network: Network, seed: int, validation: int, n: int) -> float:
    """The share of n guided pictures in which the judge sees the digit asked for, at
    the scale that serves the network best on other noises.
    """

    def share(s: float, count: int, noises: int) -> float:
        return float(agreed(draw_digits(count, s, network, noises)).mean())

    scores = {s: share(s, validation, VALIDATION + seed) for s in RIVAL_SCALES}
    return share(max(scores, key=scores.__getitem__), n, seed)


@cache
def operations(s: float) -> int:
    """Additions and multiplications of a step for one picture, guided with scale s or,
    for 0, not: unlike seconds the same on every machine.
    """
    guide = shipped_guide()

    def ask(x: Tensor, t: Tensor) -> Tensor:
        return guide(1 * x, t)  # the counter wants no leaf as a module's input

    x = torch.zeros(1, 1, 28, 28, device=runtime.device())
    wanted = class_log_probability(ask, torch.zeros(1, dtype=torch.long))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        guided(unconditional(), COSINE, wanted, s)(x, full(x, 500))
    return counter.get_total_flops()


def costs(seed: int, size: Size) -> Measured:
    """ADM-7: how often the judge sees the digit asked for, guided by a classifier of
    noisy and by one of clean pictures, each at its best scale of four; and the
    operations of a guided step, by those of a plain one.
    """
    steps = size.pick(live=20, quick=200, full=8000)
    validation, n = size.pick(live=(2, 4), quick=(30, 100), full=(200, 2000))
    found = {
        name: best_agreement(network, seed, validation, n)
        for name, network in rivals(seed, steps).items()
    }
    return {
        "digit asked for: noisy − clean classifier": (found["noisy"], found["clean"]),
        "operations of a step: guided / plain − 1": (
            operations(1.0) / operations(0.0),
            1.0,
        ),
    }


ADM_7 = Experiment(
    "ADM-7",
    "Guidance costs a classifier trained on noisy data, since one trained on clean "
    "data guides worse, and a gradient at every step.",
    costs,
    (
        Compare("digit asked for: noisy − clean classifier", 0.1),
        Compare("operations of a step: guided / plain − 1", 0.1),
    ),
    seeds=3,
)
