"""CLIP of drawn people, who says which of several pictures fits a caption best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from minilib.data.people import attributes
from minilib.data.people.captions import captions, read
from minilib.data.people.drawing import render
from minilib.models.clip import (
    CLIP,
    CLIPConfig,
    TextConfig,
    contrastive_loss,
    retrieval,
)
from minilib.nets.vit import ViTConfig
from minilib.recipes.captioned import Captioned
from minilib.recipes.dalle import LENGTH, SIZE, STYLE, people_tokens
from minilib.recipes.dvae import PEOPLE
from minilib.recipes.recipe import Recipe

AMONG = 1_000  # pictures or captions, of which one is to be found


def captioned_people(n: int, seed: int, split: str = "train") -> Captioned:
    """n people (n, 3, 32, 32), rendered 500 at a time, and a caption for each."""
    who = attributes.draw(n, seed, split)
    x = [render(who[i : i + 500], STYLE, SIZE) for i in range(0, len(who), 500)]
    return torch.cat(x), captions(who, seed, STYLE, SIZE)


def people_pairs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n pictures of training (n, 3, 32, 32), and the tokens (n, L) of their
    captions.
    """
    x, texts = captioned_people(n, seed)
    return x, people_tokens().encode(texts)


def perfect(texts: Sequence[str], shown: Sequence[Mapping[str, str]]) -> float:
    """How often who errs in nothing finds each caption's own picture, of all that have
    `shown` these attributes: where a caption is true of k of them, one in k times.
    """
    told = [read(text).items() for text in texts]
    return sum(
        1 / sum(claims <= one.items() for one in shown) for claims in told
    ) / len(texts)


def score_people(model: CLIP) -> dict[str, float]:
    """R@1 both ways among 1,000 people that training has not seen, each told by a
    caption of its own, and that of who errs in nothing.
    """
    score: dict[str, float] = {}
    for split in ("test", "held_out"):
        x, texts = captioned_people(AMONG, 1, split)
        found = retrieval(model, x, people_tokens().encode(texts), AMONG)
        people = attributes.draw(AMONG, 1, split)
        shown = [attributes.seen(person, STYLE, SIZE) for person in people]
        score |= {f"r1_{way}_1000_{split}": r1 for way, r1 in found.items()}
        score[f"perfect_picture_1000_{split}"] = perfect(texts, shown)
    return score


clip_people = Recipe(
    name="clip_people",
    model=lambda: CLIP(
        CLIPConfig(
            TextConfig(len(people_tokens()), length=LENGTH),
            ViTConfig(size=SIZE, patch=4),
        )
    ),
    loss=contrastive_loss,
    data=lambda: people_pairs(40_000, 0),
    quick=250,
    full=2_200,
    score=score_people,
    batch_size=128,
    lr=1e-3,
    betas=(0.9, 0.98),
    weight_decay=0.05,
    limits="Knows people of the style personas, 32 × 32, told as their captions do. "
    "Reads colours, skin and eyewear best, the kinds of tops and beards less surely; "
    "that of a hat in a colour that it was not shown is a guess.",
    source=PEOPLE,
)
