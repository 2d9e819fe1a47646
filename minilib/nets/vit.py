"""The vision transformer: a picture is cut into patches, and the patches are read like
words.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.nets.layers import TransformerBlock
from minilib.runtime import require_images, require_sizes


class QuickGELU(nn.Module):
    """h · sigmoid(1.702 h), which is near GELU: the activation of CLIP, in both of its
    towers.
    """

    def forward(self, h: Tensor) -> Tensor:
        return F.silu(1.702 * h) / 1.702


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a vision transformer. Pictures are (channels, size, size), patches are
    patch × patch pixels.
    """

    size: int = 16
    patch: int = 2
    channels: int = 3
    dim: int = 96
    depth: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        require_sizes(self, "size patch channels dim depth heads")


class ViT(nn.Module):
    """x (B, C, H, W) → (B, 1 + P, dim): a vector for the whole picture, then one for
    each of its P patches.

    Dosovitskiy et al. (2021), with CLIP's second normalisation at the start (Radford et
    al., 2021, section 2.4). Raises ValueError for a size that the patch does not
    divide, and for pictures of another size.
    """

    def __init__(self, config: ViTConfig = ViTConfig()):
        super().__init__()
        c = config
        if c.size % c.patch:
            raise ValueError(
                f"expected a patch that divides the size {c.size}, got {c.patch}"
            )
        self.shape, patches = (c.channels, c.size, c.size), (c.size // c.patch) ** 2
        self.embed = nn.Conv2d(c.channels, c.dim, c.patch, stride=c.patch, bias=False)
        self.whole = nn.Parameter(torch.randn(c.dim) / c.dim**0.5)
        self.position = nn.Parameter(torch.randn(1 + patches, c.dim) / c.dim**0.5)
        self.norm_in, self.norm_out = nn.LayerNorm(c.dim), nn.LayerNorm(c.dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(c.dim, c.heads, QuickGELU) for _ in range(c.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.cut(x))

    def cut(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, 1 + P, dim): a vector for the whole and one for each
        patch, which know where they are.
        """
        require_images(x, self.shape)
        patches = self.embed(x).flatten(2).transpose(1, 2)  # (B, P, dim)
        whole = self.whole.expand(len(x), 1, -1)
        return self.norm_in(torch.cat([whole, patches], dim=1) + self.position)

    def stages(self, h: Tensor) -> list[Tensor]:
        """(B, 1 + P, dim) → for each block the vectors after they have looked at each
        other there.
        """
        found = []
        for block in self.blocks:
            h = block(h)
            found.append(h)
        return found

    def read(self, h: Tensor) -> Tensor:
        """(B, 1 + P, dim) → the same shape: the vectors after the last block,
        normalised.
        """
        return self.norm_out(self.stages(h)[-1])
