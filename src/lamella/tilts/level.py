"""Fix the frame of a solved specimen: mid-plane level at z = 0, centre in the centre of the least tilted view.

Where the specimen lies is measured in `lamella.tilts.slab_measure`, or by a plane through its points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.geometry.level_frame import levelling_rotation
from lamella.geometry.regauge import regauge

if TYPE_CHECKING:
    from lamella.tilts.slab_measure import SlabMeasure

__all__ = ["Levelled", "Plane", "centre", "fit_plane", "level"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through solved points.

    Attributes
    ----------
    normal
        ``(3,)`` unit vector, towards +z.
    height_ang
        z of the plane at x = y = 0, Å.
    spread_ang
        robust standard deviation of the points about it, Å.
    error_deg
        standard error of the normal's direction, degrees; infinite where the points lie on a line.
    """

    normal: Array
    height_ang: float
    spread_ang: float
    error_deg: float

    @property
    def inclination_deg(self) -> float:
        """Angle between the normal and z, degrees."""
        return float(np.rad2deg(np.arccos(np.clip(self.normal[2], -1, 1))))


@dataclass(frozen=True, eq=False)
class Levelled:
    """A geometry in the levelled frame.

    Attributes
    ----------
    geometry
        describes the same pictures.
    points_ang
        ``(p, 3)`` the points, moved along.
    x_tilt_deg, tilt_offset_deg
        by which x-tilt and tilt angles changed.
    """

    geometry: TiltGeometry
    points_ang: Array
    x_tilt_deg: float
    tilt_offset_deg: float


def fit_plane(points_ang: ArrayLike, *, iterations: int = 30) -> Plane:
    """Plane z = a·x + b·y + c through points ``(p, 3)``, at least 3; outliers count little (Cauchy's weights)."""
    points = np.asarray(points_ang, dtype=np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    design = np.column_stack([points[:, :2], np.ones(len(points))])
    weights = np.ones(len(points))
    coefficients, spread = np.zeros(3), 0.0
    for _ in range(iterations):
        root = np.sqrt(weights)[:, None]
        fitted = np.linalg.lstsq(design * root, points[:, 2] * root[:, 0], rcond=None)[0]
        off = points[:, 2] - design @ fitted
        spread = float(np.median(np.abs(off)) / 0.6745)
        done = bool(np.allclose(fitted, coefficients, rtol=1e-9, atol=1e-9))
        coefficients = fitted
        if done or spread < 1e-9:
            break
        weights = 1 / (1 + (off / (2.4 * spread)) ** 2)
    a, b, c = coefficients
    normal = np.array([-a, -b, 1.0]) / np.sqrt(1 + a * a + b * b)
    curvature = (design * weights[:, None]).T @ design
    singular = np.linalg.matrix_rank(curvature / np.abs(curvature).max(), tol=1e-12) < 3 or len(points) <= 3
    error = np.inf
    if not singular:
        error = float(np.rad2deg(np.arctan(spread * np.sqrt(np.trace(np.linalg.inv(curvature)[:2, :2])))))
    return Plane(normal, float(c), spread, error)


def level(
    geometry: TiltGeometry, points_ang: ArrayLike | None = None, plane: Plane | SlabMeasure | None = None
) -> Levelled:
    """Turn and shift the frame so that the specimen's mid-plane is z = 0.

    Only the common x-tilt and the tilt offset turn; the specimen is not turned in its own plane. A geometry with one
    x-tilt for all views keeps one.

    Parameters
    ----------
    geometry
        solved geometry.
    points_ang
        ``(p, 3)`` solved points, which are moved along; NaN where unsolved.
    plane
        the mid-plane, from `measure_slab` or `fit_plane`; where left out, it is fitted to the points.

    Raises
    ------
    GeometryError
        if there is neither a plane nor three points to fit one to.
    """
    points = np.zeros((0, 3)) if points_ang is None else np.asarray(points_ang, dtype=np.float64)
    if plane is None:
        if np.isfinite(points).all(axis=1).sum() < 3:
            raise GeometryError("neither a plane nor three points to level by", mend="measure the slab first")
        plane = fit_plane(points)
    turn = levelling_rotation(geometry, plane.normal)
    shift = -turn.rotation @ np.array([0.0, 0.0, plane.height_ang])
    moved = regauge(geometry, turn.rotation, shift, points_ang=points)
    assert moved.points_ang is not None  # points went in
    centred = centre(moved.geometry, moved.points_ang)
    return Levelled(centred.geometry, centred.points_ang, turn.x_tilt_deg, turn.tilt_offset_deg)


def centre(geometry: TiltGeometry, points_ang: ArrayLike | None = None) -> Levelled:
    """Shift the frame within its plane so that the centre voxel appears in the centre of the least tilted view."""
    points = np.zeros((0, 3)) if points_ang is None else np.asarray(points_ang, dtype=np.float64)
    least = int(np.argmin(np.abs(geometry.y_tilt_deg)))
    plane = geometry.matrices()[least][:, :2]
    place = -np.linalg.solve(plane, geometry.shifts_ang()[least])
    moved = regauge(geometry, shift_ang=-np.array([*place, 0.0]), points_ang=points)
    assert moved.points_ang is not None  # points went in
    return Levelled(moved.geometry, moved.points_ang, 0.0, 0.0)
