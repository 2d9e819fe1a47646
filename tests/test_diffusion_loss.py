"""Beside tests/parity/test_loss.py, which holds the formulas against those of the paper."""

import pytest
import torch

from minilib.diffusion.loss import gaussian_kl, hide_labels, hybrid_loss, prior_term, simple_loss
from minilib.diffusion.schedule import X_0, Schedule, cosine_beta, linear_beta
from minilib.train import Draw, fit, shuffled
from minilib.unet import UNet, UNetConfig

CHAIN = Schedule(cosine_beta())
SMALL = {"patch": 2, "width": 8, "multipliers": (1,), "blocks": 1, "attention": (), "head_dim": 8, "groups": 4}


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


@pytest.mark.parametrize(("untold", "low", "high"), [(0.0, 0, 0), (0.2, 170, 230), (1.0, 1000, 1000)])
def test_the_share_of_labels_that_is_hidden(untold, low, high):
    y = torch.arange(1000) % 10
    told = hide_labels(y, draw(1000), untold)
    hidden = told == -1
    assert low <= int(hidden.sum()) <= high
    assert torch.equal(told[~hidden], y[~hidden])
    assert hide_labels(None, draw(3), untold) is None


def test_the_kl_of_two_gaussians():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 20, generator=g, dtype=torch.float64)
    s, r = torch.rand(2, 20, generator=g, dtype=torch.float64) + 0.1
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(a, s.sqrt()), normal(b, r.sqrt()))
    assert torch.allclose(gaussian_kl(a, s, b, r), expected)


@pytest.mark.parametrize(("chain", "bits"), [(Schedule(linear_beta()), 1e-4), (CHAIN, 1e-6)])
def test_after_the_last_step_nearly_nothing_is_left(chain, bits):
    assert 0 <= float(prior_term(chain, torch.rand(2, 1, 4, 4, dtype=torch.float64) * 2 - 1).max()) < bits


@pytest.mark.parametrize("loss", [simple_loss, hybrid_loss])
def test_training_lowers_the_loss_and_labels_are_used(loss):
    """Two classes, all black and all white: whoever hears the label knows the picture; who does not, guesses."""
    config = UNetConfig(channels_out=1 if loss is simple_loss else 2, classes=2, **SMALL)
    y = torch.arange(64) % 2
    x = (2.0 * y - 1).view(-1, 1, 1, 1).expand(64, 1, 4, 4).contiguous()
    torch.manual_seed(0)

    def batch_loss(model, x, y, draw):
        return loss(model, x, y, draw=draw, schedule=CHAIN, prediction=X_0, untold=0.5)

    fitted = fit(UNet(config), batch_loss, shuffled(x, y, batch_size=32), steps=40, lr=2e-2, progress=False)
    assert fitted.loss[-10:].mean() < 0.5 * fitted.loss[:10].mean()
    noise, t = torch.randn(16, 1, 4, 4), torch.full((16,), 999)
    with torch.no_grad():
        black, white = (fitted.ema(noise, t, torch.full((16,), k))[:, :1].mean() for k in (0, 1))
        assert black < fitted.ema(noise, t)[:, :1].mean() < white
    assert white - black > 1


@pytest.mark.parametrize("loss", [simple_loss, hybrid_loss])
def test_the_loss_is_the_same_for_the_same_draw(loss):
    config = UNetConfig(channels_out=1 if loss is simple_loss else 2, classes=3, **SMALL)
    torch.manual_seed(0)
    model, x, y = UNet(config), torch.rand(4, 1, 8, 8) * 2 - 1, torch.tensor([0, 1, 2, 0])
    one, again, other = (float(loss(model, x, y, draw=draw(4, k), schedule=CHAIN).detach()) for k in (0, 0, 1))
    assert one == again != other
