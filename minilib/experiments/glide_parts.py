"""What chapter 11's comparison of words and vectors in the attention is made of: tiny
networks of pairs, and how much a caption helps them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from minilib import runtime
from minilib.models.glide import GLIDE, null_captions, text_loss
from minilib.nets.unet_blocks import SpatialAttention
from minilib.recipes.captioned import (
    coloured_pairs,
    portrait_tokens,
    swapped_sides,
    tokenised,
)
from minilib.recipes.ddpm import LINEAR
from minilib.recipes.glide import COMMON, reader
from minilib.train import fit, shuffled


def small_reader(by_words: bool) -> GLIDE:
    """A tiny GLIDE of pairs, which sees words or the caption's last vector only."""
    sizes = reader(len(portrait_tokens()), width=16)
    attend = sizes.unet.attend if by_words else SpatialAttention
    return GLIDE(replace(sizes, unet=replace(sizes.unet, patch=4, attend=attend)))


def caption_gain(model: GLIDE, x_0: Tensor, tokens: Tensor) -> Tensor:
    """By how much captions (N, L) lessen the error of x_0 (N, C, H, W), in the mean of
    four steps: (N,).
    """
    gain, generator = torch.zeros(len(x_0)), torch.Generator().manual_seed(0)
    for step in (200, 400, 600, 800):
        t = torch.full((len(x_0),), step)
        x_t = LINEAR.noisy(x_0, t, torch.randn(x_0.shape, generator=generator))
        for sign, y in ((1, null_captions(tokens)), (-1, tokens)):
            error = (runtime.in_blocks(model, x_t, t, y) - x_0).square()
            gain += sign * error.flatten(1).mean(dim=1) / 4
    return gain


def score_caption_gap(model: GLIDE, x: Tensor, texts: list[str]) -> dict[str, float]:
    """How much captions of two people help, and how often more than with left and right
    exchanged: 0.5 is luck.
    """
    tokens = portrait_tokens().encode(texts)
    own, other = (
        caption_gain(model, pictures, tokens) for pictures in (x, swapped_sides(x))
    )
    return {
        "caption_gain": float(own.mean()),
        "told_apart": float((own > other).float().mean()),
    }


def train_on_pairs(by_words: bool, seed: int, steps: int) -> Any:
    """A tiny GLIDE of two people side by side, whose attention sees the words or not,
    after so many steps, with averaged weights.
    """
    runtime.seed_everything(seed)
    pairs = coloured_pairs(8_000, 0)
    data = tokenised(pairs, portrait_tokens())
    loss = partial(text_loss, **COMMON)
    model = small_reader(by_words)
    batches = shuffled(*data, batch_size=64, seed=seed)
    options: Any = {"lr": 5e-3, "betas": (0.9, 0.99), "seed": seed, "progress": False}
    return fit(model, loss, batches, steps=steps, **options).ema
