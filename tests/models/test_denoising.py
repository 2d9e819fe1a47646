import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from minilib.models.denoising import (
    GaussianMixture,
    WideAutoencoder,
    WideConfig,
    add_any_noise,
    add_noise,
    denoising_loss,
    denoising_vae_loss,
    erase_square,
    falling_noise,
    gaussian_fill,
    mask_pixels,
    salt_and_pepper,
    tweedie_score,
    walk_down,
)
from minilib.models.vae import VAE, vae_loss
from minilib.train import Draw


def draws(batch: int, seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed), slice(None), batch)


def pictures(batch: int, *shape: int) -> torch.Tensor:
    return (
        torch.rand(batch, *shape, generator=torch.Generator().manual_seed(9)) * 1.8
        - 0.9
    )


WAYS = [
    lambda x, draw: add_noise(x, draw, sigma=0.5),
    lambda x, draw: add_any_noise(x, draw, low=0.1, high=2.0),
    lambda x, draw: mask_pixels(x, draw, fraction=0.5),
    lambda x, draw: salt_and_pepper(x, draw, fraction=0.3),
    lambda x, draw: erase_square(x, draw, side=5),
]
ways = pytest.mark.parametrize("way", WAYS)


def mixture(seed: int = 0, std: float = 0.3) -> GaussianMixture:
    g = torch.Generator().manual_seed(seed)
    means, weights = (
        torch.randn(4, 2, generator=g, dtype=torch.float64),
        torch.rand(4, generator=g).double() + 0.1,
    )
    return GaussianMixture(means, std, weights / weights.sum())


# ---------- ways to spoil a picture ----------


@ways
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12)])
def test_a_way_to_spoil_keeps_the_shape_spoils_and_leaves_its_input_alone(way, shape):
    x = pictures(6, *shape)
    before = x.clone()
    spoilt = way(x, draws(6))
    assert spoilt.shape == x.shape
    assert spoilt.dtype == x.dtype
    assert torch.equal(x, before)
    assert all((a != b).any() for a, b in zip(spoilt, x, strict=True))
    assert torch.equal(spoilt, way(x, draws(6)))
    assert not torch.equal(spoilt, way(x, draws(6, seed=1)))


@ways
def test_a_sample_is_spoilt_the_same_alone_and_in_company(way):
    """Two processes that hold three rows each must see what one sees that holds all
    six.
    """
    x = pictures(6, 1, 8, 8)
    half = Draw(torch.Generator().manual_seed(0), slice(3, 6), 6)
    assert torch.equal(way(x, draws(6))[3:], way(x[3:], half))


def test_noise_has_the_level_that_was_asked_for():
    x = torch.zeros(400, 1, 16, 16)
    assert add_noise(x, draws(400), sigma=0.5).std().item() == pytest.approx(
        0.5, rel=0.01
    )
    levels = add_any_noise(x, draws(400), low=0.1, high=10.0).flatten(1).std(dim=1)
    assert 0.085 < levels.min() < 0.2
    assert 5 < levels.max() < 11.5
    # the middle of log 0.1 … log 10
    assert levels.log().mean().item() == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_masks_and_salt_hit_the_fraction_that_was_asked_for(fraction):
    x = pictures(200, 3, 16, 16)
    masked, salted = (
        mask_pixels(x, draws(200), fraction),
        salt_and_pepper(x, draws(200), fraction),
    )
    assert (masked == 0).float().mean().item() == pytest.approx(fraction, abs=0.01)
    assert torch.equal(masked[masked != 0], x[masked != 0])
    assert (salted == 1).float().mean().item() == pytest.approx(fraction / 2, abs=0.01)
    assert (salted == -1).float().mean().item() == pytest.approx(fraction / 2, abs=0.01)
    untouched = salted.abs() != 1
    assert torch.equal(salted[untouched], x[untouched])
    # a pixel is hit in all its channels or in none
    for spoilt in (masked == 0, salted.abs() == 1):
        assert torch.equal(spoilt.all(dim=1), spoilt.any(dim=1))


