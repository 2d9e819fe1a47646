"""The two U-Nets that the benchmarks compare, at matched sizes: diffusers' and ours."""

from __future__ import annotations

from diffusers import UNet2DModel
from torch import Tensor, nn

from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import UNetConfig

SIZES = {  # name: channels of the levels, blocks a level, batch of a training step
    "quick": ((32, 64, 64), 2, 64),
    "medium": ((64, 128, 128), 2, 16),
    "100M": ((192, 384, 576), 2, 2),
}


class Diffusers(nn.Module):
    """UNet2DModel, called as ours is: x (B, C, H, W), t (B,), y (B,) or None. Attention
    at the last level.
    """

    def __init__(
        self, channels: tuple[int, ...], blocks: int, size: int = 32, classes: int = 0
    ):
        super().__init__()
        plain = len(channels) - 1
        self.net = UNet2DModel(
            sample_size=size,
            in_channels=1,
            out_channels=1,
            block_out_channels=channels,
            layers_per_block=blocks,
            down_block_types=["DownBlock2D"] * plain + ["AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D"] + ["UpBlock2D"] * plain,
            attention_head_dim=32,
            norm_num_groups=8,
            num_class_embeds=classes or None,
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.net(x, t, class_labels=y).sample


def ours(channels: tuple[int, ...], blocks: int) -> UNet:
    """Our U-Net with the blocks and sizes of `Diffusers`."""
    multipliers = tuple(c // channels[0] for c in channels)
    last = (len(channels) - 1,)
    return UNet(
        UNetConfig(
            patch=1,
            width=channels[0],
            multipliers=multipliers,
            blocks=blocks,
            attention=last,
        )
    )
