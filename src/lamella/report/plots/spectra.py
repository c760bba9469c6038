"""Power spectra of tilt images, and shell correlation curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray

from lamella.fourier import power_spectrum, radial_average
from lamella.records import ImageSource, TiltSeries
from lamella.report.plots.style import COLOURS, INK, PLATE_INK, angle_text, legend, line_figure, plate

__all__ = ["plot_power", "plot_power_images", "plot_shell_correlation", "tile_power"]

TILE_PX = 256


def tile_power(image: NDArray[np.float32], tile_px: int = TILE_PX) -> torch.Tensor:
    """Power spectrum ``(t, t // 2 + 1)`` averaged over half-overlapping tiles under a Hann window (Welch 1967)."""
    side = min(tile_px, *image.shape)
    side -= side % 2
    line = torch.hann_window(side, periodic=True)
    window = line[:, None] * line
    window = window / window.square().mean().sqrt()
    total = torch.zeros(side, side // 2 + 1)
    starts = [_starts(length, side) for length in image.shape]
    for y in starts[0]:
        for x in starts[1]:
            tile = torch.from_numpy(np.ascontiguousarray(image[y : y + side, x : x + side]))
            total += power_spectrum((tile - tile.mean()) * window)
    return total / (len(starts[0]) * len(starts[1]))


def plot_power(series: TiltSeries, images: ImageSource) -> Figure:
    """Power against spatial frequency to Nyquist, averaged over directions, of a few views from low to high tilt."""
    figure, axes = line_figure(6.0, 3.3)
    axis = axes[0, 0]
    for number, view in enumerate(_chosen(series, 4)):
        power = tile_power(images.view(view))
        shape = (power.shape[0], power.shape[0])
        frequency, average = (part.numpy() for part in radial_average(power, shape))
        axis.semilogy(
            frequency[1:] / series.pixel_size_ang,
            np.maximum(average[1:], 1e-30),
            color=COLOURS[number],
            linewidth=1.4,
            label=angle_text(series.nominal_tilt_deg[view]),
        )
    _frequency_axis(axis, series.pixel_size_ang)
    axis.set_ylabel("power / (grey value)²")
    legend(axis, loc="best", ncols=2, title="view at", title_fontproperties={"size": 9.5})
    title = axis.get_legend().get_title()
    title.set_color(INK)
    return figure


def plot_power_images(series: TiltSeries, images: ImageSource) -> Figure:
    """The logarithm of the power in two dimensions to Nyquist, of a few views; circles mark resolutions."""
    chosen = _chosen(series, 4)
    side = 3.7
    figure = plate(side * len(chosen), side + 0.35)
    nyquist = 0.5 / series.pixel_size_ang
    for number, view in enumerate(chosen):
        picture = np.log(np.maximum(_whole_plane(tile_power(images.view(view))), 1e-30))
        axis = figure.add_axes((number / len(chosen) + 0.002, 0, 1 / len(chosen) - 0.004, side / (side + 0.35)))
        low, high = np.percentile(picture, [1, 99.7])
        axis.imshow(
            picture,
            cmap="gray",
            origin="lower",
            vmin=low,
            vmax=max(high, low + 1e-6),
            extent=(-nyquist, nyquist, -nyquist, nyquist),
            interpolation="bilinear",
        )
        for fraction in (0.5, 1.0):
            axis.add_patch(Circle((0, 0), fraction * nyquist, fill=False, color=COLOURS[1], alpha=0.8, linewidth=0.8))
            axis.text(
                0,
                -fraction * nyquist,
                f"{1 / (fraction * nyquist):.3g} Å",
                color=COLOURS[1],
                fontsize=9.5,
                ha="center",
                va="bottom",
                bbox={"facecolor": "#000000", "alpha": 0.55, "pad": 1.5, "edgecolor": "none"},
            )
        axis.set_axis_off()
        figure.text(
            (number + 0.5) / len(chosen),
            1 - 0.17 / (side + 0.35),
            f"view at {angle_text(series.nominal_tilt_deg[view])}",
            color=PLATE_INK,
            ha="center",
            va="center",
            fontsize=10.5,
        )
    return figure


def plot_shell_correlation(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], pixel_size_ang: float, thresholds: Sequence[float] = (0.5, 0.143)
) -> Figure:
    """Shell correlation curves by name: frequency in cycles/px, and correlation."""
    figure, axes = line_figure(7.2, 3.4)
    axis = axes[0, 0]
    for number, (name, (frequency, correlation)) in enumerate(curves.items()):
        k, values = np.asarray(frequency, dtype=float)[1:], np.asarray(correlation, dtype=float)[1:]
        axis.plot(
            k / pixel_size_ang,
            values,
            color=COLOURS[number % len(COLOURS)],
            linewidth=1.6,
            label=name,
            linestyle=("-", "--", "-.", ":")[number % 4],
        )
    for threshold in thresholds:
        axis.axhline(threshold, color=INK, alpha=0.5, linewidth=0.8, linestyle=":")
    _frequency_axis(axis, pixel_size_ang)
    axis.set_ylabel("correlation")
    axis.set_ylim(min(-0.1, axis.get_ylim()[0]), 1.02)
    legend(axis, loc="best")
    return figure


def _frequency_axis(axis: Axes, pixel_size_ang: float) -> None:
    nyquist = 0.5 / pixel_size_ang
    axis.set_xlim(0, nyquist)
    axis.set_xlabel(f"spatial frequency / Å⁻¹ (Nyquist {1 / nyquist:.3g} Å)")
    above = axis.secondary_xaxis("top")
    ticks = axis.get_xticks()
    inner = [tick for tick in ticks if 0 < tick <= nyquist * 1.0001]
    above.set_xticks(inner, [f"{1 / tick:.3g} Å" for tick in inner])
    above.tick_params(colors=INK, labelsize=9.5)
    above.spines["top"].set_visible(False)


def _chosen(series: TiltSeries, count: int) -> list[int]:
    """Views from the least tilted to the most tilted, evenly over the angles' sizes."""
    by_tilt = np.argsort(np.abs(series.nominal_tilt_deg), kind="stable")
    places = np.unique(np.rint(np.linspace(0, len(by_tilt) - 1, count)).astype(int))
    return [int(by_tilt[place]) for place in places]


def _starts(length: int, side: int) -> list[int]:
    count = max(1, -(-(length - side) // (side // 2)) + 1) if length > side else 1
    count = min(count, 9)  # of huge images a part of the tiles says enough
    return [int(start) for start in np.unique(np.rint(np.linspace(0, length - side, count)))]


def _whole_plane(half: torch.Tensor) -> NDArray[np.float64]:
    """An rfft's plane completed by its point symmetry, zero frequency at [n // 2, n // 2]."""
    size = half.shape[0]
    whole = torch.empty(size, size, dtype=torch.float64)
    whole[:, : size // 2 + 1] = half
    rows = (-torch.arange(size)) % size
    columns = torch.arange(size // 2 + 1, size)
    whole[:, columns] = half[rows][:, size - columns].double()
    plane: NDArray[np.float64] = torch.fft.fftshift(whole).numpy()
    return plane
