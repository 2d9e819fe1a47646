"""Chapter 3: what a code without a bottleneck is worth when the input is spoilt, and
how much of a picture a quarter of it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.data import digits
from minilib.experiments.experiment import Compare, Experiment, Measured, Size
from minilib.models.autoencoder import reconstruction_loss
from minilib.models.denoising import (
    Corruption,
    WideAutoencoder,
    add_noise,
    denoising_loss,
    erase_square,
    mask_pixels,
    salt_and_pepper,
)
from minilib.train import Draw, Fitted, fit, shuffled

load_digits = cache(digits.load)

# ---------- ways to spoil a picture, and three networks ----------


def turn_to_paper(x: Tensor, draw: Draw, fraction: float) -> Tensor:
    """Set about this fraction of the pixels to -1, the background of a digit."""
    return mask_pixels(x + 1, draw, fraction) - 1


WAYS: dict[str, Corruption] = {
    "noise 0.25": partial(add_noise, sigma=0.25),
    "noise 0.5": partial(add_noise, sigma=0.5),
    "noise 1": partial(add_noise, sigma=1.0),
    "salt and pepper": partial(salt_and_pepper, fraction=0.2),
    "half masked": partial(mask_pixels, fraction=0.5),
    "half turned to paper": partial(turn_to_paper, fraction=0.5),
    "square erased": partial(erase_square, side=10),
}
TRAINED_ON = "noise 0.5"
NEW = tuple(name for name in WAYS if name != TRAINED_ON)


def draw_for(x: Tensor, seed: int = 0) -> Draw:
    """Randomness for all rows of x at once."""
    return Draw(torch.Generator().manual_seed(seed), slice(None), len(x))


def keep_mask(lots: Tensor, fraction: Tensor | float) -> Tensor:
    """From uniform numbers, (B, 784) for pixels or (B, 49) for patches of 4 × 4: 1
    where a pixel stays, else 0, (B, 1, 28, 28).
    """
    side = math.isqrt(lots.shape[1])
    mask = (lots < fraction).float().view(-1, 1, side, side)
    return mask.repeat_interleave(28 // side, 2).repeat_interleave(28 // side, 3)


def hide(x: Tensor, draw: Draw) -> Tensor:
    """Set a random share of the pixels, or of the patches, to 0; a coin decides for
    each picture which.
    """
    fraction, coin = draw.uniform(1), draw.uniform(1, 1, 1)
    pixels = keep_mask(draw.uniform(784), fraction)
    patches = keep_mask(draw.uniform(49), fraction)
    return x * torch.where(coin < 0.5, pixels, patches)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "plain": reconstruction_loss,
    "denoising": partial(denoising_loss, corrupt=WAYS[TRAINED_ON]),
    "filling": partial(denoising_loss, corrupt=hide),
}


def train_wide(loss: Callable[..., Tensor], seed: int, steps: int) -> Fitted:
    """The wide autoencoder, trained on the digits with this loss."""
    runtime.seed_everything(seed)
    batches = shuffled(digits.load("train")[0], batch_size=64, seed=seed)
    model = WideAutoencoder()
    return fit(model, loss, batches, steps=steps, lr=5e-3, seed=seed, progress=False)


@cache
def trained(kind: str, seed: int, size: Size) -> nn.Module:
    """The wide autoencoder, trained with this one of the `LOSSES`."""
    steps = size.pick(live=180, quick=400, full=6000)
    return train_wide(LOSSES[kind], seed, steps).ema


# ---------- a linear probe ----------


def linear_probe(known: Tensor, labels: Tensor, strength: float) -> Tensor:
    """Weights (D, 10) of ridge regression from codes `known` (N, D) to labels (N,)."""
    target = F.one_hot(labels, 10).float() - 0.1
    gram = known @ known.T + strength * torch.eye(len(known))  # (N, N)
    return known.T @ torch.linalg.solve(gram, target)


def share_right(codes: Tensor, weights: Tensor, labels: Tensor) -> float:
    """The share of codes (N, D) whose largest answer is their label (N,)."""
    return float(((codes @ weights).argmax(dim=1) == labels).float().mean())


def rows_of_each(
    labels: Tensor, known: int, others: int, seed: int
) -> Sequence[Tensor]:
    """The rows of `known` random samples of each label, and of `others` other ones."""
    g = torch.Generator().manual_seed(seed)
    few, more = [], []
    for label in range(10):
        rows = (labels == label).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=g)[: known + others]]
        few.append(rows[:known])
        more.append(rows[known:])
    return torch.cat(few), torch.cat(more)


def probe_accuracy(
    encode: Callable[[Tensor], Tensor], seed: int, n: int, draws: int = 5
) -> float:
    """Accuracy on n test digits of a linear probe with 100 labels, ten a digit.

    The strength of the ridge is chosen on 1,000 other training digits; the mean over
    several draws of the labelled ones.
    """
    (x_train, y_train), (x_test, y_test) = load_digits("train"), load_digits("test")

    def codes(x: Tensor) -> Tensor:
        return runtime.in_blocks(lambda block: encode(block).flatten(1), x)

    test, accuracies = codes(x_test[:n]), []
    for i in range(draws):
        few, others = rows_of_each(y_train, 10, 100, seed=100 * seed + i)
        known, held_out = codes(x_train[few]), codes(x_train[others])
        centre, scale = known.mean(dim=0), known.std()
        known, held_out = (known - centre) / scale, (held_out - centre) / scale
        probes = [
            linear_probe(known, y_train[few], 10.0**r) for r in np.arange(0, 4.5, 0.5)
        ]
        best = max(probes, key=lambda w: share_right(held_out, w, y_train[others]))
        accuracies.append(share_right((test - centre) / scale, best, y_test[:n]))
    return float(np.mean(accuracies))


# ---------- DAE-1 ----------


def per_pixel(a: Tensor, b: Tensor) -> float:
    """Mean squared difference of two batches of pictures."""
    return float((a - b).square().mean())


def damage_left(model: nn.Module, name: str, x: Tensor, seed: int = 0) -> float:
    """The error that the model leaves of this one of the `WAYS` to spoil x (B, 1, 28,
    28), as a share of the error before: 1 where it does nothing.
    """
    spoilt = WAYS[name](x, draw_for(x, seed))
    return per_pixel(runtime.in_blocks(model, spoilt), x) / per_pixel(spoilt, x)


PROBE = "linear probe on 100 labels: accuracy with the denoiser's codes − with "
CLEANED = "damage before − after, as a share: "
ALL_WAYS = "damage left, mean of the six ways: by the plain one − by the denoiser"


def encoder(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The encoder of a wide autoencoder."""
    return cast(WideAutoencoder, model).encode


