import pytest
import torch
from torch.nn import functional as F

from minilib.nets.vit import QuickGELU, ViT, ViTConfig

TINY = ViTConfig(size=8, patch=2, dim=16, depth=2, heads=2)


@pytest.mark.parametrize(("size", "patch"), [(8, 2), (8, 8), (12, 4), (5, 1)])
def test_one_vector_for_the_whole_and_one_for_each_patch(size, patch):
    model = ViT(ViTConfig(size=size, patch=patch, dim=16, depth=1, heads=2))
    assert model(torch.randn(3, 3, size, size)).shape == (
        3,
        1 + (size // patch) ** 2,
        16,
    )


def test_pictures_do_not_see_each_other():
    model, x = ViT(TINY).eval(), torch.randn(4, 3, 8, 8)
    assert torch.allclose(model(x)[2:3], model(x[2:3]), atol=1e-5)


def test_every_vector_depends_on_every_patch_and_on_where_it_is():
    model, x = (
        ViT(TINY).double(),
        torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True),
    )
    for place in (0, 5, 16):
        (slope,) = torch.autograd.grad(model(x)[0, place].square().sum(), x)
        assert (F.avg_pool2d(slope.abs(), 2) > 0).all()
    moved = torch.cat([x[..., 2:], x[..., :2]], dim=-1)
    assert not torch.allclose(model(moved)[0, 0], model(x)[0, 0], atol=1e-3)


def test_quick_gelu_is_near_gelu():
    h = torch.linspace(-4, 4, 100)
    assert (QuickGELU()(h) - F.gelu(h)).abs().max() < 0.025
    assert QuickGELU()(torch.tensor(1.0)) == pytest.approx(0.8458, abs=1e-4)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="a patch that divides the size 16, got 3"):
        ViT(ViTConfig(patch=3))
    with pytest.raises(ValueError, match="8, 8"):
        ViT(TINY)(torch.zeros(1, 3, 8, 10))


def test_sizes_that_make_no_transformer_are_refused():
    with pytest.raises(
        ValueError, match="expected patch to be a whole number from 1 up"
    ):
        ViTConfig(patch=0)
