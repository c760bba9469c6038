"""The course of filaments through the slab: gently curved lines, and the rigid segments along them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import angles_from_matrix, rotation_z

__all__ = ["filament_poses", "pose_angles"]

Array = NDArray[np.float64]


def filament_poses(
    rng: np.random.Generator,
    field_ang: tuple[float, float],
    extent_ang: tuple[float, float],
    room_ang: float,
    midplane: Callable[[Array], Array],
    segment_ang: float,
    turn_deg: float,
    bend_radius_ang: float,
) -> tuple[Array, Array]:
    """A filament through a random point of the field, along the slab, from one end of all that is filled to the other.

    Parameters
    ----------
    rng
        of its place, direction, polarity and curvature.
    field_ang, extent_ang
        (x, y) of the field of view, and of all that is filled.
    room_ang
        its heights differ from the slab's middle by up to half this.
    midplane
        height of the slab's middle at points ``(n, 2)``.
    segment_ang, turn_deg
        length of a segment, and by how much each is turned about the axis after the one before.
    bend_radius_ang
        least radius of its curvature.

    Returns
    -------
    places_ang, matrices
        ``(n, 3)`` and ``(n, 3, 3)``: middle of each segment, and the rotation from its frame (z along the filament).
    """
    start = rng.uniform(-0.4, 0.4, 2) * field_ang
    height = rng.uniform(-0.5, 0.5) * room_ang
    heading, curvature = rng.uniform(0, 2 * np.pi), rng.uniform(-1, 1) / bend_radius_ang
    count = int(np.hypot(*extent_ang) / segment_ang)
    s = np.arange(-count, count + 1) * segment_ang
    angle = heading + curvature * s
    # A circle's arc, or the line that it is near where the curvature is least.
    along = np.sinc(curvature * s / 2 / np.pi) * s
    middle = heading + curvature * s / 2
    xy = start + np.stack([along * np.cos(middle), along * np.sin(middle)], axis=1)
    places = np.column_stack([xy, midplane(xy) + height])
    step = 1.0
    ahead = xy + step * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    tangent = np.column_stack([np.cos(angle), np.sin(angle), (midplane(ahead) - midplane(xy)) / step])
    tangent /= np.linalg.norm(tangent, axis=1)[:, None]
    if rng.random() < 0.5:  # the other polarity
        tangent, places = -tangent[::-1], places[::-1]
    side = np.cross([0.0, 0.0, 1.0], tangent)
    side /= np.linalg.norm(side, axis=1)[:, None]
    frame = np.stack([np.cross(side, tangent), side, tangent], axis=-1)
    matrices = frame @ rotation_z(rng.uniform(0, 360) + turn_deg * np.arange(len(places)))
    inside = (np.abs(places[:, :2]) < np.array(extent_ang) / 2).all(axis=1)
    return places[inside], np.asarray(matrices[inside])


def pose_angles(matrices: Array) -> Array:
    """``(n, 3)`` RELION angles of rotations."""
    return np.stack(angles_from_matrix(matrices), axis=-1)
