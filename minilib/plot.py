"""Figures in one style: picture grids, curves, latent maps, and a slider that works without a kernel."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

# Okabe and Ito's colours, which stay apart under every common form of colour blindness, those that read best first.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D00"]
INK = "#1b1f24"
DPI = 160


def use_book_style() -> None:
    """Set matplotlib's defaults to the book's: white panel, thin grid, colours that survive colour blindness."""
    mpl.rcParams.update(
        {
            "axes.prop_cycle": mpl.cycler(color=PALETTE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.edgecolor": "#6b7280",
            "axes.labelcolor": INK,
            "axes.titlesize": 11,
            "grid.color": "#e3e6ea",
            "figure.figsize": (6.4, 3.4),
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 10.5,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "text.color": INK,
        }
    )


def to_uint8(x: Tensor) -> np.ndarray:
    """Pictures x (B, C, H, W) in [-1, 1], C = 1 or 3, as bytes (B, H, W, 3). Values slightly outside are clipped.

    Raises ValueError for another shape or dtype, for values that are not finite, and for pictures that are plainly of
    another range, such as [0, 255].
    """
    if not torch.is_tensor(x) or x.ndim != 4 or x.shape[1] not in (1, 3) or not x.is_floating_point() or x.numel() == 0:
        got = f"{x.dtype} of shape {tuple(x.shape)}" if torch.is_tensor(x) else type(x).__name__
        raise ValueError(f"expected floating-point pictures (B, 1 or 3, H, W) in [-1, 1], got {got}")
    x = x.detach().cpu().float()
    if not x.isfinite().all() or x.abs().max() > 4:
        raise ValueError(f"expected pictures in [-1, 1], got values from {x.min():.3g} to {x.max():.3g}: rescale them")
    scaled = ((x.clamp(-1, 1) + 1) * 127.5).round().byte()
    return scaled.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def tile(x: Tensor, columns: int = 8, gap: int = 2) -> np.ndarray:
    """Pictures x (B, C, H, W) in [-1, 1] as one picture, row by row, white between them: bytes (rows, width, 3)."""
    if columns < 1:
        raise ValueError(f"expected columns ≥ 1, got {columns}")
    pictures = to_uint8(x)
    B, H, W, _ = pictures.shape
    columns = min(columns, B)
    rows = -(-B // columns)
    sheet = np.full((rows * (H + gap) - gap, columns * (W + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (H + gap), i % columns * (W + gap)
        sheet[top : top + H, left : left + W] = picture
    return sheet


def image_grid(x: Tensor, columns: int = 10, captions: Sequence[str] = (), rows: Sequence[str] = ()) -> Figure:
    """A figure of pictures x (B, C, H, W) in [-1, 1]; `captions` stand under the pictures, `rows` left of the rows."""
    pictures = to_uint8(x)
    columns = min(columns, len(pictures))
    lines = -(-len(pictures) // columns)
    if (captions and len(captions) != len(pictures)) or (rows and len(rows) != lines):
        raise ValueError(
            f"{len(pictures)} pictures in {lines} rows, got {len(captions)} captions, {len(rows)} row labels"
        )
    cell = 6.6 / max(columns, 6)
    size = (columns * cell + (1.1 if rows else 0), lines * (cell + (0.22 if captions else 0)))
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    for i, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[], frame_on=False)
        if i < len(pictures):
            ax.imshow(pictures[i], interpolation="nearest")
            ax.set_xlabel(captions[i] if captions else "", fontsize=9, labelpad=2)
    for label, ax in zip(rows, axes[:, 0], strict=False):
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
    return figure


def curves(
    series: Mapping[str, tuple[Any, Any]], xlabel: str, ylabel: str, *, logx: bool = False, logy: bool = False
) -> Figure:
    """One line a name of `series`: (x (n,), y (n,)), or y (seeds, n) for the median and a band from lowest to highest."""
    figure, ax = plt.subplots()
    styles, markers = ["-", "--", "-.", ":"], "os^Dv"
    for i, (name, (x, y)) in enumerate(series.items()):
        x, y = np.asarray(x, float), np.atleast_2d(np.asarray(y, float))
        if y.shape[1:] != x.shape:
            raise ValueError(f"{name}: expected y of shape ({len(x)},) or (seeds, {len(x)}), got {y.shape}")
        marker = markers[i % len(markers)] if len(x) <= 12 else None
        (line,) = ax.plot(x, np.median(y, axis=0), styles[i % len(styles)], marker=marker, label=name)
        if len(y) > 1:
            ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=line.get_color(), alpha=0.18, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if logx else "linear", yscale="log" if logy else "linear")
    if len(series) > 1:
        ax.legend()
    return figure


def smooth(values: Tensor, window: int = 25) -> Tensor:
    """The running mean of values (n,) over up to `window` of them, for noisy training losses: (n,)."""
    total = torch.cat([torch.zeros(1), values.double().cumsum(0)])
    ends = torch.arange(1, len(values) + 1)
    starts = (ends - window).clamp(min=0)
    return (total[ends] - total[starts]) / (ends - starts)


def latent_map(z: Tensor, labels: Tensor) -> Figure:
    """Codes z (N, 2) as dots coloured by labels (N,), with each label's number written at its dots' median."""
    if z.ndim != 2 or z.shape[1] != 2 or labels.shape != z.shape[:1]:
        raise ValueError(f"expected z (N, 2) and labels (N,), got {tuple(z.shape)} and {tuple(labels.shape)}")
    figure, ax = plt.subplots(figsize=(6.4, 5.4))
    colours = [*PALETTE, "#9a9a9a", "#7b3294"]
    for label in labels.unique().tolist():
        dots = z[labels == label].cpu()
        ax.scatter(dots[:, 0], dots[:, 1], s=5, color=colours[label % len(colours)], alpha=0.55, linewidths=0)
    for label in labels.unique().tolist():
        a, b = z[labels == label].median(dim=0).values.tolist()
        badge = {"boxstyle": "circle,pad=0.18", "facecolor": "white", "edgecolor": colours[label % len(colours)]}
        ax.text(a, b, str(label), ha="center", va="center", fontsize=11, weight="bold", bbox=badge)
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return figure


def png(frame: Figure | Tensor, scale: int = 1, colours: int = 64) -> bytes:
    """A figure, or a picture (C, H, W) in [-1, 1] enlarged `scale` times, as a PNG of few colours. Closes the figure."""
    if isinstance(frame, Figure):
        raw = io.BytesIO()
        frame.savefig(raw, format="png", dpi=DPI)
        plt.close(frame)
        image = Image.open(raw).convert("RGB")
    else:
        image = Image.fromarray(to_uint8(frame[None])[0])
        image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    out = io.BytesIO()
    image.quantize(colours, dither=Image.Dither.NONE).save(out, format="png", optimize=True)
    return out.getvalue()


def data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


class Shown:
    """A figure with alternative text and caption, as HTML that the book's page, JupyterLab and Colab all show."""

    def __init__(self, content: bytes, alt: str, caption: str, width: int):
        self.content, self.alt, self.caption, self.width = content, alt, caption, width

    def _repr_html_(self) -> str:
        source, alt = data_uri(self.content), html.escape(self.alt)
        img = f'<img src="{source}" alt="{alt}" width="{self.width}" style="max-width:100%">'
        return f'<figure class="book-figure">{img}<figcaption>{html.escape(self.caption)}</figcaption></figure>'

    def __repr__(self) -> str:
        return f"figure: {self.caption}"


