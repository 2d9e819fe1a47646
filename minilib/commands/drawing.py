"""What `sample` does: check all that is asked for, draw, write."""

from __future__ import annotations

import argparse
import inspect
import io
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from minilib import recipes, runtime, weights
from minilib.data.folder import read_picture
from minilib.plot import tile
from minilib.recipes import Recipe

BLOCK = 500  # pictures that `runtime.in_blocks` draws at once


def draw(name: str, options: argparse.Namespace) -> None:
    """Draw from the recipe `name` what the options say. All of them are checked before
    the first step. Raises ValueError and OSError that say what to do.
    """
    recipe = recipes.get(name)
    require_drawing(recipe)
    wish = wanted_labels(recipe, options) + wanted_prompt(recipe, options)
    settings = wanted_settings(recipe, options)
    if "progress" in takes(recipe):
        settings["progress"] = "drawing"
    paths = wanted_paths(recipe, options)
    model = recipe.model()
    if options.weights:
        weights.load_weights(model, options.weights)
    else:
        weights.load_pretrained(model, recipe.name)
    print(
        f"drawing {options.count} pictures on {runtime.device()}, in seconds to a "
        "minute …",
        file=sys.stderr,
        flush=True,
    )
    generator = torch.Generator().manual_seed(options.seed)
    with counted(model, evaluations(recipe, options.count, settings)):
        assert recipe.sample is not None
        x = recipe.sample(
            model.to(runtime.device()), options.count, generator, *wish, **settings
        )
    write(x, paths)


def require_drawing(recipe: Recipe) -> None:
    if recipe.sample is None:
        raise ValueError(
            f"the recipe {recipe.name!r} draws no pictures; these do: "
            f"{others('sample')}"
        )


def others(field: str) -> str:
    """The names of the recipes that have it."""
    return ", ".join(
        name for name, other in recipes.RECIPES.items() if getattr(other, field)
    )


def wanted_labels(recipe: Recipe, options: argparse.Namespace) -> list[Tensor]:
    """The label for each picture; nothing where no label is asked for. Raises
    ValueError for a wrong one.
    """
    label = options.label
    if label is None:
        return []
    if label >= recipe.classes:
        knows = (
            f"classes 0 to {recipe.classes - 1}"
            if recipe.classes
            else "no classes: leave out --class"
        )
        raise ValueError(
            f"no class {label} in the recipe {recipe.name!r}, which knows {knows}"
        )
    return [torch.full((options.count,), label)]


def wanted_prompt(recipe: Recipe, options: argparse.Namespace) -> list[Tensor]:
    """The prompt's tokens for each picture; nothing where none is given. Raises
    ValueError for a wrong one.
    """
    if options.prompt is None:
        return []
    if recipe.tokenizer is None:
        raise ValueError(
            f"the recipe {recipe.name!r} reads no prompt; these do: "
            f"{others('tokenizer')}"
        )
    return [recipe.tokenizer().encode([options.prompt]).expand(options.count, -1)]


def takes(recipe: Recipe) -> dict[str, inspect.Parameter]:
    """What the recipe's `sample` can be told."""
    assert recipe.sample is not None
    return dict(inspect.signature(recipe.sample).parameters)


def wanted_settings(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """The options for `sample` that were given. Raises ValueError for those that the
    recipe has no use for, and where an image has no mask.
    """
    if (options.image is None) != (options.mask is None):
        raise ValueError(
            "--image and --mask belong together: the picture, and where to paint"
        )
    given = {
        "steps": ("--steps", options.steps),
        "w": ("--guidance", options.guidance),
        "image": ("--image", options.image),
        "mask": ("--mask", options.mask),
    }
    settings = {key: value for key, (_, value) in given.items() if value is not None}
    for key in settings:
        if key in takes(recipe):
            continue
        able = [
            name
            for name, other in recipes.RECIPES.items()
            if other.sample and key in takes(other)
        ]
        raise ValueError(
            f"the recipe {recipe.name!r} has no use for {given[key][0]}; these have: "
            f"{', '.join(able)}"
        )
    if "image" in settings:
        settings |= read_image(options.image, options.mask, options.count)
    return settings


def read_image(image: Path, mask: Path, count: int) -> dict[str, Tensor]:
    """The picture (count, 3, 16, 16) to repaint, and where (count, 1, 16, 16), True.

    Raises ValueError for a file that is no picture, and for a mask without white.
    """
    x, hole = read_picture(image, 16, 3), read_picture(mask, 16, 1) > 0
    if not hole.any():
        raise ValueError(f"{mask} is black all over: make it white where to paint")
    return {
        "image": x.expand(count, -1, -1, -1),
        "mask": hole.expand(count, -1, -1, -1),
    }


def wanted_paths(recipe: Recipe, options: argparse.Namespace) -> list[Path]:
    """The file to write, or with --each one for each picture. Raises ValueError for an
    ending of no picture, OSError where it cannot be written.
    """
    path = options.out or Path(f"{recipe.name}.png")
    paths = (
        [path.with_stem(f"{path.stem}_{i:03}") for i in range(options.count)]
        if options.each
        else [path]
    )
    for file in paths:
        weights.require_writable(file)
    for kind in ("L", "RGB"):
        encoded(Image.new(kind, (1, 1)), path)
    return paths


def encoded(picture: Image.Image, path: Path) -> bytes:
    """The picture in the format that the path's ending says. Raises ValueError where
    it says none that Pillow writes.
    """
    content = io.BytesIO()
    format = Image.registered_extensions().get(path.suffix.lower())
    try:
        picture.save(content, format=format or "none")
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"cannot write {path.name}: {path.suffix or 'no ending'!r} is no ending of "
            "a picture that Pillow writes; use .png, .jpg or .webp"
        ) from None
    return content.getvalue()


def evaluations(recipe: Recipe, n: int, settings: dict[str, Any]) -> int:
    """How often `sample` calls the network, where it walks in steps; else 0."""
    default = {key: found.default for key, found in takes(recipe).items()}
    both = default | settings
    if "steps" not in both:
        return 0
    # 1 and 0 are one network's prediction, all else mixes two
    passes = 1 if both.get("w", 1) in (0, 1) else 2
    return passes * both["steps"] * math.ceil(n / BLOCK)


@contextmanager
def counted(model: nn.Module, total: int) -> Iterator[None]:
    """While it lasts, a bar shows how many of `total` calls of the network are done; it
    shows none where there are 0.
    """
    with tqdm(total=total, desc="drawing", disable=not total) as bar:

        def count(*_: object) -> None:  # what a hook returns replaces the output
            bar.update()

        hook = model.register_forward_hook(count)
        try:
            yield
        finally:
            hook.remove()


def sheet(x: Tensor, columns: int = 8) -> Image.Image:
    """Pictures (n, C, H, W) in [-1, 1] side by side; small ones are enlarged."""
    scale = max(1, 48 // x.shape[2])  # 16 pixels would be hard to see
    x = x.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    return Image.fromarray(tile(x, columns=columns))


def write(x: Tensor, paths: list[Path]) -> None:
    """Write pictures (n, C, H, W) as one sheet, or each to its path."""
    single = [sheet(picture[None], columns=1) for picture in x]
    sheets = [sheet(x)] if len(paths) == 1 else single
    for path, picture in zip(paths, sheets, strict=True):
        weights.write_atomically(path, encoded(picture, path))
    more = f" to {paths[-1].name}" if len(paths) > 1 else ""
    print(f"wrote {paths[0]}{more}")
