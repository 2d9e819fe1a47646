"""What a U-Net is built from: residual blocks, attention and changes of size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from minilib.nets.layers import Attention
from minilib.runtime import require_sizes


class Shift(nn.Module):
    """h (B, C, H, W), emb (B, D) → norm(h + shift): how DDPM tells a block the step. Ho
    et al. (2020).
    """

    def __init__(self, c: UNetConfig, channels: int):
        super().__init__()
        self.linear = nn.Linear(4 * c.width, channels)
        self.norm = nn.GroupNorm(c.groups, channels, c.eps)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        shift = self.linear(F.silu(emb))[:, :, None, None]  # (B, C, 1, 1)
        return self.norm(h + shift)


class ScaleShift(nn.Module):
    """h (B, C, H, W), emb (B, D) → norm(h) (1 + scale) + shift: AdaGN. Dhariwal and
    Nichol (2021, section 3).
    """

    def __init__(self, c: UNetConfig, channels: int):
        super().__init__()
        self.linear = nn.Linear(4 * c.width, 2 * channels)
        self.norm = nn.GroupNorm(c.groups, channels, c.eps)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        # (B, C, 1, 1) each
        scale, shift = self.linear(F.silu(emb))[:, :, None, None].chunk(2, dim=1)
        return self.norm(h) * (1 + scale) + shift


def same(h: Tensor) -> Tensor:
    """h as it is."""
    return h


def shrink(h: Tensor) -> Tensor:
    """(B, C, H, W) → (B, C, H/2, W/2): means of 2 × 2 positions."""
    return F.avg_pool2d(h, 2)


def grow(h: Tensor) -> Tensor:
    """(B, C, H, W) → (B, C, 2H, 2W): every position four times."""
    return F.interpolate(h, scale_factor=2.0, mode="nearest")


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with all its parameters set to 0: what it adds to a residual stream
    starts as nothing.
    """
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class ResBlock(nn.Module):
    """h (B, C_in, H, W), emb (B, D) → (B, C_out, H', W'): what came in, plus a
    correction that knows the step.

    `resize` is `same`, or `shrink` or `grow` for a block that changes the size on its
    way (Brock et al., 2019).
    """

    def __init__(
        self,
        c: UNetConfig,
        channels_in: int,
        channels_out: int,
        resize: Callable[[Tensor], Tensor] = same,
    ):
        super().__init__()
        self.resize = resize
        self.norm = nn.GroupNorm(c.groups, channels_in, c.eps)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulate = c.modulation(c, channels_out)
        self.conv2 = zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        self.skip = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Conv2d(channels_in, channels_out, 1)
        )

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        new = self.conv1(self.resize(F.silu(self.norm(h))))
        new = self.conv2(F.silu(self.modulate(new, emb)))
        return self.skip(self.resize(h)) + new


class Context(NamedTuple):
    """What attention may look at beside the positions of the picture: vectors (B, L,
    D), where `seen` (B, L) is True.
    """

    vectors: Tensor
    seen: Tensor


class SpatialAttention(nn.Module):
    """h (B, C, H, W) → the same shape: every position attends to all, and adds what
    it finds. Ho et al. (2020).

    It attends to no context, and takes it as others do.
    """

    def __init__(self, c: UNetConfig, channels: int):
        super().__init__()
        if channels % c.head_dim:
            raise ValueError(
                f"expected a head_dim that divides the {channels} channels of a "
                f"level, got {c.head_dim}"
            )
        self.norm = nn.GroupNorm(c.groups, channels, c.eps)
        self.attention = Attention(channels, channels // c.head_dim)
        zeroed(self.attention.out)

    def forward(self, h: Tensor, context: Context | None = None) -> Tensor:
        B, C, H, W = h.shape
        positions = self.norm(h).flatten(2).transpose(1, 2)  # (B, H·W, C)
        return h + self.attention(positions).transpose(1, 2).view(B, C, H, W)


class ConvDown(nn.Module):
    """h (B, C, H, W) → (B, C, H/2, W/2) by a convolution with stride 2. It needs no
    emb, and takes it as others do.
    """

    def __init__(self, c: UNetConfig, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.conv(h)


class ConvUp(nn.Module):
    """h (B, C, H, W) → (B, C, 2H, 2W): each position four times, then a convolution."""

    def __init__(self, c: UNetConfig, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.conv(grow(h))


def block_down(c: UNetConfig, channels: int) -> ResBlock:
    """A residual block that halves the size, as BigGAN's. Dhariwal and Nichol (2021,
    section 3).
    """
    return ResBlock(c, channels, channels, shrink)


def block_up(c: UNetConfig, channels: int) -> ResBlock:
    """A residual block that doubles the size, as BigGAN's."""
    return ResBlock(c, channels, channels, grow)


@dataclass(frozen=True)
class UNetConfig:
    """Sizes and kinds of blocks. Pictures of H × W are worked on as H/patch × W/patch,
    at level i 2^i times smaller.

    Level i has width·multipliers[i] channels and `blocks` residual blocks on the way
    down; `attention` names the levels whose blocks are followed by attention, in heads
    of `head_dim` channels; the middle always attends. With `classes` the network takes
    labels. What comes out has as many channels as what goes in, unless `channels_out`
    says otherwise. Raises ValueError for sizes and levels that make no network.
    """

    channels: int = 1
    channels_out: int | None = None
    patch: int = 2
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (1,)
    head_dim: int = 32
    classes: int = 0
    groups: int = 8
    eps: float = 1e-5
    modulation: Callable[[UNetConfig, int], nn.Module] = Shift
    attend: Callable[[UNetConfig, int], nn.Module] = SpatialAttention
    down: Callable[[UNetConfig, int], nn.Module] = ConvDown
    up: Callable[[UNetConfig, int], nn.Module] = ConvUp

    def __post_init__(self) -> None:
        require_buildable(self)

    @property
    def outputs(self) -> int:
        return self.channels if self.channels_out is None else self.channels_out


def require_buildable(c: UNetConfig) -> None:
    """Raise ValueError unless a U-Net of these sizes can be built, and has the levels
    that attend.
    """
    require_sizes(c, "channels outputs patch width blocks head_dim groups")
    require_sizes(c, "classes", least=0)
    widths, levels = [c.width * m for m in c.multipliers], range(len(c.multipliers))
    if c.width % 2 or not widths or any(w < 1 or w % c.groups for w in widths):
        raise ValueError(
            f"expected an even width, and at each level channels that {c.groups} "
            f"groups can share equally, got width {c.width} and channels {widths}"
        )
    if not set(c.attention) <= set(levels):
        raise ValueError(
            f"expected attention at levels from 0 to {levels[-1]}, got {c.attention}"
        )
