"""Every experiment of the book, by the ID of its claim."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module

from minilib.experiments.experiment import Experiment

MODULES: tuple[str, ...] = (
    "autoencoder",
    "vae",
    "denoising",
    "gan",
    "measuring",
    "ddpm",
    "better_diffusion",
    "classifier_guidance",
    "clip",
    "semantic_guidance",
    "glide",
    "image_tokens",
    "dalle",
)


@cache
def experiments() -> dict[str, Experiment]:
    """All experiments, chapter by chapter."""
    found = {}
    for name in MODULES:
        for value in vars(import_module(f"minilib.experiments.{name}")).values():
            if isinstance(value, Experiment):
                found[value.id] = value
    return found


def chosen(ids: Sequence[str]) -> list[Experiment]:
    """Those of these IDs; all without one. Raises ValueError for an unknown ID."""
    known = experiments()
    unknown = [id for id in ids if id not in known]
    if unknown:
        raise ValueError(
            f"no experiment measures {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return [known[id] for id in ids] if ids else list(known.values())
