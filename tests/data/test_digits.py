import gzip
import hashlib
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from minilib.data import digits
from minilib.data import shipped as shipped_files


def idx(array: np.ndarray) -> bytes:
    """A whole IDX file, written from the format's definition."""
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


# ---------- a folder of IDX files ----------


def fill(
    folder, split="train", n=3, size=5, mark="-", end="", images=None, labels=None
):
    prefix, pack = (
        {"train": "train", "test": "t10k"}[split],
        gzip.compress if end else bytes,
    )
    images = (
        np.arange(n * size * size, dtype=np.uint8).reshape(n, size, size)
        if images is None
        else images
    )
    labels = np.arange(n, dtype=np.uint8) if labels is None else labels
    (folder / f"{prefix}-images{mark}idx3-ubyte{end}").write_bytes(pack(idx(images)))
    (folder / f"{prefix}-labels{mark}idx1-ubyte{end}").write_bytes(pack(idx(labels)))
    return images, labels


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_folder_under_each_published_name(tmp_path, split, mark, end):
    images, labels = fill(tmp_path, split, size=7, mark=mark, end=end)
    x, y = digits.load(split, folder=str(tmp_path))
    assert x.shape == (3, 1, 7, 7)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert torch.equal(y, torch.from_numpy(labels).long())
    assert torch.allclose(
        (x[:, 0] + 1) * 127.5, torch.from_numpy(images).float(), atol=1e-4
    )


def test_black_and_white_are_the_ends_of_the_range(tmp_path):
    fill(tmp_path, n=1, images=np.array([[[0, 255], [255, 0]]], np.uint8))
    assert digits.load(folder=tmp_path)[0].tolist() == [[[[-1, 1], [1, -1]]]]


def test_missing_folder_and_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        digits.load(folder=tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"py is a file, .* the IDX files$"):
        digits.load(folder=__file__)
    fill(tmp_path, "train")
    with pytest.raises(
        FileNotFoundError,
        match=r"t10k-images-idx3-ubyte, .*t10k-images\.idx3-ubyte\.gz",
    ):
        digits.load("test", folder=tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(
        FileNotFoundError, match="holds none of train-labels-idx1-ubyte"
    ):
        digits.load("train", folder=tmp_path)


@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 4, 4), (3, 0, 0), (9,), (3, 3)])
def test_images_must_be_square_pictures(tmp_path, shape):
    fill(tmp_path, images=np.zeros(shape, np.uint8))
    with pytest.raises(
        ValueError,
        match=r"train-images-idx3-ubyte: expected N ≥ 1 square pictures .* got shape",
    ):
        digits.load(folder=tmp_path)


@pytest.mark.parametrize("shape", [(2,), (4,), (0,), (3, 1)])
def test_labels_must_be_as_many_as_pictures(tmp_path, shape):
    fill(tmp_path, labels=np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="expected a label for each of the 3 pictures"):
        digits.load(folder=tmp_path)


# ---------- the digits that ship ----------


@pytest.mark.parametrize(("split", "count"), [("train", 20_000), ("test", 10_000)])
def test_the_digits_that_ship(split, count):
    x, y = digits.load(split)
    assert x.shape == (count, 1, 28, 28)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (-1, 1)
    assert y.dtype == torch.int64
    assert len(y) == count
    assert sorted(y.unique().tolist()) == list(range(10))
    # paper at the edge, some ink
    assert x[:, :, 0].mean() < -0.99 < -0.8 < x.mean() < -0.6


def test_training_digits_are_balanced_and_differ_from_the_test_digits():
    x, y = digits.load("train")
    held_out, _ = digits.load("test")
    assert y.bincount().tolist() == [2000] * 10
    seen = {picture.numpy().tobytes() for picture in x}
    assert sum(picture.numpy().tobytes() in seen for picture in held_out) == 0


def test_the_first_test_digits_are_mnists():
    assert digits.load("test")[1][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize("split", ["Train", "validation", ""])
def test_unknown_split_lists_the_known_ones(split):
    with pytest.raises(ValueError, match="use 'train' or 'test'"):
        digits.load(split)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of the shipped test digits, which a test may damage."""
    path = tmp_path / "mnist_test_10k.npz"
    path.write_bytes((shipped_files.HERE / path.name).read_bytes())
    monkeypatch.setattr(shipped_files, "HERE", tmp_path)
    return path


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:5000] + b"?" + b[5001:]]
)
def test_a_damaged_file_is_refused(shipped, damage):
    shipped.write_bytes(damage(shipped.read_bytes()))
    with pytest.raises(
        ValueError,
        match=r"mnist_test_10k\.npz is damaged: expected SHA-256 3ba302.*git checkout",
    ):
        digits.load("test")


def test_a_missing_file_is_named(shipped):
    shipped.unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"mnist_test_10k\.npz ships with minilib, and is missing: install",
    ):
        digits.load("test")


def test_nothing_is_unpickled_even_with_the_right_hash(shipped, monkeypatch):
    np.savez(shipped, x=np.array([{}], dtype=object), y=np.zeros(1))
    monkeypatch.setitem(
        digits.EMBEDDED,
        "test",
        (shipped.name, hashlib.sha256(shipped.read_bytes()).hexdigest()),
    )
    with pytest.raises(ValueError, match="allow_pickle=False"):
        digits.load("test")


def test_importing_reads_no_file_and_no_network():
    code = (
        "import torch, PIL.Image, PIL.ImageOps, gzip, sys; opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append((event, str(args[0]))) "
        "if event in ('open', 'socket.connect') and not "
        "str(args[0]).endswith(('.py', '.pyc')) else None)\n"
        "import minilib.data.digits, minilib.data.folder\n"
        "assert not [o for o in opened if 'socket' in o[0] or "
        "o[1].endswith('.npz')], opened"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
