"""How plots look. Line plots are dark ink on white, which a page recolours to its own; pictures lie on dark plates."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = [
    "COLOURS",
    "INK",
    "PLATE",
    "PLATE_INK",
    "angle_text",
    "block_mean",
    "grey_limits",
    "line_figure",
    "nice_length",
    "plate",
]

INK = "#1d2733"
"""Colour of axes and text in line plots."""
PLATE = "#12151a"
PLATE_INK = "#e8eaed"
COLOURS = ("#2f81c7", "#e0803a", "#2f9e6e", "#a35fc0", "#c94f5d")
"""Of lines and marks: told apart in grey and by the colour-blind, legible on white and on black."""


def line_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any
) -> tuple[Figure, NDArray[np.object_]]:
    """A figure of inches `width` × `height` for lines, and its axes ``(rows, columns)``."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    for axis in axes.flat:
        dress(axis)
    return figure, axes


def dress(axis: Axes) -> None:
    """Give one set of axes the house style."""
    axis.set_facecolor("none")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(INK)
    axis.tick_params(colors=INK, labelsize=9.5)
    for label in (axis.xaxis.label, axis.yaxis.label, axis.title):
        label.set_color(INK)
        label.set_fontsize(10.5)
    axis.grid(True, color=INK, alpha=0.13, linewidth=0.7)
    axis.set_axisbelow(True)


def legend(axis: Axes, **places: Any) -> None:
    """A legend without a frame, in ink."""
    axis.legend(frameon=False, fontsize=9.5, labelcolor=INK, **places)


def plate(width: float, height: float) -> Figure:
    """A dark figure of inches `width` × `height` for pictures."""
    figure = Figure(figsize=(width, height), facecolor=PLATE)
    FigureCanvasAgg(figure)
    return figure


def block_mean(image: NDArray[np.float32], longest_px: int) -> tuple[NDArray[np.float32], int]:
    """Shrink by a whole factor so that no side is longer than `longest_px`; also the factor.

    Pixel j of the result is the mean of the pixels j·b … j·b + b − 1, so its centre lies at j·b + (b − 1) / 2.
    """
    factor = max(1, -(-max(image.shape) // longest_px))
    height, width = (max(1, side // factor) for side in image.shape)
    cut = image[: height * factor, : width * factor]
    if 0 in cut.shape or min(image.shape) < factor:
        return image, 1
    return cut.reshape(height, factor, width, factor).mean(axis=(1, 3), dtype=np.float32), factor


def grey_limits(values: NDArray[np.float32], tail_percent: float = 0.5) -> tuple[float, float]:
    """Values to show as black and white: percentiles of what is finite, never the same number."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, [tail_percent, 100 - tail_percent]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def nice_length(most_ang: float) -> float:
    """The largest of 1, 2, 5, 10, 20, … Å that is not above `most_ang`."""
    power = 10.0 ** np.floor(np.log10(most_ang))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= most_ang * (1 + 1e-9)))


def angle_text(angle_deg: float) -> str:
    """An angle with its sign and one decimal; 0 has no sign."""
    rounded = round(float(angle_deg), 1)
    return f"{rounded:+.1f}°" if rounded else "0.0°"


def length_text(length_ang: float) -> str:
    """A length in Å, nm or µm, whichever reads best."""
    if length_ang < 10:
        return f"{length_ang:g} Å"
    return f"{length_ang / 10:g} nm" if length_ang < 10000 else f"{length_ang / 10000:g} µm"
