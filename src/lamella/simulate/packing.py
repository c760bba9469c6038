"""Crowds without overlap: bodies of any shape put into a slab, each where nothing else is.

Space is a grid of voxels, each of which knows what takes it. A body is the points of its coarse shape; it fits where
none of them meets a taken voxel. A trial ends at the first that does, so thousands of bodies find their places in
seconds, up to the density where random places are no longer found (random sequential adsorption).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import euler_matrix
from lamella.simulate.matter import fibonacci_sphere
from lamella.simulate.templates import Template, resampled

__all__ = [
    "MEMBRANE",
    "OUTSIDE",
    "SOLID",
    "Shape",
    "Space",
    "ball_shape",
    "shape_of",
    "shell_shape",
    "uniform_angles",
]

Array = NDArray[np.float64]

SOLID, MEMBRANE, OUTSIDE = np.uint8(1), np.uint8(2), np.uint8(4)
ANYTHING = np.uint8(7)

FINEST_ANG = 12.0
"""Edge of the voxels in a slab of which that is affordable."""
MOST_VOXELS = 6e7
FILLED_V = 0.5
"""Potential of the low-passed template from which space counts as taken: a sixth of protein's above ice."""


@dataclass(frozen=True, eq=False)
class Shape:
    """What a body takes up: points closer to each other than voxels, outermost first.

    Attributes
    ----------
    points_ang
        ``(n, 3)`` xyz about the origin of its poses.
    forbid
        ``(n,)`` uint8 bits (`SOLID`, `MEMBRANE`, `OUTSIDE`) that may not be where a point comes to lie.
    """

    points_ang: Array
    forbid: NDArray[np.uint8]

    @property
    def length_ang(self) -> float:
        """Twice the way from the origin to the outermost point."""
        return 2 * float(np.linalg.norm(self.points_ang, axis=1).max())


