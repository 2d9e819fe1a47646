"""GLIDE of portraits."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from minilib import runtime
from minilib.clip import TextConfig
from minilib.diffusion.guidance import classifier_free
from minilib.diffusion.loss import root_snr
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import X_0, trailing
from minilib.glide import GLIDE, GLIDEConfig, TextAttention, nothing_said, text_loss
from minilib.portrait_checker import accuracy
from minilib.recipes.captioned import (
    PORTRAITS,
    captioned_portraits,
    portrait_tokens,
    tokenised,
)
from minilib.recipes.diffusion import LINEAR
from minilib.recipes.recipe import Recipe
from minilib.unet import ScaleShift, UNetConfig, block_down, block_up

STEPS, W = 30, 2.0


def reader(words: int) -> GLIDEConfig:
    """Sizes of the models that read captions of so many words."""
    text = TextConfig(words=words, depth=2)
    unet = UNetConfig(
        channels=3,
        channels_out=3,
        width=48,
        multipliers=(1, 1),
        blocks=1,
        attention=(0, 1),
        head_dim=24,
        modulation=ScaleShift,
        attend=partial(TextAttention, context=text.width),
        down=block_down,
        up=block_up,
    )
    return GLIDEConfig(text, unet)


def draw_told(model: GLIDE, x: Tensor, tokens: Tensor, w: float = W, steps: int = STEPS) -> Tensor:
    """From noise x (B, 3, H, W) to pictures of captions (B, L), by DDIM with classifier-free guidance w."""
    told, untold = (denoiser(model, LINEAR, X_0, y, clip=False) for y in (tokens, nothing_said(tokens)))
    return last(ddim(classifier_free(told, untold, w), LINEAR, x, trailing(LINEAR.T, steps)))


def sample_told(model: GLIDE, n: int, generator: torch.Generator, y: Tensor | None = None) -> Tensor:
    """n portraits (n, 3, 16, 16) of captions y (n, L), by default some that the training has not seen."""
    x = torch.randn(n, 3, 16, 16, generator=generator)
    y = portrait_tokens().encode(captioned_portraits(n, 1, "test")[1]) if y is None else y
    return runtime.in_blocks(partial(draw_told, model), x, y)


def score_portraits(model: GLIDE) -> dict[str, float]:
    """Of 512 prompts with a pair of attributes that training never showed: claims that hold, and whole captions."""
    texts = captioned_portraits(512, 2, "held_out", "long")[1]
    x = torch.randn(len(texts), 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = accuracy(runtime.in_blocks(partial(draw_told, model), x, portrait_tokens().encode(texts)), texts)
    return {"claims": found["claims"], "captions": found["caption"]}


glide_portraits = Recipe(
    name="glide_portraits",
    model=lambda: GLIDE(reader(len(portrait_tokens()))),
    loss=partial(text_loss, schedule=LINEAR, prediction=X_0, weight=root_snr, untold=0.1),
    data=lambda: tokenised(captioned_portraits(40_000, 0), portrait_tokens()),
    quick=150,
    full=8_000,
    score=score_portraits,
    sample=sample_told,
    tokens=portrait_tokens,
    lr=2e-3,
    betas=(0.9, 0.99),
    limits="Draws one person, told in the words of the portraits' captions.",
    source=PORTRAITS,
)
