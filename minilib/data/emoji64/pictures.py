"""The pictures of a style, on white or any other background."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from minilib.data.emoji64.captions import captions
from minilib.data.emoji64.styles import require_style
from minilib.data.shipped import read_shipped

SHEETS = {  # SHA-256 of each style's sheet of tiles, and of their alpha
    "noto": (
        "b254a1635e8c146cddbc269f06800d6c0176975b94202b49d1d1ff8217c951f8",
        "df77f275936603eca01ed5534427c2761badf111e370c25770538fc9f890bad4",
    ),
    "noto1": (
        "3b7f6555352d6204c2fe34154f881ef08326dc1e326a8e824cb34d0f18351c5d",
        "47b500c1994c7b725872a150794483576d894aa2e10396303a5de308344e4d5d",
    ),
    "twemoji": (
        "c34c3a7c65a9e397ad8fd57c1f4954cd56d6f3d10ed7d60127d55674b6b97935",
        "45a6884e91d226dd0609db8524983bd7958ca6375be5f179601afd49a22b7569",
    ),
    "fluent": (
        "471b6657a1407276c1447125ad68364ff842cda8ee563a8c4bec030fb480c160",
        "7ab6e00165e6fb8050df2acd0d9f2aca6e255c33da89029c91e6d2751c63f6d3",
    ),
    "emojione": (
        "ab73202907b0f4853674908e4f0e108745a01ce8f718737bdc02eac58f3f7270",
        "3cfcf955e53537084c2011c12d3bafc3c7bed23fba0e78dc5f1e825331974dfb",
    ),
    "fluent3d": (
        "0abf1641b9c129e9259f6e95c43f358ae680d67590f3ec8ebe6734d4038d203a",
        "083e93ae8d37659a347f0b02f1f3e9ef705a34620831358c7e5bb604aeb60d43",
    ),
}
SIZE = 64


def pictures(style: str, size: int = 64, background: Tensor | None = None) -> Tensor:
    """All pictures of a style: (935, 3, size, size) in [-1, 1]; at 32 a pixel is the
    mean of four at 64.

    They lie on white, or on a `background` in [-1, 1] that broadcasts to (935, 3, 64,
    64): a colour is (3, 1, 1). Raises ValueError for an unknown style or size, or
    another background.
    """
    require_style(style)
    if size not in (64, 32):
        raise ValueError(f"expected emoji of size 64 or 32, got {size!r}")
    x = tiles(f"emoji64/{style}.png", SHEETS[style][0], "RGB") * 2 - 1
    if background is not None:
        require_background(background, x)
        # x is on white already, which is 1
        x = (x + (1 - alpha(style)) * (background - 1)).clamp(-1, 1)
    return F.avg_pool2d(x, 2) if size == 32 else x


def alpha(style: str) -> Tensor:
    """How much of each place the emoji covers: (935, 1, 64, 64) in [0, 1], in 16 steps.
    Raises ValueError for an unknown style.
    """
    require_style(style)
    return tiles(f"emoji64/{style}_alpha.png", SHEETS[style][1], "L")


def tiles(name: str, sha256: str, mode: str) -> Tensor:
    """The tiles of a shipped sheet, row by row: (935, channels, 64, 64) in [0, 1]."""
    with Image.open(io.BytesIO(read_shipped(name, sha256))) as sheet:
        pixels = torch.from_numpy(np.array(sheet.convert(mode)))
    # (rows, columns, channels, 64, 64)
    x = pixels.reshape(*pixels.shape[:2], -1).unfold(0, SIZE, SIZE)
    x = x.unfold(1, SIZE, SIZE)
    return x.flatten(0, 1)[: len(captions())].contiguous().float() / 255


def require_background(background: Tensor, x: Tensor) -> None:
    """Raise ValueError unless a background in [-1, 1] fits behind pictures x."""
    shape = tuple(background.shape)
    fits = all(
        size in (1, whole)
        for size, whole in zip(shape[::-1], x.shape[::-1], strict=False)
    )
    if len(shape) > 4 or not fits or background.abs().max() > 1:
        raise ValueError(
            f"expected a background in [-1, 1] that broadcasts to {tuple(x.shape)}, "
            f"such as a colour (3, 1, 1), got one of shape {shape}, up to "
            f"{background.abs().max()}"
        )
