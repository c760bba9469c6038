"""Slices of a tomogram: three through its centre, before and after denoising, and several heights."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from lamella.records import Tomogram, VolumeSource
from lamella.report.plots.style import COLOURS, PLATE_INK, block_mean, grey_limits, length_text, nice_length, plate

__all__ = [
    "Orthoslices",
    "orthoslices",
    "plot_heights",
    "plot_slices",
    "scale_bar",
    "show_picture",
    "small_picture",
]

Picture = NDArray[np.float32]

THICKNESS_ANG = 60.0
"""Of the slab that a shown slice is the mean of: noise falls, particles stay."""
LONGEST_PX = 720


@dataclass(frozen=True, eq=False)
class Orthoslices:
    """Three means of thin slabs through the centre: xy ``(y, x)``, xz ``(z, x)``, zy ``(y, z)``; slices per mean."""

    xy: Picture
    xz: Picture
    zy: Picture
    averaged: int


def orthoslices(volume: VolumeSource, voxel_size_ang: float, thickness_ang: float = THICKNESS_ANG) -> Orthoslices:
    """Read three central slabs and average each across its thickness; nothing else is read."""
    nz, ny, nx = volume.shape
    count = max(1, round(thickness_ang / voxel_size_ang))
    z, y, x = (_central(n, count) for n in (nz, ny, nx))
    xy = _mean(volume.block(z, slice(0, ny), slice(0, nx)), 0)
    xz = _mean(volume.block(slice(0, nz), y, slice(0, nx)), 1)
    zy = _mean(volume.block(slice(0, nz), slice(0, ny), x), 2).T
    return Orthoslices(xy=xy, xz=xz, zy=zy, averaged=min(count, nz))


def plot_slices(
    tomogram: Tomogram,
    volume: VolumeSource,
    denoised: VolumeSource | None = None,
    *,
    names: tuple[str, str] = ("reconstructed", "denoised"),
) -> Figure:
    """Three orthogonal central slices, and the same after denoising beside them.

    Parameters
    ----------
    tomogram
        the record, for voxel size and name.
    volume, denoised
        `(z, y, x)` before and after; None where not denoised.
    names
        what is written above them.
    """
    shown = [(names[0], volume)] + ([(names[1], denoised)] if denoised is not None else [])
    nz, ny, nx = volume.shape
    panel_width, panel_height = nx + nz * 1.06, ny + nz * 1.06
    width = 15.0 if len(shown) == 2 else 8.6
    inch = width / (len(shown) * panel_width * 1.02)
    top = 0.5
    height = panel_height * inch + top
    figure = plate(width, height)
    for number, (name, source) in enumerate(shown):
        slices = orthoslices(source, tomogram.voxel_size_ang)
        left = number * width / len(shown)
        _draw(figure, slices, source.shape, tomogram.voxel_size_ang, inch, left, (width, height))
        text = f"{name} · mean of {slices.averaged} slices ({slices.averaged * tomogram.voxel_size_ang:.0f} Å)"
        figure.text((left + 0.08) / width, 1 - 0.55 * top / height, text, color=PLATE_INK, fontsize=11, va="center")
    return figure


def plot_heights(
    tomogram: Tomogram, volume: VolumeSource, fractions: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7)
) -> Figure:
    """Slices across the beam at several heights, given as fractions of the volume's thickness."""
    nz, ny, nx = volume.shape
    voxel = tomogram.voxel_size_ang
    count = max(1, round(THICKNESS_ANG / voxel))
    width = 15.0
    side = width / len(fractions)
    height = side * ny / nx + 0.35
    figure = plate(width, height)
    for number, fraction in enumerate(fractions):
        start = int(np.clip(round(fraction * nz) - count // 2, 0, max(0, nz - count)))
        picture = _mean(volume.block(slice(start, min(nz, start + count)), slice(0, ny), slice(0, nx)), 0)
        axis = figure.add_axes(
            (number / len(fractions) + 0.001, 0, 1 / len(fractions) - 0.002, (height - 0.35) / height)
        )
        show_picture(axis, picture, grey_limits(picture), (nx, ny))
        z_nm = (start + (count - 1) / 2 - nz // 2) * voxel / 10
        figure.text(
            (number + 0.5) / len(fractions),
            1 - 0.17 / height,
            f"z = {_signed(round(z_nm))} nm",
            color=PLATE_INK,
            fontsize=10.5,
            ha="center",
            va="center",
        )
        if number == 0:
            scale_bar(axis, (nx, ny), voxel)
    return figure


def small_picture(volume: VolumeSource, voxel_size_ang: float, side_px: int = 180) -> bytes:
    """The central xy slice as a small WebP."""
    nz, ny, nx = volume.shape
    z = _central(nz, max(1, round(THICKNESS_ANG / voxel_size_ang)))
    small, _ = block_mean(_mean(volume.block(z, slice(0, ny), slice(0, nx)), 0), side_px)
    low, high = grey_limits(small)
    grey = np.rint(255 * np.clip((small[::-1] - low) / (high - low), 0, 1)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "WEBP", quality=75)
    return out.getvalue()


def _draw(
    figure: Figure,
    slices: Orthoslices,
    shape: tuple[int, int, int],
    voxel_ang: float,
    inch: float,
    left: float,
    size: tuple[float, float],
) -> None:
    """One panel: xy above, xz below it, zy to its right, all at one scale, `inch` per voxel."""
    nz, ny, nx = shape
    width, height = size
    gap = 0.06 * nz
    limits = grey_limits(slices.xy)
    places = (
        (slices.xy, (0.0, nz + gap, nx, ny), "xy"),
        (slices.xz, (0.0, 0.0, nx, nz), "xz"),
        (slices.zy, (nx + gap, nz + gap, nz, ny), "zy"),
    )
    for picture, (x, y, w, h), name in places:
        axis = figure.add_axes(((left + x * inch) / width, y * inch / height, w * inch / width, h * inch / height))
        show_picture(axis, picture, limits, (w, h))
        axis.text(
            0.012 * max(nx, ny),
            h - 0.012 * max(nx, ny),
            name,
            color=PLATE_INK,
            fontsize=10,
            va="top",
            bbox={"facecolor": "#000000", "alpha": 0.45, "pad": 2, "edgecolor": "none"},
        )
        if name == "xy":
            scale_bar(axis, (w, h), voxel_ang)
            for place in (0.0, 0.982):  # short marks at the edges show where the other two slices run
                axis.plot([w / 2, w / 2], [place * h, (place + 0.018) * h], color=COLOURS[1], linewidth=1.6)
                axis.plot([place * w, (place + 0.018) * w], [h / 2, h / 2], color=COLOURS[1], linewidth=1.6)


def show_picture(axis: Axes, picture: Picture, limits: tuple[float, float], extent: tuple[float, float]) -> None:
    """Draw a picture whose axes are counted in voxels, (x, y) of them in all."""
    small, _ = block_mean(picture, LONGEST_PX)
    axis.imshow(
        small,
        cmap="gray",
        origin="lower",
        vmin=limits[0],
        vmax=limits[1],
        extent=(0, extent[0], 0, extent[1]),
        interpolation="bilinear",
        aspect="auto",
    )
    axis.set_xlim(0, extent[0])
    axis.set_ylim(0, extent[1])
    axis.set_axis_off()


def scale_bar(axis: Axes, extent: tuple[float, float], voxel_ang: float) -> None:
    """Draw a scale bar into the lower right corner."""
    length = nice_length(0.25 * extent[0] * voxel_ang)
    pixels = length / voxel_ang
    right, bottom, thick = 0.97 * extent[0], 0.035 * extent[1], 0.012 * extent[1]
    axis.add_patch(
        Rectangle(
            (right - pixels - 0.015 * extent[0], bottom - thick),
            pixels + 0.03 * extent[0],
            0.095 * extent[1],
            color="#000000",
            alpha=0.5,
            linewidth=0,
        )
    )
    axis.add_patch(Rectangle((right - pixels, bottom), pixels, thick, color="white", linewidth=0))
    axis.text(right - pixels / 2, bottom + 1.6 * thick, length_text(length), color="white", ha="center", fontsize=10)


def _central(size: int, count: int) -> slice:
    start = max(0, size // 2 - count // 2)
    return slice(start, min(size, start + count))


def _mean(block: Picture, axis: int) -> Picture:
    return np.asarray(block.mean(axis=axis, dtype=np.float64), dtype=np.float32)


def _signed(value: int) -> str:
    return f"{value:+d}" if value else "0"
