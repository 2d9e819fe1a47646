import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilib.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    LinearAutoencoder,
    principal_components,
    reconstruction_loss,
    sample_fitted_gaussian,
)


@settings(max_examples=15, deadline=None)
@given(
    code_dim=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([8, 28, 32]),
    n=st.integers(1, 3),
)
def test_shapes_and_range(code_dim, channels, size, n):
    config = AutoencoderConfig(code_dim=code_dim, width=8, channels=channels, size=size)
    x = torch.rand(n, channels, size, size) * 2 - 1
    for kind in (Autoencoder, LinearAutoencoder):
        model = kind(config)
        assert model.encode(x).shape == (n, code_dim)
        assert model(x).shape == x.shape
    out = Autoencoder(config).decode(100 * torch.randn(n, code_dim))
    assert out.abs().max() <= 1


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 28, 28),
        torch.zeros(2, 3, 28, 28),
        torch.zeros(2, 1, 32, 32),
        torch.zeros(2, 1, 28, 28).byte(),
    ],
)
def test_the_encoder_says_what_it_wants(x):
    with pytest.raises(
        ValueError,
        match=r"expected a floating-point x of shape \(B, 1, 28, 28\) in \[-1, 1\], "
        r"got torch",
    ):
        Autoencoder().encode(x)


@pytest.mark.parametrize(
    "z", [torch.zeros(16), torch.zeros(2, 15), torch.zeros(2, 16, 1)]
)
def test_the_decoder_says_what_it_wants(z):
    with pytest.raises(ValueError, match=r"expected z of shape \(B, 16\)"):
        Autoencoder().decode(z)


def test_reconstruction_loss_is_the_mean_square_per_pixel():
    x = torch.randn(3, 1, 4, 4)
    assert reconstruction_loss(lambda x: x + 2, x).item() == pytest.approx(4)
    assert reconstruction_loss(lambda x: 0 * x, x).item() == pytest.approx(
        (x**2).sum().item() / 48
    )


def test_gradients_reach_every_parameter():
    model = Autoencoder()
    reconstruction_loss(model, torch.rand(4, 1, 28, 28)).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()
    )


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 20), d=st.integers(2, 10), seed=st.integers(0, 1000))
def test_no_other_subspace_beats_principal_components(n, d, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    k = min(n, d) - 1
    mean, directions = principal_components(x, k)
    assert torch.allclose(
        directions @ directions.T, torch.eye(k, dtype=torch.float64), atol=1e-10
    )
    error = lambda w: (x - mean - (x - mean) @ w.T @ w).square().sum()  # noqa: E731
    other = torch.linalg.qr(torch.randn(d, k, generator=g, dtype=torch.float64)).Q.T
    assert error(directions) <= error(other) + 1e-9


@pytest.mark.parametrize(
    ("shape", "k"), [((5, 3), 0), ((5, 3), 4), ((2, 3), 3), ((5,), 1), ((5, 3, 1), 1)]
)
def test_principal_components_refuse_impossible_sizes(shape, k):
    with pytest.raises(ValueError, match="expected x of shape"):
        principal_components(torch.zeros(shape), k)


def test_fitted_gaussian_has_the_codes_moments():
    g = torch.Generator().manual_seed(0)
    z = (
        torch.randn(5000, 3, generator=g)
        @ torch.tensor([[2.0, 0, 0], [1, 0.5, 0], [0, 0, 3]])
        + 7
    )
    drawn = sample_fitted_gaussian(z, 50_000, g)
    assert torch.allclose(drawn.mean(dim=0), z.mean(dim=0), atol=0.06)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(z.T), rtol=0.05, atol=0.12)


@pytest.mark.parametrize("shape", [(3, 3), (10,), (2, 5)])
def test_fitted_gaussian_needs_more_codes_than_features(shape):
    with pytest.raises(ValueError, match="N > D"):
        sample_fitted_gaussian(torch.randn(shape), 4, torch.Generator())


def test_a_number_that_is_always_zero_leaves_no_gaussian_to_fit():
    z = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 0
    with pytest.raises(torch.linalg.LinAlgError):
        sample_fitted_gaussian(z, 4, torch.Generator())


def test_one_feature_is_enough_for_a_gaussian():
    z = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    assert sample_fitted_gaussian(z, 4, torch.Generator().manual_seed(0)).shape == (
        4,
        1,
    )


def test_a_size_that_cannot_be_halved_twice_is_refused():
    with pytest.raises(ValueError, match="expected a size that 4 divides, got 30"):
        AutoencoderConfig(size=30)


def test_codes_of_any_precision_are_drawn_in_it():
    z = torch.randn(
        9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    assert (
        sample_fitted_gaussian(z, 3, torch.Generator().manual_seed(0)).dtype
        == torch.float64
    )


def test_what_would_broadcast_or_is_no_generator_is_refused():
    x = torch.zeros(5, 3, 8, 8)
    with pytest.raises(
        ValueError, match=r"a reconstruction of shape \(5, 3, 8, 8\), got"
    ):
        reconstruction_loss(lambda x: x[:, :1], x)
    with pytest.raises(ValueError, match=r"expected a generator, .* got 0"):
        sample_fitted_gaussian(torch.randn(5, 2), 3, 0)
    with pytest.raises(
        ValueError, match="expected code_dim to be a whole number from 1"
    ):
        AutoencoderConfig(code_dim=0)
