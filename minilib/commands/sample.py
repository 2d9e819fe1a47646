"""python -m minilib sample NAME [PROMPT]."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import torch
from PIL import Image

from minilib import recipes, runtime, weights
from minilib.commands.arguments import whole
from minilib.recipes import Recipe


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "prompt",
        nargs="?",
        help=(
            "a caption to draw, for models that read; captions of all kinds if left out"
        ),
    )
    command.add_argument(
        "--class",
        dest="label",
        type=whole(0, 10**6),
        help="of what to draw; every class if left out",
    )
    command.add_argument(
        "--out", type=Path, help="the PNG to write; NAME.png if left out"
    )
    command.add_argument(
        "--weights",
        type=Path,
        help="weights that `train` wrote; the shipped ones if left out",
    )
    command.set_defaults(run=sample)


def sample(options: argparse.Namespace) -> None:
    """Draw 64 pictures from the shipped weights of a recipe, or from those in
    --weights, as a PNG grid.
    """
    # matplotlib is slow to import, and only this command needs it
    from minilib.plot import tile

    recipe = recipes.get(options.name)
    if recipe.sample is None:
        others = ", ".join(
            name for name, other in recipes.RECIPES.items() if other.sample
        )
        raise ValueError(
            f"the recipe {recipe.name!r} draws no pictures; these do: {others}"
        )
    wish = wanted_labels(recipe, options.label) + wanted_prompt(recipe, options.prompt)
    model = recipe.model()
    if options.weights:
        weights.load_weights(model, options.weights)
    else:
        weights.load_pretrained(model, recipe.name)
    print(
        f"drawing 64 pictures on {runtime.device()}, in seconds to a minute …",
        file=sys.stderr,
        flush=True,
    )
    x = recipe.sample(
        model.to(runtime.device()),
        64,
        torch.Generator().manual_seed(options.seed),
        *wish,
    )
    scale = max(1, 48 // x.shape[2])  # 16 pixels would be hard to see
    x = x.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    path = options.out or Path(f"{recipe.name}.png")
    png = io.BytesIO()
    Image.fromarray(tile(x, columns=8)).save(png, format="png")
    weights.write_atomically(path, png.getvalue())
    print(f"wrote {path}")


def wanted_labels(recipe: Recipe, label: int | None) -> list[torch.Tensor]:
    """64 times the label for `sample`; nothing where no label is asked for. Raises
    ValueError for a wrong one.
    """
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
    return [torch.full((64,), label)]


def wanted_prompt(recipe: Recipe, prompt: str | None) -> list[torch.Tensor]:
    """64 times the prompt's tokens for `sample`; nothing where none is given. Raises
    ValueError for a wrong one.
    """
    if prompt is None:
        return []
    if recipe.tokenizer is None:
        reads = ", ".join(
            name for name, other in recipes.RECIPES.items() if other.tokenizer
        )
        raise ValueError(
            f"the recipe {recipe.name!r} reads no prompt; these do: {reads}"
        )
    return [recipe.tokenizer().encode([prompt]).expand(64, -1)]
