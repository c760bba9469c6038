"""Right-handed active rotations about the axes, and RELION's Euler angles.

All functions take angles in degrees of any shape and return matrices with that shape in front: ``(..., 3, 3)``. A
matrix acts on column vectors ``(x, y, z)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["angles_from_matrix", "euler_matrix", "rotation_x", "rotation_y", "rotation_z"]

Array = NDArray[np.float64]


def _assemble(angle_deg: ArrayLike, rows: str) -> Array:
    """Build matrices from a 9-letter pattern of ``0 1 c s -`` (``-`` is −sin)."""
    angle = np.deg2rad(np.asarray(angle_deg, dtype=np.float64))
    cos, sin = np.cos(angle), np.sin(angle)
    parts = {"0": np.zeros_like(angle), "1": np.ones_like(angle), "c": cos, "s": sin, "-": -sin}
    return np.stack([parts[letter] for letter in rows], axis=-1).reshape(*angle.shape, 3, 3)


def rotation_x(angle_deg: ArrayLike) -> Array:
    """Rx: turns y towards z."""
    return _assemble(angle_deg, "1000c-0sc")


def rotation_y(angle_deg: ArrayLike) -> Array:
    """Ry = [[c, 0, s], [0, 1, 0], [-s, 0, c]]: turns z towards x."""
    return _assemble(angle_deg, "c0s010-0c")


def rotation_z(angle_deg: ArrayLike) -> Array:
    """Rz: turns x towards y."""
    return _assemble(angle_deg, "c-0sc0001")


def euler_matrix(rot_deg: ArrayLike, tilt_deg: ArrayLike, psi_deg: ArrayLike) -> Array:
    """Matrix of RELION's angles that takes the reference's frame to the specimen's.

    A = Rz(−psi) · Ry(−tilt) · Rz(−rot), active; the same for ``rlnTomoSubtomogram{Rot,Tilt,Psi}`` and
    ``rlnAngle{Rot,Tilt,Psi}``, whose product A_sub · A_ang turns a reference into the tomogram. RELION writes the
    transpose, which takes the specimen to the reference (Heymann, Chagoyen & Belnap 2005).
    """
    rot, tilt, psi = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (rot_deg, tilt_deg, psi_deg)))
    return rotation_z(-psi) @ rotation_y(-tilt) @ rotation_z(-rot)


def angles_from_matrix(matrix: ArrayLike) -> tuple[Array, Array, Array]:
    """RELION's (rot, tilt, psi) in degrees of matrices made by `euler_matrix`; tilt in [0, 180].

    At the poles (tilt 0 or 180) only rot ± psi is defined, and psi is set to 0.
    """
    m = np.asarray(matrix, dtype=np.float64)
    sin_tilt = np.hypot(m[..., 2, 0], m[..., 2, 1])
    tilt = np.arctan2(sin_tilt, m[..., 2, 2])
    polar = sin_tilt < 1e-9
    # last row (sin t cos rot, sin t sin rot, cos t), last column (-sin t cos psi, sin t sin psi, cos t)
    rot = np.where(polar, np.arctan2(-m[..., 1, 0], m[..., 1, 1]), np.arctan2(m[..., 2, 1], m[..., 2, 0]))
    psi = np.where(polar, 0.0, np.arctan2(m[..., 1, 2], -m[..., 0, 2]))
    return np.rad2deg(rot), np.rad2deg(tilt), np.rad2deg(psi)
