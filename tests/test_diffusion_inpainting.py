"""Inpainting: what is known stays as it was, to the bit; what is not is drawn."""

import pytest
import torch

from minilib.diffusion.inpainting import (
    clue,
    inpainting_loss,
    keep_known,
    random_holes,
    with_clue,
)
from minilib.diffusion.sampling import Guess, ancestral, ddim, dpm_solver, last
from minilib.diffusion.schedule import X_0, Schedule, cosine_beta, linear_beta, trailing
from minilib.train import Draw


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


def bold(x_t, t):
    return Guess((3 * x_t).clamp(-1, 1), torch.zeros_like(x_t))


@pytest.fixture
def picture():
    g = torch.Generator().manual_seed(3)
    known = torch.rand(6, 1, 8, 8, generator=g) < 0.5
    return torch.rand(6, 3, 8, 8, generator=g) * 2 - 1, known


@pytest.mark.parametrize("chain", [Schedule(linear_beta()), Schedule(cosine_beta())])
@pytest.mark.parametrize("sampler", [ddim, dpm_solver, ancestral])
def test_known_pixels_come_out_to_the_bit_and_the_others_do_not(
    chain, sampler, picture
):
    x_0, known = picture
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    generator = [torch.Generator().manual_seed(1)] if sampler is ancestral else []
    x = last(
        sampler(
            keep_known(bold, x_0, known), chain, noise, trailing(1000, 12), *generator
        )
    )
    where = known.expand_as(x)
    assert torch.equal(x[where], x_0[where])
    assert (x[~where] != x_0[~where]).all()


def test_all_known_is_the_picture_and_nothing_known_is_the_denoiser(picture):
    x_0, _ = picture
    t, everything = (
        torch.zeros(6, dtype=torch.long),
        torch.ones(6, 1, 8, 8, dtype=torch.bool),
    )
    x_t = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(keep_known(bold, x_0, everything)(x_t, t).x_0, x_0)
    assert torch.equal(keep_known(bold, x_0, ~everything)(x_t, t).x_0, bold(x_t, t).x_0)
    assert torch.equal(
        keep_known(bold, x_0, everything)(x_t, t).share, bold(x_t, t).share
    )


def test_the_clue_holds_what_is_known_and_no_more(picture):
    x_0, known = picture
    given = clue(x_0, known)
    assert given.shape == (6, 4, 8, 8)
    assert torch.equal(given[:, 3:], known.float())
    assert torch.equal(given[:, :3], torch.where(known, x_0, 0.0))
    other = torch.where(known, x_0, -x_0)
    assert torch.equal(clue(other, known), given)


@pytest.mark.parametrize("size", [(16, 16), (16, 32)])
def test_holes_are_rectangles_of_a_quarter_to_all_of_the_picture(size):
    x_0 = torch.zeros(3000, 3, *size)
    known = random_holes(x_0, draw(3000))
    assert known.shape == (3000, 1, *size)
    assert known.dtype == torch.bool
    hole = ~known[:, 0]
    sides = hole.any(dim=2).sum(dim=1), hole.any(dim=1).sum(dim=1)
    assert torch.equal(hole.sum(dim=(1, 2)), sides[0] * sides[1])  # full rectangles
    for side, length in zip(sides, size, strict=True):
        assert side.min() >= length / 4
        assert side.max() == length
        # rounded up
        assert float(side.float().mean()) == pytest.approx(
            0.625 * length + 0.5, rel=0.03
        )
    often = hole.float().mean(dim=0)
    # n places each
    corner = [
        sum(1 / n for n in range(1, 3 * length // 4 + 1)) / (3 * length / 4)
        for length in size
    ]
    assert float(often[0, 0]) == pytest.approx(corner[0] * corner[1], abs=0.01)
    assert often[size[0] // 2, size[1] // 2] > 2 * often[0, 0]


def test_the_loss_shows_the_network_noise_clue_and_caption():
    seen = []

    def model(x, t, tokens):
        seen.append((x, tokens))
        return torch.zeros_like(x[:, :3])

    x_0 = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[1, 5, 2, 0]] * 5)
    chain = Schedule(linear_beta())
    inpainting_loss(
        model, x_0, tokens, draw=draw(5), untold=0.0, schedule=chain, prediction=X_0
    )
    x, told = seen[0]
    known = x[:, 6:].bool()
    assert x.shape == (5, 7, 8, 8)
    assert torch.equal(x[:, 3:], clue(x_0, known))
    assert not known.all(dim=(1, 2, 3)).any()
    assert not torch.equal(x[:, :3], x_0)
    assert torch.equal(told, tokens)
    assert torch.equal(
        with_clue(lambda x, t, y: x, clue(x_0, known))(x_0, None, None)[:, :3], x_0
    )
