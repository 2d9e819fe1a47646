"""python -m minilib train NAME."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from minilib.commands import catalogue
from minilib.commands.arguments import whole


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--steps", type=whole(1, 10**9), help="the budget's number of steps if left out"
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
    command.set_defaults(run=train)


def train(options: argparse.Namespace) -> None:
    """Train a recipe into a folder: checkpoint while it runs, then weights and card."""
    name = catalogue.known(options.name)
    from minilib import recipes  # torch, and all models: seconds

    folder = options.out or Path("runs") / name
    checkpoint = folder / f"{name}.checkpoint.safetensors"
    # under torchrun the others may find what the first just wrote
    first = os.environ.get("RANK", "0") == "0"
    if first and checkpoint.exists() and not options.resume:
        raise FileExistsError(
            f"{checkpoint} exists: go on with --resume, choose another --out, or "
            "delete it"
        )
    path = recipes.train_and_save(
        name, folder, steps=options.steps, seed=options.seed, checkpoint=checkpoint
    )
    if first:
        print(f"wrote {path}")
