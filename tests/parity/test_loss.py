"""The bound and the hybrid loss against the formulas of Improved DDPM, written anew
with numpy and scipy: float64.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from minilib.diffusion.loss import (
    bound_by_step,
    hybrid_loss,
    pixel_log_likelihood,
    prior_term,
    simple_loss,
    vlb_term,
)
from minilib.diffusion.sampling import (
    Denoised,
    large_variance,
    learned_variance,
    small_variance,
)
from minilib.diffusion.schedule import EPS, X_0, Schedule, V, cosine_beta, linear_beta
from minilib.train import Draw
from tests.parity.reference import BAR, apart

schedules = pytest.mark.parametrize(
    "beta", [linear_beta(50), cosine_beta(50)], ids=["linear", "cosine"]
)
predictions = pytest.mark.parametrize(
    "prediction", [EPS, X_0, V], ids=["eps", "x_0", "v"]
)
STEPS = torch.tensor([0, 1, 2, 17, 49])


def pictures(n=5):
    """Pictures (n, 1, 4, 4) of whole grey levels, black and white among them, in
    float64.
    """
    levels = torch.randint(
        0, 256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(0)
    )
    levels[:, :, 0], levels[:, :, 1] = 0, 255
    return levels.double() / 127.5 - 1


def normal(*shape, seed):
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def bits(beta, t, x_0, x_t, guessed, share):
    """Nichol and Dhariwal (2021): eq. 4 to 7, 10 and 15, in bits per dimension for one
    picture at step t.
    """
    alpha_bar = np.cumprod(1 - beta)
    before = np.append(1.0, alpha_bar[:-1])
    posterior = beta * (1 - before) / (1 - alpha_bar)
    clipped = np.append(posterior[1], posterior[1:])

    def mean(x):
        of_x = np.sqrt(before[t]) * beta[t] / (1 - alpha_bar[t])
        return (
            of_x * x + np.sqrt(1 - beta[t]) * (1 - before[t]) / (1 - alpha_bar[t]) * x_t
        )

    log_variance = share * np.log(beta[t]) + (1 - share) * np.log(clipped[t])
    if t > 0:
        log_q = np.log(clipped[t])
        gap = (mean(x_0) - mean(guessed)) ** 2
        nats = 0.5 * (
            -1
            + log_variance
            - log_q
            + np.exp(log_q - log_variance)
            + gap * np.exp(-log_variance)
        )
    else:
        std, centre = np.exp(log_variance / 2), mean(guessed)
        above = np.where(x_0 > 0.999, np.inf, (x_0 + 1 / 255 - centre) / std)
        below = np.where(x_0 < -0.999, -np.inf, (x_0 - 1 / 255 - centre) / std)
        low, high = (
            stats.norm.cdf(above) - stats.norm.cdf(below),
            stats.norm.sf(below) - stats.norm.sf(above),
        )
        nats = -np.log(np.clip(np.where(below > 0, high, low), 1e-12, None))
    return np.mean(nats) / np.log(2)


@schedules
@pytest.mark.parametrize("variance", ["learned", "small", "large"])
def test_the_terms_of_the_bound(beta, variance):
    chain, x_0, guessed, share = (
        Schedule(beta),
        pictures(),
        0.9 * normal(5, 1, 4, 4, seed=1),
        normal(5, 1, 4, 4, seed=2),
    )
    x_t = chain.noisy(x_0, STEPS, normal(5, 1, 4, 4, seed=3))
    rule = {
        "learned": learned_variance,
        "small": small_variance,
        "large": large_variance,
    }[variance]
    ours = vlb_term(
        chain.steps_of(STEPS, x_0), x_0, x_t, Denoised(guessed, share), rule
    )
    shares = {
        "learned": share,
        "small": torch.zeros_like(share),
        "large": torch.ones_like(share),
    }[variance]
    rows = zip(
        STEPS.tolist(), *(a.numpy() for a in (x_0, x_t, guessed, shares)), strict=True
    )
    expected = torch.tensor([bits(beta.numpy(), *row) for row in rows])
    assert apart(ours, expected) < BAR


def slopes(beta, t, x_0, x_t, guessed, share):
    """The derivatives of `bits` by the guess and by the share, by hand."""
    alpha_bar = np.cumprod(1 - beta)
    before = np.append(1.0, alpha_bar[:-1])
    posterior = beta * (1 - before) / (1 - alpha_bar)
    low, high = np.log(posterior[max(t, 1)]), np.log(beta[t])
    of_guess = np.sqrt(before[t]) * beta[t] / (1 - alpha_bar[t])
    log_variance = low + share * (high - low)
    if t > 0:
        gap = of_guess * (guessed - x_0)
        by_mean = gap * np.exp(-log_variance)
        by_log_variance = 0.5 * (
            1 - np.exp(low - log_variance) - gap**2 * np.exp(-log_variance)
        )
    else:
        std = np.exp(log_variance / 2)
        above, below = (x_0 + 1 / 255 - guessed) / std, (x_0 - 1 / 255 - guessed) / std
        by_above = np.where(x_0 > 0.999, 0, stats.norm.pdf(above))
        by_below = np.where(x_0 < -0.999, 0, stats.norm.pdf(below))
        above, below = (
            np.where(x_0 > 0.999, np.inf, above),
            np.where(x_0 < -0.999, -np.inf, below),
        )
        near, far = (
            stats.norm.cdf(above) - stats.norm.cdf(below),
            stats.norm.sf(below) - stats.norm.sf(above),
        )
        p = np.where(below > 0, far, near)
        by_mean = (by_above - by_below) / (std * p)
        above, below = np.nan_to_num(above, posinf=0), np.nan_to_num(below, neginf=0)
        by_log_variance = 0.5 * (above * by_above - below * by_below) / p
    return by_mean * of_guess / x_0.size / np.log(2), by_log_variance * (
        high - low
    ) / x_0.size / np.log(2)


@schedules
def test_the_gradients_of_the_terms(beta):
    """Of a guess close enough that at t = 0 no pixel's probability is as good as 0."""
    chain, x_0 = Schedule(beta), pictures()
    guessed = (x_0 + 0.02 * normal(5, 1, 4, 4, seed=1)).requires_grad_()
    share = torch.rand(
        5, 1, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    ).requires_grad_()
    x_t = chain.noisy(x_0, STEPS, normal(5, 1, 4, 4, seed=3))
    ours = vlb_term(chain.steps_of(STEPS, x_0), x_0, x_t, Denoised(guessed, share))
    rows = [a.detach().numpy() for a in (x_0, x_t, guessed, share)]
    expected = [
        bits(beta.numpy(), *row) for row in zip(STEPS.tolist(), *rows, strict=True)
    ]
    assert apart(ours.detach(), torch.tensor(expected)) < BAR
    by_hand = [
        slopes(beta.numpy(), *row) for row in zip(STEPS.tolist(), *rows, strict=True)
    ]
    for found, exact in zip(
        torch.autograd.grad(ours.sum(), (guessed, share)),
        zip(*by_hand, strict=True),
        strict=True,
    ):
        assert (
            max(
                apart(a, torch.from_numpy(b)) for a, b in zip(found, exact, strict=True)
            )
            < BAR
        )


