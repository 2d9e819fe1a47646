import math
from dataclasses import replace

import pytest
import torch
from torch import distributions as D
from torch.nn import functional as F

from minilib.models import dvae
from minilib.models.dvae import (
    DVAE,
    DVAEConfig,
    ResidualBlock,
    dvae_elbo,
    dvae_loss,
    gumbel,
    gumbel_softmax,
    hard,
    kl_parts,
    log_likelihood,
    log_logit_laplace,
    map_pixels,
    one_hot,
    perplexity,
    relaxed,
    unmap_pixels,
)
from minilib.train import Draw, fit, shuffled

SMALL = DVAEConfig(codes=6, width=16, blocks=1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(n, seed=0):
    return Draw(generator(seed), slice(0, n), n)


def pictures(n, size=8, seed=0):
    return torch.rand(n, 3, size, size, generator=generator(seed)) * 2 - 1


def in_float64(model):
    return model.double()


def small(seed=0):
    torch.manual_seed(seed)
    model = DVAE(SMALL)
    for p in model.parameters():  # no layer starts at 0
        torch.nn.init.normal_(p, std=0.2)
    return model


# ---------- the network ----------


@pytest.mark.parametrize("shape", [(4, 4), (8, 12), (32, 32)])
def test_shapes(shape):
    H, W = shape
    model, x = small(), torch.rand(2, 3, H, W) * 2 - 1
    logits = model.logits(x)
    assert logits.shape == (2, 6, H // 4, W // 4)
    assert torch.equal(model.tokens(x), logits.argmax(1).reshape(2, -1))
    assert model.tokens(x).dtype == torch.long
    y = logits.softmax(dim=1)
    assert model.location(y).shape == model.decode(y).shape == model(x).shape
    assert model(x).shape == x.shape


def test_the_default_makes_64_tokens_of_512_and_ships_in_two_megabytes():
    model = DVAE()
    assert model.tokens(pictures(1, 32)).shape == (1, 64)
    assert model.codes == 512
    assert sum(p.numel() for p in model.parameters()) == 603_181


def test_tokens_decode_row_by_row():
    model = small()
    tokens = torch.tensor([[0, 1, 2, 3]])
    changed = tokens.clone()
    changed[0, 1] = 5  # the upper right
    difference = (one_hot(tokens, 6) - one_hot(changed, 6)).abs().sum(dim=1)[0]
    assert difference.tolist() == [[0, 2], [0, 0]]
    assert torch.equal(model.decode_tokens(tokens), model.decode(one_hot(tokens, 6)))


def test_calling_rebuilds_from_the_tokens():
    model, x = small(), pictures(3)
    assert torch.allclose(model(x), model.decode_tokens(model.tokens(x)), atol=1e-6)
    assert model(x).abs().max() <= 1


def test_a_block_starts_as_the_identity():
    h = torch.randn(2, 16, 5, 5, generator=generator())
    block = ResidualBlock(16)
    block.residual[-1].bias.data.zero_()
    assert torch.equal(block(h), h)


@pytest.mark.parametrize(
    ("x", "gist"),
    [
        (torch.zeros(1, 3, 8, 6), "multiples of 4, got 8 × 6"),
        (torch.zeros(1, 3, 0, 8), "multiples of 4"),
        (torch.zeros(1, 1, 8, 8), "shape"),
        (torch.zeros(3, 8, 8), "floating-point x"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "floating-point x"),
    ],
)
def test_other_pictures_are_refused(x, gist):
    with pytest.raises(ValueError, match=gist):
        small().logits(x)


@pytest.mark.parametrize(
    ("tokens", "gist"),
    [
        (torch.zeros(1, 3, dtype=torch.long), "square number"),
        (torch.zeros(4, dtype=torch.long), r"\(B, L\)"),
        (torch.zeros(1, 4), "long tokens"),
        (torch.full((1, 4), 6), "tokens from 0 to 5, got 6"),
        (torch.full((1, 4), -1), "tokens from 0 to 5, got -1"),
    ],
)
def test_other_tokens_are_refused(tokens, gist):
    with pytest.raises(ValueError, match=gist):
        small().decode_tokens(tokens)


@pytest.mark.parametrize(
    ("changed", "gist"),
    [
        ({"codes": 0}, "codes to be a whole number from 1 up"),
        ({"blocks": 0}, "blocks"),
        ({"width": 24}, "width of 16, 32"),
        ({"width": 0}, "width of 16, 32"),
    ],
)
def test_other_sizes_are_refused(changed, gist):
    with pytest.raises(ValueError, match=gist):
        DVAE(replace(SMALL, **changed))


# ---------- the relaxation ----------


def test_gumbel_numbers_have_the_right_quantiles():
    u = torch.tensor([0.1, 0.5, 0.999], dtype=torch.float64)
    expected = D.Gumbel(torch.zeros((), dtype=u.dtype), 1.0).icdf(u)
    assert torch.allclose(gumbel(u), expected, rtol=1e-12)
    assert gumbel(torch.tensor([0.0])).isfinite()


@pytest.mark.parametrize("tau", [0.1, 1.0, 3.0])
def test_the_relaxed_draw_is_torchs_given_the_same_noise(tau):
    logits = torch.randn(4, 5, 2, 3, generator=generator(), dtype=torch.float64)
    torch.manual_seed(7)
    theirs = F.gumbel_softmax(logits, tau, dim=1)
    torch.manual_seed(7)
    noise = -torch.empty_like(logits).exponential_().log()  # as they draw it
    assert torch.allclose(relaxed(logits, noise, tau), theirs, rtol=1e-12)


def test_straight_from_a_generator():
    logits = torch.randn(4, 5, 2, 3, generator=generator())
    u = torch.rand(logits.shape, generator=generator(3))
    expected = relaxed(logits, gumbel(u), 0.7)
    assert torch.equal(gumbel_softmax(logits, 0.7, generator(3)), expected)
    assert torch.allclose(expected.sum(dim=1), torch.ones(4, 2, 3))


def test_its_largest_entry_is_drawn_from_the_softmax():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = p.log()[None].expand(40_000, 4)
    y = gumbel_softmax(logits, 0.5, generator())
    share = hard(y).mean(dim=0)
    assert torch.allclose(share, p, atol=0.01)  # 4 standard errors


def test_as_tau_falls_it_becomes_one_hot():
    logits = torch.randn(20, 5, generator=generator())
    far = [
        (y - hard(y)).abs().max().item()
        for y in (gumbel_softmax(logits, tau, generator(1)) for tau in (1, 0.1, 1e-3))
    ]
    assert far[0] > far[1] > far[2]
    assert far[2] < 1e-3


@pytest.mark.parametrize("tau", [0, -1.0, math.nan])
def test_no_temperature_below_zero(tau):
    with pytest.raises(ValueError, match="tau > 0"):
        gumbel_softmax(torch.zeros(1, 2), tau, generator())


def test_a_seed_is_no_generator():
    with pytest.raises(ValueError, match="expected a generator"):
        gumbel_softmax(torch.zeros(1, 2), 1.0, 0)


def test_hard_is_one_at_the_largest():
    y = torch.tensor([[[0.2, 5.0], [0.5, -1.0], [0.3, 4.0]]])  # (1, 3 codes, 2)
    assert hard(y).tolist() == [[[0, 1], [1, 0], [0, 0]]]


# ---------- the likelihood ----------


def test_pixels_keep_away_from_0_and_1_and_come_back():
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)
    assert map_pixels(x)[[0, -1]].tolist() == pytest.approx([0.1, 0.9])
    assert torch.allclose(unmap_pixels(map_pixels(x)), x, atol=1e-15)
    assert unmap_pixels(torch.tensor([0.0, 0.95])).tolist() == [-1, 1]


def test_the_density_is_that_of_a_transformed_laplace():
    y = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    for location, log_scale in ((0.0, 0.0), (0.7, -1.5), (-2.0, 0.4)):
        location, log_scale = torch.tensor([location, log_scale]).double()
        base = D.Laplace(location, log_scale.exp())
        theirs = D.TransformedDistribution(base, D.SigmoidTransform()).log_prob(y)
        assert torch.allclose(log_logit_laplace(y, location, log_scale), theirs)


def test_the_likelihood_is_a_density_of_pictures():
    """It integrates to 1 over all that a number of the picture may be."""
    model = small().double()
    y = hard(torch.randn(1, 6, 1, 1, generator=generator(), dtype=torch.float64))
    x = torch.linspace(-1.25, 1.25, 40_003, dtype=torch.float64)[1:-1]
    location = model.location(y)[0, 0, 0, 0]
    p = log_logit_laplace(map_pixels(x), location, model.log_scale).exp() * 0.4
    assert torch.trapezoid(p, x).item() == pytest.approx(1, abs=1e-4)
    flat = torch.full((1, 3, 4, 4), 0.3, dtype=torch.float64)
    terms = log_logit_laplace(map_pixels(flat), model.location(y), model.log_scale)
    expected = (terms + math.log(0.4)).mean()
    assert log_likelihood(model, flat, y).item() == pytest.approx(expected.item())


# ---------- the bound ----------


def test_the_two_parts_are_the_kl():
    logits = 3 * torch.randn(5, 7, 2, 2, generator=generator(), dtype=torch.float64)
    q = D.Categorical(logits=logits.movedim(1, -1))
    prior = D.Categorical(logits=torch.zeros(7, dtype=torch.float64))
    information, imbalance = kl_parts(logits)
    kl = D.kl_divergence(q, prior).mean()
    assert (information + imbalance).item() == pytest.approx(kl.item(), rel=1e-12)
    mean_q = D.Categorical(probs=q.probs.mean(dim=(0, 1, 2)))
    expected = D.kl_divergence(mean_q, prior).item()
    assert imbalance.item() == pytest.approx(expected, rel=1e-12)


def test_ends_of_the_two_parts():
    same = torch.randn(1, 7, 1, 1, generator=generator()).expand(4, 7, 3, 3)
    assert kl_parts(same)[0].item() == pytest.approx(0, abs=1e-5)
    each = 1e3 * torch.eye(7)[None, :, :, None]  # another code at every place
    information, imbalance = kl_parts(each)
    assert information.item() == pytest.approx(math.log(7), abs=1e-5)
    assert imbalance.item() == pytest.approx(0, abs=1e-5)
    assert all(part.isfinite() for part in kl_parts(1e3 * torch.eye(7)[:1, :, None]))


def test_the_loss_is_the_elbo_under_the_relaxation():
    model, x = small().double(), pictures(3).double()
    model.temperature.fill_(0.6)
    u = draw(3).uniform(6, 2, 2)
    logits = model.logits(x)
    y = relaxed(logits, gumbel(u), 0.6)
    kl = sum(kl_parts(logits)) * 4 / 192  # tokens, and numbers of a picture
    expected = kl - log_likelihood(model, x, y).mean()
    found = dvae_loss(model, x, draw(3), balance=1.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    more = dvae_loss(model, x, draw(3), balance=1.0 + 1e-9)
    assert more.item() == pytest.approx(found.item(), rel=1e-3)


def test_balance_weighs_how_evenly_codes_are_used():
    model, x = small(), pictures(3)
    model.temperature.fill_(dvae.TAU_MIN)  # which it keeps
    losses = [dvae_loss(model, x, draw(3), balance=b).item() for b in (1.0, 11.0)]
    imbalance = kl_parts(model.logits(x))[1].item()
    assert losses[1] - losses[0] == pytest.approx(10 * imbalance * 4 / 192, rel=1e-3)


def test_each_step_cools_down_to_the_end():
    model, x = small(), pictures(2)
    dvae_loss(model, x, draw(2))
    assert model.temperature.item() == pytest.approx(dvae.COOLING)
    model.temperature.fill_(dvae.TAU_MIN)
    dvae_loss(model, x, draw(2))
    assert model.temperature.item() == dvae.TAU_MIN


def test_the_temperature_is_part_of_the_state(tmp_path):
    """A training that stops half way goes on as if it had not."""
    x = pictures(8)
    for steps in (3, 6):
        path = tmp_path / "run"
        fitted = fit_small(x, steps=6, checkpoint=path, until=steps)
    straight = fit_small(x, steps=6, checkpoint=None, until=6)
    assert torch.equal(fitted.temperature, straight.temperature)
    assert straight.temperature.item() == pytest.approx(dvae.COOLING**6)
    for a, b in zip(fitted.parameters(), straight.parameters(), strict=True):
        assert torch.equal(a, b)


def fit_small(x, steps, checkpoint, until):
    class Stop(Exception):
        pass

    def watch(trainer):
        if trainer.step == until < steps:
            trainer.save(checkpoint)
            raise Stop

    torch.manual_seed(0)
    model = DVAE(SMALL)
    try:
        return fit(
            model,
            dvae_loss,
            shuffled(x, batch_size=4, seed=0),
            steps=steps,
            checkpoint=checkpoint,
            progress=False,
            watch=watch,
        ).model
    except Stop:
        return model


def test_gradients_are_those_of_the_formulas():
    model, x = small().double(), pictures(2).double()
    model.temperature.fill_(dvae.TAU_MIN * 8)
    noise = gumbel(torch.rand(2, 6, 2, 2, generator=generator(), dtype=torch.float64))

    def bound(logits):
        y = relaxed(logits, noise, 0.5)
        return sum(kl_parts(logits)) - log_likelihood(model, x, y).sum()

    logits = model.logits(x).detach().requires_grad_(True)
    assert torch.autograd.gradcheck(bound, (logits,))


def test_the_elbo_of_one_code_a_place():
    model, x = small().double(), pictures(3).double()
    noise = gumbel(torch.rand(3, 6, 2, 2, generator=generator(), dtype=torch.float64))
    logits = model.logits(x)
    kl = torch.stack([sum(kl_parts(one[None])) for one in logits]) * 4 / 192
    expected = log_likelihood(model, x, hard(logits + noise)) - kl
    assert torch.allclose(dvae_elbo(model, x, noise), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="noise of shape"):
        dvae_elbo(model, x, noise[:1])


def test_the_elbo_lies_below_the_exact_likelihood():
    """One token of three codes: log p(x) is a sum of three."""
    torch.manual_seed(0)
    model, x = DVAE(replace(SMALL, codes=3)).double(), pictures(4, size=4).double()
    codes = torch.eye(3, dtype=torch.float64)[:, :, None, None]
    # in nats per picture, 48 numbers
    each = torch.stack(
        [48 * log_likelihood(model, x, y[None].expand(4, -1, -1, -1)) for y in codes]
    )
    log_p = each.logsumexp(dim=0) - math.log(3)
    q = model.logits(x).softmax(dim=1)[:, :, 0, 0].T  # (3, 4)
    exact = (q * (each - q.log() - math.log(3))).sum(dim=0)
    assert (exact <= log_p).all()
    u = torch.rand(3000, 4, 3, 1, 1, generator=generator(), dtype=torch.float64)
    with torch.no_grad():
        found = torch.stack([48 * dvae_elbo(model, x, gumbel(block)) for block in u])
    error = found.std(dim=0) / 3000**0.5
    assert ((found.mean(dim=0) - exact).abs() <= 4 * error + 1e-9).all()


def test_perplexity():
    assert perplexity(torch.arange(8).view(2, 4), 8) == pytest.approx(8)
    assert perplexity(torch.full((5,), 3), 8) == 1
    assert perplexity(torch.tensor([0, 0, 1, 1]), 512) == pytest.approx(2)
    usage = torch.tensor([0.5, 0.25, 0.25])
    expected = D.Categorical(usage).entropy().exp().item()
    assert perplexity(torch.tensor([0, 0, 1, 2]), 3) == pytest.approx(expected)
    with pytest.raises(ValueError, match="tokens from 0 to 2"):
        perplexity(torch.tensor([3]), 3)
    with pytest.raises(ValueError, match="one token or more"):
        perplexity(torch.zeros(0, dtype=torch.long), 3)