class Space:
    """The voxels of a slab while it is being filled.

    Parameters
    ----------
    extent_ang
        (x, y) of all that is filled, about the specimen's centre.
    heights_ang
        (lowest, highest) z that anything may have.
    """

    def __init__(self, extent_ang: tuple[float, float], heights_ang: tuple[float, float]) -> None:
        x, y, z = *extent_ang, heights_ang[1] - heights_ang[0]
        self.step_ang = max(FINEST_ANG, (x * y * z / MOST_VOXELS) ** (1 / 3))
        shape = tuple(int(np.ceil(length / self.step_ang)) + 2 for length in (z, y, x))
        self.origin_ang = np.array([-x / 2, -y / 2, heights_ang[0]]) - self.step_ang
        self.taken: NDArray[np.uint8] = np.zeros(shape, dtype=np.uint8)

    def close_outside(self, midplane_ang: Array, half_thickness_ang: float) -> None:
        """Mark what lies beyond the slab's surfaces, about a middle plane of heights ``(y, x)``."""
        z = self.origin_ang[2] + (np.arange(self.taken.shape[0]) + 0.5) * self.step_ang
        for level, height in zip(self.taken, z, strict=True):
            level[np.abs(height - midplane_ang) > half_thickness_ang] |= OUTSIDE

    def column_places_ang(self) -> Array:
        """``(y, x, 2)`` xy of the middle of each column of voxels."""
        _, ny, nx = self.taken.shape
        x = self.origin_ang[0] + (np.arange(nx) + 0.5) * self.step_ang
        y = self.origin_ang[1] + (np.arange(ny) + 0.5) * self.step_ang
        return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)

    def fit(
        self, shape: Shape, places_ang: ArrayLike, rotations: ArrayLike | None = None, most: int | None = None
    ) -> NDArray[np.int64]:
        """Try poses one after another, and take the space of those that fit.

        Parameters
        ----------
        shape
            of the body.
        places_ang, rotations
            ``(n, 3)`` and ``(n, 3, 3)`` poses to try; None: unturned.
        most
            stop after so many.

        Returns
        -------
        kept
            which of the poses hold a body now.
        """
        places = np.asarray(places_ang, dtype=np.float64).reshape(-1, 3)
        turns = np.broadcast_to(np.eye(3) if rotations is None else np.asarray(rotations), (len(places), 3, 3))
        kept = _fit(
            shape.points_ang / self.step_ang,
            shape.forbid,
            (places - self.origin_ang) / self.step_ang,
            np.ascontiguousarray(turns, dtype=np.float64),
            self.taken,
            len(places) if most is None else most,
        )
        return np.flatnonzero(kept)

    def at(self, points_ang: ArrayLike) -> NDArray[np.uint8]:
        """``(n,)`` what takes the voxel of each point; `OUTSIDE` beyond the grid, also beside it."""
        index = np.floor((np.asarray(points_ang) - self.origin_ang) / self.step_ang).astype(np.int64)
        inside = ((index >= 0) & (index < self.taken.shape[::-1])).all(axis=1)
        found = np.full(len(index), OUTSIDE)
        x, y, z = index[inside].T
        found[inside] = self.taken[z, y, x]
        return found

    def mark(self, points_ang: ArrayLike, what: np.uint8) -> None:
        """Let points' voxels be taken by something more; points beyond the grid are left out."""
        index = np.floor((np.asarray(points_ang) - self.origin_ang) / self.step_ang).astype(np.int64)
        x, y, z = index[((index >= 0) & (index < self.taken.shape[::-1])).all(axis=1)].T
        self.taken[z, y, x] |= what

    def mark_ball(self, centre_ang: Array, radius_ang: float) -> None:
        """Let a ball be solid."""
        part, distance = self._distances(centre_ang, radius_ang)
        part[distance < radius_ang] |= SOLID

    def mark_shell(self, centre_ang: Array, radius_ang: float, half_width_ang: float) -> None:
        """Let a spherical shell be a membrane, whatever it was before."""
        part, distance = self._distances(centre_ang, radius_ang + half_width_ang)
        shell = np.abs(distance - radius_ang) < half_width_ang + 0.5 * self.step_ang
        part[shell] = (part[shell] & ~SOLID) | MEMBRANE

    def _distances(self, centre_ang: Array, reach_ang: float) -> tuple[NDArray[np.uint8], Array]:
        """The voxels about a point, as a view, and how far their middles are from it."""
        reach = reach_ang + self.step_ang
        first = np.maximum(np.floor((centre_ang - reach - self.origin_ang) / self.step_ang), 0).astype(int)
        last = np.ceil((centre_ang + reach - self.origin_ang) / self.step_ang).astype(int)
        part = self.taken[first[2] : last[2], first[1] : last[1], first[0] : last[0]]
        lines = [
            (first[axis] + np.arange(part.shape[2 - axis]) + 0.5) * self.step_ang + self.origin_ang[axis]
            for axis in range(3)
        ]
        x, y, z = (line - middle for line, middle in zip(lines, centre_ang, strict=True))
        return part, np.sqrt((x**2 + y[:, None] ** 2) + (z**2)[:, None, None])

    def filled_fraction(self) -> float:
        """Part of the slab's volume that bodies and membranes take."""
        inside = (self.taken & OUTSIDE) == 0
        return float((self.taken[inside] != 0).mean()) if inside.any() else 0.0


