"""Inpainting: what is known stays as it was, to the bit; what is not is drawn."""

import pytest
import torch

from minilib.diffusion.inpainting import keep_known, known_latents, random_holes
from minilib.diffusion.sampling import Denoised, ancestral, ddim, dpm_solver, last
from minilib.diffusion.schedule import Schedule, cosine_beta, linear_beta, trailing
from minilib.train import Draw


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


def bold(x_t, t):
    return Denoised((3 * x_t).clamp(-1, 1), torch.zeros_like(x_t))


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


def test_one_picture_or_mask_for_many_is_refused(picture):
    x_0, known = picture
    t = torch.zeros(6, dtype=torch.long)
    with pytest.raises(ValueError, match=r"expected x_0 of shape \(6, 3, 8, 8\), got"):
        keep_known(bold, x_0[:1], known)(x_0, t)
    with pytest.raises(
        ValueError, match=r"expected known of shape \(6, 1, 8, 8\), got"
    ):
        keep_known(bold, x_0, known[:1])(x_0, t)


def test_a_latent_is_known_where_all_its_pixels_are():
    known = torch.ones(2, 1, 8, 12, dtype=torch.bool)
    known[0, 0, 3, 4] = False
    known[1, 0, 4:, :] = False
    found = known_latents(known, 4)
    expected = torch.ones(2, 1, 2, 3, dtype=torch.bool)
    expected[0, 0, 0, 1] = False
    expected[1, 0, 1, :] = False
    assert torch.equal(found, expected)
    assert torch.equal(known_latents(known, 1), known)
