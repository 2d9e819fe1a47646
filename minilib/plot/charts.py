"""Curves, and maps of codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minilib.plot.sheets import room_for
from minilib.plot.style import CLASS_COLOURS, LINES, MARKERS, PALETTE


def curves(
    series: Mapping[str, tuple],
    xlabel: str,
    ylabel: str,
    *,
    logx: bool = False,
    logy: bool = False,
) -> Figure:
    """A line for each name: `series[name] = (x, y)` with x (n,) and y (n,), or (seeds,
    n), drawn as mean ± deviation. A NaN in y leaves a gap.

    Raises ValueError for other shapes, for no line or more than 8, and for numbers ≤ 0
    on a logarithmic axis.
    """
    if not 1 <= len(series) <= len(PALETTE):
        raise ValueError(f"expected 1 to {len(PALETTE)} lines, got {len(series)}")
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if logx else "linear",
             yscale="log" if logy else "linear")  # fmt: skip
    lines = {name: points(name, x, y, logx, logy) for name, (x, y) in series.items()}
    for (name, (x, y)), colour, dashes, marker in zip(
        lines.items(), PALETTE, LINES, MARKERS, strict=False
    ):
        mean, every = y.mean(axis=0), math.ceil(len(x) / 12)
        axes.plot(x, mean, color=colour, linestyle=dashes, marker=marker,
                  markevery=every, label=name)  # fmt: skip
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
        badge = {"boxstyle": "circle,pad=0.2", "facecolor": "white",
                 "edgecolor": CLASS_COLOURS[label], "linewidth": 2}  # fmt: skip
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
