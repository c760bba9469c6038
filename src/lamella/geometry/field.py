"""Smooth local deformation of tilt images: a cubic spline in the image plane, one per view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError

__all__ = ["ImageField"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageField:
    """A displacement in Å for every point of every view.

    The point that the global terms of the model put at q appears at q + displacement(q).

    Attributes
    ----------
    nodes_ang
        ``(n, 2, gy, gx)`` displacement (x, y) at the nodes of a regular grid, Å.
    half_width_ang
        (x, y): the outer nodes stand at ±half_width from the image's centre pixel, Å. Beyond them the field is flat.
    """

    nodes_ang: Array
    half_width_ang: tuple[float, float]

    def __post_init__(self) -> None:
        nodes = np.asarray(self.nodes_ang, dtype=np.float64)
        if nodes.ndim != 4 or nodes.shape[1] != 2 or min(nodes.shape[2:]) < 2:
            raise GeometryError(
                f"an image field needs nodes of shape (n, 2, ≥2, ≥2), these have {nodes.shape}",
                mend="give displacements in x and y on at least 2 × 2 nodes per view",
            )
        if not np.isfinite(nodes).all():
            raise GeometryError("an image field holds numbers that are not finite", mend="leave those views flat")
        object.__setattr__(self, "nodes_ang", nodes)

    def __len__(self) -> int:
        return len(self.nodes_ang)

    @property
    def places_ang(self) -> Array:
        """``(gy, gx, 2)`` where the nodes stand (x, y), Å from the centre pixel."""
        rows, columns = self.nodes_ang.shape[2:]
        x, y = (np.linspace(-half, half, n) for half, n in zip(self.half_width_ang, (columns, rows), strict=True))
        return np.stack(np.meshgrid(x, y), axis=-1)

    def displacement(self, view: int, q_ang: ArrayLike) -> Array:
        """Displacement ``(..., 2)`` in Å of one view at image points ``(..., 2)`` in Å from the centre pixel.

        A cubic spline through the nodes, even about the outer ones.
        """
        from scipy.ndimage import map_coordinates, spline_filter  # late: records must load without scipy

        q_shaped = np.asarray(q_ang, dtype=np.float64)
        q = q_shaped.reshape(-1, 2)
        grid = self.nodes_ang.shape[2:]
        places = np.stack(
            [(q[..., axis] / self.half_width_ang[axis] + 1) * (grid[1 - axis] - 1) / 2 for axis in (1, 0)]
        )  # (2, ...) node units, row then column
        for axis in (0, 1):
            places[axis] = np.clip(places[axis], 0, grid[axis] - 1)
        out = [
            map_coordinates(
                spline_filter(plane, order=3, mode="mirror"), places, order=3, mode="mirror", prefilter=False
            )
            for plane in self.nodes_ang[view]
        ]
        return np.stack(out, axis=-1).reshape(q_shaped.shape)

    def select(self, views: ArrayLike) -> ImageField:
        """The field of some views, in the order given."""
        return ImageField(self.nodes_ang[np.asarray(views)], self.half_width_ang)

    def on_nodes(self, counts: tuple[int, int], half_width_ang: tuple[float, float]) -> ImageField:
        """The field as other nodes hold it, ``counts`` (gy, gx) of them as far as ±half_width (x, y)."""
        if counts == self.nodes_ang.shape[2:] and half_width_ang == self.half_width_ang:
            return self
        other = ImageField(np.zeros((len(self), 2, *counts)), half_width_ang)
        places = other.places_ang
        nodes = [np.moveaxis(self.displacement(view, places), -1, 0) for view in range(len(self))]
        return ImageField(np.stack(nodes), half_width_ang)

    def joined(self, other: ImageField) -> ImageField:
        """The field of these views, then of another's, on as many nodes as the finer of the two has along each axis."""
        rows, columns = (max(a, b) for a, b in zip(self.nodes_ang.shape[2:], other.nodes_ang.shape[2:], strict=True))
        parts = [part.on_nodes((rows, columns), self.half_width_ang).nodes_ang for part in (self, other)]
        return ImageField(np.concatenate(parts), self.half_width_ang)
