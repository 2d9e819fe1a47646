"""What `train` does: train, write, score, and show previews on the way."""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from minilib import plot, recipes, runtime
from minilib.commands.drawing import encoded, sheet
from minilib.commands.progress import counted
from minilib.recipes import Recipe
from minilib.train import Trainer
from minilib.train.checkpoint import require_same_run, run_of
from minilib.weights import write_atomically

SHEET = 16  # pictures on a preview
# how often a score that takes long calls the network, and the timing of a draw after it
CALLS = {
    "dae_digits": 440,
    "ddpm_digits": 420,
    "ddpm_digits_eps": 420,
    "ddpm_digits_v": 420,
    "adm_digits": 420,
    "ddpm_scenes": 60,
    "glide_people": 180,
    "glide_portraits": 180,
    "glide_portraits_inpaint": 120,
    "glide_scenes": 120,
}


def run(name: str, options: argparse.Namespace) -> None:
    """Train the recipe `name` as the options say."""
    recipe = recipes.get(name)
    folder = options.out or Path("runs") / recipe.name
    checkpoint = folder / f"{recipe.name}.checkpoint.safetensors"
    # under torchrun the others may find what the first just wrote
    first = os.environ.get("RANK", "0") == "0"
    if first and checkpoint.exists() and not options.resume:
        raise FileExistsError(
            f"{checkpoint} exists: go on with --resume, choose another --out, or "
            "delete it"
        )
    steps, seed = wanted_run(options, recipe, checkpoint)
    every = options.preview
    watch = previews(recipe, folder, every, seed) if every else None
    if first:
        say(f"training on {runtime.device()}, its data first, in up to a minute …")
    try:
        path = recipes.train_and_save(
            recipe.name,
            folder,
            steps=steps,
            seed=seed,
            score=False,
            checkpoint=checkpoint,
            watch=watch,
        )
    except KeyboardInterrupt as stopped:
        said = f"{stopped}: " if stopped.args else ""
        raise KeyboardInterrupt(f"{said}go on with --resume") from None
    if first:
        print(f"wrote {path}", flush=True)
        if options.score:
            score(recipe, path)


def wanted_run(
    options: argparse.Namespace, recipe: Recipe, checkpoint: Path
) -> tuple[int | None, int]:
    """How many steps, where None leaves it to the budget, and the seed: as asked for,
    else those of the checkpoint that --resume goes on from.

    Raises ValueError that says what differs where it is the checkpoint of another run.
    """
    steps, seed = options.steps, options.seed
    if options.full or options.quick:
        steps = recipe.full if options.full else recipe.quick
    if not (options.resume and checkpoint.exists()):
        return steps, seed or 0
    there = run_of(checkpoint)
    here = {
        "name": recipe.name,
        "steps": there["steps"] if steps is None else steps,
        "seed": there["seed"] if seed is None else seed,
    }
    # the rest `fit` compares, which has made the data first
    require_same_run(checkpoint, there, there | here)
    return here["steps"], here["seed"]


def say(line: str) -> None:
    """What comes next, on stderr, as stdout is for what was made."""
    print(line, file=sys.stderr, flush=True)


def score(recipe: Recipe, path: Path) -> None:
    """Score the weights at `path`, and say so before and after, and meanwhile how far
    it is.
    """
    say(f"scoring on {runtime.device()}, in seconds to minutes …")
    bar = partial(counted, total=CALLS.get(recipe.name, 0), what="scoring")
    try:
        found = recipes.score_saved(recipe.name, path, bar)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{path} is whole, but has no score: --resume will score it"
        ) from None
    numbers = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
    say(f"scored: {numbers}")


# ---------- previews ----------


def previews(
    recipe: Recipe, folder: Path, every: int, seed: int
) -> Callable[[Trainer], None]:
    """What writes previews of a training in the first process, every so many steps and
    at its end: NAME.loss.csv and .png, and NAME.000500.png where the recipe draws.
    """
    names = list(recipe.loss) if isinstance(recipe.loss, dict) else ["loss"]

    def watch(trainer: Trainer) -> None:
        step, last = trainer.step, trainer.step == trainer.run["steps"]
        if trainer.rank != 0 or not (last or step % every == 0):
            return
        trainer.require_finite()
        losses = trainer.losses[:step].cpu()
        stem = folder / recipe.name
        write_atomically(stem.with_suffix(".loss.csv"), loss_table(names, losses))
        write_atomically(stem.with_suffix(".loss.png"), loss_curve(names, losses))
        if recipe.sample is not None:
            draw = torch.Generator().manual_seed(seed)
            drawn = recipe.sample(trainer.ema, SHEET, draw)
            file = stem.with_suffix(f".{step:06}.png")
            write_atomically(file, encoded(sheet(drawn), file))

    return watch


def loss_table(names: list[str], losses: Tensor) -> bytes:
    """Losses (steps, players) as CSV, a row a step."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["step", *names])
    rows.writerows([step, *row] for step, row in enumerate(losses.tolist()))
    return text.getvalue().encode()


def loss_curve(names: list[str], losses: Tensor) -> bytes:
    """Losses (steps, players) as a PNG: at most some 200 points, each a mean over steps
    that follow one another.
    """
    width = max(1, len(losses) // 200)
    count = len(losses) // width
    means = losses[: count * width].unflatten(0, (count, width)).mean(dim=1)
    steps = width * torch.arange(count)
    lines = {name: (steps, means[:, i]) for i, name in enumerate(names)}
    label = f"loss, mean of {width} steps" if width > 1 else "loss"
    return plot.to_png(plot.curves(lines, "step", label))
