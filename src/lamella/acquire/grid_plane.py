"""The plane that the targets lie in: stated by its tilt and direction, or fitted to measured heights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import InputError

__all__ = ["GridPlane", "fit_plane"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GridPlane:
    """z = height + slope · (x, y), in the stage frame.

    Attributes
    ----------
    height_um
        at x = y = 0.
    slope
        dz/dx and dz/dy.
    residual_um
        rms of the measured heights about it; 0 where the plane was stated.
    """

    height_um: float = 0.0
    slope: tuple[float, float] = (0.0, 0.0)
    residual_um: float = 0.0

    @classmethod
    def of_angles(cls, pre_tilt_deg: float, rotation_deg: float, height_um: float = 0.0) -> GridPlane:
        """A plane tilted by `pre_tilt_deg`, rising in the direction `rotation_deg` from x towards y."""
        steepness = float(np.tan(np.deg2rad(pre_tilt_deg)))
        turn = np.deg2rad(rotation_deg)
        return cls(height_um=height_um, slope=(steepness * float(np.cos(turn)), steepness * float(np.sin(turn))))

    @property
    def pre_tilt_deg(self) -> float:
        """Angle between the plane and z = 0."""
        return float(np.rad2deg(np.arctan(np.hypot(*self.slope))))

    @property
    def rotation_deg(self) -> float:
        """Direction in which it rises, from x towards y."""
        return float(np.rad2deg(np.arctan2(self.slope[1], self.slope[0])))

    def heights(self, places_um: ArrayLike) -> Array:
        """``(...)`` z of the plane at places ``(..., 2)``."""
        heights: Array = self.height_um + np.asarray(places_um, np.float64) @ np.asarray(self.slope)
        return heights


SLOPE_SD = 0.2
"""Of grids, as far as slopes are known before: a tilt by 11°."""


def fit_plane(
    places_um: ArrayLike, heights_um: ArrayLike, *, tolerance_um: float = 1.0, height_sd_um: float = 0.0
) -> GridPlane:
    """The plane through measured heights, by least squares; heights far off it count less (Huber's weights).

    Parameters
    ----------
    places_um
        ``(n, 2)``.
    heights_um
        ``(n,)``; values that are no number are left out.
    tolerance_um
        distance from the plane from which a height counts less.
    height_sd_um
        by which single heights lie off the plane: places close to one line then tell no slope across it, since grids
        are not steeper than `SLOPE_SD`. 0: the heights are believed as they are.

    Returns
    -------
    GridPlane
        level at the mean height where fewer than three places, or places on one line, cannot tell a slope.

    Raises
    ------
    InputError
        if no height is a number.
    """
    places, heights = (
        np.atleast_2d(np.asarray(places_um, np.float64)),
        np.atleast_1d(np.asarray(heights_um, np.float64)),
    )
    known = np.isfinite(heights) & np.isfinite(places).all(axis=1)
    if not known.any():
        raise InputError("no height of the grid was measured", mend="state pre_tilt and plane_rotation, or set level=0")
    places, heights = places[known], heights[known]
    middle = places.mean(axis=0)
    design = np.column_stack([np.ones(len(places)), places - middle])
    if len(places) < 3 or np.linalg.matrix_rank(design, tol=1e-3) < 3:
        return GridPlane(height_um=float(heights.mean()), residual_um=float(heights.std()))
    weights = np.ones(len(places))
    flat = (height_sd_um / SLOPE_SD) * np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for _ in range(20):
        root = np.sqrt(weights)
        rows = np.concatenate([root[:, None] * design, flat])
        terms = np.linalg.lstsq(rows, np.append(root * heights, [0.0, 0.0]), rcond=None)[0]
        off = np.abs(heights - design @ terms)
        weights = np.where(off <= tolerance_um, 1.0, tolerance_um / np.maximum(off, 1e-12))
    residual = float(np.sqrt(np.mean((heights - design @ terms) ** 2)))
    return GridPlane(
        height_um=float(terms[0] - terms[1:] @ middle),
        slope=(float(terms[1]), float(terms[2])),
        residual_um=residual,
    )
