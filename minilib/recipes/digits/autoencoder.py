"""The autoencoders of digits: with 16 features, and with two."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from minilib import runtime
from minilib.data import digits
from minilib.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    reconstruction_loss,
    sample_fitted_gaussian,
)
from minilib.recipes.digits.scores import fd_from_data
from minilib.recipes.recipe import Recipe


def sample_autoencoder(
    model: Autoencoder, n: int, generator: torch.Generator
) -> Tensor:
    """Decode n codes drawn from the Gaussian that fits the codes of the training
    digits: (n, 1, 28, 28).
    """
    codes = runtime.in_blocks(model.encode, digits.load("train")[0])
    return runtime.in_blocks(model.decode, sample_fitted_gaussian(codes, n, generator))


def score_autoencoder(model: Autoencoder) -> dict[str, float]:
    """Held-out error per pixel on the 10,000 test digits, and two FD from 10,000
    training digits.

    One is of the reconstructions of the test digits, the other of as many codes drawn
    from the fitted Gaussian.
    """
    x = digits.load("test")[0]
    rebuilt = runtime.in_blocks(model, x)
    drawn = sample_autoencoder(model, len(x), torch.Generator().manual_seed(0))
    return {
        "mse": float((rebuilt - x).square().mean()),
        "fd_reconstructions": fd_from_data(rebuilt),
        "fd_samples": fd_from_data(drawn),
    }


ae_digits = Recipe(
    name="ae_digits",
    model=Autoencoder,
    loss=reconstruction_loss,
    data=lambda: (digits.load("train")[0],),
    quick=400,
    full=12_000,
    score=score_autoencoder,
    sample=sample_autoencoder,
    limits="Rebuilds digits; does not generate them (claim AE-2).",
)


ae_digits_2d = Recipe(
    name="ae_digits_2d",
    model=partial(Autoencoder, AutoencoderConfig(code_dim=2)),
    loss=reconstruction_loss,
    data=lambda: (digits.load("train")[0],),
    quick=400,
    full=12_000,
    score=score_autoencoder,
    sample=sample_autoencoder,
    weight_decay=0.8,  # without it some codes run far away, and the map is mostly empty
    limits="Two features only: good for a map, blurred as a reconstruction.",
)
