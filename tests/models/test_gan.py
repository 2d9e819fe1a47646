import copy
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from minilib.models.gan import (
    GAN,
    HINGE,
    MINIMAX,
    NON_SATURATING,
    WASSERSTEIN,
    GANConfig,
    SpectralNorm,
    covered_classes,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    hinge_loss,
    log_loss,
    non_saturating_loss,
    sample_gan,
    saturating_loss,
    spectral,
)
from minilib.train import Draw, fit, shuffled

SMALL = GANConfig(z_dim=5, width=8, size=8)


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(0, n), n)


def pictures(n, config=SMALL):
    return torch.rand(n, config.channels, config.size, config.size) * 2 - 1


@settings(max_examples=15, deadline=None)
@given(
    z_dim=st.integers(1, 70),
    classes=st.sampled_from([0, 2, 10]),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([8, 28, 32]),
    n=st.integers(1, 3),
)
def test_shapes_and_range(z_dim, classes, channels, size, n):
    config = GANConfig(
        z_dim=z_dim, classes=classes, width=8, channels=channels, size=size
    )
    model = GAN(config)
    y = torch.arange(n) % classes if classes else None
    x = model.generator(10 * torch.randn(n, z_dim), y)
    assert x.shape == (n, channels, size, size)
    assert x.abs().max() <= 1
    assert model.discriminator(x, y).shape == (n,)


def test_the_two_are_small_enough_to_ship_often():
    assert sum(p.numel() for p in GAN(GANConfig(classes=10)).parameters()) < 600_000


@pytest.mark.parametrize(
    "y",
    [
        None,
        torch.zeros(3).long(),
        torch.zeros(2),
        torch.tensor([0, 4]),
        torch.tensor([-1, 0]),
    ],
)
def test_a_conditional_pair_says_which_labels_it_wants(y):
    model = GAN(GANConfig(z_dim=5, classes=4, width=8, size=8))
    with pytest.raises(ValueError, match=r"expected labels y of shape \(2,\)"):
        model.generator(torch.zeros(2, 5), y)
    with pytest.raises(ValueError, match=r"expected labels y of shape \(2,\)"):
        model.discriminator(pictures(2), y)


def test_an_unconditional_pair_wants_no_labels():
    y = torch.zeros(2).long()
    with pytest.raises(ValueError, match="expected no labels"):
        GAN(SMALL).generator(torch.zeros(2, 5), y)
    with pytest.raises(ValueError, match="expected no labels"):
        GAN(SMALL).discriminator(pictures(2), y)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected z of shape \(B, 5\)"):
        GAN(SMALL).generator(torch.zeros(2, 6))
    with pytest.raises(ValueError, match="expected a floating-point x"):
        GAN(SMALL).discriminator(torch.zeros(2, 1, 28, 28))


def test_labels_reach_both_players():
    model = GAN(GANConfig(z_dim=5, classes=4, width=8, size=8))
    z, x, zero, one = (
        torch.randn(2, 5),
        pictures(2),
        torch.tensor([0, 0]),
        torch.tensor([1, 1]),
    )
    assert not torch.allclose(model.generator(z, zero), model.generator(z, one))
    assert not torch.allclose(model.discriminator(x, zero), model.discriminator(x, one))


def test_the_logit_is_that_of_a_projection_discriminator():
    judge = GAN(GANConfig(z_dim=5, classes=4, width=8, size=8)).discriminator.eval()
    x, y = pictures(3), torch.tensor([3, 0, 3])
    h = judge.features(x)
    by_hand = 4 * torch.stack(
        [
            h[i] @ judge.head.weight[0]
            + judge.head.bias[0]
            + h[i] @ judge.directions.weight[y[i]]
            for i in range(3)
        ]
    )
    assert torch.allclose(judge(x, y), by_hand, atol=1e-5)


@pytest.mark.parametrize(
    "layer", [nn.Linear(7, 5), nn.Linear(5, 9), nn.Conv2d(3, 6, 4), nn.Embedding(10, 4)]
)
def test_power_iteration_finds_the_largest_singular_value(layer):
    layer = copy.deepcopy(layer).double()
    exact = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
    original = layer.weight.detach().clone()
    spectral(layer)
    for _ in range(2000):
        _ = layer.weight
    assert torch.allclose(layer.weight, original / exact, atol=1e-9)
    assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(
        1, abs=1e-9
    )


@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 4), lambda: nn.Conv2d(2, 5, 3)])
def test_spectral_norm_agrees_with_torchs(make):
    torch.manual_seed(0)
    ours = make().double()
    theirs = copy.deepcopy(ours)
    spectral(ours)
    spectral_norm(theirs, n_power_iterations=1)
    for layer in (ours, theirs):
        for _ in range(2000):
            _ = layer.weight
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-9)
    target = torch.randn_like(ours.weight)
    for layer in (ours, theirs):
        (layer.weight * target).sum().backward()
    a, b = (layer.parametrizations.weight.original.grad for layer in (ours, theirs))
    assert torch.allclose(a, b, atol=1e-9)
    assert a.abs().sum() > 0


