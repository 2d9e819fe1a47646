"""Small worlds whose truth is known: data whose best denoiser can be computed, and
points on a ring.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.data import digits
from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import (
    Denoised,
    Denoiser,
    Variance,
    ancestral,
    denoiser,
    last,
    small_variance,
)
from minilib.diffusion.schedule import X_0, Prediction, Schedule, trailing
from minilib.models.denoising import GaussianMixture
from minilib.nets.layers import step_embedding
from minilib.recipes.ddpm import LINEAR
from minilib.train import Draw

# ---------- what is known exactly ----------


def nats_left(x_0: Tensor, alpha_bar: Tensor) -> Tensor:
    """KL(q(x_t | x_0) || N(0, I)) of pictures x_0 (B, C, H, W) at each step: (B, T)."""
    squares = x_0.double().square().flatten(1).sum(dim=1)[:, None]
    rest = alpha_bar + torch.log1p(-alpha_bar)
    return (alpha_bar * squares - x_0[0].numel() * rest) / 2


def best_denoiser_of(
    data: Tensor, std: float = 0.0, schedule: Schedule = LINEAR
) -> Denoiser:
    """The best denoiser there is for data (N, D): each row as likely as any other, with
    a spread of `std` around it.
    """
    share = torch.full((len(data),), 1 / len(data), dtype=data.dtype)
    known = GaussianMixture(data, std, share)

    def denoise(x_t: Tensor, t: Tensor) -> Denoised:
        bar = float(schedule.alpha_bar[t[0]])  # all of a batch stand at one step
        return Denoised(known.denoise(x_t / bar**0.5, (1 / bar - 1) ** 0.5))

    return denoise


def two_heaps() -> Tensor:
    """The centres (2, 1) of numbers around -1 and around 1."""
    return torch.tensor([[-1.0], [1.0]], dtype=torch.float64)


def sizes_missed(schedule: Schedule, seed: int, n: int) -> float:
    """How far the sizes |x| of n numbers that the exact denoiser draws, in all steps of
    the schedule, are from those of the data, two heaps of spread 0.05: in one
    dimension, the earth mover's distance.
    """
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, generator=g, dtype=torch.float64)
    denoise = best_denoiser_of(two_heaps(), 0.05, schedule)
    steps = list(range(schedule.T - 1, -1, -1))
    drawn = last(ancestral(denoise, schedule, x, steps, g)).abs().flatten()
    true = GaussianMixture(two_heaps(), 0.05, torch.full((2,), 0.5).double())
    sizes = true.sample(n, torch.Generator().manual_seed(100 + seed)).abs().flatten()
    return float((drawn.sort().values - sizes.sort().values).abs().mean())


# ---------- points on a ring ----------


class PointNet(nn.Module):
    """x (B, D), t (B,) → (B, D), by three hidden layers. With clock=False it does not
    see t. A large `scale` lets it see fine structure.
    """

    def __init__(
        self, D: int, clock: bool = True, scale: float = 4.0, width: int = 128
    ):
        super().__init__()
        self.clock, self.scale = clock, scale
        self.first, self.time = nn.Linear(D, width), nn.Linear(64, width)
        middle = [
            layer for _ in range(2) for layer in (nn.SiLU(), nn.Linear(width, width))
        ]
        self.rest = nn.Sequential(*middle, nn.SiLU(), nn.Linear(width, D))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.first(self.scale * x)
        return self.rest(h + self.time(step_embedding(t, 64)) if self.clock else h)


def plane(D: int) -> Tensor:
    """Two directions (D, 2) of length 1, at a right angle."""
    return torch.linalg.qr(
        torch.randn(D, 2, generator=torch.Generator().manual_seed(0))
    ).Q


def ring_and_dot(n: int, g: torch.Generator, D: int = 2) -> Tensor:
    """n points (n, D) in a plane: three quarters on a ring of radius 1.6, the others in
    its middle, with a spread of 0.1.
    """
    turn = 2 * math.pi * torch.rand(n, 1, generator=g)
    radius = torch.where(torch.rand(n, 1, generator=g) < 0.25, 0.0, 1.6)
    ring = radius * torch.cat([turn.cos(), turn.sin()], dim=1)
    return (ring + 0.1 * torch.randn(n, 2, generator=g)) @ plane(D).T


def train_points(
    model: nn.Module,
    loss: Callable[..., Tensor],
    data: Callable[[int, torch.Generator], Tensor],
    seed: int,
    steps: int = 400,
) -> nn.Module:
    """So many steps of Adam on `loss`, with batches data(128, generator)."""
    torch.manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    draw = Draw(torch.Generator().manual_seed(seed), slice(None), 128)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, fused=True)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        value = loss(model, data(128, draw.generator), draw=draw)
        runtime.require_finite(slower.last_epoch, "loss", value)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        slower.step()
    return model.eval()


def draw_points(
    model: nn.Module,
    prediction: Prediction,
    D: int,
    seed: int,
    count: int = 50,
    variance: Variance = small_variance,
    n: int = 1000,
) -> Tensor:
    """n points (n, D) drawn in `count` steps, with predictions of x_0 that are clipped
    to the square in which the data are.
    """
    free = denoiser(model, LINEAR, prediction, clip=False)
    g = torch.Generator().manual_seed(seed)

    def clipped(x_t: Tensor, t: Tensor) -> Denoised:
        return Denoised(free(x_t, t).x_0.clamp(-2.5, 2.5))

    x, steps = torch.randn(n, D, generator=g), trailing(LINEAR.T, count)
    return last(ancestral(clipped, LINEAR, x, steps, g, variance))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Between points a (N, D) and b (M, D). Székely and Rizzo (2013)."""
    within = float(torch.cdist(a, a).mean() + torch.cdist(b, b).mean())
    return 2 * float(torch.cdist(a, b).mean()) - within


