"""The classifier of noisy digits, which guides."""

from __future__ import annotations

from functools import partial

import torch

from minilib import runtime
from minilib.data import digits
from minilib.models.noisy_classifier import (
    NoisyClassifier,
    noisy_classification_loss,
)
from minilib.nets.unet_blocks import ScaleShift, UNetConfig
from minilib.recipes.ddpm import COSINE
from minilib.recipes.recipe import Recipe


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
