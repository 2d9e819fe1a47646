"""What the claims of diffusion are measured with: what a network predicts and how its
error is weighted, digits drawn and rebuilt, and frequencies of pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from minilib import runtime
from minilib.data import digits
from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import Denoised, ancestral, denoiser, last
from minilib.diffusion.schedule import EPS, X_0, Prediction, Schedule, V, trailing
from minilib.experiments.ddpm_worlds import (
    PointNet,
    distance_to_ring,
    draw_points,
    ring_and_dot,
    train_points,
)
from minilib.experiments.experiment import Size
from minilib.metrics import features, frechet_distance
from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import UNetConfig
from minilib.recipes.ddpm import LINEAR, ddpm_digits
from minilib.recipes.digits.scores import feature_network, reference_digits
from minilib.train import fit, shuffled
from minilib.weights import load_pretrained

# ---------- what is predicted, and how its error is weighted ----------


def step_of(schedule: Schedule, alpha_bar: Tensor) -> Tensor:
    """The steps t (B,) at which the schedule's alpha_bar is `alpha_bar` (B, 1, …)."""
    bars = schedule.alpha_bar.to(alpha_bar)  # falling
    middle = (bars[:-1] + bars[1:]) / 2
    return torch.searchsorted(-middle, -alpha_bar.flatten())


