"""The book's figures: sheets of pictures, curves, maps of codes, and a slider that
needs no kernel.

A figure has an alt text and a caption that must reach JupyterLab, Colab and the
rendered page. The one form that all three carry is HTML with the picture inside, so
that is what `show` and `FrameSlider` make.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

Frame = Figure | Tensor
# Okabe and Ito's colours, which people with any colour vision tell apart; yellow, weak
# on white, comes last.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
# ten, none of them pale
CLASS_COLOURS = *PALETTE[:7], "#8A6A2F", "#6A3D9A", "#9A9A9A"
LINES = (
    "-",
    "--",
    "-.",
    ":",
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (9, 3)),
    (0, (2, 1)),
    (0, (4, 4)),
)
MARKERS = "os^Dv*Xp"

# an inch of a figure is 100 pixels of the page, drawn as 2 × 2 dots each for sharp
# screens
DPI, SHARPNESS = 100, 2
# a picture with noise of level 2 or so stays below it, the white of a picture in [0,
# 255] far above
LARGEST = 10.0

STYLE: Any = {
    "figure.dpi": DPI,
    "figure.figsize": (5.6, 3.6),
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.prop_cycle": cycler(color=PALETTE, linestyle=LINES),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E2E2E2",
    "lines.linewidth": 2,
    "legend.frameon": False,
}


def use_book_style() -> None:
    """Draw every figure that follows, your own included, in the style of the book."""
    mpl.rcParams.update(STYLE)


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


def curves(
    series: Mapping[str, tuple],
    xlabel: str,
    ylabel: str,
    *,
    logx: bool = False,
    logy: bool = False,
) -> Figure:
    """A line for each name: `series[name] = (x, y)` with x (n,) and y (n,), or (seeds,
    n), drawn as mean ± deviation.

    Lines differ in colour, dashes and markers. A NaN in y leaves a gap. Raises
    ValueError for other shapes, for no line or more than 8, and for numbers ≤ 0 on a
    logarithmic axis.
    """
    if not 1 <= len(series) <= len(PALETTE):
        raise ValueError(f"expected 1 to {len(PALETTE)} lines, got {len(series)}")
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.set(
        xlabel=xlabel,
        ylabel=ylabel,
        xscale="log" if logx else "linear",
        yscale="log" if logy else "linear",
    )
    lines = {name: points(name, x, y, logx, logy) for name, (x, y) in series.items()}
    for (name, (x, y)), colour, dashes, marker in zip(
        lines.items(), PALETTE, LINES, MARKERS, strict=False
    ):
        mean, every = y.mean(axis=0), math.ceil(len(x) / 12)
        axes.plot(
            x,
            mean,
            color=colour,
            linestyle=dashes,
            marker=marker,
            markevery=every,
            label=name,
        )
        if len(y) > 1:
            spread = y.std(axis=0, ddof=1)
            axes.fill_between(
                x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0
            )
    measured = np.unique(np.concatenate([x for x, _ in lines.values()]))
    if logx and len(measured) <= 10:
        axes.set_xticks(measured, [f"{x:,g}" for x in measured])
        axes.minorticks_off()
    if len(series) > 1:  # above the axes, where it hides nothing
        columns = max(1, 560 // (80 + 9 * room_for(series)[0]))
        figure.legend(loc="outside upper left", ncols=columns, handlelength=3)
    return figure


def points(
    name: str, x: Any, y: Any, logx: bool, logy: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What `curves` draws as the line `name`: x (n,) and y (seeds, n), checked."""
    x, y = to_numpy(x), np.atleast_2d(to_numpy(y))
    if x.ndim != 1 or y.ndim != 2 or y.shape[1] != len(x) or y.size == 0:
        raise ValueError(
            f"{name}: expected x (n,) and y (n,) or (seeds, n), got shapes "
            f"{x.shape} and {y.shape}"
        )
    if (logx and (x <= 0).any()) or (logy and (y <= 0).any()):
        lowest = f"x ≥ {np.nanmin(x):g}, y ≥ {np.nanmin(y):g}"
        raise ValueError(
            f"{name}: a logarithmic axis takes numbers above 0, got {lowest}"
        )
    return x, y


