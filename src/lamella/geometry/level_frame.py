"""The rotation that makes a plane of the specimen level, and the frame that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry.projection import TiltGeometry
from lamella.geometry.regauge import Regauged, regauge
from lamella.geometry.rotations import rotation_x, rotation_y

__all__ = ["FrameChange", "LevellingRotation", "levelling_rotation"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FrameChange:
    """A rigid motion of the specimen's frame: p becomes rotation · p + shift.

    Attributes
    ----------
    rotation
        ``(3, 3)``.
    shift_ang
        ``(3,)`` xyz, Å, in the new frame.
    """

    rotation: Array
    shift_ang: Array

    def moved(self, points_ang: ArrayLike) -> Array:
        """Points ``(..., 3)`` in the new frame; NaN stays NaN."""
        moved: Array = np.asarray(points_ang, dtype=np.float64) @ self.rotation.T + self.shift_ang
        return moved

    def turned(self, matrices: ArrayLike) -> Array:
        """Orientations ``(..., 3, 3)`` in the new frame; of a product A_sub · A_ang, pass A_sub."""
        turned: Array = self.rotation @ np.asarray(matrices, dtype=np.float64)
        return turned

    def of(self, geometry: TiltGeometry, hand: int, defocus_ang: ArrayLike | None = None) -> Regauged:
        """The same pictures in the new frame, with their defocus ``(..., n)``."""
        return regauge(geometry, self.rotation, self.shift_ang, hand=hand, defocus_ang=defocus_ang)


@dataclass(frozen=True, eq=False)
class LevellingRotation:
    """A rotation that takes a normal to z, and by how much it changes the common x-tilt and the tilt angles."""

    rotation: Array
    x_tilt_deg: float
    tilt_offset_deg: float


def levelling_rotation(geometry: TiltGeometry, normal: ArrayLike) -> LevellingRotation:
    """The rotation that takes a normal to z and leaves one x-tilt for all views where there is one.

    Parameters
    ----------
    geometry
        in the frame that is to be turned.
    normal
        ``(3,)`` of the specimen's plane, towards +z.

    Raises
    ------
    GeometryError
        if the normal is not finite, or does not point towards +z.

    Notes
    -----
    R = Rz·Ry(t)·Rx(a). The frame p' = Q p sees Rz·Ry(t + δ)·Rx(a') if Q = Rx(−a')·Ry(−δ)·Rx(a), and Q·normal = z asks
    for Rx(a)·normal = Ry(δ)·Rx(a')·z = (cos a' sin δ, −sin a', cos a' cos δ).
    """
    across = np.asarray(normal, dtype=np.float64)
    if across.shape != (3,) or not np.isfinite(across).all() or across[2] <= 0:
        raise GeometryError(f"a normal of {across}", mend="give three numbers, the last above 0")
    before = float(geometry.x_tilt_deg.mean())
    turned = rotation_x(before) @ (across / np.linalg.norm(across))
    after = -float(np.rad2deg(np.arcsin(np.clip(turned[1], -1, 1))))
    offset = float(np.rad2deg(np.arctan2(turned[0], turned[2])))
    rotation = rotation_x(-after) @ rotation_y(-offset) @ rotation_x(before)
    return LevellingRotation(rotation, after - before, offset)
