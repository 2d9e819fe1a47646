"""Chapter 1: what an autoencoder rebuilds, what it does not draw, and where it fails
to generalise.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import torch
from torch import Tensor

from minilib import runtime
from minilib.data import digits
from minilib.experiments.experiment import Compare, Experiment, Measured, Size
from minilib.metrics import features, frechet_distance
from minilib.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    principal_components,
    reconstruction_loss,
    sample_fitted_gaussian,
)
from minilib.recipes.digits.autoencoder import ae_digits
from minilib.recipes.digits.scores import feature_network, reference_digits
from minilib.train import fit, shuffled

load_digits = cache(digits.load)
network = cache(feature_network)
ALL, FEW, FEATURES = 20_000, 100, 16  # training digits, and numbers in the code


# ---------- an autoencoder and PCA of the same digits ----------


def some_digits(n: int, seed: int) -> Tensor:
    """n training digits (n, 1, 28, 28), drawn at random."""
    x = load_digits("train")[0]
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]


def train_on(x: Tensor, seed: int, steps: int, code_dim: int = FEATURES) -> Autoencoder:
    """The recipe's autoencoder, trained on the pictures x (N, 1, 28, 28)."""
    runtime.seed_everything(seed)
    fitted = fit(
        Autoencoder(AutoencoderConfig(code_dim=code_dim)),
        reconstruction_loss,
        shuffled(x, batch_size=ae_digits.batch_size, seed=seed),
        steps=steps,
        lr=ae_digits.lr,
        seed=seed,
        progress=False,
    )
    return cast(Autoencoder, fitted.ema)


@cache
def trained(n: int, seed: int, size: Size) -> Autoencoder:
    """The autoencoder of n training digits."""
    steps = size.pick(live=400, quick=1200, full=12_000)
    return train_on(some_digits(n, seed), seed, steps)


