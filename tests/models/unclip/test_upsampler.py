"""unCLIP's upsampler: no attention anywhere, crops with their own pixels, any size."""

import pytest
import torch
from torch import nn

from minilib.diffusion.schedule import X_0, Schedule, linear_beta
from minilib.models.unclip.upsampler import (
    NOISE,
    NoAttention,
    blurred,
    crop_loss,
    enlarge,
    flawed,
    random_crops,
    upsampler,
)
from minilib.nets.layers import Attention
from minilib.nets.unet_blocks import UNetConfig, grow, shrink
from minilib.train import Draw

SIZES = UNetConfig(channels=3, width=16, multipliers=(1, 1), blocks=1, head_dim=8)
CHAIN = Schedule(linear_beta())


def a_draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


@pytest.fixture
def model():
    g = torch.Generator().manual_seed(0)
    model = upsampler(SIZES)
    for p in model.parameters():
        p.data = 0.1 * torch.randn(p.shape, generator=g)
    return model.eval()


def numbered(n, H, W):
    """Pictures whose pixels say where they are: (n, 2, H, W) of row and column."""
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return torch.stack([rows, columns]).float().expand(n, 2, H, W)


# ---------- the network ----------


def test_nothing_attends_not_even_the_middle(model):
    kinds = [type(module) for module in model.modules()]
    assert Attention not in kinds
    assert nn.Linear in kinds  # the step's way in
    assert kinds.count(NoAttention) == 1
    h = torch.randn(2, 4, 3, 3)
    assert NoAttention(SIZES, 4)(h) is h


def test_it_sees_two_pictures_and_puts_out_one(model):
    x = torch.randn(2, 6, 16, 24)
    assert model(x, torch.tensor([0, 999])).shape == (2, 3, 16, 24)


def test_a_far_pixel_does_not_tell(model):
    """Convolutions see some way, and norms all of a picture by its mean alone: the two
    far corners of a wide picture don't know of each other's pixels.
    """
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda h: h  # the one thing that knows the whole
    x = torch.randn(1, 6, 16, 128, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[..., -1] += 1
    apart = (model(x, torch.tensor([5])) - model(changed, torch.tensor([5]))).abs()
    assert apart[..., -8:].max() > 0
    assert apart[..., :40].max() == 0


# ---------- what it learns from ----------


def test_crops_are_squares_at_even_places_and_reach_every_corner():
    crops = random_crops(numbered(2000, 12, 16), 8, a_draw(2000))
    assert crops.shape == (2000, 2, 8, 8)
    top, left = crops[:, 0, 0, 0], crops[:, 1, 0, 0]
    assert sorted(set(top.tolist())) == [0, 2, 4]
    assert sorted(set(left.tolist())) == [0, 2, 4, 6, 8]
    expected = numbered(2000, 8, 8) + torch.stack([top, left], dim=1)[..., None, None]
    assert torch.equal(crops, expected)
    assert torch.bincount(left.long() // 2).min() > 2000 / 5 * 0.8


def test_crops_made_small_are_crops_of_the_small_picture():
    x = torch.randn(50, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    small = shrink(random_crops(x, 8, a_draw(50)))
    halves = shrink(x).unfold(2, 4, 1).unfold(3, 4, 1)  # (50, 3, 5, 5, 4, 4)
    distance = (halves - small[:, :, None, None]).abs().amax(dim=(1, 4, 5))
    assert distance.flatten(1).amin(dim=1).max() < 1e-6


@pytest.mark.parametrize("size", [7, 0, 18])
def test_crops_of_an_odd_size_or_larger_than_the_picture_are_refused(size):
    message = f"crops of an even size from 2 to 12, got {size}"
    with pytest.raises(ValueError, match=message):
        random_crops(numbered(2, 12, 16), size, a_draw(2))


def test_blurring_spreads_a_point_and_leaves_flat_colours():
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 16
    middle = blurred(point)[0, 0, 1:4, 1:4]
    assert middle.tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    flat = torch.tensor([0.3, -0.7])[None, :, None, None].expand(2, 2, 6, 4)
    assert torch.allclose(blurred(flat), flat)


def test_flaws_are_of_another_strength_for_each_picture():
    x = torch.zeros(4000, 1, 8, 8)
    x[..., ::2] = 1.0  # stripes, of which blurring leaves less: 1/2 at most
    found = flawed(x, a_draw(4000))
    noise = (found - found.mean(dim=2, keepdim=True)).std(dim=2).mean(dim=(1, 2))
    assert noise.max() < 1.6 * NOISE
    assert noise.min() < 0.1 * NOISE
    assert float(noise.mean()) == pytest.approx(NOISE / 2, rel=0.1)
    stripes = found.mean(dim=2)[:, 0]  # (N, 8)
    left = stripes[:, 2:-1:2].mean(dim=1) - stripes[:, 3:-1:2].mean(dim=1)
    assert left.max() > 0.9
    assert left.min() < 0.1


def test_the_network_sees_a_noisy_crop_and_the_same_one_small_and_flawed():
    seen = []

    def model(x, t, y):
        seen.append(x)
        return torch.zeros_like(x[:, :3])

    g = torch.Generator().manual_seed(0)
    x_0 = grow(torch.randn(100, 3, 8, 8, generator=g))
    loss = crop_loss(
        model, x_0, draw=a_draw(100), size=8, schedule=CHAIN, prediction=X_0
    )
    (x,) = seen
    assert x.shape == (100, 6, 8, 8)
    small = shrink(x[:, 3:])
    assert torch.equal(grow(small), x[:, 3:])
    crops = random_crops(x_0, 8, a_draw(100))
    assert float(loss) == pytest.approx(float(crops.square().mean()))
    likeness = torch.cosine_similarity(small.flatten(1), shrink(crops).flatten(1))
    assert likeness.min() > 0.6
    assert likeness.max() < 1


# ---------- drawing ----------


def test_it_enlarges_pictures_of_any_size():
    """A network that answers with what it sees of the small picture gives that."""
    for H, W in ((4, 4), (8, 12)):
        small = torch.rand(3, 3, H, W) * 2 - 1
        noise = torch.randn(3, 3, 2 * H, 2 * W)
        found = enlarge(lambda x, t, y: x[:, 3:], CHAIN, X_0, small, noise, steps=3)
        assert torch.allclose(found, grow(small), atol=1e-6)


def test_a_trained_size_is_not_the_only_one(model):
    small, noise = torch.zeros(1, 3, 8, 8), torch.randn(1, 3, 16, 16)
    found = enlarge(model, CHAIN, X_0, small, noise, steps=2)
    assert found.shape == (1, 3, 16, 16)
    assert found.abs().max() <= 1
    with pytest.raises(ValueError, match="a condition of shape"):
        enlarge(model, CHAIN, X_0, small, noise[..., :8], steps=2)