def show(figure: Figure, alt: str, caption: str) -> Shown:
    """The figure as the last value of a cell: with a caption, and `alt` for those who cannot see it. Closes it."""
    if not alt.strip() or not caption.strip():
        raise ValueError("a figure needs alt text and a caption: say what it shows, and what to see in it")
    width = round(figure.get_size_inches()[0] * 100)
    return Shown(png(figure), alt, caption, width)


SWAP = (
    "var d=this.dataset,r=this.closest('.frame-slider');"
    "r.querySelector('img').src='data:image/png;base64,'+d.frames.split('|')[this.value];"
    "r.querySelector('output').textContent=JSON.parse(d.labels)[this.value];"
)


class FrameSlider:
    """Pictures behind a slider. All frames are in the page, so it works on a static page and without a network.

    `frames` are figures or pictures (C, H, W) in [-1, 1], which `scale` enlarges; `labels` name the positions of the
    slider `name`; `alt` says what is seen. Raises ValueError without frames, or with another number of labels.
    """

    def __init__(self, frames: Sequence[Figure | Tensor], labels: Sequence[Any], name: str, alt: str, scale: int = 6):
        if len(frames) == 0 or len(frames) != len(labels):
            raise ValueError(f"expected at least one frame and a label each, got {len(frames)} and {len(labels)}")
        if not alt.strip():
            raise ValueError("a slider needs alt text: say what the pictures show")
        self.name, self.alt, self.labels = name, alt, [str(label) for label in labels]
        self.frames = [png(frame, scale) for frame in frames]

    def _repr_html_(self) -> str:
        codes = "|".join(base64.b64encode(frame).decode() for frame in self.frames)
        labels, name = html.escape(json.dumps(self.labels)), html.escape(self.name)
        return (
            f'<div class="frame-slider" style="max-width:100%"><img src="{data_uri(self.frames[0])}" '
            f'alt="{html.escape(self.alt)}" style="display:block;max-width:100%;image-rendering:pixelated">'
            f'<label style="display:flex;gap:.6em;align-items:center;max-width:34em">{name} '
            f'<input type="range" style="flex:1" min="0" max="{len(self.frames) - 1}" value="0" autocomplete="off" '
            f'data-labels="{labels}" data-frames="{codes}" oninput="{html.escape(SWAP)}">'
            f'<output style="min-width:4em">{html.escape(self.labels[0])}</output></label></div>'
        )

    def __repr__(self) -> str:
        return f"FrameSlider({self.name}: {self.labels[0]} … {self.labels[-1]}, {len(self.frames)} frames)"

    def widget(self) -> Any:
        """The same slider as a live ipywidget, which needs a kernel."""
        import ipywidgets

        image = ipywidgets.Image(value=self.frames[0], format="png")
        options = [(label, i) for i, label in enumerate(self.labels)]
        slider = ipywidgets.SelectionSlider(options=options, description=self.name)
        slider.observe(lambda change: setattr(image, "value", self.frames[change["new"]]), "value")
        return ipywidgets.VBox([image, slider])
