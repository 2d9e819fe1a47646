"""The diffusion models of digits, DDPM's and ADM's, and the classifier of noisy digits
that guides.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from minilib import runtime
from minilib.classifier import accuracy
from minilib.data import digits
from minilib.diffusion.loss import hybrid_loss, root_snr, simple_loss
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import (
    X_0,
    Prediction,
    Schedule,
    V,
    cosine_beta,
    linear_beta,
    trailing,
)
from minilib.noisy_classifier import NoisyClassifier, noisy_classification_loss
from minilib.recipes.recipe import Recipe
from minilib.recipes.scores import digit_eyes, fd_from_data
from minilib.unet import ScaleShift, UNet, UNetConfig, block_down, block_up

LINEAR, COSINE = Schedule(linear_beta()), Schedule(cosine_beta())


def sample_digits(
    model: UNet,
    n: int,
    generator: torch.Generator,
    y: Tensor | None = None,
    *,
    schedule: Schedule,
    prediction: Prediction,
) -> Tensor:
    """n pictures (n, 1, 28, 28) of labels y (n,), by default 0, 1, 2, … in turn, by 20
    DDIM steps with eta = 0.5.
    """
    x = torch.randn(n, 1, 28, 28, generator=generator)
    y = torch.arange(n) % model.config.classes if y is None else y

    def draw(x: Tensor, y: Tensor) -> Tensor:
        denoise = denoiser(model, schedule, prediction, y)
        return last(
            ddim(denoise, schedule, x, trailing(schedule.T, 20), generator, eta=0.5)
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
        "agreement": accuracy(digit_eyes(), drawn, asked),
    }


ddpm_digits = Recipe(
    name="ddpm_digits",
    model=partial(UNet, UNetConfig(blocks=1, attention=(), classes=10)),
    loss=partial(
        simple_loss, schedule=LINEAR, prediction=X_0, weight=root_snr, untold=0.1
    ),
    data=lambda: digits.load("train"),
    quick=400,
    full=20_000,
    score=partial(score_diffusion, schedule=LINEAR, prediction=X_0),
    sample=partial(sample_digits, schedule=LINEAR, prediction=X_0),
    classes=10,
    lr=4e-3,
    betas=(0.9, 0.99),
    limits="Draws digits only.",
)

adm_digits = Recipe(
    name="adm_digits",
    model=partial(
        UNet,
        UNetConfig(
            channels_out=2,
            blocks=1,
            classes=10,
            modulation=ScaleShift,
            down=block_down,
            up=block_up,
        ),
    ),
    loss=partial(hybrid_loss, schedule=COSINE, prediction=V, untold=0.1),
    data=lambda: digits.load("train"),
    quick=400,
    full=14_000,
    score=partial(score_diffusion, schedule=COSINE, prediction=V),
    sample=partial(sample_digits, schedule=COSINE, prediction=V),
    classes=10,
    lr=4e-3,
    betas=(0.9, 0.99),
    limits="Draws digits only.",
)


def score_noisy_classifier(model: NoisyClassifier) -> dict[str, float]:
    """Accuracy on the 10,000 test digits at four steps, of which the first is hardly
    noisy.
    """
    (x, y), generator = digits.load("test"), torch.Generator().manual_seed(0)
    eps, score = torch.randn(x.shape, generator=generator), {}
    for t in (0, 250, 500, 750):
        at = torch.full_like(y, t)
        found = runtime.in_blocks(model, COSINE.noisy(x, at, eps), at).argmax(dim=1)
        score[f"accuracy_t{t}"] = float((found == y).float().mean())
    return score


noisy_classifier = Recipe(
    name="noisy_classifier",
    model=partial(
        NoisyClassifier,
        UNetConfig(width=16, head_dim=16, modulation=ScaleShift),
        size=28,
        classes=10,
    ),
    loss=partial(noisy_classification_loss, schedule=COSINE),
    data=lambda: digits.load("train"),
    quick=400,
    full=8_000,
    score=score_noisy_classifier,
    lr=2e-3,
    weight_decay=0.05,
    limits="Knows digits under the noise of the cosine schedule only.",
)
