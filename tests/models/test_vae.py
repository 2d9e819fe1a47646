import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions as D
from torch import nn

from minilib.models.vae import (
    VAE,
    ProbabilisticPCA,
    VAEConfig,
    bernoulli_log_likelihood,
    elbo,
    elbo_terms,
    importance_weighted_bound,
    kl_to_standard_normal,
    log_normal,
    reparametrise,
    sample_vae,
    vae_loss,
)
from minilib.train import Draw, fit, shuffled

SMALL = VAEConfig(code_dim=3, width=8, size=8)


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(0, n), n)


def cloud(n, dims, rank, seed=0):
    """Correlated points (n, dims) in float64 with `rank` strong directions."""
    g = torch.Generator().manual_seed(seed)
    strong = (
        torch.randn(n, rank, generator=g, dtype=torch.float64)
        @ torch.randn(rank, dims, generator=g).double()
    )
    return 2 * strong + 0.5 * torch.randn(n, dims, generator=g, dtype=torch.float64) + 1


@settings(max_examples=15, deadline=None)
@given(
    code_dim=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([8, 28, 32]),
    n=st.integers(1, 3),
)
def test_shapes(code_dim, channels, size, n):
    model = VAE(VAEConfig(code_dim=code_dim, width=8, channels=channels, size=size))
    x = torch.rand(n, channels, size, size) * 2 - 1
    mu, logvar = model.encode(x)
    assert mu.shape == logvar.shape == (n, code_dim)
    assert model(x).shape == x.shape
    assert elbo(model, x, torch.randn(n, code_dim)).shape == (n,)
    assert importance_weighted_bound(model, x, torch.randn(4, n, code_dim)).shape == (
        n,
    )


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 4, 4)])
def test_log_normal_is_torchs(shape):
    torch.manual_seed(0)
    x, mean, logvar = torch.randn(3, 6, *shape, dtype=torch.float64)
    expected = D.Normal(mean, (logvar / 2).exp()).log_prob(x).flatten(1).sum(dim=1)
    assert torch.allclose(log_normal(x, mean, logvar), expected, atol=1e-12)
    assert torch.allclose(
        log_normal(x, mean, torch.tensor(0.3)),
        log_normal(x, mean, torch.full_like(x, 0.3)),
    )


def test_the_kl_is_torchs_and_zero_for_the_prior():
    torch.manual_seed(0)
    mu, logvar = torch.randn(2, 7, 5, dtype=torch.float64)
    expected = D.kl_divergence(
        D.Normal(mu, (logvar / 2).exp()), D.Normal(0.0, 1.0)
    ).sum(dim=1)
    assert torch.allclose(kl_to_standard_normal(mu, logvar), expected, atol=1e-12)
    assert kl_to_standard_normal(torch.zeros(2, 4), torch.zeros(2, 4)).tolist() == [
        0,
        0,
    ]


def test_bernoulli_is_torchs_for_black_and_white_pixels():
    torch.manual_seed(0)
    mean = 1.6 * torch.rand(4, 1, 5, 5, dtype=torch.float64) - 0.8
    x = torch.randint(0, 2, mean.shape).double() * 2 - 1
    expected = D.Bernoulli((mean + 1) / 2).log_prob((x + 1) / 2).flatten(1).sum(dim=1)
    assert torch.allclose(bernoulli_log_likelihood(x, mean), expected, rtol=1e-3)
    # the expectation over both colours
    grey = bernoulli_log_likelihood(torch.zeros_like(x), mean)
    both = [
        bernoulli_log_likelihood(torch.full_like(x, colour), mean)
        for colour in (-1.0, 1.0)
    ]
    assert torch.allclose(grey, (both[0] + both[1]) / 2)
    assert bernoulli_log_likelihood(
        torch.ones(1, 1, 2, 2), -torch.ones(1, 1, 2, 2)
    ).isfinite()


def test_reparametrised_draws_have_the_moments_and_the_gradients():
    mu, logvar = (
        torch.tensor([[1.0, -2.0]], requires_grad=True),
        torch.tensor([[0.0, math.log(9)]], requires_grad=True),
    )
    eps = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0))
    z = reparametrise(mu, logvar, eps)
    assert torch.allclose(z.mean(dim=0), mu[0], atol=0.05)
    assert torch.allclose(z.std(dim=0), torch.tensor([1.0, 3.0]), rtol=0.02)
    z.mean(dim=0).sum().backward()
    assert torch.allclose(mu.grad, torch.ones(1, 2))
    assert torch.allclose(
        logvar.grad, (0.5 * (logvar / 2).exp() * eps.mean(dim=0)).detach()
    )


