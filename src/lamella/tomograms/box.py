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
_AWAY_ANG = 20.0  # of the views' common field from the frame's origin, from which a tomogram is made wider
_FARTHEST = 0.25  # of the field: views farther off share nothing that is worth the voxels
_STEEP = 0.5  # cosine of the tilt beyond which an image's middle is not well known in the specimen


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
    """Extent (x, y) in Å, about the frame's origin, of the specimen in the least tilted image and in half of all views.

    The image's sides are taken to lie along the specimen's axes, whichever of the two they lie nearer to: a few degrees
    between them cut the corners instead of adding empty ones. The frame's origin is the middle of one image; where most
    others were taken beside it, their field reaches farther on one side.
    """
    upright = np.abs(geometry.rotations()[:, 2, 2])
    least = int(np.argmax(upright))  # whose beam is nearest to the specimen's normal
    turn = np.deg2rad(geometry.z_rot_deg[least])
    height, width = (size * pixel_size_ang / geometry.magnification[least] for size in image_shape_px)
    sides = (height, width) if abs(np.sin(turn)) > abs(np.cos(turn)) else (width, height)
    known = geometry.select(np.flatnonzero(upright >= min(_STEEP, upright[least])))
    away = np.abs(np.median(known.back_project(np.zeros((len(known), 2)), 0.0)[:, :2], axis=0))
    x, y = (side + 2 * min(_beyond(float(by)), _FARTHEST * side) for side, by in zip(sides, away, strict=True))
    return x, y


def _beyond(away_ang: float) -> float:
    """How far a tomogram reaches beyond the image's side for views that lie so far beside it."""
    return away_ang if away_ang > _AWAY_ANG else 0.0
