"""DDPM: of digits, and of scenes without a word."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from minilib import runtime
from minilib.data import digits
from minilib.data.scenes import drawing as scenes
from minilib.data.scenes.finder import recognise_scenes
from minilib.diffusion.guidance import classifier_free
from minilib.diffusion.loss import root_snr, simple_loss
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import (
    EPS,
    X_0,
    Prediction,
    Schedule,
    V,
    cosine_beta,
    linear_beta,
    trailing,
)
from minilib.models.classifier import accuracy
from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import ScaleShift, UNetConfig
from minilib.recipes.captioned import SCENES
from minilib.recipes.digits.scores import fd_from_data, feature_network
from minilib.recipes.recipe import Recipe

LINEAR, COSINE = Schedule(linear_beta()), Schedule(cosine_beta())


def sample_digits(
    model: UNet,
    n: int,
    generator: torch.Generator,
    y: Tensor | None = None,
    *,
    schedule: Schedule,
    prediction: Prediction,
    steps: int = 20,
    w: float = 1.0,
) -> Tensor:
    """n pictures (n, 1, 28, 28) of labels y (n,), by default 0, 1, 2, … in turn, by so
    many DDIM steps with eta = 0.5 and classifier-free guidance w.
    """
    x = torch.randn(n, 1, 28, 28, generator=generator)
    y = torch.arange(n) % model.config.classes if y is None else y

    def draw(x: Tensor, y: Tensor) -> Tensor:
        conditional, unconditional = (
            denoiser(model, schedule, prediction, labels, clip=False)
            for labels in (y, torch.full_like(y, -1))
        )
        denoise = classifier_free(conditional, unconditional, w)
        return last(
            ddim(denoise, schedule, x, trailing(schedule.T, steps), generator, eta=0.5)
        )

    return runtime.in_blocks(draw, x, y)


def score_diffusion(
    model: UNet, schedule: Schedule, prediction: Prediction
) -> dict[str, float]:
    """FD of as many drawn pictures as there are test digits; and how many of them are
    taken for the digit asked for.
    """
    n, generator = len(digits.load("test")[0]), torch.Generator().manual_seed(0)
    asked = torch.arange(n) % model.config.classes
    drawn = sample_digits(
        model, n, generator, asked, schedule=schedule, prediction=prediction
    )
    return {
        "fd_samples": fd_from_data(drawn),
        "agreement": accuracy(feature_network(), drawn, asked),
    }


def recipe_of(name: str, prediction: Prediction, **options: Any) -> Recipe:
    """A recipe of digits with labels whose network predicts `prediction`; `options` are
    those of its loss.
    """
    return Recipe(
        name=name,
        model=partial(UNet, UNetConfig(blocks=1, attention=(), classes=10)),
        loss=partial(
            simple_loss,
            schedule=LINEAR,
            prediction=prediction,
            p_uncond=0.1,
            **options,
        ),
        data=lambda: digits.load("train"),
        quick=400,
        full=20_000,
        score=partial(score_diffusion, schedule=LINEAR, prediction=prediction),
        sample=partial(sample_digits, schedule=LINEAR, prediction=prediction),
        compared=prediction is X_0,
        classes=10,
        lr=4e-3,
        betas=(0.9, 0.99),
        limits="Draws digits only.",
    )


ddpm_digits = recipe_of("ddpm_digits", X_0, weight=root_snr)
ddpm_digits_eps = recipe_of("ddpm_digits_eps", EPS)  # the loss of Ho et al.: L_simple
ddpm_digits_v = recipe_of("ddpm_digits_v", V)  # Salimans and Ho (2022)


# ---------- scenes ----------


STEPS = 30


def sample_scenes(
    model: UNet, n: int, generator: torch.Generator, *, steps: int = STEPS
) -> Tensor:
    """n pictures (n, 3, 32, 32), by so many steps of DDIM."""
    denoise = denoiser(model, LINEAR, X_0)

    def draw(x: Tensor) -> Tensor:
        return last(ddim(denoise, LINEAR, x, trailing(LINEAR.T, steps)))

    return runtime.in_blocks(draw, torch.randn(n, 3, 32, 32, generator=generator))


def score_scenes(model: UNet) -> dict[str, float]:
    """Of 200 drawn pictures: how many show things, all of them such that the checker
    knows every attribute.
    """
    views = recognise_scenes(
        sample_scenes(model, 200, torch.Generator().manual_seed(0))
    )
    clear = [
        bool(view.things)
        and all(all(thing.attributes.values()) for thing in view.things)
        for view in views
    ]
    return {"clear": sum(clear) / len(clear)}


ddpm_scenes = Recipe(
    name="ddpm_scenes",
    model=partial(
        UNet,
        UNetConfig(
            channels=3,
            channels_out=3,
            multipliers=(1, 2, 2),
            blocks=1,
            attention=(1, 2),
            modulation=ScaleShift,
        ),
    ),
    loss=partial(simple_loss, schedule=LINEAR, prediction=X_0, weight=root_snr),
    data=lambda: (scenes.render(scenes.draw(20_000, 0)),),
    quick=100,
    full=3_000,
    score=score_scenes,
    sample=sample_scenes,
    lr=3e-3,
    betas=(0.9, 0.99),
    limits="Draws scenes, and cannot be told which.",
    source=SCENES,
)
