"""Chapter 9: does one CLIP serve two worlds?"""

from __future__ import annotations

from functools import cache
from typing import cast

from torch import Tensor

from minilib.experiments.experiment import Compare, Experiment, Measured, Size
from minilib.models.clip import CLIP, retrieval
from minilib.recipes.captioned import captioned_portraits, captioned_scenes
from minilib.recipes.clip import (
    clip_both_worlds,
    clip_portrait_world,
    clip_scene_world,
    unique,
    world_tokens,
)

ARMS = {
    "both": clip_both_worlds,
    "portraits": clip_portrait_world,
    "scenes": clip_scene_world,
}


@cache
def new_pairs(world: str) -> tuple[Tensor, Tensor]:
    """1,000 pictures (1000, 3, 16, 16) of a world that training has not seen, and the
    tokens (1000, L) of their long captions, all different.
    """
    if world == "portraits":
        x, texts = unique(captioned_portraits(1_100, 1, "test", "long"))
    else:
        x, texts = unique(captioned_scenes(1_100, 1, "test", "long", size=16))
    return x[:1000], world_tokens().encode(texts[:1000])


def found_in(model: CLIP, world: str) -> float:
    """The share of captions of a world whose picture is found first among a hundred."""
    return retrieval(model, *new_pairs(world))["picture"]


def sides_of(found: dict[str, dict[str, float]]) -> Measured:
    """The parts of UNCLIP-8, from what each arm finds in each world."""
    both, portraits, scenes = found["both"], found["portraits"], found["scenes"]
    return {
        "abroad, portraits: both worlds − scenes only": (
            both["portraits"],
            scenes["portraits"],
        ),
        "abroad, scenes: both worlds − portraits only": (
            both["scenes"],
            portraits["scenes"],
        ),
        "at home, portraits: both worlds − portraits only": (
            both["portraits"],
            portraits["portraits"],
        ),
        "at home, scenes: both worlds − scenes only": (
            both["scenes"],
            scenes["scenes"],
        ),
    }


def two_worlds(seed: int, size: Size) -> Measured:
    """Three small CLIPs of one seed, trained on as many pairs: of both worlds, half of
    each, of portraits only, of scenes only.
    """
    steps = size.pick(live=20, quick=clip_both_worlds.quick, full=clip_both_worlds.full)
    found = {}
    for name, recipe in ARMS.items():
        fitted = recipe.train(steps=steps, seed=seed, progress=False)
        model = cast(CLIP, fitted.ema.eval())
        found[name] = {
            world: found_in(model, world) for world in ("portraits", "scenes")
        }
    return sides_of(found)


UNCLIP_8 = Experiment(
    "UNCLIP-8",
    "A CLIP trained on half of each of two worlds serves both: abroad it finds the "
    "picture of a caption far more often than a CLIP that was trained as long on the "
    "other world only, and at home as often as the specialist.",
    two_worlds,
    (
        Compare("abroad, portraits: both worlds − scenes only", 0.1),
        Compare("abroad, scenes: both worlds − portraits only", 0.1),
        Compare("at home, portraits: both worlds − portraits only", 0.05, equal=True),
        Compare("at home, scenes: both worlds − scenes only", 0.05, equal=True),
    ),
    seeds=3,
)