@schedules
def test_what_is_left_at_the_end(beta):
    chain, x_0 = Schedule(beta), pictures()
    # KL(N(sqrt(left) x_0, 1 - left) || N(0, 1)); log1p, since left is as small as 1e-6
    left = chain.alpha_bar[-1]
    nats = (left * x_0.square() - left - torch.log1p(-left)) / 2
    assert apart(prior_term(chain, x_0), nats.flatten(1).mean(dim=1) / np.log(2)) < BAR


@pytest.mark.parametrize("std", [0.005, 0.1, 3.0])
def test_the_bins_of_a_pixel(std):
    """256 bins that share all probability; each is the integral of the density."""
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    variance = torch.tensor(std**2, dtype=torch.float64)
    for centre in (-1.0, -0.3, 0.0, 0.996, 1.2):
        p = pixel_log_likelihood(
            levels, torch.full_like(levels, centre), variance
        ).exp()
        assert p.sum() == pytest.approx(1, abs=1e-9)
        edges = np.r_[-np.inf, (levels[:-1] + 1 / 255).numpy(), np.inf]
        expected = np.diff(stats.norm.cdf(edges, centre, std))
        assert np.abs(p.numpy() - expected).max() < 1e-11


class Two(torch.nn.Module):
    """A network with two numbers: what it predicts, and where it says that the variance
    lies.
    """

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.b = torch.nn.Parameter(torch.tensor(-0.2, dtype=torch.float64))

    def forward(self, x, t, y=None):
        conditional = 0 if y is None else y.view(-1, 1, 1, 1)
        return torch.cat(
            [
                torch.sin(self.a * x + conditional),
                torch.cos(self.b * x + t.view(-1, 1, 1, 1)),
            ],
            dim=1,
        )


