"""The helpers of chapter 2's claims, where the right answer is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from minilib.experiments import vae, vae_parts
from minilib.models.vae import VAE, ProbabilisticPCA, elbo


@pytest.fixture(scope="module")
def bench():
    """Probabilistic PCA of 60 pictures of 12 pixels, with 3 features."""
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(0)).double()
    x[:, :3] *= torch.tensor([5.0, 4.0, 3.0])
    return vae_parts.with_signs(ProbabilisticPCA.fit(x, 3)), x


def test_with_signs_chooses_the_sign_and_keeps_the_model(bench):
    model, x = bench
    turned = ProbabilisticPCA(model.mean, -model.W, model.sigma2)
    again = vae_parts.with_signs(turned)
    assert torch.equal(again.W, model.W)
    assert (model.W.gather(0, model.W.abs().argmax(dim=0)[None]) > 0).all()
    assert torch.allclose(turned.log_prob(x), model.log_prob(x))


def test_exact_elbo_is_the_average_of_sampled_ones(bench):
    model, x = bench
    q = vae_parts.random_q(len(x), seed=1, k=3)
    other = SimpleNamespace(
        code_dim=3, encode=lambda x: q, log_likelihood=model.log_likelihood
    )
    g = torch.Generator().manual_seed(0)
    eps = torch.randn(4000, len(x), 3, generator=g, dtype=torch.float64)
    sampled = torch.stack([elbo(other, x, e) for e in eps])
    off = sampled.mean(dim=0) - vae_parts.exact_elbo(model, x, *q)
    assert (off / (sampled.std(dim=0) / 4000**0.5)).abs().max() < 5


def test_elbo_and_kl_add_up_only_with_the_right_posterior(bench):
    model, x = bench
    q = vae_parts.random_q(len(x), seed=1, k=3)
    bound, log_p = vae_parts.exact_elbo(model, x, *q), model.log_prob(x)
    right = vae_parts.kl_between(*q, *model.encode(x))
    wrong = vae_parts.kl_between(*q, *vae_parts.WrongQ(model).encode(x))
    assert torch.allclose(bound + right, log_p)
    assert not torch.allclose(bound + wrong, log_p)


def test_kl_between_equal_and_shifted():
    mu, logvar = vae_parts.random_q(5, seed=0, k=3)
    assert torch.allclose(
        vae_parts.kl_between(mu, logvar, mu, logvar), torch.zeros(5).double()
    )
    shifted = vae_parts.kl_between(mu + 1, 0 * logvar, mu, 0 * logvar)
    assert torch.allclose(shifted, torch.full((5,), 1.5).double())  # 3 features of 1/2


def test_climbing_reaches_the_posterior(bench):
    model, x = bench
    bounds, kls = vae_parts.climb(model, x[:4], steps=500)
    assert vae_parts.unequal(bounds, kls) < 1e-9
    assert torch.allclose(bounds[-1], model.log_prob(x[:4]), atol=1e-3)
    assert kls[-1].max() < 1e-3 < kls[0].min()


def test_a_climb_that_falls_off_says_at_which_step(bench):
    model, x = bench
    with pytest.raises(FloatingPointError, match="the ELBO is not finite from step 0 "):
        vae_parts.climb(model, x[:4] * float("nan"), steps=5)
    with pytest.raises(FloatingPointError, match="the ELBO is not finite from step 1 "):
        vae_parts.climb(model, x[:4], steps=5, lr=1e200)


def test_unequal_sees_a_step_that_is_not_paid_for():
    bounds = torch.tensor([[-9.0], [-6.0], [-5.0]])
    assert vae_parts.unequal(bounds, -bounds) == 0
    assert vae_parts.unequal(
        bounds, torch.tensor([[9.0], [6.0], [4.0]])
    ) == pytest.approx(0.2)


def test_bounds_from_weights(bench):
    model, x = bench
    g = torch.Generator().manual_seed(0)
    eps = torch.randn(8, len(x), 3, generator=g, dtype=torch.float64)
    truth = float(model.log_prob(x).mean())
    right = vae_parts.log_weights(model, x, eps)
    assert vae_parts.mean_bound(right, 1) == pytest.approx(truth)
    wrong = vae_parts.log_weights(vae_parts.WrongQ(model), x, eps)
    one, four, eight = (vae_parts.mean_bound(wrong, k) for k in (1, 4, 8))
    assert one < four < eight < truth + 0.5
    two = torch.tensor([[0.0], [math.log(3)]])  # weights 1 and 3, mean 2
    assert vae_parts.mean_bound(two, 2) == pytest.approx(math.log(2))


def test_spread_is_within_an_input():
    inputs = torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 2, 1, 2, 2)
    assert vae_parts.spread(inputs) == 0
    apart = torch.cat([inputs[:, :1] - 1, inputs[:, 1:] + 1], dim=1)
    assert vae_parts.spread(apart) == pytest.approx(2**0.5)  # unbiased, of two values


def test_quantiles_off_of_known_distributions():
    z = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    assert vae_parts.quantiles_off(z) < 0.02
    assert vae_parts.quantiles_off(z + 1) == pytest.approx(1, abs=0.02)


def test_kl_by_draws_nears_the_formula():
    mu, logvar = torch.full((2000, 4), 0.5), torch.full((2000, 4), -1.0)
    formula = 4 * 0.5 * (0.25 + math.exp(-1) - 1 + 1)
    assert vae_parts.kl_by_draws(mu, logvar, 0) == pytest.approx(formula, rel=0.02)


def test_ways_to_draw_have_the_ranges_and_moments_of_the_codes():
    codes = torch.tensor([2.0, -3.0]) + torch.rand(5000, 2) * torch.tensor([1.0, 4.0])
    ways = vae.ways_to_draw(codes, 5000, seed=0)
    box, normal, fitted = ways.values()
    assert set(ways) == set(vae.DRAWS)
    assert (box >= codes.min(dim=0).values).all()
    assert (box <= codes.max(dim=0).values).all()
    assert np.allclose(normal.mean(dim=0), 0, atol=0.1)
    assert np.allclose(fitted.mean(dim=0), codes.mean(dim=0), atol=0.1)
    assert np.allclose(fitted.std(dim=0), codes.std(dim=0), atol=0.1)


class FixedQ(nn.Module):
    """q(z|x) = N(the picture's mean pixel, exp(logvar)) in 16 features, decoded to its
    first feature.
    """

    code_dim = 16

    def __init__(self, logvar):
        super().__init__()
        self.logvar = logvar

    def encode(self, x):
        mu = x.mean(dim=(1, 2, 3))[:, None].expand(-1, 16)
        return mu, torch.full_like(mu, self.logvar)

    def decode(self, z):
        return z[:, :1, None, None].expand(-1, 1, 28, 28).clamp(-1, 1)


def test_draws_of_q_have_its_mean_and_spread():
    x = torch.full((5000, 1, 28, 28), 0.25)
    z = vae.posterior_draws(FixedQ(-2.0), x)
    assert float(z.mean()) == pytest.approx(0.25, abs=0.01)
    assert float(z.std()) == pytest.approx(math.exp(-1), abs=0.01)
    same = vae.decodings(FixedQ(-200.0), x[:2], 3)
    assert same.shape == (2, 3, 1, 28, 28)
    assert torch.allclose(same, torch.tensor(0.25))
    first, second = vae.decodings(FixedQ(-2.0), x[:1], 2)[0]
    assert not torch.allclose(first, second)


def test_collapse_compares_spreads_of_q(monkeypatch):
    x = torch.cat([torch.zeros(4, 1, 28, 28), torch.ones(4, 1, 28, 28)])
    monkeypatch.setattr(vae, "load_digits", lambda split: (x, None))
    found = vae.collapse(FixedQ(0.0), FixedQ(2 * math.log(0.1)))
    assert found[vae.KEEPS] == pytest.approx((1.0, 0.1))
    means = torch.tensor([0.0, 1.0]).repeat_interleave(4).std()
    assert found[vae.COLLAPSES][0] == pytest.approx(0.1 / float(means))


def test_experiments_measure_their_parts(monkeypatch):
    x = torch.linspace(-1, 1, 28 * 28).view(1, 1, 28, 28)
    x = x * torch.rand(400, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(vae, "load_digits", lambda split: (x, None))
    monkeypatch.setattr(vae, "digit_fd", lambda pictures: float(pictures.mean()))
    model = VAE()
    vae.VAE_2.require_parts(vae.normality(model, 0, 400))
    bounds = {vae.SUM: 0, vae.BELOW: 0, vae.CLIMB: 0, **vae.on_the_vae(model, 0, 4)}
    vae.ELBO_1.require_parts(bounds)
    assert bounds[vae.FOUR][0] >= bounds[vae.FOUR][1]
    few = SimpleNamespace(pick=lambda **sizes: 2)
    vae.VAE_3.require_parts(vae.VAE_3.measure(0, few))
