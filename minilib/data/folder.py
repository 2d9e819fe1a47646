"""Your own pictures, from a folder."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from minilib.runtime import require_folder


def load(path: str | Path, size: int, channels: int = 3) -> Tensor:
    """The pictures in a folder, by order of their names: x (N, channels, size, size),
    float32 in [-1, 1].

    Each is turned upright, laid on white where it is transparent, cropped to its middle
    square and resized. Of an animation the first frame is taken. With `channels=1` they
    become grey. Every format that Pillow reads is one; files that are none are left
    out, with a warning that names them (but for hidden ones), and folders within the
    folder are not entered. Raises FileNotFoundError for a missing folder or one without
    pictures, NotADirectoryError for a file, ValueError for a picture that cannot be
    read (naming it), for a size below 1, and for channels other than 1 and 3.
    """
    if channels not in (1, 3):
        raise ValueError(
            f"expected channels of 1 (grey) or 3 (colour), got {channels!r}"
        )
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"expected a size of 1 pixel or more, got {size!r}")
    folder = Path(path)
    require_folder(folder, "the one that holds your pictures")
    files = sorted(file for file in folder.iterdir() if file.is_file())
    pictures = [file for file in files if is_picture(file)]
    others = [f.name for f in files if f not in pictures and f.name[0] != "."]
    if not pictures:
        raise FileNotFoundError(
            f"{folder} holds no picture{', but ' * bool(others)}{', '.join(others)}: "
            "put some there that Pillow reads, such as .png, .jpg, .tif or .webp"
        )
    if others:
        warnings.warn(
            f"left out of {folder}, as Pillow reads no picture there: "
            f"{', '.join(others)}",
            stacklevel=2,
        )
    return torch.stack([read_picture(file, size, channels) for file in pictures])


def is_picture(file: Path) -> bool:
    """Whether a file is a picture by its ending, however damaged, or by its content."""
    if file.name.startswith("."):
        return False
    kind = Image.registered_extensions().get(file.suffix.lower())
    if kind in Image.OPEN:
        return True
    try:
        with Image.open(file):
            return True
    except UnidentifiedImageError:
        return False


def read_picture(file: str | Path, size: int, channels: int) -> Tensor:
    """One picture as (channels, size, size) in [-1, 1]."""
    try:
        with Image.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
    except Exception as error:  # damage makes Pillow raise errors of half a dozen kinds
        raise ValueError(
            f"{file} cannot be read as a picture ({error}): mend it or take it out"
        ) from error
    if upright.mode.startswith("I"):  # greys of 16 bits, which Pillow would clip
        upright = Image.fromarray((np.asarray(upright) // 257).astype(np.uint8))
    layer = upright.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    side = min(flat.size)
    left, top = (flat.width - side) // 2, (flat.height - side) // 2
    square = flat.crop((left, top, left + side, top + side)).convert(
        "L" if channels == 1 else "RGB"
    )
    resized = square.resize((size, size), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(resized, dtype=np.float32)).reshape(
        size, size, channels
    )
    return pixels.permute(2, 0, 1).contiguous() / 127.5 - 1
