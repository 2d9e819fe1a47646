"""The upsampler of DALL·E 2: a diffusion model of convolutions alone, which learns on
crops to make pictures larger, and then does it at any size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import Prediction, Schedule, trailing
from minilib.models.glide import with_condition
from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import Context, UNetConfig, grow, shrink
from minilib.train import Draw


class NoAttention(nn.Module):
    """h (B, C, H, W) as it is, where other networks attend: it needs no sizes and no
    context, and takes them as others do.
    """

    def __init__(self, c: UNetConfig, channels: int):
        super().__init__()

    def forward(self, h: Tensor, context: Context | None = None) -> Tensor:
        return h


def upsampler(sizes: UNetConfig) -> UNet:
    """A U-Net of these sizes without attention, not even in the middle, which sees a
    second picture beside x_t. Ramesh et al. (2022, section 2.1).
    """
    return UNet(
        replace(
            sizes,
            channels=2 * sizes.channels,
            channels_out=sizes.channels,
            attention=(),
            attend=NoAttention,
        )
    )


# ---------- what it learns from ----------


def random_crops(x: Tensor, size: int, draw: Draw) -> Tensor:
    """A square out of each of pictures x (B, C, H, W), at even places, so that `shrink`
    keeps its pixels together: (B, C, size, size).
    """
    B, _, H, W = x.shape
    if size % 2 or not 2 <= size <= min(H, W):
        raise ValueError(
            f"expected crops of an even size from 2 to {min(H, W)}, got {size}"
        )
    room = torch.tensor([(H - size) // 2 + 1, (W - size) // 2 + 1]).to(x)
    start = 2 * (draw.uniform(2) * room).long()  # (B, 2): of rows, of columns
    at = torch.arange(size, device=x.device)
    rows, columns = (start[:, i, None] + at for i in (0, 1))  # (B, size) each
    image = torch.arange(B, device=x.device)[:, None, None]
    # (B, size, size, C): indices of all but the channels
    return x[image, :, rows[:, :, None], columns[:, None]].movedim(-1, 1)


def blurred(x: Tensor) -> Tensor:
    """Pictures x (B, C, H, W), each pixel a mean of 3 × 3 that binomials weigh."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
    return (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4


NOISE = 0.1  # at most, as a standard deviation


def flawed(small: Tensor, draw: Draw) -> Tensor:
    """Small pictures (B, C, H, W), each more or less blurred and noisy, as those are
    that a decoder draws. Ramesh et al. (2022, section 2.1) blur theirs.
    """
    soft = torch.lerp(small, blurred(small), draw.uniform(1, 1, 1))
    return soft + NOISE * draw.uniform(1, 1, 1) * draw.normal(*small.shape[1:])


def crop_loss(
    model: nn.Module, x_0: Tensor, *, draw: Draw, size: int, **options: Any
) -> Tensor:
    """`simple_loss` of crops of size × size out of pictures x_0 (B, C, H, W); the
    network sees them at half the size, flawed. No caption: it did not help them.
    """
    crops = random_crops(x_0, size, draw)
    network = with_condition(model, grow(flawed(shrink(crops), draw)))
    return simple_loss(network, crops, draw=draw, **options)


# ---------- drawing ----------


def enlarge(
    model: Callable[..., Tensor],
    schedule: Schedule,
    prediction: Prediction,
    small: Tensor,
    noise: Tensor,
    steps: int = 10,
) -> Tensor:
    """Small pictures (B, C, H, W), noise (B, C, 2H, 2W) → pictures of the noise's
    shape, by DDIM, whole and without guidance.
    """
    network = with_condition(model, grow(small))
    denoise = denoiser(network, schedule, prediction)
    return last(ddim(denoise, schedule, noise, trailing(schedule.T, steps)))
