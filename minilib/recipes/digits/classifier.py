"""The classifier of digits, whose features measure all that draws digits."""

from __future__ import annotations

from minilib.data import digits
from minilib.models.classifier import (
    DigitClassifier,
    accuracy,
    classification_loss,
)
from minilib.recipes.digits.scores import fd_from_data
from minilib.recipes.recipe import Recipe


def score_classifier(model: DigitClassifier) -> dict[str, float]:
    """Accuracy on the 10,000 test digits, and their FD from 10,000 training digits: the
    floor under every other FD.
    """
    x, y = digits.load("test")
    return {"accuracy": accuracy(model, x, y), "fd_floor": fd_from_data(x, model)}


digit_classifier = Recipe(
    name="digit_classifier",
    model=DigitClassifier,
    loss=classification_loss,
    data=lambda: digits.load("train"),
    quick=400,
    full=8_000,
    score=score_classifier,
    batch_size=128,
    lr=2e-3,
    weight_decay=0.05,
    limits="Sees digits only; its features say nothing about other pictures.",
)
