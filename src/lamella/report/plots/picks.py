"""Plots of picks: where they are in the tomogram, what they look like, and how they score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lamella.records import Particles, VolumeSource
from lamella.report.plots.slices import THICKNESS_ANG, scale_bar, show_picture
from lamella.report.plots.style import COLOURS, INK, PLATE_INK, grey_limits, legend, line_figure, plate

__all__ = ["plot_gallery", "plot_pick_scores", "plot_picks"]

Array = NDArray[np.float64]
Picture = NDArray[np.float32]

_THICK_ANG = 150.0  # of the slab that the picks are drawn over: about half a ribosome
_COLUMNS, _SHOWN = 12, 36


def plot_picks(particles: Particles, volume: VolumeSource, diameter_ang: float) -> Figure:
    """Particles as rings over a slice across the beam, and over one along it.

    Parameters
    ----------
    particles
        of one tomogram. Those whose centre lies within the shown slab are drawn bright, the others faint.
    volume
        the tomogram, mass dark.
    diameter_ang
        of the rings.
    """
    voxel = particles.tomogram.voxel_size_ang
    nz, ny, nx = volume.shape
    places = particles.positions_ang() / voxel + np.array([nx // 2, ny // 2, nz // 2])
    z = _fullest(places[:, 2], nz, _THICK_ANG / voxel)
    y = _fullest(places[:, 1], ny, _THICK_ANG / voxel)
    width, top = 10.0, 0.35
    inch = width / nx
    height = (ny + 1.04 * nz) * inch + top
    figure = plate(width, height)
    xy = volume.block(_slab(z, nz, voxel), slice(0, ny), slice(0, nx)).mean(axis=0)
    xz = volume.block(slice(0, nz), _slab(y, ny, voxel), slice(0, nx)).mean(axis=1)
    limits = grey_limits(xy)
    reach = _THICK_ANG / voxel / 2
    for picture, bottom, axes, (middle, other) in ((xy, 1.04 * nz, (0, 1), (z, 2)), (xz, 0.0, (0, 2), (y, 1))):
        size = (nx, picture.shape[0])
        axis = figure.add_axes((0.0, bottom * inch / height, 1.0, picture.shape[0] * inch / height))
        show_picture(axis, picture, limits, size)
        near = np.abs(places[:, other] - middle) <= reach
        for chosen, strength in ((~near, 0.3), (near, 1.0)):
            across = 2 * 72 * (diameter_ang / voxel / 2) * inch  # points
            axis.plot(
                places[chosen, axes[0]] + 0.5, places[chosen, axes[1]] + 0.5, "o", markersize=across,
                markerfacecolor="none", markeredgecolor=COLOURS[1], markeredgewidth=1.1, alpha=strength,
            )  # fmt: skip
        if other == 2:
            scale_bar(axis, size, voxel)
    text = (
        f"{len(particles)} particles · above: xy at z = {(z - nz // 2) * voxel / 10:.0f} nm; "
        f"below: xz at y = {(y - ny // 2) * voxel / 10:.0f} nm"
    )
    figure.text(0.01, 1 - 0.5 * top / height, text, color=PLATE_INK, fontsize=10.5, va="center")
    return figure


def plot_gallery(particles: Particles, volume: VolumeSource, diameter_ang: float) -> Figure:
    """Slices through single particles across the beam, from the best score to the worst; their scores below them."""
    voxel = particles.tomogram.voxel_size_ang
    shape = np.array(volume.shape[::-1])
    scores = particles.scores.get("PickScore", np.full(len(particles), np.nan))
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int))]
    side = max(8, round(1.6 * diameter_ang / voxel))
    rows = max(1, -(-len(chosen) // _COLUMNS))
    cell, text = 1.0, 0.2
    figure = plate(_COLUMNS * cell, rows * (cell + text))
    places = np.rint(particles.positions_ang() / voxel + shape // 2).astype(int)
    for number, index in enumerate(chosen):
        row, column = divmod(number, _COLUMNS)
        left, bottom = column * cell, (rows - 1 - row) * (cell + text) + text
        axis = figure.add_axes(
            (
                left / (_COLUMNS * cell) + 0.002, bottom / (rows * (cell + text)),
                1 / _COLUMNS - 0.004, cell / (rows * (cell + text)),
            )
        )  # fmt: skip
        axis.set_axis_off()
        picture = _window(volume, places[index], side, max(1, round(THICKNESS_ANG / voxel)))
        if picture is None:
            continue
        low, high = grey_limits(picture)
        axis.imshow(picture, cmap="gray", origin="lower", vmin=low, vmax=high, interpolation="bilinear", aspect="auto")
        axis.text(
            0.5, -0.03, f"{scores[index]:.1f}" if np.isfinite(scores[index]) else f"{index + 1}",
            transform=axis.transAxes, color=PLATE_INK, fontsize=8, ha="center", va="top",
        )  # fmt: skip
    return figure


def plot_pick_scores(particles: Particles, threshold: float | None, peaks: Mapping[str, Array] | None = None) -> Figure:
    """Histogram of scores, the threshold, and what a template of random phases got at the same places.

    Parameters
    ----------
    particles
        of one tomogram, with their scores.
    threshold
        the least score of a particle.
    peaks
        ``edges``, lower ends of bins, and ``peaks`` in each, picked or not; where it is known, what of it is ``noise``.
    """
    figure, axes = line_figure(6.0, 3.2)
    axis = axes[0, 0]
    scores = particles.scores["PickScore"]
    other = particles.scores.get("PickBackground")
    if peaks:
        edges = np.append(peaks["edges"], 2 * peaks["edges"][-1] - peaks["edges"][-2])
        axis.stairs(peaks["peaks"], edges, fill=True, color=INK, alpha=0.25, label="peaks left out")
        if "noise" in peaks:
            axis.stairs(peaks["noise"], edges, color=INK, linewidth=1.0, label="expected of noise")
    else:
        known = np.concatenate([scores, other]) if other is not None else scores
        edges = np.histogram_bin_edges(known[np.isfinite(known)], bins=min(50, max(8, len(scores) // 4)))
    axis.hist(scores, bins=edges, color=COLOURS[0], alpha=0.8, label="particles")
    if other is not None and not peaks:
        axis.hist(other, bins=edges, color=INK, alpha=0.3, label="random phases, same places")
    if threshold is not None:
        axis.axvline(threshold, color=COLOURS[1], linewidth=1.6, label=f"threshold {threshold:.2f}")
    axis.set_xlabel("score / deviations of noise")
    axis.set_ylabel("peaks" if peaks else "particles")
    legend(axis, loc="best")
    return figure


def _fullest(places_px: Array, size: int, thick_px: float) -> int:
    """Middle of the slab of a thickness that holds most particles; the middle where there are none."""
    if not len(places_px):
        return size // 2
    held = (np.abs(places_px[:, None] - places_px) <= thick_px / 2).sum(axis=0)
    return int(np.clip(round(places_px[int(held.argmax())]), 0, size - 1))


def _slab(middle: int, size: int, voxel_ang: float) -> slice:
    count = max(1, round(THICKNESS_ANG / voxel_ang))
    start = int(np.clip(middle - count // 2, 0, max(0, size - count)))
    return slice(start, min(size, start + count))


def _window(volume: VolumeSource, place: NDArray[np.int64], side: int, thick: int) -> Picture | None:
    """The mean of some slices around a place; None where it hangs out of the tomogram by more than half."""
    spans = []
    for at, size, length in zip(place[::-1], volume.shape, (thick, side, side), strict=True):
        low, high = max(0, at - length // 2), min(size, at - length // 2 + length)
        if high - low < max(1, length // 2):
            return None
        spans.append(slice(int(low), int(high)))
    mean: Picture = volume.block(spans[0], spans[1], spans[2]).mean(axis=0)
    return mean
