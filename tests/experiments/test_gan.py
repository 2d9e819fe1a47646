"""The helpers of chapter 4's claims, where the right answer is known."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from minilib.experiments import gan
from minilib.models.gan import GAN, GANConfig


def test_sharpness_of_stripes():
    stripes = torch.zeros(1, 1, 4, 4)
    stripes[..., ::2] = 1  # every step across is 1, every step down 0
    assert gan.sharpness(stripes) == pytest.approx(0.5)
    assert gan.sharpness(torch.ones(2, 1, 4, 4)) == 0


def test_class_spread_is_within_and_not_between_classes():
    each_its_own = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 1, 2, 2)
    assert gan.class_spread(each_its_own.repeat(3, 1, 1, 1)) == 0
    apart = torch.cat([each_its_own - 1, each_its_own + 1])
    assert gan.class_spread(apart) == pytest.approx(2)  # unbiased, of two values


def test_squared_error_loss_is_against_the_picture_and_moves_the_generator_only():
    pair = GAN(GANConfig(classes=10))
    x, y = torch.zeros(4, 1, 28, 28), torch.arange(4)
    z = torch.ones(4, 64)
    draw = SimpleNamespace(normal=lambda n: z[:, :n])
    loss = gan.squared_error_loss(pair, x, y, draw=draw)
    assert loss.item() == pytest.approx(pair.generator(z, y).square().mean().item())
    loss.backward()
    assert all(p.grad is not None for p in pair.generator.parameters())
    assert all(p.grad is None for p in pair.discriminator.parameters())


def test_train_pair_changes_before_it_trains():
    seen = []
    gan.train_pair(gan.SQUARED_ERROR, 1, change=lambda pair: seen.append(1) or pair)
    assert seen == [1]


def test_real_digits_come_in_turn(monkeypatch):
    x = torch.arange(10.0).repeat_interleave(100).view(-1, 1, 1, 1)
    y = torch.arange(10).repeat_interleave(100)
    monkeypatch.setattr(gan.digits, "load", lambda split: (x, y))
    assert gan.real_in_turn().flatten().tolist() == list(range(10)) * 80
    assert gan.class_means().flatten().tolist() == list(range(10))


def test_value_and_divergence_where_they_are_known():
    value, jsd = gan.value_and_divergence(gan.log_p)  # q = p: no way to tell
    assert value == pytest.approx(-math.log(4))
    assert jsd == pytest.approx(0, abs=1e-9)
    far = partial(gan.log_q, mean=11, std=0.5)  # no overlap
    value, jsd = gan.value_and_divergence(far)
    assert value == pytest.approx(0, abs=1e-6)
    assert jsd == pytest.approx(math.log(2), abs=1e-6)


def test_drawn_numbers_have_the_density_p():
    drawn = gan.draw_p(100_000, torch.Generator().manual_seed(0)).flatten().numpy()
    counts, edges = np.histogram(drawn, bins=50, range=(-4, 4), density=True)
    middles = (edges[1:] + edges[:-1]) / 2
    assert np.abs(counts - np.exp(gan.log_p(middles))).max() < 0.03


class Logit(nn.Module):
    """log p − log q, plus a constant."""

    def __init__(self, extra=0.0):
        super().__init__()
        self.extra = extra

    def forward(self, x):
        best = gan.log_p(x.numpy()) - gan.log_q(x.numpy())
        return torch.tensor(best, dtype=torch.float32) + self.extra


def test_off_best_is_0_at_the_best_and_only_there():
    assert gan.off_best(Logit()) < 1e-6
    assert gan.off_best(Logit(1.0)) > 0.1
    # D = 1/2 everywhere is off by half the total variation
    p, q = np.exp(gan.log_p(gan.GRID)), np.exp(gan.log_q(gan.GRID))
    variation = np.abs(p - q).sum() * (gan.GRID[1] - gan.GRID[0]) / 2
    guessing = nn.Linear(1, 1)
    nn.init.zeros_(guessing.weight)
    nn.init.zeros_(guessing.bias)
    assert gan.off_best(guessing) == pytest.approx(variation / 2, abs=1e-4)


def test_histograms_and_their_divergence():
    left, right = torch.tensor([[-0.05], [-0.05]]), torch.tensor([[0.05], [0.05]])
    a, b = gan.shares(left), gan.shares(right)
    assert a.sum() == b.sum() == 1
    assert gan.histogram_jsd(a, a) == pytest.approx(0)
    assert gan.histogram_jsd(a, b) == pytest.approx(math.log(2))


def test_each_turn_moves_its_own_player(monkeypatch):
    seen = []
    for step, generator, discriminator in gan.take_turns(0, 3):
        both = (*generator.parameters(), *discriminator.parameters())
        seen.append((step, [p.detach().clone() for p in both]))
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    last = zip(seen[2][1], seen[3][1], strict=True)
    assert not any(torch.equal(before, after) for before, after in last)

    # a discriminator's loss without slope: nothing but the generator's turn moves it
    monkeypatch.setattr(gan, "non_saturating_loss", lambda fake: 0 * fake.mean())
    first, *_, end = (
        [p.detach().clone() for p in generator.parameters()]
        for _, generator, _ in gan.take_turns(0, 3)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, end, strict=True))


@pytest.mark.parametrize(
    ("loss", "whose"),
    [("log_loss", "discriminator's"), ("non_saturating_loss", "generator's")],
)
def test_numbers_that_are_not_finite_end_the_turns(monkeypatch, loss, whose):
    right, calls = getattr(gan, loss), []

    def spoilt(*outputs):
        calls.append(0)
        return right(*outputs) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(gan, loss, spoilt)
    with pytest.raises(FloatingPointError, match=f"the {whose} loss .* from step 2 on"):
        list(gan.take_turns(0, 5))
    assert len(calls) == 3


def test_gan_2_measures_its_parts():
    few = SimpleNamespace(pick=lambda **sizes: 2)
    measured = gan.GAN_2.measure(0, few)
    assert measured.keys() == {part.name for part in gan.GAN_2.parts}
