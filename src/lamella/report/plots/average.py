"""Plots of an average: how far its halves agree, how it was reached, and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lamella.records import ParticleSet
from lamella.records.map_fsc import MapFsc
from lamella.report.plots.style import (
    COLOURS,
    INK,
    PLATE_INK,
    grey_limits,
    legend,
    length_text,
    line_figure,
    nice_length,
    plate,
)

__all__ = [
    "plot_directions",
    "plot_guinier",
    "plot_iterations",
    "plot_local_resolution",
    "plot_map",
    "plot_map_fsc",
]

Array = NDArray[np.float64]
Volume = NDArray[np.float32]

_CURVES = (("unmasked", "without a mask"), ("masked", "masked"), ("randomised", "masked, random phases"))
_GOLD, _HALF = 0.143, 0.5


def plot_map_fsc(
    fsc: MapFsc,
    *,
    iterations: Sequence[MapFsc] = (),
    others: Mapping[str, MapFsc] | None = None,
    name: str = "half maps",
    threshold: float = _GOLD,
) -> Figure:
    """Shell correlation of half maps against spatial frequency, with the parts that it was corrected by.

    Parameters
    ----------
    fsc
        of the halves.
    iterations
        of earlier iterations, drawn faint.
    others
        further curves by name, such as that with the truth.
    name
        of the first curve.
    threshold
        at which its resolution is marked.
    """
    figure, axes = line_figure(6.0, 3.6)
    axis = axes[0, 0]
    for number, one in enumerate(iterations):
        share = 0.12 + 0.4 * (number + 1) / max(len(iterations), 1)
        axis.plot(one.frequency_per_ang[1:], one.correlation[1:], color=COLOURS[0], alpha=share, linewidth=0.9)
    own = [(getattr(fsc, field), label) for field, label in _CURVES if getattr(fsc, field) is not None]
    for place, (values, label) in enumerate(own):
        axis.plot(fsc.frequency_per_ang[1:], values[1:], color=COLOURS[2 + place % 3], linewidth=1.2, label=label)
    label = f"{name}, corrected" if fsc.masked is not None else name
    axis.plot(fsc.frequency_per_ang[1:], fsc.correlation[1:], color=COLOURS[0], linewidth=2.0, label=label)
    for place, (label, one) in enumerate((others or {}).items()):
        colour = COLOURS[(1 + 3 * place) % len(COLOURS)]
        axis.plot(one.frequency_per_ang[1:], one.correlation[1:], color=colour, linewidth=1.7, label=label)
    for level in (_GOLD, _HALF):
        axis.axhline(level, color=INK, alpha=0.5, linewidth=0.8, linestyle=":")
    reached = fsc.resolution_ang(threshold)
    if reached is not None:
        axis.plot([1 / reached], [threshold], "o", color=COLOURS[1], markersize=5)
        axis.annotate(
            f"{reached:.1f} Å", (1 / reached, threshold), xytext=(6, 5), textcoords="offset points", color=INK,
            fontsize=9.5,
        )  # fmt: skip
    _frequency_axis(axis, float(fsc.frequency_per_ang[-1]))
    axis.set_ylim(min(-0.1, float(fsc.correlation.min())), 1.03)
    axis.set_ylabel("FSC")
    if own or others or iterations:
        legend(axis, loc="best")
    return figure


def plot_iterations(history: Mapping[str, Array]) -> Figure:
    """Resolution, and how far poses moved, by iteration of a refinement.

    Parameters
    ----------
    history
        ``resolution_ang``, ``angle_change_deg``, ``angle_error_deg``, ``shift_change_px``, one number per iteration.
    """
    figure, axes = line_figure(9.0, 3.0, columns=3)
    number = np.arange(1, len(history["resolution_ang"]) + 1)
    style: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linewidth": 1.4}
    axes[0, 0].plot(number, history["resolution_ang"], color=COLOURS[0], **style)
    axes[0, 0].set_ylabel("resolution (FSC 0.143) / Å")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 1].semilogy(
        number, np.maximum(history["angle_change_deg"], 1e-3), color=COLOURS[0], label="change", **style
    )
    axes[0, 1].semilogy(number, np.maximum(history["angle_error_deg"], 1e-3), color=COLOURS[1], label="error", **style)
    axes[0, 1].set_ylabel("angle, median / °")
    legend(axes[0, 1], loc="best")
    axes[0, 2].semilogy(number, np.maximum(history["shift_change_px"], 1e-3), color=COLOURS[0], **style)
    axes[0, 2].set_ylabel("change of place, median / px")
    panels: list[Axes] = list(axes[0])
    for panel in panels:
        panel.set_xlabel("iteration")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def plot_map(volumes: Mapping[str, Volume], voxel_size_ang: float) -> Figure:
    """Three central slices and three projections of a map; several maps of one box stand below each other.

    Parameters
    ----------
    volumes
        ``(n, n, n)`` by name, mass positive: mass is drawn bright.
    """
    side, top, left = 1.75, 0.3, 0.0
    width = 6 * side
    height = len(volumes) * (side + top)
    figure = plate(width, height)
    for row, (name, volume) in enumerate(volumes.items()):
        n = volume.shape[0]
        middle = n // 2
        slices = (volume[middle], volume[:, middle], volume[:, :, middle])
        sums = tuple(volume.sum(axis=axis) for axis in range(3))
        bottom = height - (row + 1) * (side + top)
        for pictures, first, words in (
            (slices, 0, "central slices xy, xz, yz"),
            (sums, 3, "projections along z, y, x"),
        ):
            limits = grey_limits(np.stack(pictures), 0.2)
            for place, picture in enumerate(pictures):
                axis = figure.add_axes(
                    (left + (first + place) / 6 + 0.001, bottom / height, 1 / 6 - 0.002, side / height)
                )
                axis.imshow(
                    picture, cmap="gray", origin="lower", vmin=limits[0], vmax=limits[1], interpolation="bilinear"
                )
                axis.set_axis_off()
                if first == 0 and place == 0 and row == 0:
                    _bar(axis, n, voxel_size_ang)
            figure.text(
                first / 6 + 0.006, (bottom + side + top / 2) / height, f"{name} · {words}" if name else words,
                color=PLATE_INK, fontsize=10, va="center",
            )  # fmt: skip
    return figure


def plot_directions(particles: ParticleSet) -> Figure:
    """How often each direction of the reference was seen along the beam of the untilted view: even is good."""
    directions = particles.matrices()[:, 2, :]
    figure = Figure(figsize=(5.4, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot(projection="mollweide")
    longitude = np.arctan2(directions[:, 1], directions[:, 0])
    latitude = np.arcsin(np.clip(directions[:, 2], -1, 1))
    rows = int(np.clip(np.sqrt(len(directions) / 8), 3, 9))
    columns = 2 * rows
    edges = np.linspace(-np.pi, np.pi, columns + 1), np.arcsin(np.linspace(-1, 1, rows + 1))
    counts, _, _ = np.histogram2d(longitude, latitude, bins=edges)
    mesh = axis.pcolormesh(edges[0], edges[1], counts.T, cmap="viridis", shading="flat", rasterized=True)
    axis.plot(longitude, latitude, ".", color="white", markersize=1.5, alpha=0.5)
    axis.set_xticklabels([])
    axis.tick_params(labelsize=8)
    bar = figure.colorbar(mesh, ax=axis, shrink=0.7)
    bar.set_label("particles", color=INK, fontsize=9.5)
    bar.ax.tick_params(colors=INK, labelsize=9)
    return figure


def plot_guinier(columns: Mapping[str, Array], line: tuple[float, float] | None) -> Figure:
    """Logarithm of the amplitudes over 1/d², and the line that the B-factor was read from.

    Parameters
    ----------
    columns
        of the table that postprocess wrote.
    line
        its slope and its value at 0, or None.
    """
    figure, axes = line_figure(6.0, 3.4)
    axis = axes[0, 0]
    x, signal = columns["rlnResolutionSquared"], columns["rlnLogAmplitudesWeighted"]
    used = columns["lamellaGuinierUsed"] > 0.5
    shown = np.isfinite(signal) & (signal > columns["rlnLogAmplitudesOriginal"] - 5)  # beyond, halves do not agree
    axis.plot(x, columns["rlnLogAmplitudesOriginal"], color=INK, alpha=0.4, linewidth=1.1, label="amplitudes")
    axis.plot(x[shown], signal[shown], color=COLOURS[0], linewidth=1.6, label="of the signal")
    axis.plot(x[used & shown], signal[used & shown], "o", color=COLOURS[0], markersize=3)
    if line is not None and used.any():
        expected = columns.get("lamellaLogAmplitudesExpected", np.zeros(len(x)))
        fitted = (line[1] + line[0] * x + expected)[used]
        axis.plot(x[used], fitted, color=COLOURS[1], linewidth=1.8, label=f"B-factor {4 * line[0]:.0f} Å²")
    axis.set_xlabel("1/d² / Å⁻²")
    axis.set_ylabel("ln amplitude")
    legend(axis, loc="best")
    return figure


def plot_local_resolution(volume: Volume, mask: Volume, resolution_ang: Volume, voxel_size_ang: float) -> Figure:
    """Histogram of the local resolution within the mask, and the map's central slices coloured by it."""
    inside = mask > 0.5
    values = resolution_ang[inside & np.isfinite(resolution_ang)]
    low, high = (float(v) for v in np.percentile(values, [1, 99])) if values.size else (1.0, 2.0)
    high = max(high, low + 0.1)
    figure = plate(11.0, 3.3)
    axis = figure.add_axes((0.07, 0.19, 0.19, 0.7))
    axis.set_facecolor("none")
    axis.hist(np.clip(values, low, high), bins=40, color=COLOURS[0])
    axis.set_xlabel("local resolution / Å", color=PLATE_INK, fontsize=9.5)
    axis.set_ylabel("voxels", color=PLATE_INK, fontsize=9.5)
    axis.tick_params(colors=PLATE_INK, labelsize=8.5)
    for spine in axis.spines.values():
        spine.set_color(PLATE_INK)
    middle = volume.shape[0] // 2
    grey = grey_limits(volume[middle], 0.2)
    scale = ScalarMappable(Normalize(low, high), cmap="plasma_r")
    for place, index in enumerate((np.s_[middle], np.s_[:, middle], np.s_[:, :, middle])):
        part = figure.add_axes((0.29 + 0.215 * place, 0.03, 0.205, 0.94))
        part.imshow(volume[index], cmap="gray", origin="lower", vmin=grey[0], vmax=grey[1])
        tint = np.ma.masked_where(~inside[index], resolution_ang[index])
        part.imshow(tint, cmap="plasma_r", origin="lower", vmin=low, vmax=high, alpha=0.55)
        part.set_axis_off()
        if place == 0:
            _bar(part, volume.shape[0], voxel_size_ang)
    bar = figure.colorbar(scale, cax=figure.add_axes((0.945, 0.12, 0.012, 0.76)))
    bar.ax.tick_params(colors=PLATE_INK, labelsize=8.5)
    bar.ax.set_title("Å", color=PLATE_INK, fontsize=9.5)
    return figure


def _frequency_axis(axis: Axes, last: float) -> None:
    axis.set_xlim(0, last)
    axis.set_xlabel("spatial frequency / Å⁻¹")
    above = axis.secondary_xaxis("top")
    inner = [tick for tick in axis.get_xticks() if 0 < tick <= last * 1.0001]
    above.set_xticks(inner, [f"{1 / tick:.3g} Å" for tick in inner])
    above.tick_params(colors=INK, labelsize=9.5)
    above.spines["top"].set_visible(False)


def _bar(axis: Axes, size: int, voxel_ang: float) -> None:
    length = nice_length(0.35 * size * voxel_ang)
    right, bottom = 0.96 * size, 0.05 * size
    axis.plot([right - length / voxel_ang, right], [bottom, bottom], color="white", linewidth=2.5)
    axis.text(
        right - length / voxel_ang / 2,
        bottom + 0.03 * size,
        length_text(length),
        color="white",
        ha="center",
        fontsize=9,
    )
