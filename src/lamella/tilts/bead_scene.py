"""What beads are linked from, and what links are: spots of every view, and which of them are one bead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks

__all__ = ["Linked", "Scene", "met"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What links are made from.

    Attributes
    ----------
    spots_ang
        per view ``(k, 2)`` spots, Å from the image's centre pixel.
    field_ang
        ``(2, 2)`` lowest and highest (x, y) of the images, Å.
    diameter_ang
        of the beads.
    reach_ang
        how far a view may lie from where the start says.
    height_ang
        how far beads may lie above or below the middle of the specimen.
    """

    spots_ang: tuple[Array, ...]
    field_ang: Array
    diameter_ang: float
    reach_ang: float
    height_ang: float

    def inside(self, places_ang: Array, margin_ang: float = 0.0) -> NDArray[np.bool_]:
        """``(...,)`` whether places ``(..., 2)`` lie in the field."""
        low, high = self.field_ang
        return np.asarray(((places_ang > low + margin_ang) & (places_ang < high - margin_ang)).all(axis=-1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Linked:
    """Beads and their spots.

    Attributes
    ----------
    geometry
        as far as spots tell it.
    chosen
        ``(n, p)`` number of the spot in its view, −1 where there is none.
    taken_in
        ``(n,)`` whether a view could be linked.
    """

    geometry: TiltGeometry
    chosen: NDArray[np.int64]
    taken_in: NDArray[np.bool_]

    def tracks(self, scene: Scene) -> Tracks:
        """The spots as tracks, all of one weight."""
        places = np.full((*self.chosen.shape, 2), np.nan)
        for view, numbers in enumerate(self.chosen):
            seen = numbers >= 0
            places[view, seen] = scene.spots_ang[view][numbers[seen]]
        return Tracks.observed(places)


def met(scene: Scene, matrices: Array, shifts: Array, seen_at: Array) -> tuple[Array, Array]:
    """Points and covariance from observations ``(n, p, 2)``, NaN where unseen."""
    weights = np.isfinite(seen_at[..., 0]) / (0.1 * scene.diameter_ang) ** 2
    places = np.nan_to_num(seen_at) - shifts[:, None]
    normal = (weights.T @ np.einsum("nij,nik->njk", matrices, matrices).reshape(-1, 9)).reshape(-1, 3, 3)
    normal = normal + np.diag([1e-12, 1e-12, (2 / scene.height_ang) ** 2])
    right = np.einsum("nij,npi->pj", matrices, weights[..., None] * places)
    covariance = np.linalg.inv(normal)
    return np.einsum("pij,pj->pi", covariance, right), covariance
