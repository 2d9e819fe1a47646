"""python -m minilib train|sample|list|measure: the recipes and the claims from the
command line.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image

from minilib import recipes, runtime, weights
from minilib.recipes import Recipe


def train(options: argparse.Namespace) -> None:
    """Train a recipe into a folder: checkpoint while it runs, then weights and card."""
    name = recipes.get(options.name).name
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


def measure_claims(options: argparse.Namespace) -> None:
    """Measure claims, and record each in minilib/experiments/evidence/ID.json."""
    from minilib.experiments.experiment import Size  # scipy, and all models: seconds
    from minilib.experiments.measure import is_stale, measure
    from minilib.experiments.registry import chosen

    wanted = chosen(options.ids)
    if options.stale:
        wanted = [one for one in wanted if is_stale(one)]
    for claim in measure(wanted, options.seeds, Size(options.size)):
        print(claim)


def show_list(_: argparse.Namespace) -> None:
    """A line a recipe: name, steps, and the score of what ships; and the size of it."""
    for name, recipe in recipes.RECIPES.items():
        score = weights.card(name)["score"] if name in weights.names() else {}
        missing = (
            "only trainings at the quick budget shipped"
            if recipe.seeds
            else "no weights shipped"
        )
        facts = (
            ", ".join(f"{key} {value:.4g}" for key, value in score.items()) or missing
        )
        print(
            f"{name:<18} quick {recipe.quick:>6,} steps, full {recipe.full:>6,}: "
            f"{facts}"
        )
    sizes = [weights.card(name)["bytes"] for name in weights.names()]
    print(f"{len(sizes)} files of weights ship, {sum(sizes) / 1e6:.1f} MB in all")


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m minilib", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("name", metavar="NAME", help="a recipe's name (see list)")
    shared.add_argument("--seed", type=whole(0, 2**32 - 1), default=0)
    shared.add_argument(
        "--device", help="cpu, cuda, cuda:1 or mps; the fastest present if left out"
    )
    add_train(commands.add_parser("train", parents=[shared], help=train.__doc__))
    add_sample(commands.add_parser("sample", parents=[shared], help=sample.__doc__))
    commands.add_parser("list", help=show_list.__doc__).set_defaults(run=show_list)
    add_measure(commands.add_parser("measure", help=measure_claims.__doc__))
    return root


def add_train(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--steps", type=whole(1, 10**9), help="the budget's number of steps if left out"
    )
    one.add_argument(
        "--out",
        type=Path,
        help="folder for checkpoint, weights and card; runs/NAME if left out",
    )
    one.add_argument(
        "--resume",
        action="store_true",
        help="go on from the checkpoint in --out, if there is one",
    )
    one.set_defaults(run=train)


def add_sample(two: argparse.ArgumentParser) -> None:
    two.add_argument(
        "prompt",
        nargs="?",
        help=(
            "a caption to draw, for models that read; captions of all kinds if left out"
        ),
    )
    two.add_argument(
        "--class",
        dest="label",
        type=whole(0, 10**6),
        help="of what to draw; every class if left out",
    )
    two.add_argument("--out", type=Path, help="the PNG to write; NAME.png if left out")
    two.add_argument(
        "--weights",
        type=Path,
        help="weights that `train` wrote; the shipped ones if left out",
    )
    two.set_defaults(run=sample)


def add_measure(three: argparse.ArgumentParser) -> None:
    three.add_argument(
        "ids", nargs="*", metavar="ID", help="claims such as AE-1; all if left out"
    )
    three.add_argument(
        "--seeds",
        type=whole(1, 1000),
        help="how many; what each claim wants if left out",
    )
    three.add_argument(
        "--size",
        choices=["live", "quick", "full"],
        default="full",
        help="seconds as in a chapter, minutes, or hours (the default)",
    )
    three.add_argument(
        "--stale", action="store_true", help="only those whose code has changed"
    )
    three.add_argument("--device", help="cpu, cuda, cuda:1 or mps")
    three.set_defaults(run=measure_claims)


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {low} to {high}, got {text!r}"
            )
        return int(text)

    return read


@contextmanager
def chosen_device(name: str | None) -> Iterator[None]:
    """While it lasts, `runtime.device()` is the device `name`; None leaves the choice
    as it is.
    """
    before = os.environ.get("MINILIB_DEVICE")
    if name is not None:
        os.environ["MINILIB_DEVICE"] = str(runtime.device(name))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("MINILIB_DEVICE", None)
        else:
            os.environ["MINILIB_DEVICE"] = before


def main(arguments: list[str] | None = None) -> int:
    """Run one command. What the user can mend is one line on stderr and exit code 2,
    not a traceback.
    """
    options = parser().parse_args(arguments)
    try:
        with chosen_device(getattr(options, "device", None)):
            options.run(options)
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        print(f"minilib: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
