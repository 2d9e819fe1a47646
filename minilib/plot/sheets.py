"""Sheets of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minilib.plot.style import DPI

# a picture with noise of level 2 or so stays below it, the white of a picture in [0,
# 255] far above
LARGEST = 10.0


def to_uint8(x: Tensor) -> np.ndarray:
    """Pictures (B, C, H, W) in [-1, 1] as bytes (B, H, W, C). What lies a little
    outside, as noise does, is clipped.

    Raises ValueError for another shape, for numbers that are not floating-point or not
    finite, and for a range that looks like [0, 255].
    """
    x = torch.as_tensor(x).detach().cpu()
    if (
        x.ndim != 4
        or x.shape[1] not in (1, 3)
        or x.numel() == 0
        or not x.is_floating_point()
    ):
        wanted = (
            "floating-point pictures of shape (B, C, H, W), C being 1 or 3 and none of "
            "them 0"
        )
        raise ValueError(f"expected {wanted}, got {x.dtype} of shape {tuple(x.shape)}")
    low, high = x.min().item(), x.max().item()  # both are NaN if any number is
    if not -LARGEST <= low <= high <= LARGEST:
        raise ValueError(
            f"expected pictures in [-1, 1], got {low:g} to {high:g}. From bytes it "
            "is x / 127.5 - 1"
        )
    return (
        ((x.float().clamp(-1, 1) + 1) * 127.5)
        .round()
        .byte()
        .permute(0, 2, 3, 1)
        .numpy()
    )


def tile(x: Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """Pictures (B, C, H, W) in [-1, 1], row by row on one sheet of bytes: (height,
    width), or (height, width, 3).

    They stand `gap` white pixels apart. Raises what `to_uint8` raises, and ValueError
    for fewer than 1 column.
    """
    pictures = to_uint8(x)
    _, height, width, channels = pictures.shape
    sheet = lay_out(pictures, columns, height + gap, width + gap)[
        : -gap or None, : -gap or None
    ]
    return sheet[..., 0] if channels == 1 else sheet


def lay_out(pictures: np.ndarray, columns: int, step_y: int, step_x: int) -> np.ndarray:
    """Pictures (B, H, W, C) at every `step_y` and `step_x` of a white sheet (rows ·
    step_y, columns · step_x, C).
    """
    if columns < 1:
        raise ValueError(f"expected 1 column or more, got {columns}")
    count, height, width, channels = pictures.shape
    columns = min(columns, count)
    sheet = np.full(
        (math.ceil(count / columns) * step_y, columns * step_x, channels), 255, np.uint8
    )
    for i, picture in enumerate(pictures):
        top, left = i // columns * step_y, i % columns * step_x
        sheet[top : top + height, left : left + width] = picture
    return sheet


def image_grid(
    x: Tensor,
    *,
    columns: int = 8,
    captions: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    scale: int | None = None,
) -> Figure:
    """Pictures (B, C, H, W) in [-1, 1], row by row, each over its caption, each row
    behind its label.

    `scale` is how many pixels of the page one of a picture takes; left out, as many, 1
    to 4, as let a row of pictures fit into 560 pixels, the gaps not counted. Raises
    what `tile` raises, and ValueError unless captions are as many as pictures and
    labels as many as rows.
    """
    pictures = to_uint8(x)
    count, height, width, _ = pictures.shape
    columns = min(columns, count)
    scale = scale or max(1, min(4, 560 // max(1, columns * width)))
    height, width = height * scale, width * scale
    (_, lines), (letters, _) = room_for(captions or ()), room_for(row_labels or ())
    step_y, step_x = height + 4 + 18 * lines, width + 4
    sheet = lay_out(
        pictures.repeat(scale, axis=1).repeat(scale, axis=2), columns, step_y, step_x
    )
    require_as_many("captions", captions, "pictures", count)
    require_as_many("row labels", row_labels, "rows", len(sheet) // step_y)
    left = 9 * letters
    figure, axes = sheet_axes(sheet, left)
    for i, caption in enumerate(captions or ()):
        x0, y0 = left + i % columns * step_x, i // columns * step_y
        axes.text(
            x0 + width / 2, y0 + height + 2, caption, ha="center", va="top", size=10
        )
    for row, label in enumerate(row_labels or ()):
        axes.text(
            left - 8, row * step_y + height / 2, label, ha="right", va="center", size=10
        )
    return figure


def sheet_axes(sheet: np.ndarray, left: int) -> tuple[Figure, Axes]:
    """A figure of the sheet behind a left margin in pixels of the page: one pixel of
    the sheet is one of these.
    """
    height, width = sheet.shape[0], left + sheet.shape[1]
    # it rounds down
    figure = Figure(
        ((width + 0.01) / DPI, (height + 0.01) / DPI), dpi=DPI, facecolor="white"
    )
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    rgb, extent = (
        np.broadcast_to(sheet, (*sheet.shape[:2], 3)),
        (left, width, height, 0),
    )
    axes.imshow(rgb, extent=extent, interpolation="nearest", aspect="auto")
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure, axes


def room_for(texts: Iterable[str]) -> tuple[int, int]:
    """The letters of the longest line in any of the texts, and one for space; the lines
    of the longest text.
    """
    lines = [text.split("\n") for text in texts]
    return max((len(line) + 1 for text in lines for line in text), default=0), max(
        map(len, lines), default=0
    )


def require_as_many(
    what: str, given: Sequence[Any] | None, of: str, count: int
) -> None:
    if given is not None and len(given) != count:
        raise ValueError(f"expected as many {what} as {of}, {count}, got {len(given)}")
