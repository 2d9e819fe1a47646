"""Inpainting: a part of a picture is known, and a sampler paints the rest."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib.diffusion.sampling import Denoised, Denoiser, denoised_by
from minilib.runtime import require_shape
from minilib.train import Draw


def keep_known(denoise: Denoiser, x_0: Tensor, known: Tensor) -> Denoiser:
    """The denoiser that predicts x_0 (B, C, H, W) itself where `known` (B, 1, H, W) is
    True.

    Alone it is the naive way: the network sees the known part only as noisily as all of
    x_t. Nichol et al. (2022) do the same with a conditional network, so that what was
    known comes out as it went in.
    """

    def denoise_rest(x_t: Tensor, t: Tensor) -> Denoised:
        denoised = denoised_by(denoise, x_t, t)
        require_shape("x_0", x_0, x_t.shape)
        require_shape("known", known, (len(x_t), 1, *x_t.shape[2:]))
        return Denoised(torch.where(known, x_0, denoised.x_0), denoised.share)

    return denoise_rest


def random_holes(x_0: Tensor, draw: Draw) -> Tensor:
    """What is left of pictures x_0 (B, C, H, W) with a rectangle erased in each: known
    (B, 1, H, W), bool.

    Each side has any length above a quarter of the picture's, up to all of it, equally
    often.
    """
    inside = []
    for size in x_0.shape[2:]:
        u, v = draw.uniform(2).T.to(x_0)[:, :, None]  # (B, 1) each
        side = (size * (0.25 + 0.75 * u)).ceil()
        first = ((size - side + 1) * v).floor()
        place = torch.arange(size, device=x_0.device)
        inside.append((place >= first) & (place < first + side))  # (B, size)
    down, across = inside
    return ~(down[:, None, :, None] & across[:, None, None, :])


def known_latents(known: Tensor, factor: int) -> Tensor:
    """Which latents of a picture known (B, 1, H, W) are known, (B, 1, H/factor,
    W/factor): those of which all pixels are.
    """
    return F.max_pool2d((~known).float(), factor) == 0
