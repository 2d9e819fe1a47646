"""The helpers of chapter 1's claims, where the right answer is known."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from minilib.experiments import autoencoder


@pytest.fixture
def world(monkeypatch):
    """A few random pictures in the place of the digits: (train, test)."""
    g = torch.Generator().manual_seed(0)
    train, test = (torch.rand(n, 1, 28, 28, generator=g) * 2 - 1 for n in (300, 40))
    sets = {"train": (train, None), "test": (test, None)}
    monkeypatch.setattr(autoencoder, "load_digits", lambda name: sets[name])
    autoencoder.pca.cache_clear()
    yield train, test
    autoencoder.pca.cache_clear()


class Copier(nn.Module):
    """Rebuilds every picture as it is; its codes are the first 16 pixels."""

    def forward(self, x):
        return x

    def encode(self, x):
        return x.flatten(1)[:, :16]

    def decode(self, z):
        return z[:, :1, None, None].clamp(-1, 1).expand(-1, 1, 28, 28)


class Painter(Copier):
    """Rebuilds every picture as mid-grey."""

    def forward(self, x):
        return 0 * x


def test_some_digits_are_different_training_digits(world):
    train, _ = world
    few = autoencoder.some_digits(20, seed=1)
    rows = [(train == x).flatten(1).all(dim=1).nonzero().item() for x in few]
    assert len(set(rows)) == 20
    assert not torch.equal(few, autoencoder.some_digits(20, seed=2))
    assert len(autoencoder.some_digits(300, seed=0)) == 300


def test_pca_leaves_nothing_on_its_sheet_and_all_of_what_stands_upright():
    mean, directions = torch.zeros(784), torch.eye(784)[:3]
    on_sheet, upright = (torch.eye(784)[i].view(1, 1, 28, 28) for i in (1, 5))
    assert torch.equal(autoencoder.rebuild_by_pca(on_sheet, mean, directions), on_sheet)
    assert autoencoder.rebuild_by_pca(upright, mean, directions).abs().max() == 0


def test_left_by(world):
    _, test = world
    assert autoencoder.left_by(Copier(), test) == 0
    assert autoencoder.left_by(Painter(), test) == pytest.approx(
        test.square().mean().item()
    )
    # 16 directions of pure noise say next to nothing about other noise
    assert 0.25 < autoencoder.left_by_pca(300, 0, test) < 0.45


def test_random_codes_have_the_spread_that_they_promise():
    codes = 3 + 2 * torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    drawn = autoencoder.random_codes(codes, 20_000, seed=0)
    box, normal, fitted = (drawn[way] for way in autoencoder.WAYS)
    assert (box >= codes.amin(dim=0)).all()
    assert (box <= codes.amax(dim=0)).all()
    assert torch.allclose(normal.std(dim=0), torch.ones(2), atol=0.05)
    assert torch.allclose(fitted.mean(dim=0), codes.mean(dim=0), atol=0.1)
    assert torch.allclose(torch.cov(fitted.T), torch.cov(codes.T), atol=0.2)


def test_far_pictures_are_what_they_are_called(world):
    _, test = world
    far = autoencoder.far_pictures(10)
    assert tuple(far) == autoencoder.FAR
    assert torch.equal(far["negatives"], -test[:10])
    assert torch.equal(far["upside-down digits"][:, :, 0], test[:10, :, 27])
    assert far["noise"].square().mean().item() == pytest.approx(1 / 3, abs=0.02)


def test_unsure_counts_pictures_below_90_percent(monkeypatch):
    x = torch.zeros(4, 1, 28, 28)
    x[:, 0, 0, 0] = torch.tensor([100.0, 0.0, 100.0, 0.0])
    monkeypatch.setattr(autoencoder, "network", lambda: lambda b: b.flatten(1)[:, :10])
    assert autoencoder.unsure(x) == 0.5


def test_a_copier_and_a_painter_have_the_parts_of_the_claims(world, monkeypatch):
    _, test = world
    measured = autoencoder.rebuilding(Copier())
    autoencoder.AE_1.require_parts(measured)
    pca, ours = measured[autoencoder.REBUILT]
    assert ours == 0 < pca
    measured = autoencoder.generalising(Painter(), Copier(), seed=0)
    autoencoder.AE_3.require_parts(measured)
    held_out, _ = measured[autoencoder.BY_HEART]
    assert held_out == pytest.approx(test.square().mean().item())
    assert measured[autoencoder.GAP][1] == 0
    assert measured[autoencoder.far("noise")][0] == 0

    monkeypatch.setattr(autoencoder, "fd", lambda x: float(len(x)))
    monkeypatch.setattr(autoencoder, "unsure", lambda x: float(x.mean()))
    pictures = autoencoder.draw_and_rebuild(Copier(), 20, seed=0)
    assert torch.equal(pictures["reconstructions"], test[::2])
    measured = autoencoder.drawing(pictures)
    autoencoder.AE_2.require_parts(measured)
    assert measured[autoencoder.farther("box")] == (20, 20)


def test_training_makes_the_error_smaller(monkeypatch):
    x = torch.linspace(-1, 1, 784).view(1, 1, 28, 28) * torch.tensor([1.0, -1.0]).view(
        2, 1, 1, 1
    )
    short = SimpleNamespace(batch_size=2, lr=5e-3)
    monkeypatch.setattr(autoencoder, "ae_digits", short)
    models = [autoencoder.train_on(x, 0, steps) for steps in (1, 30)]
    before, after = (autoencoder.left_by(model, x) for model in models)
    assert after < 0.7 * before
