"""Draw the title picture and the gallery from the book's own models: python -m
book.tools.title.

The title picture is what happens when the diffusion model draws: on the left noise, on
the right digits.
"""

from __future__ import annotations

import sys

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from book.tools.common import ROOT
from minilib import runtime
from minilib.data import digits
from minilib.diffusion.guidance import guided
from minilib.diffusion.sampling import Denoised, ddim, denoiser, last
from minilib.diffusion.schedule import V, leading, trailing
from minilib.nets.unet import UNet
from minilib.plot import tile
from minilib.recipes import RECIPES
from minilib.recipes.captioned import portrait_tokens
from minilib.recipes.ddpm import COSINE
from minilib.weights import load_pretrained

STATIC = ROOT / "book" / "_static"


def save(x: Tensor, columns: int, name: str, size: tuple[int, int]) -> None:
    """Write pictures as one sheet, enlarged to `size` pixels: in few greys, or in few
    colours and with sharp edges.
    """
    sheet, coloured = Image.fromarray(tile(x, columns=columns, gap=0)), x.shape[1] == 3
    sheet = sheet if coloured else sheet.convert("L")
    sheet = sheet.resize(
        size, Image.Resampling.NEAREST if coloured else Image.Resampling.BICUBIC
    )
    sheet.quantize(128 if coloured else 32).save(STATIC / name, optimize=True)


def diffusion() -> UNet:
    return load_pretrained(RECIPES["adm_digits"].model(), "adm_digits").to(
        runtime.device()
    )


def title(rows: int = 5, columns: int = 16) -> Tensor:
    """Digits that the diffusion model draws, noise on the left: (rows · columns, 1, 28,
    28).
    """
    y = torch.tensor([3, 8, 5, 2, 9])[:rows]
    noise = torch.randn(rows, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    steps = trailing(COSINE.T, columns - 1)
    states = [noise, *ddim(denoiser(diffusion(), COSINE, V, y), COSINE, noise, steps)]
    return torch.stack(states, dim=1).flatten(0, 1).clamp(-1, 1)


def guesses(side: int = 8) -> Tensor:
    """What the diffusion model takes its picture for, earlier on the left, later on the
    right: (side², 1, 28, 28).
    """
    y, guessed = torch.arange(side), []
    denoise = denoiser(diffusion(), COSINE, V, y)

    def keep(x_t: Tensor, t: Tensor) -> Denoised:
        guessed.append(denoise(x_t, t).x_0)
        return Denoised(guessed[-1])

    noise = torch.randn(side, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    last(ddim(keep, COSINE, noise, trailing(COSINE.T, 5 * side)))
    return torch.stack(guessed[:: len(guessed) // side], dim=1).flatten(0, 1)


def guided_digits(side: int = 8) -> Tensor:
    """A row a noise, a column a digit that the classifier asks for; the model gets no
    label: (side², 1, 28, 28).
    """
    classifier = load_pretrained(
        RECIPES["noisy_classifier"].model(), "noisy_classifier"
    ).to(runtime.device())
    noise = torch.randn(side, 1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    x, y = (
        noise.expand(-1, side, -1, -1, -1).flatten(0, 1),
        torch.arange(side).repeat(side),
    )

    def log_probability(x_t: Tensor, t: Tensor) -> Tensor:
        return -F.cross_entropy(classifier(x_t, t), y, reduction="none")

    free = denoiser(diffusion(), COSINE, V)
    return last(
        ddim(
            guided(free, COSINE, log_probability, 6.0), COSINE, x, leading(COSINE.T, 50)
        )
    ).clamp(-1, 1)


def walk(side: int = 16) -> Tensor:
    """The map of two features, decoded on a grid: (side², 1, 28, 28)."""
    model = load_pretrained(RECIPES["ae_digits_2d"].model(), "ae_digits_2d").to(
        runtime.device()
    )
    codes = runtime.in_blocks(model.encode, digits.load("test")[0])
    low, high = codes.quantile(0.03, dim=0), codes.quantile(0.97, dim=0)
    a, b = (torch.linspace(float(low[i]), float(high[i]), side) for i in (0, 1))
    grid = torch.cartesian_prod(b.flip(0), a).flip(1)
    return runtime.in_blocks(model.decode, grid)


def people(
    prompt: str = "a person with a red hat and glasses", count: int = 64
) -> Tensor:
    """What GLIDE draws of one sentence, unselected: (count, 3, 16, 16)."""
    recipe = RECIPES["glide_portraits"]
    assert recipe.sample is not None
    model = load_pretrained(recipe.model(), recipe.name).to(runtime.device())
    tokens = portrait_tokens().encode([prompt]).expand(count, -1)
    return recipe.sample(model, count, torch.Generator().manual_seed(0), tokens)


def drawn(name: str, count: int = 64) -> Tensor:
    """What the shipped weights of a recipe draw, unselected: (count, 1, 28, 28)."""
    recipe = RECIPES[name]
    assert recipe.sample is not None
    model = load_pretrained(recipe.model(), name).to(runtime.device())
    return recipe.sample(model, count, torch.Generator().manual_seed(0))


def main() -> int:
    model = load_pretrained(RECIPES["ae_digits"].model(), "ae_digits").to(
        runtime.device()
    )
    x, _ = digits.load("test")
    pairs = torch.stack(
        [
            x[:32].view(4, 8, 1, 28, 28),
            runtime.in_blocks(model, x[:32]).view(4, 8, 1, 28, 28),
        ],
        dim=1,
    )
    save(title(), 16, "title.png", (1344, 420))
    save(pairs.flatten(0, 2), 8, "gallery_reconstructions.png", (640, 640))
    save(walk(), 16, "gallery_walk.png", (640, 640))
    save(guesses(), 8, "gallery_guesses.png", (640, 640))
    save(guided_digits(), 8, "gallery_guided.png", (640, 640))
    save(people(), 8, "gallery_people.png", (640, 640))
    for name in ("ae_digits", "vae_digits", "dae_digits", "gan_digits", "adm_digits"):
        save(drawn(name), 8, f"gallery_{name.removesuffix('_digits')}.png", (640, 640))
    return 0


if __name__ == "__main__":
    sys.exit(main())
