"""python -m minilib train NAME."""

from __future__ import annotations

import argparse
from pathlib import Path

from minilib.commands import catalogue
from minilib.commands.arguments import SEED, whole


def add(command: argparse.ArgumentParser) -> None:
    add_length(command)
    command.add_argument(
        "--seed",
        type=SEED,
        help="of weights, order and noise; if left out, that of the checkpoint that "
        "--resume goes on from, else 0",
    )
    command.add_argument(
        "--out",
        type=Path,
        help="folder for checkpoint, weights and card; runs/NAME if left out",
    )
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on from the checkpoint in --out, if there is one",
    )
    command.add_argument(
        "--preview",
        type=whole(1, 10**9),
        metavar="N",
        help="every N steps the loss as PNG and CSV, and a sheet of samples, to --out",
    )
    command.add_argument(
        "--no-score",
        dest="score",
        action="store_false",
        help="leave the score out, which can take longer than a short training",
    )
    command.set_defaults(run=train)


def add_length(command: argparse.ArgumentParser) -> None:
    """How many steps to take."""
    length = command.add_mutually_exclusive_group()
    length.add_argument(
        "--steps",
        type=whole(1, 10**9),
        help=(
            "if left out, those of the checkpoint that --resume goes on from, else "
            "the budget's: full on CUDA, else quick, or what MINILIB_BUDGET says"
        ),
    )
    length.add_argument(
        "--full", action="store_true", help="as many steps as the weights that ship had"
    )
    length.add_argument(
        "--quick", action="store_true", help="as many steps as a CPU takes in minutes"
    )


def train(options: argparse.Namespace) -> None:
    """Train a recipe into a folder: checkpoint while it runs, then weights and card,
    then the score.
    """
    name = catalogue.known(options.name)
    from minilib.commands.training import run  # torch, and all models: seconds

    run(name, options)