def worth(plain: nn.Module, denoising: nn.Module, seed: int, n: int) -> Measured:
    """The parts of DAE-1 for two networks that differ in their loss alone, on n unseen
    digits.
    """
    x = load_digits("test")[0][:n]
    accuracy = probe_accuracy(encoder(denoising), seed, n)
    left = {name: damage_left(denoising, name, x, seed) for name in NEW}
    left_by_plain = [damage_left(plain, name, x, seed) for name in NEW]
    return {
        PROBE + "the plain one's": (accuracy, probe_accuracy(encoder(plain), seed, n)),
        PROBE + "the pixels": (accuracy, probe_accuracy(torch.clone, seed, n)),
        **{CLEANED + name: (1.0, left[name]) for name in NEW},
        ALL_WAYS: (float(np.mean(left_by_plain)), float(np.mean([*left.values()]))),
    }


def measure_worth(seed: int, size: Size) -> Measured:
    """DAE-1: plain and denoising, from the same seed, on the same digits."""
    plain, denoising = (trained(kind, seed, size) for kind in ("plain", "denoising"))
    return worth(plain, denoising, seed, size.pick(live=1000, quick=5000, full=10_000))


DAE_1 = Experiment(
    "DAE-1",
    "An autoencoder whose code is larger than the picture, trained on noise of level "
    "0.5, has better features than the same network trained to copy, and removes at "
    "least half of damage that it was not trained on: other levels of noise, and other "
    "kinds.",
    measure_worth,
    (
        Compare(PROBE + "the plain one's", matters=0.01),
        Compare(PROBE + "the pixels", matters=0.01),
        *(Compare(CLEANED + name, matters=0.5) for name in NEW),
        Compare(ALL_WAYS, matters=0.02),
    ),
)


