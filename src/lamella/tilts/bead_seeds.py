"""New beads from spots that belong to none: where their lines of sight meet spots of other views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lamella.tilts.bead_scene import Linked, Scene, met

__all__ = ["LEAST_VIEWS", "seeded"]

Array = NDArray[np.float64]

LEAST_VIEWS = 4
"""Views that must show a bead."""
_SIGHT_DEG = 25.0  # how far from a view a new bead is looked for


def seeded(scene: Scene, linked: Linked) -> Linked:
    """Add beads from spots that belong to none: each at the height where its line of sight meets most other spots."""
    sight = _Sight(scene, linked)
    tilt = linked.geometry.y_tilt_deg
    new = []
    for view in sorted(sight.views, key=lambda view: abs(float(tilt[view]))):
        for spot in np.flatnonzero(sight.free[view]):
            numbers = sight.bead(view, int(spot)) if sight.free[view][spot] else None
            if numbers is not None:
                new.append(numbers)
                sight.claim(numbers)
    if not new:
        return linked
    return replace(linked, chosen=np.concatenate([linked.chosen, np.stack(new, axis=1)], axis=1))


class _Sight:
    """Lines of sight through spots that are free, in the views that are taken in."""

    def __init__(self, scene: Scene, linked: Linked) -> None:
        self.scene, self.tilt = scene, linked.geometry.y_tilt_deg
        self.matrices, self.shifts = linked.geometry.matrices(), linked.geometry.shifts_ang()
        self.views = [int(view) for view in np.flatnonzero(linked.taken_in)]
        self.free = [np.ones(len(spots), dtype=bool) for spots in scene.spots_ang]
        for numbers in linked.chosen.T:
            self.claim(numbers)
        self.blur = 0.25 * scene.diameter_ang
        self.step = self.blur / np.sin(np.deg2rad(_SIGHT_DEG))
        self.heights = np.arange(-scene.height_ang, scene.height_ang + self.step, self.step)

    def claim(self, numbers: NDArray[np.int64]) -> None:
        """Take the spots of one bead ``(n,)``."""
        for view in np.flatnonzero(numbers >= 0):
            self.free[view][numbers[view]] = False

    def bead(self, view: int, spot: int) -> NDArray[np.int64] | None:
        """``(n,)`` spots of one new bead by view, or None where other views do not agree to it."""
        others = sorted((other for other in self.views if other != view), key=lambda other: self._apart(other, view))
        near = [other for other in others if self._apart(other, view) <= _SIGHT_DEG]
        near = near if len(near) >= 3 else others[:4]
        points = self._line(view, spot)
        votes, shown = self._votes(points, near)
        best = int(np.argmax(votes))
        if votes[best] < max(0.5 * shown[best], min(3.0, len(near)) * 0.6) or shown[best] < 2:
            return None
        point, covariance = points[best], np.diag([self.blur, self.blur, self.step]) ** 2
        seen_at = np.full((len(self.tilt), 1, 2), np.nan)
        seen_at[view] = self.scene.spots_ang[view][spot]
        numbers = np.full(len(self.tilt), -1, dtype=np.int64)
        for reach in (near, others):
            for other in reach:
                numbers[other] = self._met_by(other, point, covariance)
                seen_at[other] = self.scene.spots_ang[other][numbers[other]] if numbers[other] >= 0 else np.nan
            points, covariances = met(self.scene, self.matrices, self.shifts, seen_at)
            point, covariance = points[0], covariances[0]
        numbers[view] = spot
        return numbers if (numbers >= 0).sum() >= LEAST_VIEWS else None

    def _apart(self, one: int, other: int) -> float:
        return abs(float(self.tilt[one] - self.tilt[other]))

    def _line(self, view: int, spot: int) -> Array:
        """``(h, 3)`` points at all heights that project to a spot."""
        matrix = self.matrices[view]
        flat = self.scene.spots_ang[view][spot] - self.shifts[view] - self.heights[:, None] * matrix[:, 2]
        return np.concatenate([np.linalg.solve(matrix[:, :2], flat.T).T, self.heights[:, None]], axis=1)

    def _votes(self, points: Array, views: list[int]) -> tuple[Array, Array]:
        """``(h,)`` in how many views each point meets a spot, and how many should show it."""
        votes, shown = np.zeros(len(points)), np.zeros(len(points))
        for view in views:
            predicted = points @ self.matrices[view].T + self.shifts[view]
            inside = self.scene.inside(predicted, 0.5 * self.scene.diameter_ang)
            shown += inside
            spots = self.scene.spots_ang[view][self.free[view]]
            if len(spots) and inside.any():
                near, _ = cKDTree(spots).query(predicted, distance_upper_bound=4 * self.blur)
                votes += inside * np.exp(-0.5 * (near / self.blur) ** 2)  # infinite where none is near
        return votes, shown

    def _met_by(self, view: int, point: Array, covariance: Array) -> int:
        """The free spot of a view that a point meets, −1 without."""
        free = np.flatnonzero(self.free[view])
        if not len(free):
            return -1
        matrix = self.matrices[view]
        apart = self.scene.spots_ang[view][free] - (matrix @ point + self.shifts[view])
        inverse = np.linalg.inv(matrix @ covariance @ matrix.T + self.blur**2 * np.eye(2))
        lengths = ((apart @ inverse) * apart).sum(axis=-1)
        best = int(np.argmin(lengths))
        return int(free[best]) if lengths[best] < 6 else -1