def test_the_gradient_is_that_of_the_exact_norm():
    weight = torch.randn(
        5,
        4,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
        requires_grad=True,
    )
    norm = SpectralNorm(weight).double()
    norm.u = torch.linalg.svd(weight.detach()).U[:, :1].T.clone()
    target = torch.randn(5, 4, dtype=torch.float64)
    (ours,) = torch.autograd.grad((norm(weight) * target).sum(), weight)
    (exact,) = torch.autograd.grad(
        (weight / torch.linalg.matrix_norm(weight, 2) * target).sum(), weight
    )
    assert torch.allclose(ours, exact, atol=1e-12)


def test_power_iteration_rests_in_evaluation_mode_and_u_is_saved():
    layer = spectral(nn.Linear(30, 20))
    layer.eval()
    before = layer.parametrizations.weight[0].u.clone()
    _ = layer.weight
    assert torch.equal(layer.parametrizations.weight[0].u, before)
    layer.train()
    _ = layer.weight
    assert not torch.equal(layer.parametrizations.weight[0].u, before)
    assert "parametrizations.weight.0.u" in layer.state_dict()


def test_half_precision_leaves_u_as_it_is():
    layer = spectral(nn.Linear(30, 20))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 30)).isfinite().all()
    assert layer.parametrizations.weight[0].u.dtype == torch.float32
    assert torch.linalg.svdvals(layer.weight.detach())[0].item() == pytest.approx(
        1, abs=0.05
    )


def test_every_weight_of_the_discriminator_keeps_norm_one_while_it_trains():
    torch.manual_seed(0)
    model = GAN(SMALL)
    losses = {"discriminator": discriminator_loss, "generator": generator_loss}
    fitted = fit(
        model,
        losses,
        shuffled(pictures(64), batch_size=16),
        steps=40,
        lr=3e-3,
        progress=False,
    ).model
    layers = [
        m for m in fitted.discriminator.modules() if parametrize.is_parametrized(m)
    ]
    assert len(layers) == 5
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.detach().flatten(1))[
            0
        ].item() == pytest.approx(1, abs=0.05)


logits = torch.linspace(-8, 8, 33, dtype=torch.float64)


def test_the_log_loss_is_binary_cross_entropy():
    real, fake = logits, logits.flip(0) / 2
    expected = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    expected += F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    assert torch.allclose(log_loss(real, fake), expected, atol=1e-14)
    undecided = torch.zeros(5, dtype=torch.float64)
    assert log_loss(undecided, undecided).item() == pytest.approx(
        torch.tensor(4.0).double().log().item(), abs=1e-12
    )


@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        (saturating_loss, lambda p: -p),
        (non_saturating_loss, lambda p: p - 1),
        (HINGE.generator, lambda p: -torch.ones_like(p)),
        (WASSERSTEIN.generator, lambda p: -torch.ones_like(p)),
    ],
)
def test_how_hard_each_loss_pulls_the_generator(loss, slope):
    at = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(at) * len(at), at)
    assert torch.allclose(gradient, slope(logits.sigmoid()), atol=1e-12)


def test_the_minimax_game_is_zero_sum():
    real = torch.full((4,), 0.7)
    pulled = lambda fake: MINIMAX.discriminator(real, fake) + MINIMAX.generator(fake)  # noqa: E731
    assert torch.allclose(
        pulled(torch.tensor([2.0, -3.0])), pulled(torch.tensor([0.0, 5.0]))
    )


def test_the_hinge_forgives_what_is_right_by_a_margin():
    assert hinge_loss(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -9.0])).item() == 0
    assert hinge_loss(
        torch.tensor([0.0, 5.0]), torch.tensor([-1.0, 1.0])
    ).item() == pytest.approx(0.5 + 1)


def test_the_critic_loss_is_a_difference_of_means():
    assert WASSERSTEIN.discriminator(
        torch.tensor([3.0, 5.0]), torch.tensor([1.0])
    ).item() == pytest.approx(-3)


@pytest.mark.parametrize("length", [0.0, 1.0, 3.0])
def test_the_gradient_penalty_of_a_linear_critic_is_known(length):
    direction = (
        F.normalize(torch.randn(1, 4, 4, dtype=torch.float64), dim=(0, 1, 2)) * length
    )
    real, fake = torch.randn(6, 1, 4, 4).double(), torch.randn(6, 1, 4, 4).double()
    penalty = gradient_penalty(
        lambda x: (x * direction).flatten(1).sum(dim=1),
        real,
        fake,
        torch.rand(6).double(),
    )
    assert penalty.item() == pytest.approx((length - 1) ** 2, abs=1e-9)


