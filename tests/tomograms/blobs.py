"""Gaussian blobs: their projections are known exactly, for every term of the geometry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.records import TiltSeries

Array = NDArray[np.float64]


def blob_images(
    geometry: TiltGeometry,
    shape_px: tuple[int, int],
    pixel_ang: float,
    points_ang: Array,
    sigma_ang: float,
    mass: Array,
) -> NDArray[np.float32]:
    """Line integrals of Gaussian blobs: each is a Gaussian of the same width where its centre projects.

    A field or a magnification near 1 moves the blob and is taken not to stretch it.
    """
    height, width = shape_px
    y, x = np.mgrid[:height, :width]
    out = np.zeros((len(geometry), height, width))
    for q, weight in zip(np.moveaxis(geometry.project(points_ang), 1, 0), mass, strict=True):
        px = q / pixel_ang + (width // 2, height // 2)
        distance = ((x[None] - px[:, 0, None, None]) ** 2 + (y[None] - px[:, 1, None, None]) ** 2) * pixel_ang**2
        out += weight / (2 * np.pi * sigma_ang**2) * np.exp(-distance / (2 * sigma_ang**2))
    return out.astype(np.float32)


def blob_volume(
    shape: tuple[int, int, int], voxel_ang: float, points_ang: Array, sigma_ang: float, mass: Array
) -> Array:
    """The blobs' density at the voxels."""
    z, y, x = np.meshgrid(*((np.arange(n) - n // 2) * voxel_ang for n in shape), indexing="ij")
    out = np.zeros(shape)
    for (px, py, pz), weight in zip(points_ang, mass, strict=True):
        distance = (x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2
        out += weight * (2 * np.pi * sigma_ang**2) ** -1.5 * np.exp(-distance / (2 * sigma_ang**2))
    return out


def series_of(geometry: TiltGeometry, shape_px: tuple[int, int], pixel_ang: float, **changes: object) -> TiltSeries:
    """A record with that geometry."""
    record = TiltSeries(
        name="blobs",
        pixel_size_ang=pixel_ang,
        image_shape_px=shape_px,
        nominal_tilt_deg=geometry.y_tilt_deg,
        nominal_axis_deg=geometry.z_rot_deg,
        geometry=geometry,
    )
    return record.with_changes(**changes)


def peak_near(volume: Array, place: Array) -> Array:
    """Sub-voxel place (x, y, z) of the maximum within three voxels of `place`, by parabolas through it."""
    centre = np.rint(place[::-1]).astype(int)
    low = np.maximum(centre - 3, 1)
    part = volume[tuple(slice(a, c + 4) for a, c in zip(low, centre, strict=True))]
    at = np.array(np.unravel_index(np.argmax(part), part.shape)) + low
    out = []
    for axis in (2, 1, 0):
        step = np.eye(3, dtype=int)[axis]
        before, here, after = (volume[tuple(at + i * step)] for i in (-1, 0, 1))
        out.append(at[axis] + 0.5 * (before - after) / (before - 2 * here + after))
    return np.array(out)
