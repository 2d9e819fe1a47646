"""The GANs of digits: without labels, and with."""

from __future__ import annotations

from functools import partial

import torch

from minilib import runtime
from minilib.data import digits
from minilib.models.gan import (
    GAN,
    GANConfig,
    covered_classes,
    discriminator_loss,
    generator_loss,
    sample_gan,
)
from minilib.recipes.digits.scores import fd_from_data, feature_network
from minilib.recipes.recipe import Recipe


def score_gan(model: GAN) -> dict[str, float]:
    """FD of 10,000 drawn pictures from as many training digits, and how many of the ten
    digits they cover.

    Of a conditional model also its agreement: the share of pictures that the classifier
    takes for the digit asked for.
    """
    n, classes = 10_000, model.generator.classes
    asked = torch.arange(n) % classes if classes else None
    drawn = sample_gan(model, n, torch.Generator().manual_seed(0), asked)
    probabilities = runtime.in_blocks(feature_network(), drawn).softmax(dim=1)
    score = {
        "fd_samples": fd_from_data(drawn),
        "digits_covered": float(covered_classes(probabilities)),
    }
    if asked is not None:
        score["agreement"] = float(
            (probabilities.argmax(dim=1) == asked).float().mean()
        )
    return score


gan_digits = Recipe(
    name="gan_digits",
    model=GAN,
    loss={"discriminator": discriminator_loss, "generator": generator_loss},
    data=lambda: (digits.load("train")[0],),
    quick=1000,
    full=40_000,
    score=score_gan,
    sample=sample_gan,
    lr=3e-3,
    betas=(0.0, 0.9),
    seeds=(1, 2, 3, 4),
    limits=(
        "Draws digits only, some of them broken. How much of the data it misses is "
        "claim GAN-3."
    ),
)


cgan_digits = Recipe(
    name="cgan_digits",
    model=partial(GAN, GANConfig(classes=10)),
    loss={"discriminator": discriminator_loss, "generator": generator_loss},
    data=lambda: digits.load("train"),
    classes=10,
    quick=1500,
    full=5_000,
    score=score_gan,
    sample=sample_gan,
    lr=3e-3,
    betas=(0.0, 0.9),
    limits="Draws the digit that it is asked for, most of the time.",
)