# ---------- DAE-2 ----------


@cache
def nearest_seen(seen: tuple[bool, ...]) -> Tensor:
    """For each pixel (784,) the place of the nearest one among those seen."""
    rows = torch.cartesian_prod(torch.arange(28.0), torch.arange(28.0))  # (784, 2)
    return torch.cdist(rows, rows[torch.tensor(seen)]).argmin(dim=1)


@cache
def mean_digit() -> Tensor:
    """The mean training digit (784,)."""
    return load_digits("train")[0].mean(dim=0).flatten()


def fill_mean(x: Tensor, seen: Tensor) -> Tensor:
    """The mean training digit in the place of x (B, 784)."""
    return mean_digit().expand_as(x)


def fill_nearest(x: Tensor, seen: Tensor) -> Tensor:
    """x (B, 784), each hidden pixel copied from the nearest one that is seen (784,)."""
    return x[:, seen][:, nearest_seen(tuple(seen.tolist()))]


def fill_with(model: nn.Module, x: Tensor, seen: Tensor) -> Tensor:
    """What a model for pictures makes of x (B, 784) where the hidden pixels are 0."""
    return runtime.in_blocks(model, (x * seen).view(-1, 1, 28, 28)).flatten(1)


Fill = Callable[[Tensor, Tensor], Tensor]


def hidden_error(
    fill: Fill, units: int, fraction: float, n: int, seed: int = 1, masks: int = 20
) -> float:
    """Error per hidden pixel of n unseen digits, when this fraction of the pixels
    (784) or patches (49), rounded up, is seen: one of `masks` masks for each digit.
    """
    g, total, count = torch.Generator().manual_seed(seed), 0.0, 0
    for i in range(masks):
        lots = torch.rand(1, units, generator=g).argsort().argsort() / units
        seen = keep_mask(lots, fraction).flatten().bool()
        x = load_digits("test")[0][i:n:masks].flatten(1)
        total += float((fill(x, seen) - x)[:, ~seen].square().sum())
        count += int((~seen).sum()) * len(x)
    return total / count


UNITS = {"pixels": 784, "patches": 49}
RIVALS: dict[str, Fill] = {"mean picture": fill_mean, "nearest pixel": fill_nearest}


def quarter_part(units: str, rival: str) -> str:
    return f"a quarter of the {units}: error of the {rival} − of the network"


def from_a_quarter(model: nn.Module, seed: int, n: int) -> Measured:
    """The parts of DAE-2 for one network, on n unseen digits: errors on what is hidden,
    in units of the mean picture's.
    """
    found = {}
    for name, units in UNITS.items():
        error = partial(hidden_error, units=units, fraction=0.25, n=n, seed=seed)
        mean, ours = error(fill_mean), error(partial(fill_with, model))
        for rival, fill in RIVALS.items():
            found[quarter_part(name, rival)] = (error(fill) / mean, ours / mean)
    return found


def measure_quarter(seed: int, size: Size) -> Measured:
    """DAE-2: the network trained on masks, on masks of its own."""
    n = size.pick(live=1000, quick=2000, full=10_000)
    return from_a_quarter(trained("filling", seed, size), seed, n)


DAE_2 = Experiment(
    "DAE-2",
    "A quarter of an unseen digit's pixels, or of its patches, says much of the rest: "
    "a network rebuilds what is hidden with less error than the mean picture and than "
    "copying the nearest pixel (in units of the mean picture's error).",
    measure_quarter,
    tuple(
        Compare(quarter_part(units, rival), matters=0.1)
        for units in UNITS
        for rival in RIVALS
    ),
)
