"""CLIP of portraits, of scenes and of emoji."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from minilib.data import emoji
from minilib.data.portraits import captions as portrait_captions
from minilib.data.scenes import captions as scene_captions
from minilib.models.clip import (
    CLIP,
    CLIPConfig,
    TextConfig,
    contrastive_loss,
    retrieval,
)
from minilib.nets.vit import ViTConfig
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
from minilib.recipes.recipe import Recipe
from minilib.text.words import WordTokenizer

EMOJI = (
    "1,249 emoji, drawn three times: Fluent Emoji (Microsoft, MIT), Noto Emoji "
    "(Google, Apache-2.0), Twemoji (Twitter, "
    "CC BY 4.0); names and keywords: Unicode CLDR (Unicode License)"
)


def unique(found: Captioned) -> Captioned:
    """Of several pictures with one caption the first only."""
    x, texts = found
    first = list(
        dict(zip(reversed(texts), reversed(range(len(texts))), strict=True)).values()
    )[::-1]
    return x[first], [texts[i] for i in first]


def score_portraits(model: CLIP) -> dict[str, float]:
    """R@1 both ways among 100 portraits with a long caption each, in 1,000 that
    training has not seen.
    """
    score: dict[str, float] = {}
    for split in ("test", "held_out"):
        x, texts = unique(captioned_portraits(1_100, 1, split, "long"))
        found = retrieval(model, x[:1000], portrait_tokens().encode(texts[:1000]))
        score |= {f"r1_{way}_{split}": value for way, value in found.items()}
    return score


clip_portraits = Recipe(
    name="clip_portraits",
    model=lambda: CLIP(
        CLIPConfig(TextConfig(words=len(portrait_tokens())), ViTConfig(patch=4))
    ),
    loss=contrastive_loss,
    data=lambda: tokenised(captioned_portraits(20_000, 0), portrait_tokens()),
    quick=250,
    full=3_000,
    score=score_portraits,
    batch_size=128,
    lr=1e-3,
    betas=(0.9, 0.98),
    weight_decay=0.05,
    limits="Knows portraits of 16 × 16, and the words of their captions.",
    source=PORTRAITS,
)


def score_scenes(model: CLIP) -> dict[str, float]:
    """R@1 both ways among 100 scenes with a long caption each, in 1,000 that training
    has not seen.
    """
    x, texts = unique(captioned_scenes(1_100, 1, "test", "long"))
    found = retrieval(model, x[:1000], scene_tokens().encode(texts[:1000]))
    return {f"r1_{way}_test": value for way, value in found.items()}


clip_scenes = Recipe(
    name="clip_scenes",
    model=lambda: CLIP(
        CLIPConfig(TextConfig(words=len(scene_tokens())), ViTConfig(size=32, patch=4))
    ),
    loss=contrastive_loss,
    data=lambda: tokenised(captioned_scenes(20_000, 0), scene_tokens()),
    quick=250,
    full=1_000,
    score=score_scenes,
    batch_size=128,
    lr=1e-3,
    betas=(0.9, 0.98),
    weight_decay=0.05,
    limits="Knows scenes of 32 × 32, and the words of their captions.",
    source=SCENES,
)


def emoji_texts() -> dict[str, list[str]]:
    """What emoji are called: names and keywords, in English and in Chinese."""
    known = emoji.captions()
    return {
        "english": [e.english for e in known],
        "chinese": [e.chinese for e in known],
        "english keywords": [" ".join(e.english_keywords) for e in known],
        "chinese keywords": [" ".join(e.chinese_keywords) for e in known],
    }


@cache
def emoji_tokens() -> WordTokenizer:
    """The tokenizer of names and keywords of emoji, English words and Chinese
    characters: 32 tokens.
    """
    return WordTokenizer(
        [text for texts in emoji_texts().values() for text in texts], 32
    )


def emoji_data() -> tuple[Tensor, Tensor]:
    """Each emoji in each of three styles beside each of its four texts: 14,988 pictures
    and the texts' tokens.
    """
    tokens = torch.cat(
        [emoji_tokens().encode(texts) for texts in emoji_texts().values()]
    )
    x = torch.cat([emoji.load(style) for style in emoji.SHEETS])
    return x.repeat(4, 1, 1, 1), tokens.view(4, 1, len(x) // 3, -1).expand(
        4, 3, -1, -1
    ).flatten(0, 2)


def score_emoji(model: CLIP) -> dict[str, float]:
    """R@1 among all 1,249 emoji of a style that training has seen, by English and by
    Chinese names.
    """
    score: dict[str, float] = {}
    x = emoji.load("fluent")
    for language in ("english", "chinese"):
        found = retrieval(
            model, x, emoji_tokens().encode(emoji_texts()[language]), among=len(x)
        )
        score |= {f"r1_{way}_{language}": value for way, value in found.items()}
    return score


clip_emoji = Recipe(
    name="clip_emoji",
    model=lambda: CLIP(
        CLIPConfig(
            TextConfig(len(emoji_tokens()), length=32), ViTConfig(size=32, patch=8)
        )
    ),
    loss=contrastive_loss,
    data=emoji_data,
    quick=250,
    full=2_000,
    score=score_emoji,
    batch_size=128,
    lr=1e-3,
    betas=(0.9, 0.98),
    weight_decay=0.05,
    limits="Knows these 1,249 emoji by heart, and says little about any other picture.",
    source=EMOJI,
)


@cache
def world_tokens() -> WordTokenizer:
    """The tokenizer of captions of portraits and of scenes: 40 tokens."""
    words = [*portrait_captions.words(), *scene_captions.words()]
    return WordTokenizer(words, 40, {"the": "a", **scene_captions.UNHEARD})


def worlds(n_portraits: int, n_scenes: int) -> tuple[Tensor, Tensor]:
    """So many portraits and so many scenes, all of 16 × 16, and the tokens of their
    captions.
    """
    parts = [captioned_portraits(n, 0) for n in [n_portraits] if n] + [
        captioned_scenes(n, 0, size=16) for n in [n_scenes] if n
    ]
    return torch.cat([x for x, _ in parts]), world_tokens().encode(
        [text for _, texts in parts for text in texts]
    )


def score_worlds(model: CLIP) -> dict[str, float]:
    """R@1 from the caption to the picture, among 100 that training has not seen, in
    each of two worlds.
    """
    score: dict[str, float] = {}
    tests = {
        "portraits": captioned_portraits(1_100, 1, "test", "long"),
        "scenes": captioned_scenes(1_100, 1, "test", "long", size=16),
    }
    for world, found in tests.items():
        x, texts = unique(found)
        score[f"r1_picture_{world}"] = retrieval(
            model, x[:1000], world_tokens().encode(texts[:1000])
        )["picture"]
    return score


def small_clip() -> CLIP:
    """A CLIP that trains in half a minute."""
    text = TextConfig(words=len(world_tokens()), width=48, depth=2)
    return CLIP(CLIPConfig(text, ViTConfig(patch=4, dim=48, depth=2), dim=32))


def of_worlds(name: str, n_portraits: int, n_scenes: int) -> Recipe:
    """A small CLIP of so many portraits and so many scenes."""
    return Recipe(
        name=name,
        model=small_clip,
        loss=contrastive_loss,
        data=lambda: worlds(n_portraits, n_scenes),
        quick=250,
        full=1_000,
        score=score_worlds,
        batch_size=128,
        lr=2e-3,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        limits="Small, and trained for a comparison only: claim UNCLIP-8.",
        source="; ".join([PORTRAITS] * bool(n_portraits) + [SCENES] * bool(n_scenes)),
    )


clip_both_worlds = of_worlds("clip_both_worlds", 10_000, 10_000)
clip_portrait_world = of_worlds("clip_portrait_world", 20_000, 0)
clip_scene_world = of_worlds("clip_scene_world", 0, 20_000)
