"""What the data support of a denoised tomogram: its slices, red where they show what was not measured."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lamella.records import Tomogram, VolumeSource
from lamella.report.plots.slices import orthoslices
from lamella.report.plots.style import PLATE_INK, block_mean, grey_limits, plate

__all__ = ["plot_support", "tinted"]

Picture = NDArray[np.float32]

_RED = "#ff4a3d"
_STRONGEST = 0.65
_BACKGROUND_ANG = 300.0
_AROUND_ANG = 60.0
_LONGEST_PX = 720
_SLAB_ANG = 60.0


def plot_support(tomogram: Tomogram, denoised: VolumeSource, support: VolumeSource) -> Figure:
    """Central slices xy and xz of the denoised volume: as they are, and tinted by what the data do not support.

    Parameters
    ----------
    tomogram
        the record, for the voxel size.
    denoised
        `(z, y, x)`.
    support
        of the same shape: share of the local structure that is in the measured data, 0 … 1.
    """
    nz, ny, nx = denoised.shape
    voxel = tomogram.voxel_size_ang
    shown, known = (orthoslices(source, voxel, _SLAB_ANG) for source in (denoised, support))
    width, gap, top = 14.0, 0.08, 0.4
    inch = (width - gap) / 2 / nx
    height = (ny + nz) * inch + gap + top
    figure = plate(width, height)
    limits = grey_limits(shown.xy)
    for column, title in enumerate(("denoised", "red: not in the measured data")):
        left = column * (nx * inch + gap)
        for grey, share, rows, bottom in (
            (shown.xy, known.xy, ny, nz * inch + gap),
            (shown.xz, known.xz, nz, 0.0),
        ):
            axis = figure.add_axes((left / width, bottom / height, nx * inch / width, rows * inch / height))
            small, factor = block_mean(grey, _LONGEST_PX)
            picture = np.repeat(_grey(small, limits)[..., None], 3, axis=-1)
            if column == 1:
                picture = tinted(small, block_mean(share, _LONGEST_PX)[0], limits, voxel * factor)
            axis.imshow(picture, origin="lower", interpolation="bilinear", aspect="auto")
            axis.set_axis_off()
        figure.text(left / width + 0.006, 1 - 0.5 * top / height, title, color=PLATE_INK, fontsize=11, va="center")
    return figure


def tinted(picture: Picture, support: Picture, limits: tuple[float, float], pixel_ang: float) -> Picture:
    """A slice `(h, w)` in grey as `(h, w, 3)`, red where it shows structure of which less than half is supported.

    Where the slice shows nothing there is nothing to support: the tint is as strong as the local contrast.
    """
    background = gaussian_filter(picture, _BACKGROUND_ANG / pixel_ang)
    contrast = gaussian_filter(np.abs(picture - background), _AROUND_ANG / pixel_ang)
    strong = float(np.percentile(contrast, 99)) or 1.0
    alpha = _STRONGEST * np.clip(contrast / strong, 0, 1) * np.clip(2 * (0.5 - support), 0, 1)
    grey = _grey(picture, limits)[..., None]
    colour = np.asarray(to_rgb(_RED), np.float32)
    mixed: Picture = ((1 - alpha[..., None]) * grey + alpha[..., None] * colour).astype(np.float32)
    return mixed


def _grey(picture: Picture, limits: tuple[float, float]) -> Picture:
    low, high = limits
    grey: Picture = np.clip((picture - low) / (high - low), 0, 1).astype(np.float32)
    return grey
