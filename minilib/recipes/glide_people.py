"""GLIDE: of drawn people, on the captions and pictures of `recipes.dalle`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from minilib import runtime
from minilib.data.people import attributes
from minilib.data.people.captions import captions
from minilib.data.people.drawing import render
from minilib.models.glide import GLIDE, text_loss
from minilib.recipes.dalle import SIZE, STYLE, people_tokens, told_right
from minilib.recipes.dvae import PEOPLE
from minilib.recipes.glide import (
    COMMON,
    STEPS,
    draw_conditional,
    reader,
    root_snr_plus_one,
)
from minilib.recipes.recipe import Recipe

W = 2.0  # guidance: test prompts are obeyed as often as with 3, in less noise


def people_reader() -> GLIDE:
    """That of portraits, wider, on patches of 4 × 4: the same 8 × 8 positions."""
    sizes = reader(len(people_tokens()), width=56)
    return GLIDE(replace(sizes, unet=replace(sizes.unet, patch=4)))


def captioned_people(n: int, seed: int, split: str = "train") -> tuple[Tensor, Tensor]:
    """n pictures of people (n, 3, 32, 32) and the tokens (n, L) of their captions."""
    who = attributes.draw(n, seed, split)
    blocks = (who[i : i + 500] for i in range(0, n, 500))  # all at 64 × 64 take 2 GB
    x = torch.cat([render(block, STYLE, SIZE) for block in blocks])
    return x, people_tokens().encode(captions(who, seed, STYLE, SIZE))


def sample_people(
    model: GLIDE,
    n: int,
    generator: torch.Generator,
    y: Tensor | None = None,
    *,
    steps: int = STEPS,
    w: float = W,
) -> Tensor:
    """n pictures (n, 3, 32, 32) of captions y (n, L), by default those of test
    pictures.
    """
    if y is None:
        y = people_tokens().encode(
            captions(attributes.draw(n, 1, "test"), 1, STYLE, SIZE)
        )
    x = torch.randn(n, 3, SIZE, SIZE, generator=generator)
    paint = partial(draw_conditional, model, w=w, steps=steps, generator=generator)
    return runtime.in_blocks(paint, x, y)


def score_people(model: GLIDE, n: int = 512) -> dict[str, float]:
    """As `dalle_people` is scored, on the same prompts."""
    return told_right(partial(sample_people, model), n)


glide_people = Recipe(
    name="glide_people",
    model=people_reader,
    loss=partial(text_loss, **COMMON, weight=root_snr_plus_one),
    data=partial(captioned_people, 40_000, 0),
    quick=100,
    full=17_500,
    score=score_people,
    sample=sample_people,
    tokenizer=people_tokens,  # type: ignore[arg-type]  # it encodes as words do
    batch_size=32,
    lr=1.5e-3,
    betas=(0.9, 0.99),
    limits="Draws people of the style personas, 32 × 32, told as their captions do.",
    source=PEOPLE,
)
