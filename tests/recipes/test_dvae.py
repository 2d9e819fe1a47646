"""The recipes of the discrete VAEs: their data and their score."""

import math

import pytest
import torch

from minilib import weights
from minilib.data.emoji64.splits import split
from minilib.models.dvae import DVAE, DVAEConfig
from minilib.recipes import dvae
from minilib.recipes.dvae import bits, moved, score_dvae, some_emoji, some_people


def test_bits_of_256_equal_levels_are_eight():
    # the density 1/2 over [-1, 1], of which a level is 2/255 wide
    assert bits(math.log(0.5)) == pytest.approx(math.log2(255))


def test_emoji_are_those_of_the_grid():
    trained, kept = some_emoji(trained=True), some_emoji(trained=False)
    assert len(trained) == split().sum()
    assert len(trained) + len(kept) == 5 * 935
    assert kept.shape[1:] == (3, 32, 32)
    corners = kept[:, :, 0, 0]  # nearly all lie on white
    assert (corners == 1).all(dim=1).double().mean() > 0.8
    different = (trained[:40, None] - kept[None, :40]).abs().amax(dim=(2, 3, 4))
    assert (different > 0.1).all()


def test_moved_copies_are_the_same_pictures_elsewhere():
    x = torch.ones(40, 3, 16, 16)
    x[:, :, 5:9, 6:8] = torch.rand(40, 3, 4, 2)  # far from the edges
    y = moved(x, seed=0)
    assert y.shape == x.shape
    assert torch.allclose(y.mean(dim=(1, 2, 3)), x.mean(dim=(1, 2, 3)), atol=1e-6)
    assert torch.equal(y, moved(x, seed=0))
    assert not torch.equal(y, moved(x, seed=1))
    rows = (y != 1).any(dim=1).any(dim=2).float().argmax(dim=1)  # of the first one
    assert rows.unique().tolist() == list(range(2, 9))  # 5, moved by up to 3
    columns = (y != 1).any(dim=1).any(dim=1).float().argmax(dim=1)
    assert columns.min() >= 3
    assert columns.max() <= 11


def test_emoji_come_once_as_they_are(monkeypatch):
    monkeypatch.setattr(dvae, "STYLES", dvae.STYLES[:1])
    monkeypatch.setattr(dvae, "split", lambda: split()[:, :1])
    (x,) = dvae.emoji_and_copies()
    plain = some_emoji(trained=True)
    assert len(x) == 4 * len(plain)
    assert torch.equal(x[: len(plain)], plain)


def test_people_depend_on_the_seed_and_the_split():
    a, b = some_people(3, 0, "train"), some_people(3, 1, "train")
    assert a.shape == (3, 3, 32, 32)
    assert not torch.equal(a, b)
    assert torch.equal(some_people(5, 0, "train")[:3], a)


def test_the_score_is_what_it_says():
    torch.manual_seed(0)
    model, x = DVAE(DVAEConfig(codes=8, width=16, blocks=1)), some_people(6, 0, "test")
    score = score_dvae(model, x)
    with torch.no_grad():
        assert score["mse"] == pytest.approx((model(x) - x).square().mean().item())
    assert 1 <= score["perplexity"] <= 8
    assert score["bits"] > 0
    with torch.no_grad():  # a broader likelihood costs bits
        model.log_scale += 5
    assert score_dvae(model, x)["bits"] > score["bits"]


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("dvae_people", lambda: some_people(200, 1, "test")),
        ("dvae_emoji", lambda: some_emoji(trained=False)[::3]),
    ],
)
def test_what_ships_rebuilds_unseen_pictures_as_its_card_says(name, some):
    says, x = weights.card(name)["score"], some()
    score = score_dvae(weights.load_pretrained(DVAE(), name), x)
    assert score["mse"] == pytest.approx(says["mse"], rel=0.15)
    assert score["bits"] == pytest.approx(says["bits"], rel=0.05)
    assert score["perplexity"] > 256  # half of the codes
    assert (x - x.mean(dim=0)).square().mean() > 10 * score["mse"]
