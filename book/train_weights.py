"""Retrain the weights that ship with minilib, each at the full budget of its recipe: make weights [NAME=…].

A run keeps its checkpoint under runs/, and goes on from there when it was cut off.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from book.common import ROOT, shown
from minilib import recipes
from minilib.weights import HERE


def retrain(name: str) -> None:
    """Train one recipe to its full budget, and move weights and card into the package once both are whole."""
    checkpoint = ROOT / "runs" / "weights" / f"{name}.checkpoint.safetensors"
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        path = recipes.train_and_save(name, Path(folder), steps=recipes.get(name).full, checkpoint=checkpoint)
        for file in (path, path.with_suffix(".json")):
            file.replace(HERE / file.name)
    checkpoint.unlink()
    print(f"{shown(HERE / path.name)}: retrained; now run: make scoreboard, and make chapter for those that load it")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.train_weights", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="recipes; all of them, in order, by default")
    for name in parser.parse_args(arguments).names or recipes.RECIPES:
        retrain(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