def rebuild_by_pca(x: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Pictures x (B, 1, 28, 28), projected onto the sheet through mean (784,) along
    directions (k, 784).
    """
    z = (x.flatten(1) - mean) @ directions.T  # (B, k)
    return (mean + z @ directions).view_as(x)


def error(a: Tensor, b: Tensor) -> float:
    """Mean squared difference per pixel of two batches of pictures."""
    return float((a - b).square().mean())


def left_by(model: Autoencoder, x: Tensor) -> float:
    """The error per pixel that the autoencoder leaves of x."""
    return error(runtime.in_blocks(model, x), x)


@cache
def pca(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Mean (784,) and principal directions (16, 784) of n training digits."""
    return principal_components(some_digits(n, seed).flatten(1), FEATURES)


def left_by_pca(n: int, seed: int, x: Tensor) -> float:
    """The error per pixel that PCA of n training digits leaves of x."""
    return error(rebuild_by_pca(x, *pca(n, seed)), x)


# ---------- AE-1 ----------

REBUILT = "held-out error with 16 features: PCA − autoencoder"


def rebuilding(model: Autoencoder) -> Measured:
    """The part of AE-1 for an autoencoder of all training digits."""
    x = load_digits("test")[0]
    return {REBUILT: (left_by_pca(ALL, 0, x), left_by(model, x))}


def measure_rebuilding(seed: int, size: Size) -> Measured:
    """AE-1: on the 10,000 test digits."""
    return rebuilding(trained(ALL, seed, size))


AE_1 = Experiment(
    "AE-1",
    "Without labels, an encoder maps a picture to 16 features, and a decoder rebuilds "
    "unseen digits from them with less error than PCA, the best linear autoencoder.",
    measure_rebuilding,
    (Compare(REBUILT, matters=0.01),),
)


# ---------- AE-2 ----------


def random_codes(codes: Tensor, n: int, seed: int) -> dict[str, Tensor]:
    """n random codes (n, D) each way: in the box of the codes (N, D), standard normal,
    and from the Gaussian that fits the codes.
    """
    g = torch.Generator().manual_seed(seed)
    low, high = codes.min(dim=0).values, codes.max(dim=0).values
    return {
        "box": low + (high - low) * torch.rand(n, codes.shape[1], generator=g),
        "N(0, I)": torch.randn(n, codes.shape[1], generator=g),
        "fitted Gaussian": sample_fitted_gaussian(codes, n, g),
    }


def draw_and_rebuild(model: Autoencoder, n: int, seed: int) -> dict[str, Tensor]:
    """n pictures (n, 1, 28, 28) from random codes each way, and n rebuilt ones."""
    codes = runtime.in_blocks(model.encode, load_digits("train")[0])
    drawn = {
        name: runtime.in_blocks(model.decode, z)
        for name, z in random_codes(codes, n, seed).items()
    }
    x = load_digits("test")[0]
    every = x[:: len(x) // n][:n]
    return drawn | {"reconstructions": runtime.in_blocks(model, every)}


@cache
def reference() -> Tensor:
    """Features (10000, 128) of the digits that all pictures are compared with."""
    return features(network(), reference_digits())


def fd(x: Tensor) -> float:
    """FD (digit features) of pictures from 10,000 training digits."""
    return frechet_distance(features(network(), x), reference())


def unsure(x: Tensor) -> float:
    """The share of pictures that the classifier gives less than 90 % to any digit."""
    sure = runtime.in_blocks(lambda b: network()(b).softmax(dim=1).amax(dim=1), x)
    return float((sure < 0.9).float().mean())


WAYS = "box", "N(0, I)", "fitted Gaussian"
UNSURE = "share that the classifier is unsure of: fitted Gaussian − reconstructions"


def farther(way: str) -> str:
    return f"FD from real digits: {way} − reconstructions"


def drawing(pictures: dict[str, Tensor]) -> Measured:
    """The parts of AE-2, of what `draw_and_rebuild` gives."""
    distance = {name: fd(x) for name, x in pictures.items()}
    doubt = {name: unsure(x) for name, x in pictures.items()}
    parts = {farther(w): (distance[w], distance["reconstructions"]) for w in WAYS}
    return parts | {UNSURE: (doubt["fitted Gaussian"], doubt["reconstructions"])}


def measure_drawing(seed: int, size: Size) -> Measured:
    """AE-2: random codes of the autoencoder of all training digits."""
    n = size.pick(live=1000, quick=2000, full=10_000)
    return drawing(draw_and_rebuild(trained(ALL, seed, size), n, seed))


AE_2 = Experiment(
    "AE-2",
    "An autoencoder does not generate: codes drawn at random decode to pictures that "
    "are farther from digits than its reconstructions are.",
    measure_drawing,
    (
        *(Compare(farther(way), matters=10) for way in WAYS),
        Compare(UNSURE, matters=0.1),
    ),
)


# ---------- AE-3 ----------


def far_pictures(n: int) -> dict[str, Tensor]:
    """Pictures (n, 1, 28, 28) unlike a digit."""
    x = load_digits("test")[0][:n]
    g = torch.Generator().manual_seed(0)
    noise = 2 * torch.rand(x.shape, generator=g) - 1
    return {"noise": noise, "negatives": -x, "upside-down digits": x.flip(2)}


FAR = "noise", "negatives", "upside-down digits"
BY_HEART = "100 training digits: held-out − training error"
LOSES = "100 training digits, held-out error: autoencoder − PCA"
GAP = "held-out − training error: with 100 digits − with 20,000"


def far(name: str) -> str:
    return f"error on {name}: autoencoder − PCA"


def generalising(of_few: Autoencoder, of_all: Autoencoder, seed: int) -> Measured:
    """The parts of AE-3 for an autoencoder of `some_digits(100, seed)`, and one of all
    training digits.
    """
    x, few = load_digits("test")[0], some_digits(FEW, seed)
    held_out, by_heart = left_by(of_few, x), left_by(of_few, few)
    gap = left_by(of_all, x) - left_by(of_all, load_digits("train")[0])
    return {
        BY_HEART: (held_out, by_heart),
        LOSES: (held_out, left_by_pca(FEW, seed, x)),
        GAP: (held_out - by_heart, gap),
        **{
            far(name): (left_by(of_all, strange), left_by_pca(ALL, 0, strange))
            for name, strange in far_pictures(1000).items()
        },
    }


def measure_generalising(seed: int, size: Size) -> Measured:
    """AE-3: the same network and steps with few digits and with all."""
    return generalising(trained(FEW, seed, size), trained(ALL, seed, size), seed)


AE_3 = Experiment(
    "AE-3",
    "An autoencoder overfits easily: few pictures it learns by heart, and loses to PCA "
    "on others; and pictures unlike its training data it rebuilds worse than PCA does.",
    measure_generalising,
    (
        Compare(BY_HEART, matters=0.01),
        Compare(LOSES, matters=0.01),
        Compare(GAP, matters=0.01),
        *(Compare(far(name), matters=0.03) for name in FAR),
    ),
)
