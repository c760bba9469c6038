"""The orientations that a search goes through."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import euler_matrix, point_group
from lamella.geometry.angular_grid import asymmetric_directions, even_directions

__all__ = ["search_grid", "within_lean"]

Array = NDArray[np.float64]


def search_grid(step_deg: float, symmetry: str = "C1") -> Array:
    """Orientations ``(k, 3, 3)`` over the whole rotation group, each once up to the symmetry.

    Parameters
    ----------
    step_deg
        angle between neighbours, about; directions of equal area whose number follows it in finer steps than HEALPix'
        orders do.
    symmetry
        a name that `point_group` knows.

    Notes
    -----
    About 8 π² / step³ (step in radians) over the order of the group: 9000 at 12 degrees, 47 000 at 7.
    """
    sides = max(1, round(math.degrees(math.sqrt(math.pi / 3)) / step_deg))
    directions, fold = asymmetric_directions(even_directions(sides), point_group(symmetry), 58.6 / sides)
    count = max(1, round(360.0 / step_deg))
    out = []
    for (rot, tilt), n in zip(directions, fold, strict=True):
        psi = np.arange(count) * (360.0 / count)
        psi = psi[psi < 360.0 / n - 1e-9]
        out.append(euler_matrix(rot, tilt, psi))
    return np.concatenate(out)


def within_lean(matrices: ArrayLike, normal: ArrayLike, range_deg: float) -> NDArray[np.bool_]:
    """Whether orientations ``(k, 3, 3)`` put the reference's z axis within an angle of a direction ``(3,)``.

    The reference's z axis stands along A · ẑ in the tomogram.
    """
    axis = np.asarray(matrices, np.float64)[..., 2]
    direction = np.asarray(normal, np.float64)
    near: NDArray[np.bool_] = axis @ (direction / np.linalg.norm(direction)) >= math.cos(math.radians(range_deg)) - 1e-9
    return near
