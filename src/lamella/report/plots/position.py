"""Where the specimen lies in its tomogram: two slices across it, with its faces drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lamella.records import VolumeSource
from lamella.report.plots.style import COLOURS, PLATE_INK, grey_limits, plate

__all__ = ["plot_position"]

Picture = NDArray[np.float32]

_SLAB_ANG = 300.0  # across a slice, averaged: specimen stands out of the noise
_LONGEST_PX = 640
_LEFT, _ACROSS = 0.07, 0.92  # of the figure's width


def plot_position(volume: VolumeSource, voxel_size_ang: float, numbers: Mapping[str, float]) -> Figure:
    """Slices across and along the tilt axis, averaged, with the mid-plane (dashed) and both faces as far as known.

    Parameters
    ----------
    volume
        ``(z, y, x)``.
    voxel_size_ang
        edge of a voxel, Å.
    numbers
        what `lamella.tomograms.SpecimenPosition.quality` gives, the ``Position…`` numbers of a reconstruction; those
        that are absent are not drawn.
    """
    nz, ny, nx = volume.shape
    x_tilt, y_tilt = (np.deg2rad(numbers.get(f"Position{axis}TiltDeg", np.nan)) for axis in "XY")
    slopes = -np.tan(y_tilt) / np.cos(x_tilt), np.tan(x_tilt)
    width = 11.0
    tall = width * _ACROSS * nz / max(nx, ny)
    gap, top = 0.55, 0.45
    height = 2 * tall + 2 * gap + top
    figure = plate(width, height)
    for number, (size, slope, name) in enumerate(
        ((nx, slopes[0], "x, across the tilt axis"), (ny, slopes[1], "y, along the tilt axis"))
    ):
        share = size / max(nx, ny)
        bottom = height - top - (number + 1) * tall - number * gap
        axes = figure.add_axes((_LEFT, bottom / height, _ACROSS * share, tall / height))
        _draw(axes, _slice(volume, voxel_size_ang, number), size, nz, voxel_size_ang)
        _faces(axes, slope, slopes, numbers, size * voxel_size_ang / 2)
        axes.set_title(name, color=PLATE_INK, fontsize=10, loc="left", pad=3)
    return figure


def _slice(volume: VolumeSource, voxel_size_ang: float, number: int) -> Picture:
    """Mean of a slab through the middle: ``(z, x)`` or ``(z, y)``."""
    nz, ny, nx = volume.shape
    across = (ny, nx)[number]
    count = min(across, max(1, round(_SLAB_ANG / voxel_size_ang)))
    middle = slice((across - count) // 2, (across - count) // 2 + count)
    block = (
        volume.block(slice(0, nz), middle, slice(0, nx))
        if number == 0
        else volume.block(slice(0, nz), slice(0, ny), middle)
    )
    mean = block.mean(axis=1 + number, dtype=np.float32)
    factor = max(1, mean.shape[1] // _LONGEST_PX)
    width, rows = mean.shape[1] // factor * factor, nz // factor * factor
    if factor == 1 or not rows:
        return np.asarray(mean)
    shrunk = mean[:rows, :width].reshape(rows // factor, factor, width // factor, factor).mean(axis=(1, 3))
    return np.asarray(shrunk, dtype=np.float32)


def _draw(axes: Axes, picture: Picture, size: int, nz: int, voxel_size_ang: float) -> None:
    low, high = grey_limits(picture, 0.3)
    # voxel n // 2 is 0, and a voxel reaches half its edge to both sides
    left, bottom = (-(n // 2 + 0.5) * voxel_size_ang for n in (size, nz))
    extent = (left, left + size * voxel_size_ang, bottom, bottom + nz * voxel_size_ang)
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent, aspect="auto")
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(extent[2], extent[3])
    axes.tick_params(colors=PLATE_INK, labelsize=8)
    axes.set_ylabel("z, Å", color=PLATE_INK, fontsize=9, labelpad=1)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _faces(
    axes: Axes, slope: float, slopes: tuple[float, float], numbers: Mapping[str, float], reach_ang: float
) -> None:
    """The mid-plane and the faces, as lines in a slice; nothing where they are not known."""
    offset = numbers.get("PositionOffsetAngst", np.nan)
    if not np.isfinite(slope + offset):
        return
    half = numbers.get("PositionThicknessAngst", np.nan) / 2 * np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)
    ends = np.array([-reach_ang, reach_ang])
    axes.plot(ends, slope * ends + offset, color=COLOURS[0], linewidth=0.9, linestyle=(0, (6, 5)))
    if np.isfinite(half):
        for side in (-half, half):
            axes.plot(ends, slope * ends + offset + side, color=COLOURS[1], linewidth=1.3)
