"""CLIP for noisy pictures, of scenes and of portraits: what semantic guidance needs."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from minilib import runtime
from minilib.data.scenes import drawing as scenes
from minilib.models.noisy_clip import (
    NoisyCLIP,
    noisy_agreement_loss,
    noisy_contrastive_loss,
)
from minilib.recipes.captioned import (
    PORTRAITS,
    SCENES,
    Captioned,
    captioned_portraits,
    captioned_scenes,
    portrait_tokens,
    scene_tokens,
    tokenised,
)
from minilib.recipes.clip import clip_portraits, clip_scenes, unique
from minilib.recipes.ddpm import LINEAR
from minilib.recipes.recipe import Recipe
from minilib.text.words import WordTokenizer
from minilib.weights import load_pretrained


def noisy(recipe: Recipe) -> NoisyCLIP:
    """The CLIP of a recipe with its shipped weights, to be trained on noisy pictures;
    what reads stays as it is.
    """
    clean = load_pretrained(recipe.model(), recipe.name)
    model = NoisyCLIP(clean.config)
    model.load_state_dict(
        clean.state_dict()
        | {k: v for k, v in model.state_dict().items() if k.startswith("time")}
    )
    for part in (model.text, model.to_text):
        part.requires_grad_(False)
    model.logit_scale.requires_grad_(False)
    return model


def with_embeddings(recipe: Recipe, x: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (N, C, H, W), and their embeddings (N, dim) by the shipped weights of a
    CLIP of clean pictures.
    """
    clean = load_pretrained(recipe.model(), recipe.name).to(runtime.device())
    return x, runtime.in_blocks(clean.embed_image, x)


def score_noisy(
    model: NoisyCLIP, found: Captioned, tokens: WordTokenizer
) -> dict[str, float]:
    """How often the caption of a noisy picture is found among 100, at four steps."""
    x, texts = unique(found)
    x, captions, score = (
        x[:500],
        runtime.in_blocks(model.embed_text, tokens.encode(texts[:500])),
        {},
    )
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    for step in (0, 250, 500, 750):
        t = torch.full((len(x),), step)
        pictures = runtime.in_blocks(model.embed_image, LINEAR.noisy(x, t, eps), t)
        nearest = [
            (a @ b.T).argmax(dim=1)
            for a, b in zip(pictures.split(100), captions.split(100), strict=True)
        ]
        score[f"r1_caption_t{step}"] = float(
            (torch.stack(nearest) == torch.arange(100)).float().mean()
        )
    return score


noisy_clip_scenes = Recipe(
    name="noisy_clip_scenes",
    model=partial(noisy, clip_scenes),
    loss=partial(noisy_agreement_loss, schedule=LINEAR),
    data=lambda: with_embeddings(clip_scenes, scenes.render(scenes.draw(10_000, 0))),
    quick=60,
    full=400,
    score=lambda model: score_noisy(
        model, captioned_scenes(600, 1, "test", "long"), scene_tokens()
    ),
    batch_size=128,
    lr=1e-3,
    betas=(0.9, 0.98),
    weight_decay=0.05,
    limits=(
        "Knows scenes under the noise of the linear schedule. It went on from "
        "clip_scenes, and saw no captions."
    ),
    source=SCENES,
)

noisy_clip_portraits = Recipe(
    name="noisy_clip_portraits",
    model=partial(noisy, clip_portraits),
    loss=partial(noisy_contrastive_loss, schedule=LINEAR),
    data=lambda: tokenised(captioned_portraits(20_000, 0), portrait_tokens()),
    quick=60,
    full=500,
    score=lambda model: score_noisy(
        model, captioned_portraits(600, 1, "test", "long"), portrait_tokens()
    ),
    batch_size=128,
    lr=1e-3,
    betas=(0.9, 0.98),
    weight_decay=0.05,
    limits=(
        "Knows portraits under the noise of the linear schedule. It went on from "
        "clip_portraits."
    ),
    source=PORTRAITS,
)
