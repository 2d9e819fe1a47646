"""The U-Net of diffusion models: a noisy picture and its step in, a picture of the same
size out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.nets.layers import step_embedding
from minilib.nets.unet_blocks import Context, ResBlock, UNetConfig, zeroed
from minilib.runtime import require_range, require_shape


class Embedding(nn.Module):
    """Step t (B,) and label y (B,) → emb (B, 4·width), which every residual block gets.
    A label of -1 is unconditional.
    """

    def __init__(self, c: UNetConfig):
        super().__init__()
        self.width = c.width
        self.time = nn.Sequential(
            nn.Linear(c.width, 4 * c.width),
            nn.SiLU(),
            nn.Linear(4 * c.width, 4 * c.width),
        )
        self.label = nn.Embedding(c.classes, 4 * c.width) if c.classes else None

    def forward(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        # (B, 4·width)
        emb = self.time(step_embedding(t, self.width, next(self.parameters()).dtype))
        if y is None:
            return emb
        if self.label is None:
            raise ValueError("expected no labels y: this network has no classes")
        return emb + self.label(y.clamp(min=0)) * (y >= 0)[:, None]


class Level(nn.Module):
    """Residual blocks at one size, each followed by attention where the level attends,
    then a change of size.
    """

    def __init__(
        self,
        c: UNetConfig,
        channels: list[tuple[int, int]],
        attends: bool,
        resize: nn.Module | None,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(ResBlock(c, a, b) for a, b in channels)
        self.attention = (
            nn.ModuleList(c.attend(c, b) for _, b in channels) if attends else None
        )
        self.resize = resize

    def work(self, i: int, h: Tensor, emb: Tensor, context: Context | None) -> Tensor:
        """Block i, and its attention."""
        h = self.blocks[i](h, emb)
        return h if self.attention is None else self.attention[i](h, context)


class DownLevel(Level):
    """h (B, C, H, W), emb (B, D) → h for the next level, and the skips: what h was
    after each block and resizing.
    """

    def forward(
        self, h: Tensor, emb: Tensor, context: Context | None
    ) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for i in range(len(self.blocks)):
            h = self.work(i, h, emb, context)
            skips.append(h)
        if self.resize is not None:
            h = self.resize(h, emb)
            skips.append(h)
        return h, skips


class UpLevel(Level):
    """h (B, C, H, W), skips, emb (B, D) → h for the next level. Each block takes the
    last skip that is left.
    """

    def forward(
        self, h: Tensor, skips: list[Tensor], emb: Tensor, context: Context | None
    ) -> Tensor:
        for i in range(len(self.blocks)):
            h = self.work(i, torch.cat([h, skips.pop()], dim=1), emb, context)
        return h if self.resize is None else self.resize(h, emb)


class UNetEncoder(nn.Module):
    """x (B, C, H, W), emb (B, D) → h, the smallest and deepest features; and the skips:
    all features on the way.
    """

    def __init__(self, c: UNetConfig):
        super().__init__()
        self.patch, widths = c.patch, [c.width * m for m in c.multipliers]
        self.stem = nn.Conv2d(c.channels * c.patch**2, widths[0], 3, padding=1)
        self.levels, now, last = nn.ModuleList(), widths[0], len(widths) - 1
        for i, w in enumerate(widths):
            pairs = [(now, w)] + [(w, w)] * (c.blocks - 1)
            self.levels.append(
                DownLevel(
                    c, pairs, i in c.attention, c.down(c, w) if i < last else None
                )
            )
            now = w
        self.middle = nn.ModuleList(
            [ResBlock(c, now, now), c.attend(c, now), ResBlock(c, now, now)]
        )

    def forward(
        self, x: Tensor, emb: Tensor, context: Context | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        h = self.stem(F.pixel_unshuffle(x, self.patch))  # (B, width, H/patch, W/patch)
        skips = [h]
        for level in self.levels:
            h, more = level(h, emb, context)
            skips += more
        first, attend, second = self.middle
        return second(attend(first(h, emb), context), emb), skips


class UNetDecoder(nn.Module):
    """h and the skips of the encoder, emb (B, D) → (B, C_out, H, W)."""

    def __init__(self, c: UNetConfig):
        super().__init__()
        self.patch, widths = c.patch, [c.width * m for m in c.multipliers]
        skips = [widths[0]]  # the channels of the encoder's skips, in its order
        for i, w in enumerate(widths):
            skips += [w] * (c.blocks + (i < len(widths) - 1))
        self.levels, now = nn.ModuleList(), widths[-1]
        for i, w in reversed(list(enumerate(widths))):
            pairs = [(before + skips.pop(), w) for before in [now] + [w] * c.blocks]
            self.levels.append(
                UpLevel(c, pairs, i in c.attention, c.up(c, w) if i > 0 else None)
            )
            now = w
        self.norm = nn.GroupNorm(c.groups, now, c.eps)
        self.out = zeroed(nn.Conv2d(now, c.outputs * c.patch**2, 3, padding=1))

    def forward(
        self,
        h: Tensor,
        skips: list[Tensor],
        emb: Tensor,
        context: Context | None = None,
    ) -> Tensor:
        left = list(skips)
        for level in self.levels:
            h = level(h, left, emb, context)
        return F.pixel_shuffle(self.out(F.silu(self.norm(h))), self.patch)


class UNet(nn.Module):
    """x (B, C, H, W), t (B,), y (B,) or None → (B, C_out, H, W). Ho et al. (2020);
    Dhariwal and Nichol (2021).

    Raises ValueError for another number of channels, when H or W cannot be halved as
    often as the levels need, when t and y do not fit the batch, and for labels that the
    network does not know: -1 is unconditional.
    """

    def __init__(self, config: UNetConfig = UNetConfig()):
        super().__init__()
        self.config = config
        self.embed, self.encoder, self.decoder = (
            Embedding(config),
            UNetEncoder(config),
            UNetDecoder(config),
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        require_fit(self.config, x, t, y)
        emb = self.embed(t, y)
        h, skips = self.encoder(x, emb)
        return self.decoder(h, skips, emb)


def require_fit(c: UNetConfig, x: Tensor, t: Tensor, y: Tensor | None) -> None:
    """Raise ValueError unless x, t and y are what a network of that config can take."""
    unit = c.patch * 2 ** (len(c.multipliers) - 1)
    if (
        x.ndim != 4
        or x.shape[1] != c.channels
        or x.shape[2] % unit
        or x.shape[3] % unit
    ):
        raise ValueError(
            f"expected x of shape (B, {c.channels}, H, W) with H, W multiples of "
            f"{unit}, got {tuple(x.shape)}"
        )
    require_shape("t", t, (len(x),))
    if y is not None:
        require_shape("y", y, (len(x),))
    if y is not None and c.classes:
        require_range("labels y (-1 is unconditional)", y, -1, c.classes - 1)
