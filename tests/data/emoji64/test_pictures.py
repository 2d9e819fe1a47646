"""The pictures of the grid, at two sizes and on any background."""

import pytest
import torch

from minilib.data.emoji64.captions import captions
from minilib.data.emoji64.pictures import alpha, pictures
from minilib.data.emoji64.styles import NAMES

every_style = pytest.mark.parametrize("style", NAMES)


@pytest.fixture(scope="module")
def grid():
    return {style: pictures(style) for style in NAMES}


@every_style
def test_every_concept_has_a_picture(grid, style):
    x = grid[style]
    assert x.shape == (935, 3, 64, 64)
    assert x.dtype == torch.float32
    assert x.min() >= -1
    assert x.max() == 1
    # nothing blank, though a white square nearly is
    assert x.flatten(1).amin(dim=1).max() < 0.9
    assert len({row.numpy().tobytes() for row in x}) == 935


@every_style
def test_picture_and_name_belong_together(grid, style):
    names = [c.english for c in captions()]
    for name, channel in (("red heart", 0), ("green heart", 1), ("blue heart", 2)):
        middle = grid[style][names.index(name), :, 24:36, 24:40].mean(dim=(1, 2))
        assert int(middle.argmax()) == channel, name
    dark, light = names.index("black large square"), names.index("white large square")
    assert grid[style][dark].mean() < grid[style][light].mean() - 0.5


def test_a_pixel_at_32_is_the_mean_of_four(grid):
    small, x = pictures("twemoji", 32), grid["twemoji"]
    assert small.shape == (935, 3, 32, 32)
    means = (
        x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]
    ) / 4
    assert torch.allclose(small, means, atol=1e-6)


@every_style
def test_the_sheet_is_white_where_the_emoji_is_clear(grid, style):
    covered = alpha(style)
    assert covered.shape == (935, 1, 64, 64)
    assert (covered.unique() * 15).tolist() == pytest.approx(list(range(16)))
    outside = covered == 0
    assert 0.3 < outside.float().mean() < 0.6
    assert ((1 - grid[style]) * outside).max() < 0.12  # of 256 colours


def test_another_background_shows_where_the_emoji_is_clear(grid):
    navy, covered = torch.tensor([-1, -1, 0.0]).reshape(3, 1, 1), alpha("emojione")
    x, white = pictures("emojione", background=navy), grid["emojione"]
    assert torch.equal(x * (covered == 1), white * (covered == 1))
    assert ((x - navy) * (covered == 0)).abs().max() < 0.06
    seam = covered == covered.unique()[8]  # 8/15
    mixed = (white - 7 / 15 + 7 / 15 * navy).clamp(-1, 1)
    assert ((x - mixed) * seam).abs().max() < 1e-5
    assert x.min() >= -1
    assert x.max() <= 1
    on_white = pictures("emojione", background=torch.ones(1))
    assert torch.equal(on_white, white)


def test_a_background_may_differ_from_picture_to_picture():
    behind = torch.linspace(-1, 1, 935).reshape(-1, 1, 1, 1)
    x = pictures("fluent", 32, background=behind)
    corner = (alpha("fluent")[:, 0, :2, :2] == 0).all(dim=2).all(dim=1)
    assert corner.sum() > 800
    assert torch.allclose(x[corner, 0, 0, 0], behind[corner, 0, 0, 0], atol=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pictures("apple"), "unknown style 'apple'"),
        (lambda: alpha("apple"), "unknown style 'apple'"),
        (lambda: pictures("noto", 16), "size 64 or 32, got 16"),
        (
            lambda: pictures("noto", background=torch.zeros(3)),
            r"broadcasts to \(935, 3, 64, 64\), such as .*, got one of shape \(3,\)",
        ),
        (
            lambda: pictures("noto", 32, background=torch.zeros(3, 32, 32)),
            r"got one of shape \(3, 32, 32\)",
        ),
        (
            lambda: pictures("noto", background=torch.zeros(1, 1, 1, 1, 1)),
            r"got one of shape \(1, 1, 1, 1, 1\)",
        ),
        (
            lambda: pictures("noto", background=torch.full((3, 1, 1), 255.0)),
            r"a background in \[-1, 1\] .*, up to 255",
        ),
    ],
)
def test_what_there_is_not_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
