"""How far two geometries of the same views differ, in the pictures, whatever frame each describes the specimen in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from lamella.geometry import TiltGeometry

__all__ = ["GeometryDifference", "geometry_error"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class GeometryDifference:
    """Difference of two geometries after the best rigid motion of the specimen.

    Attributes
    ----------
    rms_ang
        root of the mean squared distance of the projected points, Å.
    per_view_ang
        ``(n,)`` the same, view by view.
    rotation
        ``(3, 3)`` and
    shift_ang
        ``(3,)``: the motion p' = rotation · p + shift that takes the true frame to the found one.
    """

    rms_ang: float
    per_view_ang: Array
    rotation: Array
    shift_ang: Array


def geometry_error(found: TiltGeometry, true: TiltGeometry, points_ang: ArrayLike) -> GeometryDifference:
    """Compare two geometries over a specimen.

    Parameters
    ----------
    found, true
        geometries of the same views.
    points_ang
        ``(p, 3)`` specimen points in the true geometry's frame, spread as the specimen is.

    Notes
    -----
    Finds the rotation and shift of the points (six numbers) for which the found geometry projects them closest to where
    the true one does, by least squares from the identity.
    """
    points = np.asarray(points_ang, dtype=np.float64).reshape(-1, 3)
    wanted = true.project(points)
    size = max(float(np.abs(points).max()), 1.0)

    def residual(motion: Array) -> Array:
        moved = points @ _rotation(motion[:3]).T + size * motion[3:]
        return np.asarray((found.project(moved) - wanted).ravel() / size)

    best = least_squares(residual, np.zeros(6), method="lm" if wanted.size >= 6 else "trf", x_scale="jac")
    squared = (residual(best.x).reshape(wanted.shape) ** 2).sum(axis=-1) * size**2
    return GeometryDifference(
        rms_ang=float(np.sqrt(squared.mean())),
        per_view_ang=np.sqrt(squared.mean(axis=1)),
        rotation=_rotation(best.x[:3]),
        shift_ang=size * best.x[3:],
    )


def _rotation(vector: Array) -> Array:
    """Rotation by |vector| radians about a vector (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # sin(a)/a and (1 − cos a)/a², both smooth at 0
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross)
