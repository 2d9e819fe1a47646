"""What there is to train and to draw from, known without importing a recipe, and torch
with it.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple


class Facts(NamedTuple):
    """Of a recipe: its numbers of steps, and what it draws from ("class", "prompt" or
    "nothing"; "" where it draws no pictures). A test holds them equal to the recipe.
    """

    quick: int
    full: int
    draws_from: str = ""


CATALOGUE = {
    "digit_classifier": Facts(400, 8_000),
    "ae_digits": Facts(400, 12_000, "nothing"),
    "ae_digits_2d": Facts(400, 12_000, "nothing"),
    "vae_digits": Facts(400, 20_000, "nothing"),
    "dae_digits": Facts(300, 12_000, "nothing"),
    "mae_digits": Facts(300, 6_000),
    "gan_digits": Facts(1_000, 40_000, "nothing"),
    "cgan_digits": Facts(1_500, 5_000, "class"),
    "ddpm_digits": Facts(400, 20_000, "class"),
    "ddpm_digits_eps": Facts(400, 20_000, "class"),
    "ddpm_digits_v": Facts(400, 20_000, "class"),
    "adm_digits": Facts(400, 14_000, "class"),
    "noisy_classifier": Facts(400, 8_000),
    "clip_portraits": Facts(250, 3_000),
    "clip_scenes": Facts(250, 1_000),
    "clip_emoji": Facts(250, 2_000),
    "clip_both_worlds": Facts(250, 1_000),
    "clip_portrait_world": Facts(250, 1_000),
    "clip_scene_world": Facts(250, 1_000),
    "ddpm_scenes": Facts(100, 3_000, "nothing"),
    "noisy_clip_scenes": Facts(60, 400),
    "noisy_clip_portraits": Facts(60, 500),
    "glide_portraits": Facts(150, 12_000, "prompt"),
    "glide_portraits_inpaint": Facts(100, 500, "prompt"),
    "upsample_scenes": Facts(100, 1_000),
    "glide_scenes": Facts(150, 2_000, "prompt"),
    "people_judge": Facts(200, 1_500),
    "people_judge_64": Facts(200, 1_500),
    "dvae_people": Facts(400, 14_000),
    "dvae_emoji": Facts(400, 14_000),
}


def known(name: str) -> str:
    """A recipe's own name of that which a user wrote, with hyphens or underscores.
    Raises ValueError that names the nearest, and lists all.
    """
    name = name.replace("-", "_")
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name, CATALOGUE, n=3)
        hint = f"did you mean {' or '.join(near)}? There" if near else "there"
        raise ValueError(f"no recipe named {name!r}: {hint} are {', '.join(CATALOGUE)}")
    return name
