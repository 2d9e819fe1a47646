"""Discrete VAEs: of drawn people, and of emoji in five styles."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib import runtime
from minilib.data.emoji64.pictures import pictures
from minilib.data.emoji64.splits import split
from minilib.data.emoji64.styles import STYLES
from minilib.data.people import attributes
from minilib.data.people.drawing import render
from minilib.models.dvae import DVAE, dvae_elbo, dvae_loss, gumbel, perplexity
from minilib.recipes.recipe import Recipe
from minilib.train import generator

PEOPLE = "People composed by the library from parts of Personas by Draftbit; CC BY 4.0"
EMOJI = (
    "Emoji of Noto (Google, Apache 2.0), Twemoji (CC BY 4.0), Fluent (Microsoft, MIT) "
    "and Emojitwo (CC BY 4.0), adapted; credits in data/emoji64/licences.txt"
)
PLACES = 3  # pixels up and down, left and right, that copies of emoji are moved by


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
    return render(attributes.draw(n, seed, split, "personas"), "personas", 32)


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


def some_emoji(trained: bool) -> Tensor:
    """The emoji of five styles whose cells are for training, or those that are not: (N,
    3, 32, 32) in [-1, 1].
    """
    x = torch.stack([pictures(style, 32) for style in STYLES], dim=1)
    return x[split() == trained]


def moved(x: Tensor, seed: int) -> Tensor:
    """Pictures on white x (N, 3, H, W), each mirrored or not, and moved by up to 3
    pixels: the same shape.
    """
    g, (H, W) = generator(seed), x.shape[2:]
    down, right = torch.randint(2 * PLACES + 1, (2, len(x)), generator=g).tolist()
    flip = torch.rand(len(x), generator=g) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    x = F.pad(x, (PLACES, PLACES, PLACES, PLACES), value=1.0)
    return torch.stack(
        [one[:, i : i + H, j : j + W] for one, i, j in zip(x, down, right, strict=True)]
    )


def emoji_and_copies() -> tuple[Tensor]:
    """Every emoji of the training cells once as it is, and moved three times."""
    x = some_emoji(trained=True)
    return (torch.cat([x, *(moved(x, seed) for seed in range(3))]),)


dvae_emoji = Recipe(
    name="dvae_emoji",
    model=DVAE,
    loss=dvae_loss,
    data=emoji_and_copies,
    quick=400,
    full=14_000,
    score=lambda model: score_dvae(model, some_emoji(trained=False)),
    batch_size=32,
    lr=2e-3,
    betas=(0.9, 0.99),
    limits="Rebuilds emoji in five styles, 32 × 32, on white.",
    source=EMOJI,
)
