"""Pictures with captions as training data, and the tokenizers of their worlds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from minilib.data.portraits import captions as portrait_captions
from minilib.data.portraits import drawing as portraits
from minilib.data.scenes import captions as scene_captions
from minilib.data.scenes import drawing as scenes
from minilib.nets.unet_blocks import shrink
from minilib.text.words import WordTokenizer

PORTRAITS = (
    "Portraits composed by the library from 140 pixel-art parts (@dicebear/pixel-art "
    "9.4.3); CC0 1.0"
)
SCENES = "Scenes of flat shapes, drawn by the library; MIT"
Captioned = tuple[Tensor, list[str]]


@cache
def portrait_tokens() -> WordTokenizer:
    """The tokenizer of captions of portraits, alone or in pairs: 40 tokens."""
    return WordTokenizer(portrait_captions.words(), 40, portrait_captions.UNHEARD)


@cache
def one_portrait_tokens() -> WordTokenizer:
    """`portrait_tokens` of one person, who stands left or right of nobody."""
    alone = {**portrait_captions.UNHEARD, "left": "", "right": ""}
    return WordTokenizer(portrait_captions.words(), 40, alone)


@cache
def scene_tokens() -> WordTokenizer:
    """The tokenizer of captions of scenes: 40 tokens."""
    return WordTokenizer(scene_captions.words(), 40, scene_captions.UNHEARD)


def tokenised(found: Captioned, tokens: WordTokenizer) -> tuple[Tensor, Tensor]:
    """Pictures, and the tokens (N, L) of their captions."""
    x, texts = found
    return x, tokens.encode(texts)


def captioned_portraits(
    n: int, seed: int, split: str = "train", style: str | None = None
) -> Captioned:
    """n portraits (n, 3, 16, 16) and a caption for each."""
    people = portraits.draw(n, seed, split)
    return portraits.render(people), portrait_captions.captions(people, seed, style)


def captioned_pairs(n: int, seed: int, split: str = "train") -> Captioned:
    """n pictures of two people side by side (n, 3, 16, 32) and a caption for each."""
    x, pairs = in_pairs(n, seed, split)
    return x, portrait_captions.pair_captions(pairs, seed)


def coloured_pairs(n: int, seed: int, split: str = "train") -> Captioned:
    """As `captioned_pairs`, with captions that tell who wears what before what, all in
    the same words.
    """
    x, pairs = in_pairs(n, seed, split)
    return x, [
        " left of ".join(f"{p.top} top {p.background} bg" for p in pair)
        for pair in pairs
    ]


def in_pairs(
    n: int, seed: int, split: str
) -> tuple[Tensor, list[tuple[portraits.Portrait, portraits.Portrait]]]:
    """n pictures of two people (n, 3, 16, 32), and the people."""
    people = portraits.draw(2 * n, seed, split)
    x = portraits.render(people)
    return torch.cat([x[::2], x[1::2]], dim=3), list(
        zip(people[::2], people[1::2], strict=True)
    )


def captioned_scenes(
    n: int, seed: int, split: str = "train", style: str | None = None, size: int = 32
) -> Captioned:
    """n scenes (n, 3, size, size), size 32 or 16, and a caption for each; at 16 a pixel
    is the mean of four at 32.

    Raises ValueError for another size.
    """
    if size not in (16, 32):
        raise ValueError(f"expected scenes of size 16 or 32, got {size}")
    drawn = scenes.draw(n, seed, split)
    x = scenes.render(drawn)
    return shrink(x) if size == 16 else x, scene_captions.captions(drawn, seed, style)


def some_prompts(
    data: Callable[..., Captioned], tokens: Callable[[], WordTokenizer], n: int
) -> Tensor:
    """The tokens (n, L) of the captions of n test pictures."""
    return tokens().encode(data(n, 1, "test")[1])


def swapped_sides(x: Tensor) -> Tensor:
    """Pictures (N, C, H, 2W) of two people, the left and the right one exchanged."""
    return torch.cat(x.chunk(2, dim=3)[::-1], dim=3)