def distance_to_ring(x: Tensor) -> float:
    """Energy distance of points x (N, D) from 2,000 true ones, in all D dimensions."""
    g = torch.Generator().manual_seed(99)
    return energy_distance(x, ring_and_dot(2000, g, x.shape[1]))


# ---------- twenty digits ----------

LEVELS = (0, 200, 400, 500, 600, 700, 800, 999)


def twenty_digits() -> Tensor:
    """Two training digits of each kind, at half their size: (20, 196)."""
    x, y = digits.load("train")
    chosen = torch.cat([x[y == c][:2] for c in range(10)])
    return F.avg_pool2d(chosen, 2).flatten(1)


def some_of(data: Tensor, n: int, g: torch.Generator) -> Tensor:
    return data[torch.randint(len(data), (n,), generator=g)]


@cache
def learned(seed: int, steps: int) -> nn.Module:
    """A network that learned to predict x_0 of the twenty digits."""
    loss = partial(simple_loss, schedule=LINEAR, prediction=X_0)
    data = partial(some_of, twenty_digits())
    return train_points(PointNet(196, scale=1.0), loss, data, seed, steps)


def against_exact(net: nn.Module, seed: int, n: int = 400) -> dict[str, list[float]]:
    """Mean squared distance per pixel from the exact denoiser of twenty digits at each
    of LEVELS: of the network, of the exact one of ten of them, and of the mean picture;
    and the errors against the true pictures.
    """
    data, off = twenty_digits(), lambda a, b: float((a - b).square().mean())
    exact, half = best_denoiser_of(data), best_denoiser_of(data[::2])
    names = ("network", "half of the data", "mean picture", "network in x_0", "exact")
    rows: dict[str, list[float]] = {name: [] for name in names}
    for level in LEVELS:
        g, t = (
            torch.Generator().manual_seed(1000 * seed + level),
            torch.full((n,), level),
        )
        x_0 = some_of(data, n, g)
        x_t = LINEAR.noisy(x_0, t, torch.randn(x_0.shape, generator=g))
        best = exact(x_t, t).x_0
        with torch.no_grad():
            out = net(x_t, t)
        pairs = [(out, best), (half(x_t, t).x_0, best), (data.mean(dim=0), best),
                 (out, x_0), (best, x_0)]  # fmt: skip
        for name, pair in zip(names, pairs, strict=True):
            rows[name].append(off(*pair))
    return rows


def drawn_to_nearest(net: nn.Module, seed: int, n: int = 100) -> tuple[float, int]:
    """Median distance of n drawn pictures from the nearest of the twenty digits, and
    how many of the twenty are the nearest of one.
    """
    g = torch.Generator().manual_seed(seed)
    x, denoise = torch.randn(n, 196, generator=g), denoiser(net, LINEAR, X_0)
    drawn = last(ancestral(denoise, LINEAR, x, trailing(LINEAR.T, 100), g))
    distance, which = torch.cdist(drawn, twenty_digits()).min(dim=1)
    return float(distance.median()), len(which.unique())
