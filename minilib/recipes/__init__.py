"""One recipe a trained model: data, model, loss and budgets in a few lines, trained the
same way everywhere.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from minilib import runtime
from minilib.recipes.clip import (
    clip_both_worlds,
    clip_emoji,
    clip_portrait_world,
    clip_portraits,
    clip_scene_world,
    clip_scenes,
)
from minilib.recipes.clip_people import clip_people
from minilib.recipes.dalle import dalle_people
from minilib.recipes.dalle_grid import dalle_emoji
from minilib.recipes.ddpm import (
    ddpm_digits,
    ddpm_digits_eps,
    ddpm_digits_v,
    ddpm_scenes,
)
from minilib.recipes.digits.adm import adm_digits
from minilib.recipes.digits.autoencoder import ae_digits, ae_digits_2d
from minilib.recipes.digits.classifier import digit_classifier
from minilib.recipes.digits.denoising import dae_digits
from minilib.recipes.digits.gan import cgan_digits, gan_digits
from minilib.recipes.digits.mae import mae_digits
from minilib.recipes.digits.noisy_classifier import noisy_classifier
from minilib.recipes.digits.vae import vae_digits
from minilib.recipes.dvae import dvae_emoji, dvae_people
from minilib.recipes.glide import (
    glide_portraits,
    glide_portraits_inpaint,
    glide_scenes,
    upsample_scenes,
)
from minilib.recipes.glide_people import glide_people
from minilib.recipes.noisy_clip import noisy_clip_portraits, noisy_clip_scenes
from minilib.recipes.people_judge import people_judge, people_judge_64
from minilib.recipes.priors import prior_people
from minilib.recipes.recipe import MNIST, Recipe
from minilib.weights import load_weights, save_weights

RECIPES = {
    recipe.name: recipe
    for recipe in (
        digit_classifier,
        ae_digits,
        ae_digits_2d,
        vae_digits,
        dae_digits,
        mae_digits,
        gan_digits,
        cgan_digits,
        ddpm_digits,
        ddpm_digits_eps,
        ddpm_digits_v,
        adm_digits,
        noisy_classifier,
        clip_portraits,
        clip_scenes,
        clip_emoji,
        clip_both_worlds,
        clip_portrait_world,
        clip_scene_world,
        clip_people,
        ddpm_scenes,
        noisy_clip_scenes,
        noisy_clip_portraits,
        glide_portraits,
        glide_portraits_inpaint,
        upsample_scenes,
        glide_scenes,
        dalle_people,
        glide_people,
        dalle_emoji,
        prior_people,
        people_judge,
        people_judge_64,
        dvae_people,
        dvae_emoji,
    )
}


def get(name: str) -> Recipe:
    """The recipe of that name, with hyphens or underscores. Raises ValueError that
    lists the known ones.
    """
    name = name.replace("-", "_")
    if name not in RECIPES:
        raise ValueError(f"no recipe named {name!r}: there are {', '.join(RECIPES)}")
    return RECIPES[name]


def draws_digits(recipe: Recipe) -> bool:
    """Whether its pictures are those that the scoreboard compares."""
    drawing = recipe.sample is not None and recipe.compared
    return drawing and recipe.source == MNIST


def train_and_save(
    name: str,
    folder: str | Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    file: str | None = None,
    score: bool = True,
    **options: Any,
) -> Path:
    """Run a recipe; write what it gave as `folder/FILE.safetensors` with its card, then
    score it.

    Returns the file's path. `file` is the recipe's name unless given. The weights are
    the averaged ones, in float16. Without a score the card's is empty, and
    `score_saved` adds it. Under torchrun every process trains, and the first one
    writes and scores. Raises NotADirectoryError where `folder` is a file.
    """
    recipe = get(name)
    path = folder_for(folder) / f"{file or recipe.name}.safetensors"
    fitted = recipe.train(steps=steps, seed=seed, **options)
    about = {
        "recipe": recipe.settings(),
        "steps": len(fitted.loss),
        "seed": seed,
        "data": recipe.source,
        "parameters": sum(p.numel() for p in fitted.ema.parameters()),
        "seconds": round(fitted.seconds, 1),
        "machine": runtime.machine(),
        "precision": fitted.precision,
        "date": datetime.date.today().isoformat(),
        "score": {},
        "limits": recipe.limits,
    }
    if fitted.rank == 0:
        save_weights(fitted.ema, path, about)
        if score:
            score_saved(name, path)
    return path


def folder_for(path: str | Path) -> Path:
    """The path of a folder, there or not yet. Raises NotADirectoryError for a file."""
    folder = Path(path)
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file: choose a folder")
    return folder


def score_saved(
    name: str,
    path: str | Path,
    shown: Callable[[torch.nn.Module], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, float]:
    """Score the very weights that `train_and_save` wrote to `path`, and add that to
    their card. Raises what `load_weights` raises.

    `shown(model)` lasts as long as the network is at work: a bar that counts its calls.
    """
    recipe, path = get(name), Path(path)
    model = load_weights(recipe.model(), path).to(runtime.device())
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    with shown(model):
        score = {k: round(v, 5) for k, v in recipe.score(model).items()}
        about["score"] = score
        if recipe.sample:
            seconds = drawing_time(recipe, model, about["seed"])
            about["seconds_per_1000_samples"] = seconds
    save_weights(model, path, about)
    return score


def drawing_time(recipe: Recipe, model: torch.nn.Module, seed: int) -> float:
    """Seconds that 1,000 pictures take, from a draw of 100."""
    assert recipe.sample is not None
    started = time.perf_counter()
    recipe.sample(model, 100, torch.Generator().manual_seed(seed))
    return round(10 * (time.perf_counter() - started), 3)
