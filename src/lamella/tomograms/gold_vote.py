"""Which spots of many views are the same thing in the specimen: votes along the rays of some views' spots.

The geometry is known here, so nothing is followed from view to view: a spot says that something lies on a ray, and the
place on the ray where most views have a spot too is where it lies. All is done without the local field, which is taken
off the spots beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Placed", "SpotViews", "vote"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_CELL = 1 / 6  # of a diameter: a cell of the map of spots
_NEAR = 0.4  # of a diameter: how near a view's spot lies to a place that it votes for
_STEP = 0.5  # of a diameter, along a ray
_SEED_VIEWS = 10
_SEEDS = 300  # spots of each of them, at most
_LEAST_VIEWS = 5
_SHARE = 0.5  # of the views that show a place have a spot there
_BEYOND_CHANCE = 5.0  # standard deviations of the number of votes where spots lie at random
_APART = 0.7  # of a diameter; twice as much along the beam, where a place is known less well
_REFINED = (0.5, 0.35, 0.35)  # of a diameter: reach of each round that finds a place by least squares
_ROUNDS = 2  # of voting: what a heavier neighbour hid is found among the spots that are left


@dataclass(frozen=True, eq=False)
class SpotViews:
    """Spots of all views.

    Attributes
    ----------
    places_ang
        per view ``(k, 2)`` (x, y), Å from the image's centre pixel, the local field taken off; the surest first.
    matrices, shifts_ang
        ``(n, 2, 3)`` and ``(n, 2)`` of the global model.
    field_ang
        ``(2, 2)`` least and greatest (x, y) that the images show.
    diameter_ang
        of a bead.
    """

    places_ang: tuple[Array, ...]
    matrices: Array
    shifts_ang: Array
    field_ang: Array
    diameter_ang: float

    def __len__(self) -> int:
        return len(self.places_ang)

    def project(self, points_ang: Array) -> Array:
        """``(n, k, 2)`` of points ``(k, 3)``."""
        projected: Array = np.einsum("nij,kj->nki", self.matrices, points_ang) + self.shifts_ang[:, None]
        return projected

    def shown(self, places_ang: Array) -> Mask:
        """Whether places ``(..., 2)`` lie in the images, the tenth of a bead beyond their edges too."""
        low, high = self.field_ang
        margin = 0.1 * self.diameter_ang
        shown: Mask = ((places_ang > low - margin) & (places_ang < high + margin)).all(axis=-1)
        return shown

    def nearest(self, places_ang: Array, reach_ang: float) -> tuple[NDArray[np.int64], Array]:
        """``(n, k)`` number of the spot nearest to each place ``(n, k, 2)``, −1 beyond the reach; and its distance."""
        which = np.full(places_ang.shape[:2], -1, dtype=np.int64)
        distance = np.full(places_ang.shape[:2], np.inf)
        for view, spots in enumerate(self.places_ang):
            if len(spots) and places_ang.shape[1]:
                distance[view], found = cKDTree(spots).query(places_ang[view], distance_upper_bound=reach_ang)
                which[view] = np.where(np.isfinite(distance[view]), found, -1)
        return which, distance

    def without(self, used: list[Mask]) -> SpotViews:
        """The spots that are not used."""
        left = tuple(places[~mask] for places, mask in zip(self.places_ang, used, strict=True))
        return SpotViews(left, self.matrices, self.shifts_ang, self.field_ang, self.diameter_ang)


@dataclass(frozen=True, eq=False)
class Placed:
    """Things that several views agree on.

    Attributes
    ----------
    points_ang
        ``(k, 3)`` where they lie.
    spots
        ``(n, k)`` number of each one's spot in each view, −1 where there is none.
    shown
        ``(n, k)`` whether the view shows the place.
    """

    points_ang: Array
    spots: NDArray[np.int64]
    shown: Mask

    def __len__(self) -> int:
        return len(self.points_ang)

    def select(self, chosen: Mask | NDArray[np.int64]) -> Placed:
        """Some of them."""
        return Placed(self.points_ang[chosen], self.spots[:, chosen], self.shown[:, chosen])


def vote(views: SpotViews, height_ang: float) -> Placed:
    """Places where most of the views that show them have a spot.

    Parameters
    ----------
    views
        the spots.
    height_ang
        how far above or below the specimen's middle things are looked for.
    """
    points = np.empty((0, 3))
    left = views
    for _ in range(_ROUNDS):
        new = _refined(left, _voted(left, height_ang))
        points = _settled(views, np.concatenate([points, new]))
        left = views.without(_used(views, points))
    return _placed(views, points)


def _voted(views: SpotViews, height_ang: float) -> Array:
    """``(k, 3)`` rough places, the ones with most votes first, none near another."""
    maps = _SpotMaps(views)
    heights = np.arange(-height_ang, height_ang + 1, _STEP * views.diameter_ang)
    seeds = np.unique(np.linspace(0, len(views) - 1, _SEED_VIEWS).round().astype(int))
    rays = np.concatenate([_rays(views, int(view), heights) for view in seeds])  # (r, h, 3)
    votes, shown, chance, spread = (part.reshape(rays.shape[:2]) for part in maps.count(rays.reshape(-1, 3)))
    enough = (shown >= _LEAST_VIEWS) & (votes >= _LEAST_VIEWS) & (votes >= _SHARE * shown)
    enough &= votes > chance + _BEYOND_CHANCE * spread
    row, step = np.nonzero(enough & _highest(votes))
    best = np.argsort(-votes[row, step], kind="stable")
    return _apart(rays[row[best], step[best]], _APART * views.diameter_ang, 0.5)


def _rays(views: SpotViews, view: int, heights: Array) -> Array:
    """``(k, h, 3)`` points at some heights on the rays of a view's surest spots."""
    matrix = views.matrices[view]
    flat = views.places_ang[view][:_SEEDS, None] - views.shifts_ang[view] - heights[None, :, None] * matrix[:, 2]
    across = flat @ np.linalg.inv(matrix[:, :2]).T
    return np.concatenate([across, np.broadcast_to(heights[:, None], (*across.shape[:2], 1))], axis=-1)


