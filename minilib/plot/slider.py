"""Figures as HTML that every page carries, and a slider that needs no kernel."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from minilib.plot.sheets import require_as_many, tile
from minilib.plot.style import DPI, SHARPNESS

Frame = Figure | Tensor


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
