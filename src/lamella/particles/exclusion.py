"""Where nothing is picked: outside the specimen, at gold, under a mask, outside the tomogram or what views show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lamella.errors import ImageError
from lamella.particles.views import view_places
from lamella.records import Tomogram, VolumeSource

__all__ = ["Exclusion", "slab_faces_ang"]

Array = NDArray[np.float64]

BEYOND_PX = 1.0
"""How far beyond the tomogram's last voxel a centre may come to lie: as far as its place is uncertain."""
SEEN = 1 / 3
"""Part of the views whose picture must hold a centre: beyond the field that they share a tomogram shows little."""


def slab_faces_ang(tomogram: Tomogram, xy_ang: Array) -> tuple[Array, Array] | None:
    """z of the specimen's lower and upper face over places ``(n, 2)``, Å; None where they were not measured.

    From the numbers that `reconstruct` measured (tilt of the specimen's mid-plane, its offset and thickness), else
    from the thickness of the record, whose mid-plane is z = 0 by the alignment's gauge.
    """
    measured = tomogram.quality
    names = ("PositionXTiltDeg", "PositionYTiltDeg", "PositionOffsetAngst", "PositionThicknessAngst")
    if all(np.isfinite(measured.get(name, np.nan)) for name in names):
        x_tilt, y_tilt, offset, thickness = (measured[name] for name in names)
        along, across = np.deg2rad(x_tilt), np.deg2rad(y_tilt)
        slopes = np.array([-np.tan(across) / np.cos(along), np.tan(along)])
    elif tomogram.tilt_series.thickness_ang is not None:
        slopes, offset, thickness = np.zeros(2), 0.0, tomogram.tilt_series.thickness_ang
    else:
        return None
    half = thickness / 2 * np.sqrt(1 + slopes @ slopes)
    middle = xy_ang @ slopes + offset
    return middle - half, middle + half


@dataclass(frozen=True, kw_only=True, eq=False)
class Exclusion:
    """What is left out of a tomogram.

    Attributes
    ----------
    tomogram, shape
        whose centre voxel is the origin of places; its size (z, y, x).
    diameter_ang
        of the particle.
    slab_margin_ang
        how far from the specimen's faces a centre may lie outside.
    gold_ang
        ``(g, 4)`` x, y, z of beads and their diameter, Å, or None.
    gold_distance_ang
        least distance of a particle's edge from a bead's; 0: centres must only lie outside of beads.
    mask
        of the tomogram's size; nothing is picked where it is positive. None: no mask.
    """

    tomogram: Tomogram
    shape: tuple[int, int, int]
    diameter_ang: float
    slab_margin_ang: float = 100.0
    gold_ang: Array | None = None
    gold_distance_ang: float = 0.0
    mask: VolumeSource | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and tuple(self.mask.shape) != tuple(self.shape):
            raise ImageError(
                f"{self.tomogram.name}: an exclusion mask of {self.mask.shape} voxels for a tomogram of {self.shape}",
                mend="make it with the tomogram's size",
            )

    def allows(self, places_ang: Array) -> NDArray[np.bool_]:
        """Whether particles may be at places ``(n, 3)`` xyz, Å from the centre voxel."""
        size = np.array(self.shape[::-1])
        voxel = self.tomogram.voxel_size_ang
        index = places_ang / voxel + size // 2
        good: NDArray[np.bool_] = ((index >= -BEYOND_PX) & (index <= size - 1 + BEYOND_PX)).all(axis=1)
        good &= self._seen(places_ang)
        faces = slab_faces_ang(self.tomogram, places_ang[:, :2])
        if faces is not None:
            z = places_ang[:, 2]
            good &= (z >= faces[0] - self.slab_margin_ang) & (z <= faces[1] + self.slab_margin_ang)
        if self.gold_ang is not None and len(self.gold_ang):
            radius = self.diameter_ang / 2 + self.gold_distance_ang if self.gold_distance_ang > 0 else 0.0
            good &= ~_near(places_ang, self.gold_ang, radius)
        if self.mask is not None and good.any():
            good[good] = ~self._masked(index[good])
        return good

    def _seen(self, places_ang: Array) -> NDArray[np.bool_]:
        series = self.tomogram.tilt_series
        if series.geometry is None:
            return np.ones(len(places_ang), dtype=bool)
        height, width = series.image_shape_px
        places = view_places(series, places_ang)
        inside = ((places >= -0.5) & (places <= np.array([width, height]) - 0.5)).all(axis=-1)
        seen: NDArray[np.bool_] = inside.mean(axis=0) >= SEEN
        return seen

    def _masked(self, index: Array) -> NDArray[np.bool_]:
        assert self.mask is not None
        z, y, x = np.clip(np.round(index[:, ::-1]).astype(np.int64), 0, np.array(self.shape) - 1).T
        out = np.zeros(len(index), dtype=bool)
        for plane in np.unique(z):
            here = z == plane
            layer = self.mask.block(slice(int(plane), int(plane) + 1), slice(None), slice(None))[0]
            out[here] = layer[y[here], x[here]] > 0
        return out


def _near(places_ang: Array, beads_ang: Array, radius_ang: float) -> NDArray[np.bool_]:
    """Whether places lie within a bead's own radius and another of its centre."""
    out: NDArray[np.bool_] = np.zeros(len(places_ang), dtype=bool)
    for diameter in np.unique(beads_ang[:, 3]):
        some = beads_ang[beads_ang[:, 3] == diameter, :3]
        out |= cKDTree(some).query(places_ang)[0] < diameter / 2 + radius_ang
    return out
