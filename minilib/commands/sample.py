"""python -m minilib sample NAME [PROMPT]."""

from __future__ import annotations

import argparse
from pathlib import Path

from minilib.commands import catalogue
from minilib.commands.arguments import SEED, number, whole


def add(command: argparse.ArgumentParser) -> None:
    add_wishes(command)
    add_pictures(command)
    command.add_argument(
        "--out",
        type=Path,
        help="the file to write, its format as its ending says; NAME.png if left out",
    )
    command.add_argument(
        "--each",
        action="store_true",
        help="a file for each picture, NAME_000.png and so on, in place of one sheet",
    )
    command.add_argument(
        "--weights",
        type=Path,
        help="weights that `train` wrote; the shipped ones if left out",
    )
    command.set_defaults(run=sample)


def add_wishes(command: argparse.ArgumentParser) -> None:
    """What to draw, and how."""
    command.add_argument(
        "prompt",
        nargs="?",
        help=(
            "a caption to draw, for models that read; captions of all kinds if left out"
        ),
    )
    command.add_argument("--seed", type=SEED, default=0, help="0 if left out")
    command.add_argument(
        "--class",
        dest="label",
        type=whole(0, 10**6),
        help="of what to draw; every class if left out",
    )
    command.add_argument(
        "--count", type=whole(1, 10_000), default=64, help="of pictures; 64 if left out"
    )
    command.add_argument(
        "--steps",
        type=whole(1, 1000),
        help="of diffusion, where the recipe has no fixed number; its own if left out",
    )
    command.add_argument(
        "--guidance",
        type=number(0, 100),
        metavar="W",
        help="guidance scale: 0 unconditional, 1 conditional, more obeys more; the "
        "recipe's if left out",
    )


def add_pictures(command: argparse.ArgumentParser) -> None:
    """What to start from."""
    command.add_argument(
        "--image",
        type=Path,
        help="a picture to repaint in part, or to enlarge, for models that do; it is "
        "made 16 × 16 first",
    )
    command.add_argument(
        "--mask",
        type=Path,
        help="for an --image to repaint: a picture that is white where to paint, black "
        "where to keep",
    )


def sample(options: argparse.Namespace) -> None:
    """Draw pictures from the shipped weights of a recipe, or from those in --weights,
    as one sheet or a file each.
    """
    name = catalogue.known(options.name)
    from minilib.commands.drawing import draw  # torch, and all models: seconds

    draw(name, options)