@settings(max_examples=20)
@given(
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    side=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_one_square_is_erased_and_it_lies_inside(height, width, side, seed):
    x = torch.ones(3, 2, height, width)
    spoilt = erase_square(x, draws(3, seed), side)
    for picture in spoilt:
        _, rows, columns = (picture == 0).nonzero().unbind(dim=1)
        assert (picture == 0).sum() == 2 * side**2
        assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == side


def test_every_place_for_the_square_occurs():
    spoilt = erase_square(torch.ones(500, 1, 5, 4), draws(500), side=3)
    corners = {tuple((p[0] == 0).nonzero()[0].tolist()) for p in spoilt}
    assert corners == {(r, c) for r in range(3) for c in range(2)}


# ---------- losses ----------


def test_the_target_is_the_clean_picture():
    x = pictures(50, 1, 8, 8)
    identity = torch.nn.Identity()
    loss = denoising_loss(
        identity, x, draws(50), lambda x, draw: add_noise(x, draw, sigma=0.3)
    )
    # what it costs to copy is the noise's variance
    assert loss.item() == pytest.approx(0.09, rel=0.05)
    assert denoising_loss(identity, x, draws(50), lambda x, draw: x) == 0
    assert denoising_loss(lambda noisy: x, x, draws(50), lambda x, draw: x + 100) == 0


def test_without_corruption_the_denoising_vae_is_the_vae():
    torch.manual_seed(0)
    model, x = VAE(), pictures(5, 1, 28, 28)
    assert denoising_vae_loss(
        model, x, draws(5), lambda x, draw: x
    ).item() == pytest.approx(vae_loss(model, x, draws(5)).item(), rel=1e-6)


def test_the_denoising_vae_sees_the_spoilt_picture_and_must_explain_the_clean_one():
    torch.manual_seed(0)
    model, x = VAE(), pictures(5, 1, 28, 28)
    seen = []
    model.encoder.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    explained = []
    whole, model.log_likelihood = (
        model.log_likelihood,
        lambda x, z: (explained.append(x), whole(x, z))[1],
    )
    denoising_vae_loss(model, x, draws(5), lambda x, draw: -x).backward()
    assert torch.equal(seen[0], -x)
    assert torch.equal(explained[0], x)


# ---------- the network ----------


@settings(max_examples=8)
@given(
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([8, 28]),
    maps=st.sampled_from([8, 24]),
    blocks=st.integers(0, 2),
)
def test_shapes_and_range(channels, size, maps, blocks):
    config = WideConfig(width=8, maps=maps, blocks=blocks, channels=channels, size=size)
    model, x = WideAutoencoder(config), pictures(2, channels, size, size)
    assert model.encode(x).shape == (2, maps, size // 4, size // 4)
    assert model(x).shape == x.shape
    assert model(100 * x).abs().max() <= 1


def test_by_default_the_code_is_twice_as_large_as_the_picture():
    x = pictures(1, 1, 28, 28)
    assert WideAutoencoder().encode(x).numel() == 2 * x.numel()


def test_every_part_of_the_network_learns():
    torch.manual_seed(0)
    model = WideAutoencoder()
    denoising_loss(model, pictures(4, 1, 28, 28), draws(4), WAYS[0]).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()
    )


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 28, 28), torch.zeros(2, 3, 28, 28), torch.zeros(2, 1, 32, 32)]
)
def test_the_network_says_what_it_wants(x):
    with pytest.raises(
        ValueError, match=r"expected a floating-point x of shape \(B, 1, 28, 28\)"
    ):
        WideAutoencoder()(x)


# ---------- the best denoiser ----------


@settings(max_examples=20)
@given(
    seed=st.integers(0, 999),
    std=st.sampled_from([0.0, 0.2, 1.0]),
    sigma=st.sampled_from([0.3, 1.0, 4.0]),
)
def test_tweedie_the_best_denoiser_is_the_score(seed, std, sigma):
    """The posterior mean on one side, the gradient of the log-density by automatic
    differentiation on the other.
    """
    data = mixture(seed, std)
    x = 2 * torch.randn(
        40, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    x.requires_grad_()
    (score,) = torch.autograd.grad(data.log_density(x, sigma).sum(), x)
    assert torch.allclose(
        tweedie_score(data.denoise(x, sigma), x, sigma), score, rtol=1e-9, atol=1e-9
    )


def test_the_mixture_is_that_of_torch():
    data, sigma = mixture(), 0.7
    parts = torch.distributions.MultivariateNormal(
        data.means, (data.std**2 + sigma**2) * torch.eye(2).double()
    )
    theirs = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(data.weights), parts
    )
    x = torch.randn(30, 2, dtype=torch.float64)
    assert torch.allclose(data.log_density(x, sigma), theirs.log_prob(x), rtol=1e-12)


