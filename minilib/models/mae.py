"""The masked autoencoder: hide most patches of a picture, encode what is left, and
paint the rest (He et al., 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.nets.layers import TransformerBlock
from minilib.runtime import require_images, require_sizes
from minilib.train import Draw


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut pictures x (B, C, H, W) into squares of patch × patch pixels: (B, P,
    C·patch²), row by row.

    Raises ValueError unless `patch` divides H and W.
    """
    H, W = x.shape[2:]
    if H % patch or W % patch:
        raise ValueError(
            f"expected pictures whose height and width {patch} divides, got "
            f"{tuple(x.shape)}"
        )
    # (B, C·patch², rows, columns) → (B, P, C·patch²)
    return F.pixel_unshuffle(x, patch).flatten(2).mT


def unpatchify(patches: Tensor, patch: int, size: int) -> Tensor:
    """The inverse of `patchify` for square pictures: (B, P, C·patch²) → (B, C, size,
    size).
    """
    rows = size // patch
    # (B, C·patch², rows, columns) → (B, C, H, W)
    return F.pixel_shuffle(patches.mT.unflatten(2, (rows, rows)), patch)


def choose_patches(lots: Tensor, keep: int) -> Tensor:
    """From lots, uniform numbers (B, P), the positions (B, keep) of the patches that
    stay: every set is equally likely.

    Raises ValueError unless at least one patch stays, and one goes.
    """
    if not 1 <= keep < lots.shape[1]:
        raise ValueError(
            f"expected to keep between 1 and {lots.shape[1] - 1} of "
            f"{lots.shape[1]} patches, got {keep}"
        )
    return lots.argsort(dim=1)[:, :keep]


def take(h: Tensor, positions: Tensor) -> Tensor:
    """Of vectors h (B, P, D) those at positions (B, K): (B, K, D)."""
    return h.gather(1, positions[:, :, None].expand(-1, -1, h.shape[2]))


def hidden_patches(kept: Tensor, total: int) -> Tensor:
    """1 where a patch is hidden and 0 where it is among kept (B, K): (B, total)."""
    return torch.ones(len(kept), total, device=kept.device).scatter(1, kept, 0.0)


@dataclass(frozen=True)
class MAEConfig:
    """Sizes of a masked autoencoder. Pictures are (channels, size, size), patches are
    patch × patch pixels.
    """

    dim: int = 96
    depth: int = 3
    decoder_dim: int = 64
    decoder_depth: int = 2
    heads: int = 4
    patch: int = 4
    channels: int = 1
    size: int = 28

    def __post_init__(self) -> None:
        require_sizes(self, "dim depth decoder_dim decoder_depth heads patch")
        require_sizes(self, "channels size")
        if self.size % self.patch:
            raise ValueError(
                f"expected a patch that divides the size {self.size}, got {self.patch}"
            )


class MaskedAutoencoder(nn.Module):
    """x (B, C, H, W), of which only the patches at kept (B, K) are seen → a prediction
    of all patches (B, P, C·patch²).
    """

    def __init__(self, config: MAEConfig = MAEConfig()):
        super().__init__()
        self.config, c = config, config
        self.shape = (c.channels, c.size, c.size)
        self.patches = (c.size // c.patch) ** 2
        pixels = c.channels * c.patch**2
        self.embed = nn.Linear(pixels, c.dim)
        self.position = nn.Parameter(0.5 * torch.randn(self.patches, c.dim))
        self.encoder = nn.Sequential(
            *[TransformerBlock(c.dim, c.heads) for _ in range(c.depth)],
            nn.LayerNorm(c.dim),
        )
        self.narrow = nn.Linear(c.dim, c.decoder_dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(c.decoder_dim))
        self.decoder_position = nn.Parameter(
            0.5 * torch.randn(self.patches, c.decoder_dim)
        )
        blocks = [
            TransformerBlock(c.decoder_dim, c.heads) for _ in range(c.decoder_depth)
        ]
        self.decoder = nn.Sequential(
            *blocks, nn.LayerNorm(c.decoder_dim), nn.Linear(c.decoder_dim, pixels)
        )

    def encode(self, x: Tensor, kept: Tensor) -> Tensor:
        require_images(x, self.shape)
        h = self.embed(patchify(x, self.config.patch)) + self.position  # (B, P, dim)
        # (B, K, dim): the hidden patches are not there at all
        return self.encoder(take(h, kept))

    def decode(self, z: Tensor, kept: Tensor) -> Tensor:
        seen = self.narrow(z)  # (B, K, decoder_dim)
        h = self.mask_token.expand(len(z), self.patches, -1)  # (B, P, decoder_dim)
        h = h.scatter(1, kept[:, :, None].expand_as(seen), seen.to(h.dtype))
        return self.decoder(h + self.decoder_position)  # (B, P, C·patch²)

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        return self.decode(self.encode(x, kept), kept)


def mae_loss(model: MaskedAutoencoder, x: Tensor, draw: Draw, keep: int = 12) -> Tensor:
    """Mean squared error per pixel over the hidden patches only, `keep` patches being
    seen: a scalar.
    """
    kept = choose_patches(draw.uniform(model.patches), keep)
    # (B, P)
    error = (model(x, kept) - patchify(x, model.config.patch)).square().mean(dim=2)
    hidden = hidden_patches(kept, model.patches)
    return (error * hidden).sum() / hidden.sum()