def previous(schedule: Schedule) -> Prediction:
    """The mean of x_{t-1} given x_t and x_0, as what a network learns to predict."""

    def shares(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        """How much of x_0 and how much of x_t is in that mean."""
        step = schedule.steps_of(step_of(schedule, alpha_bar), alpha_bar)
        one, none = torch.ones_like(step.now), torch.zeros_like(step.now)
        return step.mean(none, one).to(alpha_bar), step.mean(one, none).to(alpha_bar)

    def target(x_0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
        of_x_0, of_x_t = shares(alpha_bar)
        x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
        return of_x_0 * x_0 + of_x_t * x_t

    def x_0(x_t: Tensor, out: Tensor, alpha_bar: Tensor) -> Tensor:
        of_x_0, of_x_t = shares(alpha_bar)
        return (out - of_x_t * x_t) / of_x_0

    return Prediction(target, x_0)


PREDICTIONS = {"ε": EPS, "x_0": X_0, "v": V, "x_{t−1}": previous(LINEAR)}


def bound_weights(schedule: Schedule) -> Tensor:
    """What the bound multiplies the squared error of x_0 with, at each step: (T,).

    Half of the SNR that a step back brings; for the step to the data, half of what
    there is.
    """
    snr = schedule.alpha_bar / (1 - schedule.alpha_bar)
    return torch.cat([snr[:1], snr[:-1] - snr[1:]]) / 2


def bound_weight(alpha_bar: Tensor) -> Tensor:
    """The same for steps with this alpha_bar (B, 1, …) of the linear schedule, divided
    by its mean over all steps.
    """
    weights = bound_weights(LINEAR)
    found = (weights / weights.mean())[step_of(LINEAR, alpha_bar)]
    return found.to(alpha_bar).view_as(alpha_bar)


def loss_of(name: str, bound: bool) -> Callable[..., Tensor]:
    """The loss of a network that predicts `name`: with the bound's weights, or simple,
    the squared error of what it predicts.
    """
    weight = bound_weight if bound else None
    return partial(
        simple_loss, schedule=LINEAR, prediction=PREDICTIONS[name], weight=weight
    )


# ---------- digits ----------

TIMES = (100, 250, 400, 550, 700)
TINY = UNetConfig(patch=4, width=16, multipliers=(1,), attention=(), head_dim=16)


def balanced_digits(split: str, each: int) -> tuple[Tensor, Tensor]:
    """`each` digits of every kind, 0 to 9 in turn: (10·each, 1, 28, 28), and labels.

    They are spread over all of the kind, since the first half of the test digits was
    written by neater hands than the second.
    """
    x, y = digits.load(split)
    of_kind = [(y == c).nonzero()[:, 0] for c in range(10)]
    rows = [at[torch.linspace(0, len(at) - 1, each).round().long()] for at in of_kind]
    chosen = torch.stack(rows, dim=1).flatten()
    return x[chosen], y[chosen]


@cache
def reference_features() -> Tensor:
    """Of 10,000 training digits, as many of each kind: (10000, D)."""
    return features(feature_network(), reference_digits())


def ancestral_digits(
    model: nn.Module,
    prediction: Prediction,
    n: int,
    count: int,
    seed: int,
    y: Tensor | None = None,
) -> Tensor:
    """n digits (n, 1, 28, 28) of labels y (n,), by `count` steps of `ancestral`."""
    g = torch.Generator().manual_seed(seed)
    steps = trailing(LINEAR.T, count)

    def draw(x: Tensor, *y: Tensor) -> Tensor:
        denoise = denoiser(model, LINEAR, prediction, y[0] if y else None)
        return last(ancestral(denoise, LINEAR, x, steps, g))

    x = torch.randn(n, 1, 28, 28, generator=g)
    return runtime.in_blocks(draw, x, *([] if y is None else [y])).clamp(-1, 1)


@cache
def digits_missed(name: str, bound: bool, seed: int, size: Size) -> float:
    """FD (digit features) of drawn digits, of a network trained to predict `name`."""
    config = size.pick(live=TINY, quick=TINY, full=UNetConfig(blocks=1, attention=()))
    steps = size.pick(live=20, quick=400, full=20_000)
    n, count = size.pick(live=(100, 10), quick=(1000, 20), full=(5000, 100))
    runtime.seed_everything(seed)
    batches = shuffled(digits.load("train")[0], batch_size=64, seed=seed)
    net = fit(UNet(config), loss_of(name, bound), batches, steps=steps, lr=4e-3,
              betas=(0.9, 0.99), seed=seed, progress=False).ema  # fmt: skip
    drawn = ancestral_digits(net, PREDICTIONS[name], n, count, seed)
    return frechet_distance(features(feature_network(), drawn), reference_features())


@cache
def points_missed(name: str, bound: bool, seed: int, size: Size) -> float:
    """Energy distance of points in 64 dimensions, of a network trained to predict
    `name`.
    """
    steps = size.pick(live=100, quick=400, full=4000)
    data = partial(ring_and_dot, D=64)
    net = train_points(PointNet(64), loss_of(name, bound), data, seed, steps)
    return distance_to_ring(draw_points(net, PREDICTIONS[name], 64, seed))


def x_0_errors(
    model: Callable[..., Tensor],
    x_0: Tensor,
    y: Tensor | None,
    seen: int,
    true: int,
    seed: int = 0,
) -> Tensor:
    """Squared error per pixel of a network that predicts x_0, for each x_0 (B, 1, H, W)
    at the noise level of step `true`, when the network is given `seen`: (B,).
    """
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed))
    x_t = LINEAR.noisy(x_0, torch.full((len(x_0),), true), eps)

    def off(x_t: Tensor, x_0: Tensor, *y: Tensor) -> Tensor:
        t = torch.full((len(x_t),), seen, device=x_t.device)
        error = model(x_t, t, *y).clamp(-1, 1) - x_0
        return error.square().flatten(1).mean(dim=1)

    return runtime.in_blocks(off, x_t, x_0, *([] if y is None else [y]))


