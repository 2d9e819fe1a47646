"""The helpers of chapter 3's claims, where the right answer is known."""

import pytest
import torch
from torch import nn

from minilib.experiments import denoising

SCATTERED = {  # what each way costs on average, given E x² = 1 (pixels of ±1)
    "noise 0.25": 0.25**2,
    "noise 0.5": 0.5**2,
    "noise 1": 1.0,
    "salt and pepper": 0.2 * (1 + 1),
    "half masked": 0.5,
    "half turned to paper": 0.5 * 0.5 * 4,  # half of the pixels are ink, 2 above paper
}


@pytest.fixture
def ink():
    """Pictures (200, 1, 28, 28) of which half of the pixels are ink."""
    g = torch.Generator().manual_seed(1)
    return 2 * (torch.rand(200, 1, 28, 28, generator=g) < 0.5).float() - 1


@pytest.mark.parametrize(("way", "cost"), SCATTERED.items())
def test_each_way_costs_what_arithmetic_says(ink, way, cost):
    spoilt = denoising.WAYS[way](ink, denoising.draw_for(ink))
    assert denoising.per_pixel(spoilt, ink) == pytest.approx(cost, rel=0.03)


def test_an_erased_square_costs_its_pixels(ink):
    spoilt = denoising.WAYS["square erased"](ink, denoising.draw_for(ink))
    assert denoising.per_pixel(spoilt, ink) == pytest.approx(100 / 784)


def test_the_identity_leaves_all_damage_and_a_network_that_knows_leaves_none(ink):
    class Knows(nn.Module):
        def forward(self, x):
            return ink

    assert denoising.damage_left(nn.Identity(), "noise 1", ink) == pytest.approx(1)
    assert denoising.damage_left(Knows(), "noise 1", ink) == 0


def test_keep_mask_keeps_pixels_or_whole_patches():
    lots = torch.arange(784.0).view(1, 784) / 784
    assert denoising.keep_mask(lots, 0.25).flatten().sum() == 196
    lots = torch.arange(49.0).view(1, 49) / 49
    mask = denoising.keep_mask(lots, 13 / 49)
    tiles = mask.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)  # (1, 1, 7, 7, 16)
    assert torch.equal(tiles.amin(dim=4), tiles.amax(dim=4))
    assert tiles[..., 0].flatten().tolist() == [1.0] * 13 + [0.0] * 36


def test_hide_leaves_pixels_or_zeros(ink):
    hidden = denoising.hide(ink, denoising.draw_for(ink))
    assert torch.equal(hidden[hidden != 0], ink[hidden != 0])
    # a share that is uniform between 0 and 1 is a half on average
    assert float((hidden == 0).float().mean()) == pytest.approx(0.5, abs=0.07)


def test_the_probe_solves_ridge_regression():
    g = torch.Generator().manual_seed(0)
    codes = torch.randn(30, 40, generator=g)
    labels = torch.arange(30) % 10
    weights = denoising.linear_probe(codes, labels, strength=2.0)
    target = nn.functional.one_hot(labels, 10) - 0.1
    gradient = codes.T @ (codes @ weights - target) + 2.0 * weights
    assert gradient.abs().max() < 1e-4


def test_share_right():
    codes, labels = torch.eye(10)[[0, 1, 2, 3]], torch.tensor([0, 1, 2, 9])
    assert denoising.share_right(codes, torch.eye(10), labels) == 0.75


def test_rows_of_each_label_are_many_enough_and_apart():
    labels = torch.arange(10).repeat(20)
    few, others = denoising.rows_of_each(labels, 3, 5, seed=0)
    assert torch.bincount(labels[few]).tolist() == [3] * 10
    assert torch.bincount(labels[others]).tolist() == [5] * 10
    assert not set(few.tolist()) & set(others.tolist())


def test_the_probe_reads_labels_that_stand_in_the_codes(monkeypatch):
    y = torch.arange(10).repeat(110)
    x = nn.functional.one_hot(y, 784).float().view(-1, 1, 28, 28)
    monkeypatch.setattr(denoising, "load_digits", lambda split: (x, y))
    assert denoising.probe_accuracy(torch.clone, seed=0, n=100, draws=1) == 1
    blind = denoising.probe_accuracy(torch.zeros_like, seed=0, n=100, draws=1)
    assert blind == pytest.approx(0.1)  # one class for all


def test_the_nearest_seen_pixel():
    seen = torch.zeros(784, dtype=torch.bool)
    seen[[0, 783]] = True
    x = torch.arange(784.0).view(1, 784)
    filled = denoising.fill_nearest(x, seen)
    assert filled[0, [0, 29, 754, 783]].tolist() == [0, 0, 783, 783]


def test_the_error_of_hidden_pixels_counts_nothing_else(monkeypatch):
    x = torch.ones(40, 1, 28, 28)
    monkeypatch.setattr(denoising, "load_digits", lambda split: (x, None))

    def wrong_where_seen(x, seen):
        return torch.where(seen, torch.zeros(()), x + 0.5)

    for units in (784, 49):
        error = denoising.hidden_error(wrong_where_seen, units, 0.25, n=40)
        assert error == pytest.approx(0.25)


def test_a_network_sees_zeros_where_pixels_are_hidden():
    seen = torch.arange(784) % 2 == 0
    filled = denoising.fill_with(nn.Identity(), torch.ones(2, 784), seen)
    assert torch.equal(filled, seen.float().expand(2, -1))


def test_networks_that_do_nothing_give_the_parts_of_the_claims(monkeypatch):
    x = torch.randn(2200, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = torch.arange(10).repeat(220)
    monkeypatch.setattr(denoising, "load_digits", lambda split: (x, y))
    monkeypatch.setattr(denoising, "encoder", lambda model: model)
    copy = nn.Identity()
    measured = denoising.worth(copy, copy, seed=0, n=20)
    denoising.DAE_1.require_parts(measured)
    assert all(large == pytest.approx(small) for large, small in measured.values())
    denoising.DAE_2.require_parts(denoising.from_a_quarter(copy, seed=0, n=20))
