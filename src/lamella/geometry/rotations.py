"""Right-handed active rotations about the axes, and RELION's Euler angles.

All functions take angles in degrees of any shape and return matrices with that shape in front: ``(..., 3, 3)``. A
matrix acts on column vectors ``(x, y, z)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["angles_from_matrix", "euler_matrix", "rotation_x", "rotation_y", "rotation_z", "tilt_angles_from_matrix"]

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
    ``rlnAngle{Rot,Tilt,Psi}``, whose product A_sub · A_ang turns a reference into the tomogram. It is, entry by entry,
    the matrix of RELION's ``Euler_angles2matrix``. Its transpose, the active rotation Rz(rot) · Ry(tilt) · Rz(psi)
    (Heymann, Chagoyen & Belnap 2005), turns a specimen to the reference.
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


def tilt_angles_from_matrix(
    matrix: ArrayLike, near_deg: tuple[ArrayLike, ArrayLike, ArrayLike] = (0.0, 0.0, 0.0)
) -> tuple[Array, Array, Array]:
    """The (x_tilt, y_tilt, z_rot) in degrees of rotations Rz(z_rot) · Ry(y_tilt) · Rx(x_tilt).

    Parameters
    ----------
    matrix
        ``(..., 3, 3)`` rotations.
    near_deg
        (x_tilt, y_tilt, z_rot) that the result should continue: of the two sets of angles that make a rotation, and of
        the multiples of 360 degrees, the nearest is taken, so that no angle folds. At y_tilt = ±90, where only a sum or
        difference is defined, x_tilt stays as it is here.
    """
    m = np.asarray(matrix, dtype=np.float64)
    near = np.stack([np.broadcast_to(np.asarray(a, np.float64), m.shape[:-2]) for a in near_deg])
    cos_tilt = np.hypot(m[..., 0, 0], m[..., 1, 0])
    tilt = np.arctan2(-m[..., 2, 0], cos_tilt)
    locked = cos_tilt < 1e-9
    x_locked = np.deg2rad(near[0])
    # Without the x tilt, what is left of the rotation about z shows in the middle column.
    rest = m @ np.swapaxes(rotation_x(near[0]), -1, -2)
    x = np.where(locked, x_locked, np.arctan2(m[..., 2, 1], m[..., 2, 2]))
    z = np.where(locked, np.arctan2(-rest[..., 0, 1], rest[..., 1, 1]), np.arctan2(m[..., 1, 0], m[..., 0, 0]))
    first = np.rad2deg(np.stack([x, tilt, z]))
    second = np.stack([first[0] + 180, 180 - first[1], first[2] + 180])
    first, second = (angles + 360 * np.round((near - angles) / 360) for angles in (first, second))
    closer = np.abs(first - near).sum(axis=0) <= np.abs(second - near).sum(axis=0) + 1e-9
    x_tilt, y_tilt, z_rot = np.where(closer | locked, first, second)
    return x_tilt, y_tilt, z_rot
