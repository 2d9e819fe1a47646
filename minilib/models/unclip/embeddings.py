"""What can be done with CLIP's embeddings: walks between two, steps in the direction of
a change of words, and what of them their principal components keep.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib.models.autoencoder import principal_components
from minilib.runtime import require_shape


def slerp_embeddings(u: Tensor, v: Tensor, share: Tensor | float) -> Tensor:
    """From directions u (B, D) a share of the way to v (B, D) along the great circle:
    (B, D) of length 1. The share is a number, or one for each row, (B,).

    Slerp: Shoemake (1985). Raises ValueError where u and v are opposite, for then no
    great circle is the shortest.
    """
    require_shape("v", v, u.shape)
    u, v = F.normalize(u, dim=1), F.normalize(v, dim=1)
    share = torch.as_tensor(share).to(u).expand(len(u))[:, None]  # (B, 1)
    # the angle from its half: near 0 a cosine has lost its digits
    half = torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))[:, None]
    require_angle(half)
    weight_u, weight_v = (
        torch.where(half > 0, (2 * half * part).sin() / (2 * half).sin(), part)
        for part in (1 - share, share)
    )
    return F.normalize(weight_u * u + weight_v * v, dim=1)


def require_angle(half: Tensor) -> None:
    """Raise ValueError where an angle, given by its half, is 180 degrees."""
    if (half > torch.pi / 2 - 1e-4).any():
        raise ValueError("expected u and v that are not opposite to each other")


def text_difference(u: Tensor, before: Tensor, after: Tensor, share: float) -> Tensor:
    """Embeddings u (B, D) of pictures, moved a share of the way to what the words
    `after` have and the words `before` lack, text embeddings (B, D) both: (B, D).

    Ramesh et al. (2022, section 3.3), whose shares are from 0.25 to 0.5.
    """
    require_shape("before", before, u.shape)
    require_shape("after", after, u.shape)
    return slerp_embeddings(u, after - before, share)


# ---------- principal components ----------


def kept_variance(u: Tensor) -> Tensor:
    """The share of the variance of embeddings u (N, D) that the first 1, 2, … principal
    components keep: (min(N, D),), rising to 1.
    """
    mean, directions = principal_components(u, min(u.shape))
    variance = ((u - mean) @ directions.T).square().sum(dim=0)
    return variance.cumsum(dim=0) / variance.sum()


def reduced(u: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """What principal components, `directions` (k, D) around `mean` (D,), keep of
    embeddings u (B, D): (B, D) of length 1.
    """
    return F.normalize(mean + (u - mean) @ directions.T @ directions, dim=1)
