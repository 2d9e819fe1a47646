"""Handwritten digits: MNIST pictures that ship with the library, or any data set of its
kind from a folder.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minilib.data.idx import read_idx
from minilib.data.shipped import read_shipped
from minilib.runtime import require_folder

EMBEDDED = {  # file and SHA-256
    "train": (
        "mnist_train_20k.npz",
        "9cd097403d09e9c4754a181aaf24f36f175ae65ff20d36598506b78fddbd796d",
    ),
    "test": (
        "mnist_test_10k.npz",
        "3ba302235efdc3e7e4e84db9ce6a6d6cbc9dd1162d4e79dd0b6a606afc745423",
    ),
}
PUBLISHED = {"train": "train", "test": "t10k"}


def load(
    split: str = "train", folder: str | Path | None = None
) -> tuple[Tensor, Tensor]:
    """Pictures x (N, 1, H, H), float32 in [-1, 1] with paper at -1 and ink at 1, and
    labels y (N,), int64.

    Without `folder`: 20,000 training or 10,000 test digits of MNIST, checked by
    SHA-256. With it: the IDX files in that folder under their published names
    (train-images-idx3-ubyte, t10k-labels-idx1-ubyte, …, also with .gz), so that the
    full MNIST, Fashion-MNIST or KMNIST takes the digits' place. Raises ValueError for
    an unknown split or a damaged file, FileNotFoundError for a missing folder or
    file, NotADirectoryError for a file in a folder's place.
    """
    if split not in EMBEDDED:
        raise ValueError(
            f"unknown split {split!r}: use {' or '.join(map(repr, EMBEDDED))}"
        )
    images, labels = (
        read_embedded(split) if folder is None else read_folder(split, Path(folder))
    )
    x = torch.from_numpy(images).unsqueeze(1).float()
    return x.div_(127.5).sub_(1), torch.from_numpy(labels).long()


def read_embedded(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The pictures (N, 28, 28) and labels (N,) that ship with the library, uint8."""
    with np.load(
        io.BytesIO(read_shipped(*EMBEDDED[split])), allow_pickle=False
    ) as arrays:
        return arrays["x"], arrays["y"]


def read_folder(split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pictures (N, H, H) and labels (N,) of that split in a folder of IDX files,
    uint8.
    """
    require_folder(folder, "the one that holds the IDX files")
    images_path = find(folder, f"{PUBLISHED[split]}-images", 3)
    labels_path = find(folder, f"{PUBLISHED[split]}-labels", 1)
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.size == 0 or images.shape[1] != images.shape[2]:
        raise ValueError(
            f"{images_path}: expected N ≥ 1 square pictures (N, H, H), got shape "
            f"{images.shape}"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{labels_path}: expected a label for each of the {len(images)} "
            f"pictures of {images_path.name}, "
            f"got shape {labels.shape}: take both files from one source"
        )
    return images, labels


def find(folder: Path, stem: str, dimensions: int) -> Path:
    """The file of that stem under any of its published spellings. Raises
    FileNotFoundError that lists them.
    """
    names = [
        f"{stem}{mark}idx{dimensions}-ubyte{end}"
        for mark in "-."
        for end in ("", ".gz")
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{folder} holds none of {', '.join(names)}: put one there, or name "
        "another folder"
    )
