"""Real pictures with names: 1,249 emoji in three styles, with names and keywords in
English and Chinese.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from minilib.data.shipped import read_shipped

SHEETS = {  # file and SHA-256 of each style: tiles of 32 × 32, 50 a row
    "fluent": (
        "emoji_fluent.png",
        "4f3fa2929ddb4636b6cf2eca4ad21a3d9fbd1541fdcc5b0b642eee27e523c5f1",
    ),
    "noto": (
        "emoji_noto.png",
        "8dd66a0ce5ef857a024ff665043dbadea8ab04d87789f6ac57bc750d3804c256",
    ),
    "twemoji": (
        "emoji_twemoji.png",
        "a52ec47660c781b0ae3e2dbcbbb8d00db161f8bd67c45445836d496d1fc1a5c5",
    ),
}
CAPTIONS = (
    "emoji_captions.tsv",
    "f09b2d562d9efdda4244513b12700a43fca4217050aa999ffb76c418d12354d1",
)
SIZE = 32


@dataclass(frozen=True)
class Emoji:
    """Names and keywords of an emoji, from Unicode's CLDR."""

    english: str
    chinese: str
    english_keywords: tuple[str, ...]
    chinese_keywords: tuple[str, ...]


def captions() -> list[Emoji]:
    """The names and keywords of each of the 1,249 emoji, in the order of the
    pictures.
    """
    text = read_shipped(*CAPTIONS).decode()
    rows = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [
        Emoji(
            english,
            chinese,
            tuple(english_keywords.split(",")),
            tuple(chinese_keywords.split(",")),
        )
        for _, _, _, english, chinese, english_keywords, chinese_keywords in rows
    ]


def load(style: str = "fluent") -> Tensor:
    """The pictures of one style, on white: x (1249, 3, 32, 32), float32 in [-1, 1].

    The styles are "fluent" (Microsoft, MIT licence), "noto" (Google, Apache 2.0) and
    "twemoji" (Twitter, CC BY 4.0). Raises ValueError for any other, and as
    `read_shipped` does.
    """
    if style not in SHEETS:
        raise ValueError(f"unknown style {style!r}: use {', '.join(map(repr, SHEETS))}")
    with Image.open(io.BytesIO(read_shipped(*SHEETS[style]))) as sheet:
        pixels = np.array(sheet.convert("RGBA"), dtype=np.float32) / 255
    # (H, W, 3)
    x = torch.from_numpy(pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:])
    # (tiles, 3, 32, 32)
    tiles = x.unfold(0, SIZE, SIZE).unfold(1, SIZE, SIZE).flatten(0, 1)
    return tiles[: len(captions())].mul(2).sub(1).contiguous()
