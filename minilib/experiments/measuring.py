"""Chapter 5: which numbers notice that a generator's classes have collapsed?"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from minilib import runtime
from minilib.claims import DRAW
from minilib.data import digits
from minilib.experiments.experiment import Compare, Experiment, Measured, Size
from minilib.metrics import (
    features,
    frechet_distance,
    inception_score,
    precision_recall,
)
from minilib.recipes.digits.scores import feature_network

CLASSES, SHAPES = 10, 20


class Seen(NamedTuple):
    """What the digit classifier sees in pictures: features (N, 128), probabilities
    (N, 10), and the pictures' labels (N,).
    """

    features: Tensor
    probabilities: Tensor
    labels: Tensor

    def at(self, index: Tensor) -> Seen:
        return Seen(*(part[index] for part in self))


def seen(x: Tensor, y: Tensor) -> Seen:
    """What the classifier sees in pictures x (N, 1, 28, 28) with labels y (N,)."""
    network = feature_network()
    f = features(network, x)
    return Seen(f, runtime.in_blocks(lambda h: network.head(h).softmax(dim=1), f), y)


@cache
def seen_of(split: str) -> Seen:
    """Of 10,000 digits of a split: every second one of the training digits."""
    x, y = digits.load(split)
    return seen(x[::2], y[::2]) if split == "train" else seen(x, y)


def untypical(all_seen: Seen, centres: Tensor) -> Tensor:
    """(N,): 0 for the digit of each class whose features are nearest to the centre of
    its class, centres (10, D), and 1 for the one that is furthest from it.
    """
    far = (all_seen.features - centres[all_seen.labels]).norm(dim=1)
    rank = torch.empty(len(far))
    for c in range(CLASSES):
        members = torch.nonzero(all_seen.labels == c)[:, 0]
        order = members[far[members].argsort()]
        rank[order] = torch.linspace(0, 1, len(members))
    return rank


def even_rows(labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Places (n,) of n of the digits, equally many of each class, in random order."""
    order = torch.randperm(len(labels), generator=generator)
    each = [order[labels[order] == c][: n // CLASSES] for c in range(CLASSES)]
    chosen = torch.cat(each)
    return chosen[torch.randperm(len(chosen), generator=generator)]


def collapsed(seed: int, n: int) -> dict[str, Seen]:
    """Four sets of n digits, equally many of each class: a reference from the training
    digits; of the test digits a real set, one of 20 shapes a class, repeated, and one
    of the 40 % of each class that are the most typical.
    """
    g = torch.Generator().manual_seed(seed)
    train, test = seen_of("train"), seen_of("test")
    of_class = [train.features[train.labels == c].mean(dim=0) for c in range(CLASSES)]
    odd = untypical(test, torch.stack(of_class))
    real = even_rows(test.labels, n, g)
    shapes = even_rows(test.labels, CLASSES * SHAPES, g)
    candidates = torch.nonzero(odd <= 0.4)[:, 0]
    typical = candidates[even_rows(test.labels[candidates], n, g)]
    return {
        "reference": train.at(even_rows(train.labels, n, g)),
        "real": test.at(real),
        "20 shapes": test.at(shapes.repeat(n // len(shapes) + 1)[:n]),
        "typical only": test.at(typical),
    }


def numbers(reference: Seen, drawn: Seen) -> dict[str, float]:
    """FD, Inception Score, precision and recall of a set against the reference."""
    precision, recall = precision_recall(reference.features, drawn.features)
    return {
        "FD": frechet_distance(reference.features, drawn.features),
        "IS": inception_score(drawn.probabilities),
        "precision": precision,
        "recall": recall,
    }


def collapse(seed: int, size: Size) -> Measured:
    """What FD, Inception Score, precision and recall say of the two collapses: one
    random choice of digits a seed.
    """
    sets = collapsed(seed, size.pick(live=600, quick=1600, full=4000))
    reference = sets.pop("reference")
    found = {name: numbers(reference, drawn) for name, drawn in sets.items()}
    sound = found.pop("real")
    measured: dict[str, tuple[float, float]] = {}
    for name, other in found.items():
        measured |= {
            f"{name}: precision − nine tenths of real": (
                other["precision"],
                0.9 * sound["precision"],
            ),
            f"{name}: Inception Score − nine tenths of real": (
                other["IS"],
                0.9 * sound["IS"],
            ),
            f"{name}: recall lost": (sound["recall"], other["recall"]),
            f"{name}: FD of real + 1 − FD": (sound["FD"] + 1, other["FD"]),
        }
    return measured


def parts_of(name: str) -> tuple[Compare, ...]:
    """What matters: a hundredth of precision or recall, a tenth of an Inception Score
    beyond the tenth that is allowed; of FD half a unit beyond the one that is.
    """
    return (
        Compare(f"{name}: precision − nine tenths of real", 0.01),
        Compare(f"{name}: Inception Score − nine tenths of real", 0.1),
        Compare(f"{name}: recall lost", 0.1),
        Compare(f"{name}: FD of real + 1 − FD", 0.5),
    )


ADM_1 = Experiment(
    "ADM-1",
    "FID, Inception Score and precision do not measure diversity: when the classes "
    "collapse from within, they stay or improve, while recall falls.",
    collapse,
    parts_of("20 shapes") + parts_of("typical only"),
    DRAW,
)
