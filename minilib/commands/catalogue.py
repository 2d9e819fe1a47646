"""What there is to train and to draw from, known without importing a recipe, and torch
with it.
"""

from __future__ import annotations

import difflib

from minilib import weights

# what a recipe draws from: "class", "prompt", "prompt, image" or "nothing"; "" where it
# draws no pictures. A test holds it equal to the recipes.
CATALOGUE = {
    "digit_classifier": "",
    "ae_digits": "nothing",
    "ae_digits_2d": "nothing",
    "vae_digits": "nothing",
    "dae_digits": "nothing",
    "mae_digits": "",
    "gan_digits": "nothing",
    "cgan_digits": "class",
    "ddpm_digits": "class",
    "ddpm_digits_eps": "class",
    "ddpm_digits_v": "class",
    "adm_digits": "class",
    "noisy_classifier": "",
    "clip_portraits": "",
    "clip_scenes": "",
    "clip_emoji": "",
    "clip_both_worlds": "",
    "clip_portrait_world": "",
    "clip_scene_world": "",
    "clip_people": "",
    "ddpm_scenes": "nothing",
    "noisy_clip_scenes": "",
    "noisy_clip_portraits": "",
    "glide_portraits": "prompt",
    "glide_portraits_inpaint": "prompt, image",
    "upsample_scenes": "prompt, image",
    "glide_scenes": "prompt",
    "dalle_people": "prompt",
    "glide_people": "prompt",
    "dalle_emoji": "prompt",
    "prior_people": "",
    "people_judge": "",
    "people_judge_64": "",
    "dvae_people": "",
    "dvae_emoji": "",
}


def budgets(name: str) -> tuple[str, str]:
    """A recipe's quick and full numbers of steps, from the card of its weights; - where
    none ship.
    """
    if name not in weights.names():
        return "-", "-"
    settings = weights.card(name)["recipe"]
    return f"{settings['quick']:,}", f"{settings['full']:,}"


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
