"""The box of a tomogram: voxel size, extent, and how a record states them."""

from __future__ import annotations

import math

import numpy as np

from lamella.errors import ProjectError
from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries, Tomogram
from lamella.tomograms.reconstruct_settings import ReconstructSettings

__all__ = ["plan_tomogram", "tomogram_shape"]

_DEFAULT_THICKNESS_ANG = 3000.0
_MARGIN_ANG = 300.0  # above and below a measured thickness


def plan_tomogram(series: TiltSeries, settings: ReconstructSettings) -> Tomogram:
    """The record of the tomogram that is to be made: binning and size, no files yet.

    Every size is even in voxels, so that the tomogram's origin is its own ``n // 2``; `Tomogram.size_px` states it in
    pixels of the tilt images, rounded to even numbers where the binning is not whole.

    Raises
    ------
    ProjectError
        if the series has no geometry.
    """
    if series.geometry is None:
        raise ProjectError(f"{series.name}: the views are not aligned", mend="run align first")
    voxel = max(settings.pixel_size, series.pixel_size_ang)
    binning = voxel / series.pixel_size_ang
    if settings.thickness != "auto":
        thickness = settings.thickness
    elif series.thickness_ang is not None:
        thickness = series.thickness_ang + 2 * _MARGIN_ANG
    else:
        thickness = _DEFAULT_THICKNESS_ANG
    field_x, field_y = _field(series.geometry, series.image_shape_px, series.pixel_size_ang)
    extents = (
        field_x if settings.size_x == "auto" else settings.size_x,
        field_y if settings.size_y == "auto" else settings.size_y,
        thickness,
    )
    x, y, z = (_unbinned(max(2 * math.ceil(extent / (2 * voxel) - 1e-6), 2), binning) for extent in extents)
    return Tomogram(tilt_series=series, size_px=(x, y, z), binning=binning)


def tomogram_shape(tomogram: Tomogram) -> tuple[int, int, int]:
    """(z, y, x) of the volume in voxels, each even."""
    return tomogram.shape


def _unbinned(voxels: int, binning: float) -> int:
    """Even number of image pixels that `tomogram_shape` turns into this even number of voxels."""
    return 2 * round(voxels * binning / 2)


def _field(geometry: TiltGeometry, image_shape_px: tuple[int, int], pixel_size_ang: float) -> tuple[float, float]:
    """Extent (x, y) in Å of the specimen in the least tilted image.

    The image's sides are taken to lie along the specimen's axes, whichever of the two they lie nearer to: a few degrees
    between them cut the corners instead of adding empty ones.
    """
    least = int(np.argmax(np.abs(geometry.rotations()[:, 2, 2])))  # whose beam is nearest to the specimen's normal
    turn = np.deg2rad(geometry.z_rot_deg[least])
    height, width = (size * pixel_size_ang / geometry.magnification[least] for size in image_shape_px)
    return (height, width) if abs(np.sin(turn)) > abs(np.cos(turn)) else (width, height)
