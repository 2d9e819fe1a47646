"""GLIDE: of portraits, of holes in them, of pairs; of scenes, small and large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from minilib import runtime
from minilib.data.portraits.checker import accuracy
from minilib.data.scenes.checker import scene_accuracy
from minilib.diffusion.guidance import classifier_free
from minilib.diffusion.loss import root_snr
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import X_0, trailing
from minilib.models.clip import TextConfig
from minilib.models.glide import (
    GLIDE,
    GLIDEConfig,
    TextAttention,
    inpainting_loss,
    null_captions,
    repainting,
    text_loss,
    upsampling_loss,
    widened,
    with_condition,
)
from minilib.nets.unet_blocks import (
    ScaleShift,
    UNetConfig,
    block_down,
    block_up,
    grow,
)
from minilib.recipes.captioned import (
    PORTRAITS,
    SCENES,
    captioned_portraits,
    captioned_scenes,
    one_portrait_tokens,
    portrait_tokens,
    scene_tokens,
    some_prompts,
    tokenised,
)
from minilib.recipes.ddpm import LINEAR
from minilib.recipes.recipe import Recipe
from minilib.weights import load_pretrained

STEPS, W = 30, 3.0
# to all losses
COMMON: dict[str, Any] = {"schedule": LINEAR, "prediction": X_0, "p_uncond": 0.1}


def reader(words: int, channels: int = 3, width: int = 48) -> GLIDEConfig:
    """Sizes of a model that reads so many words, and sees so many channels."""
    text = TextConfig(words=words, width=2 * width, depth=2)
    unet = UNetConfig(
        channels=channels,
        channels_out=3,
        width=width,
        multipliers=(1, 1),
        blocks=1,
        attention=(0, 1),
        head_dim=width // 2,
        modulation=ScaleShift,
        attend=partial(TextAttention, context=text.width),
        down=block_down,
        up=block_up,
    )
    return GLIDEConfig(text, unet)


def draw_conditional(
    model: Callable[..., Tensor],
    x: Tensor,
    tokens: Tensor,
    w: float = W,
    steps: int = STEPS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """From noise x (B, 3, H, W) to pictures of captions (B, L), by DDIM with
    classifier-free guidance w.

    With a generator each step adds fresh noise, as much as ancestral sampling does (eta
    = 1).
    """
    conditional, unconditional = (
        denoiser(model, LINEAR, X_0, y, clip=False)
        for y in (tokens, null_captions(tokens))
    )
    denoise, eta = (
        classifier_free(conditional, unconditional, w),
        0.0 if generator is None else 1.0,
    )
    return last(ddim(denoise, LINEAR, x, trailing(LINEAR.T, steps), generator, eta))


def sample_conditional(
    model: GLIDE,
    n: int,
    generator: torch.Generator,
    y: Tensor | None = None,
    *,
    prompts: Callable[[int], Tensor],
    steps: int = STEPS,
    w: float = W,
) -> Tensor:
    """n pictures (n, 3, 16, 16) of captions y (n, L), by default those of `prompts`."""
    x = torch.randn(n, 3, 16, 16, generator=generator)
    return runtime.in_blocks(
        partial(draw_conditional, model, w=w, steps=steps, generator=generator),
        x,
        prompts(n) if y is None else y,
    )


def score_people(model: Callable[..., Tensor], n: int = 512) -> dict[str, float]:
    """Of n prompts with a pair of attributes that training never showed: claims that
    hold, and whole captions.
    """
    texts = captioned_portraits(n, 2, "held_out", "long")[1]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, 16, 16, generator=generator)
    draw = partial(draw_conditional, model, generator=generator)
    found = accuracy(runtime.in_blocks(draw, x, portrait_tokens().encode(texts)), texts)
    return {"claims": found["claims"], "caption": found["caption"]}


# ---------- people ----------


def root_snr_plus_one(alpha_bar: Tensor) -> Tensor:
    """A weight that neglects neither the noisy steps, of words, nor the last ones."""
    return 1 + root_snr(alpha_bar)


glide_portraits = Recipe(
    name="glide_portraits",
    model=lambda: GLIDE(reader(len(portrait_tokens()))),
    loss=partial(text_loss, **COMMON, weight=root_snr_plus_one),
    data=lambda: tokenised(captioned_portraits(40_000, 0), portrait_tokens()),
    quick=150,
    full=12_000,
    score=score_people,
    sample=partial(
        sample_conditional,
        prompts=partial(some_prompts, captioned_portraits, portrait_tokens),
    ),
    tokenizer=one_portrait_tokens,
    lr=1e-3,
    limits="Draws one person, told in the words of the portraits' captions.",
    source=PORTRAITS,
)


def score_filled(model: GLIDE) -> dict[str, float]:
    """`score_people` of the network without any clue: all of the picture is a hole."""

    def blind(x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        nothing = x_t.new_zeros(len(x_t), 4, *x_t.shape[2:])
        return with_condition(model, nothing)(x_t, t, tokens)

    return score_people(blind, n=128)


def sample_filled(
    model: GLIDE,
    n: int,
    generator: torch.Generator,
    y: Tensor | None = None,
    *,
    image: Tensor | None = None,
    mask: Tensor | None = None,
    steps: int = STEPS,
    w: float = W,
) -> Tensor:
    """Pictures `image` (n, 3, 16, 16), painted anew as captions y (n, L) say where
    `mask` (n, 1, 16, 16) is True; all of them, if no picture is given.
    """
    x = torch.randn(n, 3, 16, 16, generator=generator)
    image = torch.zeros_like(x) if image is None else image
    mask = torch.ones_like(x[:, :1], dtype=torch.bool) if mask is None else mask
    y = some_prompts(captioned_portraits, portrait_tokens, n) if y is None else y

    def draw(x: Tensor, x_0: Tensor, known: Tensor, tokens: Tensor) -> Tensor:
        denoise = repainting(model, LINEAR, X_0, x_0, known, tokens, w)
        return last(ddim(denoise, LINEAR, x, trailing(LINEAR.T, steps), generator, 1.0))

    return runtime.in_blocks(draw, x, image, ~mask, y)


glide_portraits_inpaint = Recipe(
    name="glide_portraits_inpaint",
    model=lambda: widened(
        GLIDE(reader(len(portrait_tokens()), channels=7)),
        load_pretrained(glide_portraits.model(), "glide_portraits"),
    ),
    loss=partial(inpainting_loss, **COMMON, weight=root_snr_plus_one),
    data=lambda: tokenised(captioned_portraits(40_000, 0), portrait_tokens()),
    quick=100,
    full=500,
    score=score_filled,
    sample=sample_filled,
    tokenizer=one_portrait_tokens,
    lr=1e-3,
    betas=(0.9, 0.99),
    limits="Fills holes in portraits by captions. It went on from glide_portraits.",
    source=PORTRAITS,
)


# ---------- scenes ----------


def upsampler() -> GLIDE:
    """A GLIDE that sees a small scene too, with attention at its coarser level only."""
    sizes = reader(len(scene_tokens()), channels=6, width=24)
    return GLIDE(replace(sizes, unet=replace(sizes.unet, attention=(1,))))


def enlarge(model: GLIDE, small: Tensor, noise: Tensor, tokens: Tensor) -> Tensor:
    """Small pictures (B, 3, H, W), noise (B, 3, 2H, 2W) and captions (B, L) → pictures
    of the noise's shape.
    """
    return draw_conditional(
        with_condition(model, grow(small)), noise, tokens, w=1.0, steps=10
    )


def sample_enlarged(
    model: GLIDE,
    n: int,
    generator: torch.Generator,
    y: Tensor | None = None,
    *,
    image: Tensor | None = None,
) -> Tensor:
    """n scenes (n, 3, 32, 32) of captions y (n, L): small pictures `image` (n, 3, 16,
    16) made larger, which need no caption; or those that glide_scenes draws, by default
    of test captions.
    """
    noise = torch.randn(n, 3, 32, 32, generator=generator)
    if image is not None:
        y = scene_tokens().encode([""] * n) if y is None else y
        return runtime.in_blocks(partial(enlarge, model), image, noise, y)
    y = some_prompts(captioned_scenes, scene_tokens, n) if y is None else y
    small = load_pretrained(glide_scenes.model(), "glide_scenes").to(runtime.device())
    return runtime.in_blocks(partial(draw_scenes, small, model), noise, y)


def score_enlarged(model: GLIDE) -> dict[str, float]:
    """Of 100 scenes made small and large again: captions that hold, squared error."""
    x, texts = captioned_scenes(100, 1, "test", "long")
    small = captioned_scenes(100, 1, "test", "long", size=16)[0]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    again = runtime.in_blocks(
        partial(enlarge, model), small, noise, scene_tokens().encode(texts)
    )
    return {
        "caption": scene_accuracy(again, texts)["caption"],
        "mse": float((again - x).square().mean()),
    }


upsample_scenes = Recipe(
    name="upsample_scenes",
    model=upsampler,
    loss=partial(upsampling_loss, **COMMON, weight=root_snr),
    data=lambda: tokenised(captioned_scenes(20_000, 0), scene_tokens()),
    quick=100,
    full=1_000,
    score=score_enlarged,
    sample=sample_enlarged,
    tokenizer=scene_tokens,
    batch_size=32,
    lr=2e-3,
    betas=(0.9, 0.99),
    limits=(
        "Makes scenes of 32 × 32 of scenes of 16 × 16, told in the words of their "
        "captions."
    ),
    source=SCENES,
)


def draw_scenes(small: GLIDE, large: GLIDE, noise: Tensor, tokens: Tensor) -> Tensor:
    """From noise (B, 3, 32, 32) to scenes of captions (B, L), by way of 16 × 16, for
    which a corner will do.
    """
    x = draw_conditional(small, noise[:, :, :16, :16], tokens, w=2.0)
    return enlarge(large, x, noise, tokens)


def score_scenes(model: GLIDE) -> dict[str, float]:
    """Of 200 prompts with a pair that training never showed, drawn and enlarged:
    category by category what holds.
    """
    large = load_pretrained(upsample_scenes.model(), "upsample_scenes")
    texts = captioned_scenes(200, 2, "held_out", "long")[1]
    noise = torch.randn(
        len(texts), 3, 32, 32, generator=torch.Generator().manual_seed(0)
    )
    draw = partial(draw_scenes, model, large.to(runtime.device()))
    return scene_accuracy(
        runtime.in_blocks(draw, noise, scene_tokens().encode(texts)), texts
    )


glide_scenes = Recipe(
    name="glide_scenes",
    model=lambda: GLIDE(reader(len(scene_tokens()), width=40)),
    loss=partial(text_loss, **COMMON),
    data=lambda: tokenised(captioned_scenes(40_000, 0, size=16), scene_tokens()),
    quick=150,
    full=2_000,
    score=score_scenes,
    sample=partial(
        sample_conditional,
        prompts=partial(some_prompts, captioned_scenes, scene_tokens),
    ),
    tokenizer=scene_tokens,
    lr=2e-3,
    betas=(0.9, 0.99),
    limits=(
        "Draws scenes of 16 × 16, told in the words of their captions; upsample_scenes "
        "makes them larger."
    ),
    source=SCENES,
)
