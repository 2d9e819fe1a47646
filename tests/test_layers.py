import pytest
import torch

from minilib.layers import down, require_images, up


@pytest.mark.parametrize("size", [4, 28, 32])
def test_down_halves_and_up_doubles(size):
    x = torch.randn(2, 3, size, size)
    h = down(3, 8)(x)
    assert h.shape == (2, 8, size // 2, size // 2)
    assert up(8, 16)(h).shape == (2, 16, size, size)


def test_output_does_not_depend_on_the_rest_of_the_batch():
    """GroupNorm normalises each picture by itself, so that a reconstruction is the same alone and in company."""
    torch.manual_seed(0)
    block, x = down(1, 8), torch.randn(4, 1, 8, 8)
    assert torch.allclose(block(x)[:1], block(x[:1]), atol=1e-6)


@pytest.mark.parametrize(
    "x", [torch.zeros(1, 1, 4, 5), torch.zeros(1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.int64)]
)
def test_require_images_refuses_shape_and_dtype(x):
    with pytest.raises(ValueError, match=f"got {x.dtype} of shape"):
        require_images(x, (1, 4, 4))


def test_require_images_lets_pictures_pass():
    assert require_images(torch.zeros(0, 1, 4, 4, dtype=torch.float64), (1, 4, 4)) is None