def test_the_posterior_mean_by_brute_force():
    """Bayes' rule on a fine grid of clean points, in one dimension."""
    data = GaussianMixture(
        torch.tensor([[-1.0], [0.5]], dtype=torch.float64),
        0.2,
        torch.tensor([0.3, 0.7]).double(),
    )
    clean = torch.linspace(-4, 4, 20_001, dtype=torch.float64)
    prior = data.log_density(clean[:, None], 0.0).exp()
    for noisy in (-2.0, -0.3, 0.1, 3.0):
        posterior = prior * (-((noisy - clean) ** 2) / (2 * 0.6**2)).exp()
        expected = (posterior * clean).sum() / posterior.sum()
        got = data.denoise(torch.tensor([[noisy]], dtype=torch.float64), 0.6)
        assert got.item() == pytest.approx(expected.item(), abs=1e-10)


def test_a_data_set_is_denoised_to_its_nearest_picture_and_to_its_mean():
    data = mixture(std=0.0)
    x = data.means + 0.01
    assert torch.allclose(data.denoise(x, 0.02), data.means, atol=1e-6)
    far = (data.weights[:, None] * data.means).sum(dim=0)
    assert torch.allclose(data.denoise(x, 1e4), far.expand(4, 2), atol=1e-6)
    assert data.denoise(x, 1e-6).isfinite().all()


def test_the_mixtures_samples_have_its_moments():
    data = mixture(std=0.5)
    drawn = data.sample(100_000, torch.Generator().manual_seed(0))
    mean = data.weights @ data.means
    centred = data.means - mean
    covariance = centred.T @ (data.weights[:, None] * centred) + 0.25 * torch.eye(2)
    assert torch.allclose(drawn.mean(dim=0), mean, atol=0.01)
    assert torch.allclose(torch.cov(drawn.T), covariance, atol=0.02)


# ---------- the linear guess of what is hidden ----------


def test_gaussian_fill_on_two_numbers_is_the_regression_line():
    covariance = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    mean = torch.tensor([1.0, -1.0], dtype=torch.float64)
    x = torch.tensor([[3.0, 99.0]], dtype=torch.float64)
    filled = gaussian_fill(x, torch.tensor([True, False]), mean, covariance, ridge=0.0)
    assert filled[0].tolist() == pytest.approx([3.0, -1 + 0.6 / 2 * 2])
    assert x[0, 1] == 99


def test_gaussian_fill_is_the_least_squares_fit():
    """On the very data whose moments it was given, without ridge, no other linear guess
    is better.
    """
    g = torch.Generator().manual_seed(0)
    x = (
        torch.randn(300, 6, generator=g, dtype=torch.float64)
        @ torch.randn(6, 6, generator=g, dtype=torch.float64)
        + 2
    )
    seen = torch.tensor([True, False, True, True, False, True])
    covariance = torch.cov(x.T)
    filled = gaussian_fill(x, seen, x.mean(dim=0), covariance, ridge=0.0)
    design = torch.cat([x[:, seen], torch.ones(300, 1, dtype=torch.float64)], dim=1)
    best = design @ torch.linalg.lstsq(design, x[:, ~seen]).solution
    assert torch.allclose(filled[:, ~seen], best, atol=1e-9)
    assert torch.equal(filled[:, seen], x[:, seen])


def test_a_number_that_never_varies_does_no_harm():
    covariance, mean = (
        torch.diag(torch.tensor([0.0, 1.0, 0.0])),
        torch.tensor([-1.0, 0.0, -1.0]),
    )
    filled = gaussian_fill(
        torch.tensor([[-1.0, 0.5, 7.0]]),
        torch.tensor([True, True, False]),
        mean,
        covariance,
    )
    assert filled[0].tolist() == pytest.approx([-1.0, 0.5, -1.0])


# ---------- drawing ----------


