"""Discrete VAEs: of drawn people, and of emoji in five styles."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from minilib import runtime
from minilib.data.people.dataset import people
from minilib.models.dvae import DVAE, dvae_elbo, dvae_loss, gumbel, perplexity
from minilib.recipes.recipe import Recipe

PEOPLE = "People composed by the library from parts of Personas by Draftbit; CC BY 4.0"


def bits(nats: float) -> float:
    """Bits per number of a picture, from its log-density in nats per number in
    [-1, 1], were it one of 256 levels.
    """
    return -(nats + math.log(2 / 255)) / math.log(2)


def score_dvae(model: DVAE, x: Tensor) -> dict[str, float]:
    """On pictures x (N, 3, H, W): error per number, perplexity of the codes, and the
    ELBO in bits per number.
    """
    tokens = runtime.in_blocks(model.tokens, x)
    rebuilt = runtime.in_blocks(model.decode_tokens, tokens)
    generator = torch.Generator().manual_seed(0)

    def bound(block: Tensor) -> Tensor:
        shape = model.logits(block[:1]).shape[1:]
        u = torch.rand(len(block), *shape, generator=generator)
        return dvae_elbo(model, block, gumbel(u).to(block.device))

    return {
        "mse": float((rebuilt - x).square().mean()),
        "perplexity": perplexity(tokens, model.codes),
        "bits": bits(float(runtime.in_blocks(bound, x, size=100).mean())),
    }


def some_people(n: int, seed: int, split: str) -> Tensor:
    """n pictures of people (n, 3, 32, 32) in [-1, 1]."""
    return people(n, seed, split, "personas", 32)[0]


dvae_people = Recipe(
    name="dvae_people",
    model=DVAE,
    loss=dvae_loss,
    data=lambda: (some_people(20_000, 0, "train"),),
    quick=400,
    full=14_000,
    score=lambda model: score_dvae(model, some_people(1000, 1, "test")),
    batch_size=32,
    lr=2e-3,
    betas=(0.9, 0.99),
    limits="Rebuilds people of the style personas, 32 × 32, none mirrored or moved.",
    source=PEOPLE,
)
