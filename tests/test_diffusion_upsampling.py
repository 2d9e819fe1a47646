"""Upsampling: what the network is shown is the small picture, a little noisy, at the
large one's size.
"""

import pytest
import torch

from minilib.diffusion.schedule import X_0, Schedule, linear_beta
from minilib.diffusion.upsampling import FLAWS, upsampling_loss
from minilib.train import Draw
from minilib.unet import grow, shrink

TOKENS = torch.tensor([[1, 5, 2, 0]] * 200)


def seen_of(x_0, seed=0):
    """What the network sees of pictures, and the loss where it says 0."""
    seen = []

    def model(x, t, tokens):
        seen.append((x, tokens))
        return torch.zeros_like(x[:, :3])

    draw = Draw(torch.Generator().manual_seed(seed), slice(None), len(x_0))
    chain = Schedule(linear_beta())
    loss = upsampling_loss(
        model,
        x_0,
        TOKENS[: len(x_0)],
        draw=draw,
        untold=0.0,
        schedule=chain,
        prediction=X_0,
    )
    return *seen[0], loss


def test_the_network_sees_noise_the_small_picture_and_the_caption():
    x_0 = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x, tokens, loss = seen_of(x_0)
    assert x.shape == (200, 6, 8, 8)
    assert torch.equal(tokens, TOKENS)
    assert float(loss) == pytest.approx(float(x_0.square().mean()))
    given = x[:, 3:]
    assert torch.equal(given, grow(shrink(given)))  # squares of 2 × 2
    flaws = (shrink(given) - shrink(x_0)).flatten(1).std(dim=1)
    assert flaws.max() < 1.6 * FLAWS
    assert float(flaws.mean()) == pytest.approx(FLAWS / 2, rel=0.15)
    assert flaws.min() < 0.1 * FLAWS


def test_details_that_the_small_picture_lacks_are_not_shown():
    x_0 = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    # its squares of 2 × 2 have the mean 0
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)
    assert torch.allclose(
        seen_of(x_0)[0][:, 3:], seen_of(x_0 + 0.2 * board)[0][:, 3:], atol=1e-6
    )
