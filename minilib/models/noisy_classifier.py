"""A classifier of noisy pictures: the encoder of a U-Net, given the step, and one
attention over all positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.diffusion.schedule import Schedule
from minilib.nets.layers import attend_fast
from minilib.nets.unet import Embedding, UNetEncoder, require_fit
from minilib.nets.unet_blocks import UNetConfig
from minilib.runtime import require_range
from minilib.train import Draw


class AttentionPool(nn.Module):
    """h (B, C, H, W) → (B, out): the mean of all positions attends to all, and is
    mapped. Radford et al. (2021, 2.4).

    `positions` is H·W. Dhariwal and Nichol (2021, section 4.3) end their classifier so.
    ValueError for others.
    """

    def __init__(self, channels: int, positions: int, head_dim: int, out: int):
        super().__init__()
        self.head_dim = head_dim
        self.position = nn.Parameter(
            torch.randn(channels, positions + 1) / channels**0.5
        )
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, out)

    def forward(self, h: Tensor) -> Tensor:
        B, C, H, W = h.shape
        size, L = self.position.shape[0], self.position.shape[1] - 1
        if (size, L) != (C, H * W):
            raise ValueError(
                f"expected h of shape (B, {size}, H, W) with {L} places, got "
                f"{tuple(h.shape)}"
            )
        positions = h.flatten(2)  # (B, C, L)
        # (B, C, 1 + L)
        positions = (
            torch.cat([positions.mean(dim=2, keepdim=True), positions], dim=2)
            + self.position
        )
        qkv = self.qkv(positions.transpose(1, 2)).view(
            B, -1, 3, C // self.head_dim, self.head_dim
        )
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, 1 + L, head_dim) each
        # the mean's answer alone
        return self.out(attend_fast(q[:, :, :1], k, v).reshape(B, C))


class NoisyClassifier(nn.Module):
    """x_t (B, C, H, W), t (B,) → logits (B, classes) of square pictures. Dhariwal and
    Nichol (2021, section 4.3).
    """

    def __init__(self, config: UNetConfig, size: int, classes: int):
        super().__init__()
        self.config, deepest = config, config.width * config.multipliers[-1]
        self.embed, self.encoder = Embedding(config), UNetEncoder(config)
        self.norm = nn.GroupNorm(config.groups, deepest, config.eps)
        positions = (size // (config.patch * 2 ** (len(config.multipliers) - 1))) ** 2
        self.pool = AttentionPool(deepest, positions, config.head_dim, classes)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        require_fit(self.config, x, t, None)
        h, _ = self.encoder(x, self.embed(t))
        return self.pool(F.silu(self.norm(h)))


def noisy_classification_loss(
    model: nn.Module,
    x_0: Tensor,
    y: Tensor,
    *,
    draw: Draw,
    schedule: Schedule,
    noise: bool = True,
) -> Tensor:
    """Cross-entropy of the logits of x_t, at a step drawn for each picture x_0 (B, …),
    against labels y (B,): a scalar.

    Without `noise` the pictures stay clean, at step 0: the classifier that guidance
    should not use. Raises ValueError for a label of no class.
    """
    t = (draw.uniform() * schedule.T).long() if noise else torch.zeros_like(y)
    x = schedule.noisy(x_0, t, draw.normal(*x_0.shape[1:])) if noise else x_0
    logits = model(x, t)
    require_range("labels y", y, 0, logits.shape[1] - 1)
    return F.cross_entropy(logits, y)
