"""The VAE of digits."""

from __future__ import annotations

from functools import partial

import torch

from minilib import runtime
from minilib.data import digits
from minilib.models.vae import VAE, elbo, sample_vae, vae_loss
from minilib.recipes.digits.scores import fd_from_data
from minilib.recipes.recipe import Recipe


def score_vae(model: VAE) -> dict[str, float]:
    """On the 10,000 test digits: ELBO in nats, error per pixel, and FD of what is
    rebuilt and of what is drawn.
    """
    x = digits.load("test")[0]
    eps = torch.randn(
        len(x), model.code_dim, generator=torch.Generator().manual_seed(0)
    )
    bound = runtime.in_blocks(partial(elbo, model), x, eps)  # (N,)
    rebuilt, drawn = (
        runtime.in_blocks(model, x),
        sample_vae(model, len(x), torch.Generator().manual_seed(0)),
    )
    return {
        "elbo": float(bound.mean()),
        "mse": float((rebuilt - x).square().mean()),
        "fd_reconstructions": fd_from_data(rebuilt),
        "fd_samples": fd_from_data(drawn),
    }


vae_digits = Recipe(
    name="vae_digits",
    model=VAE,
    loss=vae_loss,
    data=lambda: (digits.load("train")[0],),
    quick=400,
    full=20_000,
    score=score_vae,
    sample=sample_vae,
    limits="Draws digits, but blurred ones: it shows the mean of what a code could be.",
)
