"""The helpers of chapter 6's claims, where the right answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from minilib.data import digits
from minilib.diffusion.schedule import Schedule, linear_beta
from minilib.experiments import ddpm, ddpm_parts, ddpm_worlds
from minilib.experiments.experiment import Size
from minilib.recipes.ddpm import LINEAR


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_bound_weighs_as_its_formula_says() -> None:
    """½ β² ᾱ_{t-1} / ((1 - ᾱ_t)² β̃_t), the factor before it is simplified."""
    step = LINEAR.steps_of(torch.tensor([1, 10, 500, 999]), normal(4, 1))
    long = (step.then.sqrt() * step.beta / (1 - step.now)) ** 2 / (2 * step.beta_tilde)
    short = ddpm_parts.bound_weights(LINEAR)[[1, 10, 500, 999]]
    assert torch.allclose(long.flatten(), short, rtol=1e-9)


def test_the_bounds_weight_has_mean_one_and_finds_its_step() -> None:
    bars = LINEAR.alpha_bar.float().view(-1, 1)
    weights = ddpm_parts.bound_weight(bars)
    assert weights.shape == bars.shape
    assert float(weights.double().mean()) == pytest.approx(1, rel=1e-5)
    assert torch.equal(ddpm_parts.step_of(LINEAR, bars), torch.arange(1000))


def test_the_mean_of_the_step_before_leads_back_to_the_picture() -> None:
    previous, t = ddpm_parts.previous(LINEAR), torch.tensor([0, 1, 300, 999])
    x_0, eps = normal(4, 3).double(), normal(4, 3, seed=1).double()
    bar = LINEAR.at(LINEAR.alpha_bar, t, x_0)
    target = previous.target(x_0, eps, bar)
    assert torch.allclose(target[0], x_0[0])  # before the first step is the picture
    assert torch.allclose(previous.x_0(LINEAR.noisy(x_0, t, eps), target, bar), x_0)


def test_what_is_left_of_a_black_picture_is_the_kl_of_two_gaussians() -> None:
    bar = torch.tensor([0.5], dtype=torch.float64)
    found = ddpm_worlds.nats_left(-torch.ones(1, 1, 2, 2), bar)
    assert float(found) == pytest.approx(4 * (0.5 - 0.5 - math.log(0.5)) / 2)


def test_the_exact_denoiser_of_one_point_says_that_point() -> None:
    point = torch.tensor([[0.3, -0.7]])
    denoise = ddpm_worlds.best_denoiser_of(point)
    x_0 = denoise(normal(5, 2), torch.full((5,), 700)).x_0
    assert torch.allclose(x_0, point.expand(5, 2))


def test_the_exact_denoiser_of_a_gaussian_shrinks() -> None:
    """E[x_0 | x_t] = sqrt(ᾱ) s² x_t / (ᾱ s² + 1 - ᾱ) for data N(0, s²)."""
    denoise = ddpm_worlds.best_denoiser_of(torch.zeros(1, 1).double(), std=0.5)
    x_t, bar = normal(6, 1).double(), float(LINEAR.alpha_bar[400])
    expected = bar**0.5 * 0.25 * x_t / (bar * 0.25 + 1 - bar)
    assert torch.allclose(denoise(x_t, torch.full((6,), 400)).x_0, expected)


def test_energy_distance() -> None:
    a = normal(300, 2)
    assert ddpm_worlds.energy_distance(a, a) == pytest.approx(0, abs=1e-6)
    apart = ddpm_worlds.energy_distance(a, a + 100)
    assert apart == pytest.approx(2 * math.hypot(100, 100), rel=0.05)


def test_the_ring_lies_in_a_plane() -> None:
    plane, g = ddpm_worlds.plane(64), torch.Generator().manual_seed(0)
    assert torch.allclose(plane.T @ plane, torch.eye(2), atol=1e-5)
    x = ddpm_worlds.ring_and_dot(500, g, D=64)
    assert torch.allclose(x @ plane @ plane.T, x, atol=1e-5)
    inside = ((x @ plane).norm(dim=1) < 0.8).float().mean()
    assert float(inside) == pytest.approx(0.25, abs=0.06)


def test_a_network_without_clock_does_not_see_the_step() -> None:
    x, early, late = normal(3, 2), torch.tensor([0] * 3), torch.tensor([999] * 3)
    blind, seeing = ddpm_worlds.PointNet(2, clock=False), ddpm_worlds.PointNet(2)
    assert torch.equal(blind(x, early), blind(x, late))
    assert not torch.equal(seeing(x, early), seeing(x, late))
    wrapped = ddpm_parts.WithoutClock(seeing)
    assert torch.equal(wrapped(x, late), seeing(x, early))


def test_balanced_digits_hold_each_kind_as_often_from_all_of_the_test_set() -> None:
    x, y = ddpm_parts.balanced_digits("test", 500)
    assert torch.equal(y.view(500, 10), torch.arange(10).expand(500, 10))
    assert len(x.unique(dim=0)) == 5000
    everything, labels = digits.load("test")
    at = (labels == 3).nonzero()[:, 0]
    assert torch.equal(x[3], everything[at[0]])
    assert torch.equal(x[-7], everything[at[-1]])  # the last three


def test_undecided_bands() -> None:
    """A wave that is missing is wholly open in its band; what is there is decided."""
    at = torch.arange(28) / 28 * 2 * math.pi
    slow, fast = torch.sin(at), torch.sin(10 * at)
    sign = torch.tensor([1.0] * 10 + [-1.0] * 10).view(20, 1, 1, 1)
    final = sign * (slow + fast).expand(20, 1, 28, 28)
    predicted = torch.stack([sign * slow.expand(20, 1, 28, 28), final])
    shares = ddpm_parts.undecided(predicted, final)
    assert torch.allclose(shares["1 wave"], torch.zeros(2, 20), atol=1e-5)
    assert torch.allclose(shares["7–14 waves"][0], torch.ones(20), atol=1e-4)
    assert torch.allclose(shares["7–14 waves"][1], torch.zeros(20), atol=1e-4)


def test_half_decided_is_the_first_step_with_less_than_half_open() -> None:
    share = torch.tensor([[0.9, 0.4], [0.6, 0.6], [0.4, 0.1]])
    assert ddpm_parts.half_decided(share, [900, 500, 100]) == [100.0, 900.0]


def test_rising_steps_miss_less_than_equal_ones() -> None:
    rising = Schedule(linear_beta(30))
    flat = 1 - float(rising.alpha_bar[-1]) ** (1 / 30)
    equal = Schedule(torch.full((30,), flat, dtype=torch.float64))
    missed = [ddpm_worlds.sizes_missed(s, 0, 500) for s in (rising, equal)]
    assert missed[0] < missed[1] / 2


@pytest.mark.parametrize("one", [ddpm.DDPM_1, ddpm.DDPM_2], ids=lambda one: one.id)
def test_a_cheap_experiment_has_the_parts_that_it_measures(one) -> None:
    assert one.measure(0, Size.LIVE).keys() == {part.name for part in one.parts}


def test_points_that_are_not_finite_end_the_training() -> None:
    steps = []

    def data(n: int, g: torch.Generator) -> torch.Tensor:
        steps.append(0)
        return torch.full((n, 2), math.nan if len(steps) == 3 else 0.5)

    def loss(model: torch.nn.Module, x: torch.Tensor, *, draw: object) -> torch.Tensor:
        return model(x).square().mean()

    with pytest.raises(FloatingPointError, match="the loss is not finite from step 2 "):
        ddpm_worlds.train_points(torch.nn.Linear(2, 2), loss, data, seed=0, steps=5)
    assert len(steps) == 3
