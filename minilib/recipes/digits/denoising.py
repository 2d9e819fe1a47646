"""The denoiser of digits."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from minilib import runtime
from minilib.data import digits
from minilib.models.denoising import (
    WideAutoencoder,
    WideConfig,
    add_any_noise,
    add_noise,
    denoising_loss,
    falling_noise,
    walk_down,
)
from minilib.recipes.digits.scores import fd_from_data
from minilib.recipes.recipe import Recipe
from minilib.train import Draw


def sample_denoiser(
    model: WideAutoencoder, n: int, generator: torch.Generator, *, steps: int = 20
) -> Tensor:
    """Walk down from the mean digit under heavy noise over that many levels, guessing
    and going part of the way: (n, 1, 28, 28). Raises ValueError for fewer than 2 steps.
    """
    sigmas = falling_noise(5.0, 0.2, steps)
    noisy = digits.load("train")[0].mean(dim=0) + sigmas[0] * torch.randn(
        n, 1, 28, 28, generator=generator
    )
    return walk_down(lambda x, _: runtime.in_blocks(model, x), noisy, sigmas, generator)


def score_denoiser(model: WideAutoencoder) -> dict[str, float]:
    """On the 10,000 test digits: the error that is left of noise of level 0.5; and FD
    of as many drawn pictures.
    """
    x = digits.load("test")[0]
    noisy = add_noise(
        x, Draw(torch.Generator().manual_seed(0), slice(None), len(x)), sigma=0.5
    )
    drawn = sample_denoiser(model, len(x), torch.Generator().manual_seed(0))
    return {
        "mse_denoised": float((runtime.in_blocks(model, noisy) - x).square().mean()),
        "fd_samples": fd_from_data(drawn),
    }


dae_digits = Recipe(
    name="dae_digits",
    model=partial(WideAutoencoder, WideConfig(maps=64, blocks=2)),
    loss=partial(denoising_loss, corrupt=partial(add_any_noise, low=0.2, high=5.0)),
    data=lambda: (digits.load("train")[0],),
    quick=300,
    full=12_000,
    score=score_denoiser,
    sample=sample_denoiser,
    limits=(
        "Knows the noise level only from looking; its strokes sometimes belong to no "
        "digit."
    ),
)
