"""Blocks that several models are built from, each written once."""

from __future__ import annotations

from torch import Tensor, nn


def down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Halve the resolution: (B, channels_in, H, W) → (B, channels_out, H/2, W/2). `channels_out` is a multiple of 8."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1), nn.GroupNorm(8, channels_out), nn.SiLU()
    )


def up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Double the resolution: (B, channels_in, H, W) → (B, channels_out, 2H, 2W). `channels_out` is a multiple of 8."""
    conv = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    return nn.Sequential(conv, nn.GroupNorm(8, channels_out), nn.SiLU())


def require_images(x: Tensor, shape: tuple[int, int, int]) -> None:
    """Raise ValueError unless x is a batch of floating-point pictures of that shape (C, H, W)."""
    if x.ndim != 4 or tuple(x.shape[1:]) != shape or not x.is_floating_point():
        expected = f"a floating-point x of shape (B, {', '.join(map(str, shape))}) in [-1, 1]"
        raise ValueError(f"expected {expected}, got {x.dtype} of shape {tuple(x.shape)}")