def _highest(votes: Array) -> Mask:
    """Where a ray has no more votes on either side."""
    padded = np.pad(votes, ((0, 0), (1, 1)), constant_values=-1)
    highest: Mask = (votes >= padded[:, :-2]) & (votes >= padded[:, 2:])
    return highest


class _SpotMaps:
    """Where each view has spots near, on a coarse grid."""

    def __init__(self, views: SpotViews) -> None:
        self.views = views
        self.cell = _CELL * views.diameter_ang
        low, high = views.field_ang
        self.shape = tuple(int(n) for n in np.ceil((high - low)[::-1] / self.cell) + 1)
        reach = int(np.ceil(_NEAR / _CELL))
        line = np.arange(-reach, reach + 1)
        self.maps = np.zeros((len(views), *self.shape), dtype=bool)
        for view, places in enumerate(views.places_ang):
            at = (places - low) / self.cell
            for row in line:
                for column in line:
                    cell = np.round(at).astype(int) + np.array([column, row])
                    near = np.linalg.norm(cell - at, axis=1) <= _NEAR / _CELL
                    inside = near & (cell >= 0).all(axis=1) & (cell < self.shape[::-1]).all(axis=1)
                    self.maps[view, cell[inside, 1], cell[inside, 0]] = True

    def count(self, points_ang: Array) -> tuple[Array, Array, Array, Array]:
        """``(k,)`` views with a spot near a point's place, views that show it; what chance gives, and its spread."""
        votes, shown, chance, variance = (np.zeros(len(points_ang)) for _ in range(4))
        for view in range(len(self.views)):
            places = points_ang @ self.views.matrices[view].T + self.views.shifts_ang[view]
            inside = self.views.shown(places)
            column, row = np.round((places[inside] - self.views.field_ang[0]) / self.cell).astype(int).T
            column, row = (np.clip(part, 0, size - 1) for part, size in ((column, self.shape[1]), (row, self.shape[0])))
            covered = float(self.maps[view].mean())
            votes[inside] += self.maps[view, row, column]
            shown[inside] += 1
            chance[inside] += covered
            variance[inside] += covered * (1 - covered)
        return votes, shown, chance, np.sqrt(variance)


def _apart(points: Array, least_ang: float, along: float) -> Array:
    """Of points ``(k, 3)``, best first, those that lie near no better one; distances along z count `along` times."""
    scaled = points * (1, 1, along)
    kept: list[int] = []
    free = np.ones(len(points), dtype=bool)
    for number in range(len(points)):
        if free[number]:
            kept.append(number)
            free &= np.linalg.norm(scaled - scaled[number], axis=1) > least_ang
    return points[kept]


def _refined(views: SpotViews, points: Array) -> Array:
    """Points moved to where their spots' rays meet best."""
    for share in _REFINED:
        places = views.project(points)
        which, _ = views.nearest(places, share * views.diameter_ang)
        seen = which >= 0
        observed = np.stack(
            [spots[np.maximum(row, 0)] if len(spots) else np.zeros((len(row), 2)) for spots, row in _rows(views, which)]
        )
        off = np.where(seen[..., None], observed - places, 0.0)
        normal = np.einsum("nk,nij,nil->kjl", seen.astype(float), views.matrices, views.matrices)
        normal += 1e-6 * np.eye(3)
        right = np.einsum("nij,nki->kj", views.matrices, off)
        points = points + np.linalg.solve(normal, right[..., None])[..., 0]
    return points


def _rows(views: SpotViews, which: NDArray[np.int64]) -> list[tuple[Array, NDArray[np.int64]]]:
    return list(zip(views.places_ang, which, strict=True))


def _settled(views: SpotViews, points: Array) -> Array:
    """The points that enough views show after they were moved, the best seen first, none within half a bead."""
    places = views.project(points)
    near, _ = views.nearest(places, _REFINED[-1] * views.diameter_ang)
    order = np.argsort(-(near >= 0).sum(axis=0), kind="stable")
    points = _apart(points[order], 0.5 * views.diameter_ang, 1.0)
    # two beads side by side make a third between them out of their own spots: each time the worst goes first
    while len(points):
        placed = _placed(views, points)
        seen, shown = (placed.spots >= 0).sum(axis=0), placed.shown.sum(axis=0)
        lacking = np.where(seen < _LEAST_VIEWS, 0.0, seen / np.maximum(shown, 1))
        if lacking.min() >= _SHARE:
            break
        points = points[lacking > lacking.min()]
    return points


def _placed(views: SpotViews, points: Array) -> Placed:
    """Points with the spots that are theirs: a spot belongs to the point whose place is nearest."""
    places = views.project(points)
    shown = views.shown(places)
    which, distance = views.nearest(places, _REFINED[-1] * views.diameter_ang)
    which = np.where(shown, which, -1)
    for view, row in enumerate(which):
        order = np.argsort(distance[view], kind="stable")
        _, first = np.unique(row[order], return_index=True)
        others = np.ones(len(row), dtype=bool)
        others[order[first]] = False
        which[view, others] = -1
    return Placed(points, which, shown)


def _used(views: SpotViews, points: Array) -> list[Mask]:
    """Per view, which spots belong to a point."""
    which = _placed(views, points).spots
    used = []
    for places, row in _rows(views, which):
        mask = np.zeros(len(places), dtype=bool)
        mask[row[row >= 0]] = True
        used.append(mask)
    return used