@pytest.mark.parametrize("steps", [1, 0, -3])
def test_noise_needs_two_levels_to_fall(steps):
    with pytest.raises(ValueError, match=f"expected 2 steps or more, got {steps}"):
        falling_noise(5.0, 0.2, steps)


def test_noise_falls_by_equal_factors():
    sigmas = falling_noise(8.0, 0.5, 5)
    assert sigmas == pytest.approx([8, 4, 2, 1, 0.5])


def test_walking_down_with_the_best_denoiser_draws_from_the_data():
    data = GaussianMixture(
        torch.tensor([[-2.0], [1.0]], dtype=torch.float64),
        0.3,
        torch.tensor([0.25, 0.75]).double(),
    )
    g = torch.Generator().manual_seed(0)
    noisy = 40 * torch.randn(20_000, 1, generator=g, dtype=torch.float64)
    drawn = walk_down(data.denoise, noisy, falling_noise(40.0, 0.01, 200), g)[:, 0]
    assert (drawn < -0.5).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert drawn[drawn > -0.5].mean().item() == pytest.approx(1, abs=0.02)
    assert drawn[drawn > -0.5].std().item() == pytest.approx(0.3, rel=0.05)


def test_the_walk_tells_the_denoiser_each_level_and_ends_on_its_last_guess():
    levels = []

    def denoise(x, sigma):
        levels.append(sigma)
        return torch.full_like(x, float(len(levels)))

    x = walk_down(
        denoise,
        torch.randn(3, 1, 2, 2),
        [2.0, 1.0, 0.5],
        torch.Generator().manual_seed(0),
    )
    assert levels == [2.0, 1.0, 0.5]
    assert torch.equal(x, torch.full((3, 1, 2, 2), 3.0))


def test_a_step_has_the_posteriors_mean_and_spread():
    """One step from 2 to 1, for a clean number that is known: against Bayes' rule for
    two Gaussians.
    """
    g = torch.Generator().manual_seed(0)
    noisy = torch.full((200_000,), 3.0, dtype=torch.float64)
    after = []

    def denoise(x, sigma):
        after.append(x)
        return torch.zeros_like(x)

    walk_down(denoise, noisy, [2.0, 1.0], g)
    # clean 0, so the lower one is N(0, 1) before it is seen through noise of variance
    # 2² − 1²
    variance = 1 / (1 / 1 + 1 / 3)
    assert after[1].mean().item() == pytest.approx(variance * 3 / 3, abs=0.01)
    assert after[1].std().item() == pytest.approx(math.sqrt(variance), rel=0.01)


def test_the_score_of_one_gaussian_points_home():
    x = torch.tensor([[3.0, 4.0]])
    data = GaussianMixture(torch.zeros(1, 2), 0.0, torch.ones(1))
    assert np.allclose(tweedie_score(data.denoise(x, 2.0), x, 2.0), -x / 4)
    assert F.mse_loss(data.denoise(x, 2.0), torch.zeros(1, 2)) == 0


def test_a_fraction_is_no_percentage_and_a_square_fits_into_the_picture():
    x = pictures(2, 1, 8, 8)
    for way in (mask_pixels, salt_and_pepper):
        with pytest.raises(ValueError, match="the fraction from 0 to 1, got 30"):
            way(x, draws(2), 30)
    for side in (0, 9):
        with pytest.raises(
            ValueError, match=f"expected a side from 1 to 8, got {side}"
        ):
            erase_square(x, draws(2), side)


def test_what_would_broadcast_or_is_no_generator_is_refused():
    with pytest.raises(
        ValueError, match=r"a model's output of shape \(2, 3, 8, 8\), got"
    ):
        denoising_loss(
            lambda x: x[:, :1], pictures(2, 3, 8, 8), draws(2), lambda x, draw: x
        )
    for draw in (
        lambda: mixture().sample(2, 0),
        lambda: walk_down(lambda x, sigma: x, torch.zeros(2, 3), [1.0], 0),
    ):
        with pytest.raises(ValueError, match=r"expected a generator, .* got 0"):
            draw()


def test_sizes_that_make_no_wide_autoencoder_are_refused():
    with pytest.raises(ValueError, match="expected a size that 4 divides, got 30"):
        WideConfig(size=30)
    with pytest.raises(
        ValueError, match="expected maps to be a whole number from 1 up"
    ):
        WideConfig(maps=0)