def given_times(n: int, seed: int) -> Tensor:
    """Error of the shipped network's x_0 of n test digits, at each true step of TIMES,
    given each of them: (true, given, n). NaN where they are two or more apart.
    """
    model = load_pretrained(ddpm_digits.model(), "ddpm_digits").to(runtime.device())
    x, y = balanced_digits("test", (n + 9) // 10)
    errors = torch.full((len(TIMES), len(TIMES), n), torch.nan)
    for i, true in enumerate(TIMES):
        for j in range(max(0, i - 1), min(len(TIMES), i + 2)):
            errors[i, j] = x_0_errors(model, x[:n], y[:n], TIMES[j], true, seed)
    return errors


class WithoutClock(nn.Module):
    """A network that is given t = 0 whatever t is."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.net(x, torch.zeros_like(t), y)


def clock_or_not(seed: int, size: Size, n: int) -> list[list[float]]:
    """Errors over TIMES of n test digits' x_0, of a network trained without t, and of
    the same trained with it.
    """
    config = size.pick(live=TINY, quick=TINY, full=ddpm_digits.model().config)
    steps = size.pick(live=20, quick=400, full=20_000)
    x, sides = balanced_digits("test", (n + 9) // 10)[0][:n], []
    for blind in (True, False):
        runtime.seed_everything(seed)
        unet = UNet(config)
        net: nn.Module = WithoutClock(unet) if blind else unet
        loss = partial(simple_loss, schedule=LINEAR, prediction=X_0)
        batches = shuffled(digits.load("train")[0], batch_size=64, seed=seed)
        net = fit(net, loss, batches, steps=steps, lr=4e-3, betas=(0.9, 0.99),
                  seed=seed, progress=False).ema  # fmt: skip
        errors = [x_0_errors(net, x, None, at, at, seed) for at in TIMES]
        sides.append(torch.stack(errors).mean(dim=0).tolist())
    return sides


# ---------- frequencies ----------

BANDS = {
    "1 wave": (0.5, 1.5),
    "2–3 waves": (1.5, 3.5),
    "4–6 waves": (3.5, 6.5),
    "7–14 waves": (6.5, 14.5),
}


def beyond_label(x: Tensor) -> Tensor:
    """Pictures (…, n, 1, H, W) of the labels 0 to 9 in turn, less the mean of their
    label.
    """
    by_label = x.unflatten(-4, (-1, 10))  # (…, n / 10, 10, 1, H, W)
    return (by_label - by_label.mean(dim=-5, keepdim=True)).flatten(-5, -4)


def undecided(predicted: Tensor, final: Tensor) -> dict[str, Tensor]:
    """The share of each band's power that the prediction of x_0 (steps, n, 1, H, W) has
    not yet as the final picture (n, 1, H, W) has it, at each step: (steps, n).
    """
    side = final.shape[-1]
    fy, fx = torch.meshgrid(*[torch.fft.fftfreq(side) * side] * 2, indexing="ij")
    wave = torch.sqrt(fx**2 + fy**2)  # waves across the picture
    last_waves, shares = torch.fft.fft2(beyond_label(final)), {}
    gap = torch.fft.fft2(beyond_label(predicted)) - last_waves
    for name, (low, high) in BANDS.items():
        here = (wave >= low) & (wave < high)
        power, whole = (w[..., here].abs().square().sum(dim=(-2, -1))
                        for w in (gap, last_waves))  # fmt: skip
        shares[name] = power / whole
    return shares


def half_decided(share: Tensor, steps: list[int]) -> list[float]:
    """For each picture the first step of a walk at which less than half is open, from
    shares (steps, n): by the number of the step, n numbers.
    """
    below = (share < 0.5).int().argmax(dim=0)
    return [float(steps[int(i)]) for i in below]


def watched_digits(n: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Digits 0 to 9 in turn from the shipped network (n, 1, 28, 28), and what it
    predicted as x_0 on the way (count, n, 1, 28, 28).
    """
    model = load_pretrained(ddpm_digits.model(), "ddpm_digits").to(runtime.device())
    y, seen = torch.arange(n, device=runtime.device()) % 10, []
    free, g = denoiser(model, LINEAR, X_0, y), torch.Generator().manual_seed(seed)

    def watching(x_t: Tensor, t: Tensor) -> Denoised:
        seen.append(free(x_t, t).x_0)
        return Denoised(seen[-1])

    x = torch.randn(n, 1, 28, 28, generator=g).to(runtime.device())
    x = last(ancestral(watching, LINEAR, x, trailing(LINEAR.T, count), g))
    return x.cpu(), torch.stack(seen).cpu()


# ---------- kinds of handwriting ----------

KINDS = 200


@cache
def kinds_of_handwriting() -> Tensor:
    """The centres (KINDS, D) of 15 rounds of k-means in the features of the training
    digits.
    """
    reference = reference_features()
    first = torch.randperm(len(reference), generator=torch.Generator().manual_seed(0))
    centres = reference[first[:KINDS]].clone()
    for _ in range(15):
        nearest = torch.cdist(reference, centres).argmin(dim=1)
        for k in nearest.unique():
            centres[k] = reference[nearest == k].mean(dim=0)
    return centres
