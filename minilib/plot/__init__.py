"""The book's figures: sheets of pictures, curves, maps of codes, and a slider that
needs no kernel.

A figure has an alt text and a caption that must reach JupyterLab, Colab and the
rendered page. The one form that all three carry is HTML with the picture inside, so
that is what `show` and `FrameSlider` make.
"""

from minilib.plot.charts import curves, latent_map
from minilib.plot.sheets import image_grid, tile, to_uint8
from minilib.plot.slider import FrameSlider, render, show, to_png
from minilib.plot.style import CLASS_COLOURS, LINES, MARKERS, PALETTE, use_book_style

__all__ = [
    "CLASS_COLOURS",
    "LINES",
    "MARKERS",
    "PALETTE",
    "FrameSlider",
    "curves",
    "image_grid",
    "latent_map",
    "render",
    "show",
    "tile",
    "to_png",
    "to_uint8",
    "use_book_style",
]
