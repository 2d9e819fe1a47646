"""Draw the title picture and the gallery from the book's own models: python -m book.title.

The title picture walks through the map of two features: on the left noise, on the right a digit, between them the mix.
"""

from __future__ import annotations

import sys

import torch
from PIL import Image
from torch import Tensor

from book.common import ROOT
from minilib import runtime
from minilib.data import digits
from minilib.plot import tile
from minilib.recipes import RECIPES
from minilib.weights import load_pretrained

STATIC = ROOT / "book" / "_static"


def save(x: Tensor, columns: int, name: str, size: tuple[int, int]) -> None:
    """Write pictures as one sheet, in few greys, enlarged to `size` pixels."""
    sheet = Image.fromarray(tile(x, columns=columns, gap=0)).convert("L")
    sheet.resize(size, Image.Resampling.BICUBIC).quantize(32).save(STATIC / name, optimize=True)


def title(rows: int = 5, columns: int = 16) -> Tensor:
    """Digits that the autoencoder rebuilt, emerging from noise from left to right: (rows · columns, 1, 28, 28)."""
    model = load_pretrained(RECIPES["ae_digits"].model(), "ae_digits").to(runtime.device())
    x, _ = digits.load("test")
    rebuilt = runtime.in_blocks(model, x[: rows * columns])
    noise = torch.randn(rebuilt.shape, generator=torch.Generator().manual_seed(0))
    signal = torch.linspace(0, 1, columns).clamp(0, 0.9).div(0.9).repeat(rows).view(-1, 1, 1, 1)
    return (signal.sqrt() * rebuilt + (1 - signal).sqrt() * 0.7 * noise).clamp(-1, 1)


def walk(side: int = 16) -> Tensor:
    """The map of two features, decoded on a grid: (side², 1, 28, 28)."""
    model = load_pretrained(RECIPES["ae_digits_2d"].model(), "ae_digits_2d").to(runtime.device())
    codes = runtime.in_blocks(model.encode, digits.load("test")[0])
    low, high = codes.quantile(0.03, dim=0), codes.quantile(0.97, dim=0)
    a, b = (torch.linspace(float(low[i]), float(high[i]), side) for i in (0, 1))
    grid = torch.cartesian_prod(b.flip(0), a).flip(1)
    return runtime.in_blocks(model.decode, grid)


def drawn(name: str, count: int = 64) -> Tensor:
    """What the shipped weights of a recipe draw, unselected: (count, 1, 28, 28)."""
    recipe = RECIPES[name]
    assert recipe.sample is not None
    model = load_pretrained(recipe.model(), name).to(runtime.device())
    return recipe.sample(model, count, torch.Generator().manual_seed(0))


def main() -> int:
    model = load_pretrained(RECIPES["ae_digits"].model(), "ae_digits").to(runtime.device())
    x, _ = digits.load("test")
    pairs = torch.stack([x[:32].view(4, 8, 1, 28, 28), runtime.in_blocks(model, x[:32]).view(4, 8, 1, 28, 28)], dim=1)
    save(title(), 16, "title.png", (1344, 420))
    save(pairs.flatten(0, 2), 8, "gallery_reconstructions.png", (640, 640))
    save(walk(), 16, "gallery_walk.png", (640, 640))
    for name in ("ae_digits", "vae_digits", "dae_digits", "gan_digits"):
        save(drawn(name), 8, f"gallery_{name.removesuffix('_digits')}.png", (640, 640))
    return 0


if __name__ == "__main__":
    sys.exit(main())