def shape_of(template: Template, step_ang: float, *, membrane_half_ang: float = 0.0) -> Shape:
    """The coarse shape of a template for a grid of this step.

    Where `membrane_half_ang` is above 0, points that close to the plane z = 0 may (and will) lie in a membrane.
    """
    coarse = resampled(template, 1.4 * step_ang, oversampling=2)  # samples 0.7 voxels apart leave none out when turned
    found = np.argwhere(coarse.volume > FILLED_V)[:, ::-1]
    points = (found - coarse.volume.shape[0] // 2) * coarse.voxel_size_ang
    if len(points) == 0:
        points = np.zeros((1, 3))
    points = points[np.argsort(-np.linalg.norm(points, axis=1), kind="stable")].astype(np.float64)
    forbid = np.full(len(points), ANYTHING)
    if membrane_half_ang:
        forbid[np.abs(points[:, 2]) < membrane_half_ang] = SOLID | OUTSIDE
    return Shape(points, forbid)


def ball_shape(radius_ang: float, step_ang: float, forbid: np.uint8 = ANYTHING) -> Shape:
    """A full ball, its outermost points first."""
    line = np.arange(-np.ceil(radius_ang / (0.7 * step_ang)), np.ceil(radius_ang / (0.7 * step_ang)) + 1)
    points = np.stack(np.meshgrid(line, line, line), axis=-1).reshape(-1, 3) * 0.7 * step_ang
    distance = np.linalg.norm(points, axis=1)
    order = np.argsort(-distance, kind="stable")
    points = points[order[distance[order] <= radius_ang]]
    return Shape(points, np.full(len(points), forbid))


def shell_shape(radius_ang: float, half_width_ang: float, step_ang: float) -> Shape:
    """A spherical shell, told by points less than three voxels apart; to be marked in full once it has a place.

    With `half_width_ang` equal to the radius: a ball.
    """
    count = int(np.ceil(2 * half_width_ang / (2.5 * step_ang))) + 1
    layers = [
        layer for layer in np.linspace(radius_ang + half_width_ang, radius_ang - half_width_ang, count) if layer > 0
    ]
    points = np.concatenate([fibonacci_sphere(layer, 1.5 * step_ang) for layer in layers])
    # The golden ratio's stride visits all parts of the shell early, so that a trial that fails does so soon.
    stride = np.argsort((np.arange(len(points)) * 0.6180339887498949) % 1, kind="stable")
    return Shape(points[stride], np.full(len(points), ANYTHING))


def uniform_angles(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """``(n, 3)`` RELION angles of orientations spread evenly over all rotations, and their matrices."""
    rot, psi = rng.uniform(-180, 180, (2, count))
    tilt = np.rad2deg(np.arccos(rng.uniform(-1, 1, count)))
    return np.stack([rot, tilt, psi], axis=1), euler_matrix(rot, tilt, psi)


@numba.njit(nogil=True, cache=True)
def _fit(points, forbid, places, turns, taken, most):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Take the voxels of each pose whose points all lie in voxels without their forbidden bits."""
    depth, height, width = taken.shape
    kept = np.zeros(len(places), dtype=np.bool_)
    where = np.empty((len(points), 3), dtype=np.int64)
    count = 0
    for pose in range(len(places)):
        if count >= most:
            break
        turn = turns[pose]
        free = True
        for point in range(len(points)):
            u, v, w = points[point]
            x = int(np.floor(turn[0, 0] * u + turn[0, 1] * v + turn[0, 2] * w + places[pose, 0]))
            y = int(np.floor(turn[1, 0] * u + turn[1, 1] * v + turn[1, 2] * w + places[pose, 1]))
            z = int(np.floor(turn[2, 0] * u + turn[2, 1] * v + turn[2, 2] * w + places[pose, 2]))
            if z < 0 or z >= depth:  # beyond the slab's surfaces
                if forbid[point] & 4:
                    free = False
                    break
                where[point, 0] = -1
                continue
            if x < 0 or y < 0 or x >= width or y >= height:  # the slab goes on, but no view sees it
                where[point, 0] = -1
                continue
            if taken[z, y, x] & forbid[point]:
                free = False
                break
            where[point] = (z, y, x)
        if free:
            kept[pose] = True
            count += 1
            for point in range(len(points)):
                if where[point, 0] >= 0:
                    taken[where[point, 0], where[point, 1], where[point, 2]] |= 1
    return kept
