"""A small digit classifier: its last features are those in which the book's
scoreboard sees.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.runtime import require_images, require_range, require_shape
from minilib.train import Draw


class DigitClassifier(nn.Module):
    """x (B, 1, 28, 28) in [-1, 1] → logits (B, 10). Fréchet distances are measured on
    `features(x)` (B, 128).
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2),
            nn.SiLU(),
            nn.MaxPool2d(2),  # (B, 32, 14, 14)
            nn.Conv2d(32, 64, 3, padding=1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.MaxPool2d(2),  # (B, 64, 7, 7)
            nn.Conv2d(64, 64, 3, padding=1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 128),
            nn.SiLU(),
        )
        self.head = nn.Linear(128, 10)

    def features(self, x: Tensor) -> Tensor:
        require_images(x, (1, 28, 28))
        return self.trunk(x)  # (B, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))  # (B, 10)


def jitter(
    x: Tensor,
    draw: Draw,
    degrees: float = 12.0,
    shift: float = 0.12,
    zoom: float = 0.12,
) -> Tensor:
    """x (B, C, H, W), each picture turned, moved (in half widths) and zoomed at random,
    by at most so much.
    """
    # (B,) each, in [-1, 1)
    angle, dx, dy, scale = (2 * draw.uniform(4) - 1).unbind(dim=1)
    angle = angle * math.radians(degrees)
    scale = 1 + zoom * scale
    cos, sin = scale * angle.cos(), scale * angle.sin()
    affine = torch.stack([cos, -sin, shift * dx, sin, cos, shift * dy], dim=1).view(
        -1, 2, 3
    )
    grid = F.affine_grid(affine, list(x.shape), align_corners=False)
    # what comes in from outside is paper: -1
    return F.grid_sample(x + 1, grid, align_corners=False) - 1


def classification_loss(model: nn.Module, x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Cross-entropy of the logits of jittered pictures x (B, 1, 28, 28) against labels
    y (B,), smoothed by 0.05. Raises ValueError for a label of no class.
    """
    logits = model(jitter(x, draw))
    require_range("labels y", y, 0, logits.shape[1] - 1)
    return F.cross_entropy(logits, y, label_smoothing=0.05)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The fraction of pictures x (N, 1, 28, 28) whose largest logit is at their label y
    (N,). Raises ValueError unless there is a label for each picture.
    """
    require_shape("labels y", y, (len(x),))
    return float((runtime.in_blocks(model, x).argmax(dim=1) == y).float().mean())
