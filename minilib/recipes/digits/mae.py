"""The masked autoencoder of digits."""

from __future__ import annotations

import torch

from minilib import runtime
from minilib.data import digits
from minilib.models.mae import (
    MaskedAutoencoder,
    choose_patches,
    hidden_patches,
    mae_loss,
    patchify,
)
from minilib.recipes.recipe import Recipe


def score_mae(model: MaskedAutoencoder) -> dict[str, float]:
    """Error per pixel on the hidden patches of the 10,000 test digits, 12 of their 49
    patches being seen.
    """
    x = digits.load("test")[0]
    kept = choose_patches(
        torch.rand(len(x), model.patches, generator=torch.Generator().manual_seed(0)),
        12,
    )
    rebuilt = runtime.in_blocks(model, x, kept)  # (N, P, patch²)
    error = (rebuilt - patchify(x, model.config.patch)).square().mean(dim=2)
    hidden = hidden_patches(kept, model.patches)
    return {"mse_hidden": float((error * hidden).sum() / hidden.sum())}


mae_digits = Recipe(
    name="mae_digits",
    model=MaskedAutoencoder,
    loss=mae_loss,
    data=lambda: (digits.load("train")[0],),
    quick=300,
    full=6_000,
    score=score_mae,
    lr=2e-3,
    limits=(
        "Paints the mean of what could be there: blurred where the 12 patches it sees "
        "do not say."
    ),
)
