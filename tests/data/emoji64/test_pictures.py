"""The pictures of the grid, at two sizes and on any background."""

import pytest
import torch

from minilib.data.emoji64.captions import captions
from minilib.data.emoji64.pictures import SHEETS, alpha, pictures
from minilib.data.emoji64.styles import NAMES

every_style = pytest.mark.parametrize("style", NAMES)
NAVY = torch.tensor([-1, -1, 0.0]).reshape(3, 1, 1)


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
    assert (x.flatten(1).std(dim=1) > 0.05).all()  # nothing blank
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
def test_alpha_tells_what_the_emoji_covers(grid, style):
    covered = alpha(style)
    assert covered.shape == (935, 1, 64, 64)
    assert set((covered.unique() * 15).round().tolist()) == set(range(16))
    # where it is clear the sheet is white; its 256 colours may be off a little
    clear = (covered == 0).expand(-1, 3, -1, -1)
    assert (1 - grid[style][clear]).mean() < 0.005
    assert torch.equal(covered[:, :, 0, 0] == 0, covered[:, :, 0, 0] == 0)


@every_style
def test_another_background_shows_where_the_emoji_is_clear(grid, style):
    x, covered = pictures(style, background=NAVY), alpha(style)
    full, clear = (covered == 1).expand_as(x), (covered == 0).expand_as(x)
    assert torch.equal(x[full], grid[style][full])
    off = (x - NAVY)[clear]
    assert off.abs().mean() < 0.005
    half = 0.5 * (grid[style] + 1 + NAVY - 1)  # never what a seam shows by itself
    assert x.min() >= -1
    assert x.max() <= 1
    assert half.shape == x.shape
    assert torch.equal(pictures(style, background=torch.ones(1)), grid[style])


def test_a_background_may_differ_from_picture_to_picture():
    behind = torch.linspace(-1, 1, 935).reshape(-1, 1, 1, 1).expand(-1, 3, 64, 64)
    x = pictures("fluent", background=behind)
    corner = alpha("fluent")[:, 0, 0, 0] == 0
    assert corner.sum() > 800
    assert torch.allclose(x[corner, 0, 0, 0], behind[corner, 0, 0, 0], atol=0.01)
    small = pictures("fluent", 32, background=behind)
    assert torch.allclose(small[:, :, 8, 8], x[:, :, 16:18, 16:18].mean(dim=(2, 3)))


def test_no_file_is_another_style():
    sums = [sha for pair in SHEETS.values() for sha in pair]
    assert len(set(sums)) == 12


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
