import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minilib.data import folder

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def thirds(*colours, size=30):
    """A picture of vertical stripes, each `size` wide and high."""
    image = Image.new("RGB", (size * len(colours), size))
    for i, colour in enumerate(colours):
        image.paste(colour, (i * size, 0, (i + 1) * size, size))
    return image


def colour(x):
    return [round(v) for v in ((x + 1) * 127.5).mean(dim=(-2, -1)).tolist()]


@settings(max_examples=25)
@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    size=st.integers(1, 33),
    channels=st.sampled_from([1, 3]),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
)
def test_any_picture_becomes_a_square_in_range(
    tmp_path_factory, width, height, size, channels, mode
):
    path = tmp_path_factory.mktemp("pictures")
    Image.new(mode, (width, height)).save(path / "a.png")
    x = folder.load(path, size, channels)
    assert x.shape == (1, channels, size, size)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    assert x.abs().max() <= 1


@pytest.mark.parametrize(
    "suffix",
    [".png", ".jpg", ".JPEG", ".gif", ".bmp", ".webp", ".tif", ".TIFF", ".ppm", ".ico"],
)
def test_each_format_is_read(tmp_path, suffix):
    Image.new("RGB", (12, 12), (255, 0, 0)).save(tmp_path / f"a{suffix}")
    assert colour(folder.load(tmp_path, 8)[0]) == pytest.approx([255, 0, 0], abs=3)


def test_pictures_come_by_order_of_their_names_and_other_files_stay_out(tmp_path):
    for name, value in [("b.png", GREEN), ("a.png", RED), ("c.png", BLUE)]:
        thirds(value).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".DS_Store").write_text("hidden")
    (tmp_path / "inner.png").mkdir()
    with pytest.warns(
        UserWarning, match=r"left out of .* no picture there: notes.txt$"
    ):
        x = folder.load(str(tmp_path), 4)
    assert [colour(picture) for picture in x] == [list(RED), list(GREEN), list(BLUE)]


def test_a_picture_is_known_by_its_content_too(tmp_path):
    for name in ("none", "odd.picture"):
        thirds(RED).save(tmp_path / name, format="tiff")
    assert folder.load(tmp_path, 4).shape == (2, 3, 4, 4)


def test_the_middle_square_is_kept(tmp_path):
    thirds(RED, GREEN, BLUE).save(tmp_path / "wide.png")
    thirds(RED, GREEN, BLUE).rotate(90, expand=True).save(tmp_path / "tall.png")
    assert [colour(x) for x in folder.load(tmp_path, 10)] == [list(GREEN)] * 2


def test_a_photo_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = (
        6  # the camera was held so that the picture must be turned 90° clockwise
    )
    thirds(RED, BLUE).resize((60, 60)).save(tmp_path / "a.png", exif=exif)
    x = folder.load(tmp_path, 60)[0]
    assert colour(x[:, :25]) == list(RED)
    assert colour(x[:, 35:]) == list(BLUE)


def test_what_is_transparent_lies_on_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "b.png")
    clear, half = folder.load(tmp_path, 8, channels=1)
    assert torch.equal(clear, torch.ones(1, 8, 8))
    assert half.mean() == pytest.approx(0, abs=0.01)


def test_sixteen_bits_keep_their_greys(tmp_path):
    Image.fromarray(np.array([[0, 32896], [65535, 16448]], np.uint16)).save(
        tmp_path / "a.png"
    )
    grey = (folder.load(tmp_path, 2, channels=1)[0, 0] + 1) * 127.5
    assert grey.round().tolist() == [[0, 128], [255, 64]]


def test_values_are_exact_where_nothing_is_resized(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    back = ((folder.load(tmp_path, 9)[0] + 1) * 127.5).round().byte()
    assert np.array_equal(back.permute(1, 2, 0).numpy(), pixels)


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        folder.load(tmp_path / "nowhere", 8)
    with pytest.raises(NotADirectoryError, match=r"py is a file, .* your pictures$"):
        folder.load(__file__, 8)
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(
        FileNotFoundError,
        match=r"holds no picture, but notes\.txt: put some there that Pillow reads",
    ):
        folder.load(tmp_path, 8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".webp"])
def test_a_damaged_picture_is_named_or_read_whole(tmp_path, suffix):
    """Whatever the damage, there is a ValueError with the file's name, or (where no
    format could tell) a picture.
    """
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    path, draw = tmp_path / f"odd{suffix}", random.Random(0)
    Image.fromarray(noise).save(path)
    content, refused = path.read_bytes(), 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(bytes(damaged[: draw.randrange(len(damaged))]))
        try:
            assert folder.load(tmp_path, 8).shape == (1, 3, 8, 8)
        except ValueError as error:
            assert f"odd{suffix} cannot be read as a picture" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", None])
def test_size_must_be_a_count_of_pixels(tmp_path, size):
    with pytest.raises(ValueError, match=r"expected a size of 1 pixel or more, got"):
        folder.load(tmp_path, size)


@pytest.mark.parametrize("channels", [0, 2, 4, "RGB"])
def test_channels_are_one_or_three(tmp_path, channels):
    with pytest.raises(
        ValueError, match=r"expected channels of 1 \(grey\) or 3 \(colour\), got"
    ):
        folder.load(tmp_path, 8, channels)
