"""What several recipes' scores have in common."""

from __future__ import annotations

from torch import Tensor

from minilib import runtime
from minilib.data import digits
from minilib.metrics import features, frechet_distance
from minilib.models.classifier import DigitClassifier
from minilib.weights import load_pretrained


def feature_network() -> DigitClassifier:
    """The shipped classifier of digits, whose features all distances between pictures
    of digits rest on.
    """
    return load_pretrained(DigitClassifier(), "digit_classifier").to(runtime.device())


def reference_digits() -> Tensor:
    """10,000 training digits (10000, 1, 28, 28), every second one: all FD are distances
    from these.
    """
    return digits.load("train")[0][::2]


def fd_from_data(x: Tensor, network: DigitClassifier | None = None) -> float:
    """FD (digit features) of pictures x (N, 1, 28, 28) from 10,000 training digits, by
    `feature_network` or another one.
    """
    network = network or feature_network()
    return frechet_distance(features(network, x), features(network, reference_digits()))