def test_sigma_scales_the_error_and_can_be_learned():
    torch.manual_seed(0)
    x, z = torch.rand(2, 1, 8, 8) * 2 - 1, torch.randn(2, 3)
    model = VAE(VAEConfig(code_dim=3, width=8, size=8, sigma=0.5))
    expected = D.Normal(model.decode(z), 0.5).log_prob(x).flatten(1).sum(dim=1)
    assert torch.allclose(model.log_likelihood(x, z), expected, rtol=1e-5)
    vae_loss(model, x, draw=draw(2)).backward()
    assert model.log_sigma.grad is None
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for p in model.parameters()
        if p.requires_grad
    )
    model.log_sigma.requires_grad_(True)
    vae_loss(model, x, draw=draw(2)).backward()
    assert model.log_sigma.grad.abs() > 0


def test_the_loss_is_the_negative_elbo_with_beta_on_the_kl():
    torch.manual_seed(0)
    model, x = VAE(SMALL), torch.rand(4, 1, 8, 8) * 2 - 1
    eps = draw(4).normal(3)
    log_likelihood, kl = elbo_terms(model, x, eps)
    assert torch.allclose(vae_loss(model, x, draw=draw(4)), -elbo(model, x, eps).mean())
    assert torch.allclose(
        vae_loss(model, x, draw=draw(4), beta=3), (3 * kl - log_likelihood).mean()
    )


def test_the_encoder_may_see_something_else_than_what_is_explained():
    torch.manual_seed(0)
    model, x, seen = (
        VAE(SMALL),
        torch.rand(4, 1, 8, 8) * 2 - 1,
        torch.rand(4, 1, 8, 8) * 2 - 1,
    )
    eps = draw(4).normal(3)
    log_likelihood, kl = elbo_terms(model, x, eps, seen)
    mu, logvar = model.encode(seen)
    assert torch.allclose(
        log_likelihood, model.log_likelihood(x, mu + (logvar / 2).exp() * eps)
    )
    assert torch.equal(kl, elbo_terms(model, seen, eps)[1])


@pytest.fixture(scope="module")
def ppca():
    return ProbabilisticPCA.fit(cloud(400, 9, 3), 3)


def test_probabilistic_pca_is_the_maximum_of_the_likelihood(ppca):
    x = cloud(400, 9, 3)
    best = ppca.log_prob(x).sum()
    g = torch.Generator().manual_seed(1)
    for _ in range(20):
        W = ppca.W + 0.02 * torch.randn(ppca.W.shape, generator=g)
        sigma2 = ppca.sigma2 * (1 + 0.02 * torch.randn((), generator=g))
        mean = ppca.mean + 0.02 * torch.randn(9, generator=g)
        assert ProbabilisticPCA(mean, W, sigma2).log_prob(x).sum() < best


def test_probabilistic_pca_against_its_eigenvalues(ppca):
    x = cloud(400, 9, 3)
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    sigma2 = values[:6].mean()
    assert torch.allclose(ppca.sigma2, sigma2)
    covariance = ppca.W @ ppca.W.T
    expected = vectors[:, 6:] @ torch.diag(values[6:] - sigma2) @ vectors[:, 6:].T
    assert torch.allclose(covariance, expected, atol=1e-10)


def test_its_posterior_is_the_true_one(ppca):
    x = cloud(5, 9, 3, seed=2)
    M = ppca.W.T @ ppca.W + ppca.sigma2 * torch.eye(3)
    mu, logvar = ppca.encode(x)
    assert torch.allclose(
        mu, torch.linalg.solve(M, ppca.W.T @ (x - ppca.mean).T).T, atol=1e-10
    )
    assert torch.allclose(
        torch.diag_embed(logvar.exp()[0]), ppca.sigma2 * torch.linalg.inv(M), atol=1e-10
    )
    z = torch.randn(5, 3, dtype=torch.float64)  # Bayes: any z gives the same p(x)
    joint = log_normal(
        z, torch.zeros_like(z), torch.zeros_like(z)
    ) + ppca.log_likelihood(x, z)
    assert torch.allclose(
        joint - log_normal(z, mu, logvar), ppca.log_prob(x), rtol=1e-10
    )


def test_every_importance_weight_of_the_true_posterior_is_log_p(ppca):
    """ELBO-1: where q is the true posterior, the bound is log p(x) itself, for every
    draw.
    """
    x = cloud(6, 9, 3, seed=3)
    for k in (1, 5):
        eps = torch.randn(k, 6, 3, dtype=torch.float64)
        assert torch.allclose(
            importance_weighted_bound(ppca, x, eps), ppca.log_prob(x), rtol=1e-12
        )


