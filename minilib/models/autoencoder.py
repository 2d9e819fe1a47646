"""Autoencoders: an encoder that maps a picture to a few numbers, and a decoder that
rebuilds the picture from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilib.nets.layers import down, up
from minilib.runtime import (
    require_generator,
    require_images,
    require_shape,
    require_sizes,
)


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of an autoencoder. Pictures are (channels, size, size). `size` is a
    multiple of 4, and `width` of 8.

    Raises ValueError for another size.
    """

    code_dim: int = 16
    width: int = 16
    channels: int = 1
    size: int = 28

    def __post_init__(self) -> None:
        require_sizes(self, "code_dim width channels size")
        if self.size % 4:
            raise ValueError(f"expected a size that 4 divides, got {self.size}")


class LinearAutoencoder(nn.Module):
    """One linear map to the code and one back, nothing else. Bourlard and Kamp (1988),
    Baldi and Hornik (1989).
    """

    def __init__(self, config: AutoencoderConfig = AutoencoderConfig()):
        super().__init__()
        shape = (config.channels, config.size, config.size)
        pixels = config.channels * config.size**2
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(pixels, config.code_dim))
        self.decode = nn.Sequential(
            nn.Linear(config.code_dim, pixels), nn.Unflatten(1, shape)
        )

    def forward(self, x: Tensor) -> Tensor:
        # (B, C, H, W) → (B, code_dim) → (B, C, H, W)
        return self.decode(self.encode(x))


class Encoder(nn.Module):
    """x (B, C, H, W) → (B, out_dim): two convolutions that halve the resolution, then
    two linear maps.
    """

    def __init__(self, config: AutoencoderConfig, out_dim: int):
        super().__init__()
        self.shape = (config.channels, config.size, config.size)
        self.convolutions = nn.Sequential(
            down(config.channels, config.width), down(config.width, 2 * config.width)
        )
        flat = 2 * config.width * (config.size // 4) ** 2
        self.linear = nn.Sequential(
            nn.Flatten(), nn.Linear(flat, 128), nn.SiLU(), nn.Linear(128, out_dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, self.shape)
        h = self.convolutions(x)  # (B, 2·width, H/4, W/4)
        return self.linear(h)  # (B, out_dim)


class Decoder(nn.Module):
    """z (B, code_dim) → x (B, C, H, W) in (-1, 1): the encoder's steps in reverse
    order.
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.code_dim = config.code_dim
        channels, side = 2 * config.width, config.size // 4
        self.linear = nn.Sequential(
            nn.Linear(config.code_dim, 128),
            nn.SiLU(),
            nn.Linear(128, channels * side**2),
            nn.SiLU(),
        )
        self.convolutions = nn.Sequential(
            nn.Unflatten(1, (channels, side, side)),
            up(channels, config.width),
            nn.ConvTranspose2d(config.width, config.channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.code_dim:
            raise ValueError(
                f"expected z of shape (B, {self.code_dim}), got {tuple(z.shape)}"
            )
        return self.convolutions(self.linear(z))  # (B, C, H, W)


class Autoencoder(nn.Module):
    """x (B, C, H, W) → code z (B, code_dim) → reconstruction (B, C, H, W). Hinton and
    Salakhutdinov (2006).
    """

    def __init__(self, config: AutoencoderConfig = AutoencoderConfig()):
        super().__init__()
        self.encode = Encoder(config, config.code_dim)
        self.decode = Decoder(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def reconstruction_loss(model: nn.Module, x: Tensor) -> Tensor:
    """Mean squared error per pixel between x (B, C, H, W) and the model's
    reconstruction of it: a scalar. Raises ValueError where that is of another shape.
    """
    out = model(x)
    require_shape("a reconstruction", out, x.shape)
    return (out - x).square().mean()


def principal_components(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best linear autoencoder in closed form: mean (D,) and first k principal
    directions (k, D) of x (N, D).

    Rows are orthonormal, sorted by falling variance. Eckart and Young (1936): no other
    k-dimensional affine subspace rebuilds x with a smaller squared error. Raises
    ValueError unless x is (N, D) and 1 ≤ k ≤ min(N, D).
    """
    if x.ndim != 2 or not 1 <= k <= min(x.shape):
        raise ValueError(
            "expected x of shape (N, D) and 1 ≤ k ≤ min(N, D), got x "
            f"{tuple(x.shape)} and k = {k}"
        )
    mean = x.mean(dim=0)
    _, _, directions = torch.linalg.svd(x - mean, full_matrices=False)  # (min(N, D), D)
    return mean, directions[:k]


def sample_fitted_gaussian(z: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n codes (n, D) drawn from the Gaussian with the mean and covariance of the codes
    z (N, D).

    Raises ValueError unless z is (N, D) with N > D: fewer codes have no invertible
    covariance; and LinAlgError where their covariance is not invertible all the same,
    as when one number of the codes is always 0.
    """
    if z.ndim != 2 or len(z) <= z.shape[1]:
        raise ValueError(f"expected z of shape (N, D) with N > D, got {tuple(z.shape)}")
    require_generator(generator)
    # (D, D), root @ root.T is the covariance
    root = torch.linalg.cholesky(torch.cov(z.T).reshape(z.shape[1], -1))
    eps = torch.randn(n, z.shape[1], generator=generator, dtype=z.dtype)
    return z.mean(dim=0) + eps @ root.T
