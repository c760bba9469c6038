"""Voxels of a tomogram and Å from its centre: the one place where pickers' coordinates are converted.

Index 0 is the centre of the first voxel of each axis; the tomogram's origin is voxel n // 2 of its own size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import rotation_x, rotation_z
from lamella.records import Tomogram

__all__ = ["from_voxels", "to_voxels", "zxz_angles", "zxz_matrix"]

Array = NDArray[np.float64]


def from_voxels(tomogram: Tomogram, index: ArrayLike, voxel_size_ang: ArrayLike | None = None) -> Array:
    """Å from the centre voxel of voxel indices ``(n, 3)`` (x, y, z), counted from 0.

    `voxel_size_ang` (a number, or ``(n, 1)``) states the voxel of the volume that they were picked in, where it is not
    the record's own; that volume has the same corner.
    """
    places = np.asarray(index, dtype=np.float64).reshape(-1, 3)
    voxel = tomogram.voxel_size_ang if voxel_size_ang is None else np.asarray(voxel_size_ang, dtype=np.float64)
    found: Array = places * voxel - _origin_ang(tomogram)
    return found


def to_voxels(tomogram: Tomogram, places_ang: ArrayLike) -> Array:
    """Voxel indices ``(n, 3)`` (x, y, z), counted from 0, of places in Å from the centre voxel."""
    places = np.asarray(places_ang, dtype=np.float64).reshape(-1, 3)
    index: Array = (places + _origin_ang(tomogram)) / tomogram.voxel_size_ang
    return index


def zxz_matrix(first_deg: ArrayLike, second_deg: ArrayLike, third_deg: ArrayLike) -> Array:
    """``(..., 3, 3)`` Rz(third) · Rx(second) · Rz(first), active: turned by the first angle first, about fixed axes.

    The matrix of TOM's (phi, theta, psi), which STOPGAP and PEET use, and of Dynamo's (tdrot, tilt, narot).
    """
    return rotation_z(third_deg) @ rotation_x(second_deg) @ rotation_z(first_deg)


def zxz_angles(matrix: ArrayLike) -> tuple[Array, Array, Array]:
    """(first, second, third) in degrees of matrices made by `zxz_matrix`, the second in [0, 180].

    At the poles only first ± third is defined, and the third is set to 0.
    """
    m = np.asarray(matrix, dtype=np.float64)
    sine = np.hypot(m[..., 2, 0], m[..., 2, 1])
    polar = sine < 1e-9
    second = np.arctan2(sine, m[..., 2, 2])
    # last row (sin s sin f, sin s cos f, cos s), last column (sin s sin t, -sin s cos t, cos s)
    first = np.where(polar, np.arctan2(-m[..., 0, 1], m[..., 0, 0]), np.arctan2(m[..., 2, 0], m[..., 2, 1]))
    third = np.where(polar, 0.0, np.arctan2(m[..., 0, 2], -m[..., 1, 2]))
    return np.rad2deg(first), np.rad2deg(second), np.rad2deg(third)


def _origin_ang(tomogram: Tomogram) -> Array:
    """Of the volume's own voxel n // 2, Å from its first."""
    z, y, x = tomogram.shape
    origin: Array = np.array([x // 2, y // 2, z // 2]) * tomogram.voxel_size_ang
    return origin