class WrongPosterior:
    """Probabilistic PCA with a q that is off and too wide."""

    code_dim = 3

    def __init__(self, ppca):
        self.ppca = ppca
        self.log_likelihood = ppca.log_likelihood

    def encode(self, x):
        mu, logvar = self.ppca.encode(x)
        return mu + 0.1, logvar + 1


def test_one_importance_weight_is_the_elbo_on_average(ppca):
    wrong, x, g = (
        WrongPosterior(ppca),
        cloud(5, 9, 3, seed=3).repeat(20_000, 1),
        torch.Generator().manual_seed(0),
    )
    eps = torch.randn(2, len(x), 3, generator=g).double()
    difference = (
        importance_weighted_bound(wrong, x, eps[:1]) - elbo(wrong, x, eps[1])
    ).view(-1, 5)
    assert (
        difference.mean(dim=0).abs()
        < 4 * difference.std(dim=0) / len(difference) ** 0.5
    ).all()


def test_more_draws_tighten_a_wrong_posterior(ppca):
    wrong, x, g = (
        WrongPosterior(ppca),
        cloud(400, 9, 3).repeat(10, 1),
        torch.Generator().manual_seed(0),
    )
    bounds = [
        importance_weighted_bound(
            wrong, x, torch.randn(k, 4000, 3, generator=g).double()
        )
        for k in (1, 10, 100)
    ]
    gaps = [float((ppca.log_prob(x) - bound).mean()) for bound in bounds]
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2] > 0


@pytest.mark.parametrize("k", [0, 9, 10])
def test_ppca_says_which_k_it_wants(k):
    with pytest.raises(
        ValueError,
        match=r"expected x \(N, D\) and 1 ≤ k < min\(N - 1, D\), got x \(400, 9\)",
    ):
        ProbabilisticPCA.fit(cloud(400, 9, 3), k)


def test_bad_input_gets_a_clear_error():
    model, x = VAE(SMALL), torch.zeros(2, 1, 8, 8)
    with pytest.raises(
        ValueError, match=r"expected eps of shape \(2, 3\), got \(2, 4\)"
    ):
        elbo(model, x, torch.zeros(2, 4))
    for eps in (torch.zeros(2, 3), torch.zeros(0, 2, 3), torch.zeros(5, 1, 3)):
        with pytest.raises(ValueError, match=r"expected eps of shape \(K, 2, 3\)"):
            importance_weighted_bound(model, x, eps)
    with pytest.raises(ValueError, match="expected sigma > 0, got 0"):
        VAE(VAEConfig(sigma=0))
    with pytest.raises(
        ValueError, match=r"expected a floating-point x of shape \(B, 1, 8, 8\)"
    ):
        model.encode(torch.zeros(2, 1, 9, 9))


def test_samples_are_decoded_codes_from_the_prior():
    model = VAE(SMALL).eval()
    x = sample_vae(model, 5, torch.Generator().manual_seed(3))
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(x, model.decode(z).detach(), atol=1e-6)


def test_training_raises_the_elbo_and_uses_the_code():
    torch.manual_seed(0)
    x = torch.full((64, 1, 8, 8), -1.0)
    x[torch.arange(64), 0, torch.arange(64) % 8] = (
        1.0  # a bright row, in one of eight places
    )
    model = VAE(VAEConfig(code_dim=2, width=8, size=8, sigma=0.3))
    before = elbo(model, x, torch.zeros(64, 2)).mean().detach()
    done = fit(
        model, vae_loss, shuffled(x, batch_size=32), steps=150, lr=5e-3, progress=False
    ).model.cpu()
    after = elbo(done, x, torch.zeros(64, 2)).mean().detach()
    assert after > before + 20
    kl = kl_to_standard_normal(*done.encode(x)).mean()
    assert kl > math.log(8) / 2  # the code says which of the eight rows


def test_half_precision_encoders_still_give_full_precision_codes():
    class Half(nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 6, dtype=torch.bfloat16)

    model = VAE(SMALL)
    model.encoder = Half()
    assert model.encode(torch.zeros(2, 1, 8, 8))[0].dtype == torch.float32


def test_a_seed_is_no_generator():
    with pytest.raises(ValueError, match=r"expected a generator, .* got 0"):
        sample_vae(VAE(VAEConfig(size=8)), 2, 0)