class Repeated:
    """Stands in for `Draw` in float64: the same numbers each time."""

    def uniform(self, *shape):
        return torch.rand(
            5, *shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64
        )

    def normal(self, *shape):
        return normal(5, *shape, seed=5)


@schedules
@predictions
def test_the_hybrid_loss_and_its_gradients(beta, prediction):
    """The simple loss teaches the first half of the output, and a thousandth of the
    bound the second half.
    """
    chain, x_0, draw = Schedule(beta), pictures(), Repeated()
    t, eps = (draw.uniform() * chain.T).long(), draw.normal(1, 4, 4)
    x_t, alpha_bar = chain.noisy(x_0, t, eps), chain.alpha_bar[t].view(-1, 1, 1, 1)
    model, reference = Two(), Two()
    loss = hybrid_loss(model, x_0, draw=draw, schedule=chain, prediction=prediction)
    loss.backward()

    out = reference(x_t, t)
    simple = (out[:, :1] - prediction.target(x_0, eps, alpha_bar)).square().mean()
    guessed = prediction.x_0(x_t, out[:, :1], alpha_bar).detach().numpy()

    def bound(b):
        second = torch.cos(b * x_t + t.view(-1, 1, 1, 1)).detach().numpy()
        rows = zip(
            t.tolist(), x_0.numpy(), x_t.numpy(), guessed, (second + 1) / 2, strict=True
        )
        return 0.001 * chain.T * np.mean([bits(beta.numpy(), *row) for row in rows])

    assert apart(loss.detach(), simple.detach() + bound(reference.b)) < BAR
    simple.backward()
    assert apart(model.a.grad, reference.a.grad) < BAR
    h = 1e-5  # a central difference of fourth order
    near = [bound(reference.b.detach() + k * h) for k in (-2, -1, 1, 2)]
    slope = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * h)
    assert float(model.b.grad) == pytest.approx(slope, rel=1e-7)


@predictions
def test_the_simple_loss(prediction):
    chain, x_0, y = Schedule(linear_beta(50)), pictures(), torch.tensor([0, 1, 2, 3, 4])
    generator = torch.Generator().manual_seed(3)
    seen = []

    def model(x, t, y):
        seen.append((x, t, y))
        return torch.sin(x)

    loss = simple_loss(
        model,
        x_0.float(),
        y,
        draw=Draw(generator, slice(None), 5),
        schedule=chain,
        prediction=prediction,
        p_uncond=0.0,
    )
    ((x_t, t, conditional),) = seen
    again = torch.Generator().manual_seed(3)
    assert torch.equal(t, (torch.rand(5, generator=again) * 50).long())
    eps = torch.randn(5, 1, 4, 4, generator=again)
    alpha_bar = chain.alpha_bar[t].view(-1, 1, 1, 1)
    assert torch.allclose(
        x_t, (alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps).float(), atol=1e-6
    )
    assert torch.equal(conditional, y)
    expected = (torch.sin(x_t) - prediction.target(x_0, eps, alpha_bar)).square().mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_perfect_guess_costs_nothing_but_the_last_step():
    chain, x_0 = Schedule(linear_beta(25)), pictures(2)
    perfect = lambda x_t, t: Denoised(x_0, torch.zeros_like(x_0))  # noqa: E731
    terms = bound_by_step(
        perfect, chain, x_0, list(range(25)), torch.Generator().manual_seed(0)
    )
    assert terms.shape == (25, 2)
    assert terms[1:].abs().max() < 1e-12
    assert (terms[0] > 0).all()
