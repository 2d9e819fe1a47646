"""How good is a set of pictures? Distances between two sets of features, which a feature network computes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from minilib import runtime


class FeatureNetwork(Protocol):
    """Anything with `features`: pictures (B, C, H, W) → (B, D)."""

    def features(self, x: Tensor) -> Tensor: ...


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance between Gaussians fitted to features a (N, D) and b (M, D), in float64.

    |μ_a − μ_b|² + tr(Σ_a) + tr(Σ_b) − 2 tr((Σ_a Σ_b)^½), the formula of FID (Heusel et al., 2017, eq. 6).
    The last trace is the sum of the singular values of A Bᵀ, where Σ_a = AᵀA and Σ_b = BᵀB: right for singular Σ too.
    Raises ValueError when the features are not two finite matrices of one width, with at least two rows each.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"expected features (N, D) and (M, D) with N, M ≥ 2, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("the features hold values that are not finite: look at the pictures they were computed from")
    root_a, root_b = covariance_root(a), covariance_root(b)  # (≤ D, D) each
    mean_term = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    return float(mean_term + root_a.square().sum() + root_b.square().sum() - 2 * cross)


def covariance_root(x: Tensor) -> Tensor:
    """R (min(N, D), D) with RᵀR = the unbiased covariance of x (N, D)."""
    return torch.linalg.qr(x - x.mean(dim=0), mode="r").R / (len(x) - 1) ** 0.5


def features(network: FeatureNetwork, x: Tensor) -> Tensor:
    """`network.features` of pictures x (N, C, H, W) in [-1, 1], computed in blocks: (N, D) on the CPU.

    Raises ValueError when x leaves [-1, 1] or holds values that are not finite: features of such pictures mean nothing.
    """
    low, high = x.min().item(), x.max().item()
    if not (low >= -1.001 and high <= 1.001):
        raise ValueError(
            f"expected pictures in [-1, 1], got values from {low:.3g} to {high:.3g}: rescale or clamp them first"
        )
    return runtime.in_blocks(network.features, x)
