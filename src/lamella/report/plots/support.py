"""A denoised tomogram with what the data support of it: slices, coloured, and the places that the data do not show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lamella.records import Tomogram, VolumeSource
from lamella.report.plots.style import COLOURS, PLATE_INK, block_mean, grey_limits, length_text, nice_length, plate

__all__ = ["plot_support"]

Picture = NDArray[np.float32]

_THICKNESS_ANG = 60.0
_LONGEST_PX = 900
_UNSUPPORTED = COLOURS[1]
_FLAG = "#ff4d5e"
_TINT = 0.85  # of the colour, where nothing is supported
_TOP = 0.4  # inches for the heading


def plot_support(
    tomogram: Tomogram,
    denoised: VolumeSource,
    support: VolumeSource,
    places: Sequence[tuple[float, float, float, float]] = (),
) -> Figure:
    """Slices across the beam: as denoised, and tinted orange where the data do not support what is drawn.

    Parameters
    ----------
    tomogram
        the record, for voxel size and name.
    denoised, support
        `(z, y, x)` volumes of one shape; support is 0 … 1.
    places
        unsupported places: x, y, z of the centre, Å from the centre voxel, and the diameter. They are ringed in red
        where a slice meets them; the height of the first is shown beside the middle.
    """
    nz, ny, nx = denoised.shape
    voxel = tomogram.voxel_size_ang
    heights = _heights(places, nz, voxel)
    width = 15.0
    side = width / 2
    row = side * ny / nx + _TOP
    figure = plate(width, row * len(heights))
    for number, (start, stop) in enumerate(heights):
        where = slice(start, stop), slice(0, ny), slice(0, nx)
        grey, share = (source.block(*where).mean(axis=0, dtype=np.float32) for source in (denoised, support))
        bottom = 1 - (number + 1) / len(heights)
        z_ang = ((start + stop - 1) / 2 - nz // 2) * voxel
        for column, (name, picture) in enumerate((("denoised", None), ("what the data support", share))):
            axis = figure.add_axes((column / 2 + 0.002, bottom, 0.496, (row - _TOP) / (row * len(heights))))
            _show(axis, grey, picture, (nx, ny))
            text = f"{name} · z = {round(z_ang / 10):+d} nm"
            if picture is not None:
                text += ": grey what is in the data, orange what is not"
                _ring(axis, places, z_ang, voxel, (nx, ny))
            figure.text(
                column / 2 + 0.005, bottom + (1 - 0.5 * _TOP / row) / len(heights), text, color=PLATE_INK, fontsize=11,
                va="center",
            )  # fmt: skip
            if number == column == 0:
                _scale_bar(axis, (nx, ny), voxel)
    return figure


def _heights(places: Sequence[tuple[float, float, float, float]], nz: int, voxel: float) -> list[tuple[int, int]]:
    """First and last plane of the slabs shown: the middle, and the strongest flagged place unless it lies there."""
    count = min(nz, max(1, round(_THICKNESS_ANG / voxel)))
    starts = [max(0, nz // 2 - count // 2)]
    if places:
        start = int(np.clip(round(places[0][2] / voxel) + nz // 2 - count // 2, 0, nz - count))
        if abs(start - starts[0]) > count:
            starts.append(start)
    return [(start, min(nz, start + count)) for start in starts]


def _show(axis: Axes, grey: Picture, share: Picture | None, extent: tuple[int, int]) -> None:
    low, high = grey_limits(grey)
    small, _ = block_mean(grey, _LONGEST_PX)
    level = np.clip((small - low) / (high - low), 0, 1)[..., None]
    if share is not None:
        part = np.clip(block_mean(share, _LONGEST_PX)[0], 0, 1)
        tint = (_TINT * (1 - part) * _contrast(level[..., 0]))[..., None]
        level = (1 - tint) * level + tint * (0.4 + 0.6 * level) * np.array(to_rgb(_UNSUPPORTED))
    else:
        level = level.repeat(3, axis=-1)
    axis.imshow(level, origin="lower", extent=(0, extent[0], 0, extent[1]), interpolation="bilinear", aspect="auto")
    axis.set_xlim(0, extent[0])
    axis.set_ylim(0, extent[1])
    axis.set_axis_off()


def _contrast(level: Picture) -> Picture:
    """0 where a picture is as its background, 1 where it is far from it: flat noise is not worth a colour."""
    away = gaussian_filter(np.abs(level - np.median(level)), 2.0)
    low, high = np.percentile(away, (50, 97))
    out: Picture = np.clip((away - low) / max(high - low, 1e-6), 0, 1)
    return out


def _ring(
    axis: Axes,
    places: Sequence[tuple[float, float, float, float]],
    z_ang: float,
    voxel: float,
    extent: tuple[int, int],
) -> None:
    for x, y, z, diameter in places:
        if abs(z - z_ang) > (diameter + _THICKNESS_ANG) / 2:
            continue
        centre = x / voxel + extent[0] // 2 + 0.5, y / voxel + extent[1] // 2 + 0.5
        radius = max(0.7 * diameter / voxel, 0.02 * extent[0])
        axis.add_patch(Circle(centre, radius, fill=False, edgecolor=_FLAG, linewidth=2.0))


def _scale_bar(axis: Axes, extent: tuple[int, int], voxel: float) -> None:
    length = nice_length(0.25 * extent[0] * voxel)
    right, y = 0.97 * extent[0], 0.04 * extent[1]
    axis.plot([right - length / voxel, right], [y, y], color="white", linewidth=4)
    axis.text(
        right - length / voxel / 2, y * 1.5, length_text(length), color="white", ha="center", va="bottom", fontsize=10
    )
