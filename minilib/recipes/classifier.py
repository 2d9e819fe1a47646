"""The classifier of digits, whose features measure all that draws digits."""

from __future__ import annotations

from minilib.classifier import DigitClassifier, accuracy, classification_loss
from minilib.data import digits
from minilib.metrics import features, frechet_distance
from minilib.recipes.recipe import Recipe


def score_classifier(model: DigitClassifier) -> dict[str, float]:
    """Accuracy on the 10,000 test digits, and their FD from 10,000 training digits: the floor under every other FD."""
    (x_test, y_test), reference = digits.load("test"), digits.load("train")[0][::2]
    floor = frechet_distance(features(model, x_test), features(model, reference))
    return {"accuracy": accuracy(model, x_test, y_test), "fd_floor": floor}


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
