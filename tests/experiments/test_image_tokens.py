"""The helpers of chapter 12's claims, where the right answer is known."""

import math

import pytest
import torch

from minilib.experiments import image_tokens as chapter
from minilib.experiments import image_tokens_parts as parts
from minilib.models.dvae import DVAE, DVAEConfig, dvae_elbo, gumbel, perplexity


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def bench():
    """A random network of 4 codes at 4 places, and 3 random pictures."""
    torch.manual_seed(0)
    model = DVAE(DVAEConfig(codes=4, width=16, blocks=1)).double()
    torch.nn.init.normal_(model.decoder.net[-2].weight, std=0.5)
    x = torch.rand(3, 3, 8, 8, generator=generator(), dtype=torch.float64) * 2 - 1
    return model.requires_grad_(False), x


def test_all_codes_are_all_of_them_once():
    y = parts.all_codes()
    assert y.shape == (256, 4, 2, 2)
    assert torch.equal(y.sum(dim=1), torch.ones(256, 2, 2).double())
    assert len(y.argmax(dim=1).flatten(1).unique(dim=0)) == 256


def test_q_sums_to_one_over_all_codes(bench):
    model, x = bench
    log_q = parts.log_q_of(model.logits(x), parts.all_codes())
    assert log_q.logsumexp(dim=1).tolist() == pytest.approx([0.0] * 3, abs=1e-12)


def test_the_exact_elbo_is_the_mean_of_sampled_ones(bench):
    model, x = bench
    u = torch.rand(400, 3, 4, 2, 2, generator=generator(), dtype=torch.float64)
    drawn = torch.stack([192 * dvae_elbo(model, x, gumbel(one)) for one in u])
    off = drawn.mean(dim=0) - parts.exact_elbo(model, x)
    assert (off.abs() <= 5 * drawn.std(dim=0) / 400**0.5).all()


def test_the_identity_holds_and_notices_another_posterior(bench, monkeypatch):
    model, x = bench
    assert parts.identity_error(model, x) < 1e-12
    bound = parts.exact_elbo(model, x)
    monkeypatch.setattr(parts, "exact_elbo", lambda model, x: bound + 1)
    assert parts.identity_error(model, x) > 1e-6


def test_the_exact_gradient_is_that_of_small_steps(bench):
    model, x = bench
    gradient = parts.exact_gradient(model, x)
    start, y = model.logits(x), parts.all_codes()
    joint = parts.log_joint(model, x, y)

    def mean(logits):
        return (parts.log_q_of(logits, y).exp() * joint).sum()

    for at in ((0, 0, 0, 0), (2, 3, 1, 0), (1, 2, 1, 1)):
        step = torch.zeros_like(start)
        step[at] = 1e-5
        slope = (mean(start + step) - mean(start - step)) / 2e-5
        assert gradient[at].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-7)


def test_who_is_unbiased_and_what_a_baseline_is_for(bench):
    model, x = bench
    found = parts.gradient_errors(model, x, tau=0.5, n=750)
    for name in (parts.REINFORCE, parts.BASELINE):
        bias, spread = found[name]
        assert bias < 5 * spread / 750**0.5
    assert found[parts.BASELINE][1] < found[parts.REINFORCE][1]
    assert found[parts.GUMBEL][0] > 0.05


def test_colder_is_less_biased_and_noisier(bench):
    model, x = bench
    warm, cold = (
        parts.gradient_errors(model, x, tau, n=500)[parts.GUMBEL] for tau in (1.0, 0.1)
    )
    assert warm[0] > cold[0]
    assert warm[1] < cold[1]


def test_bias_and_spread_of_known_noise():
    exact = torch.tensor([3.0, 4.0])  # of length 5
    g = generator()
    drawn = exact + torch.tensor([1.0, 0.0]) + 2 * torch.randn(20_000, 2, generator=g)
    bias, spread = parts.bias_and_spread(drawn, exact)
    assert bias == pytest.approx(1 / 5, abs=0.02)
    assert spread == pytest.approx(8**0.5 / 5, rel=0.02)
    assert parts.bias_and_spread(exact.repeat(3, 1), exact) == (0, 0)


def test_bits_of_usage_are_the_log_of_the_perplexity():
    tokens = torch.randint(0, 7, (50, 64), generator=generator()) ** 2 // 7
    bits = chapter.bits_of_usage(tokens, 8)
    mean = sum(bits) / len(bits)
    assert mean == pytest.approx(math.log2(perplexity(tokens, 8)))
    assert len(bits) == 50


def test_png_bits_are_those_of_a_file():
    flat, noise = (
        torch.zeros(1, 3, 32, 32),
        torch.rand(1, 3, 32, 32, generator=generator()),
    )
    few, many = chapter.png_bits(torch.cat([flat, 2 * noise - 1]))
    assert few < 8 * 120
    assert many > 24 * 32 * 32  # noise has nothing to save


def test_pca_of_as_many_bits(monkeypatch):
    g = generator()
    basis = torch.randn(64, 3 * 32 * 32, generator=g) / 400
    x = (torch.randn(300, 64, generator=g) @ basis).view(-1, 3, 32, 32)
    chapter.principal_people.cache_clear()
    monkeypatch.setattr(chapter, "some_people", lambda n, seed, split: x[:n])
    rebuilt = chapter.rebuild_by_pca(x, 300)
    chapter.principal_people.cache_clear()
    share = (rebuilt - x).square().mean() / x.square().mean()
    assert 0 < share < 1e-4  # what rounding to one of 512 values costs


def test_what_is_told_right(monkeypatch):
    (person,) = chapter.draw(1, 0, "test", "personas")
    shown = chapter.seen(person, "personas", 32)
    first = next(iter(shown))
    answers = [shown, shown | {first: None}, dict.fromkeys(shown)]
    monkeypatch.setattr(chapter, "judge", lambda: None)
    monkeypatch.setattr(chapter, "judged", lambda model, x: answers)
    shares = chapter.told_right(torch.zeros(3, 3, 32, 32), [person] * 3)
    assert shares == pytest.approx([1, 1 - 1 / len(shown), 0])