def test_the_gradient_penalty_is_taken_between_the_pictures_and_trains_the_critic():
    real, fake, mix = (
        torch.full((2, 3), 2.0),
        torch.full((2, 3), -2.0),
        torch.tensor([1.0, 0.25]),
    )
    seen = []
    critic = nn.Linear(3, 1)

    def judge(x):
        seen.append(x)
        return critic(x)[:, 0]

    gradient_penalty(judge, real, fake, mix).backward()
    assert torch.allclose(seen[0], torch.tensor([[2.0] * 3, [-1.0] * 3]))
    assert critic.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize(
    ("game", "penalty"),
    [(MINIMAX, 0.0), (NON_SATURATING, 0.0), (HINGE, 0.0), (WASSERSTEIN, 10.0)],
)
def test_each_loss_teaches_its_own_player(game, penalty, classes):
    torch.manual_seed(0)
    model = GAN(GANConfig(z_dim=5, classes=classes, width=8, size=8))
    x, y = pictures(6), torch.arange(6) % 4 if classes else None
    discriminator_loss(model, x, y, draw=draw(6), game=game, penalty=penalty).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.discriminator.parameters())
    model.zero_grad()
    generator_loss(model, x, y, draw=draw(6), game=game).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for p in model.generator.parameters()
    )


def test_the_discriminators_loss_is_that_of_its_logits():
    torch.manual_seed(0)
    model, x = GAN(SMALL).eval(), pictures(6)
    fake = model.generator(draw(6).normal(5))
    expected = log_loss(model.discriminator(x), model.discriminator(fake))
    assert torch.allclose(discriminator_loss(model, x, draw=draw(6)), expected)
    assert torch.allclose(
        generator_loss(model, x, draw=draw(6)),
        non_saturating_loss(model.discriminator(fake)),
    )


def test_fit_moves_each_player_by_its_own_loss():
    torch.manual_seed(0)
    model = GAN(SMALL)
    before = copy.deepcopy(model)
    judge = {"discriminator": partial(discriminator_loss, game=HINGE)}
    fit(model, judge, shuffled(pictures(32), batch_size=8), steps=3, progress=False)

    def same(a, b):
        pairs = zip(a.parameters(), b.parameters(), strict=True)
        return all(torch.equal(p, q) for p, q in pairs)

    assert same(model.generator, before.generator)
    assert not same(model.discriminator, before.discriminator)


@pytest.mark.parametrize("classes", [0, 4])
def test_samples_depend_on_the_generator_alone(classes):
    torch.manual_seed(0)
    model = GAN(GANConfig(z_dim=5, classes=classes, width=8, size=8)).eval()
    x = sample_gan(model, 1003, torch.Generator().manual_seed(7))
    assert torch.equal(x, sample_gan(model, 1003, torch.Generator().manual_seed(7)))
    assert not torch.equal(x, sample_gan(model, 1003, torch.Generator().manual_seed(8)))
    z = torch.randn(1003, 5, generator=torch.Generator().manual_seed(7))
    y = torch.arange(1003) % 4 if classes else None
    with torch.no_grad():
        assert torch.allclose(x, model.generator(z, y), atol=1e-5)


def test_samples_are_of_the_labels_asked_for():
    torch.manual_seed(0)
    model = GAN(GANConfig(z_dim=5, classes=4, width=8, size=8)).eval()
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(7))
    y = torch.tensor([3, 3, 0, 1, 3, 2])
    with torch.no_grad():
        expected = model.generator(z, y)
    assert torch.allclose(
        sample_gan(model, 6, torch.Generator().manual_seed(7), y), expected, atol=1e-5
    )


def test_covered_classes_counts_confident_pictures():
    sure, unsure = (
        0.95 * torch.eye(4) + 0.05 / 3 * (1 - torch.eye(4)),
        torch.full((4, 4), 0.25),
    )
    # of 100
    rows = torch.cat([sure[[0]].repeat(97, 1), sure[[1]], sure[[2]], unsure[[3]]])
    assert covered_classes(rows) == 3
    assert covered_classes(rows, share=0.02) == 1
    assert covered_classes(rows, sure=0.96) == 0
    assert covered_classes(sure) == 4
    assert covered_classes(unsure) == 0


def test_labels_are_refused_where_there_are_no_classes():
    with pytest.raises(ValueError, match="label"):
        sample_gan(GAN(), 2, torch.Generator(), y=torch.tensor([9, 9]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 4}, "expected size to be a whole number from 8 up, got 4"),
        ({"classes": -1}, "expected classes to be a whole number from 0 up, got -1"),
        ({"z_dim": 0}, "expected z_dim to be a whole number from 1 up, got 0"),
    ],
)
def test_sizes_that_make_no_pair_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        GANConfig(**wrong)


def test_a_seed_is_no_generator_and_one_drawn_picture_is_not_many():
    with pytest.raises(ValueError, match=r"expected a generator, such as .* got 0"):
        sample_gan(GAN(SMALL), 2, 0)
    with pytest.raises(
        ValueError, match=r"expected fake of shape \(2, 3\), got \(1, 3\)"
    ):
        gradient_penalty(
            lambda x: x.sum(dim=1), torch.ones(2, 3), torch.ones(1, 3), torch.ones(2)
        )