def latent_map(z: Tensor, labels: Tensor) -> Figure:
    """Codes z (N, 2) as points, coloured by labels (N,) of 0 to 9; each digit is also
    written at its codes' median.

    Raises ValueError for other shapes, labels out of range, and codes that are not
    finite.
    """
    codes, classes = to_numpy(z), to_numpy(labels)
    if (
        codes.ndim != 2
        or codes.shape[1] != 2
        or len(codes) == 0
        or classes.shape != codes.shape[:1]
    ):
        raise ValueError(
            "expected z of shape (N, 2) and labels of shape (N,), got "
            f"{codes.shape} and {classes.shape}"
        )
    if not np.issubdtype(
        classes.dtype, np.integer
    ) or not 0 <= classes.min() <= classes.max() < len(CLASS_COLOURS):
        raise ValueError(
            f"expected integer labels from 0 to 9, got {classes.dtype} "
            f"{classes.min()} to {classes.max()}"
        )
    if not np.isfinite(codes).all():
        raise ValueError("expected finite codes, got a NaN or an infinity")
    figure = Figure((5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.scatter(
        codes[:, 0], codes[:, 1], c=np.array(CLASS_COLOURS)[classes], s=7, linewidths=0
    )
    for label in np.unique(classes):
        x, y = np.median(codes[classes == label], axis=0)
        badge = {
            "boxstyle": "circle,pad=0.2",
            "facecolor": "white",
            "edgecolor": CLASS_COLOURS[label],
            "linewidth": 2,
        }
        axes.text(x, y, str(label), ha="center", va="center", weight="bold", bbox=badge)
    axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    return figure


def to_numpy(values: Any) -> np.ndarray:
    """A tensor, an array or a list of numbers as an array."""
    return (
        values.detach().cpu().numpy()
        if isinstance(values, Tensor)
        else np.asarray(values)
    )


def show(figure: Figure, alt: str, caption: str | None = None) -> None:
    """Display a figure with its alt text (what a reader who cannot see it should know)
    and its caption below.

    Raises ValueError for an empty alt text.
    """
    from IPython.display import display

    require_alt(alt)
    text = (
        '<figcaption style="max-width:44em;margin-top:.4em">'
        f"{escape(caption)}</figcaption>"
        if caption
        else ""
    )
    image = image_tag(to_png(figure), alt, 1 / SHARPNESS)
    display(
        {
            "text/html": f'<figure style="margin:0">{image}{text}</figure>',
            "text/plain": f"Figure: {alt}",
        },
        raw=True,
    )


def to_png(frame: Frame) -> bytes:
    """A figure, or a picture (C, H, W) in [-1, 1], as a PNG. Raises what `tile`
    raises.
    """
    image = (
        render(frame)
        if isinstance(frame, Figure)
        else Image.fromarray(tile(frame[None], columns=1))
    )
    png = io.BytesIO()
    image.save(png, format="png", compress_level=8)
    return png.getvalue()


def render(figure: Figure) -> Image.Image:
    """The figure's dots, opaque; a figure of pyplot's is closed, else a notebook shows
    it a second time.
    """
    plt.close(figure)
    figure.set_dpi(DPI * SHARPNESS)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def image_tag(png: bytes, alt: str, scale: float) -> str:
    """The picture as an <img>, `scale` pixels of the page for one of its own, narrower
    where the page is.
    """
    width, height = Image.open(io.BytesIO(png)).size
    size = f'width="{round(width * scale)}" height="{round(height * scale)}"'
    style = (
        "display:block;max-width:100%;height:auto"
        + ";image-rendering:pixelated" * (scale >= 1)
    )
    return f'<img src="{data_uri(png)}" alt="{escape(alt)}" {size} style="{style}">'


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def require_alt(alt: str) -> None:
    if not alt.strip():
        raise ValueError(
            "expected an alt text, got none: say what a reader who cannot see the "
            "figure should know"
        )


# What the slider's <input> does when it moves; no double quotes, for it stands between
# two.
SWAP = (
    "const slider=this.closest('.frame-slider'),"
    "label=JSON.parse(this.dataset.labels)[this.value];"
    "slider.querySelector('img').src=this.dataset.frames.split(' ')[this.value];"
    "slider.querySelector('output').textContent=label;"
    "this.setAttribute('aria-valuetext',label)"
)


class FrameSlider:
    """A slider that walks through pictures made beforehand, by mouse, touch or arrow
    keys: no kernel and no network.

    `frames` are what `to_png` takes, all of one size; `labels` say where each stands,
    `name` what is walked along. A pixel of a picture takes `scale` pixels of the page;
    a figure has its own size. Raises what `to_png` raises, and ValueError for no
    frames, frames of several sizes, labels that are not as many, and an empty alt text.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        labels: Iterable[object],
        name: str,
        alt: str,
        scale: int = 6,
    ):
        frames = list(frames)
        self.labels, self.name, self.alt = [str(label) for label in labels], name, alt
        require_alt(alt)
        require_as_many("labels", self.labels, "frames", len(frames))
        if not frames:
            raise ValueError("expected one frame or more, got none")
        self.pngs = [to_png(frame) for frame in frames]
        self.scale = 1 / SHARPNESS if isinstance(frames[0], Figure) else scale
        sizes = sorted({Image.open(io.BytesIO(png)).size for png in self.pngs})
        if len(sizes) > 1:
            raise ValueError(
                "expected frames of one size, got "
                f"{' and '.join(f'{w} × {h}' for w, h in sizes[:3])}"
            )

    def __repr__(self) -> str:
        return (
            f"FrameSlider({self.name}: {self.labels[0]} … {self.labels[-1]}, "
            f"{len(self.pngs)} frames)"
        )

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def image(self, i: int) -> str:
        return image_tag(self.pngs[i], self.alt, self.scale)

    def html(self) -> str:
        """The slider as a piece of HTML, complete in itself."""
        name, label, last = (
            escape(self.name),
            escape(self.labels[0]),
            len(self.pngs) - 1,
        )
        # without data-lm-suppress-shortcuts JupyterLab would take the arrow keys for
        # itself
        return (
            f'<div class="frame-slider">{self.image(0)}'
            '<label style="display:flex;gap:.7em;align-items:center;max-width:36em;'
            f'margin-top:.5em"><span>{name}</span>'
            f'<input type="range" min="0" max="{last}" value="0" autocomplete="off" '
            f'aria-label="{name}" aria-valuetext="{label}" style="flex:1" '
            'data-lm-suppress-shortcuts="true" '
            f'data-labels="{escape(json.dumps(self.labels))}" '
            f'data-frames="{" ".join(map(data_uri, self.pngs))}" '
            f'oninput="{SWAP}">'
            f'<output style="min-width:{max(map(len, self.labels))}ch">{label}'
            "</output></label></div>"
        )

    def widget(self) -> Any:
        """The same as a live ipywidget, which needs a kernel."""
        import ipywidgets

        picture = ipywidgets.HTML(self.image(0))
        options = list(zip(self.labels, range(len(self.labels)), strict=True))
        slider = ipywidgets.SelectionSlider(options=options, description=self.name)
        slider.observe(
            lambda change: picture.set_trait("value", self.image(change["new"])),
            "value",
        )
        return ipywidgets.VBox([picture, slider])
