"""What `sample` does: check all that is asked for, draw, write."""

from __future__ import annotations

import argparse
import inspect
import io
import math
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from minilib import recipes, runtime, weights
from minilib.commands.progress import counted
from minilib.data.folder import read_picture
from minilib.plot import tile
from minilib.recipes import Recipe

BLOCK = 500  # pictures that `runtime.in_blocks` draws at once
# what `sample` of some recipes can be told, and the option that tells it
SETTINGS = {
    "steps": "--steps",
    "w": "--guidance",
    "image": "--image",
    "mask": "--mask",
}


def draw(name: str, options: argparse.Namespace) -> None:
    """Draw from the recipe `name` what the options say. All of them are checked before
    the first step. Raises ValueError and OSError that say what to do.
    """
    recipe = recipes.get(name)
    require_drawing(recipe)
    wish = wanted_labels(recipe, options) + wanted_prompt(recipe, options)
    settings = wanted_settings(recipe, options)
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
    with shown(recipe, model, options.count, settings):
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
    require_option(recipe, "--class")
    if label >= recipe.classes:
        raise ValueError(
            f"no class {label} in the recipe {recipe.name!r}, which knows classes 0 "
            f"to {recipe.classes - 1}"
        )
    return [torch.full((options.count,), label)]


def wanted_prompt(recipe: Recipe, options: argparse.Namespace) -> list[Tensor]:
    """The prompt's tokens for each picture; nothing where none is given. Raises
    ValueError for a wrong one.
    """
    if options.prompt is None:
        return []
    require_option(recipe, "PROMPT")
    assert recipe.tokenizer is not None
    tokens, prompt = recipe.tokenizer(), " ".join(options.prompt.lower().split())
    try:
        tokens.require_known(prompt)
    except ValueError as error:
        more = f"all words: python -m minilib list {recipe.name}"
        raise ValueError(f"{error} – {more}") from None
    return [tokens.encode([prompt]).expand(options.count, -1)]


def takes(recipe: Recipe) -> dict[str, inspect.Parameter]:
    """What the recipe's `sample` can be told."""
    assert recipe.sample is not None
    return dict(inspect.signature(recipe.sample).parameters)


def own_options(recipe: Recipe) -> list[str]:
    """Of the options that not every recipe takes, those that it takes."""
    has = {"PROMPT": recipe.tokenizer is not None, "--class": recipe.classes > 0}
    has |= {option: key in takes(recipe) for key, option in SETTINGS.items()}
    return [option for option, taken in has.items() if taken]


def require_option(recipe: Recipe, option: str) -> None:
    """Raise ValueError that says what the recipe takes, unless it takes the option."""
    if option not in own_options(recipe):
        drawing = [other for other in recipes.RECIPES.values() if other.sample]
        able = [other.name for other in drawing if option in own_options(other)]
        raise ValueError(
            f"the recipe {recipe.name!r} has no use for {option}: beside --count, "
            f"--seed and where to write it takes "
            f"{', '.join(own_options(recipe)) or 'nothing'}. These take {option}: "
            f"{', '.join(able)}"
        )


def wanted_settings(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """The options for `sample` that were given. Raises ValueError for those that the
    recipe has no use for, and where an image or its mask is missing.
    """
    settings = {
        key: value
        for key, option in SETTINGS.items()
        if (value := getattr(options, option.removeprefix("--"))) is not None
    }
    for key in settings:
        require_option(recipe, SETTINGS[key])
    if "mask" in takes(recipe) and ("image" in settings) != ("mask" in settings):
        raise ValueError(
            "--image and --mask belong together: the picture, and where to paint"
        )
    pictures = {
        key: read_image(settings[key], channels).expand(options.count, -1, -1, -1)
        for key, channels in (("image", 3), ("mask", 1))
        if key in settings
    }
    if "mask" in pictures:
        pictures["mask"] = pictures["mask"] > 0
        if not pictures["mask"].any():
            raise ValueError(
                f"{options.mask} is black all over: make it white where to paint"
            )
    return settings | pictures


def read_image(file: Path, channels: int) -> Tensor:
    """A picture (channels, 16, 16). Raises ValueError where the file is none, OSError
    where there is no file.
    """
    if not file.is_file():
        is_what = "a folder" if file.is_dir() else "not there"
        raise FileNotFoundError(f"{file} is {is_what}: name the file of a picture")
    return read_picture(file, 16, channels)


def wanted_paths(recipe: Recipe, options: argparse.Namespace) -> list[Path]:
    """The file to write, or with --each one for each picture. Raises ValueError for an
    ending of no picture, OSError where it cannot be written.
    """
    path = options.out or Path(f"{recipe.name}.png")
    weights.require_writable(path)  # which may be a folder
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


def shown(
    recipe: Recipe, model: nn.Module, n: int, settings: dict[str, Any]
) -> AbstractContextManager[None]:
    """While it lasts, a terminal shows how far `sample` is: by itself, where it has a
    bar of its own.
    """
    if "progress" in takes(recipe):
        settings["progress"] = "drawing"
        return nullcontext()
    return counted(model, evaluations(recipe, n, settings), "drawing")


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
